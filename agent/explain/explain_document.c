/* SPDX-License-Identifier: Apache-2.0 */
/* The answer as JSON: the conclusion first, then what each way said. See docs/control-protocol.md.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/explain/explain_internal.h"
#include "agent/kernel/counters.h"
#include "policy/objects/json.h"

static const char *const side_names[DIRECTIONS] = {[INGRESS] = "ingress", [EGRESS] = "egress"};
static const char *const method_names[EXPLAIN_METHODS] = {"objects", "maps", "program"};
static const char *const tier_names[] = {[TIER_ADMIN] = "Admin",
					 [TIER_NETWORK_POLICY] = "NetworkPolicy",
					 [TIER_BASELINE] = "Baseline"};

json_t *explain_rule_path(bool egress, size_t index)
{
	return json_sprintf("spec.%s[%zu]", egress ? "egress" : "ingress", index);
}

const char *explain_action_name(const struct object *policy, const struct policy_rule *rule)
{
	static const char *const names[] = {
		[RULE_ACCEPT] = "Accept", [RULE_DENY] = "Deny", [RULE_PASS] = "Pass"};

	return policy_tier_of(policy) == TIER_NETWORK_POLICY ? "Allow" : names[rule->action];
}

const char *explain_tier_name(const struct object *policy)
{
	return tier_names[policy_tier_of(policy)];
}

static json_t *null_or_string(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

/* ---------------------------------------------------------------- the conclusion */

static bool is_evaluated_here(const struct explain *explain, const struct explain_path *path,
			      enum direction side)
{
	if (side == EGRESS)
		return path->vantage == EXPLAIN_FROM_POD;
	return path->to.local &&
	       (path->vantage == EXPLAIN_FROM_POD || path->vantage == EXPLAIN_FROM_WIRE);
}

/* What the objects say of what this node evaluates: the rest is another node's. */
static void objects_here(const struct explain *explain, const struct explain_path *path,
			 struct explain_method *ret)
{
	*ret = path->methods[METHOD_OBJECTS];
	for (int side = 0; side < DIRECTIONS; side++)
		if (!is_evaluated_here(explain, path, side))
			ret->rule[side].set = false;
	if (ret->reason == REASON_POLICY_EGRESS && !is_evaluated_here(explain, path, EGRESS))
		ret->reason = path->answer.ingress.allowed ? 0 : REASON_POLICY_INGRESS;
	if (ret->reason == REASON_POLICY_INGRESS && !is_evaluated_here(explain, path, INGRESS))
		ret->reason = 0;
	ret->allowed = !ret->reason;
}

static const struct explain_method *in_force(const struct explain_path *path)
{
	if (path->methods[METHOD_PROGRAM].asked)
		return &path->methods[METHOD_PROGRAM];
	return path->methods[METHOD_MAPS].asked ? &path->methods[METHOD_MAPS]
						: &path->methods[METHOD_OBJECTS];
}

/* What is in force here, and what another node will say. */
static void conclude(const struct explain *explain, const struct explain_path *path,
		     struct explain_method *ret)
{
	const struct explain_method *objects = &path->methods[METHOD_OBJECTS];

	*ret = *in_force(path);
	for (int side = 0; side < DIRECTIONS; side++)
		if (!is_evaluated_here(explain, path, side))
			ret->rule[side] = objects->rule[side];
	if (!ret->allowed || explain->reason)
		return;
	if (!is_evaluated_here(explain, path, EGRESS) && !path->answer.egress.allowed)
		ret->reason = REASON_POLICY_EGRESS;
	else if (!is_evaluated_here(explain, path, INGRESS) && !path->answer.ingress.allowed)
		ret->reason = REASON_POLICY_INGRESS;
	ret->allowed = !ret->reason;
}

/* The direction that decides; -1: neither. */
static int deciding_side(const struct explain_method *method)
{
	if (method->reason == REASON_POLICY_EGRESS)
		return EGRESS;
	if (method->reason == REASON_POLICY_INGRESS)
		return INGRESS;
	if (method->reason)
		return -1;
	if (method->rule[INGRESS].set)
		return INGRESS;
	return method->rule[EGRESS].set ? EGRESS : -1;
}

/* ---------------------------------------------------------------- rules */

static const struct object *find_policy(const struct explain *explain,
					const struct evaluate_direction *direction,
					const char *name)
{
	const struct object *const *lists[] = {direction->policies, explain->policies};
	size_t counts[] = {direction->policy_count, explain->objects.policy_count};
	char full[EXPLAIN_NAME_MAX];

	for (int list = 0; list < 2; list++)
		for (size_t i = 0; i < counts[list]; i++) {
			explain_policy_name(lists[list][i], full, sizeof(full));
			if (strcmp(full, name) == 0)
				return lists[list][i];
		}
	return NULL;
}

static const struct policy_rule *find_rule(const struct object *policy, enum direction side,
					   size_t index)
{
	const struct network_policy_object *spec = &policy->network_policy;

	if (side == EGRESS)
		return index < spec->egress_count ? &spec->egress[index] : NULL;
	return index < spec->ingress_count ? &spec->ingress[index] : NULL;
}

/* Names that isolate the pod in the direction: what a default deny is due to. */
static json_t *isolating(const struct evaluate_direction *direction)
{
	json_t *list = json_array();
	char name[EXPLAIN_NAME_MAX];

	for (size_t i = 0; i < direction->policy_count; i++) {
		if (policy_tier_of(direction->policies[i]) != TIER_NETWORK_POLICY)
			continue;
		explain_policy_name(direction->policies[i], name, sizeof(name));
		json_array_append_new(list, json_string(name));
	}
	return list;
}

/* The keys policy, rule, rule_path, rule_name, action, tier, default_deny and isolated_by of a
 * decision. */
static void put_decision(const struct explain *explain, const struct explain_path *path, int side,
			 const struct explain_rule *decides, bool denied, json_t *ret)
{
	const struct evaluate_direction *direction =
		side == EGRESS ? &path->answer.egress : &path->answer.ingress;
	const struct object *policy =
		decides && decides->set ? find_policy(explain, direction, decides->policy) : NULL;
	const struct policy_rule *rule = policy ? find_rule(policy, side, decides->index) : NULL;
	bool by_default = side >= 0 && denied && !(decides && decides->set);
	json_t *by = by_default ? isolating(direction) : json_array();

	json_object_set_new(ret, "policy",
			    decides && decides->set ? json_string(decides->policy) : json_null());
	/* A default deny is due to policies, not to a rule. */
	if (by_default && json_array_size(by))
		json_object_set(ret, "policy", json_array_get(by, 0));
	json_object_set_new(ret, "rule",
			    decides && decides->set ? json_integer(decides->index) : json_null());
	json_object_set_new(ret, "rule_path",
			    decides && decides->set
				    ? explain_rule_path(side == EGRESS, decides->index)
				    : json_null());
	json_object_set_new(ret, "rule_name", null_or_string(rule ? rule->name : NULL));
	json_object_set_new(
		ret, "action",
		null_or_string(policy && rule ? explain_action_name(policy, rule) : NULL));
	json_object_set_new(ret, "tier", null_or_string(policy ? explain_tier_name(policy) : NULL));
	json_object_set_new(ret, "default_deny", json_boolean(by_default));
	json_object_set_new(ret, "isolated_by", by);
}

/* ---------------------------------------------------------------- parts */

/* The node that a pod or an address is on; NULL: none that is known. */
static const char *node_of(const struct explain *explain, const struct explain_end *end)
{
	return end->local || end->kind == EXPLAIN_THIS_NODE ? explain->sources->config->node_name
							    : end->node;
}

static json_t *end_document(const struct explain *explain, const struct explain_end *end,
			    uint32_t identity)
{
	static const char *const kinds[] = {[EXPLAIN_POD] = "pod",
					    [EXPLAIN_THIS_NODE] = "node",
					    [EXPLAIN_ADDRESS] = "address",
					    [EXPLAIN_SERVICE] = "service"};
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:I}", "kind", kinds[end->kind], "name",
			 end->name, "ip", show_addr(explain_addr(explain, end)), "labels",
			 end->pod ? json_of_labels(&end->pod->labels) : json_object(), "node",
			 null_or_string(node_of(explain, end)), "local",
			 end->local != NULL || end->kind == EXPLAIN_THIS_NODE, "identity",
			 (json_int_t)identity);
}

static json_t *policies_document(const struct evaluate_direction *direction)
{
	json_t *list = json_array();
	char name[EXPLAIN_NAME_MAX];

	for (size_t i = 0; i < direction->policy_count; i++) {
		explain_policy_name(direction->policies[i], name, sizeof(name));
		json_array_append_new(list, json_pack("{s:s, s:s}", "policy", name, "tier",
						      explain_tier_name(direction->policies[i])));
	}
	return list;
}

static const char *basis_name(const struct evaluate_direction *direction)
{
	static const char *const names[] = {[EVALUATE_NOT_ASKED] = "not_asked",
					    [EVALUATE_OPEN] = "open",
					    [EVALUATE_RULE] = "rule",
					    [EVALUATE_DEFAULT_DENY] = "default_deny"};

	return names[direction->basis];
}

/* Why the other end counts as nobody, and what its policies make of that. */
static json_t *unknown_pod_text(const struct explain_path *path, enum direction side)
{
	const struct evaluate_direction *direction =
		side == EGRESS ? &path->answer.egress : &path->answer.ingress;
	const struct evaluate_end *peer = &path->peer[side];
	const char *then =
		direction->presumed ? "denies by selector apply to it" : "no selector allows it";
	char addr[INET6_ADDRSTRLEN];

	if (!direction->policy_count || !(peer->unseen || peer->unknown_pod))
		return json_null();
	if (direction->presumed && !(direction->rule && direction->rule->action == RULE_DENY))
		then = "a Pass by selector applies to it";
	addr_format(&peer->addr, addr);
	if (peer->unseen)
		return json_sprintf("%s found no room in the map addresses (raise "
				    "--max-addresses), so the programs do not know its pod: %s",
				    addr, then);
	return json_sprintf("%s is in a pod range and has no known Pod object: %s", addr, then);
}

/* One direction, as the objects say, with what the maps hold of it. */
static json_t *direction_document(const struct explain *explain, const struct explain_path *path,
				  enum direction side)
{
	const struct evaluate_direction *direction =
		side == EGRESS ? &path->answer.egress : &path->answer.ingress;
	const struct explain_method *maps = &path->methods[METHOD_MAPS];
	char name[EXPLAIN_NAME_MAX] = "";
	json_t *document =
		json_pack("{s:b, s:s, s:b, s:o, s:o}", "allowed", direction->allowed, "basis",
			  basis_name(direction), "here", is_evaluated_here(explain, path, side),
			  "policies", policies_document(direction), "ruleset",
			  maps->evaluated[side] ? json_integer(maps->ruleset[side]) : json_null());

	if (!document)
		return NULL;
	put_decision(explain, path, side, &path->methods[METHOD_OBJECTS].rule[side],
		     !direction->allowed, document);
	if (direction->passed_by)
		explain_policy_name(direction->passed_by, name, sizeof(name));
	json_object_set_new(
		document, "node",
		null_or_string(node_of(explain, side == EGRESS ? &explain->from : &path->to)));
	json_object_set_new(document, "presumed", json_boolean(direction->presumed));
	json_object_set_new(document, "note", unknown_pod_text(path, side));
	json_object_set_new(document, "passed_by", null_or_string(name));
	json_object_set_new(document, "passed_rule",
			    direction->passed_by ? json_integer((json_int_t)direction->passed_index)
						 : json_null());
	return document;
}

static json_t *method_document(const struct explain_method *method)
{
	json_t *document;

	if (!method->asked)
		return json_pack("{s:b, s:s}", "asked", false, "note", method->note);
	document = json_pack("{s:b, s:s, s:s, s:s}", "asked", true, "verdict",
			     method->allowed ? "allowed" : "denied", "reason",
			     reason_name(method->reason), "note", method->note);
	for (int side = 0; document && side < DIRECTIONS; side++) {
		const struct explain_rule *rule = &method->rule[side];

		json_object_set_new(
			document, side_names[side],
			rule->set ? json_pack("{s:s, s:I, s:o}", "policy", rule->policy, "rule",
					      (json_int_t)rule->index, "rule_path",
					      explain_rule_path(side == EGRESS, rule->index))
				  : json_null());
	}
	return document;
}

/* ---------------------------------------------------------------- agreement */

static bool same_rule(const struct explain_rule *a, const struct explain_rule *b)
{
	return a->set == b->set &&
	       (!a->set || (a->index == b->index && strcmp(a->policy, b->policy) == 0));
}

static void describe(const struct explain_method *method, char *buffer, size_t size)
{
	const struct explain_rule *rules = method->rule;
	int side = method->reason == REASON_POLICY_EGRESS || !rules[INGRESS].set ? EGRESS : INGRESS;

	if (rules[side].set)
		snprintf(buffer, size, "%s by %s spec.%s[%u]",
			 method->allowed ? "allowed" : "denied", rules[side].policy,
			 side_names[side], rules[side].index);
	else
		snprintf(buffer, size, "%s%s%s%s", method->allowed ? "allowed" : "denied",
			 method->allowed ? "" : " (",
			 method->allowed ? "" : reason_name(method->reason),
			 method->allowed ? "" : ")");
}

/* Appends a line for each way that differs from the objects. */
static void compare(const struct explain *explain, const struct explain_path *path,
		    json_t *differences)
{
	char ours[EXPLAIN_NAME_MAX + 64], theirs[EXPLAIN_NAME_MAX + 64], addr[INET6_ADDRSTRLEN];
	struct explain_method objects;

	objects_here(explain, path, &objects);
	for (int i = METHOD_MAPS; i < EXPLAIN_METHODS; i++) {
		const struct explain_method *method = &path->methods[i];
		bool ingress = method->reason != REASON_POLICY_EGRESS &&
			       objects.reason != REASON_POLICY_EGRESS;

		/* Without a route no rule is looked up. */
		if (!method->asked ||
		    (method->reason == objects.reason &&
		     (explain->reason || (method->reason && deciding_side(method) < 0) ||
		      (same_rule(&method->rule[EGRESS], &objects.rule[EGRESS]) &&
		       (!ingress || same_rule(&method->rule[INGRESS], &objects.rule[INGRESS]))))))
			continue;
		describe(&objects, ours, sizeof(ours));
		describe(method, theirs, sizeof(theirs));
		json_array_append_new(differences,
				      json_sprintf("%s, port %u: the %s say: %s; the %s: %s%s%s",
						   addr_format(&path->addr, addr), path->port,
						   method_names[METHOD_OBJECTS], ours,
						   method_names[i], theirs,
						   *method->note ? "; " : "", method->note));
	}
}

/* ---------------------------------------------------------------- the whole */

static json_t *backend_document(const struct explain *explain, const struct explain_path *path)
{
	char addr[INET6_ADDRSTRLEN];

	return json_pack("{s:s, s:i, s:o, s:o}", "ip", addr_format(&path->addr, addr), "port",
			 path->port, "pod", null_or_string(path->to.name), "node",
			 null_or_string(node_of(explain, &path->to)));
}

static json_t *backends_document(const struct explain *explain)
{
	json_t *list = json_array();

	for (size_t i = 0; !explain->reason && i < explain->path_count; i++) {
		const struct explain_path *path = &explain->paths[i];
		json_t *document = backend_document(explain, path);
		struct explain_method final;
		int side;

		conclude(explain, path, &final);
		side = deciding_side(&final);
		json_object_set_new(document, "verdict",
				    json_string(final.allowed ? "allowed" : "denied"));
		json_object_set_new(document, "reason", json_string(reason_name(final.reason)));
		json_object_set_new(document, "direction",
				    null_or_string(side >= 0 ? side_names[side] : NULL));
		put_decision(explain, path, side, side >= 0 ? &final.rule[side] : NULL,
			     !final.allowed, document);
		json_array_append_new(list, document);
	}
	return list;
}

static json_t *service_document(const struct explain *explain)
{
	if (explain->to.kind != EXPLAIN_SERVICE)
		return json_null();
	return json_pack("{s:s, s:o, s:i, s:s, s:I, s:s, s:s, s:s}", "name", explain->to.name,
			 "address", show_addr(explain_addr(explain, &explain->to)), "port",
			 explain->port, "port_name",
			 explain->frontend.port_name ? explain->frontend.port_name : "",
			 "endpoints", (json_int_t)explain->frontend.count, "kind",
			 explain->frontend.found ? service_kind_names[explain->frontend.kind] : "",
			 "set", explain->frontend.local ? "node" : "cluster", "forwarding",
			 !(explain->frontend.flags & SERVICE_EXTERNAL) ? ""
			 : explain->frontend.flags & SERVICE_DSR       ? "dsr"
								       : "snat");
}

/* The path that stands for all: one that is denied, the program's choice, or the first.
 * `*ret_mixed`: they differ. */
static const struct explain_path *representative(const struct explain *explain, bool *ret_mixed)
{
	size_t allowed = 0, denied = SIZE_MAX;

	for (size_t i = 0; i < explain->path_count; i++) {
		struct explain_method final;

		conclude(explain, &explain->paths[i], &final);
		if (final.allowed)
			allowed++;
		else if (denied == SIZE_MAX || i == explain->chosen)
			denied = i;
	}
	*ret_mixed = allowed > 0 && denied != SIZE_MAX;
	return &explain->paths[denied != SIZE_MAX ? denied : explain->chosen];
}

static uint32_t identity_of(const struct explain_path *path, int end)
{
	const struct explain_method *method = in_force(path);

	return method->identity[end] ? method->identity[end]
				     : path->methods[METHOD_MAPS].identity[end];
}

static void put_conclusion(const struct explain *explain, const struct explain_path *path,
			   json_t *ret)
{
	struct explain_method final;
	int side;

	conclude(explain, path, &final);
	side = deciding_side(&final);
	json_object_set_new(ret, "verdict", json_string(final.allowed ? "allowed" : "denied"));
	json_object_set_new(ret, "reason", json_string(reason_name(final.reason)));
	json_object_set_new(ret, "direction", null_or_string(side >= 0 ? side_names[side] : NULL));
	put_decision(explain, path, side, side >= 0 ? &final.rule[side] : NULL, !final.allowed,
		     ret);
}

/* How packets come from another node, or go there; null: not, or by the network's own routing. */
static json_t *way_document(const struct explain *explain, const struct explain_path *path)
{
	bool incoming = path->vantage == EXPLAIN_FROM_WIRE;
	const struct polder_addr *addr =
		incoming ? explain_addr(explain, &explain->from) : &path->addr;
	const struct peer *peer = explain_peer(explain, addr);
	enum peer_way way;

	if (!peer || path->vantage == EXPLAIN_ELSEWHERE)
		return json_null();
	way = peer->routes[!addr_is_v4(addr)].way;
	return json_pack("{s:s, s:s, s:b}", "kind", peer_way_names[way], "node", peer->name,
			 "incoming", incoming);
}

json_t *explain_document(const struct explain *explain)
{
	bool mixed = false, service = explain->to.kind == EXPLAIN_SERVICE;
	const struct explain_path *path = representative(explain, &mixed);
	json_t *document = json_object(), *methods = json_object(), *differences = json_array();
	char proto[PROTO_NAME_MAX];

	for (size_t i = 0; i < explain->path_count; i++)
		compare(explain, &explain->paths[i], differences);
	put_conclusion(explain, path, document);
	json_object_set_new(document, "backend",
			    service && !explain->reason ? backend_document(explain, path)
							: json_null());
	json_object_set_new(document, "mixed", json_boolean(mixed));
	json_object_set_new(document, "from",
			    end_document(explain, &explain->from, identity_of(path, 0)));
	json_object_set_new(document, "to", end_document(explain, &path->to, identity_of(path, 1)));
	json_object_set_new(document, "way", way_document(explain, path));
	json_object_set_new(document, "family", json_string(family_name(explain->family)));
	json_object_set_new(document, "proto", json_string(proto_name(explain->proto, proto)));
	json_object_set_new(document, "port", json_integer(explain->port));
	json_object_set_new(document, "service", service_document(explain));
	json_object_set_new(document, "chosen", json_string(explain->tried ? "program" : "first"));
	json_object_set_new(document, "backends", backends_document(explain));
	json_object_set_new(document, "egress", direction_document(explain, path, EGRESS));
	json_object_set_new(document, "ingress", direction_document(explain, path, INGRESS));
	for (int i = 0; i < EXPLAIN_METHODS; i++)
		json_object_set_new(methods, method_names[i], method_document(&path->methods[i]));
	json_object_set_new(document, "methods", methods);
	json_object_set_new(document, "agree", json_boolean(json_array_size(differences) == 0));
	json_object_set_new(document, "differences", differences);
	json_object_set_new(document, "flows",
			    explain->flows ? json_incref(explain->flows) : json_array());
	return document;
}
