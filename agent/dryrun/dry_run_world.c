/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/dryrun/dry_run_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void dry_run_changes_clear(struct dry_run_changes *changes)
{
	object_list_clear(&changes->objects);
	for (size_t i = 0; i < changes->removal_count; i++) {
		free(changes->removals[i].namespace);
		free(changes->removals[i].name);
	}
	free(changes->removals);
	*changes = (struct dry_run_changes){0};
}

/* ---------------------------------------------------------------- one moment */

/* Of a pod without an object its attachment speaks, whose memory is the agent's. NULL: no memory.
 */
static struct object *copy_pod(const struct object *from)
{
	struct object *copy = calloc(1, sizeof(*copy));
	int r = 0;

	if (!copy)
		return NULL;
	copy->kind = OBJECT_POD;
	copy->namespace = strdup(from->namespace);
	copy->name = strdup(from->name);
	copy->uid = strdup(from->uid);
	copy->pod.ready = from->pod.ready;
	copy->pod.terminating = from->pod.terminating;
	copy->pod.ports = calloc(from->pod.port_count + 1, sizeof(*copy->pod.ports));
	if (!copy->namespace || !copy->name || !copy->uid || !copy->pod.ports)
		r = -ENOMEM;
	for (size_t i = 0; i < from->labels.count && r == 0; i++)
		r = labels_set(&copy->labels, from->labels.items[i].key,
			       from->labels.items[i].value);
	for (size_t i = 0; i < from->pod.port_count && r == 0; i++) {
		const struct named_port *port = &from->pod.ports[i];
		char *name = port->name ? strdup(port->name) : NULL;

		if (port->name && !name)
			r = -ENOMEM;
		copy->pod.ports[copy->pod.port_count++] =
			(struct named_port){.name = name, .port = port->port, .proto = port->proto};
	}
	if (r == 0)
		return copy;
	object_free(copy);
	return NULL;
}

/* Those of this node come first, in the order of the agent's list. */
static int take_local_pods(struct dry_run_world *world, const struct policy_sync *e)
{
	const struct synced_pod *pod;
	size_t i = 0;

	world->addresses = calloc(world->now.input.local_count + 1, sizeof(*world->addresses));
	if (!world->addresses)
		return -ENOMEM;
	for (pod = e->pods; pod; pod = pod->next, i++) {
		memcpy(world->addresses[i], pod->addresses, sizeof(pod->addresses));
		world->now.addresses[i].items = world->addresses[i];
		if (world->now.pods[i] != &pod->object)
			continue;
		world->now.pods[i] = world->shares[world->share_count] = copy_pod(&pod->object);
		if (!world->now.pods[i])
			return -ENOMEM;
		world->share_count++;
	}
	return 0;
}

/* The list's own array, of shares; `*list` is the store's. */
static int take_kind(struct dry_run_world *world, enum object_kind kind,
		     const struct object *const **list, size_t count)
{
	const struct object **own = calloc(count + 1, sizeof(*own));

	if (!own)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		own[i] = world->shares[world->share_count++] = object_share((*list)[i]);
	world->now.overlaid[kind] = own;
	*list = own;
	return 0;
}

static int take_objects(struct dry_run_world *world)
{
	struct policy_input *input = &world->now.input;
	int r = take_kind(world, OBJECT_NAMESPACE, &input->namespaces, input->namespace_count);

	if (r == 0)
		r = take_kind(world, OBJECT_NODE, &input->nodes, input->node_count);
	if (r == 0)
		r = take_kind(world, OBJECT_NETWORK_POLICY, &input->policies, input->policy_count);
	if (r == 0)
		r = take_kind(world, OBJECT_CLUSTER_NETWORK_POLICY, &input->cluster_policies,
			      input->cluster_policy_count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < input->deleted_policy_count; i++)
		world->shares[world->share_count++] = object_share(input->deleted_policies[i]);
	return 0;
}

/* A pod that is a copy has its place among the shares already. */
static void share_pods(struct dry_run_world *world, const struct policy_sync *e)
{
	const struct synced_pod *pod = e->pods;

	for (size_t i = 0; i < world->now.input.pod_count; i++) {
		if (!pod || world->now.pods[i] != &pod->object)
			world->shares[world->share_count++] = object_share(world->now.pods[i]);
		pod = pod ? pod->next : NULL;
	}
}

static int take_node(struct dry_run_world *world, const struct policy_sync *e)
{
	size_t count = e->node->address_count;

	world->config = e->config;
	world->node_addresses = calloc(count + 1, sizeof(*world->node_addresses));
	if (!world->node_addresses)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		world->node_addresses[world->node_address_count++] = e->node->addresses[i].addr;
	return 0;
}

struct listing {
	struct address_set *set;
	int result;
};

static void list_without_room(const struct address_problem *problem, void *data)
{
	struct listing *listing = data;

	if (problem->no_room && problem->pod && listing->result == 0)
		listing->result = address_set_add(listing->set, problem->addr);
}

int dry_run_world_take(const struct policy_sync *e, struct dry_run_world *ret)
{
	struct listing listing = {.set = &ret->without_room};
	struct policy_input *input = &ret->now.input;
	int r = policy_sync_gather(e, &ret->now);

	if (r == 0)
		ret->shares = calloc(input->namespace_count + input->node_count +
					     input->policy_count + input->cluster_policy_count +
					     input->deleted_policy_count + input->pod_count + 1,
				     sizeof(struct object *));
	if (r < 0 || !ret->shares)
		return -ENOMEM;
	share_pods(ret, e);
	r = take_local_pods(ret, e);
	if (r == 0)
		r = take_objects(ret);
	if (r == 0)
		r = take_node(ret, e);
	addresses_problems(e->addresses, list_without_room, &listing);
	return r < 0 ? r : listing.result;
}

void dry_run_world_release(struct dry_run_world *world)
{
	for (size_t i = 0; i < world->share_count; i++)
		object_free(world->shares[i]);
	free(world->shares);
	free(world->addresses);
	free(world->node_addresses);
	address_set_clear(&world->without_room);
	policy_sync_input_clear(&world->now);
	*world = (struct dry_run_world){};
}

/* ---------------------------------------------------------------- the overlay */

static bool is_same(const struct object *object, enum object_kind kind, const char *namespace,
		    const char *name)
{
	return object->kind == kind && strcmp(object->namespace, namespace) == 0 &&
	       strcmp(object->name, name) == 0;
}

static bool is_removed(const struct dry_run_changes *changes, const struct object *object)
{
	for (size_t i = 0; i < changes->removal_count; i++)
		if (is_same(object, changes->removals[i].kind, changes->removals[i].namespace,
			    changes->removals[i].name))
			return true;
	return false;
}

/* The object that stands in for this one; NULL: none. */
static const struct object *replacement(const struct dry_run_changes *changes,
					const struct object *object)
{
	for (size_t i = 0; i < changes->objects.count; i++)
		if (is_same(object, changes->objects.objects[i]->kind,
			    changes->objects.objects[i]->namespace,
			    changes->objects.objects[i]->name))
			return changes->objects.objects[i];
	return NULL;
}

static bool holds(const struct object *const *list, size_t count, const struct object *object)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == object)
			return true;
	return false;
}

/* A kind's list with the changes: an array of the input's own takes the place of `*list`. 0 or
 * -ENOMEM. */
static int overlay_kind(const struct dry_run_changes *changes, enum object_kind kind,
			struct policy_sync_input *in, const struct object *const **list,
			size_t *count)
{
	const struct object *const *old = *list;
	const struct object **all;
	size_t kept = 0, i;

	all = calloc(*count + changes->objects.count + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (i = 0; i < *count; i++) {
		const struct object *other = replacement(changes, old[i]);

		if (other || !is_removed(changes, old[i]))
			all[kept++] = other ? other : old[i];
	}
	for (i = 0; i < changes->objects.count; i++)
		if (changes->objects.objects[i]->kind == kind &&
		    !holds(all, kept, changes->objects.objects[i]))
			all[kept++] = changes->objects.objects[i];
	in->overlaid[kind] = all;
	*list = all;
	*count = kept;
	return 0;
}

/* By their uids, where both are known. */
static bool is_own_object(const struct object *pod, const struct object *object)
{
	return !*pod->uid || !*object->uid || strcmp(pod->uid, object->uid) == 0;
}

/* A pod that waits for its object does so no more if that is staged, or if another pod's, which has
 * its name, would go. */
static void overlay_waits(const struct dry_run_changes *changes, struct policy_sync_input *in)
{
	for (size_t i = 0; i < in->input.local_count; i++) {
		const struct object *staged = replacement(changes, in->pods[i]);
		bool ends = staged ? is_own_object(in->pods[i], staged)
				   : in->waits[i] == POD_WAITS_FOR_NAME &&
					     is_removed(changes, in->pods[i]);

		if (ends)
			in->waits[i] = POD_WAITS_NOT;
	}
}

/*
 * Pods keep their places: those of this node are compared one by one. A Pod object that would go
 * leaves what it said, for its container stays; one that is new belongs to another node, or is not
 * connected yet. There is room for all.
 */
static void overlay_pods(const struct dry_run_changes *changes, struct policy_sync_input *in)
{
	const struct object **pods = in->pods;
	bool *subject = in->subject;
	size_t kept = 0, i;

	for (i = 0; i < in->input.pod_count; i++) {
		const struct object *other = replacement(changes, pods[i]);
		bool stays =
			subject[i] && other && (other->pod.finished || other->pod.host_network);

		if (!other && !subject[i] && is_removed(changes, pods[i]))
			continue;
		subject[kept] = subject[i];
		pods[kept++] = other && !stays ? other : pods[i];
	}
	in->input.pod_count = kept;
	for (i = 0; i < changes->objects.count; i++) {
		const struct object *object = changes->objects.objects[i];

		if (object->kind != OBJECT_POD || holds(pods, in->input.pod_count, object))
			continue;
		subject[in->input.pod_count] = false;
		pods[in->input.pod_count++] = object;
	}
}

static int overlay(const struct dry_run_changes *changes, struct policy_sync_input *in)
{
	struct policy_input *input = &in->input;
	int r = overlay_kind(changes, OBJECT_NAMESPACE, in, &input->namespaces,
			     &input->namespace_count);

	if (r == 0)
		r = overlay_kind(changes, OBJECT_NODE, in, &input->nodes, &input->node_count);
	if (r == 0)
		r = overlay_kind(changes, OBJECT_NETWORK_POLICY, in, &input->policies,
				 &input->policy_count);
	if (r == 0)
		r = overlay_kind(changes, OBJECT_CLUSTER_NETWORK_POLICY, in,
				 &input->cluster_policies, &input->cluster_policy_count);
	if (r == 0) {
		overlay_waits(changes, in);
		overlay_pods(changes, in);
	}
	return r;
}

/* Arrays of its own, with room for all that is staged. */
static int copy_input(const struct dry_run_world *world, size_t more, struct policy_sync_input *ret)
{
	const struct policy_sync_input *from = &world->now;
	size_t count = from->input.pod_count, room = count + more + 1;

	ret->input = from->input;
	ret->pods = calloc(room, sizeof(*ret->pods));
	ret->subject = calloc(room, sizeof(*ret->subject));
	ret->terminating = calloc(room, sizeof(*ret->terminating));
	ret->waits = calloc(from->input.local_count + 1, sizeof(*ret->waits));
	if (!ret->pods || !ret->subject || !ret->terminating || !ret->waits)
		return -ENOMEM;
	memcpy(ret->waits, from->waits, from->input.local_count * sizeof(*ret->waits));
	memcpy(ret->pods, from->pods, count * sizeof(*ret->pods));
	memcpy(ret->subject, from->subject, count * sizeof(*ret->subject));
	memcpy(ret->terminating, from->terminating, count * sizeof(*ret->terminating));
	ret->input.pods = ret->pods;
	ret->input.subject = ret->subject;
	ret->input.terminating = ret->terminating;
	return 0;
}

int dry_run_world_change(const struct dry_run_world *world, const struct dry_run_changes *changes,
			 struct policy_sync_input *ret)
{
	int r = copy_input(world, changes->objects.count, ret);

	return r < 0 ? r : overlay(changes, ret);
}
