/* SPDX-License-Identifier: Apache-2.0 */
/* The input, sorted: nothing after this depends on the order objects came in. */
#include "policy/compile/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/classes.h"

#define NAMESPACE_NAME_LABEL "kubernetes.io/metadata.name"

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

/* Host-network pods have their node's address, finished ones none that is theirs. */
static bool has_identity(const struct object *pod)
{
	return !pod->pod.host_network && !pod->pod.finished;
}

static int key_pods(const struct policy_input *input, struct keyed_pod *keyed, size_t *ret_count)
{
	size_t count = 0, ports_offset;

	for (size_t i = 0; i < input->pod_count; i++) {
		const struct object *pod = input->pods[i];

		if (!has_identity(pod))
			continue;
		keyed[count].index = i;
		keyed[count].namespace = pod->namespace;
		keyed[count].key =
			registry_identity_key(pod->namespace, &pod->labels, pod->pod.ports,
					      pod->pod.port_count, &ports_offset);
		*ret_count = count + 1;
		if (!keyed[count++].key)
			return -ENOMEM;
	}
	qsort(keyed, count, sizeof(*keyed), compare_keys);
	return 0;
}

static int add_identities(struct view *view, struct policy_registry *registry,
			  const struct policy_input *input, const struct keyed_pod *keyed,
			  size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct view_identity *identity;

		if (i == 0 || strcmp(keyed[i - 1].key, keyed[i].key) != 0) {
			identity = &view->identities[view->identity_count];
			int r = registry_take_identity(registry, keyed[i].key,
						       input->pods[keyed[i].index],
						       &identity->registered);
			if (r < 0)
				return r;
			view->identity_count++;
		}
		identity = &view->identities[view->identity_count - 1];
		identity->pods++;
		identity->subject |= input->subject && input->subject[keyed[i].index];
		view->pod_identity[keyed[i].index] = view->identity_count - 1;
	}
	return 0;
}

static int build_identities(struct view *view, struct policy_registry *registry,
			    const struct policy_input *input)
{
	struct keyed_pod *keyed = calloc(input->pod_count + 1, sizeof(*keyed));
	size_t count = 0;
	int r = keyed ? 0 : -ENOMEM;

	view->identities = calloc(input->pod_count + 1, sizeof(*view->identities));
	view->pod_identity = calloc(input->pod_count + 1, sizeof(*view->pod_identity));
	if (!view->identities || !view->pod_identity)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < input->pod_count; i++)
		view->pod_identity[i] = NO_IDENTITY;
	if (r == 0)
		r = key_pods(input, keyed, &count);
	if (r == 0)
		r = add_identities(view, registry, input, keyed, count);
	view->identity_words = view->identity_count / 64 + 1;
	for (size_t i = 0; i < count; i++)
		free(keyed[i].key);
	free(keyed);
	return r;
}

static int compare_names(const void *a, const void *b)
{
	const struct object *x = *(const struct object *const *)a,
			    *y = *(const struct object *const *)b;

	return strcmp(x->name, y->name);
}

/* A label of the user's never stands in for the namespace's name. */
static int label_namespace(struct view_namespace *namespace, const struct object *object)
{
	int r = 0;

	for (size_t i = 0; object && r == 0 && i < object->labels.count; i++)
		r = labels_set(&namespace->labels, object->labels.items[i].key,
			       object->labels.items[i].value);
	return r < 0 ? r : labels_set(&namespace->labels, NAMESPACE_NAME_LABEL, namespace->name);
}

static const struct object *find_object(const struct object *const *sorted, size_t count,
					const char *name)
{
	struct object wanted = {.name = (char *)name};
	const struct object *key = &wanted;
	const struct object *const *found =
		count ? bsearch(&key, sorted, count, sizeof(key), compare_names) : NULL;

	return found ? *found : NULL;
}

static int add_namespaces(struct view *view, const struct object *const *sorted, size_t count)
{
	for (size_t i = 0; i < view->identity_count; i++) {
		const char *name = view->identities[i].registered->namespace;
		struct view_namespace *namespace;

		if (i == 0 || strcmp(view->identities[i - 1].registered->namespace, name) != 0) {
			namespace = &view->namespaces[view->namespace_count++];
			*namespace = (struct view_namespace){.name = name, .first = i};
			if (label_namespace(namespace, find_object(sorted, count, name)) < 0)
				return -ENOMEM;
		}
		view->namespaces[view->namespace_count - 1].end = i + 1;
	}
	return 0;
}

static int build_namespaces(struct view *view, const struct policy_input *input)
{
	const struct object **sorted = calloc(input->namespace_count + 1, sizeof(struct object *));
	int r = 0;

	view->namespaces = calloc(view->identity_count + 1, sizeof(*view->namespaces));
	if (!sorted || !view->namespaces) {
		r = -ENOMEM;
	} else {
		for (size_t i = 0; i < input->namespace_count; i++)
			sorted[i] = input->namespaces[i];
		qsort(sorted, input->namespace_count, sizeof(struct object *), compare_names);
		r = add_namespaces(view, sorted, input->namespace_count);
	}
	free(sorted);
	return r;
}

static int compare_policies(const void *a, const void *b)
{
	const struct view_policy *x = a, *y = b;
	const struct network_policy_object *p = &x->object->network_policy;
	const struct network_policy_object *q = &y->object->network_policy;
	int order = (x->object->kind != OBJECT_CLUSTER_NETWORK_POLICY) -
		    (y->object->kind != OBJECT_CLUSTER_NETWORK_POLICY);

	if (order == 0)
		order = (int)p->tier - (int)q->tier;
	if (order == 0)
		order = p->priority - q->priority;
	if (order == 0)
		order = strcmp(x->object->namespace, y->object->namespace);
	if (order == 0)
		order = strcmp(x->object->name, y->object->name);
	return order ? order : (x->deleted_at > y->deleted_at) - (x->deleted_at < y->deleted_at);
}

static const struct view_namespace *find_namespace(const struct view *view, const char *name)
{
	size_t low = 0, high = view->namespace_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(view->namespaces[middle].name, name);

		if (order == 0)
			return &view->namespaces[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int add_rules(struct view_policy *policy, enum direction direction,
		     const struct policy_rule *source, size_t count,
		     struct policy_registry *registry)
{
	policy->rules[direction] = calloc(count + 1, sizeof(struct view_rule));
	if (!policy->rules[direction])
		return -ENOMEM;
	policy->rule_count[direction] = count;
	for (size_t i = 0; i < count; i++) {
		struct view_rule *rule = &policy->rules[direction][i];
		int r = registry_take_rule(registry, policy->object->namespace,
					   policy->object->name, direction == EGRESS, (uint32_t)i,
					   &rule->number);

		if (r < 0)
			return r;
		rule->source = &source[i];
		rule->namespace = policy->namespace;
		rule->tier = policy->object->network_policy.tier;
		rule->everyone = source[i].peer_count == 0;
		for (size_t j = 0; j < source[i].port_count; j++)
			policy->named_ports[direction] |= source[i].ports[j].name != NULL;
	}
	return 0;
}

static void add_policies(struct view *view, const struct object *const *objects, size_t count,
			 const uint64_t *deleted_at)
{
	for (size_t i = 0; i < count; i++) {
		view->cluster_count += objects[i]->kind == OBJECT_CLUSTER_NETWORK_POLICY;
		view->policies[view->policy_count++] =
			(struct view_policy){.object = objects[i],
					     .deleted_at = deleted_at ? deleted_at[i] : 0};
	}
}

static int build_policies(struct view *view, struct policy_registry *registry,
			  const struct policy_input *input)
{
	size_t count = input->policy_count + input->cluster_policy_count +
		       input->deleted_policy_count;

	view->policies = calloc(count + 1, sizeof(*view->policies));
	if (!view->policies)
		return -ENOMEM;
	add_policies(view, input->policies, input->policy_count, NULL);
	add_policies(view, input->cluster_policies, input->cluster_policy_count, NULL);
	add_policies(view, input->deleted_policies, input->deleted_policy_count, input->deleted_at);
	qsort(view->policies, view->policy_count, sizeof(*view->policies), compare_policies);
	for (size_t i = 0; i < view->policy_count; i++) {
		struct view_policy *policy = &view->policies[i];
		const struct network_policy_object *spec = &policy->object->network_policy;
		int r;

		if (i >= view->cluster_count)
			policy->namespace = find_namespace(view, policy->object->namespace);
		r = add_rules(policy, INGRESS, spec->ingress, spec->ingress_count, registry);
		if (r == 0)
			r = add_rules(policy, EGRESS, spec->egress, spec->egress_count, registry);
		if (r < 0)
			return r;
	}
	return 0;
}

int view_build(struct view *view, struct policy_registry *registry,
	       const struct policy_input *input)
{
	int r;

	view->pods = input->pods;
	view->pod_count = input->pod_count;
	view->local_addresses = input->local_addresses;
	view->local_count = input->local_count;
	view->nodes = input->nodes;
	view->node_count = input->node_count;
	r = build_identities(view, registry, input);

	if (r == 0)
		r = build_namespaces(view, input);
	return r < 0 ? r : build_policies(view, registry, input);
}

void view_clear(struct view *view)
{
	for (size_t i = 0; i < view->policy_count; i++)
		for (int d = INGRESS; d <= EGRESS; d++) {
			for (size_t j = 0; j < view->policies[i].rule_count[d]; j++)
				free(view->policies[i].rules[d][j].matches);
			free(view->policies[i].rules[d]);
		}
	for (size_t i = 0; i < view->namespace_count; i++)
		labels_clear(&view->namespaces[i].labels);
	free(view->policies);
	free(view->namespaces);
	free(view->identities);
	free(view->pod_identity);
	*view = (struct view){};
}

void view_policies_of(const struct view *view, const struct view_namespace *namespace,
		      size_t *ret_first, size_t *ret_end)
{
	size_t low = view->cluster_count, high = view->policy_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(view->policies[middle].object->namespace, namespace->name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_first = low;
	while (low < view->policy_count && view->policies[low].namespace == namespace)
		low++;
	*ret_end = low;
}

static bool matches_all_pods(const struct policy_peer *peer)
{
	return peer->has_namespace_selector && !peer->is_nodes &&
	       peer->namespace_selector.count == 0 &&
	       peer->pod_selector.count == 0;
}

static void match_namespace(const struct view *view, const struct policy_peer *peer,
			    const struct view_namespace *namespace, uint64_t *matches)
{
	for (size_t i = namespace->first; i < namespace->end; i++)
		if (!peer->has_pod_selector ||
		    selector_matches(&peer->pod_selector, &view->identities[i].registered->labels))
			bits_set(matches, i);
}

static void match_peer(const struct view *view, const struct policy_peer *peer,
		       const struct view_namespace *own, uint64_t *matches)
{
	if (!peer->has_namespace_selector) {
		if (own)
			match_namespace(view, peer, own, matches);
		return;
	}
	for (size_t i = 0; i < view->namespace_count; i++)
		if (selector_matches(&peer->namespace_selector, &view->namespaces[i].labels))
			match_namespace(view, peer, &view->namespaces[i], matches);
}

int view_prepare_rule(const struct view *view, struct view_rule *rule)
{
	const struct policy_rule *source = rule->source;

	if (rule->prepared)
		return 0;
	rule->all_pods = rule->everyone;
	for (size_t i = 0; i < source->peer_count; i++)
		rule->all_pods |= !source->peers[i].is_block && matches_all_pods(&source->peers[i]);
	if (!rule->all_pods) {
		rule->matches = calloc(view->identity_words, sizeof(*rule->matches));
		if (!rule->matches)
			return -ENOMEM;
		for (size_t i = 0; i < source->peer_count; i++)
			if (!source->peers[i].is_block && !source->peers[i].is_nodes)
				match_peer(view, &source->peers[i], rule->namespace, rule->matches);
	}
	rule->prepared = true;
	return 0;
}
