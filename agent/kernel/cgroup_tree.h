/* SPDX-License-Identifier: Apache-2.0 */
/* The cgroups that there are, by their numbers. */
#pragma once

#include <stdint.h>

#define CGROUP_TREE_MOST 8192

/*
 * Visits the cgroup2 hierarchy from `root` downwards, level by level: each with its path below
 * `root` ("/" itself) and the number by which programs know it. At most CGROUP_TREE_MOST: of more
 * those farthest from the root are left out, which is where containers may make their own. 0 or
 * -errno (`root` cannot be read, no memory).
 */
int cgroup_tree_walk(const char *root, void (*visit)(uint64_t id, const char *path, void *data),
		     void *data);
