/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/lease.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"

#define WRITTEN "polder.dev/written"

static bool take_text(const json_t *object, const char *key, char *to, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (text && strlen(text) >= size)
		return false;
	snprintf(to, size, "%s", text ? text : "");
	return true;
}

static uint32_t number_of(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value < 0 ? 0 : value > INT32_MAX ? INT32_MAX : (uint32_t)value;
}

int lease_read(const char *text, size_t length, struct lease *ret)
{
	CLEANUP(cleanup_json) json_t *object = NULL;
	const json_t *metadata, *spec, *annotations;
	struct lease lease = {};
	char written[32];
	int r = json_text_load(text, length, 0, NULL, &object);

	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	metadata = json_object_get(object, "metadata");
	spec = json_object_get(object, "spec");
	annotations = json_object_get(metadata, "annotations");
	if (!take_text(metadata, "resourceVersion", lease.version, sizeof(lease.version)) ||
	    !lease.version[0] ||
	    !take_text(spec, "holderIdentity", lease.holder, sizeof(lease.holder)) ||
	    !take_text(spec, "renewTime", lease.renewed, sizeof(lease.renewed)))
		return -EBADMSG;
	lease.seconds = number_of(spec, "leaseDurationSeconds");
	lease.transitions = number_of(spec, "leaseTransitions");
	if (take_text(annotations, WRITTEN, written, sizeof(written)))
		lease.written = strtoull(written, NULL, 10);
	*ret = lease;
	return 0;
}

void lease_time(int64_t now_us, char text[40])
{
	time_t seconds = (time_t)(now_us / 1000000);
	struct tm parts = {};
	size_t length;

	gmtime_r(&seconds, &parts);
	length = strftime(text, 40, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(text + length, 40 - length, ".%06dZ", (int)(now_us % 1000000));
}

char *lease_text(const struct lease *lease, const char *namespace, const char *name, int64_t now_us)
{
	CLEANUP(cleanup_json) json_t *object = NULL;
	char when[40], written[32];
	json_t *metadata;

	lease_time(now_us, when);
	object = json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:i, s:i}}", "apiVersion",
			   "coordination.k8s.io/v1", "kind", "Lease", "metadata", "name", name,
			   "namespace", namespace, "spec", "holderIdentity", lease->holder,
			   "renewTime", when, "leaseDurationSeconds", (int)lease->seconds,
			   "leaseTransitions", (int)lease->transitions);
	if (!object)
		return NULL;
	metadata = json_object_get(object, "metadata");
	if (lease->version[0])
		json_object_set_new(metadata, "resourceVersion", json_string(lease->version));
	snprintf(written, sizeof(written), "%llu", (unsigned long long)lease->written);
	json_object_set_new(metadata, "annotations", json_pack("{s:s}", WRITTEN, written));
	return json_dumps(object, JSON_COMPACT);
}
