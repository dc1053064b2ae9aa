/* SPDX-License-Identifier: Apache-2.0 */
/* Policies that went while pods they isolate are on their way out. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/policy/policy_sync_internal.h"
#include "policy/objects/evaluate.h"

/* ---------------------------------------------------------------- pods that end, policies that
 * went */

static int reserve_deleted(struct policy_sync *sync, size_t room)
{
	struct deleted_policy *grown;

	if (room <= sync->deleted_room)
		return 0;
	grown = reallocarray(sync->deleted, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	sync->deleted = grown;
	sync->deleted_room = room;
	return 0;
}

/*
 * There is room for each policy that was in force. What finds none came and went since the last
 * pass, so it isolates nobody: or it was deleted twice, and what was in force is kept already.
 */
void deleted_policy_keep(struct policy_sync *sync, const struct object *policy)
{
	if (reserve_deleted(sync, sync->deleted_count + 1) < 0)
		return;
	sync->deleted[sync->deleted_count++] =
		(struct deleted_policy){.policy = object_share(policy), .run = sync->run + 1};
	sync->deleted_changed = true;
}

void deleted_policies_clear(struct policy_sync *sync)
{
	size_t i;

	for (i = 0; i < sync->deleted_count; i++)
		object_free(sync->deleted[i].policy);
	free(sync->deleted);
	sync->deleted = NULL;
	sync->deleted_count = sync->deleted_room = 0;
}

/* Its object says so, or its namespace's, or the object has gone before its container. */
static bool is_terminating(const struct policy_sync *sync, const struct synced_pod *pod)
{
	const struct object *object = pod_own_object(sync, pod);
	const struct object *space =
		store_get(sync->store, OBJECT_NAMESPACE, "", pod->object.namespace);

	if (object ? object->pod.terminating || object->pod.finished : pod->object_gone)
		return true;
	return space && space->space.terminating;
}

/* Its labels are not known yet, and those of the other pod of its name are not its. */
static void look_for_object(const struct policy_sync *sync, struct synced_pod *pod)
{
	const struct object *other =
		store_get(sync->store, OBJECT_POD, pod->object.namespace, pod->object.name);
	bool others = other && !pod_is_of(pod, other);
	/* A finished pod's name may be the next one's by now. */
	bool late = other ? pod->is_late && other->pod.finished && !pod_is_surely_of(pod, other)
			  : pod->labels_lost || pod->is_late;
	bool waits = (others || late) && !pod->object_gone;

	if (waits && others && !pod->waits)
		log_warning("policy",
			    "pod %s: its uid is %s, and the Pod object of its name is %s's: it is "
			    "isolated until its own comes",
			    pod->key, pod->object.uid, other->uid);
	pod->waits = waits;
	/* For Services, as long as what the attachment knows speaks for it. */
	pod->object.pod.terminating = pod->object_gone;
	if (!pod->object_gone)
		pod->object.pod.ready = !waits;
}

static void mark_terminating(struct policy_sync *sync)
{
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next) {
		if (!pod->dirty)
			continue;
		if (pod_own_object(sync, pod))
			pod->object_gone = false;
		look_for_object(sync, pod);
		if (!is_terminating(sync, pod)) {
			pod->terminating = 0;
			memset(pod->held, 0, sizeof(pod->held));
			memset(pod->held_before, 0, sizeof(pod->held_before));
		} else if (!pod->terminating) {
			pod->terminating = sync->run;
		}
	}
}

/*
 * Does the policy select the pod, as both are now? A pod that stays terminating, for a day or for
 * ever, must not keep every policy that is deleted meanwhile. What cannot be known counts as yes:
 * labels of a namespace whose object has gone before its pods.
 */
static bool may_govern(const struct policy_sync *sync, const struct object *policy,
		       const struct synced_pod *pod)
{
	const struct object *object = pod_object_of(sync, pod);
	struct evaluate_objects objects = {};
	bool selects = true;

	if (policy->kind == OBJECT_CLUSTER_NETWORK_POLICY &&
	    !store_get(sync->store, OBJECT_NAMESPACE, "", pod->object.namespace))
		return true;
	objects.namespaces = store_objects(sync->store, OBJECT_NAMESPACE, &objects.namespace_count);
	return policy_selects(&objects, policy, object, &selects) < 0 || selects;
}

/* A policy that is back speaks for itself; one that holds for nobody is over. */
static bool is_over(const struct policy_sync *sync, const struct deleted_policy *deleted)
{
	const struct object *policy = deleted->policy;
	const struct synced_pod *pod;

	if (store_get(sync->store, policy->kind, policy->namespace, policy->name))
		return true;
	for (pod = sync->pods; pod; pod = pod->next)
		if (pod->terminating && pod->terminating <= deleted->run &&
		    may_govern(sync, policy, pod))
			return false;
	return true;
}

static void drop_what_is_over(struct policy_sync *sync)
{
	size_t i, kept = 0;

	for (i = 0; i < sync->deleted_count; i++) {
		if (is_over(sync, &sync->deleted[i]))
			object_free(sync->deleted[i].policy);
		else
			sync->deleted[kept++] = sync->deleted[i];
	}
	sync->deleted_changed |= kept != sync->deleted_count;
	sync->deleted_count = kept;
}

int deleted_policies_update(struct policy_sync *sync)
{
	mark_terminating(sync);
	drop_what_is_over(sync);
	return reserve_deleted(
		sync, sync->deleted_count + store_count(sync->store, OBJECT_NETWORK_POLICY) +
			      store_count(sync->store, OBJECT_CLUSTER_NETWORK_POLICY));
}

/* ---------------------------------------------------------------- over a restart */

json_t *held_export(const struct policy_sync *sync)
{
	const struct synced_pod *pod;
	json_t *list = json_array();

	for (pod = sync->pods; pod; pod = pod->next)
		if (pod->held[INGRESS] || pod->held[EGRESS] || pod->object_gone)
			json_array_append_new(list,
					      json_pack("{s:s, s:s, s:b, s:b}", "container",
							pod->container_id, "interface", pod->ifname,
							"ingress", pod->held[INGRESS], "egress",
							pod->held[EGRESS]));
	return list;
}

void held_restore(const struct policy_sync *sync, struct synced_pod *pod)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (sync->held_before, i, entry) {
		const char *container = json_string_value(json_object_get(entry, "container"));
		const char *interface = json_string_value(json_object_get(entry, "interface"));

		if (!container || !interface || strcmp(container, pod->container_id) != 0 ||
		    strcmp(interface, pod->ifname) != 0)
			continue;
		pod->held_before[INGRESS] = json_is_true(json_object_get(entry, "ingress"));
		pod->held_before[EGRESS] = json_is_true(json_object_get(entry, "egress"));
		pod->object_gone = true; /* until its object is seen */
		pod->object.pod.terminating = true;
	}
}
