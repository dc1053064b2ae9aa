/* SPDX-License-Identifier: Apache-2.0 */
/* Policies in the order they are asked, and whom their rules name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/classes.h"
#include "policy/compile/view_internal.h"
#include "policy/objects/array.h"

static int compare_policies(const struct view_policy *x, const struct view_policy *y)
{
	const struct network_policy_object *p = &x->object->network_policy;
	const struct network_policy_object *q = &y->object->network_policy;
	int order = (int)p->tier - (int)q->tier;

	if (order == 0)
		order = p->priority - q->priority;
	if (order == 0)
		order = strcmp(x->object->name, y->object->name);
	return order ? order : (x->deleted_at > y->deleted_at) - (x->deleted_at < y->deleted_at);
}

static bool matches_all_pods(const struct policy_peer *peer)
{
	return !peer->is_block && peer->has_namespace_selector && !peer->is_nodes &&
	       peer->namespace_selector.count == 0 && peer->pod_selector.count == 0;
}

/* ---------------------------------------------------------------- one policy */

static void forget_rules(struct view *view, struct view_policy *policy)
{
	for (int d = INGRESS; d <= EGRESS; d++) {
		for (size_t i = 0; i < policy->rule_count[d]; i++) {
			struct view_rule *rule = &policy->rules[d][i];

			free(rule->matches);
			if (rule->number)
				registry_release_rule(view->registry, rule->number);
		}
		free(policy->rules[d]);
	}
}

static void policy_free(struct view *view, struct view_policy *policy)
{
	forget_rules(view, policy);
	object_free(policy->object);
	free(policy);
}

static int add_rules(struct view *view, struct view_policy *policy, enum direction direction,
		     const struct policy_rule *source, size_t count)
{
	policy->rules[direction] = calloc(count + 1, sizeof(struct view_rule));
	if (!policy->rules[direction])
		return -ENOMEM;
	policy->rule_count[direction] = count;
	for (size_t i = 0; i < count; i++) {
		struct view_rule *rule = &policy->rules[direction][i];
		int r = registry_take_rule(view->registry, policy->object->namespace,
					   policy->object->name, direction == EGRESS, (uint32_t)i,
					   &rule->number);

		if (r < 0)
			return r;
		rule->source = &source[i];
		rule->namespace = policy->namespace;
		rule->tier = policy->object->network_policy.tier;
		rule->any_peer = rule->all_pods = source[i].peer_count == 0;
		for (size_t j = 0; j < source[i].peer_count; j++)
			rule->all_pods |= matches_all_pods(&source[i].peers[j]);
		for (size_t j = 0; j < source[i].port_count; j++)
			policy->named_ports[direction] |= source[i].ports[j].name != NULL;
	}
	return 0;
}

/* 0, -ENOMEM, -ENOSPC. */
static int policy_new(struct view *view, const struct object *object, uint64_t deleted_at,
		      struct view_policy **ret)
{
	const struct network_policy_object *spec = &object->network_policy;
	struct view_policy *policy = calloc(1, sizeof(*policy));
	int r = 0;

	if (!policy)
		return -ENOMEM;
	policy->object = object_share(object);
	policy->serial = view->next_serial++;
	policy->deleted_at = deleted_at;
	if (object->kind == OBJECT_NETWORK_POLICY) {
		policy->namespace = view_namespace(view, object->namespace);
		r = policy->namespace ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = add_rules(view, policy, INGRESS, spec->ingress, spec->ingress_count);
	if (r == 0)
		r = add_rules(view, policy, EGRESS, spec->egress, spec->egress_count);
	if (r < 0) {
		policy_free(view, policy);
		return r;
	}
	*ret = policy;
	return 0;
}

/* ---------------------------------------------------------------- where it stands */

/* The sorted array that a policy belongs to. */
struct list {
	struct view_policy ***items;
	size_t *count, *capacity;
};

static struct list list_of(struct view *view, struct view_namespace *namespace)
{
	if (namespace)
		return (struct list){&namespace->policies, &namespace->policy_count,
				     &namespace->policy_capacity};
	return (struct list){&view->cluster, &view->cluster_count, &view->cluster_capacity};
}

/* Subjects of the policy have to be selected anew. */
static int mark(struct view *view, struct view_namespace *namespace)
{
	if (namespace)
		return view_mark_namespace(view, namespace);
	view->cluster_changed = true;
	return 0;
}

static int insert(struct view *view, struct view_policy *policy)
{
	struct list list = list_of(view, policy->namespace);
	struct view_policy **grown =
		array_grow(*list.items, *list.count, list.capacity, sizeof(struct view_policy *));
	size_t low = 0, high = *list.count;

	if (!grown)
		return -ENOMEM;
	*list.items = grown;
	/* First: what fails leaves the policy to the caller. */
	if (mark(view, policy->namespace) < 0)
		return -ENOMEM;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_policies(grown[middle], policy) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	memmove(grown + low + 1, grown + low, (*list.count - low) * sizeof(*grown));
	grown[low] = policy;
	(*list.count)++;
	view->deleted_count += policy->deleted_at != 0;
	return 0;
}

/* Out of the array, into the trash. */
static int take_out(struct view *view, struct list list, size_t at)
{
	struct view_policy *policy = (*list.items)[at];

	view->deleted_count -= policy->deleted_at != 0;
	view_name_words(view, &policy->object->network_policy, false);
	(*list.count)--;
	memmove(*list.items + at, *list.items + at + 1,
		(*list.count - at) * sizeof(struct view_policy *));
	policy->next = view->trash;
	view->trash = policy;
	return mark(view, policy->namespace);
}

static struct view_namespace *find_namespace(struct view *view, const char *name)
{
	struct view_namespace *namespace;

	HASH_FIND_STR(view->namespaces, name, namespace);
	return namespace;
}

int view_remove_policy(struct view *view, enum object_kind kind, const char *namespace,
		       const char *name)
{
	bool cluster = kind == OBJECT_CLUSTER_NETWORK_POLICY;
	struct view_namespace *space = cluster ? NULL : find_namespace(view, namespace);
	struct list list = list_of(view, space);

	if (!cluster && !space)
		return 0;
	for (size_t i = 0; i < *list.count; i++)
		if (!(*list.items)[i]->deleted_at &&
		    strcmp((*list.items)[i]->object->name, name) == 0)
			return take_out(view, list, i);
	return 0;
}

static int add(struct view *view, const struct object *object, uint64_t deleted_at)
{
	struct view_policy *policy;
	int r = policy_new(view, object, deleted_at, &policy);

	if (r < 0)
		return r;
	r = insert(view, policy);
	if (r < 0) {
		policy_free(view, policy);
		return r;
	}
	return view_name_words(view, &object->network_policy, true);
}

int view_set_policy(struct view *view, const struct object *object)
{
	int r = view_remove_policy(view, object->kind, object->namespace, object->name);

	return r < 0 ? r : add(view, object, 0);
}

/* ---------------------------------------------------------------- policies that went */

static int remove_deleted(struct view *view, struct list list)
{
	int r = 0;

	for (size_t i = *list.count; r == 0 && i > 0; i--)
		if ((*list.items)[i - 1]->deleted_at)
			r = take_out(view, list, i - 1);
	return r;
}

int view_set_deleted(struct view *view, const struct object *const *objects, const uint64_t *when,
		     size_t count)
{
	struct view_namespace *namespace, *next;
	int r = 0;

	if (view->deleted_count)
		r = remove_deleted(view, list_of(view, NULL));
	HASH_ITER (hh, view->namespaces, namespace, next)
		if (r == 0 && view->deleted_count)
			r = remove_deleted(view, list_of(view, namespace));
	for (size_t i = 0; r == 0 && i < count; i++)
		r = add(view, objects[i], when[i]);
	return r;
}

/* ---------------------------------------------------------------- the end */

void view_free_trash(struct view *view)
{
	while (view->prepared) {
		struct view_rule *rule = view->prepared;

		view->prepared = rule->next_prepared;
		free(rule->matches);
		rule->matches = NULL;
	}
	while (view->trash) {
		struct view_policy *policy = view->trash;

		view->trash = policy->next;
		policy_free(view, policy);
	}
}

static void free_list(struct view *view, struct list list)
{
	for (size_t i = 0; i < *list.count; i++)
		policy_free(view, (*list.items)[i]);
	*list.count = 0;
}

void view_clear_policies(struct view *view)
{
	struct view_namespace *namespace, *next;

	view_free_trash(view);
	free_list(view, list_of(view, NULL));
	HASH_ITER (hh, view->namespaces, namespace, next)
		free_list(view, list_of(view, namespace));
	free(view->cluster);
}

/* ---------------------------------------------------------------- whom a rule names */

static bool peer_matches(const struct policy_peer *peer, const struct view_namespace *own,
			 const struct view_identity *identity)
{
	if (peer->is_block || peer->is_nodes)
		return false;
	if (!peer->has_namespace_selector) {
		if (identity->namespace != own)
			return false;
	} else if (!selector_matches(&peer->namespace_selector, &identity->namespace->labels)) {
		return false;
	}
	return !peer->has_pod_selector ||
	       selector_matches(&peer->pod_selector, &identity->registered->labels);
}

bool view_rule_matches(const struct view_rule *rule, const struct view_identity *identity)
{
	if (rule->all_pods)
		return true;
	if (rule->matches)
		return bits_has(rule->matches, identity->index);
	for (size_t i = 0; i < rule->source->peer_count; i++)
		if (peer_matches(&rule->source->peers[i], rule->namespace, identity))
			return true;
	return false;
}

static void match_namespace(const struct policy_peer *peer, const struct view_namespace *namespace,
			    uint64_t *matches)
{
	const struct view_identity *identity;

	for (identity = namespace->identities; identity; identity = identity->next)
		if (identity->pods &&
		    (!peer->has_pod_selector ||
		     selector_matches(&peer->pod_selector, &identity->registered->labels)))
			bits_set(matches, identity->index);
}

/* Those that have one of the term's labels. */
static void match_few(const struct view *view, const struct policy_peer *peer,
		      const struct view_namespace *own, const struct selector_term *term,
		      uint64_t *matches)
{
	for (size_t i = 0; i < term->value_count; i++) {
		const struct view_label *label = view_find_label(view, term->key, term->values[i]);

		for (size_t j = 0; label && j < label->count; j++)
			if (label->identities[j]->pods &&
			    peer_matches(peer, own, label->identities[j]))
				bits_set(matches, label->identities[j]->index);
	}
}

static void match_peer(const struct view *view, const struct policy_peer *peer,
		       const struct view_namespace *own, uint64_t *matches)
{
	const struct view_namespace *namespace, *next;
	const struct selector_term *term = NULL;
	size_t few = SIZE_MAX, all = own ? own->identity_count : 0;

	if (peer->has_namespace_selector)
		all = view->by_id.count;
	if (peer->has_pod_selector)
		few = view_rarest_term(view, &peer->pod_selector, &term);
	if (term && few < all) {
		match_few(view, peer, own, term, matches);
		return;
	}
	if (!peer->has_namespace_selector) {
		if (own)
			match_namespace(peer, own, matches);
		return;
	}
	HASH_ITER (hh, view->namespaces, namespace, next)
		if (namespace->identities &&
		    selector_matches(&peer->namespace_selector, &namespace->labels))
			match_namespace(peer, namespace, matches);
}

int view_prepare_rule(struct view *view, struct view_rule *rule)
{
	const struct policy_rule *source = rule->source;

	if (rule->matches || rule->all_pods)
		return 0;
	rule->matches = calloc(view_identity_words(view), sizeof(*rule->matches));
	if (!rule->matches)
		return -ENOMEM;
	rule->next_prepared = view->prepared;
	view->prepared = rule;
	for (size_t i = 0; i < source->peer_count; i++)
		if (!source->peers[i].is_block && !source->peers[i].is_nodes)
			match_peer(view, &source->peers[i], rule->namespace, rule->matches);
	return 0;
}
