/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where rule sets stand in the arrays: each has a slot in `rulesets`, which the pods' words name,
 * and most have a table of their cells, a range of `ruleset_tables`. A set's number is never given
 * twice; slots and ranges are, once no program can still be using them.
 */
#pragma once

#include "agent/kernel/maps.h"
#include "policy/compile/compile.h"

struct ruleset_slots;

/* Reads the pinned maps: what stands there keeps its reservation. 0 or -errno. */
int ruleset_slots_open(struct maps *maps, struct ruleset_slots **ret);
void ruleset_slots_close(struct ruleset_slots *slots); /* takes NULL */

/* 0: the set has no slot. */
uint32_t ruleset_slots_find(const struct ruleset_slots *slots, uint32_t number);
/* Of a slot that ruleset_slots_find() gave: its header in the map. */
const struct ruleset_entry *ruleset_slots_entry(const struct ruleset_slots *slots, uint32_t slot);
uint32_t ruleset_slots_room(const struct ruleset_slots *slots);
uint32_t ruleset_slots_used(const struct ruleset_slots *slots);
uint32_t ruleset_slots_cells_used(const struct ruleset_slots *slots);

/* A set's place before it is written. */
struct ruleset_reservation {
	uint32_t slot;
	struct ruleset_entry entry; /* cell_count 0: its cells go to the hash */
};
/*
 * A slot, and a table if `table` and there is a range for it. The caller writes the cells, then
 * ruleset_slots_put(), or gives the place back. 0; -E2BIG: no slot is free; -ENOMEM.
 */
int ruleset_slots_reserve(struct ruleset_slots *slots, const struct compiled_ruleset *set,
			  bool table, struct ruleset_reservation *ret);
void ruleset_slots_release(struct ruleset_slots *slots,
			   const struct ruleset_reservation *reservation);
/* Writes a table's cells, all of the range. 0 or -errno. */
int ruleset_slots_put_cells(struct ruleset_slots *slots,
			    const struct ruleset_reservation *reservation,
			    const struct compiled_ruleset *set);
/* The header, last of all: from now on pods may name the slot. 0 or -errno. */
int ruleset_slots_put(struct ruleset_slots *slots, const struct ruleset_reservation *reservation);
/* Would a table of the set's cells be mostly holes? Then the hash takes less memory. */
bool ruleset_slots_is_sparse(const struct compiled_ruleset *set);

/* Frees the slot and the range of a set. 0 (also if it has none) or -errno. */
int ruleset_slots_drop(struct ruleset_slots *slots, uint32_t number);
/* Frees the slots and ranges of all sets that `wanted` says no to. Returns how many, or -errno. */
int ruleset_slots_prune(struct ruleset_slots *slots,
			bool (*wanted)(uint32_t number, const void *data), const void *data);
/* Calls for each set; stops at a value other than 0 and returns it. */
int ruleset_slots_each(const struct ruleset_slots *slots,
		       int (*visit)(const struct ruleset_entry *entry, void *data), void *data);
