/* SPDX-License-Identifier: Apache-2.0 */
/* From all objects to what holds for each pod. */
#include "policy/compile/compile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/set.h"

/* A rule set that was made already, by all that it depends on: the policies and, for ingress by
 * name, the subject's ports. */
struct made {
	char *key;
	size_t key_length;
	uint32_t ruleset;
	const struct compiled_selection *isolation;
	UT_hash_handle hh;
};

struct compilation {
	struct policy_registry *registry;
	struct view view;
	struct made *made;
	struct view_policy **selected; /* scratch: the policies that select a subject */
	struct compiled_policy *result;
	size_t ruleset_capacity, selection_capacity;
};

static void made_clear(struct compilation *c)
{
	struct made *entry, *next;

	HASH_ITER (hh, c->made, entry, next) {
		HASH_DEL(c->made, entry);
		free(entry->key);
		free(entry);
	}
}

static void selection_free(struct compiled_selection *selection)
{
	if (!selection)
		return;
	for (size_t i = 0; i < selection->count; i++)
		free(selection->policies[i]);
	free(selection->policies);
	free(selection);
}

void compiled_policy_free(struct compiled_policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->identity_count; i++) {
		if (policy->identities[i].labels)
			labels_clear((struct labels *)policy->identities[i].labels);
		free((void *)policy->identities[i].labels);
		free((void *)policy->identities[i].namespace);
	}
	for (size_t i = 0; i < policy->ruleset_count; i++)
		compiled_ruleset_clear(&policy->rulesets[i]);
	for (size_t i = 0; i < policy->selection_count; i++)
		selection_free(policy->selections[i]);
	free(policy->selections);
	free(policy->identities);
	free(policy->rulesets);
	free(policy->pods);
	free(policy);
}

/* Whose rule sets are asked for. */
struct subject {
	const struct registry_identity *registered;
	const struct view_namespace *namespace;
	enum direction direction;
	uint64_t terminating;
};

static bool is_selected(const struct subject *subject, const struct view_policy *policy)
{
	const struct network_policy_object *spec = &policy->object->network_policy;

	if (policy->deleted_at && (!subject->terminating || subject->terminating > policy->deleted_at))
		return false;
	if (!selector_matches(&spec->pod_selector, &subject->registered->labels))
		return false;
	if (spec->tier == TIER_NETWORK_POLICY)
		return subject->direction == EGRESS ? spec->isolates_egress
						    : spec->isolates_ingress;
	return policy->rule_count[subject->direction] > 0 &&
	       selector_matches(&spec->namespace_selector, &subject->namespace->labels);
}

static size_t select_cluster(struct compilation *c, const struct subject *subject,
			     enum policy_tier tier, size_t count)
{
	for (size_t i = 0; i < c->view.cluster_count; i++)
		if (c->view.policies[i].object->network_policy.tier == tier &&
		    is_selected(subject, &c->view.policies[i]))
			c->selected[count++] = &c->view.policies[i];
	return count;
}

/* In the order of evaluation. A NetworkPolicy is final for the pods it selects: then the Baseline
 * tier is not asked. */
static size_t select_policies(struct compilation *c, const struct subject *subject,
			      size_t *ret_isolating)
{
	size_t count = select_cluster(c, subject, TIER_ADMIN, 0), admin = count, first, end;

	view_policies_of(&c->view, subject->namespace, &first, &end);
	for (size_t i = first; i < end; i++)
		if (is_selected(subject, &c->view.policies[i]))
			c->selected[count++] = &c->view.policies[i];
	*ret_isolating = count - admin;
	return count > admin ? count : select_cluster(c, subject, TIER_BASELINE, count);
}

/* The NetworkPolicies among the selected. */
static int list_selection(struct compilation *c, size_t count, size_t isolating,
			  const struct compiled_selection **ret)
{
	struct compiled_policy *result = c->result;
	struct compiled_selection *selection, **grown;

	if (isolating == 0)
		return 0;
	grown = array_grow(result->selections, result->selection_count, &c->selection_capacity,
			   sizeof(struct compiled_selection *));
	selection = calloc(1, sizeof(*selection));
	if (grown)
		result->selections = grown;
	if (selection)
		selection->policies = calloc(isolating, sizeof(char *));
	if (!grown || !selection || !selection->policies) {
		selection_free(selection);
		return -ENOMEM;
	}
	result->selections[result->selection_count++] = selection;
	for (size_t i = count - isolating; i < count; i++) {
		const struct object *policy = c->selected[i]->object;
		char *name;

		if (asprintf(&name, "%s/%s", policy->namespace, policy->name) < 0)
			return -ENOMEM;
		selection->policies[selection->count++] = name;
	}
	*ret = selection;
	return 0;
}

/* The key's bytes: direction, policies, and the subject's ports where they matter. The caller owns
 * it. */
static char *made_key(const struct compilation *c, const struct subject *subject, size_t count,
		      size_t *ret_length)
{
	const char *ports = subject->registered->key + subject->registered->ports_offset;
	enum direction direction = subject->direction;
	bool named = false;
	size_t length, tail;
	char *key;

	for (size_t i = 0; direction == INGRESS && i < count; i++)
		named |= c->selected[i]->named_ports[direction];
	tail = named ? strlen(ports) : 0;
	length = 1 + count * sizeof(struct view_policy *) + tail;
	key = malloc(length);
	if (!key)
		return NULL;
	key[0] = (char)direction;
	memcpy(key + 1, c->selected, count * sizeof(struct view_policy *));
	memcpy(key + length - tail, ports, tail);
	*ret_length = length;
	return key;
}

static bool is_listed(const struct compiled_policy *result, uint32_t id)
{
	for (size_t i = 0; i < result->ruleset_count; i++)
		if (result->rulesets[i].id == id)
			return true;
	return false;
}

/* Takes the rule set. */
static int list_ruleset(struct compilation *c, struct compiled_ruleset *ruleset)
{
	struct compiled_policy *result = c->result;
	struct compiled_ruleset *rulesets;

	if (is_listed(result, ruleset->id)) {
		compiled_ruleset_clear(ruleset);
		return 0;
	}
	rulesets = array_grow(result->rulesets, result->ruleset_count, &c->ruleset_capacity,
			      sizeof(*rulesets));
	if (!rulesets) {
		compiled_ruleset_clear(ruleset);
		return -ENOMEM;
	}
	result->rulesets = rulesets;
	rulesets[result->ruleset_count++] = *ruleset;
	return 0;
}

static int make_ruleset(struct compilation *c, const struct subject *subject, size_t count,
			uint32_t *ret)
{
	struct compiled_ruleset ruleset;
	uint64_t digest[2];
	int r = set_compile(&c->view, subject->direction, subject->registered, c->selected, count,
			    &ruleset);

	if (r == -E2BIG) {
		*ret = RULESET_CAPACITY;
		return 0;
	}
	if (r < 0)
		return r;
	memcpy(digest, ruleset.entry.digest, sizeof(digest));
	r = registry_take_ruleset(c->registry, digest, &ruleset.id);
	if (r < 0) {
		compiled_ruleset_clear(&ruleset);
		return r;
	}
	*ret = ruleset.id;
	return list_ruleset(c, &ruleset);
}

/* Takes the key. */
static int remember(struct compilation *c, char *key, size_t length, uint32_t ruleset,
		    const struct compiled_selection *isolation)
{
	struct made *entry = calloc(1, sizeof(*entry));

	if (!entry) {
		free(key);
		return -ENOMEM;
	}
	*entry = (struct made){
		.key = key, .key_length = length, .ruleset = ruleset, .isolation = isolation};
	HASH_ADD_KEYPTR(hh, c->made, entry->key, (unsigned int)length, entry);
	if (HASH_ADDED(hh, entry))
		return 0;
	free(key);
	free(entry);
	return -ENOMEM;
}

/* Fills what holds for `identity` in the subject's direction. */
static int find_ruleset(struct compilation *c, const struct subject *subject,
			struct view_identity *identity)
{
	enum direction direction = subject->direction;
	size_t isolating, length;
	size_t count = select_policies(c, subject, &isolating);
	struct made *known;
	char *key;
	int r;

	identity->ruleset[direction] = RULESET_OPEN;
	identity->isolation[direction] = NULL;
	if (count == 0)
		return 0;
	key = made_key(c, subject, count, &length);
	if (!key)
		return -ENOMEM;
	HASH_FIND(hh, c->made, key, (unsigned int)length, known);
	if (known) {
		free(key);
		identity->ruleset[direction] = known->ruleset;
		identity->isolation[direction] = known->isolation;
		return 0;
	}
	r = make_ruleset(c, subject, count, &identity->ruleset[direction]);
	if (r == 0)
		r = list_selection(c, count, isolating, &identity->isolation[direction]);
	if (r < 0) {
		free(key);
		return r;
	}
	return remember(c, key, length, identity->ruleset[direction],
			identity->isolation[direction]);
}

static int find_both(struct compilation *c, struct view_identity *identity,
		     const struct view_namespace *namespace, uint64_t terminating)
{
	int r = 0;

	for (enum direction d = INGRESS; r == 0 && d <= EGRESS; d++) {
		const struct subject subject = {.registered = identity->registered,
						.namespace = namespace,
						.direction = d,
						.terminating = terminating};

		r = find_ruleset(c, &subject, identity);
	}
	return r;
}

static int find_rulesets(struct compilation *c)
{
	for (size_t n = 0; n < c->view.namespace_count; n++) {
		const struct view_namespace *namespace = &c->view.namespaces[n];

		for (size_t i = namespace->first; i < namespace->end; i++) {
			struct view_identity *identity = &c->view.identities[i];
			int r;

			if (!identity->subject)
				continue;
			r = find_both(c, identity, namespace, 0);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Copies: the result may outlive the registry's entries. */
static int list_identity(struct compiled_policy *result, const struct view_identity *identity)
{
	struct compiled_identity *entry = &result->identities[result->identity_count++];
	const struct labels *from = &identity->registered->labels;
	struct labels *labels = calloc(1, sizeof(*labels));

	*entry = (struct compiled_identity){
		.id = identity->registered->id,
		.namespace = strdup(identity->registered->namespace),
		.labels = labels,
		.pods = identity->pods,
	};
	if (!labels || !entry->namespace)
		return -ENOMEM;
	for (size_t i = 0; i < from->count; i++)
		if (labels_set(labels, from->items[i].key, from->items[i].value) < 0)
			return -ENOMEM;
	return 0;
}

static int compare_identities(const void *a, const void *b)
{
	const struct compiled_identity *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int compare_rulesets(const void *a, const void *b)
{
	const struct compiled_ruleset *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int list_identities(struct compilation *c)
{
	struct compiled_policy *result = c->result;

	result->identities = calloc(c->view.identity_count + 1, sizeof(*result->identities));
	if (!result->identities)
		return -ENOMEM;
	for (size_t i = 0; i < c->view.identity_count; i++)
		if (list_identity(result, &c->view.identities[i]) < 0)
			return -ENOMEM;
	qsort(result->identities, result->identity_count, sizeof(*result->identities),
	      compare_identities);
	return 0;
}

static const struct view_namespace *namespace_of(const struct view *view, size_t identity)
{
	const struct view_namespace *namespace = view->namespaces;

	while (identity >= namespace->end)
		namespace++;
	return namespace;
}

/* A host-network pod has no link that a rule set could stand at; of all others without one nothing
 * passes. */
static int list_pods(struct compilation *c, const struct policy_input *input)
{
	struct compiled_policy *result = c->result;

	result->pods = calloc(input->pod_count + 1, sizeof(*result->pods));
	if (!result->pods)
		return -ENOMEM;
	result->pod_count = input->pod_count;
	for (size_t i = 0; i < input->pod_count; i++) {
		size_t index = c->view.pod_identity[i];
		struct compiled_pod *pod = &result->pods[i];
		uint32_t none = input->pods[i]->pod.host_network ? RULESET_OPEN : RULESET_CLOSED;
		struct view_identity identity;

		*pod = (struct compiled_pod){.ingress_ruleset = none, .egress_ruleset = none};
		if (index == NO_IDENTITY)
			continue;
		pod->identity = c->view.identities[index].registered->id;
		if (!input->subject || !input->subject[i])
			continue;
		identity = c->view.identities[index];
		if (input->terminating && input->terminating[i] &&
		    input->deleted_policy_count > 0) {
			const struct view_identity *live = &c->view.identities[index];
			int r = find_both(c, &identity, namespace_of(&c->view, index),
					  input->terminating[i]);

			if (r < 0)
				return r;
			pod->ingress_held = identity.ruleset[INGRESS] != live->ruleset[INGRESS];
			pod->egress_held = identity.ruleset[EGRESS] != live->ruleset[EGRESS];
		}
		pod->ingress_ruleset = identity.ruleset[INGRESS];
		pod->egress_ruleset = identity.ruleset[EGRESS];
		pod->ingress_isolation = identity.isolation[INGRESS];
		pod->egress_isolation = identity.isolation[EGRESS];
	}
	return 0;
}

int policy_compile(struct policy_registry *registry, const struct policy_input *input,
		   struct compiled_policy **ret)
{
	struct compilation c = {.registry = registry};
	int r;

	registry->compilation++;
	c.result = calloc(1, sizeof(*c.result));
	r = c.result ? view_build(&c.view, registry, input) : -ENOMEM;
	if (r == 0)
		c.selected = calloc(c.view.policy_count + 1, sizeof(struct view_policy *));
	if (r == 0 && !c.selected)
		r = -ENOMEM;
	if (r == 0)
		r = find_rulesets(&c);
	if (r == 0)
		r = list_identities(&c);
	if (r == 0)
		r = list_pods(&c, input);
	if (r == 0 && c.result->ruleset_count > 1)
		qsort(c.result->rulesets, c.result->ruleset_count, sizeof(*c.result->rulesets),
		      compare_rulesets);
	view_clear(&c.view);
	made_clear(&c);
	free(c.selected);
	if (r < 0)
		compiled_policy_free(c.result);
	else
		*ret = c.result;
	return r;
}
