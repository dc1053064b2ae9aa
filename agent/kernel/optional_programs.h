/* SPDX-License-Identifier: Apache-2.0 */
/* Objects whose programs stand only while somebody wants what they tell. */
#pragma once

#include "agent/kernel/datapath.h"

struct bpf_map;

/*
 * Attaches all programs of the object, those of cgroups to the configured one; or takes them away,
 * with the maps that are the object's own. Idempotent; maps of an earlier agent's programs are
 * taken over. 0 or -errno with `message`: then none of them is attached, or still an earlier
 * agent's.
 */
int optional_programs_want(struct datapath *datapath, enum datapath_hook hook, bool wanted,
			   char *message, size_t size);
/* Are they all attached, by this agent? */
bool optional_programs_are_on(const struct datapath *datapath, enum datapath_hook hook);
/* For loading: gives the object's map what an earlier agent's program has for it, if there is one.
 * 0 or -errno. */
int optional_programs_inherit(struct datapath *datapath, enum datapath_hook hook,
			      struct bpf_map *map);
