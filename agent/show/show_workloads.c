/* SPDX-License-Identifier: Apache-2.0 */
/* How a policy can choose the pods of a workload, and no others. */
#include <stdlib.h>
#include <string.h>

#include "agent/show/show_internal.h"
#include "policy/objects/syntax.h"

#define KEYS_MAX      64 /* labels of a workload that count */
#define ABSENT_MAX    16
#define SET_KEYS      3
#define ALL_LABELS    SETS
#define LABEL_NAME    "app.kubernetes.io/name"
#define LABEL_PART    "app.kubernetes.io/component"
#define LABEL_RELEASE "app.kubernetes.io/instance"

/* Labels that are meant to name workloads, the best first. */
static const char *const sets[][SET_KEYS] = {
	{LABEL_NAME},
	{LABEL_NAME, LABEL_PART},
	{LABEL_NAME, LABEL_RELEASE},
	{LABEL_NAME, LABEL_RELEASE, LABEL_PART},
	{"k8s-app"},
	{"app"},
	{"app", "component"},
	{"app", "tier"},
};
#define SETS (sizeof(sets) / sizeof(*sets))

struct workload {
	const struct flow_name *name;
	const char *namespace;
	const char *keys[KEYS_MAX], *values[KEYS_MAX];
	size_t count;
	bool has[SETS];			/* the set's labels, all of them */
	bool shared[SETS + 1];		/* others have the set's labels, or all labels, too */
	const char *absent[ABSENT_MAX]; /* keys that the others have */
	size_t absent_count;
	size_t others; /* that have all labels and no key more */
};

static const char *value_of(const struct workload *workload, const char *key)
{
	for (size_t i = 0; i < workload->count; i++)
		if (strcmp(workload->keys[i], key) == 0)
			return workload->values[i];
	return NULL;
}

static void parse(const struct flow_name *name, struct workload *ret)
{
	const char *text = name->text, *end = name->text + name->length;

	*ret = (struct workload){.name = name, .namespace = text};
	text += strlen(text) + 1;
	while (text < end && ret->count < KEYS_MAX) {
		ret->keys[ret->count] = text;
		text += strlen(text) + 1;
		ret->values[ret->count++] = text;
		text += strlen(text) + 1;
	}
	for (size_t i = 0; i < SETS; i++) {
		ret->has[i] = true;
		for (size_t k = 0; k < SET_KEYS && sets[i][k]; k++)
			ret->has[i] &= value_of(ret, sets[i][k]) != NULL;
	}
}

static bool has_label(const struct labels *labels, const char *key, const char *value)
{
	const char *found = labels_get(labels, key);

	return found && strcmp(found, value) == 0;
}

static bool has_set(const struct workload *workload, size_t set, const struct labels *labels)
{
	for (size_t k = 0; k < SET_KEYS && sets[set][k]; k++)
		if (!has_label(labels, sets[set][k], value_of(workload, sets[set][k])))
			return false;
	return true;
}

static bool has_all(const struct workload *workload, const struct labels *labels)
{
	for (size_t i = 0; i < workload->count; i++)
		if (!has_label(labels, workload->keys[i], workload->values[i]))
			return false;
	return true;
}

static bool is_absent_already(const struct workload *workload, const struct labels *labels)
{
	for (size_t i = 0; i < workload->absent_count; i++)
		if (labels_get(labels, workload->absent[i]))
			return true;
	return false;
}

/* Another workload's pod has all our labels: one of its keys tells them apart. */
static void tell_apart(struct workload *workload, const struct labels *labels)
{
	const char *reason;

	if (is_absent_already(workload, labels))
		return;
	for (size_t i = 0; i < labels->count && workload->absent_count < ABSENT_MAX; i++) {
		const char *key = labels->items[i].key;

		if (value_of(workload, key) || flow_label_is_passing(key) ||
		    syntax_label_key(key, &reason) < 0)
			continue;
		workload->absent[workload->absent_count++] = key;
		return;
	}
	workload->others++;
}

static void compare(struct workload *workload, const struct labels *labels)
{
	char buffer[FLOW_WORKLOAD_MAX];
	size_t length = flow_workload(workload->namespace, labels, buffer);

	if (length == workload->name->length && memcmp(buffer, workload->name->text, length) == 0)
		return;
	for (size_t i = 0; i < SETS; i++)
		workload->shared[i] |= workload->has[i] && has_set(workload, i, labels);
	if (!has_all(workload, labels))
		return;
	workload->shared[ALL_LABELS] = true;
	tell_apart(workload, labels);
}

/* Pods that the runtime named and no object does. */
static void compare_local(const struct show_sources *sources, struct workload *workload)
{
	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		const struct local_pod *pod = pods_at(sources->pods, i);

		if (!pod->gone && strcmp(pod->namespace, workload->namespace) == 0 &&
		    !store_get(sources->store, OBJECT_POD, pod->namespace, pod->name))
			compare(workload, show_pod_labels(sources, pod));
	}
}

static void compare_all(const struct show_sources *sources, struct workload *workload)
{
	size_t count;
	const struct object *const *pods =
		store_objects_in(sources->store, OBJECT_POD, workload->namespace, &count);

	for (size_t i = 0; i < count; i++)
		if (!pods[i]->pod.host_network && !pods[i]->pod.finished)
			compare(workload, &pods[i]->labels);
	compare_local(sources, workload);
}

static json_t *labels_of_set(const struct workload *workload, size_t set)
{
	json_t *labels = json_object();

	for (size_t k = 0; k < SET_KEYS && sets[set][k]; k++)
		json_object_set_new(labels, sets[set][k],
				    json_string(value_of(workload, sets[set][k])));
	return labels;
}

static json_t *all_labels(const struct workload *workload)
{
	json_t *labels = json_object();

	for (size_t i = 0; i < workload->count; i++)
		json_object_set_new(labels, workload->keys[i], json_string(workload->values[i]));
	return labels;
}

json_t *show_workload(const struct show_sources *sources, const struct flow_name *name)
{
	struct workload workload;
	json_t *absent;

	parse(name, &workload);
	compare_all(sources, &workload);
	for (size_t i = 0; i < SETS; i++)
		if (workload.has[i] && !workload.shared[i])
			return json_pack("{s:s, s:o, s:[], s:i}", "namespace", workload.namespace,
					 "labels", labels_of_set(&workload, i), "absent", "others",
					 0);
	absent = json_array();
	for (size_t i = 0; i < workload.absent_count; i++)
		json_array_append_new(absent, json_string(workload.absent[i]));
	return json_pack("{s:s, s:o, s:o, s:I}", "namespace", workload.namespace, "labels",
			 all_labels(&workload), "absent", absent, "others",
			 (json_int_t)workload.others);
}
