/* SPDX-License-Identifier: Apache-2.0 */
/* The operations that show things, and the status. */
#include "agent/show/show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/processes.h"
#include "agent/observe/health_ports.h"
#include "agent/show/exporter.h"
#include "agent/show/map_limits.h"
#include "agent/show/show_internal.h"

void show_reply(struct control_request *request, json_t *result)
{
	if (result)
		control_reply(request, result);
	else
		control_fail(request, ENOMEM, "polderd is out of memory", NULL);
}

json_t *show_u64(uint64_t value)
{
	return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

json_t *show_addr(const struct polder_addr *addr)
{
	char text[INET6_ADDRSTRLEN];

	return json_string(addr_is_zero(addr) ? "" : addr_format(addr, text));
}

/* ---------------------------------------------------------------- status */

static json_t *node_ips(const struct node *node)
{
	json_t *list = json_array();

	if (!addr_is_zero(&node->ipv4))
		json_array_append_new(list, show_addr(&node->ipv4));
	if (!addr_is_zero(&node->ipv6))
		json_array_append_new(list, show_addr(&node->ipv6));
	return list;
}

static json_t *pod_cidrs(const struct config *config)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	if (config->pod_cidr_v4.length)
		json_array_append_new(list, json_string(prefix_format(&config->pod_cidr_v4, text)));
	if (config->pod_cidr_v6.length)
		json_array_append_new(list, json_string(prefix_format(&config->pod_cidr_v6, text)));
	return list;
}

static json_t *xdp_links(const struct node *node)
{
	json_t *list = json_array();

	for (size_t i = 0; i < node->uplink_count; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "link", node->uplinks[i].name, "mode",
					node->uplinks[i].xdp ? node->uplinks[i].xdp : "off"));
	return list;
}

static json_t *pool(const struct pods *pods)
{
	struct pool_usage usage = {0};

	pods_pool_usage(pods, &usage);
	return json_pack("{s:{s:o, s:o}, s:{s:o, s:o}}", "ipv4", "used", show_u64(usage.used_v4),
			 "size", show_u64(usage.size_v4), "ipv6", "used", show_u64(usage.used_v6),
			 "size", show_u64(usage.size_v6));
}

uint32_t show_rule_number(const struct show_sources *sources, const struct object *policy,
			  bool egress, size_t index)
{
	const struct rule_origin origin = {.namespace = policy->namespace,
					   .name = policy->name,
					   .egress = egress,
					   .index = (uint32_t)index};

	return policy_rule_number(policy_sync_registry(sources->policy_sync), &origin);
}

static json_t *pod_counts(const struct show_sources *sources)
{
	size_t total = pods_count(sources->pods), ready = 0;
	struct show_pod pod;

	for (size_t i = 0; i < total; i++) {
		show_pod_lookup(sources, pods_at(sources->pods, i), &pod);
		ready += pod.state == SHOW_POD_READY;
	}
	return json_pack("{s:I, s:I}", "total", (json_int_t)total, "ready", (json_int_t)ready);
}

static json_t *object_counts(const struct store *store)
{
	static const char *const names[OBJECT_KIND_COUNT] = {
		[OBJECT_NAMESPACE] = "namespaces",
		[OBJECT_NODE] = "nodes",
		[OBJECT_POD] = "pods",
		[OBJECT_SERVICE] = "services",
		[OBJECT_ENDPOINT_SLICE] = "endpointslices",
		[OBJECT_NETWORK_POLICY] = "networkpolicies",
		[OBJECT_CLUSTER_NETWORK_POLICY] = "clusternetworkpolicies",
		[OBJECT_TRAFFIC_ALERT] = "trafficalerts",
	};
	json_t *counts = json_object();

	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		if (names[kind])
			json_object_set_new(counts, names[kind],
					    show_u64(store_count(store, kind)));
	return counts;
}

#define PROBLEMS_MOST 1000

static bool has_room(const json_t *list)
{
	return json_array_size(list) < PROBLEMS_MOST;
}

static void add_rest(json_t *list, size_t count)
{
	json_t *source = json_sprintf("%zu more", count);

	json_array_append_new(
		list, json_pack("{s:o*, s:s, s:s}", "source", source, "path", "", "reason",
				"not listed here; they come into view as those above are mended"));
}

static void add_problem(const char *source, const struct error *error, void *data)
{
	json_t *list = data;
	json_t *reason;

	if (!has_room(list))
		return;
	reason = error->line ? json_sprintf("%s (line %d, column %d)", error->text, error->line,
					    error->column)
			     : json_string(error->text);

	json_array_append_new(list, json_pack("{s:s, s:s, s:o*}", "source", source, "path",
					      error->path, "reason", reason));
}

static void add_conflict(const struct store_conflict *conflict, void *data)
{
	json_t *list = data;
	const struct object *object = conflict->object;
	json_t *reason;

	if (!has_room(list))
		return;
	reason = json_sprintf(
		"%s %s%s%s is also defined in %s, which takes precedence; remove one of them",
		object_kind_name(object->kind), object->namespace, *object->namespace ? "/" : "",
		object->name, conflict->origin);

	json_array_append_new(list, json_pack("{s:s, s:s, s:o*}", "source", conflict->ignored,
					      "path", "", "reason", reason));
}

static void add_service_problem(json_t *list, const struct service_problem *problem)
{
	json_t *source = json_sprintf("Service %s/%s", problem->namespace, problem->name);

	json_array_append_new(list, json_pack("{s:o*, s:s, s:s}", "source", source, "path", "",
					      "reason", problem->reason));
}

static void add_held_down(json_t *list, const struct local_pod *pod)
{
	json_t *source, *reason;

	if (!pod->held_down)
		return;
	source = json_sprintf("pod %s/%s", pod->namespace, pod->name);
	reason = json_sprintf("its link %s is held down: %s; retried every 5 s", pod->link,
			      pod->held_down);
	json_array_append_new(list, json_pack("{s:o*, s:s, s:o*}", "source", source, "path", "",
					      "reason", reason));
}

static void add_waiting(json_t *list, const struct show_sources *sources,
			const struct local_pod *pod)
{
	const char *reason = pod->labels_lost
				     ? "its record was lost, and its labels with it: it is "
				       "isolated until its Pod object comes, or it is "
				       "started again"
				     : "its Pod object has not come: it is isolated until it does";
	json_t *source;

	if (!policy_sync_pod_waits(sources->policy_sync, pod) || !has_room(list))
		return;
	source = json_sprintf("pod %s/%s", pod->namespace, pod->name);
	json_array_append_new(list, json_pack("{s:o*, s:s, s:s}", "source", source, "path", "",
					      "reason", reason));
}

static void add_queues(json_t *list, const struct local_pod *pod)
{
	char text[POD_QUEUE_TEXT];
	json_t *source;

	if (!pod->queues[0] || !has_room(list))
		return;
	source = json_sprintf("pod %s/%s", pod->namespace, pod->name);
	json_array_append_new(list, json_pack("{s:o*, s:s, s:s}", "source", source, "path", "",
					      "reason", pods_queue_text(pod, text)));
}

static void add_note(json_t *list, const char *source, const char *note)
{
	if (note && note[0])
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "source", source, "path",
						      "", "reason", note));
}

static void add_health_problem(const struct service_problem *problem, void *list)
{
	if (has_room(list))
		add_service_problem(list, problem);
}

/* However many there are, the first PROBLEMS_MOST are enough to read, and their number. */
static json_t *problems(const struct show_sources *sources, const struct show_progress *progress)
{
	const struct service_problem *services = NULL;
	struct flow_export_stats exported;
	struct flow_history_file_stats kept;
	json_t *list = json_array();
	size_t count, all;

	show_network_problems(sources->node, list);
	add_note(list, "pod-cidr", progress->families_note);
	add_note(list, "node-port-range", progress->node_ports_note);
	add_note(list, "state-dir", progress->state_note);
	add_note(list, "pins", progress->pins_note);
	add_note(list, "cni-config", progress->cni_note);
	add_note(list, "routing rules", progress->passed_note);
	add_note(list, "sockets", progress->sockets_note);
	add_note(list, "sockets", progress->sockets_full_note);
	if (datapath_features(sources->datapath)->socket_held)
		add_note(list, "socket programs",
			 datapath_features(sources->datapath)->socket_note);
	if (sources->flow_export) {
		flow_export_read(sources->flow_export, &exported);
		add_note(list, "flow-export", exported.error);
	}
	if (sources->recorder->file) {
		flow_history_file_stats(sources->recorder->file, &kept);
		add_note(list, "flow-history-file", kept.problem);
	}
	show_route_problems(sources, list);
	show_tunnel_problems(sources, list);
	show_balancer_problems(sources, list);
	show_unanswered(sources, list);
	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		add_held_down(list, pods_at(sources->pods, i));
		add_waiting(list, sources, pods_at(sources->pods, i));
	}
	for (size_t i = 0; i < pods_count(sources->pods); i++)
		add_queues(list, pods_at(sources->pods, i));
	count = services_problems(sources->services, &services);
	all = json_array_size(list) + store_problem_count(sources->store) +
	      store_conflict_count(sources->store) + count;
	store_problems(sources->store, add_problem, list);
	store_conflicts(sources->store, add_conflict, list);
	for (size_t i = 0; i < count && has_room(list); i++)
		add_service_problem(list, &services[i]);
	if (sources->health_ports)
		health_ports_problems(sources->health_ports, add_health_problem, list);
	if (all > json_array_size(list))
		add_rest(list, all - json_array_size(list));
	return list;
}

static json_t *limits(const struct show_sources *sources)
{
	struct limit found[MAP_COUNT];
	size_t count = limits_find(sources, found);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:s}", "map",
						      maps_get(sources->maps, found[i].index)->name,
						      "entries", show_u64(found[i].entries),
						      "max_entries", show_u64(found[i].max_entries),
						      "reason", found[i].reason));
	return list;
}

static void add_feature(json_t *list, const char *name, bool available, const char *note)
{
	json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", name, "available",
					      available, "note", note));
}

/* Without names of program files of processes that have ended there is the rest. */
static void add_processes_feature(json_t *list, const struct show_sources *sources,
				  const char *note)
{
	const char *files_note = processes_note(sources->datapath);
	char text[512] = "";

	if (*files_note)
		snprintf(text, sizeof(text),
			 "program files of processes that have ended are not known: %s",
			 files_note);
	if (note && *note)
		add_feature(list, "processes", false, note);
	else
		add_feature(list, "processes", true, text);
}

static json_t *features(const struct show_sources *sources, const struct show_progress *progress)
{
	static const char *const ways[] = {
		[PROGRAM_WAIT_UNMOUNT] = "",
		[PROGRAM_WAIT_MEMBARRIER] = "by membarrier, which takes some milliseconds",
		[PROGRAM_WAIT_MAP_UPDATE] =
			"by updating a map of maps: the kernel refuses membarrier (nohz_full)",
		[PROGRAM_WAIT_METHODS] = ("map entries are never deleted: the kernel refuses "
					  "membarrier and maps of maps"),
	};
	const struct datapath_features *found = datapath_features(sources->datapath);
	const char *rules_note = progress->rules_note ? progress->rules_note : "";
	const char *sockets_note = progress->sockets_note ? progress->sockets_note : "";
	const char *latency_note = progress->latency_note ? progress->latency_note : "";
	json_t *list = json_array();

	add_feature(list, "tcx", found->tcx, found->tcx ? "" : "programs are attached by clsact");
	add_feature(list, "socket_programs", found->socket_programs, found->socket_note);
	add_feature(list, "socket_ends", !*sockets_note, sockets_note);
	if (sources->config->latency)
		add_feature(list, "latency", !*latency_note, latency_note);
	if (sources->config->processes || alert_watch_wants_processes(sources->alerts))
		add_processes_feature(list, sources, progress->processes_note);
	add_feature(list, "stack_rules", !*rules_note, rules_note);
	add_feature(list, "program_wait", sources->wait_method != PROGRAM_WAIT_METHODS,
		    ways[sources->wait_method]);
	return list;
}

static json_t *policy_counts(const struct show_sources *sources)
{
	const struct policy_sync_problem *closed = NULL;
	size_t count = policy_sync_problems(sources->policy_sync, &closed);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "pod", closed[i].subject,
						      "reason", closed[i].reason));
	return json_pack("{s:I, s:I, s:o}", "identities",
			 (json_int_t)policy_sync_identity_count(sources->policy_sync), "rulesets",
			 (json_int_t)policy_sync_ruleset_count(sources->policy_sync),
			 "over_capacity", list);
}

static json_t *flow_export(const struct show_sources *sources)
{
	struct flow_export_stats stats;

	flow_export_read(sources->flow_export, &stats);
	return json_pack("{s:s, s:o, s:o, s:o, s:s}", "target", sources->config->flow_export,
			 "written", show_u64(stats.written), "limited", show_u64(stats.limited),
			 "lost", show_u64(stats.lost), "error", stats.error);
}

static void show_status(struct control_request *request, const json_t *args, int netns_fd,
			void *data)
{
	const struct show_sources *sources = data;
	const struct datapath_features *found = datapath_features(sources->datapath);
	struct show_progress progress = {0};
	json_t *result;

	sources->progress(&progress, sources->data);
	result = json_pack("{s:s, s:s, s:b, s:b, s:I, s:I, s:s, s:b}", "version", POLDER_VERSION,
			   "node", sources->config->node_name ? sources->config->node_name : "",
			   "ready", progress.ready, "synced", progress.synced, "uptime_seconds",
			   (json_int_t)((uv_hrtime() - sources->started_ns) / 1000000000),
			   "generation", (json_int_t)maps_control(sources->maps)->generation,
			   "attach", found->tcx ? "tcx" : "clsact", "socket_programs",
			   found->socket_programs);
	if (result) {
		json_object_set_new(result, "layout", json_integer(POLDER_LAYOUT_VERSION));
		json_object_set_new(result, "xdp", xdp_links(sources->node));
		json_object_set_new(result, "uplinks", show_uplinks(sources->node));
		json_object_set_new(result, "egress", show_egress(sources->node));
		json_object_set_new(result, "node_ips", node_ips(sources->node));
		json_object_set_new(result, "pod_cidrs", pod_cidrs(sources->config));
		json_object_set_new(result, "pool", pool(sources->pods));
		json_object_set_new(result, "pods", pod_counts(sources));
		json_object_set_new(result, "objects", object_counts(sources->store));
		json_object_set_new(result, "routes", show_routes(sources));
		json_object_set_new(result, "peers", show_peers(sources));
		json_object_set_new(result, "tunnel", show_tunnel(sources));
		if (*sources->balancers)
			json_object_set_new(result, "load_balancers", show_balancers(sources));
		if (*sources->api_source)
			json_object_set_new(result, "api", show_api(sources));
		json_object_set_new(result, "problems", problems(sources, &progress));
		json_object_set_new(result, "features", features(sources, &progress));
		json_object_set_new(result, "other_programs", show_other_programs(sources));
		json_object_set_new(result, "policy", policy_counts(sources));
		json_object_set_new(result, "limits", limits(sources));
		if (sources->flow_export)
			json_object_set_new(result, "flow_export", flow_export(sources));
		if (sources->recorder->most_bytes)
			json_object_set_new(result, "flow_history", show_flow_history(sources));
	}
	show_reply(request, result);
}

/* ---------------------------------------------------------------- metrics */

static void show_metrics(struct control_request *request, const json_t *args, int netns_fd,
			 void *data)
{
	size_t length = 0;
	char *text = exporter_text(data, &length);

	show_reply(request, text ? json_pack("{s:s%}", "text", text, length) : NULL);
	free(text);
}

int show_register(struct control_server *server, const struct show_sources *sources)
{
	static const struct {
		const char *name;
		control_handler handler;
	} operations[] = {
		{"status", show_status},
		{"config", show_config},
		{"pods", show_pods},
		{"services", show_services},
		{"policies", show_policies},
		{"flows", show_flows},
		{"drops", show_drops},
		{"drops.kernel", show_kernel_drops},
		{"maps", show_maps},
		{"metrics", show_metrics},
		{"monitor", show_monitor},
		{"alerts", show_alerts},
		{"latency", show_latency},
		{"policy.suggest", show_suggest},
		{"nodes", show_nodes},
		{"load-balancers", show_load_balancers},
		{"identities", show_identities},
		{"rulesets", show_rulesets},
		{"addresses", show_addresses},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(operations) / sizeof(*operations); i++)
		r = control_register(server, operations[i].name, operations[i].handler,
				     (void *)sources);
	return r;
}
