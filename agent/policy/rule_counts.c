/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/rule_counts.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"

/*
 * Programs add to a rule's own element, each CPU for itself. What the agent adds for flows that are
 * over stands in a second element that no program knows: nobody's addition is lost to another's.
 */
#define RULE_OVER 0x40000000u

struct rule {
	uint32_t key;
	struct rule_counter over;
	bool changed;	/* `over` is not in the map yet */
	size_t holders; /* cells of sets; 0: it goes with the next pruning */
	bool uncounted; /* the map had no room */
	UT_hash_handle hh;
};

struct rule_counts {
	int fd; /* borrowed */
	int cpus;
	struct rule_counter *values; /* of all CPUs */
	struct rule *rules;
	size_t uncounted, idle; /* idle: without holders */
	size_t changed;
};

static struct rule *find(struct rule_counts *c, uint32_t key)
{
	struct rule *rule;

	HASH_FIND(hh, c->rules, &key, sizeof(key), rule);
	return rule;
}

static struct rule *add(struct rule_counts *c, uint32_t key)
{
	struct rule *rule = calloc(1, sizeof(*rule));

	if (!rule)
		return NULL;
	rule->key = key;
	HASH_ADD(hh, c->rules, key, sizeof(rule->key), rule);
	if (HASH_ADDED(hh, rule)) {
		c->idle++;
		return rule;
	}
	free(rule);
	return NULL;
}

/* All CPUs' together; nothing where there is no such element. 0 or -errno. */
static int read_sum(struct rule_counts *c, uint32_t key, struct rule_counter *ret)
{
	struct rule_counter sum = {};
	int r = bpf_map_lookup_elem(c->fd, &key, c->values), i;

	if (r < 0 && r != -ENOENT)
		return r;
	for (i = 0; r == 0 && i < c->cpus; i++) {
		sum.packets += c->values[i].packets;
		sum.bytes += c->values[i].bytes;
	}
	*ret = sum;
	return 0;
}

static int write_one(struct rule_counts *c, uint32_t key, const struct rule_counter *value,
		     uint64_t flags)
{
	memset(c->values, 0, (size_t)c->cpus * sizeof(*c->values));
	if (value)
		c->values[0] = *value;
	return bpf_map_update_elem(c->fd, &key, c->values, flags);
}

static int load(struct rule_counts *c)
{
	uint32_t key, next;
	struct rule *rule;
	int r;

	for (r = bpf_map_get_next_key(c->fd, NULL, &next); r == 0;
	     r = bpf_map_get_next_key(c->fd, &key, &next)) {
		key = next;
		rule = find(c, key & ~RULE_OVER);
		if (!rule)
			rule = add(c, key & ~RULE_OVER);
		if (!rule)
			return -ENOMEM;
		/* Taken for nothing, it would be written back as nothing. */
		r = key & RULE_OVER ? read_sum(c, key, &rule->over) : 0;
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

int rule_counts_open(struct maps *maps, struct rule_counts **ret)
{
	struct rule_counts *c = calloc(1, sizeof(*c));
	int r = c ? 0 : -ENOMEM;

	if (r == 0) {
		c->fd = maps_fd(maps, MAP_RULE_COUNTERS);
		c->cpus = libbpf_num_possible_cpus();
		r = c->cpus < 0 ? c->cpus : 0;
	}
	if (r == 0) {
		c->values = calloc((size_t)c->cpus, sizeof(*c->values));
		r = c->values ? load(c) : -ENOMEM;
	}
	if (r < 0)
		rule_counts_close(c);
	else
		*ret = c;
	return r;
}

void rule_counts_close(struct rule_counts *c)
{
	struct rule *rule, *next;

	if (!c)
		return;
	if (c->values)
		rule_counts_flush(c);
	HASH_ITER (hh, c->rules, rule, next) {
		HASH_DEL(c->rules, rule);
		free(rule);
	}
	free(c->values);
	free(c);
}

/* False: the map is full. The programs do not find the rule then, and do not count. */
static bool make_elements(struct rule_counts *c, uint32_t key)
{
	if (write_one(c, key, NULL, BPF_NOEXIST) < 0 && errno != EEXIST)
		return false;
	if (write_one(c, key | RULE_OVER, NULL, BPF_NOEXIST) == 0 || errno == EEXIST)
		return true;
	bpf_map_delete_elem(c->fd, &key);
	return false;
}

static void make_room(struct rule_counts *c, struct rule *rule)
{
	c->uncounted -= rule->uncounted;
	rule->uncounted = !make_elements(c, rule->key);
	c->uncounted += rule->uncounted;
}

static int hold(struct rule_counts *c, uint32_t key)
{
	struct rule *rule = find(c, key);
	bool known = rule;

	if (!known)
		rule = add(c, key);
	if (!rule)
		return -ENOMEM;
	c->idle -= rule->holders++ == 0;
	if (!known || rule->uncounted)
		make_room(c, rule);
	return 0;
}

static void forget(struct rule_counts *c, struct rule *rule)
{
	uint32_t over = rule->key | RULE_OVER;

	c->uncounted -= rule->uncounted;
	c->changed -= rule->changed;
	c->idle--;
	bpf_map_delete_elem(c->fd, &rule->key);
	bpf_map_delete_elem(c->fd, &over);
	HASH_DEL(c->rules, rule);
	free(rule);
}

static void release(struct rule_counts *c, uint32_t key)
{
	struct rule *rule = find(c, key);

	if (rule && rule->holders)
		c->idle += --rule->holders == 0;
}

int rule_counts_hold(struct rule_counts *c, const struct compiled_ruleset *set)
{
	const struct rule *rule = find(c, RULE_DEFAULT | set->id);
	int r;

	if (rule && rule->holders)
		return 0; /* it was about to go, and is back */
	r = hold(c, RULE_DEFAULT | set->id);
	for (size_t i = 0; i < set->cell_count && r == 0; i++)
		for (int step = 0; step < POLICY_STEPS && r == 0; step++)
			if (set->cells[i].cell.rule[step])
				r = hold(c, set->cells[i].cell.rule[step]);
	return r;
}

void rule_counts_release(struct rule_counts *c, const struct compiled_ruleset *set)
{
	release(c, RULE_DEFAULT | set->id);
	for (size_t i = 0; i < set->cell_count; i++)
		for (int step = 0; step < POLICY_STEPS; step++)
			if (set->cells[i].cell.rule[step])
				release(c, set->cells[i].cell.rule[step]);
}

void rule_counts_release_all(struct rule_counts *c)
{
	struct rule *rule, *next;

	HASH_ITER (hh, c->rules, rule, next)
		rule->holders = 0;
	c->idle = HASH_COUNT(c->rules);
}

void rule_counts_prune(struct rule_counts *c)
{
	struct rule *rule, *next;

	if (!c->idle)
		return;
	HASH_ITER (hh, c->rules, rule, next)
		if (!rule->holders)
			forget(c, rule);
	if (!c->uncounted)
		return;
	/* There is room now. */
	HASH_ITER (hh, c->rules, rule, next)
		if (rule->uncounted)
			make_room(c, rule);
}

static void add_over(struct rule_counts *c, uint32_t key, uint32_t packets, uint64_t bytes)
{
	struct rule *rule = key ? find(c, key) : NULL;

	if (!rule || rule->uncounted)
		return;
	rule->over.packets += packets;
	rule->over.bytes += bytes;
	c->changed += !rule->changed;
	rule->changed = true;
}

void rule_counts_over(const struct flow_rules *rules, uint32_t packets, uint64_t bytes,
		      void *rule_counts)
{
	if (!packets)
		return;
	add_over(rule_counts, rules->egress_rule, packets, bytes);
	add_over(rule_counts, rules->ingress_rule, packets, bytes);
}

void rule_counts_flush(struct rule_counts *c)
{
	struct rule *rule, *next;

	if (!c->changed)
		return;
	HASH_ITER (hh, c->rules, rule, next) {
		if (!rule->changed || write_one(c, rule->key | RULE_OVER, &rule->over, BPF_ANY) < 0)
			continue;
		rule->changed = false;
		c->changed--;
	}
}

struct rule_counter rule_counts_get(struct rule_counts *c, uint32_t key)
{
	struct rule_counter counter = {};
	const struct rule *rule = find(c, key);
	/* What is shown once is read again the next time. */
	int r = read_sum(c, key, &counter);

	if (r == 0 && rule) {
		counter.packets += rule->over.packets;
		counter.bytes += rule->over.bytes;
	}
	return counter;
}

bool rule_counts_counted(const struct rule_counts *c, uint32_t key)
{
	struct rule *rule;

	HASH_FIND(hh, c->rules, &key, sizeof(key), rule);
	return rule && !rule->uncounted;
}

size_t rule_counts_uncounted(const struct rule_counts *c)
{
	return c->uncounted;
}
