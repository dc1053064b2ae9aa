/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of the API server. */
#include "agent/show/exporter_internal.h"

static void add_errors(struct metrics *m, const struct api_status *status)
{
	metrics_family(m, "polder_api_errors_total", METRIC_COUNTER,
		       "Answers of the API server that failed, by resource and kind.");
	for (size_t i = 0; i < API_RESOURCES; i++) {
		for (int result = WATCH_FINE + 1; result < WATCH_RESULTS; result++) {
			const struct metric_label labels[] = {
				{"resource", status->resources[i].name},
				{"kind", watch_result_names[result]}};

			metrics_sample_u64(m, status->resources[i].errors[result], labels, 2);
		}
	}
}

static void add_ages(struct metrics *m, const struct api_status *status)
{
	metrics_family(m, "polder_api_age_seconds", METRIC_GAUGE,
		       "Time since the API server sent anything of a resource.");
	for (size_t i = 0; i < API_RESOURCES; i++) {
		const struct metric_label label = {"resource", status->resources[i].name};

		if (status->resources[i].age_ms >= 0)
			metrics_sample(m, (double)status->resources[i].age_ms / 1000, &label, 1);
	}
}

static void add_writes(struct metrics *m, const struct api_status *status)
{
	metrics_family(m, "polder_api_writes_total", METRIC_COUNTER,
		       "Requests that tell the cluster something, by kind and result.");
	for (size_t kind = 0; kind < WRITE_KINDS; kind++) {
		for (int result = 0; result < WRITE_RESULTS; result++) {
			const struct metric_label labels[] = {
				{"kind", write_kind_names[kind]},
				{"result", write_result_names[result]}};

			metrics_sample_u64(m, status->writes[kind].results[result], labels, 2);
		}
	}
}

void exporter_add_api(struct metrics *m, const struct show_sources *sources)
{
	const struct api_resource_status *resources;
	struct api_status status;

	if (!*sources->api_source)
		return;
	api_source_status(*sources->api_source, &status);
	resources = status.resources;
	exporter_u64(m, "polder_api_connected", METRIC_GAUGE,
		     "1 while the API server serves; 0: what was read last is in force.",
		     status.connected);
	metrics_single(m, "polder_api_outage_seconds", METRIC_GAUGE,
		       "For so long the API server has not served; 0 while it does.",
		       status.connected ? 0 : (double)status.since_ms / 1000);
	exporter_u64(m, "polder_api_outages_total", METRIC_COUNTER,
		     "How often the API server was lost.", status.outages);
	exporter_u64(m, "polder_api_received_bytes_total", METRIC_COUNTER,
		     "Bytes of answers of the API server, unpacked.", status.received);
	metrics_family(m, "polder_api_synced", METRIC_GAUGE,
		       "1 if the resource has been listed and is watched without a failure since.");
	for (size_t i = 0; i < API_RESOURCES; i++)
		exporter_labelled(m, "resource", resources[i].name, resources[i].watch.current);
	add_ages(m, &status);
	metrics_family(m, "polder_api_lists_total", METRIC_COUNTER,
		       "Lists of a resource that were begun.");
	for (size_t i = 0; i < API_RESOURCES; i++)
		exporter_labelled(m, "resource", resources[i].name, resources[i].watch.lists);
	metrics_family(m, "polder_api_events_total", METRIC_COUNTER,
		       "Objects of a resource that watches have sent.");
	for (size_t i = 0; i < API_RESOURCES; i++)
		exporter_labelled(m, "resource", resources[i].name, resources[i].watch.events);
	metrics_family(m, "polder_api_refused_objects", METRIC_GAUGE,
		       "Objects of a resource that cannot be used.");
	for (size_t i = 0; i < API_RESOURCES; i++)
		exporter_labelled(m, "resource", resources[i].name, resources[i].refused);
	exporter_u64(m, "polder_api_kept_in_force", METRIC_GAUGE,
		     "1 while objects from the disk are in force, for want of an API server.",
		     status.from_disk);
	add_errors(m, &status);
	add_writes(m, &status);
}
