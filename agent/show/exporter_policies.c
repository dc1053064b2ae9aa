/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of policies that pods of this node have. */
#include <stdlib.h>

#include "agent/policy/rule_counts.h"
#include "agent/show/exporter_internal.h"
#include "agent/show/show_internal.h"

/* A Prometheus server keeps each series: those beyond are told as one, without a name. */
#define POLICIES_MAX 1000

struct policy_count {
	const struct object *policy;		 /* NULL: all that have no place of their own */
	bool numbered[DIRECTIONS];		 /* a pod of this node has a rule of it */
	struct rule_counter seen[DIRECTIONS][2]; /* allowed, denied */
};

static void count_direction(const struct show_sources *sources, const struct object *policy,
			    enum direction direction, struct policy_count *to)
{
	const struct network_policy_object *spec = &policy->network_policy;
	const struct policy_rule *rules = direction == EGRESS ? spec->egress : spec->ingress;
	size_t count = direction == EGRESS ? spec->egress_count : spec->ingress_count;

	for (size_t i = 0; i < count; i++) {
		uint32_t number = show_rule_number(sources, policy, direction == EGRESS, i);
		struct rule_counter *sum = &to->seen[direction][rules[i].action == RULE_DENY];
		struct rule_counter one;

		if (!number)
			continue;
		one = rule_counts_get(policy_sync_rule_counts(sources->policy_sync), number);
		to->numbered[direction] = true;
		sum->packets += one.packets;
		sum->bytes += one.bytes;
	}
}

static void add_to(struct policy_count *to, const struct policy_count *from)
{
	for (int direction = 0; direction < DIRECTIONS; direction++) {
		to->numbered[direction] |= from->numbered[direction];
		for (int denied = 0; denied < 2; denied++) {
			to->seen[direction][denied].packets +=
				from->seen[direction][denied].packets;
			to->seen[direction][denied].bytes += from->seen[direction][denied].bytes;
		}
	}
}

static size_t count_kind(const struct show_sources *sources, enum object_kind kind,
			 struct policy_count *counts, size_t used)
{
	size_t objects, i;
	const struct object *const *all = store_objects(sources->store, kind, &objects);

	for (i = 0; i < objects; i++) {
		struct policy_count one = {.policy = all[i]};

		count_direction(sources, all[i], INGRESS, &one);
		count_direction(sources, all[i], EGRESS, &one);
		if (!one.numbered[INGRESS] && !one.numbered[EGRESS])
			continue;
		if (used < POLICIES_MAX)
			counts[used++] = one;
		else
			add_to(&counts[POLICIES_MAX], &one);
	}
	return used;
}

static void add_samples(struct metrics *m, const struct policy_count *count, bool bytes)
{
	static const char *const directions[DIRECTIONS] = {"ingress", "egress"};
	static const char *const verdicts[2] = {"allow", "deny"};

	for (int direction = 0; direction < DIRECTIONS; direction++)
		for (int denied = 0; denied < 2 && count->numbered[direction]; denied++) {
			const struct rule_counter *seen = &count->seen[direction][denied];
			const struct metric_label labels[] = {
				{"namespace", count->policy ? count->policy->namespace : ""},
				{"policy", count->policy ? count->policy->name : ""},
				{"direction", directions[direction]},
				{"verdict", verdicts[denied]}};

			metrics_sample_u64(m, bytes ? seen->bytes : seen->packets, labels, 4);
		}
}

static void add_family(struct metrics *m, const struct policy_count *counts, size_t used,
		       bool bytes)
{
	if (bytes)
		metrics_family(m, "polder_policy_bytes_total", METRIC_COUNTER,
			       "Bytes that rules of a policy decided, of flows that are over and "
			       "of packets that were denied.");
	else
		metrics_family(m, "polder_policy_packets_total", METRIC_COUNTER,
			       "Packets that rules of a policy decided, of flows that are over "
			       "and of packets that were denied.");
	for (size_t i = 0; i < used; i++)
		add_samples(m, &counts[i], bytes);
	add_samples(m, &counts[POLICIES_MAX], bytes);
}

void exporter_add_policies(struct metrics *m, const struct show_sources *sources)
{
	struct policy_count *counts = calloc(POLICIES_MAX + 1, sizeof(*counts));
	size_t used;

	if (!counts)
		return;
	used = count_kind(sources, OBJECT_NETWORK_POLICY, counts, 0);
	used = count_kind(sources, OBJECT_CLUSTER_NETWORK_POLICY, counts, used);
	add_family(m, counts, used, false);
	add_family(m, counts, used, true);
	free(counts);
}
