/* SPDX-License-Identifier: Apache-2.0 */
/* The API server in the status. */
#include <time.h>

#include "agent/show/show_internal.h"

static json_t *seconds_or_null(int64_t ms)
{
	return ms < 0 ? json_null() : json_real((double)ms / 1000);
}

static json_t *one_resource(const struct api_resource_status *resource)
{
	return json_pack("{s:s, s:s, s:b, s:b, s:o, s:o, s:o, s:o, s:s}", "name", resource->name,
			 "state", resource->watch.phase, "synced", resource->synced, "current",
			 resource->watch.current, "lists", show_u64(resource->watch.lists),
			 "events", show_u64(resource->watch.events), "refused",
			 show_u64(resource->refused), "last_seconds",
			 seconds_or_null(resource->age_ms), "error", resource->watch.error);
}

/* Null: they are not kept. */
static json_t *kept_objects(const struct api_status *status)
{
	if (!status->kept)
		return json_null();
	return json_pack("{s:s, s:b, s:o}", "file", status->kept, "in_force", status->from_disk,
			 "age_seconds",
			 status->kept_time
				 ? json_integer((json_int_t)time(NULL) - status->kept_time)
				 : json_null());
}

static json_t *all_writes(const struct api_status *status)
{
	json_t *list = json_array();

	for (size_t kind = 0; kind < WRITE_KINDS; kind++) {
		json_t *one = json_pack("{s:s, s:s}", "name", write_kind_names[kind], "error",
					status->writes[kind].error);

		for (size_t i = 0; i < WRITE_RESULTS; i++)
			json_object_set_new(one, write_result_names[i],
					    show_u64(status->writes[kind].results[i]));
		json_array_append_new(list, one);
	}
	return list;
}

json_t *show_api(const struct show_sources *sources)
{
	json_t *list = json_array();
	struct api_status status;

	api_source_status(*sources->api_source, &status);
	for (size_t i = 0; i < API_RESOURCES; i++)
		json_array_append_new(list, one_resource(&status.resources[i]));
	return json_pack("{s:s, s:b, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "server",
			 status.server, "connected", status.connected, "since_seconds",
			 show_u64(status.since_ms / 1000), "last_seconds",
			 seconds_or_null(status.age_ms), "error", status.error, "outages",
			 show_u64(status.outages), "resources", list, "writes", all_writes(&status),
			 "waiting_events", show_u64(status.waiting), "kept", kept_objects(&status));
}
