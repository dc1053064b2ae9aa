/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiler reads; and the policies that went while pods they isolate are on their way out. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/policy/enforce_internal.h"
#include "policy/objects/limits.h"

const struct object *pod_object_of(const struct enforce *e, const struct enforced_pod *pod)
{
	const struct object *object = store_get(e->store, OBJECT_POD, pod->object.namespace, pod->object.name);

	/* A finished pod's labels are nobody's; an object with host network is another thing by that name. */
	return object && !object->pod.finished && !object->pod.host_network ? object : &pod->object;
}

bool pod_is_local(const struct enforce *e, const struct object *object)
{
	const struct enforced_pod *pod;
	char key[LIMIT_NAMESPACE + LIMIT_NAME + 2];

	snprintf(key, sizeof(key), "%s/%s", object->namespace, object->name);
	HASH_FIND_STR(e->pods_by_name, key, pod);
	return pod != NULL;
}

/* ---------------------------------------------------------------- pods that end, policies that went */

static int reserve_deleted(struct enforce *e, size_t room)
{
	struct deleted_policy *grown;

	if (room <= e->deleted_room)
		return 0;
	grown = reallocarray(e->deleted, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	e->deleted = grown;
	e->deleted_room = room;
	return 0;
}

/*
 * There is room for each policy that was in force. What finds none came and went since the last pass, so it isolates nobody: or it
 * was deleted twice, and what was in force is kept already.
 */
void deleted_policy_keep(struct enforce *e, const struct object *policy)
{
	if (reserve_deleted(e, e->deleted_count + 1) == 0)
		e->deleted[e->deleted_count++] =
			(struct deleted_policy){.policy = object_share(policy), .pass = e->pass + 1};
}

void deleted_policies_clear(struct enforce *e)
{
	size_t i;

	for (i = 0; i < e->deleted_count; i++)
		object_free(e->deleted[i].policy);
	free(e->deleted);
	e->deleted = NULL;
	e->deleted_count = e->deleted_room = 0;
}

/* Its object says so, or its namespace's, or the object has gone before its container. */
static bool is_terminating(const struct enforce *e, const struct enforced_pod *pod)
{
	const struct object *object = store_get(e->store, OBJECT_POD, pod->object.namespace, pod->object.name);
	const struct object *space = store_get(e->store, OBJECT_NAMESPACE, "", pod->object.namespace);

	if (object ? object->pod.terminating || object->pod.finished : pod->object_gone)
		return true;
	return space && space->space.terminating;
}

static void mark_terminating(struct enforce *e)
{
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next) {
		if (store_get(e->store, OBJECT_POD, pod->object.namespace, pod->object.name))
			pod->object_gone = false;
		if (!is_terminating(e, pod)) {
			pod->terminating = 0;
			memset(pod->held, 0, sizeof(pod->held));
			memset(pod->held_before, 0, sizeof(pod->held_before));
		} else if (!pod->terminating) {
			pod->terminating = e->pass;
		}
	}
}

/* A policy that is back speaks for itself; one that holds for nobody is over. */
static bool is_over(const struct enforce *e, const struct deleted_policy *deleted)
{
	const struct object *policy = deleted->policy;
	const struct enforced_pod *pod;

	if (store_get(e->store, policy->kind, policy->namespace, policy->name))
		return true;
	for (pod = e->pods; pod; pod = pod->next)
		if (pod->terminating && pod->terminating <= deleted->pass)
			return false;
	return true;
}

static void drop_what_is_over(struct enforce *e)
{
	size_t i, kept = 0;

	for (i = 0; i < e->deleted_count; i++) {
		if (is_over(e, &e->deleted[i]))
			object_free(e->deleted[i].policy);
		else
			e->deleted[kept++] = e->deleted[i];
	}
	e->deleted_count = kept;
}

int deleted_policies_settle(struct enforce *e)
{
	mark_terminating(e);
	drop_what_is_over(e);
	return reserve_deleted(e, e->deleted_count + store_count(e->store, OBJECT_NETWORK_POLICY) +
					  store_count(e->store, OBJECT_CLUSTER_NETWORK_POLICY));
}

/* ---------------------------------------------------------------- input */

static int gather_deleted(const struct enforce *e, struct enforce_input *in)
{
	size_t i;

	in->deleted = calloc(e->deleted_count + 1, sizeof(*in->deleted));
	in->deleted_in_pass = calloc(e->deleted_count + 1, sizeof(*in->deleted_in_pass));
	if (!in->deleted || !in->deleted_in_pass)
		return -ENOMEM;
	for (i = 0; i < e->deleted_count; i++) {
		in->deleted[i] = e->deleted[i].policy;
		in->deleted_in_pass[i] = e->deleted[i].pass;
	}
	in->input.deleted_policies = in->deleted;
	in->input.deleted_at = in->deleted_in_pass;
	in->input.deleted_policy_count = e->deleted_count;
	return 0;
}

static int gather_pods(const struct enforce *e, struct enforce_input *in)
{
	size_t known, locals = 0, n = 0, i;
	const struct object *const *objects = store_objects(e->store, OBJECT_POD, &known);
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next)
		locals++;
	in->pods = calloc(known + locals + 1, sizeof(*in->pods));
	in->subject = calloc(known + locals + 1, sizeof(*in->subject));
	in->terminating = calloc(known + locals + 1, sizeof(*in->terminating));
	in->addresses = calloc(locals + 1, sizeof(*in->addresses));
	if (!in->pods || !in->subject || !in->terminating || !in->addresses)
		return -ENOMEM;
	for (pod = e->pods; pod; pod = pod->next) {
		in->subject[n] = true;
		in->terminating[n] = pod->terminating;
		in->addresses[n] = (struct pod_addresses){pod->addresses, pod->address_count};
		in->pods[n++] = pod_object_of(e, pod);
	}
	for (i = 0; i < known; i++)
		if (!pod_is_local(e, objects[i]) || objects[i]->pod.host_network)
			in->pods[n++] = objects[i];
	in->input.pods = in->pods;
	in->input.subject = in->subject;
	in->input.terminating = in->terminating;
	in->input.local_addresses = in->addresses;
	in->input.local_count = locals;
	in->input.pod_count = n;
	return 0;
}

int enforce_gather(const struct enforce *e, struct enforce_input *in)
{
	struct policy_input *input = &in->input;
	int r;

	input->namespaces = store_objects(e->store, OBJECT_NAMESPACE, &input->namespace_count);
	input->policies = store_objects(e->store, OBJECT_NETWORK_POLICY, &input->policy_count);
	input->cluster_policies = store_objects(e->store, OBJECT_CLUSTER_NETWORK_POLICY, &input->cluster_policy_count);
	input->nodes = store_objects(e->store, OBJECT_NODE, &input->node_count);
	r = gather_deleted(e, in);
	return r < 0 ? r : gather_pods(e, in);
}

void enforce_input_clear(struct enforce_input *in)
{
	for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		free(in->overlaid[kind]);
	free(in->pods);
	free(in->subject);
	free(in->terminating);
	free(in->addresses);
	free(in->deleted);
	free(in->deleted_in_pass);
}

/* ---------------------------------------------------------------- over a restart */

json_t *held_export(const struct enforce *e)
{
	const struct enforced_pod *pod;
	json_t *list = json_array();

	for (pod = e->pods; pod; pod = pod->next)
		if (pod->held[INGRESS_HELD] || pod->held[EGRESS_HELD] || pod->object_gone)
			json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:b}", "container", pod->container_id,
							      "interface", pod->ifname, "ingress",
							      pod->held[INGRESS_HELD], "egress", pod->held[EGRESS_HELD]));
	return list;
}

void held_restore(const struct enforce *e, struct enforced_pod *pod)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(e->held_before, i, entry) {
		const char *container = json_string_value(json_object_get(entry, "container"));
		const char *interface = json_string_value(json_object_get(entry, "interface"));

		if (!container || !interface || strcmp(container, pod->container_id) != 0 ||
		    strcmp(interface, pod->ifname) != 0)
			continue;
		pod->held_before[INGRESS_HELD] = json_is_true(json_object_get(entry, "ingress"));
		pod->held_before[EGRESS_HELD] = json_is_true(json_object_get(entry, "egress"));
		pod->object_gone = true; /* until its object is seen */
		pod->object.pod.terminating = true;
	}
}
