/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/objects/workload.h"

#include <string.h>

bool flow_label_is_passing(const char *key)
{
	static const char *const keys[] = {
		"pod-template-hash",
		"pod-template-generation",
		"controller-revision-hash",
		"statefulset.kubernetes.io/pod-name",
		"apps.kubernetes.io/pod-index",
		"controller-uid",
		"batch.kubernetes.io/controller-uid",
		"batch.kubernetes.io/job-completion-index",
		"app.kubernetes.io/version",
		"helm.sh/chart",
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

static bool append(char *buffer, size_t *length, const char *text)
{
	size_t size = strlen(text) + 1;

	if (*length + size > FLOW_WORKLOAD_MAX)
		return false;
	memcpy(buffer + *length, text, size);
	*length += size;
	return true;
}

size_t flow_workload(const char *namespace, const struct labels *labels,
		     char buffer[FLOW_WORKLOAD_MAX])
{
	size_t length = 0, before;

	append(buffer, &length, namespace);
	for (size_t i = 0; i < labels->count; i++) {
		before = length;
		if (flow_label_is_passing(labels->items[i].key))
			continue;
		if (!append(buffer, &length, labels->items[i].key) ||
		    !append(buffer, &length, labels->items[i].value)) {
			length = before;
			break;
		}
	}
	return length;
}
