/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler on a world that is given whole. */
#include "policy/compile/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/compiler_internal.h"

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
	for (size_t i = 0; i < policy->selection_count; i++) {
		for (size_t j = 0; j < policy->selections[i]->count; j++)
			free(policy->selections[i]->policies[j]);
		free(policy->selections[i]->policies);
		free(policy->selections[i]);
	}
	free(policy->selections);
	free(policy->identities);
	free(policy->rulesets);
	free(policy->pods);
	free(policy);
}

/* ---------------------------------------------------------------- in */

/* Numbers are given in the order of what they stand for, whatever the order of the input. */
struct keyed_pod {
	char *key;
	const char *namespace;
	size_t index;
};

static int compare_keys(const void *a, const void *b)
{
	const struct keyed_pod *x = a, *y = b;
	int order = strcmp(x->namespace, y->namespace);

	return order ? order : strcmp(x->key, y->key);
}

static int key_pods(const struct policy_input *input, struct keyed_pod *keyed)
{
	size_t ports_offset;

	for (size_t i = 0; i < input->pod_count; i++) {
		const struct object *pod = input->pods[i];

		keyed[i].index = i;
		keyed[i].namespace = pod->namespace;
		keyed[i].key = registry_identity_key(pod->namespace, &pod->labels, pod->pod.ports,
						     pod->pod.port_count, &ports_offset);
		if (!keyed[i].key)
			return -ENOMEM;
	}
	if (input->pod_count > 1)
		qsort(keyed, input->pod_count, sizeof(*keyed), compare_keys);
	return 0;
}

static int give_pod(struct policy_compiler *c, const struct policy_input *input, size_t i,
		    struct policy_pod **pod)
{
	const struct pod_object *object = &input->pods[i]->pod;
	const struct pod_addresses addresses = {object->addresses, object->address_count};

	return policy_compiler_set_pod(c, pod, input->pods[i],
				       i < input->local_count ? &input->local_addresses[i]
							      : &addresses,
				       input->subject && input->subject[i],
				       input->terminating ? input->terminating[i] : 0);
}

static int give_pods(struct policy_compiler *c, const struct policy_input *input,
		     struct policy_pod **pods)
{
	struct keyed_pod *keyed = calloc(input->pod_count + 1, sizeof(*keyed));
	int r = keyed ? key_pods(input, keyed) : -ENOMEM;

	for (size_t i = 0; i < input->pod_count && r == 0; i++)
		r = give_pod(c, input, keyed[i].index, &pods[keyed[i].index]);
	for (size_t i = 0; keyed && i < input->pod_count; i++)
		free(keyed[i].key);
	free(keyed);
	return r;
}

static int compare_policies(const void *a, const void *b)
{
	const struct object *x = *(const struct object *const *)a,
			    *y = *(const struct object *const *)b;
	int order = (int)x->network_policy.tier - (int)y->network_policy.tier;

	if (order == 0)
		order = x->network_policy.priority - y->network_policy.priority;
	if (order == 0)
		order = strcmp(x->namespace, y->namespace);
	return order ? order : strcmp(x->name, y->name);
}

static int give_policies(struct policy_compiler *c, const struct object *const *policies,
			 size_t count)
{
	const struct object **sorted = calloc(count + 1, sizeof(struct object *));
	int r = sorted ? 0 : -ENOMEM;

	for (size_t i = 0; i < count && r == 0; i++)
		sorted[i] = policies[i];
	if (r == 0 && count > 1)
		qsort(sorted, count, sizeof(struct object *), compare_policies);
	for (size_t i = 0; i < count && r == 0; i++)
		r = policy_compiler_set_policy(c, sorted[i]);
	free(sorted);
	return r;
}

static int give(struct policy_compiler *c, const struct policy_input *input,
		struct policy_pod **pods)
{
	int r = 0;

	for (size_t i = 0; i < input->namespace_count && r == 0; i++)
		r = policy_compiler_set_namespace(c, input->namespaces[i]->name,
						  input->namespaces[i]);
	policy_compiler_set_nodes(c, input->nodes, input->node_count, true);
	if (r == 0)
		r = give_policies(c, input->cluster_policies, input->cluster_policy_count);
	if (r == 0)
		r = give_policies(c, input->policies, input->policy_count);
	if (r == 0)
		r = policy_compiler_set_deleted(c, input->deleted_policies, input->deleted_at,
						input->deleted_policy_count);
	policy_compiler_regroup(c);
	return r < 0 ? r : give_pods(c, input, pods);
}

/* ---------------------------------------------------------------- out */

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

static int list_identities(const struct policy_compiler *c, struct compiled_policy *result)
{
	struct hash_table_item *item;

	result->identities = calloc(c->view.by_id.count + 1, sizeof(*result->identities));
	if (!result->identities)
		return -ENOMEM;
	for (item = hash_table_first(&c->view.by_id); item;
	     item = hash_table_next(&c->view.by_id, item))
		if (list_identity(result, (struct view_identity *)item) < 0)
			return -ENOMEM;
	qsort(result->identities, result->identity_count, sizeof(*result->identities),
	      compare_identities);
	return 0;
}

/* The sets are the result's from now on. */
static int list_rulesets(struct policy_compiler *c, struct compiled_policy *result)
{
	struct numbered_ruleset *numbered, *next;

	result->rulesets = calloc(c->numbered_count + 1, sizeof(*result->rulesets));
	if (!result->rulesets)
		return -ENOMEM;
	HASH_ITER (hh, c->numbered, numbered, next) {
		uint32_t id = numbered->compiled.id;

		if (numbered->sets == 0)
			continue;
		result->rulesets[result->ruleset_count++] = numbered->compiled;
		numbered->compiled = (struct compiled_ruleset){.id = id};
	}
	if (result->ruleset_count > 1)
		qsort(result->rulesets, result->ruleset_count, sizeof(*result->rulesets),
		      compare_rulesets);
	return 0;
}

/* So are the lists of names that pods point to. */
static int list_selections(struct policy_compiler *c, struct compiled_policy *result)
{
	struct live_ruleset *live, *next;

	result->selections = calloc(HASH_COUNT(c->sets) + 1, sizeof(struct compiled_selection *));
	if (!result->selections)
		return -ENOMEM;
	HASH_ITER (hh, c->sets, live, next) {
		if (live->isolation)
			result->selections[result->selection_count++] = live->isolation;
		live->isolation = NULL;
	}
	return 0;
}

static int list_pods(const struct policy_compiler *c, struct policy_pod *const *pods, size_t count,
		     struct compiled_policy *result)
{
	result->pods = calloc(count + 1, sizeof(*result->pods));
	if (!result->pods)
		return -ENOMEM;
	result->pod_count = count;
	for (size_t i = 0; i < count; i++)
		result->pods[i] = policy_compiler_pod(c, pods[i]);
	return 0;
}

static int take(struct policy_compiler *c, struct policy_pod *const *pods, size_t count,
		struct compiled_policy **ret)
{
	struct compiled_policy *result = calloc(1, sizeof(*result));
	int r = result ? list_identities(c, result) : -ENOMEM;

	if (r == 0)
		r = list_pods(c, pods, count, result);
	if (r == 0)
		r = list_selections(c, result);
	if (r == 0)
		r = list_rulesets(c, result);
	if (r < 0)
		compiled_policy_free(result);
	else
		*ret = result;
	return r;
}

static int compile(struct policy_registry *registry, const struct policy_input *input,
		   const struct policy_compiler *like, struct compiled_policy **ret)
{
	struct policy_compiler *c = policy_compiler_new(registry);
	struct policy_pod **pods = calloc(input->pod_count + 1, sizeof(struct policy_pod *));
	int r = c && pods ? 0 : -ENOMEM;

	if (r == 0 && like)
		r = view_keep_words(&c->view, &like->view);
	if (r == 0)
		r = give(c, input, pods);
	if (r == 0)
		r = policy_compiler_run(c);
	if (r == 0)
		r = take(c, pods, input->pod_count, ret);
	policy_compiler_free(c);
	free(pods);
	return r;
}

int policy_compile(struct policy_registry *registry, const struct policy_input *input,
		   struct compiled_policy **ret)
{
	return compile(registry, input, NULL, ret);
}

int compiler_compile_like(const struct policy_compiler *c, const struct policy_input *input,
			  struct compiled_policy **ret)
{
	return compile(c->view.registry, input, c, ret);
}
