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

/* Is there room beside what stands? Told before anything is touched. */
static bool fits(struct enforce *e, const struct compiled_ruleset *set)
{
	struct need need = {.e = e};
	int i;

	each_element(set, count_new, &need);
	for (i = 0; i < RULESET_MAPS; i++) {
		const struct map_info *info = maps_get(e->maps, indexes[i]);

		if (need.more[i] <= shadow_room(e->rules[i]))
			continue;
		enforce_problem_add(e, "policy", "map %s is full: %u entries, %zu used, %zu more needed; raise --max-policy-entries",
				    info->name, info->max_entries, shadow_count(e->rules[i]), need.more[i]);
		log_error("policy", "map %s is full: %u entries, %zu used, %zu more needed: its pods are closed; raise --max-policy-entries",
			  info->name, info->max_entries, shadow_count(e->rules[i]), need.more[i]);
		return false;
	}
	return true;
}

static int put(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct enforce *e = data;

	return shadow_put(e->rules[map], key, value);
}

/* A peer that stands there already keeps its class until rules_update(). */
static int put_new(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct enforce *e = data;

	if (map == SHADOW_PEERS && shadow_want(e->rules[map], key))
		return 0;
	return put(map, key, value, data);
}

int rules_write(struct enforce *e, const struct compiled_policy *policy, bool *ret_fits)
{
	size_t i;
	int r;

	shadow_begin(e->rules[SHADOW_PEERS]);
	for (i = 0; i < policy->ruleset_count; i++) {
		ret_fits[i] = fits(e, &policy->rulesets[i]);
		if (!ret_fits[i])
			continue;
		r = each_element(&policy->rulesets[i], put_new, e);
		if (r == -E2BIG)
			ret_fits[i] = false;
		else if (r < 0)
			return r;
	}
	return 0;
}

static bool is_in_policy(const void *key, const void *data)
{
	const struct ruleset_peer_key *peer = key;
	const struct compiled_policy *policy = data;
	size_t low = 0, high = policy->ruleset_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (policy->rulesets[middle].id == peer->ruleset)
			return true;
		if (policy->rulesets[middle].id < peer->ruleset)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

int rules_update(struct enforce *e, const struct compiled_policy *policy, const bool *fits)
{
	size_t i, j;
	int r;

	for (i = 0; i < policy->ruleset_count; i++) {
		const struct compiled_ruleset *set = &policy->rulesets[i];

		for (j = 0; j < set->peer_count && fits[i]; j++) {
			struct ruleset_peer_key key = {.ruleset = set->id, .identity = set->peers[j].identity};

			r = shadow_put(e->rules[SHADOW_PEERS], &key, &set->peers[j].peer_class);
			if (r < 0)
				return r;
		}
	}
	/* Identities that belong to the set's default class now. Sets that are in force no more are left to rules_sweep(). */
	r = shadow_sweep_if(e->rules[SHADOW_PEERS], is_in_policy, policy);
	return r < 0 ? r : 0;
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
