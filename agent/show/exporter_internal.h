/* SPDX-License-Identifier: Apache-2.0 */
/* What the exporter's files share. */
#pragma once

#include "agent/observe/metrics.h"
#include "agent/show/show.h"

/* A family of one sample without labels. */
void exporter_u64(struct metrics *m, const char *name, enum metric_type type, const char *help,
		  uint64_t value);
/* A sample of the present family. */
void exporter_labelled(struct metrics *m, const char *label, const char *label_value,
		       uint64_t value);

/* exporter_alerts.c; nothing without a TrafficAlert. */
void exporter_add_alerts(struct metrics *m, const struct show_sources *sources);
/* exporter_api.c; nothing without an API server. */
void exporter_add_api(struct metrics *m, const struct show_sources *sources);
/* exporter_balancers.c; nothing without pools. */
void exporter_add_balancers(struct metrics *m, const struct show_sources *sources);
/* exporter_latency.c; nothing while connections are not measured. */
void exporter_add_latency(struct metrics *m, const struct show_sources *sources);
/* exporter_policies.c; those alone whose rules pods of this node have. */
void exporter_add_policies(struct metrics *m, const struct show_sources *sources);
