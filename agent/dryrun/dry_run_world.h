/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of one moment, held so that another thread can compile it, as it is and with staged
 * objects: objects are shares, all else are copies.
 */
#pragma once

#include "agent/dryrun/dry_run_policy.h"
#include "agent/kernel/address_set.h"
#include "agent/policy/policy_sync_internal.h"

struct dry_run_world {
	struct policy_sync_input now;
	struct object **shares; /* of all objects that `now` borrows */
	size_t share_count;
	struct polder_addr (*addresses)[2]; /* of this node's pods, in the order of `now` */
	const struct config *config;	    /* borrowed; it never changes */
	struct polder_addr *node_addresses; /* this node's own */
	size_t node_address_count;
	struct address_set without_room; /* of pods, that the map does not have */
};

/* In the loop. Takes a zeroed one. 0 or -ENOMEM: release it in any case. */
int dry_run_world_take(const struct policy_sync *sync, struct dry_run_world *ret);
/* In the loop: who gives an object's last share back may be its thread alone. */
void dry_run_world_release(struct dry_run_world *world);

/*
 * In any thread: the same with what is staged. The result borrows of both. Takes a zeroed one. 0 or
 * -ENOMEM: policy_sync_input_clear() in any case.
 */
int dry_run_world_change(const struct dry_run_world *world, const struct dry_run_changes *changes,
			 struct policy_sync_input *ret);
