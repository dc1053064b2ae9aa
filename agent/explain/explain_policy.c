/* SPDX-License-Identifier: Apache-2.0 */
/* The operation "policy": one policy, its pods, and its rules with what they have counted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/explain/explain_internal.h"
#include "agent/explain/explain_words.h"
#include "agent/kernel/flows_scan.h"
#include "agent/policy/rule_counts.h"

#define CLUSTER_PREFIX "cluster"

/* ---------------------------------------------------------------- which one */

struct candidates {
	const struct object *found;
	size_t count;
	char names[1024]; /* of all, as they can be asked for */
};

static void candidate_add(struct candidates *c, const struct object *policy)
{
	size_t length = strlen(c->names);

	c->found = policy;
	c->count++;
	snprintf(c->names + length, sizeof(c->names) - length, "%s%s/%s", length ? ", " : "",
		 *policy->namespace ? policy->namespace : CLUSTER_PREFIX, policy->name);
}

static void find_everywhere(const struct store *store, const char *name, struct candidates *c)
{
	const struct object *cluster = store_get(store, OBJECT_CLUSTER_NETWORK_POLICY, "", name);
	size_t count;
	const struct object *const *list = store_objects(store, OBJECT_NETWORK_POLICY, &count);

	if (cluster)
		candidate_add(c, cluster);
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i]->name, name) == 0)
			candidate_add(c, list[i]);
}

static void find_in(const struct store *store, const char *namespace, const char *name,
		    struct candidates *c)
{
	const struct object *policy = store_get(store, OBJECT_NETWORK_POLICY, namespace, name);
	const struct object *cluster =
		strcmp(namespace, CLUSTER_PREFIX) == 0
			? store_get(store, OBJECT_CLUSTER_NETWORK_POLICY, "", name)
			: NULL;

	if (cluster)
		candidate_add(c, cluster);
	else if (policy)
		candidate_add(c, policy);
}

/* NULL after an answer that says why. */
static const struct object *find_policy(struct control_request *request, const struct store *store,
					const char *text)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	CLEANUP(cleanup_free) char *namespace = slash ? strndup(text, slash - text) : NULL;
	struct candidates candidates = {};
	char message[1536];

	if (!text || !*text) {
		control_fail(
			request, EINVAL,
			"name is missing: NAMESPACE/NAME, or the name of a ClusterNetworkPolicy",
			NULL);
		return NULL;
	}
	if (namespace)
		find_in(store, namespace, slash + 1, &candidates);
	else
		find_everywhere(store, text, &candidates);
	if (candidates.count == 1)
		return candidates.found;
	if (candidates.count)
		snprintf(message, sizeof(message), "%.200s names %zu policies; give one of: %s",
			 text, candidates.count, candidates.names);
	else
		snprintf(message, sizeof(message),
			 "policy %.500s not found; polderctl policy list shows all policies", text);
	control_fail(request, candidates.count ? EINVAL : ENOENT, message, NULL);
	return NULL;
}

/* ---------------------------------------------------------------- counts */

struct living {
	uint32_t rule;
	uint64_t packets, bytes;
};

/* Living flows' packets by rule; for each rule of the policy one. */
struct tally {
	struct living *rules;
	size_t count;
};

static void tally_add(struct tally *tally, uint32_t rule, const struct flow_record *record)
{
	for (size_t i = 0; rule && i < tally->count; i++)
		if (tally->rules[i].rule == rule) {
			tally->rules[i].packets += record->flow.packets;
			tally->rules[i].bytes += record->flow.bytes;
		}
}

static bool tally_flow(const struct flow_record *record, void *data)
{
	if (record->flow.packets) {
		tally_add(data, record->rules.egress_rule, record);
		tally_add(data, record->rules.ingress_rule, record);
	}
	return true;
}

/* The policy's rules, of which nothing is counted yet. 0 or -ENOMEM. */
static int tally_make(const struct show_sources *sources, const struct object *policy,
		      struct tally *ret)
{
	const struct network_policy_object *spec = &policy->network_policy;

	ret->rules = calloc(spec->ingress_count + spec->egress_count + 1, sizeof(*ret->rules));
	if (!ret->rules)
		return -ENOMEM;
	for (size_t i = 0; i < spec->ingress_count; i++)
		ret->rules[ret->count++].rule = show_rule_number(sources, policy, false, i);
	for (size_t i = 0; i < spec->egress_count; i++)
		ret->rules[ret->count++].rule = show_rule_number(sources, policy, true, i);
	return 0;
}

static void tally_take(struct tally *to, const struct tally *from)
{
	for (size_t i = 0; i < to->count; i++)
		for (size_t j = 0; to->rules[i].rule && j < from->count; j++)
			if (from->rules[j].rule == to->rules[i].rule)
				to->rules[i] = from->rules[j];
}

/* ---------------------------------------------------------------- parts */

/* A rule without number decides nothing here: nothing is missing from its count. */
static bool has_room(const struct show_sources *sources, uint32_t rule)
{
	const struct rule_counts *counts = policy_sync_rule_counts(sources->policy_sync);

	return !rule || !rule_counts_uncounted(counts) || rule_counts_counted(counts, rule);
}

static void add_rules(const struct show_sources *sources, const struct object *policy, bool egress,
		      const struct living *living, json_t *list)
{
	const struct network_policy_object *spec = &policy->network_policy;
	const struct policy_rule *rules = egress ? spec->egress : spec->ingress;
	size_t count = egress ? spec->egress_count : spec->ingress_count;

	for (size_t i = 0; i < count; i++) {
		struct rule_counter counter = rule_counts_get(
			policy_sync_rule_counts(sources->policy_sync), living[i].rule);
		bool counts =
			rules[i].action != RULE_PASS; /* the rule that decides afterwards counts */
		bool counted = counts && has_room(sources, living[i].rule);
		CLEANUP(cleanup_free) char *text = explain_rule_words(policy, &rules[i], egress);

		json_array_append_new(
			list, json_pack("{s:s, s:I, s:o, s:s, s:s, s:s, s:b, s:o, s:o}",
					"direction", egress ? "egress" : "ingress", "rule",
					(json_int_t)i, "rule_path", explain_rule_path(egress, i),
					"rule_name", rules[i].name ? rules[i].name : "", "action",
					explain_action_name(policy, &rules[i]), "text",
					text ? text : "", "counted", counted || !counts, "packets",
					counted ? show_u64(counter.packets + living[i].packets)
						: json_null(),
					"bytes",
					counted ? show_u64(counter.bytes + living[i].bytes)
						: json_null()));
	}
}

struct policy_pods {
	const struct show_sources *sources;
	const struct evaluate_objects *objects;
	const struct object *policy;
	json_t *list;
	uint32_t seen[2][POLDER_MAX_PODS]; /* rule sets, by direction */
	size_t seen_count[2];
	bool no_memory; /* nobody knows of all pods whether they are selected */
};

static void see_ruleset(struct policy_pods *pods, int direction, uint32_t ruleset)
{
	for (size_t i = 0; i < pods->seen_count[direction]; i++)
		if (pods->seen[direction][i] == ruleset)
			return;
	if (pods->seen_count[direction] < POLDER_MAX_PODS)
		pods->seen[direction][pods->seen_count[direction]++] = ruleset;
}

static void add_pod(struct policy_pods *pods, const struct local_pod *local)
{
	const struct object *object = policy_sync_pod_object(pods->sources->policy_sync, local);
	struct show_pod found;
	bool selects = false;
	json_t *ips;

	if (local->gone || !object)
		return;
	pods->no_memory |= policy_selects(pods->objects, pods->policy, object, &selects) < 0;
	if (!selects)
		return;
	ips = json_array();
	show_pod_lookup(pods->sources, local, &found);
	see_ruleset(pods, INGRESS, found.ingress_ruleset);
	see_ruleset(pods, EGRESS, found.egress_ruleset);
	if (!addr_is_zero(&local->ipv4))
		json_array_append_new(ips, show_addr(&local->ipv4));
	if (!addr_is_zero(&local->ipv6))
		json_array_append_new(ips, show_addr(&local->ipv6));
	json_array_append_new(pods->list,
			      json_pack("{s:o, s:o, s:I, s:I}", "pod",
					json_sprintf("%s/%s", local->namespace, local->name), "ips",
					ips, "ingress_ruleset", (json_int_t)found.ingress_ruleset,
					"egress_ruleset", (json_int_t)found.egress_ruleset));
}

/* Packets that no rule of all policies that isolate these pods matched; null: the policy does not
 * isolate. */
static json_t *default_deny(const struct policy_pods *pods, int direction, bool isolates)
{
	struct rule_counter sum = {};
	bool counted = true;

	if (!isolates)
		return json_null();
	for (size_t i = 0; i < pods->seen_count[direction]; i++) {
		struct rule_counter one =
			rule_counts_get(policy_sync_rule_counts(pods->sources->policy_sync),
					RULE_DEFAULT | pods->seen[direction][i]);

		counted =
			counted && has_room(pods->sources, RULE_DEFAULT | pods->seen[direction][i]);
		sum.packets += one.packets;
		sum.bytes += one.bytes;
	}
	return json_pack(
		"{s:b, s:o, s:o, s:s}", "counted", counted, "packets",
		counted ? show_u64(sum.packets) : json_null(), "bytes",
		counted ? show_u64(sum.bytes) : json_null(), "text",
		direction == EGRESS
			? "egress that no rule of the policies that isolate these pods allows"
			: "ingress that no rule of the policies that isolate these pods allows");
}

static json_t *types_document(const struct object *policy)
{
	const struct network_policy_object *spec = &policy->network_policy;
	bool cluster = policy->kind == OBJECT_CLUSTER_NETWORK_POLICY;
	json_t *types = json_array();

	if (cluster ? spec->ingress_count > 0 : spec->isolates_ingress)
		json_array_append_new(types, json_string("Ingress"));
	if (cluster ? spec->egress_count > 0 : spec->isolates_egress)
		json_array_append_new(types, json_string("Egress"));
	return types;
}

static json_t *policy_document(const struct show_sources *sources,
			       const struct evaluate_objects *objects, const struct object *policy,
			       const struct tally *tally)
{
	const struct network_policy_object *spec = &policy->network_policy;
	bool cluster = policy->kind == OBJECT_CLUSTER_NETWORK_POLICY;
	struct policy_pods *pods = calloc(1, sizeof(*pods));
	CLEANUP(cleanup_free) char *subject = explain_subject_words(policy);
	json_t *document, *rules = json_array();
	char name[EXPLAIN_NAME_MAX];

	if (!pods) {
		json_decref(rules);
		return NULL;
	}
	*pods = (struct policy_pods){
		.sources = sources, .objects = objects, .policy = policy, .list = json_array()};
	for (size_t i = 0; i < pods_count(sources->pods); i++)
		add_pod(pods, pods_at(sources->pods, i));
	if (cluster || spec->isolates_ingress)
		add_rules(sources, policy, false, tally->rules, rules);
	if (cluster || spec->isolates_egress)
		add_rules(sources, policy, true, tally->rules + spec->ingress_count, rules);
	explain_policy_name(policy, name, sizeof(name));
	document = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:{s:o, s:o}}", "kind",
		object_kind_name(policy->kind), "policy", name, "namespace", policy->namespace,
		"name", policy->name, "tier", explain_tier_name(policy), "priority",
		cluster ? json_integer(spec->priority) : json_null(), "types",
		types_document(policy), "subject", subject ? subject : "", "pods", pods->list,
		"rules", rules, "default_deny", "ingress",
		default_deny(pods, INGRESS, !cluster && spec->isolates_ingress), "egress",
		default_deny(pods, EGRESS, !cluster && spec->isolates_egress));
	if (pods->no_memory) {
		json_decref(document);
		document = NULL;
	}
	free(pods);
	return document;
}

/* A question whose flows are counted beside the loop. */
struct asking {
	struct flows_scan scan; /* first: on_counted() is given it */
	struct control_request *request;
	json_t *args;
	const struct show_sources *sources;
	struct tally tally;
};

static void asking_free(struct asking *asking)
{
	json_decref(asking->args);
	free(asking->tally.rules);
	free(asking);
}

static const struct object *find_asked(const struct asking *asking)
{
	return find_policy(asking->request, asking->sources->store,
			   json_string_value(json_object_get(asking->args, "name")));
}

/* The policy may have changed meanwhile, or gone. */
static void on_counted(struct flows_scan *scan, int r)
{
	struct asking *asking = (struct asking *)scan;
	const struct show_sources *sources = asking->sources;
	const struct object *policy = find_asked(asking);
	struct evaluate_objects objects = {};
	struct tally tally = {};

	if (policy && r == 0)
		r = tally_make(sources, policy, &tally);
	tally_take(&tally, &asking->tally);
	objects.namespaces =
		store_objects(sources->store, OBJECT_NAMESPACE, &objects.namespace_count);
	if (policy)
		show_reply(asking->request,
			   r < 0 ? NULL : policy_document(sources, &objects, policy, &tally));
	free(tally.rules);
	asking_free(asking);
}

/* Answers, unless the flows are being counted now. */
static int begin(struct asking *asking)
{
	const struct object *policy = find_asked(asking);
	int r;

	if (!policy)
		return -ENOENT;
	r = tally_make(asking->sources, policy, &asking->tally);
	if (r == 0)
		r = flows_scan_start(asking->sources->loop, &asking->scan);
	if (r < 0)
		show_reply(asking->request, NULL);
	return r;
}

static void answer(struct control_request *request, const json_t *args,
		   const struct show_sources *sources)
{
	struct asking *asking = calloc(1, sizeof(*asking));

	if (!asking) {
		show_reply(request, NULL);
		return;
	}
	asking->request = request;
	asking->args = json_deep_copy(args);
	asking->sources = sources;
	asking->scan = (struct flows_scan){.maps = flows_maps_of(sources->maps),
					   .visit = tally_flow,
					   .done = on_counted,
					   .data = &asking->tally};
	if (begin(asking) < 0)
		asking_free(asking);
}

void explain_policy_request(struct control_request *request, const json_t *args, int netns_fd,
			    void *data)
{
	explain_when_in_force(request, args, data, answer);
}
