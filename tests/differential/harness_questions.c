/* SPDX-License-Identifier: Apache-2.0 */
/* What the world holds: rule numbers, packets of each rule, counters, names, maps. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/flows.h"
#include "agent/policy/rule_counts.h"
#include "policy/compile/registry.h"
#include "tests/differential/harness.h"

static const char *const directions[DROP_HOOKS] = {
	"from_pod", "to_pod", "from_wire", "to_wire", "socket", "from_tunnel", "to_tunnel"};
static const char *const reasons[REASON_COUNT] = {
#define X(id, name, text) name,
	POLDER_REASONS(X)
#undef X
};
static const char *const counters[COUNTER_COUNT] = {
#define X(id, name, text) name,
	POLDER_COUNTERS(X)
#undef X
};

int harness_rules(struct harness *h, const json_t *request, json_t *reply)
{
	const struct policy_registry *registry =
		policy_sync_registry(sandbox_policy_sync(h->sandbox));
	const struct registry_rule *rule;
	struct rule_origin origin;
	json_t *rules = json_array();

	for (rule = registry->rules_by_number; rule; rule = rule->hh_number.next) {
		if (policy_rule_origin(registry, rule->number, &origin) < 0)
			continue;
		json_array_append_new(rules,
				      json_pack("{s:I, s:s, s:s, s:s, s:I}", "rule",
						(json_int_t)rule->number, "namespace",
						origin.namespace, "name", origin.name, "direction",
						origin.egress ? "egress" : "ingress", "index",
						(json_int_t)origin.index));
	}
	return json_object_set_new(reply, "rules", rules) < 0 ? -ENOMEM : 0;
}

/* Packets of the flows that live, by their rules. */
struct rule_sum {
	uint32_t number;
	uint64_t packets;
	UT_hash_handle hh;
};

static void sum_add(struct rule_sum *sums, uint32_t number, uint64_t packets)
{
	struct rule_sum *sum;

	HASH_FIND(hh, sums, &number, sizeof(number), sum);
	if (sum)
		sum->packets += packets;
}

static bool visit_flow(const struct flow_record *record, void *data)
{
	sum_add(data, record->rules.egress_rule, record->flow.packets);
	sum_add(data, record->rules.ingress_rule, record->flow.packets);
	return true;
}

int harness_rule_packets(struct harness *h, const json_t *request, json_t *reply)
{
	const struct policy_registry *registry =
		policy_sync_registry(sandbox_policy_sync(h->sandbox));
	struct rule_counts *counts = policy_sync_rule_counts(sandbox_policy_sync(h->sandbox));
	struct rule_sum *sums = NULL, *sum, *next;
	CLEANUP(cleanup_free)
	struct rule_counter *values = calloc(libbpf_num_possible_cpus(), sizeof(*values));
	const struct registry_rule *rule;
	json_t *all = json_array();
	int r = values ? 0 : -ENOMEM;

	for (rule = registry->rules_by_number; rule && values && r == 0;
	     rule = rule->hh_number.next) {
		if (maps_find(sandbox_maps(h->sandbox), MAP_RULE_COUNTERS, &rule->number, values) <
		    0)
			continue; /* stands in no rule set */
		sum = calloc(1, sizeof(*sum));
		if (!sum) {
			r = -ENOMEM;
			break;
		}
		sum->number = rule->number;
		sum->packets = rule_counts_get(counts, rule->number).packets;
		HASH_ADD(hh, sums, number, sizeof(sum->number), sum);
		if (!HASH_ADDED(hh, sum)) {
			free(sum);
			r = -ENOMEM;
			break;
		}
	}
	if (sums)
		flows_list(sandbox_flows(h->sandbox), 0, visit_flow, sums);
	HASH_ITER (hh, sums, sum, next) {
		if (sum->packets)
			json_array_append_new(all, json_pack("[I, I]", (json_int_t)sum->number,
							     (json_int_t)sum->packets));
		HASH_DEL(sums, sum);
		free(sum);
	}
	if (r < 0) {
		json_decref(all);
		return harness_fail(h, r, "rule_packets: %s", strerror(-r));
	}
	return json_object_set_new(reply, "packets", all) < 0 ? -ENOMEM : 0;
}

int harness_counters(struct harness *h, const json_t *request, json_t *reply)
{
	struct maps *maps = sandbox_maps(h->sandbox);
	int cpus = libbpf_num_possible_cpus(), cpu;
	CLEANUP(cleanup_free) struct drop_counter *values = calloc(cpus, sizeof(*values));
	uint64_t *words = (uint64_t *)values;
	json_t *sums = json_object(), *drops = json_array();
	uint32_t i;

	for (i = 0; values && i < COUNTER_COUNT; i++) {
		json_int_t sum = 0;

		if (maps_find(maps, MAP_COUNTERS, &i, values) == 0)
			for (cpu = 0; cpu < cpus; cpu++)
				sum += words[cpu];
		json_object_set_new(sums, counters[i], json_integer(sum));
	}
	for (i = 0; values && i < REASON_COUNT * DROP_HOOKS; i++) {
		json_int_t packets = 0, bytes = 0;

		if (maps_find(maps, MAP_DROPS, &i, values) < 0)
			continue;
		for (cpu = 0; cpu < cpus; cpu++) {
			packets += values[cpu].packets;
			bytes += values[cpu].bytes;
		}
		if (packets)
			json_array_append_new(drops, json_pack("{s:s, s:s, s:I, s:I}", "direction",
							       directions[i % DROP_HOOKS], "reason",
							       reasons[i / DROP_HOOKS], "packets",
							       packets, "bytes", bytes));
	}
	json_object_set_new(reply, "counters", sums);
	return json_object_set_new(reply, "drops", drops) < 0 ? -ENOMEM : 0;
}

static json_t *names(const char *const *list, size_t count)
{
	json_t *array = json_array();
	size_t i;

	for (i = 0; i < count; i++)
		json_array_append_new(array, json_string(list[i]));
	return array;
}

int harness_reasons(struct harness *h, const json_t *request, json_t *reply)
{
	json_object_set_new(reply, "reasons", names(reasons, REASON_COUNT));
	return json_object_set_new(reply, "directions", names(directions, DROP_HOOKS)) < 0 ? -ENOMEM
											   : 0;
}

/* Elements of a hash or trie; -1 for all others. */
static json_int_t element_count(struct maps *maps, enum map_index index)
{
	const char *type = maps_get(maps, index)->type;
	void *keys = NULL, *values = NULL;
	size_t count = 0;

	if ((strcmp(type, "hash") != 0 && strcmp(type, "lpm_trie") != 0) ||
	    maps_dump(maps, index, &keys, &values, &count) < 0)
		return -1;
	free(keys);
	free(values);
	return count;
}

int harness_maps(struct harness *h, const json_t *request, json_t *reply)
{
	struct maps *maps = sandbox_maps(h->sandbox);
	json_t *all = json_object();
	enum map_index i;

	for (i = 0; i < MAP_COUNT; i++) {
		struct bpf_map_info info = {};
		uint32_t length = sizeof(info);
		json_int_t count = element_count(maps, i);
		json_t *map;

		if (bpf_obj_get_info_by_fd(maps_fd(maps, i), &info, &length) < 0)
			continue;
		map = json_pack("{s:I}", "id", (json_int_t)info.id);
		if (count >= 0)
			json_object_set_new(map, "entries", json_integer(count));
		json_object_set_new(all, maps_get(maps, i)->name, map);
	}
	return json_object_set_new(reply, "maps", all) < 0 ? -ENOMEM : 0;
}
