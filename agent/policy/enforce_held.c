/* SPDX-License-Identifier: Apache-2.0 */
/* Policies that went while pods they isolate are on their way out. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "agent/policy/enforce_internal.h"

/* ---------------------------------------------------------------- pods that end, policies that
 * went */

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
 * There is room for each policy that was in force. What finds none came and went since the last
 * pass, so it isolates nobody: or it was deleted twice, and what was in force is kept already.
 */
void deleted_policy_keep(struct enforce *e, const struct object *policy)
{
	if (reserve_deleted(e, e->deleted_count + 1) < 0)
		return;
	e->deleted[e->deleted_count++] =
		(struct deleted_policy){.policy = object_share(policy), .run = e->run + 1};
	e->deleted_changed = true;
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
	const struct object *object =
		store_get(e->store, OBJECT_POD, pod->object.namespace, pod->object.name);
	const struct object *space =
		store_get(e->store, OBJECT_NAMESPACE, "", pod->object.namespace);

	if (object ? object->pod.terminating || object->pod.finished : pod->object_gone)
		return true;
	return space && space->space.terminating;
}

static void mark_terminating(struct enforce *e)
{
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next) {
		if (!pod->dirty)
			continue;
		if (store_get(e->store, OBJECT_POD, pod->object.namespace, pod->object.name))
			pod->object_gone = false;
		if (!is_terminating(e, pod)) {
			pod->terminating = 0;
			memset(pod->held, 0, sizeof(pod->held));
			memset(pod->held_before, 0, sizeof(pod->held_before));
		} else if (!pod->terminating) {
			pod->terminating = e->run;
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
		if (pod->terminating && pod->terminating <= deleted->run)
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
	e->deleted_changed |= kept != e->deleted_count;
	e->deleted_count = kept;
}

int deleted_policies_settle(struct enforce *e)
{
	mark_terminating(e);
	drop_what_is_over(e);
	return reserve_deleted(e, e->deleted_count + store_count(e->store, OBJECT_NETWORK_POLICY) +
					  store_count(e->store, OBJECT_CLUSTER_NETWORK_POLICY));
}

/* ---------------------------------------------------------------- over a restart */

json_t *held_export(const struct enforce *e)
{
	const struct enforced_pod *pod;
	json_t *list = json_array();

	for (pod = e->pods; pod; pod = pod->next)
		if (pod->held[INGRESS] || pod->held[EGRESS] || pod->object_gone)
			json_array_append_new(list,
					      json_pack("{s:s, s:s, s:b, s:b}", "container",
							pod->container_id, "interface", pod->ifname,
							"ingress", pod->held[INGRESS], "egress",
							pod->held[EGRESS]));
	return list;
}

void held_restore(const struct enforce *e, struct enforced_pod *pod)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (e->held_before, i, entry) {
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
