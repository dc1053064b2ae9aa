/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/policy/enforce_internal.h"

static const enum map_index indexes[RULESET_MAPS] = {
	[SHADOW_PEERS] = MAP_RULESET_PEERS,
	[SHADOW_PREFIXES] = MAP_RULESET_PREFIXES,
	[SHADOW_PORTS] = MAP_RULESET_PORTS,
	[SHADOW_CELLS] = MAP_RULESET_CELLS,
};

int rules_open(struct enforce *e)
{
	int i, r = ruleset_slots_open(e->maps, &e->slots);

	for (i = 0; i < RULESET_MAPS && r == 0; i++)
		r = shadow_open(e->maps, indexes[i], &e->rules[i]);
	return r;
}

void rules_close(struct enforce *e)
{
	int i;

	ruleset_slots_close(e->slots);
	for (i = 0; i < RULESET_MAPS; i++)
		shadow_close(e->rules[i]);
}

static struct ruleset_prefix_key prefix_key(uint32_t id, const struct compiled_prefix *p)
{
	return (struct ruleset_prefix_key){
		.prefixlen = 32 + p->prefix.length, .ruleset = id, .addr = p->prefix.addr};
}

static struct ruleset_port_key port_key(uint32_t id, const struct compiled_port *p)
{
	return (struct ruleset_port_key){
		.prefixlen = 32 + p->length, .ruleset = id, .proto = p->proto, .port_be = htons(p->port)};
}

static struct ruleset_cell_key cell_key(uint32_t id, const struct compiled_cell *c)
{
	return (struct ruleset_cell_key){.ruleset = id, .peer_class = c->peer_class, .port_class = c->port_class};
}

/* Calls for every element that stands under the set's number; cells only if they do not stand in a table. Stops at a negative value. */
static int each_element(const struct compiled_ruleset *set, bool table,
			int (*visit)(enum ruleset_map map, const void *key, const void *value, void *data), void *data)
{
	size_t i;
	int r = 0;

	for (i = 0; i < set->prefix_count && r == 0; i++) {
		struct ruleset_prefix_key key = prefix_key(set->id, &set->prefixes[i]);

		r = visit(SHADOW_PREFIXES, &key, &set->prefixes[i].peer_class, data);
	}
	for (i = 0; i < set->port_count && r == 0; i++) {
		struct ruleset_port_key key = port_key(set->id, &set->ports[i]);

		r = visit(SHADOW_PORTS, &key, &set->ports[i].port_class, data);
	}
	for (i = 0; i < set->cell_count && !table && r == 0; i++) {
		struct ruleset_cell_key key = cell_key(set->id, &set->cells[i]);

		r = visit(SHADOW_CELLS, &key, &set->cells[i].cell, data);
	}
	for (i = 0; i < set->peer_count && r == 0; i++) {
		struct ruleset_peer_key key = {.ruleset = set->id, .identity = set->peers[i].identity};

		r = visit(SHADOW_PEERS, &key, &set->peers[i].peer_class, data);
	}
	return r;
}

struct need {
	const struct enforce *e;
	size_t more[RULESET_MAPS];
};

static int count_new(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct need *need = data;

	(void)value;
	need->more[map] += shadow_find(need->e->rules[map], key) == NULL;
	return 0;
}

/* The first map that has no room for the set beside what stands; RULESET_MAPS: all have. */
static int map_without_room(struct enforce *e, const struct compiled_ruleset *set, bool table, size_t *ret_more)
{
	struct need need = {.e = e};
	int i;

	each_element(set, table, count_new, &need);
	for (i = 0; i < RULESET_MAPS; i++) {
		if (need.more[i] <= shadow_room(e->rules[i]))
			continue;
		*ret_more = need.more[i];
		break;
	}
	return i;
}

static bool has_table(const struct ruleset_entry *entry)
{
	return entry->cell_count != 0;
}

/*
 * A place for the set, if there is room for all of it beside what stands; asked before anything is touched. A set that is there already
 * keeps its place. 0; -E2BIG: no room; -ENOMEM.
 */
static int find_place(struct enforce *e, const struct compiled_ruleset *set, struct ruleset_place *ret)
{
	uint32_t slot = ruleset_slots_find(e->slots, set->id);
	bool sparse = ruleset_slots_is_sparse(set);
	size_t more;
	int full, r;

	if (slot) {
		*ret = (struct ruleset_place){.slot = slot, .entry = *ruleset_slots_entry(e->slots, slot)};
		return map_without_room(e, set, has_table(&ret->entry), &more) == RULESET_MAPS ? 0 : -E2BIG;
	}
	r = ruleset_slots_reserve(e->slots, set, !sparse, ret);
	if (r < 0)
		return r;
	full = map_without_room(e, set, has_table(&ret->entry), &more);
	if (full == SHADOW_CELLS && sparse) {
		ruleset_slots_release(e->slots, ret);
		r = ruleset_slots_reserve(e->slots, set, true, ret);
		if (r < 0)
			return r;
		full = map_without_room(e, set, has_table(&ret->entry), &more);
	}
	if (full == RULESET_MAPS)
		return 0;
	ruleset_slots_release(e->slots, ret);
	return -E2BIG;
}

static void tell_full(struct enforce *e, const struct map_info *info, size_t used, size_t more, size_t room, const char *option)
{
	struct enforce_problem *problem =
		enforce_problem_add(e, "policy", "map %s is full: %u entries, %zu used, %zu more needed; raise %s", info->name,
				    info->max_entries, used, more, option);

	if (problem) {
		problem->map = info->name;
		problem->missing = more > room ? more - room : more;
	}
	log_error("policy", "map %s is full: %u entries, %zu used, %zu more needed: its pods are closed; raise %s", info->name,
		  info->max_entries, used, more, option);
}

/* Once all that fits is there: the numbers do not depend on the order of the sets. */
static void tell_misfit(struct enforce *e, const struct compiled_ruleset *set)
{
	uint32_t slot = ruleset_slots_find(e->slots, set->id);
	bool table = slot && has_table(ruleset_slots_entry(e->slots, slot));
	size_t more = 0;
	int map = map_without_room(e, set, table, &more);

	if (map < RULESET_MAPS)
		tell_full(e, maps_get(e->maps, indexes[map]), shadow_count(e->rules[map]), more, shadow_room(e->rules[map]),
			  "--max-policy-entries");
	else if (!slot && !ruleset_slots_room(e->slots))
		tell_full(e, maps_get(e->maps, MAP_RULESETS), ruleset_slots_used(e->slots), 1, 0, "--max-pods");
}

static int compare_identities(const void *a, const void *b)
{
	const struct compiled_identity *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* Do addresses have the identity where the policy is in force? Those that are no pods' always may. */
static bool has_addresses(const struct compiled_policy *policy, uint32_t identity)
{
	const struct compiled_identity key = {.id = identity};

	return identity < IDENTITY_FIRST_POD ||
	       bsearch(&key, policy->identities, policy->identity_count, sizeof(key), compare_identities);
}

/* Of the policy in force. Before the first pass has succeeded nobody knows what the maps' numbers stand for. */
static bool is_in_use(const struct enforce *e, uint32_t identity)
{
	return !e->policy || e->half_written || has_addresses(e->policy, identity);
}

/* The set at hand. */
struct writing {
	struct enforce *e;
	const struct compiled_ruleset *set;
	bool in_force; /* it may be: its peers change for the other slot only */
	bool differs;  /* the slots do */
	uint64_t peer_writes;
};

/* Of an identity that is not among the set's peers. */
static uint16_t default_class(const struct compiled_ruleset *set, uint32_t identity)
{
	return identity >= IDENTITY_FIRST_POD ? set->entry.default_pod_class
					      : set->entry.default_world_class;
}

static int put_peer(struct writing *w, const void *key, uint16_t peer_class)
{
	const struct ruleset_peer *present = shadow_find(w->e->rules[SHADOW_PEERS], key);
	const struct ruleset_peer_key *peer_key = key;
	unsigned int slot = enforce_slot(w->e);
	struct ruleset_peer peer = {.peer_class = {peer_class, peer_class}};
	uint64_t before = maps_writes(w->e->maps);
	int r;

	/* Nobody asks for an identity that no address has yet. */
	if (w->in_force && is_in_use(w->e, peer_key->identity))
		peer.peer_class[slot] = present ? present->peer_class[slot]
						: default_class(w->set, peer_key->identity);
	w->differs |= peer.peer_class[slot] != peer_class;
	r = shadow_put(w->e->rules[SHADOW_PEERS], key, &peer);
	w->peer_writes += maps_writes(w->e->maps) - before;
	return r;
}

static int put(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct writing *w = data;

	if (map == SHADOW_PEERS)
		return put_peer(w, key, (uint16_t)*(const uint32_t *)value);
	return shadow_put(w->e->rules[map], key, value);
}

/* The header last: nothing points at a set before it is whole. Of one that is in force only the peers should differ. */
static int write_set(struct writing *w, const struct ruleset_place *place)
{
	uint64_t before = maps_writes(w->e->maps);
	int r = ruleset_slots_put_cells(w->e->slots, place, w->set);

	if (r == 0)
		r = each_element(w->set, has_table(&place->entry), put, w);
	if (r == 0)
		r = ruleset_slots_put(w->e->slots, place);
	if (w->in_force && maps_writes(w->e->maps) - before != w->peer_writes)
		w->e->move_owed = true;
	if (r < 0 && !w->in_force)
		ruleset_slots_release(w->e->slots, place);
	return r;
}

const struct compiled_ruleset *ruleset_of_number(const struct compiled_policy *policy, uint32_t id)
{
	size_t low = 0, high = policy->ruleset_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (policy->rulesets[middle].id == id)
			return &policy->rulesets[middle];
		if (policy->rulesets[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

struct leaving {
	struct enforce *e;
	const struct compiled_policy *policy;
	bool differs;
};

/*
 * An identity that belongs to its set's default class now says so in the other slot; its peer goes with the next sweep. One that went with
 * its pods is left as it is until then: no address has it from this pass on.
 */
static int leave_class(const void *key, const void *value, void *data)
{
	const struct ruleset_peer_key *peer_key = key;
	struct leaving *leaving = data;
	struct shadow *shadow = leaving->e->rules[SHADOW_PEERS];
	const struct compiled_ruleset *set = ruleset_of_number(leaving->policy, peer_key->ruleset);
	unsigned int slot = enforce_slot(leaving->e);
	struct ruleset_peer peer;
	uint16_t left;
	int r;

	if (!set || shadow_is_wanted(shadow, key) ||
	    (leaving->e->policy && !has_addresses(leaving->policy, peer_key->identity)))
		return 0;
	left = default_class(set, peer_key->identity);
	memcpy(&peer, value, sizeof(peer));
	peer.peer_class[!slot] = left;
	leaving->differs |= peer.peer_class[slot] != left;
	r = shadow_put(shadow, key, &peer);
	shadow_unwant(shadow, key);
	return r;
}

int rules_write(struct enforce *e, const struct compiled_policy *policy, bool *ret_fits, bool *ret_switch)
{
	struct leaving leaving = {.e = e, .policy = policy};
	size_t i;
	int r;

	shadow_begin(e->rules[SHADOW_PEERS]);
	for (i = 0; i < policy->ruleset_count; i++) {
		struct writing writing = {.e = e, .set = &policy->rulesets[i]};
		struct ruleset_place place;

		writing.in_force = ruleset_slots_find(e->slots, writing.set->id);
		r = find_place(e, writing.set, &place);
		if (r == 0)
			r = write_set(&writing, &place);
		if (r < 0 && r != -E2BIG)
			return r;
		ret_fits[i] = r == 0;
		*ret_switch |= writing.differs;
	}
	for (i = 0; i < policy->ruleset_count; i++)
		if (!ret_fits[i])
			tell_misfit(e, &policy->rulesets[i]);
	r = shadow_each(e->rules[SHADOW_PEERS], leave_class, &leaving);
	*ret_switch |= leaving.differs;
	return r;
}

static int mirror_peer(const void *key, const void *value, void *data)
{
	struct enforce *e = data;
	unsigned int slot = enforce_slot(e);
	bool wanted = shadow_is_wanted(e->rules[SHADOW_PEERS], key);
	struct ruleset_peer peer;

	memcpy(&peer, value, sizeof(peer));
	if (peer.peer_class[0] == peer.peer_class[1])
		return 0;
	peer.peer_class[!slot] = peer.peer_class[slot];
	shadow_put(e->rules[SHADOW_PEERS], key, &peer);
	if (!wanted)
		shadow_unwant(e->rules[SHADOW_PEERS], key);
	return 0;
}

void rules_mirror(struct enforce *e)
{
	shadow_each(e->rules[SHADOW_PEERS], mirror_peer, e);
}

static int want(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct enforce *e = data;

	(void)value;
	shadow_want(e->rules[map], key);
	return 0;
}

static bool is_wanted(uint32_t number, const void *data)
{
	const struct enforce *e = data;
	const struct compiled_ruleset *set = e->policy ? ruleset_of_number(e->policy, number) : NULL;

	return set && e->fits[set - e->policy->rulesets];
}

bool rules_sweep(struct enforce *e)
{
	bool swept = ruleset_slots_sweep(e->slots, is_wanted, e) > 0;
	size_t i;
	int map;

	for (map = 0; map < RULESET_MAPS; map++)
		shadow_begin(e->rules[map]);
	for (i = 0; e->policy && i < e->policy->ruleset_count; i++) {
		const struct compiled_ruleset *set = &e->policy->rulesets[i];
		uint32_t slot = ruleset_slots_find(e->slots, set->id);

		if (e->fits[i] && slot)
			each_element(set, has_table(ruleset_slots_entry(e->slots, slot)), want, e);
	}
	for (map = 0; map < RULESET_MAPS; map++)
		swept |= shadow_sweep(e->rules[map]) > 0;
	return swept;
}
