/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of load balancers' addresses. */
#include "agent/show/exporter_internal.h"

static void add_announced(struct metrics *m, const struct show_sources *sources)
{
	struct announce_counts counts = announce_counts(*sources->announce, uv_now(sources->loop));

	metrics_family(m, "polder_load_balancer_announced", METRIC_GAUGE,
		       "Addresses of load balancers, by who announces them.");
	exporter_labelled(m, "by", "this_node", counts.held);
	exporter_labelled(m, "by", "another_node", counts.watched);
	exporter_labelled(m, "by", "nobody", counts.nobodys);
	metrics_family(m, "polder_load_balancer_moves_total", METRIC_COUNTER,
		       "Addresses that this node took over, let go, or lost to another node.");
	exporter_labelled(m, "kind", "taken", counts.claims.taken);
	exporter_labelled(m, "kind", "released", counts.claims.released);
	exporter_labelled(m, "kind", "lost", counts.claims.lost);
	exporter_u64(m, "polder_load_balancer_answered_total", METRIC_COUNTER,
		     "Addresses that were not taken over because somebody answered for them.",
		     counts.claims.answered);
	metrics_family(m, "polder_load_balancer_frames_total", METRIC_COUNTER,
		       "Frames about load balancers' addresses.");
	exporter_labelled(m, "kind", "sent", counts.frames_sent);
	exporter_labelled(m, "kind", "failed", counts.frames_failed);
	exporter_labelled(m, "kind", "heard", counts.frames_heard);
	exporter_labelled(m, "kind", "strange", counts.frames_strange);
}

void exporter_add_balancers(struct metrics *m, const struct show_sources *sources)
{
	size_t addresses;

	if (!*sources->balancers)
		return;
	balancers_addresses(*sources->balancers, &addresses);
	exporter_u64(m, "polder_load_balancer_services", METRIC_GAUGE,
		     "Services that have addresses of the pools, or want some.",
		     balancers_count(*sources->balancers));
	exporter_u64(m, "polder_load_balancer_refused", METRIC_GAUGE,
		     "Services that do not get the addresses that they want.",
		     balancers_refused(*sources->balancers));
	exporter_u64(m, "polder_load_balancer_addresses", METRIC_GAUGE,
		     "Addresses of the pools that Services have.", addresses);
	if (*sources->announce)
		add_announced(m, sources);
}
