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

int rules_write(struct enforce *e, const struct compiled_policy *policy, bool *ret_fits)
{
	size_t i;
	int r;

	for (i = 0; i < policy->ruleset_count; i++) {
		ret_fits[i] = fits(e, &policy->rulesets[i]);
		if (!ret_fits[i])
			continue;
		r = each_element(&policy->rulesets[i], put, e);
		if (r == -E2BIG)
			ret_fits[i] = false;
		else if (r < 0)
			return r;
	}
	return 0;
}

static int want(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct enforce *e = data;

	(void)value;
	shadow_want(e->rules[map], key);
	return 0;
}

void rules_sweep(struct enforce *e)
{
	size_t i;
	int map;

	for (map = 0; map < RULESET_MAPS; map++)
		shadow_begin(e->rules[map]);
	for (i = 0; e->policy && i < e->policy->ruleset_count; i++)
		each_element(&e->policy->rulesets[i], want, e);
	for (map = 0; map < RULESET_MAPS; map++)
		shadow_sweep(e->rules[map]);
}
