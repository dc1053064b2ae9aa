/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/objects/evaluate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAMESPACE_NAME_LABEL "kubernetes.io/metadata.name"

/* What one direction's question is made of: the pod whose policies are asked, and the other end. */
struct asking {
	const struct evaluate_objects *objects;
	const struct evaluate_question *question;
	enum direction side;
	const struct object *subject;
	const struct evaluate_end *own; /* the subject's end */
	struct labels subject_namespace;
	const struct evaluate_end *peer;
	struct labels peer_namespace; /* nothing, unless the peer is a pod */
};

/* Of a rule, and of its parts. Maybe: by selectors that may choose an unknown pod, by names that
 * its ports may have. */
enum match { MATCH_NO, MATCH_MAYBE, MATCH_YES };

/* ---------------------------------------------------------------- who is selected */

/* Host-network pods have their node's address, finished ones none: policy knows neither. */
static const struct object *policy_pod(const struct object *pod)
{
	return pod && !pod->pod.host_network && !pod->pod.finished ? pod : NULL;
}

/* The other end, as the subject's policies know it. */
static const struct object *peer_pod(const struct asking *asking)
{
	const struct evaluate_end *peer = asking->peer;

	return peer->unseen || peer->unknown_pod ? NULL : policy_pod(peer->pod);
}

enum policy_tier policy_tier_of(const struct object *policy)
{
	return policy->kind == OBJECT_NETWORK_POLICY ? TIER_NETWORK_POLICY
						     : policy->network_policy.tier;
}

int evaluate_namespace_labels(const struct evaluate_objects *objects, const char *name,
			      struct labels *ret)
{
	struct labels labels = {};
	int r = 0;

	for (size_t i = 0; i < objects->namespace_count; i++) {
		const struct object *namespace = objects->namespaces[i];

		if (strcmp(namespace->name, name) != 0)
			continue;
		for (size_t j = 0; r == 0 && j < namespace->labels.count; j++)
			r = labels_set(&labels, namespace->labels.items[j].key,
				       namespace->labels.items[j].value);
	}
	/* A label of the user's never stands in for the namespace's name. */
	if (r == 0)
		r = labels_set(&labels, NAMESPACE_NAME_LABEL, name);
	if (r < 0) {
		labels_clear(&labels);
		return r;
	}
	*ret = labels;
	return 0;
}

static bool is_subject(const struct object *policy, const struct object *pod,
		       const struct labels *namespace)
{
	const struct network_policy_object *spec = &policy->network_policy;

	if (policy->kind == OBJECT_NETWORK_POLICY) {
		if (strcmp(policy->namespace, pod->namespace) != 0)
			return false;
	} else if (!selector_matches(&spec->namespace_selector, namespace)) {
		return false;
	}
	return selector_matches(&spec->pod_selector, &pod->labels);
}

int policy_selects(const struct evaluate_objects *objects, const struct object *policy,
		   const struct object *pod, bool *ret)
{
	struct labels namespace = {};
	int r = evaluate_namespace_labels(objects, pod->namespace, &namespace);

	if (r < 0)
		return r;
	*ret = policy_pod(pod) && is_subject(policy, pod, &namespace);
	labels_clear(&namespace);
	return 0;
}

/* A NetworkPolicy counts where it isolates, a ClusterNetworkPolicy where it has rules. */
static bool has_a_say(const struct object *policy, enum direction side)
{
	const struct network_policy_object *spec = &policy->network_policy;

	if (policy->kind == OBJECT_NETWORK_POLICY)
		return side == EGRESS ? spec->isolates_egress : spec->isolates_ingress;
	return side == EGRESS ? spec->egress_count > 0 : spec->ingress_count > 0;
}

static int compare_policies(const void *a, const void *b)
{
	const struct object *x = *(const struct object *const *)a,
			    *y = *(const struct object *const *)b;
	int order = (int)policy_tier_of(x) - (int)policy_tier_of(y);

	if (order == 0 && policy_tier_of(x) != TIER_NETWORK_POLICY)
		order = x->network_policy.priority - y->network_policy.priority;
	return order ? order : strcmp(x->name, y->name);
}

static void select_from(const struct asking *asking, const struct object *const *policies,
			size_t count, struct evaluate_direction *ret)
{
	for (size_t i = 0; i < count; i++)
		if (has_a_say(policies[i], asking->side) &&
		    is_subject(policies[i], asking->subject, &asking->subject_namespace))
			ret->policies[ret->policy_count++] = policies[i];
}

static int select_policies(const struct asking *asking, struct evaluate_direction *ret)
{
	const struct evaluate_objects *objects = asking->objects;

	ret->policies =
		calloc(objects->policy_count + asking->own->held_count + 1, sizeof(*ret->policies));
	if (!ret->policies)
		return -ENOMEM;
	select_from(asking, objects->policies, objects->policy_count, ret);
	select_from(asking, asking->own->held, asking->own->held_count, ret);
	if (ret->policy_count > 1)
		qsort(ret->policies, ret->policy_count, sizeof(*ret->policies), compare_policies);
	return 0;
}

/* ---------------------------------------------------------------- does a rule match? */

static bool lies_in_block(const struct policy_peer *peer, const struct polder_addr *addr)
{
	if (!prefix_contains(&peer->block, addr))
		return false;
	for (size_t i = 0; i < peer->except_count; i++)
		if (prefix_contains(&peer->excepts[i], addr))
			return false;
	return true;
}

static bool is_node(const struct evaluate_objects *objects, const struct policy_peer *peer,
		    const struct polder_addr *addr)
{
	for (size_t i = 0; i < objects->node_count; i++) {
		const struct object *node = objects->nodes[i];

		for (size_t j = 0; j < node->node.address_count; j++)
			if (memcmp(&node->node.addresses[j], addr, sizeof(*addr)) == 0 &&
			    selector_matches(&peer->node_selector, &node->labels))
				return true;
	}
	return false;
}

static bool peer_matches(const struct asking *asking, const struct object *policy,
			 const struct policy_peer *peer)
{
	const struct object *pod = peer_pod(asking);

	if (peer->is_block)
		return lies_in_block(peer, &asking->peer->addr);
	if (peer->is_nodes)
		return is_node(asking->objects, peer, &asking->peer->addr);
	if (!pod)
		return false;
	if (peer->has_namespace_selector) {
		if (!selector_matches(&peer->namespace_selector, &asking->peer_namespace))
			return false;
	} else if (strcmp(policy->namespace, pod->namespace) != 0) {
		return false;
	}
	return !peer->has_pod_selector || selector_matches(&peer->pod_selector, &pod->labels);
}

/* A name stands for what the destination pod calls so: the subject for ingress, the peer for
 * egress. */
static bool name_matches(const struct asking *asking, const struct policy_port *port)
{
	const struct object *pod = asking->side == INGRESS ? asking->subject : peer_pod(asking);

	for (size_t i = 0; pod && i < pod->pod.port_count; i++) {
		const struct named_port *named = &pod->pod.ports[i];

		if (named->name && named->proto == port->proto &&
		    named->port == asking->question->port && strcmp(named->name, port->name) == 0)
			return true;
	}
	return false;
}

static enum match port_matches(const struct asking *asking, const struct policy_port *port)
{
	uint16_t wanted = asking->question->port;
	bool matches;

	if (port->proto != asking->question->proto)
		return MATCH_NO;
	if (port->name && asking->side == EGRESS && asking->peer->unknown_pod)
		return MATCH_MAYBE;
	matches = port->any_port || (port->name ? name_matches(asking, port)
						: wanted >= port->first && wanted <= port->last);
	return matches ? MATCH_YES : MATCH_NO;
}

static enum match ports_match(const struct asking *asking, const struct policy_rule *rule)
{
	enum match best = rule->port_count == 0 ? MATCH_YES : MATCH_NO;

	for (size_t i = 0; best != MATCH_YES && i < rule->port_count; i++) {
		enum match one = port_matches(asking, &rule->ports[i]);

		best = one > best ? one : best;
	}
	return best;
}

static bool chooses_addresses(const struct policy_peer *peer)
{
	return peer->is_block || peer->is_nodes;
}

static enum match rule_matches(const struct asking *asking, const struct object *policy,
			       const struct policy_rule *rule)
{
	enum match ports = rule->matches_nothing ? MATCH_NO : ports_match(asking, rule);
	bool peer = rule->peer_count == 0, may_be_peer = false;

	for (size_t i = 0; ports != MATCH_NO && !peer && i < rule->peer_count; i++) {
		peer = peer_matches(asking, policy, &rule->peers[i]);
		may_be_peer |= asking->peer->unknown_pod && !chooses_addresses(&rule->peers[i]);
	}
	if (peer && ports == MATCH_YES)
		return MATCH_YES;
	return may_be_peer && ports != MATCH_NO ? MATCH_MAYBE : MATCH_NO;
}

/* ---------------------------------------------------------------- tiers */

enum tier_result { TIER_NOTHING, TIER_PASSED, TIER_DECIDED };

static void decide(struct evaluate_direction *ret, const struct object *policy, size_t index,
		   const struct policy_rule *rule)
{
	ret->basis = EVALUATE_RULE;
	ret->policy = policy;
	ret->index = index;
	ret->rule = rule;
	ret->allowed = policy_tier_of(policy) == TIER_NETWORK_POLICY || rule->action == RULE_ACCEPT;
}

/* A rule on the way through a tier; `policy` NULL: none. */
struct rule_cursor {
	const struct object *policy;
	const struct policy_rule *rule;
	size_t at, index; /* in the direction's policies, and in the policy's rules */
};

/* The first rule of the tier, or the next one. False: there is none. */
static bool next_rule(const struct asking *asking, enum policy_tier tier,
		      const struct evaluate_direction *direction, struct rule_cursor *cursor)
{
	cursor->index = cursor->policy ? cursor->index + 1 : 0;
	for (; cursor->at < direction->policy_count; cursor->at++, cursor->index = 0) {
		const struct object *policy = direction->policies[cursor->at];
		const struct network_policy_object *spec = &policy->network_policy;
		const struct policy_rule *rules =
			asking->side == EGRESS ? spec->egress : spec->ingress;
		size_t count = asking->side == EGRESS ? spec->egress_count : spec->ingress_count;

		if (policy_tier_of(policy) != tier || cursor->index >= count)
			continue;
		cursor->policy = policy;
		cursor->rule = &rules[cursor->index];
		return true;
	}
	return false;
}

static void pass(struct evaluate_direction *ret, const struct rule_cursor *cursor)
{
	ret->passed_by = cursor->policy;
	ret->passed_index = cursor->index;
}

static bool accepts_addresses(const struct asking *asking, const struct policy_rule *rule)
{
	if (rule->action != RULE_ACCEPT || ports_match(asking, rule) != MATCH_YES)
		return false;
	for (size_t i = 0; i < rule->peer_count; i++)
		if (chooses_addresses(&rule->peers[i]))
			return true;
	return false;
}

static bool denies_after(const struct asking *asking, const struct evaluate_direction *direction,
			 struct rule_cursor cursor)
{
	while (next_rule(asking, TIER_ADMIN, direction, &cursor))
		if (cursor.rule->action == RULE_DENY &&
		    ports_match(asking, cursor.rule) != MATCH_NO)
			return true;
	return false;
}

/*
 * An Accept by address after a Pass that may choose the unknown pod: taken to choose it, the Pass
 * leads out of the tier; taken not to, what the tier denies further on would count. One cell of a
 * rule set cannot say both, so such a tier denies.
 */
static enum tier_result resolve_pass(const struct asking *asking, const struct rule_cursor *passing,
				     const struct rule_cursor *accept,
				     struct evaluate_direction *ret)
{
	ret->presumed = true;
	if (!denies_after(asking, ret, *accept)) {
		pass(ret, passing);
		return TIER_PASSED;
	}
	decide(ret, passing->policy, passing->index, passing->rule);
	return TIER_DECIDED;
}

/*
 * The first rule that matches, in the tier's order. Of an unknown pod: the first that denies it,
 * whatever its labels are. Only its denies count as matching then, and a Pass of the Admin tier
 * where it is stricter than what follows.
 */
static enum tier_result ask_tier(const struct asking *asking, enum policy_tier tier,
				 struct evaluate_direction *ret)
{
	struct rule_cursor cursor = {}, passing = {};

	while (next_rule(asking, tier, ret, &cursor)) {
		enum match match = rule_matches(asking, cursor.policy, cursor.rule);
		enum rule_action action =
			tier == TIER_NETWORK_POLICY ? RULE_ACCEPT : cursor.rule->action;

		if (passing.policy && accepts_addresses(asking, cursor.rule))
			return resolve_pass(asking, &passing, &cursor, ret);
		if (match == MATCH_MAYBE && action == RULE_PASS && tier == TIER_ADMIN &&
		    !passing.policy)
			passing = cursor;
		if (match == MATCH_NO || (match == MATCH_MAYBE && action != RULE_DENY))
			continue;
		if (action == RULE_PASS) {
			if (tier == TIER_ADMIN)
				pass(ret, &cursor);
			return TIER_PASSED;
		}
		ret->presumed |= match == MATCH_MAYBE;
		decide(ret, cursor.policy, cursor.index, cursor.rule);
		return TIER_DECIDED;
	}
	return TIER_NOTHING;
}

static bool is_isolated(const struct evaluate_direction *direction)
{
	for (size_t i = 0; i < direction->policy_count; i++)
		if (policy_tier_of(direction->policies[i]) == TIER_NETWORK_POLICY)
			return true;
	return false;
}

/* NetworkPolicy is not asked about a pod and itself (NP-20); ClusterNetworkPolicy is. */
static void ask_tiers(const struct asking *asking, bool itself, struct evaluate_direction *ret)
{
	ret->basis = EVALUATE_OPEN;
	ret->allowed = true;
	if (ask_tier(asking, TIER_ADMIN, ret) == TIER_DECIDED)
		return;
	if (!is_isolated(ret)) {
		ask_tier(asking, TIER_BASELINE, ret);
	} else if (!itself && ask_tier(asking, TIER_NETWORK_POLICY, ret) == TIER_NOTHING) {
		ret->basis = EVALUATE_DEFAULT_DENY;
		ret->allowed = false;
	}
}

/* ---------------------------------------------------------------- both directions */

static int ask_direction(const struct evaluate_objects *objects,
			 const struct evaluate_question *question, enum direction side,
			 struct evaluate_direction *ret)
{
	const struct evaluate_end *end =
		side == EGRESS ? &question->source : &question->destination;
	struct asking asking = {
		.objects = objects,
		.question = question,
		.side = side,
		.subject = policy_pod(end->pod),
		.own = end,
		.peer = side == EGRESS ? &question->destination : &question->source,
	};
	bool itself = question->source.pod && question->source.pod == question->destination.pod;
	int r;

	*ret = (struct evaluate_direction){.basis = EVALUATE_NOT_ASKED, .allowed = true};
	if (!asking.subject || question->from_own_node || (itself && !question->through_service))
		return 0;
	r = evaluate_namespace_labels(objects, asking.subject->namespace,
				      &asking.subject_namespace);
	if (r == 0 && peer_pod(&asking))
		r = evaluate_namespace_labels(objects, asking.peer->pod->namespace,
					      &asking.peer_namespace);
	if (r == 0)
		r = select_policies(&asking, ret);
	if (r == 0)
		ask_tiers(&asking, itself, ret);
	labels_clear(&asking.subject_namespace);
	labels_clear(&asking.peer_namespace);
	return r;
}

int policy_evaluate(const struct evaluate_objects *objects,
		    const struct evaluate_question *question, struct evaluate_answer *ret)
{
	struct evaluate_answer answer = {};
	int r = ask_direction(objects, question, EGRESS, &answer.egress);

	if (r == 0)
		r = ask_direction(objects, question, INGRESS, &answer.ingress);
	if (r < 0) {
		evaluate_answer_clear(&answer);
		return r;
	}
	answer.allowed = answer.egress.allowed && answer.ingress.allowed;
	*ret = answer;
	return 0;
}

void evaluate_answer_clear(struct evaluate_answer *answer)
{
	free(answer->egress.policies);
	free(answer->ingress.policies);
	*answer = (struct evaluate_answer){};
}
