/* SPDX-License-Identifier: Apache-2.0 */
/* What TrafficAlerts have raised. */
#include "agent/show/exporter_internal.h"

/* A Prometheus server keeps each series: those beyond are told as one, without a name. */
#define RULES_MAX 200

struct exported {
	struct metrics *metrics;
	size_t rules;
	uint64_t others;
};

static void add_rule(const struct alert_rule_stats *rule, void *data)
{
	struct exported *exported = data;
	const struct metric_label labels[] = {
		{"alert", rule->name},
		{"severity", alert_severity_name(rule->rule->severity)},
	};

	if (exported->rules++ < RULES_MAX)
		metrics_sample_u64(exported->metrics, rule->raised, labels, 2);
	else
		exported->others += rule->raised;
}

void exporter_add_alerts(struct metrics *m, const struct show_sources *sources)
{
	const struct alerts *alerts = alert_watch_alerts(sources->alerts);
	static const struct metric_label others[] = {{"alert", ""}, {"severity", ""}};
	struct exported exported = {.metrics = m};
	struct alerts_stats stats;

	if (!alerts_wanted(alerts))
		return;
	metrics_family(
		m, "polder_alerts_total", METRIC_COUNTER,
		"Alerts that TrafficAlerts raised, whether each was told or several as one.");
	alerts_rules(alerts, add_rule, &exported);
	if (exported.rules > RULES_MAX)
		metrics_sample_u64(m, exported.others, others, 2);
	alerts_stats(alerts, &stats);
	exporter_u64(m, "polder_alert_workloads", METRIC_GAUGE,
		     "Workloads and addresses that TrafficAlerts know something of, by alert.",
		     stats.workloads);
	exporter_u64(m, "polder_alert_workloads_forgotten_total", METRIC_COUNTER,
		     "Of these, those that were forgotten for want of room.", stats.forgotten);
	exporter_u64(m, "polder_alert_lost_total", METRIC_COUNTER,
		     "Alerts and TrafficAlerts that were lost for want of memory, or by a reader.",
		     alert_watch_lost(sources->alerts));
}
