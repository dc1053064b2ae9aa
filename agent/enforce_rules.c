/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "agent/enforce_internal.h"
#include "agent/log.h"

static const enum map_index indexes[RULESET_MAPS] = {
	[SHADOW_RULESETS] = MAP_RULESETS, [SHADOW_PEERS] = MAP_RULESET_PEERS, [SHADOW_PREFIXES] = MAP_RULESET_PREFIXES,
	[SHADOW_PORTS] = MAP_RULESET_PORTS, [SHADOW_CELLS] = MAP_RULESET_CELLS,
};

int rules_open(struct enforce *e)
{
	int i, r = 0;

	for (i = 0; i < RULESET_MAPS && r == 0; i++)
		r = shadow_open(e->maps, indexes[i], &e->rules[i]);
	return r;
}

void rules_close(struct enforce *e)
{
	int i;

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

/*
 * Calls for every element of a set, the header last: nothing points at a set before it is whole. Stops at a negative value.
 */
static int each_element(const struct compiled_ruleset *set,
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
	for (i = 0; i < set->cell_count && r == 0; i++) {
		struct ruleset_cell_key key = cell_key(set->id, &set->cells[i]);

		r = visit(SHADOW_CELLS, &key, &set->cells[i].cell, data);
	}
	for (i = 0; i < set->peer_count && r == 0; i++) {
		struct ruleset_peer_key key = {.ruleset = set->id, .identity = set->peers[i].identity};

		r = visit(SHADOW_PEERS, &key, &set->peers[i].peer_class, data);
	}
	return r < 0 ? r : visit(SHADOW_RULESETS, &set->id, &set->entry, data);
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

/* Is there room beside what stands? Asked before anything is touched. */
static bool fits(struct enforce *e, const struct compiled_ruleset *set)
{
	struct need need = {.e = e};
	int i;

	each_element(set, count_new, &need);
	for (i = 0; i < RULESET_MAPS; i++)
		if (need.more[i] > shadow_room(e->rules[i]))
			return false;
	return true;
}

/* Once all that fits is there: the numbers do not depend on the order of the sets. */
static void tell_misfit(struct enforce *e, const struct compiled_ruleset *set)
{
	struct need need = {.e = e};
	struct enforce_problem *problem;
	int i;

	each_element(set, count_new, &need);
	for (i = 0; i < RULESET_MAPS; i++) {
		const struct map_info *info = maps_get(e->maps, indexes[i]);

		if (need.more[i] <= shadow_room(e->rules[i]))
			continue;
		problem = enforce_problem_add(e, "policy", "map %s is full: %u entries, %zu used, %zu more needed; raise --max-policy-entries",
					      info->name, info->max_entries, shadow_count(e->rules[i]), need.more[i]);
		if (problem) {
			problem->map = info->name;
			problem->missing = need.more[i] - shadow_room(e->rules[i]);
		}
		log_error("policy", "map %s is full: %u entries, %zu used, %zu more needed: its pods are closed; raise --max-policy-entries",
			  info->name, info->max_entries, shadow_count(e->rules[i]), need.more[i]);
		return;
	}
}

/* The set at hand. */
struct writing {
	struct enforce *e;
	const struct compiled_ruleset *set;
	bool in_force; /* it may be: its peers change for the other slot only */
	bool differs;  /* the slots do */
};

static int put_peer(struct writing *w, const void *key, uint16_t peer_class)
{
	const struct ruleset_peer *present = shadow_find(w->e->rules[SHADOW_PEERS], key);
	unsigned int slot = enforce_slot(w->e);
	struct ruleset_peer peer = {.peer_class = {peer_class, peer_class}};

	if (w->in_force)
		peer.peer_class[slot] = present ? present->peer_class[slot] : w->set->entry.default_pod_class;
	w->differs |= peer.peer_class[slot] != peer_class;
	return shadow_put(w->e->rules[SHADOW_PEERS], key, &peer);
}

static int put(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct writing *w = data;

	if (map == SHADOW_PEERS)
		return put_peer(w, key, (uint16_t)*(const uint32_t *)value);
	return shadow_put(w->e->rules[map], key, value);
}

static const struct compiled_ruleset *ruleset_find(const struct compiled_policy *policy, uint32_t id)
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

/* An identity that belongs to its set's default class now says so in the other slot; its peer goes with the next sweep. */
static int leave_class(const void *key, const void *value, void *data)
{
	const struct ruleset_peer_key *peer_key = key;
	struct leaving *leaving = data;
	struct shadow *shadow = leaving->e->rules[SHADOW_PEERS];
	const struct compiled_ruleset *set = ruleset_find(leaving->policy, peer_key->ruleset);
	unsigned int slot = enforce_slot(leaving->e);
	struct ruleset_peer peer;
	int r;

	if (!set || shadow_is_wanted(shadow, key))
		return 0;
	memcpy(&peer, value, sizeof(peer));
	peer.peer_class[!slot] = set->entry.default_pod_class;
	leaving->differs |= peer.peer_class[slot] != set->entry.default_pod_class;
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

		writing.in_force = shadow_find(e->rules[SHADOW_RULESETS], &writing.set->id);
		ret_fits[i] = fits(e, &policy->rulesets[i]);
		if (!ret_fits[i])
			continue;
		r = each_element(&policy->rulesets[i], put, &writing);
		if (r == -E2BIG)
			ret_fits[i] = false;
		else if (r < 0)
			return r;
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

bool rules_sweep(struct enforce *e)
{
	bool swept = false;
	size_t i;
	int map;

	for (map = 0; map < RULESET_MAPS; map++)
		shadow_begin(e->rules[map]);
	for (i = 0; e->policy && i < e->policy->ruleset_count; i++)
		if (e->fits[i])
			each_element(&e->policy->rulesets[i], want, e);
	for (map = 0; map < RULESET_MAPS; map++)
		swept |= shadow_sweep(e->rules[map]) > 0;
	return swept;
}
