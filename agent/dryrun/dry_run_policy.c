/* SPDX-License-Identifier: Apache-2.0 */
/* What policy says now, beside what it would say with other objects. */
#include "agent/dryrun/dry_run_policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"
#include "agent/dryrun/dry_run_world.h"

const char *const dry_run_basis_names[] = {
	[DRY_RUN_NOT_ASKED] = "not_asked", [DRY_RUN_OPEN] = "open",
	[DRY_RUN_RULE] = "rule",	   [DRY_RUN_DEFAULT_DENY] = "default_deny",
	[DRY_RUN_CLOSED] = "closed",	   [DRY_RUN_WAITING] = "waiting",
};

/* What stands at an address, before and after. */
struct address_words {
	struct polder_addr addr;
	struct compiled_pod now, then; /* zero: nothing but an outside address */
	bool local;		       /* a pod of this node */
	char *name;		       /* NULL: of no pod */
	UT_hash_handle hh;
};

/* Where an address without an object must be a pod's all the same. */
struct pod_space {
	struct prefix *ranges;
	size_t range_count;
	struct polder_addr *nodes; /* addresses of nodes, that may lie inside */
	size_t node_count;
};

struct dry_run_policy {
	struct policy_registry *registry;
	struct compiled_policy *now, *then;
	struct address_words *words;
	struct pod_space space[2]; /* now, then */
};

/* ---------------------------------------------------------------- addresses */

static struct address_words *find_words(const struct dry_run_policy *policy,
					const struct polder_addr *addr)
{
	struct address_words *words;

	HASH_FIND(hh, policy->words, addr, sizeof(*addr), words);
	return words;
}

static struct address_words *need_words(struct dry_run_policy *policy,
					const struct polder_addr *addr)
{
	struct address_words *words = find_words(policy, addr);

	if (words)
		return words;
	words = calloc(1, sizeof(*words));
	if (!words)
		return NULL;
	words->addr = *addr;
	HASH_ADD(hh, policy->words, addr, sizeof(words->addr), words);
	if (HASH_ADDED(hh, words))
		return words;
	free(words);
	return NULL;
}

/* A pod's word counts unless somebody has the address already: a local pod, a node, an earlier
 * object. */
static int put_pod(struct dry_run_policy *policy, const struct polder_addr *addr,
		   const struct object *object, const struct compiled_pod *pod, bool then,
		   bool local)
{
	struct address_words *words = need_words(policy, addr);
	struct compiled_pod *word = words ? (then ? &words->then : &words->now) : NULL;

	if (!words)
		return -ENOMEM;
	if (word->identity || (words->local && !local))
		return 0;
	*word = *pod;
	words->local |= local;
	if (!words->name && asprintf(&words->name, "%s/%s", object->namespace, object->name) < 0) {
		words->name = NULL;
		return -ENOMEM;
	}
	return 0;
}

static bool is_own(const struct dry_run_world *world, const struct polder_addr *addr)
{
	const struct config *config = world->config;

	return (config->pod_cidr_v4.length && prefix_contains(&config->pod_cidr_v4, addr)) ||
	       (config->pod_cidr_v6.length && prefix_contains(&config->pod_cidr_v6, addr));
}

static bool is_nodes(const struct dry_run_world *world, const struct policy_sync_input *in,
		     const struct polder_addr *addr)
{
	for (size_t i = 0; i < world->node_address_count; i++)
		if (memcmp(&world->node_addresses[i], addr, sizeof(*addr)) == 0)
			return true;
	for (size_t i = 0; i < in->input.node_count; i++)
		for (size_t j = 0; j < in->input.nodes[i]->node.address_count; j++)
			if (memcmp(&in->input.nodes[i]->node.addresses[j], addr, sizeof(*addr)) ==
			    0)
				return true;
	return false;
}

static int put_remote_pod(struct dry_run_policy *policy, const struct dry_run_world *world,
			  const struct policy_sync_input *in, const struct object *object,
			  const struct compiled_pod *pod, bool then)
{
	int r = 0;

	if (!pod->identity ||
	    (object->pod.node_name && strcmp(object->pod.node_name, world->config->node_name) == 0))
		return 0;
	for (size_t i = 0; r == 0 && i < object->pod.address_count; i++) {
		const struct polder_addr *addr = &object->pod.addresses[i];

		if (!is_own(world, addr) && !is_nodes(world, in, addr) &&
		    !address_set_holds(&world->without_room, addr))
			r = put_pod(policy, addr, object, pod, then, false);
	}
	return r;
}

/* Local pods come first in the input. */
static int put_places(struct dry_run_policy *policy, const struct dry_run_world *world,
		      const struct policy_sync_input *in, const struct compiled_policy *compiled,
		      bool then)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < in->input.local_count; i++) {
		const struct pod_addresses *addresses = &in->input.local_addresses[i];
		struct compiled_pod pod = compiled->pods[i];

		/* Its policies are those of labels that are not known. */
		if (in->waits[i] != POD_WAITS_NOT)
			pod.ingress_ruleset = pod.egress_ruleset = RULESET_CLOSED;
		for (size_t j = 0; r == 0 && j < addresses->count; j++)
			r = put_pod(policy, &addresses->items[j], in->pods[i], &pod, then, true);
	}
	for (; r == 0 && i < in->input.pod_count; i++)
		r = put_remote_pod(policy, world, in, in->pods[i], &compiled->pods[i], then);
	return r;
}

/* ---------------------------------------------------------------- unknown pods */

static void add_node_space(struct pod_space *space, const struct node_object *node)
{
	/* An array that is empty may be NULL. */
	if (node->pod_range_count)
		memcpy(space->ranges + space->range_count, node->pod_ranges,
		       node->pod_range_count * sizeof(*space->ranges));
	if (node->address_count)
		memcpy(space->nodes + space->node_count, node->addresses,
		       node->address_count * sizeof(*space->nodes));
	space->range_count += node->pod_range_count;
	space->node_count += node->address_count;
}

static int make_space(const struct dry_run_world *world, const struct policy_sync_input *in,
		      struct pod_space *ret)
{
	const struct prefix *own[] = {&world->config->pod_cidr_v4, &world->config->pod_cidr_v6};
	size_t ranges = 2, nodes = world->node_address_count;

	for (size_t i = 0; i < in->input.node_count; i++) {
		ranges += in->input.nodes[i]->node.pod_range_count;
		nodes += in->input.nodes[i]->node.address_count;
	}
	ret->ranges = calloc(ranges, sizeof(*ret->ranges));
	ret->nodes = calloc(nodes + 1, sizeof(*ret->nodes));
	if (!ret->ranges || !ret->nodes)
		return -ENOMEM;
	for (size_t i = 0; i < 2; i++)
		if (own[i]->length)
			ret->ranges[ret->range_count++] = *own[i];
	for (size_t i = 0; i < world->node_address_count; i++)
		ret->nodes[ret->node_count++] = world->node_addresses[i];
	for (size_t i = 0; i < in->input.node_count; i++)
		add_node_space(ret, &in->input.nodes[i]->node);
	return 0;
}

/* What the map `addresses` says of an address that no pod has. */
static uint32_t stranger(const struct pod_space *space, const struct polder_addr *addr)
{
	for (size_t i = 0; i < space->node_count; i++)
		if (memcmp(&space->nodes[i], addr, sizeof(*addr)) == 0)
			return IDENTITY_REMOTE_NODE;
	for (size_t i = 0; i < space->range_count; i++)
		if (prefix_contains(&space->ranges[i], addr))
			return IDENTITY_UNKNOWN_POD;
	return IDENTITY_WORLD;
}

/* ---------------------------------------------------------------- both compilations */

/* One of the two. */
static int compile_one(struct dry_run_policy *policy, const struct dry_run_world *world,
		       const struct policy_sync_input *in, bool then)
{
	struct compiled_policy **compiled = then ? &policy->then : &policy->now;
	int r = policy_compile(policy->registry, &in->input, compiled);

	if (r == 0)
		r = put_places(policy, world, in, *compiled, then);
	return r < 0 ? r : make_space(world, in, &policy->space[then]);
}

int dry_run_policy_new(const struct dry_run_world *world, const struct dry_run_changes *changes,
		       struct dry_run_policy **ret)
{
	struct dry_run_policy *policy = calloc(1, sizeof(*policy));
	struct policy_sync_input then = {};
	int r;

	if (!policy)
		return -ENOMEM;
	policy->registry = policy_registry_new();
	r = policy->registry ? compile_one(policy, world, &world->now, false) : -ENOMEM;
	if (r == 0)
		r = dry_run_world_change(world, changes, &then);
	if (r == 0)
		r = compile_one(policy, world, &then, true);
	policy_sync_input_clear(&then);
	if (r < 0) {
		dry_run_policy_free(policy);
		return r;
	}
	*ret = policy;
	return 0;
}

void dry_run_policy_free(struct dry_run_policy *policy)
{
	struct address_words *words, *next;

	if (!policy)
		return;
	HASH_ITER (hh, policy->words, words, next) {
		HASH_DEL(policy->words, words);
		free(words->name);
		free(words);
	}
	for (int i = 0; i < 2; i++) {
		free(policy->space[i].ranges);
		free(policy->space[i].nodes);
	}
	compiled_policy_free(policy->now);
	compiled_policy_free(policy->then);
	policy_registry_free(policy->registry);
	free(policy);
}

const char *dry_run_policy_pod(const struct dry_run_policy *policy, const struct polder_addr *addr)
{
	const struct address_words *words = find_words(policy, addr);

	return words ? words->name : NULL;
}

/* ---------------------------------------------------------------- verdicts */

static const struct compiled_ruleset *find_ruleset(const struct compiled_policy *compiled,
						   uint32_t id)
{
	size_t low = 0, high = compiled->ruleset_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compiled->rulesets[middle].id == id)
			return &compiled->rulesets[middle];
		if (compiled->rulesets[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static struct dry_run_side ask(const struct dry_run_policy *policy,
			       const struct compiled_policy *compiled, uint32_t ruleset,
			       const struct compiled_selection *isolation,
			       const struct ruleset_question *question)
{
	const struct compiled_ruleset *set;
	struct policy_verdict verdict;
	struct dry_run_side side = {.basis = DRY_RUN_OPEN, .allowed = true};

	if (ruleset == RULESET_OPEN)
		return side;
	if (ruleset == RULESET_CLOSED)
		return (struct dry_run_side){.basis = DRY_RUN_WAITING};
	set = find_ruleset(compiled, ruleset);
	if (!set)
		return (struct dry_run_side){.basis = DRY_RUN_CLOSED};
	verdict = compiled_ruleset_verdict(set, question);
	side.allowed = verdict.allowed;
	if (verdict.rule && policy_rule_origin(policy->registry, verdict.rule, &side.rule) == 0) {
		side.basis = DRY_RUN_RULE;
	} else if (!verdict.allowed) {
		side.basis = DRY_RUN_DEFAULT_DENY;
		side.isolation = isolation;
	}
	return side;
}

static uint32_t identity_at(const struct dry_run_policy *policy, bool staged,
			    const struct compiled_pod *pod, const struct polder_addr *addr)
{
	return pod->identity ? pod->identity : stranger(&policy->space[staged], addr);
}

bool dry_run_verdict(const struct dry_run_policy *policy, bool staged,
		     const struct dry_run_question *q, struct dry_run_answer *ret)
{
	static const struct compiled_pod nobody;
	const struct compiled_policy *compiled = staged ? policy->then : policy->now;
	const struct address_words *from = find_words(policy, &q->source),
				   *to = find_words(policy, &q->destination);
	const struct compiled_pod *source = from ? (staged ? &from->then : &from->now) : &nobody;
	const struct compiled_pod *destination = to ? (staged ? &to->then : &to->now) : &nobody;
	struct dry_run_answer answer = {.egress.allowed = true, .ingress.allowed = true};
	struct ruleset_question question = {.proto = q->proto, .port = q->port};
	bool from_pod = from && from->local && q->zone == ZONE_POD, to_pod = to && to->local;

	if (!from_pod && !to_pod)
		return false;
	answer.allowed = true;
	/* The node's own traffic, and a pod with itself, are not asked about. */
	question.to_itself = from_pod && to_pod && strcmp(from->name, to->name) == 0;
	if (q->zone != ZONE_HOST && (!question.to_itself || q->through_service)) {
		question.identity = identity_at(policy, staged, destination, &q->destination);
		question.peer = &q->destination;
		if (from_pod)
			answer.egress = ask(policy, compiled, source->egress_ruleset,
					    source->egress_isolation, &question);
		question.identity = identity_at(policy, staged, source, &q->source);
		question.peer = &q->source;
		if (to_pod)
			answer.ingress = ask(policy, compiled, destination->ingress_ruleset,
					     destination->ingress_isolation, &question);
	}
	answer.allowed = answer.egress.allowed && answer.ingress.allowed;
	*ret = answer;
	return true;
}

static bool sides_alike(const struct dry_run_side *a, const struct dry_run_side *b)
{
	if (a->basis != b->basis || a->allowed != b->allowed)
		return false;
	return a->basis != DRY_RUN_RULE ||
	       (a->rule.index == b->rule.index && strcmp(a->rule.name, b->rule.name) == 0 &&
		strcmp(a->rule.namespace, b->rule.namespace) == 0);
}

bool dry_run_answers_alike(const struct dry_run_answer *a, const struct dry_run_answer *b)
{
	return sides_alike(&a->egress, &b->egress) && sides_alike(&a->ingress, &b->ingress);
}
