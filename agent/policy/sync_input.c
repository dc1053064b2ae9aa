/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiler reads, as a whole: for a dry run, and to compare with what it has followed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/policy/policy_sync_internal.h"
#include "policy/objects/limits.h"

/*
 * A StatefulSet gives the next pod the name of the last one, whose container may still be there:
 * the uid tells them apart, where both sides know one. The kubelet runs a static pod under the hash
 * of its configuration, and the object that mirrors it has a uid of its own.
 */
bool pod_is_of(const struct synced_pod *pod, const struct object *object)
{
	const char *uid = pod->object.uid;

	return !uid[0] || !object->uid[0] || strcmp(uid, object->uid) == 0 ||
	       (object->pod.mirror_of && strcmp(uid, object->pod.mirror_of) == 0);
}

bool pod_is_surely_of(const struct synced_pod *pod, const struct object *object)
{
	return pod->object.uid[0] && object->uid[0] && pod_is_of(pod, object);
}

const struct object *pod_own_object(const struct policy_sync *sync, const struct synced_pod *pod)
{
	const struct object *object =
		store_get(sync->store, OBJECT_POD, pod->object.namespace, pod->object.name);

	return object && pod_is_of(pod, object) ? object : NULL;
}

const struct object *pod_object_of(const struct policy_sync *sync, const struct synced_pod *pod)
{
	const struct object *object = pod_own_object(sync, pod);

	/* A finished pod's labels are its own container's, as long as that is there (see
	 * take_labels()), and nobody's else; an object with host network is another thing by that
	 * name. */
	return object && !object->pod.finished && !object->pod.host_network ? object : &pod->object;
}

bool pod_is_named(const struct policy_sync *sync, const struct object *object)
{
	const struct synced_pod *pod;
	char key[LIMIT_NAMESPACE + LIMIT_NAME + 2];

	snprintf(key, sizeof(key), "%s/%s", object->namespace, object->name);
	HASH_FIND_STR(sync->pods_by_name, key, pod);
	return pod != NULL;
}

bool pod_is_local(const struct policy_sync *sync, const struct object *object)
{
	const struct synced_pod *pod = pod_is_named(sync, object) ? sync->pods : NULL;

	/* Several may have the name. */
	while (pod &&
	       (strcmp(pod->object.name, object->name) != 0 ||
		strcmp(pod->object.namespace, object->namespace) != 0 || !pod_is_of(pod, object)))
		pod = pod->next;
	return pod != NULL;
}

/* ---------------------------------------------------------------- input */

int policy_sync_gather_deleted(const struct policy_sync *sync, struct policy_sync_input *in)
{
	size_t i;

	in->deleted = calloc(sync->deleted_count + 1, sizeof(*in->deleted));
	in->deleted_in_run = calloc(sync->deleted_count + 1, sizeof(*in->deleted_in_run));
	if (!in->deleted || !in->deleted_in_run)
		return -ENOMEM;
	for (i = 0; i < sync->deleted_count; i++) {
		in->deleted[i] = sync->deleted[i].policy;
		in->deleted_in_run[i] = sync->deleted[i].run;
	}
	in->input.deleted_policies = in->deleted;
	in->input.deleted_at = in->deleted_in_run;
	in->input.deleted_policy_count = sync->deleted_count;
	return 0;
}

static enum pod_wait wait_of(const struct synced_pod *pod)
{
	if (!pod->waits)
		return POD_WAITS_NOT;
	return pod->labels_lost || pod->is_late ? POD_WAITS_FOR_OBJECT : POD_WAITS_FOR_NAME;
}

static int gather_pods(const struct policy_sync *sync, struct policy_sync_input *in)
{
	size_t known, locals = 0, n = 0, i;
	const struct object *const *objects = store_objects(sync->store, OBJECT_POD, &known);
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next)
		locals++;
	in->pods = calloc(known + locals + 1, sizeof(*in->pods));
	in->subject = calloc(known + locals + 1, sizeof(*in->subject));
	in->terminating = calloc(known + locals + 1, sizeof(*in->terminating));
	in->addresses = calloc(locals + 1, sizeof(*in->addresses));
	in->waits = calloc(locals + 1, sizeof(*in->waits));
	if (!in->pods || !in->subject || !in->terminating || !in->addresses || !in->waits)
		return -ENOMEM;
	for (pod = sync->pods; pod; pod = pod->next) {
		in->subject[n] = true;
		in->waits[n] = wait_of(pod);
		in->terminating[n] = pod->terminating;
		in->addresses[n] = (struct pod_addresses){pod->addresses, pod->address_count};
		in->pods[n++] = pod_object_of(sync, pod);
	}
	for (i = 0; i < known; i++)
		if (!pod_is_local(sync, objects[i]) || objects[i]->pod.host_network)
			in->pods[n++] = objects[i];
	in->input.pods = in->pods;
	in->input.subject = in->subject;
	in->input.terminating = in->terminating;
	in->input.local_addresses = in->addresses;
	in->input.local_count = locals;
	in->input.pod_count = n;
	return 0;
}

int policy_sync_gather(const struct policy_sync *sync, struct policy_sync_input *in)
{
	struct policy_input *input = &in->input;
	int r;

	input->namespaces = store_objects(sync->store, OBJECT_NAMESPACE, &input->namespace_count);
	input->policies = store_objects(sync->store, OBJECT_NETWORK_POLICY, &input->policy_count);
	input->cluster_policies = store_objects(sync->store, OBJECT_CLUSTER_NETWORK_POLICY,
						&input->cluster_policy_count);
	input->nodes = store_objects(sync->store, OBJECT_NODE, &input->node_count);
	r = policy_sync_gather_deleted(sync, in);
	return r < 0 ? r : gather_pods(sync, in);
}

void policy_sync_input_clear(struct policy_sync_input *in)
{
	for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		free(in->overlaid[kind]);
	free(in->pods);
	free(in->subject);
	free(in->terminating);
	free(in->addresses);
	free(in->waits);
	free(in->deleted);
	free(in->deleted_in_run);
}
