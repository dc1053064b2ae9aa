/* SPDX-License-Identifier: Apache-2.0 */
/* The TrafficAlerts that there are, and what they have told. */
#include "agent/show/show_internal.h"

static void add_rule(const struct alert_rule_stats *rule, void *data)
{
	json_t *list = data;

	json_array_append_new(list,
			      json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "alert", rule->name,
					"kind", alert_kind_name(rule->rule->alert), "severity",
					alert_severity_name(rule->rule->severity), "message",
					rule->rule->message ? rule->rule->message : "", "raised",
					show_u64(rule->raised), "told", show_u64(rule->told),
					"workloads", show_u64(rule->workloads)));
}

void show_alerts(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	const struct alerts *alerts = alert_watch_alerts(sources->alerts);
	json_t *rules = json_array();
	struct alerts_stats stats;

	(void)args;
	(void)netns_fd;
	alerts_stats(alerts, &stats);
	alerts_rules(alerts, add_rule, rules);
	show_reply(request,
		   json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "rules", rules, "told",
			     alert_watch_kept(sources->alerts, 0, ALERT_WATCH_KEPT), "bytes",
			     show_u64(stats.bytes), "forgotten", show_u64(stats.forgotten),
			     "flows_left_out", show_u64(alert_watch_left_out(sources->alerts)),
			     "processes_unknown",
			     show_u64(alert_watch_unknown_processes(sources->alerts)), "lost",
			     show_u64(alert_watch_lost(sources->alerts))));
}
