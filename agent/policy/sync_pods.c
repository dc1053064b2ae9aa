/* SPDX-License-Identifier: Apache-2.0 */
/* The local pods' words in the map `pods`: identity and rule sets. */
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/flow_table.h"
#include "agent/policy/policy_sync_internal.h"

static uint32_t pod_index(const struct policy_sync *sync, const struct synced_pod *pod)
{
	return maps_pod_index(sync->maps, pod->entry.ifindex);
}

/* ---------------------------------------------------------------- what they should say */

/* A set that found no room closes its pods; so does one that is not there. */
static uint32_t ruleset_word(const struct policy_sync *sync, uint32_t id)
{
	uint32_t slot;

	if (id < RULESET_FIRST)
		return id;
	if (!policy_compiler_ruleset(sync->compiler, id))
		return RULESET_CLOSED;
	slot = ruleset_slots_find(sync->slots, id);
	return slot && ruleset_fits(sync, id) ? slot : RULESET_CAPACITY;
}

static void set_identity(struct policy_sync *sync, struct synced_pod *pod, uint32_t identity)
{
	pod->identity = identity;
	for (size_t i = 0; i < pod->address_count; i++) {
		if (pod->claims[i].identity == identity)
			continue;
		pod->claims[i].identity = identity;
		addresses_claim_changed(sync->addresses, &pod->claims[i]);
	}
}

void pods_resolve(struct policy_sync *sync)
{
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next) {
		const struct compiled_pod compiled =
			policy_compiler_pod(sync->compiler, pod->compiled);

		set_identity(sync, pod, compiled.identity);
		pod->ingress = ruleset_word(sync, compiled.ingress_ruleset);
		pod->egress = ruleset_word(sync, compiled.egress_ruleset);
		/* The policies that held a pod when the agent ended are not known any more. */
		if (pod->held_before[INGRESS] || pod->waits)
			pod->ingress = RULESET_CLOSED;
		if (pod->held_before[EGRESS] || pod->waits)
			pod->egress = RULESET_CLOSED;
		pod->closed = pod->ingress == RULESET_CAPACITY || pod->egress == RULESET_CAPACITY;
	}
}

/* ---------------------------------------------------------------- into the map */

static int pod_put(struct policy_sync *sync, struct synced_pod *pod, const struct pod_entry *entry)
{
	uint32_t index = pod_index(sync, pod);
	int r = maps_put(sync->maps, MAP_PODS, &index, entry);

	if (r == 0)
		pod->entry = *entry;
	return r;
}

static void set_slot(struct pod_entry *entry, const struct synced_pod *pod, unsigned int slot)
{
	entry->identity[slot] = pod->identity;
	entry->egress_rules[slot] = pod->egress;
	entry->ingress_rules[slot] = pod->ingress;
}

static bool differs(const struct pod_entry *entry, const struct synced_pod *pod, unsigned int slot)
{
	return entry->identity[slot] != pod->identity || entry->egress_rules[slot] != pod->egress ||
	       entry->ingress_rules[slot] != pod->ingress;
}

/* Every flow that its rule sets or its identity have evaluated names one of its addresses, or
 * counts for it. */
static void touch(struct policy_sync *sync, const struct synced_pod *pod)
{
	uint32_t index = pod_index(sync, pod);

	for (size_t i = 0; i < pod->address_count; i++) {
		const struct prefix addr = {.addr = pod->addresses[i], .length = 128};
		const struct prefix owner = {.addr = flow_owner_addr(index, addr_is_v4(&addr.addr)
										    ? FAMILY_V4
										    : FAMILY_V6),
					     .length = 128};

		address_touched(&addr, sync);
		address_touched(&owner, sync);
	}
}

/*
 * Into the slot that is not in force; a new pod has both. `changed` says of each rule set's slot
 * whether it keeps its number while a peer's class changes; NULL: none does.
 */
static int pod_write(struct policy_sync *sync, struct synced_pod *pod, const bool *changed,
		     bool *ret_switch)
{
	unsigned int slot = policy_sync_slot(sync);
	struct pod_entry entry = pod->entry;
	int r;

	set_slot(&entry, pod, !slot);
	entry.flags = POD_READY | (pod->limited ? POD_LIMITED : 0);
	if (!pod->written) {
		set_slot(&entry, pod, slot);
		touch(sync, pod);
	} else if (differs(&entry, pod, slot) ||
		   (changed && (changed[pod->ingress] || changed[pod->egress]))) {
		*ret_switch = true;
		touch(sync, pod);
	}
	if (pod->written && memcmp(&entry, &pod->entry, sizeof(entry)) == 0)
		return 0;
	r = pod_put(sync, pod, &entry);
	if (r < 0)
		return r;
	pod->fresh |= !pod->written;
	pod->written = true;
	return 0;
}

int pods_write(struct policy_sync *sync, bool *ret_switch)
{
	struct synced_pod *pod;
	bool *changed;
	int r = rules_differing(sync, &changed);

	for (pod = sync->pods; pod && r == 0; pod = pod->next)
		r = pod_write(sync, pod, changed, ret_switch);
	free(changed);
	return r;
}

void pods_sync_slots(struct policy_sync *sync)
{
	unsigned int slot = policy_sync_slot(sync);
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next) {
		struct pod_entry entry = pod->entry;

		entry.identity[!slot] = entry.identity[slot];
		entry.egress_rules[!slot] = entry.egress_rules[slot];
		entry.ingress_rules[!slot] = entry.ingress_rules[slot];
		if (pod->written && memcmp(&entry, &pod->entry, sizeof(entry)) != 0)
			pod_put(sync, pod, &entry);
	}
}

static const struct synced_pod *pod_by_link(const struct policy_sync *sync, uint32_t ifindex)
{
	const struct synced_pod *pod;

	for (pod = sync->pods; pod && pod->entry.ifindex != ifindex; pod = pod->next)
		;
	return pod;
}

int pods_prune_unknown(struct policy_sync *sync)
{
	static const struct pod_entry none;
	const struct pod_entry *entries;
	void *values = NULL;
	int r = maps_read_array(sync->maps, MAP_PODS, &values);

	entries = values;
	for (uint32_t i = 0; i < maps_get(sync->maps, MAP_PODS)->max_entries && r == 0; i++)
		if (entries[i].ifindex && !pod_by_link(sync, entries[i].ifindex))
			r = maps_put(sync->maps, MAP_PODS, &i, &none);
	free(values);
	return r;
}

void pods_undo(struct policy_sync *sync)
{
	static const struct pod_entry none;
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next) {
		uint32_t index = pod_index(sync, pod);

		if (!pod->fresh)
			continue;
		maps_put(sync->maps, MAP_PODS, &index, &none);
		pod->written = pod->fresh = false;
	}
}
