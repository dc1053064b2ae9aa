/* SPDX-License-Identifier: Apache-2.0 */
/* Pods that are the same but for what tells one from the other: the name of all of them. */
#pragma once

#include "policy/objects/objects.h"

/* Labels beyond this are left out of a workload's name: the last ones by their keys. */
#define FLOW_WORKLOAD_MAX 4096
/*
 * The name of all pods of a namespace whose labels are the same, but for those that each revision
 * or pod has of its own: namespace, key, value, key, value, each with its NUL. Returns the length.
 */
size_t flow_workload(const char *namespace, const struct labels *labels,
		     char buffer[FLOW_WORKLOAD_MAX]);
/* Is it such a label? */
bool flow_label_is_passing(const char *key);
