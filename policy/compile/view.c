/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces, identities and pods. Policies: view_policies.c. */
#include "policy/compile/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/view_internal.h"
#include "policy/objects/array.h"

#define NAMESPACE_NAME_LABEL "kubernetes.io/metadata.name"

/* ---------------------------------------------------------------- namespaces */

static void namespace_free(struct view *view, struct view_namespace *namespace)
{
	HASH_DEL(view->namespaces, namespace);
	labels_clear(&namespace->labels);
	free(namespace->policies);
	free(namespace->name);
	free(namespace);
}

static struct view_namespace *namespace_new(const char *name)
{
	struct view_namespace *namespace = calloc(1, sizeof(*namespace));

	if (!namespace)
		return NULL;
	namespace->name = strdup(name);
	if (namespace->name && labels_set(&namespace->labels, NAMESPACE_NAME_LABEL, name) == 0)
		return namespace;
	labels_clear(&namespace->labels);
	free(namespace->name);
	free(namespace);
	return NULL;
}

struct view_namespace *view_namespace(struct view *view, const char *name)
{
	struct view_namespace *namespace;

	HASH_FIND_STR(view->namespaces, name, namespace);
	if (namespace)
		return namespace;
	namespace = namespace_new(name);
	if (!namespace)
		return NULL;
	HASH_ADD_KEYPTR(hh, view->namespaces, namespace->name, strlen(namespace->name), namespace);
	if (HASH_ADDED(hh, namespace))
		return namespace;
	labels_clear(&namespace->labels);
	free(namespace->name);
	free(namespace);
	return NULL;
}

int view_mark_namespace(struct view *view, struct view_namespace *namespace)
{
	struct view_namespace **grown;

	if (namespace->listed)
		return 0;
	grown = array_grow(view->dirty, view->dirty_count, &view->dirty_capacity,
			   sizeof(*view->dirty));
	if (!grown)
		return -ENOMEM;
	view->dirty = grown;
	view->dirty[view->dirty_count++] = namespace;
	namespace->listed = true;
	return 0;
}

/* A label of the user's never stands in for the namespace's name. */
static int label_namespace(struct labels *labels, const char *name, const struct object *object)
{
	int r = 0;

	for (size_t i = 0; object && r == 0 && i < object->labels.count; i++)
		r = labels_set(labels, object->labels.items[i].key, object->labels.items[i].value);
	return r < 0 ? r : labels_set(labels, NAMESPACE_NAME_LABEL, name);
}

static bool same_labels(const struct labels *a, const struct labels *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i].key, b->items[i].key) != 0 ||
		    strcmp(a->items[i].value, b->items[i].value) != 0)
			return false;
	return true;
}

int view_set_namespace(struct view *view, const char *name, const struct object *object)
{
	struct view_namespace *namespace = view_namespace(view, name);
	struct labels labels = {};
	int r;

	if (!namespace)
		return -ENOMEM;
	r = label_namespace(&labels, name, object);
	if (r == 0)
		r = view_mark_namespace(view, namespace);
	if (r < 0) {
		labels_clear(&labels);
		return r;
	}
	namespace->has_object = object != NULL;
	namespace->relabelled |= !same_labels(&labels, &namespace->labels);
	labels_clear(&namespace->labels);
	namespace->labels = labels;
	return 0;
}

/* ---------------------------------------------------------------- identities */

size_t view_identity_words(const struct view *view)
{
	return view->identity_slots / 64 + 1;
}

static int mark_identity(struct view *view, struct view_identity *identity)
{
	struct view_identity **grown;

	if (identity->listed)
		return 0;
	grown = array_grow(view->changed, view->changed_count, &view->changed_capacity,
			   sizeof(*view->changed));
	if (!grown)
		return -ENOMEM;
	view->changed = grown;
	view->changed[view->changed_count++] = identity;
	identity->listed = true;
	return 0;
}

/* A bit of its own. */
static int place_identity(struct view *view, struct view_identity *identity)
{
	size_t index = view->free_from;
	struct view_identity **grown;

	while (index < view->identity_slots && view->identities[index])
		index++;
	if (index == view->identity_slots) {
		grown = array_grow(view->identities, view->identity_slots, &view->identity_capacity,
				   sizeof(*view->identities));
		if (!grown)
			return -ENOMEM;
		view->identities = grown;
		view->identity_slots++;
	}
	view->identities[index] = identity;
	view->free_from = index + 1;
	identity->index = index;
	return 0;
}

static void link_identity(struct view_identity *identity)
{
	struct view_namespace *namespace = identity->namespace;

	identity->next = namespace->identities;
	if (identity->next)
		identity->next->previous = identity;
	namespace->identities = identity;
	namespace->identity_count++;
}

static void unlink_identity(struct view_identity *identity)
{
	identity->namespace->identity_count--;
	if (identity->next)
		identity->next->previous = identity->previous;
	if (identity->previous)
		identity->previous->next = identity->next;
	else
		identity->namespace->identities = identity->next;
}

static void identity_free(struct view *view, struct view_identity *identity)
{
	unlink_identity(identity);
	view_unlist_labels(view, identity);
	hash_table_remove(&view->by_id, &identity->by_id);
	view->identities[identity->index] = NULL;
	if (identity->index < view->free_from)
		view->free_from = identity->index;
	registry_release_identity(view->registry, identity->registered);
	free(identity);
}

/* Takes the caller's hold of `registered`, on success. */
static struct view_identity *identity_new(struct view *view,
					  const struct registry_identity *registered)
{
	struct view_identity *identity = calloc(1, sizeof(*identity));

	if (!identity)
		return NULL;
	identity->registered = registered;
	identity->namespace = view_namespace(view, registered->namespace);
	if (!identity->namespace || place_identity(view, identity) < 0) {
		free(identity);
		return NULL;
	}
	if (hash_table_add(&view->by_id, &identity->by_id, registered->id) < 0) {
		view->identities[identity->index] = NULL;
		view->free_from = identity->index;
		free(identity);
		return NULL;
	}
	link_identity(identity);
	if (view_list_labels(view, identity) == 0)
		return identity;
	unlink_identity(identity);
	hash_table_remove(&view->by_id, &identity->by_id);
	view->identities[identity->index] = NULL;
	view->free_from = identity->index;
	free(identity);
	return NULL;
}

/* Host-network pods have their node's address, finished ones none that is theirs. */
static bool has_identity(const struct object *pod)
{
	return pod && !pod->pod.host_network && !pod->pod.finished;
}

static int take_registered(struct view *view, const struct object *pod,
			   const struct registry_identity **ret)
{
	struct named_port *ports = NULL;
	struct labels labels = {};
	size_t port_count = 0;
	int r = view_take_labels(view, pod, &labels);

	if (r == 0)
		r = view_take_ports(view, pod, &ports, &port_count);
	if (r == 0)
		r = registry_take_identity(view->registry, pod->namespace, &labels, ports,
					   port_count, ret);
	free(labels.items);
	free(ports);
	return r;
}

/* The pod's identity; `*ret` NULL: it has none. 0, -ENOMEM, -ENOSPC. */
static int find_identity(struct view *view, const struct object *pod, struct view_identity **ret)
{
	const struct registry_identity *registered;
	struct view_identity *identity;
	int r;

	*ret = NULL;
	if (!has_identity(pod))
		return 0;
	r = take_registered(view, pod, &registered);
	if (r < 0)
		return r;
	identity = view_identity_of(view, registered->id);
	if (identity) {
		registry_release_identity(view->registry, registered);
	} else {
		identity = identity_new(view, registered);
		if (!identity) {
			registry_release_identity(view->registry, registered);
			return -ENOMEM;
		}
	}
	*ret = identity;
	return 0;
}

/* ---------------------------------------------------------------- pods */

static int pod_leaves(struct view *view, struct policy_pod *pod)
{
	struct view_identity *identity = pod->identity;

	if (!identity)
		return 0;
	pod->identity = NULL;
	identity->pods--;
	identity->subjects -= pod->subject;
	view->addresses_changed |= pod->address_count > 0;
	return identity->pods == 0 || pod->subject ? mark_identity(view, identity) : 0;
}

static int pod_enters(struct view *view, struct policy_pod *pod, struct view_identity *identity)
{
	if (!identity)
		return 0;
	pod->identity = identity;
	identity->pods++;
	identity->subjects += pod->subject;
	view->addresses_changed |= pod->address_count > 0;
	return !identity->in_last_run || pod->subject ? mark_identity(view, identity) : 0;
}

static struct policy_pod *pod_new(struct view *view, bool subject)
{
	struct policy_pods *list = subject ? &view->subjects : &view->pods;
	size_t size =
		subject ? sizeof(struct policy_pod) : offsetof(struct policy_pod, terminating);
	struct policy_pod *pod = calloc(1, size);

	if (!pod)
		return NULL;
	pod->subject = subject;
	pod->previous = list->last;
	*(list->last ? &list->last->next : &list->first) = pod;
	list->last = pod;
	return pod;
}

static bool has_addresses(const struct policy_pod *pod, const struct pod_addresses *addresses)
{
	size_t count = addresses->count;

	return pod->address_count == count &&
	       (count == 0 ||
		memcmp(pod->addresses, addresses->items, count * sizeof(*pod->addresses)) == 0);
}

int view_set_pod(struct view *view, struct policy_pod **at, const struct object *object,
		 const struct pod_addresses *addresses, bool subject, uint64_t terminating)
{
	struct policy_pod *pod = *at ? *at : pod_new(view, subject);
	struct view_identity *identity;
	int r;

	if (!pod)
		return -ENOMEM;
	*at = pod;
	r = find_identity(view, object, &identity);
	if (r < 0)
		return r;
	view->addresses_changed |= !has_addresses(pod, addresses);
	pod->addresses = addresses->items;
	pod->address_count = (uint32_t)addresses->count;
	pod->host_network = object && object->pod.host_network;
	if (pod->subject)
		pod->terminating = terminating;
	if (identity == pod->identity)
		return 0;
	r = pod_leaves(view, pod);
	return r < 0 ? r : pod_enters(view, pod, identity);
}

int view_remove_pod(struct view *view, struct policy_pod *pod)
{
	struct policy_pods *list = pod->subject ? &view->subjects : &view->pods;
	int r = pod_leaves(view, pod);

	*(pod->previous ? &pod->previous->next : &list->first) = pod->next;
	*(pod->next ? &pod->next->previous : &list->last) = pod->previous;
	free(pod);
	return r;
}

/* ---------------------------------------------------------------- the end of a run, and of all */

static void drop_namespace_if_empty(struct view *view, struct view_namespace *namespace)
{
	if (!namespace->has_object && !namespace->identities && namespace->policy_count == 0)
		namespace_free(view, namespace);
}

void view_end_run(struct view *view)
{
	view_free_trash(view);
	for (size_t i = 0; i < view->changed_count; i++) {
		struct view_identity *identity = view->changed[i];
		struct view_namespace *namespace = identity->namespace;

		identity->listed = false;
		identity->in_last_run = true;
		if (identity->pods)
			continue;
		identity_free(view, identity);
		if (!namespace->listed)
			drop_namespace_if_empty(view, namespace);
	}
	for (size_t i = 0; i < view->dirty_count; i++) {
		view->dirty[i]->listed = view->dirty[i]->relabelled = false;
		drop_namespace_if_empty(view, view->dirty[i]);
	}
	view->run++;
	view->changed_count = view->dirty_count = 0;
	view->cluster_changed = view->nodes_changed = view->addresses_changed = false;
}

static void free_pods(struct policy_pod *pods)
{
	while (pods) {
		struct policy_pod *next = pods->next;

		free(pods);
		pods = next;
	}
}

void view_clear(struct view *view)
{
	struct view_namespace *namespace, *next_namespace;

	view_clear_policies(view);
	view_clear_words(view);
	free_pods(view->pods.first);
	free_pods(view->subjects.first);
	for (size_t i = 0; i < view->identity_slots; i++)
		if (view->identities[i])
			identity_free(view, view->identities[i]);
	HASH_ITER (hh, view->namespaces, namespace, next_namespace)
		namespace_free(view, namespace);
	view_clear_labels(view);
	hash_table_clear(&view->by_id);
	free(view->identities);
	free(view->changed);
	free(view->dirty);
	*view = (struct view){};
}
