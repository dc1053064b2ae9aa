/* SPDX-License-Identifier: Apache-2.0 */
/* From all objects to what holds for each pod. */
#include "policy/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define uthash_nonfatal_oom(entry) ((entry)->lost = true)
#include "policy/set.h"

/* A rule set that was made already, by all that it depends on: the policies and, for ingress by
 * name, the subject's ports. */
struct made {
	char *key;
	size_t key_length;
	uint32_t ruleset;
	bool lost;
	UT_hash_handle hh;
};

struct compilation {
	struct policy_registry *registry;
	struct view view;
	struct made *made;
	struct view_policy **selected; /* scratch: the policies that select a subject */
	struct compiled_policy *result;
	size_t ruleset_capacity;
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

void compiled_policy_free(struct compiled_policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->identity_count; i++) {
		labels_clear((struct labels *)policy->identities[i].labels);
		free((void *)policy->identities[i].labels);
		free((void *)policy->identities[i].namespace);
	}
	for (size_t i = 0; i < policy->ruleset_count; i++)
		compiled_ruleset_clear(&policy->rulesets[i]);
	free(policy->identities);
	free(policy->rulesets);
	free(policy->pods);
	free(policy);
}

static size_t select_policies(struct compilation *c, const struct view_identity *subject,
			      const struct view_namespace *namespace, enum direction direction)
{
	size_t first, end, count = 0;

	view_policies_of(&c->view, namespace, &first, &end);
	for (size_t i = first; i < end; i++) {
		const struct network_policy_object *spec =
			&c->view.policies[i].object->network_policy;
		bool isolates =
			direction == EGRESS ? spec->isolates_egress : spec->isolates_ingress;

		if (isolates && selector_matches(&spec->pod_selector, &subject->registered->labels))
			c->selected[count++] = &c->view.policies[i];
	}
	return count;
}

/* The key's bytes: direction, policies, and the subject's ports where they matter. The caller owns
 * it. */
static char *made_key(const struct compilation *c, const struct view_identity *subject,
		      enum direction direction, size_t count, size_t *ret_length)
{
	const char *ports = subject->registered->key + subject->registered->ports_offset;
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

static int make_ruleset(struct compilation *c, const struct view_identity *subject,
			enum direction direction, size_t count, uint32_t *ret)
{
	struct compiled_ruleset ruleset;
	uint64_t digest[2];
	int r = set_compile(&c->view, direction, subject->registered, c->selected, count, &ruleset);

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
static int remember(struct compilation *c, char *key, size_t length, uint32_t ruleset)
{
	struct made *entry = calloc(1, sizeof(*entry));

	if (!entry) {
		free(key);
		return -ENOMEM;
	}
	*entry = (struct made){.key = key, .key_length = length, .ruleset = ruleset};
	HASH_ADD_KEYPTR(hh, c->made, entry->key, (unsigned int)length, entry);
	if (!entry->lost)
		return 0;
	free(key);
	free(entry);
	return -ENOMEM;
}

static int find_ruleset(struct compilation *c, struct view_identity *subject,
			const struct view_namespace *namespace, enum direction direction)
{
	size_t count = select_policies(c, subject, namespace, direction), length;
	struct made *known;
	char *key;
	int r;

	subject->ruleset[direction] = RULESET_OPEN;
	if (count == 0)
		return 0;
	key = made_key(c, subject, direction, count, &length);
	if (!key)
		return -ENOMEM;
	HASH_FIND(hh, c->made, key, (unsigned int)length, known);
	if (known) {
		free(key);
		subject->ruleset[direction] = known->ruleset;
		return 0;
	}
	r = make_ruleset(c, subject, direction, count, &subject->ruleset[direction]);
	if (r < 0) {
		free(key);
		return r;
	}
	return remember(c, key, length, subject->ruleset[direction]);
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
			r = find_ruleset(c, identity, namespace, INGRESS);
			if (r == 0)
				r = find_ruleset(c, identity, namespace, EGRESS);
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

		*pod = (struct compiled_pod){.ingress_ruleset = none, .egress_ruleset = none};
		if (index == NO_IDENTITY)
			continue;
		pod->identity = c->view.identities[index].registered->id;
		if (!input->subject || !input->subject[i])
			continue;
		pod->ingress_ruleset = c->view.identities[index].ruleset[INGRESS];
		pod->egress_ruleset = c->view.identities[index].ruleset[EGRESS];
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
	c.selected = calloc(input->policy_count + 1, sizeof(struct view_policy *));
	r = c.result && c.selected ? view_build(&c.view, registry, input) : -ENOMEM;
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
