/* SPDX-License-Identifier: Apache-2.0 */
/* One family after the other; the kernel is asked once for each scrape. */
#include "agent/show/exporter.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/kernel/counters.h"
#include "agent/observe/http.h"
#include "agent/observe/metrics.h"
#include "agent/policy/rule_counts.h"
#include "agent/show/exporter_internal.h"
#include "agent/show/show_internal.h"

void exporter_u64(struct metrics *m, const char *name, enum metric_type type, const char *help,
		  uint64_t value)
{
	metrics_family(m, name, type, help);
	metrics_sample_u64(m, value, NULL, 0);
}

void exporter_labelled(struct metrics *m, const char *label, const char *label_value,
		       uint64_t value)
{
	const struct metric_label labels[] = {{label, label_value}};

	metrics_sample_u64(m, value, labels, 1);
}

/* ---------------------------------------------------------------- the datapath */

static void drop_family(struct metrics *m, const struct drop_counter *drops, bool bytes)
{
	if (bytes)
		metrics_family(m, "polder_drop_bytes_total", METRIC_COUNTER,
			       "Bytes of packets dropped or rejected, by reason and hook.");
	else
		metrics_family(m, "polder_drop_packets_total", METRIC_COUNTER,
			       "Packets dropped or rejected, by reason and hook.");
	for (unsigned int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++)
		for (unsigned int hook = 0; hook < DROP_HOOKS; hook++) {
			const struct drop_counter *drop = &drops[reason * DROP_HOOKS + hook];
			const struct metric_label labels[] = {{"reason", reason_name(reason)},
							      {"hook", hook_name(hook)}};

			metrics_sample_u64(m, bytes ? drop->bytes : drop->packets, labels, 2);
		}
}

static void add_drops(struct metrics *m, const struct show_sources *sources)
{
	struct drop_counter drops[DROPS_COUNT];

	if (counters_read_drops(maps_fd(sources->maps, MAP_DROPS), drops) < 0)
		return;
	drop_family(m, drops, false);
	drop_family(m, drops, true);
}

/* polder_events_sent_total, polder_nat_ports_allocated_total, ... */
static void add_counters(struct metrics *m, const struct show_sources *sources)
{
	__u64 counters[COUNTER_COUNT];
	char name[64], help[128];

	if (counters_read(maps_fd(sources->maps, MAP_COUNTERS), counters) < 0)
		return;
	for (unsigned int i = 0; i < COUNTER_COUNT; i++) {
		snprintf(name, sizeof(name), "polder_%s_total", counter_name(i));
		snprintf(help, sizeof(help), "%s.", counter_text(i));
		exporter_u64(m, name, METRIC_COUNTER, help, counters[i]);
	}
}

static void add_flows(struct metrics *m, const struct show_sources *sources)
{
	struct flows_stats stats;

	flows_stats(sources->flows, &stats);
	metrics_family(m, "polder_flows", METRIC_GAUGE,
		       "Entries in the flow table, two for each flow.");
	exporter_labelled(m, "family", "ipv4", stats.entries_v4);
	exporter_labelled(m, "family", "ipv6", stats.entries_v6);
	metrics_family(m, "polder_flows_max", METRIC_GAUGE, "Size of the flow table in entries.");
	exporter_labelled(m, "family", "ipv4", stats.capacity_v4);
	exporter_labelled(m, "family", "ipv6", stats.capacity_v6);
	exporter_u64(m, "polder_flow_packets_total", METRIC_COUNTER,
		     "Packets forwarded by flow table entries, as of the last collector scan.",
		     stats.packets);
	exporter_u64(m, "polder_flow_bytes_total", METRIC_COUNTER,
		     "Bytes forwarded by flow table entries, as of the last collector scan.",
		     stats.bytes);
	exporter_u64(m, "polder_flows_expired_total", METRIC_COUNTER,
		     "Flow entries deleted because their flow expired.", stats.expired);
	exporter_u64(m, "polder_flows_forgotten_total", METRIC_COUNTER,
		     "Flow entries deleted because their pod was deleted.", stats.forgotten);
	exporter_u64(
		m, "polder_flows_doubted_total", METRIC_COUNTER,
		"Flow entries marked for re-evaluation because one of their addresses changed.",
		stats.doubted);
	exporter_u64(m, "polder_flows_repaired_total", METRIC_COUNTER,
		     "Flow entries deleted because their writer died.", stats.repaired);
	exporter_u64(m, "polder_flow_collector_scans_total", METRIC_COUNTER,
		     "Collector scans of the flow table that were started.", stats.scans);
	metrics_single(m, "polder_flow_collector_scan_seconds", METRIC_GAUGE,
		       "CPU time of the last whole collector scan.", stats.last_scan_seconds);
}

static void add_sockets(struct metrics *m, const struct show_sources *sources)
{
	struct socket_ends_stats stats;

	socket_ends_stats(sources->socket_ends, &stats);
	metrics_family(m, "polder_sockets_ended_total", METRIC_COUNTER,
		       "Connections of the node ended because their Service's endpoint went.");
	exporter_labelled(m, "proto", "tcp", stats.ended_tcp);
	exporter_labelled(m, "proto", "udp", stats.ended_udp);
	exporter_u64(m, "polder_socket_looks_total", METRIC_COUNTER,
		     "Looks for connections of the node to endpoints that are gone.", stats.looks);
	exporter_u64(m, "polder_socket_look_errors_total", METRIC_COUNTER,
		     "Those looks that failed.", stats.failures);
}

static void add_maps(struct metrics *m, const struct show_sources *sources)
{
	struct show_map found[MAP_COUNT];
	struct metric_label label = {"map", NULL};

	for (int i = 0; i < MAP_COUNT; i++)
		show_map_lookup(sources, i, false, &found[i]);
	metrics_family(m, "polder_map_entries", METRIC_GAUGE, "Elements in a map.");
	for (int i = 0; i < MAP_COUNT; i++)
		if (found[i].counted)
			exporter_labelled(m, "map", maps_get(sources->maps, i)->name,
					  found[i].entries);
	metrics_family(m, "polder_map_max_entries", METRIC_GAUGE, "Size of a map in elements.");
	for (int i = 0; i < MAP_COUNT; i++)
		exporter_labelled(m, "map", maps_get(sources->maps, i)->name, found[i].max_entries);
	metrics_family(m, "polder_map_pressure", METRIC_GAUGE, "Used share of a map, 0 to 1.");
	for (int i = 0; i < MAP_COUNT; i++) {
		label.value = maps_get(sources->maps, i)->name;
		if (found[i].counted && found[i].fills && found[i].max_entries)
			metrics_sample(m, (double)found[i].entries / (double)found[i].max_entries,
				       &label, 1);
	}
}

/* ---------------------------------------------------------------- the agent */

static void add_pods(struct metrics *m, const struct show_sources *sources)
{
	size_t counts[SHOW_POD_STATES] = {0};
	struct pool_usage pool = {0};
	struct show_pod pod;

	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		show_pod_lookup(sources, pods_at(sources->pods, i), &pod);
		counts[pod.state]++;
	}
	metrics_family(m, "polder_pods", METRIC_GAUGE, "Pods connected to this node, by state.");
	for (int i = 0; i < SHOW_POD_STATES; i++)
		exporter_labelled(m, "state", show_pod_state_names[i], counts[i]);
	pods_pool_usage(sources->pods, &pool);
	metrics_family(m, "polder_pool_addresses_used", METRIC_GAUGE, "Pod addresses in use.");
	exporter_labelled(m, "family", "ipv4", pool.used_v4);
	exporter_labelled(m, "family", "ipv6", pool.used_v6);
	metrics_family(m, "polder_pool_addresses", METRIC_GAUGE, "Size of the pod address pool.");
	exporter_labelled(m, "family", "ipv4", pool.size_v4);
	exporter_labelled(m, "family", "ipv6", pool.size_v6);
}

/* What does not fit in the maps of the rule sets, and whom that closes. */
static void add_capacity(struct metrics *m, const struct show_sources *sources)
{
	const struct policy_sync_problem *problems = NULL;
	size_t i, j, closed = 0, count = policy_sync_problems(sources->policy_sync, &problems);

	for (i = 0; i < count; i++)
		closed += problems[i].pod_closed;
	exporter_u64(m, "polder_pods_over_capacity", METRIC_GAUGE,
		     "Pods that are isolated because their policies do not fit in the maps.",
		     closed);
	exporter_u64(m, "polder_rules_not_counted", METRIC_GAUGE,
		     "Rules and default denies without a counter because the map is full.",
		     rule_counts_uncounted(policy_sync_rule_counts(sources->policy_sync)));
	metrics_family(m, "polder_policy_entries_missing", METRIC_GAUGE,
		       "Elements that a map lacks for the rule sets that do not fit.");
	for (i = 0; i < MAP_COUNT; i++) {
		const char *name = maps_get(sources->maps, i)->name;
		uint64_t missing = 0;

		if (strncmp(name, "ruleset", strlen("ruleset")) != 0)
			continue;
		for (j = 0; j < count; j++)
			if (problems[j].map && strcmp(problems[j].map, name) == 0)
				missing += problems[j].missing;
		exporter_labelled(m, "map", name, missing);
	}
}

/* Ranges of other Nodes, by what becomes of them. */
static void add_routes(struct metrics *m, const struct show_sources *sources)
{
	struct node_routes_state state;

	node_routes_state(sources->routes, &state);
	metrics_family(m, "polder_node_routes", METRIC_GAUGE,
		       "Routes to the pod ranges of other nodes, by state.");
	exporter_labelled(m, "state", "wanted", state.wanted);
	exporter_labelled(m, "state", "installed", state.installed);
	exporter_labelled(m, "state", "failed", state.failed);
	exporter_labelled(m, "state", "refused", state.refused);
	exporter_labelled(m, "state", "elsewhere", state.elsewhere);
	exporter_labelled(m, "state", "stale", state.stale);
}

static void add_peers(struct metrics *m, const struct show_sources *sources)
{
	struct peers_counts counts = peers_count(sources->peers);
	struct polder_addr one;
	int error;

	metrics_family(m, "polder_peers", METRIC_GAUGE, "Other nodes, by how they are reached.");
	for (enum peer_way way = WAY_NONE; way <= WAY_UNKNOWN; way++)
		exporter_labelled(m, "way", peer_way_names[way], counts.by_way[way]);
	metrics_single(m, "polder_peer_conflicts", METRIC_GAUGE,
		       "Pod ranges and addresses that several Nodes claim.",
		       (double)counts.conflicts);
	metrics_single(m, "polder_tunnel_up", METRIC_GAUGE,
		       "1: the tunnel's device works; 0: it does not, or tunnel is none.",
		       sources->tunnel->is.ifindex != 0);
	metrics_single(m, "polder_tunnel_wanted", METRIC_GAUGE,
		       "1: the configuration has a tunnel; 0: tunnel is none.",
		       sources->config->tunnel != TUNNEL_NONE);
	metrics_single(m, "polder_peers_numberless", METRIC_GAUGE,
		       "Other nodes that no number was left for: reached by routes alone.",
		       (double)counts.numberless);
	metrics_single(m, "polder_peer_neighbours_unkept", METRIC_GAUGE,
		       "Neighbours, by whom other nodes are reached, that the kernel does not keep "
		       "known.",
		       (double)peers_unkept_neighbours(sources->peers, &one, &error));
	metrics_single(m, "polder_stray_pods", METRIC_GAUGE,
		       "Pods of this node with addresses outside of its pod ranges.",
		       (double)stray_pods_list(sources->stray_pods, 0, NULL, NULL));
}

static void add_objects(struct metrics *m, const struct show_sources *sources)
{
	const struct service_problem *services = NULL;
	size_t count;

	metrics_family(m, "polder_objects", METRIC_GAUGE, "Objects by kind.");
	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		exporter_labelled(m, "kind", object_kind_name(kind),
				  store_count(sources->store, kind));
	exporter_u64(m, "polder_services", METRIC_GAUGE, "Services.",
		     store_count(sources->store, OBJECT_SERVICE));
	exporter_u64(m, "polder_frontends", METRIC_GAUGE, "Addresses and ports of Services.",
		     services_frontend_count(sources->services));
	exporter_u64(m, "polder_backends", METRIC_GAUGE, "Endpoints of the Services' ports.",
		     services_backend_count(sources->services));
	exporter_u64(m, "polder_identities", METRIC_GAUGE, "Identities in use.",
		     policy_sync_identity_count(sources->policy_sync));
	exporter_u64(m, "polder_rulesets", METRIC_GAUGE, "Rule sets in use.",
		     policy_sync_ruleset_count(sources->policy_sync));
	add_capacity(m, sources);
	add_routes(m, sources);
	add_peers(m, sources);
	count = store_problem_count(sources->store) + store_conflict_count(sources->store) +
		services_problems(sources->services, &services);
	exporter_u64(m, "polder_source_problems", METRIC_GAUGE,
		     "Files and Services that were rejected or conflict with others.", count);
}

static void flow_export(struct metrics *m, const struct flow_export *out)
{
	struct flow_export_stats stats;

	flow_export_read(out, &stats);
	exporter_u64(m, "polder_flow_export_lines_total", METRIC_COUNTER,
		     "Events written by flow-export.", stats.written);
	exporter_u64(m, "polder_flow_export_limited_total", METRIC_COUNTER,
		     "Events that flow-export left out: more than flow-export-rate.",
		     stats.limited);
	exporter_u64(m, "polder_flow_export_lost_total", METRIC_COUNTER,
		     "Events that flow-export lost: the target did not take them, or the ring "
		     "buffer was full.",
		     stats.lost);
}

static void add_agent(struct metrics *m, const struct show_sources *sources)
{
	struct show_progress progress = {0};
	char layout[16];
	const struct metric_label build[] = {{"version", POLDER_VERSION}, {"layout", layout}};

	sources->progress(&progress, sources->data);
	metrics_family(m, "polder_build_info", METRIC_GAUGE, "Version of polderd; always 1.");
	snprintf(layout, sizeof(layout), "%d", POLDER_LAYOUT_VERSION);
	metrics_sample(m, 1, build, 2);
	exporter_u64(m, "polder_ready", METRIC_GAUGE, "1 if polderd is ready.", progress.ready);
	exporter_u64(m, "polder_synced", METRIC_GAUGE, "1 if all objects have been read once.",
		     progress.synced);
	exporter_u64(m, "polder_generation", METRIC_GAUGE,
		     "Flow generation; flows cached under an older one are re-evaluated.",
		     maps_control(sources->maps)->generation);
	metrics_single(m, "polder_reconcile_seconds", METRIC_GAUGE,
		       "Duration of the last reconcile.", progress.last_reconcile_seconds);
	metrics_family(m, "polder_reconcile_duration_seconds", METRIC_HISTOGRAM,
		       "Durations of reconciles.");
	metrics_histogram(m, sources->reconcile_durations, NULL, 0);
	exporter_u64(m, "polder_reconciles_total", METRIC_COUNTER, "Reconciles.",
		     progress.reconciles);
	exporter_u64(m, "polder_audits_total", METRIC_COUNTER,
		     "Comparisons of the incremental state with a full compile.", progress.audits);
	exporter_u64(m, "polder_audit_differences_total", METRIC_COUNTER,
		     "Audits that found a difference and forced a full reconcile.",
		     progress.audit_differences);
	exporter_u64(m, "polder_policy_switches_total", METRIC_COUNTER,
		     "Changes of policies, labels or identities that took effect.",
		     progress.policy_switches);
	exporter_u64(m, "polder_reconcile_errors_total", METRIC_COUNTER, "Reconciles that failed.",
		     progress.reconcile_errors);
	if (sources->flow_export)
		flow_export(m, sources->flow_export);
	exporter_u64(m, "polder_event_subscribers", METRIC_GAUGE,
		     "Subscribers of the event stream.", events_subscribers(sources->events));
}

/* A family of samples that differ in one label. */
struct labelled {
	const char *value;
	uint64_t number;
};

static void labelled_family(struct metrics *m, const char *name, enum metric_type type,
			    const char *help, const char *label, const struct labelled *samples,
			    size_t count)
{
	metrics_family(m, name, type, help);
	for (size_t i = 0; i < count; i++)
		exporter_labelled(m, label, samples[i].value, samples[i].number);
}
#define LABELLED(m, name, type, help, label, ...)                                                  \
	labelled_family(m, name, type, help, label, (const struct labelled[]){__VA_ARGS__},        \
			sizeof((const struct labelled[]){__VA_ARGS__}) / sizeof(struct labelled))

static void add_control(struct metrics *m, const struct show_sources *sources)
{
	struct control_stats stats;

	if (!sources->control)
		return;
	control_read_stats(sources->control, &stats);
	exporter_u64(m, "polder_control_connections", METRIC_GAUGE,
		     "Open connections of the control socket.", stats.connections);
	exporter_u64(m, "polder_control_requests_total", METRIC_COUNTER,
		     "Requests on the control socket.", stats.requests);
	LABELLED(m, "polder_control_refused_total", METRIC_COUNTER,
		 "Requests and connections of the control socket that were refused or closed, by "
		 "reason.",
		 "reason", {"not_root", stats.not_root}, {"no_room", stats.refused},
		 {"peer_gone", stats.abandoned}, {"idle", stats.closed_idle},
		 {"made_room", stats.closed_for_room}, {"paused", stats.paused});
}

/* What both servers count. */
static void add_http(struct metrics *m, const struct show_sources *sources)
{
	struct http_server *const *servers[] = {sources->http, sources->health};
	struct http_stats sum = {}, one;

	for (size_t i = 0; i < 2; i++) {
		if (!servers[i] || !*servers[i])
			continue;
		http_server_read_stats(*servers[i], &one);
		sum.connections += one.connections;
		sum.requests += one.requests;
		sum.closed_for_room += one.closed_for_room;
		sum.closed_late += one.closed_late;
	}
	exporter_u64(m, "polder_http_connections", METRIC_GAUGE, "Open HTTP connections.",
		     sum.connections);
	exporter_u64(m, "polder_http_requests_total", METRIC_COUNTER, "HTTP requests.",
		     sum.requests);
	LABELLED(m, "polder_http_closed_total", METRIC_COUNTER,
		 "HTTP connections that were closed before their client was done, by reason.",
		 "reason", {"made_room", sum.closed_for_room}, {"deadline", sum.closed_late});
}

static void add_cni(struct metrics *m, const struct show_sources *sources)
{
	const struct cni_counts *cni = sources->cni;
	char code[16];

	metrics_family(m, "polder_cni_operations_total", METRIC_COUNTER,
		       "Operations of the CNI plugin, by command and error code; code 0: done.");
	for (size_t i = 0; i < cni->code_count; i++) {
		snprintf(code, sizeof(code), "%d", cni->codes[i].code);
		for (int command = 0; command < CNI_COMMANDS; command++) {
			const struct metric_label labels[] = {
				{"command", cni_command_names[command]}, {"code", code}};

			if (cni->codes[i].counts[command])
				metrics_sample_u64(m, cni->codes[i].counts[command], labels, 2);
		}
	}
	metrics_family(m, "polder_cni_operation_duration_seconds", METRIC_HISTOGRAM,
		       "Durations of operations of the CNI plugin, by command.");
	for (int command = 0; command < CNI_COMMANDS; command++) {
		const struct metric_label label = {"command", cni_command_names[command]};

		metrics_histogram(m, &cni->durations[command], &label, 1);
	}
}

static void add_log(struct metrics *m)
{
	struct log_stats stats;

	log_read_stats(&stats);
	metrics_family(m, "polder_log_lines_total", METRIC_COUNTER, "Log lines written, by level.");
	for (int i = 0; i < LOG_LEVELS; i++)
		exporter_labelled(m, "level", log_level_name((enum log_level)i), stats.written[i]);
	exporter_u64(m, "polder_log_lines_lost_total", METRIC_COUNTER,
		     "Log lines that nobody took from standard error.", stats.lost);
	exporter_u64(m, "polder_log_lines_held_total", METRIC_COUNTER,
		     "Log lines that were counted instead of written: too many of one kind.",
		     stats.held);
}

/* ---------------------------------------------------------------- the process */

struct process {
	unsigned long utime, stime; /* clock ticks */
	unsigned long long start;   /* clock ticks after the machine's start */
	long pages;
	unsigned long virtual; /* bytes */
};

/* /proc/self/stat, proc(5): the name in parentheses may hold anything. */
static bool read_process(struct process *ret)
{
	char line[1024];
	FILE *file = fopen("/proc/self/stat", "re");
	char *rest;
	bool found;

	if (!file)
		return false;
	rest = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	found = rest &&
		sscanf(rest + 1,
		       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d "
		       "%*d %*d %*d %llu %lu %ld",
		       &ret->utime, &ret->stime, &ret->start, &ret->virtual, &ret->pages) == 5;
	return found;
}

static uint64_t boot_time(void)
{
	unsigned long long seconds = 0;
	FILE *file = fopen("/proc/stat", "re");
	char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0)
		if (sscanf(line, "btime %llu", &seconds) == 1)
			break;
	if (file)
		fclose(file);
	free(line);
	return seconds;
}

static uint64_t open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	uint64_t count = 0;
	struct dirent *entry;

	if (!directory)
		return 0;
	while ((entry = readdir(directory)))
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count - 1; /* the one that reads the directory */
}

/* The way to the outside. */
static void add_network(struct metrics *m, const struct show_sources *sources)
{
	static const char *const families[2] = {"ipv4", "ipv6"};
	const struct node *node = sources->node;

	metrics_family(m, "polder_uplink_ready", METRIC_GAUGE,
		       "1 if the uplink is there, up and of a type that can serve.");
	for (size_t i = 0; i < node->uplink_count; i++)
		exporter_labelled(m, "link", node->uplinks[i].name,
				  node->uplinks[i].state == UPLINK_READY);
	metrics_family(m, "polder_egress_reach", METRIC_GAUGE,
		       "What pods reach outside: 0 nothing, 1 networks with a route, 2 all.");
	for (int i = 0; i < 2; i++)
		if (node->exits[i].since)
			exporter_labelled(m, "family", families[i], node->exits[i].reach);
	exporter_u64(m, "polder_network_changes_total", METRIC_COUNTER,
		     "Changes of the node's links, addresses or routes.", node->changes);
}

static void add_process(struct metrics *m)
{
	double ticks = (double)sysconf(_SC_CLK_TCK);
	struct process process;
	struct rlimit files;

	if (!read_process(&process))
		return;
	metrics_single(m, "process_cpu_seconds_total", METRIC_COUNTER, "User and system CPU time.",
		       (double)(process.utime + process.stime) / ticks);
	exporter_u64(m, "process_resident_memory_bytes", METRIC_GAUGE, "Resident memory.",
		     (uint64_t)process.pages * (uint64_t)sysconf(_SC_PAGESIZE));
	exporter_u64(m, "process_virtual_memory_bytes", METRIC_GAUGE, "Virtual memory.",
		     process.virtual);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		exporter_u64(m, "process_max_fds", METRIC_GAUGE, "Limit of open file descriptors.",
			     files.rlim_cur);
	exporter_u64(m, "process_open_fds", METRIC_GAUGE, "Open file descriptors.",
		     open_descriptors());
	metrics_single(m, "process_start_time_seconds", METRIC_GAUGE,
		       "Start of the process, seconds since 1970.",
		       (double)boot_time() + (double)process.start / ticks);
}

char *exporter_text(const struct show_sources *sources, size_t *ret_length)
{
	struct metrics *m = metrics_new();
	char *text;

	if (!m)
		return NULL;
	add_agent(m, sources);
	add_drops(m, sources);
	add_flows(m, sources);
	add_sockets(m, sources);
	add_counters(m, sources);
	add_maps(m, sources);
	add_pods(m, sources);
	add_objects(m, sources);
	exporter_add_policies(m, sources);
	exporter_add_alerts(m, sources);
	exporter_add_latency(m, sources);
	exporter_add_api(m, sources);
	exporter_add_balancers(m, sources);
	add_network(m, sources);
	add_cni(m, sources);
	add_log(m);
	add_control(m, sources);
	add_http(m, sources);
	add_process(m);
	text = metrics_finish(m, ret_length);
	metrics_free(m);
	return text;
}

unsigned int exporter_answer(char **ret_body, size_t *ret_length, void *data)
{
	char *text = exporter_text(data, ret_length);

	if (!text)
		return 500;
	*ret_body = text;
	return 200;
}
