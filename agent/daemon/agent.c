/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/daemon/agent.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/dryrun/dry_run.h"
#include "agent/explain/explain.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/namespace.h"
#include "agent/node/pod_range.h"
#include "agent/ui/ui.h"

#define MESSAGE_MAX 768

/* A kernel that was booted with ipv6.disable=1 refuses each address and route of that family. Pods
 * get IPv4 then; with nothing but IPv6 asked for there is nothing to serve. */
static int check_families(struct agent *agent, char *message, size_t size)
{
	struct config *config = &agent->config;
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	if (fd >= 0 || errno != EAFNOSUPPORT || !config->pod_cidr_v6.length)
		return 0;
	snprintf(message, size,
		 "this kernel has no IPv6 (ipv6.disable=1 on its command line?): the IPv6 range of "
		 "--pod-cidr cannot be served");
	if (!config->pod_cidr_v4.length)
		return -EAFNOSUPPORT;
	snprintf(agent->families_note, sizeof(agent->families_note), "%s; pods get IPv4 only",
		 message);
	log_warning("agent", "%s", agent->families_note);
	message[0] = '\0';
	config->pod_cidr_v6 = (struct prefix){};
	config->node_ip_v6 = (struct polder_addr){};
	return 0;
}

static int start_node(struct agent *agent, char *message, size_t size)
{
	int r = check_families(agent, message, size);

	if (r < 0)
		return r;
	r = netlink_open(-1, &agent->nl);
	/* Before anything is read: what changes from now on is told. */
	if (r == 0)
		r = netlink_monitor_open(&agent->monitor);
	if (r < 0) {
		snprintf(message, size, "a netlink socket cannot be opened: %s", strerror(-r));
		return r;
	}
	r = pod_range_check(&agent->config, agent->nl, message, size);
	if (r < 0)
		return r;
	return node_discover(&agent->config, agent->nl, &agent->node, message, size);
}

static int start_datapath(struct agent *agent, char *message, size_t size)
{
	struct datapath_config constants;
	char directory[300], links[320];
	int r;

	snprintf(directory, sizeof(directory), "%s/v%d", agent->config.bpffs,
		 POLDER_LAYOUT_VERSION);
	snprintf(links, sizeof(links), "%s/links", directory);
	r = agent_find_foreign(agent, directory, message, size);
	if (r < 0)
		return r;
	r = maps_open(config_map_sizes(&agent->config), directory, &agent->maps, message, size);
	if (r < 0)
		return r;
	agent->config.max_pods = maps_get(agent->maps, MAP_PODS)->max_entries;
	r = node_datapath_config(&agent->config, agent->maps, &constants);
	if (r < 0) {
		snprintf(message, size,
			 "this network namespace's cookie cannot be read: %s; Linux 5.14 or newer "
			 "is needed",
			 strerror(-r));
		return r;
	}
	return datapath_load(agent->maps, agent->nl, config_datapath_options(&agent->config),
			     &constants, links, &agent->datapath, message, size);
}

static int start_pods(struct agent *agent, char *message, size_t size)
{
	struct pods_hooks hooks = agent_pods_hooks;
	char copies[PATH_MAX], pool[PATH_MAX];
	int r;

	hooks.data = agent;
	hooks.copies = agent_state_path(agent, "pods", copies);
	hooks.pool = agent_state_path(agent, "pool.json", pool);
	hooks.agent_id = agent->id;
	r = pods_open(&agent->config, agent->nl, &hooks, &agent->pods);
	if (r == -EPROTONOSUPPORT)
		snprintf(message, size,
			 "%s/pods has a record of a newer polderd: start that one, or delete the "
			 "pods with it first; nothing has been changed",
			 agent->config.run_dir);
	else if (r < 0)
		snprintf(message, size, "the records of pods cannot be read: %s", strerror(-r));
	return r;
}

/* What became of the sizes that were asked for. */
static void log_sizes(const struct agent *agent)
{
	uint32_t before;

	for (int i = 0; i < MAP_COUNT; i++) {
		const struct map_info *map = maps_get(agent->maps, i);

		unsigned long long entries = maps_entries(i, map->max_entries),
				   wanted = maps_entries(i, map->wanted);

		if (maps_was_moved(agent->maps, i, &before) && before != map->max_entries &&
		    maps_has_own_size(i))
			log_info("maps", "map %s: resized to %llu elements from %llu", map->name,
				 entries, (unsigned long long)maps_entries(i, before));
		if (map->wanted && map->needed)
			log_warning("maps",
				    "map %s: keeps its size of %llu elements: %llu is configured, "
				    "but %llu are in use",
				    map->name, entries, wanted,
				    (unsigned long long)maps_entries(i, map->needed));
		else if (map->wanted)
			log_warning("maps",
				    "map %s: has %llu elements: an earlier resize was finished "
				    "first; restart polderd again for %llu",
				    map->name, entries, wanted);
	}
}

/* Every link gets the programs that are on the new maps. Pods whose programs cannot be attached are
 * cut off. */
static int attach_all(struct agent *agent, char *message, size_t size)
{
	int r = agent_attach_uplinks(agent, message, size);
	size_t i;

	for (i = 0; i < pods_count(agent->pods); i++)
		if (!pods_at(agent->pods, i)->gone &&
		    !datapath_switch_pod(agent->datapath, pods_at(agent->pods, i)->ifindex))
			(void)agent_attach_pod(agent, i);
	return r < 0 ? r : datapath_attach_sockets(agent->datapath, message, size);
}

/* Maps of other sizes than those that are pinned: before anything else reads or writes them. */
static int start_sizes(struct agent *agent, char *message, size_t size)
{
	uint64_t began = uv_hrtime(), held, switched;
	size_t left_out = 0;
	int r;

	log_sizes(agent);
	if (!maps_is_moving(agent->maps))
		return 0;
	r = maps_move_begin(agent->maps, &left_out, message, size);
	if (r < 0)
		return r;
	held = uv_hrtime();
	r = attach_all(agent, message, size);
	switched = uv_hrtime();
	if (r == 0)
		r = maps_move_end(agent->maps, message, size);
	if (r < 0)
		return r;
	if (left_out)
		log_warning("maps", "%zu flow entries did not fit in the resized flow table",
			    left_out);
	log_info("maps",
		 "maps resized: %.1f ms to copy, %.1f ms to switch links, %.1f ms to merge what "
		 "changed meanwhile",
		 (double)(held - began) / 1e6, (double)(switched - held) / 1e6,
		 (double)(uv_hrtime() - switched) / 1e6);
	return 0;
}

/* The state of before: map contents, attached pods. Nothing is changed before the sources are
 * complete. */
static int start_state(struct agent *agent, char *message, size_t size)
{
	char cause[CAUSE_MAX];
	struct reconciler_env env;
	size_t i;
	int r;

	if (asprintf(&agent->state, "%s/policy.json", agent->config.run_dir) < 0) {
		agent->state = NULL;
		return -ENOMEM;
	}
	env = agent_reconciler_env(agent);
	r = agent_start_peers(agent);
	env.peers = agent->peers;
	if (r == 0)
		r = reconciler_open(&env, &agent->reconciler);
	/* Behind it: routes follow what is in force. */
	if (r == 0)
		r = agent_start_routes(agent);
	if (r == 0)
		r = agent_start_sockets(agent);
	for (i = 0; r == 0 && i < pods_count(agent->pods); i++) {
		const struct local_pod *pod = pods_at(agent->pods, i);

		r = reconciler_attach(agent->reconciler, pod);
		if (r == 0 && !pod->gone)
			(void)agent_attach_pod(agent, i);
	}
	if (r < 0)
		snprintf(message, size,
			 "the state of maps, pods and the run directory cannot be read: %s",
			 cause_of(r, cause));
	return r;
}

static bool is_in_use(int ifindex, void *data)
{
	const struct agent *agent = data;

	if (agent->tunnel.ifindex && agent->tunnel.ifindex == ifindex)
		return true;
	for (size_t i = 0; i < agent->node.uplink_count; i++)
		if (agent->node.uplinks[i].ifindex == ifindex)
			return true;
	for (size_t i = 0; i < pods_count(agent->pods); i++)
		if (pods_at(agent->pods, i)->ifindex == ifindex)
			return !pods_at(agent->pods, i)->gone;
	return false;
}

static int start_attachments(struct agent *agent, char *message, size_t size)
{
	int r = agent_attach_uplinks(agent, message, size);

	if (r == 0)
		r = datapath_attach_sockets(agent->datapath, message, size);
	if (r == 0) {
		agent_tell_sockets(agent);
		agent_measure(agent);
		agent_note_processes(agent);
		datapath_prune_pins(agent->datapath, is_in_use, agent);
		/* A foreign XDP program has kept ours away. */
		if (agent_replace_foreign(agent) > 0)
			r = agent_attach_uplinks(agent, message, size);
	}
	agent_apply_rules(agent);
	return r;
}

static int start_flow_export(struct agent *agent)
{
	static const uint32_t masks[] = {[EXPORT_ALL] = EVENT_MASK_DROPS | EVENT_MASK_FLOWS,
					 [EXPORT_DROPS] = EVENT_MASK_DROPS,
					 [EXPORT_FLOWS] = EVENT_MASK_FLOWS};
	const struct config *config = &agent->config;
	const struct flow_export_options options = {.target = config->flow_export,
						    .mask = masks[config->flow_export_events],
						    .per_second = config->flow_export_rate,
						    .most_bytes = (uint64_t)config->flow_export_size
								  << 20};

	return flow_export_open(agent->loop, agent->events, &agent->event_names, &options,
				&agent->flow_export);
}

static int start_flow_history(struct agent *agent)
{
	agent->recorder = (struct flow_recorder){
		.env = {.loop = agent->loop,
			.events = agent->events,
			.flows = agent->show.flows,
			.maps = agent->maps,
			.who = show_flow_end,
			.service = agent->event_names.service,
			.data = &agent->show},
		.most_bytes = (uint64_t)agent->config.flow_history << 20,
		.age_ns = agent->config.flow_history_age * 60000000000ull,
		.path = agent->config.flow_history_file,
	};
	return agent->recorder.most_bytes ? flow_recorder_begin(&agent->recorder) : 0;
}

static void on_alert_object(const struct object *object, bool deleted, void *data)
{
	struct agent *agent = data;

	if (agent->alerts)
		alert_watch_object(agent->alerts, object, deleted);
}

static void on_processes_wanted(void *data)
{
	agent_note_processes(data);
}

static int start_alerts(struct agent *agent)
{
	const struct alert_watch_env env = {.flows = agent->recorder.env,
					    .store = agent->store,
					    .processes_wanted = on_processes_wanted,
					    .wanted_data = agent,
					    .sockets = {show_places, show_listeners, show_process}};
	int r = alert_watch_open(&env, &agent->alerts);

	if (r == 0)
		store_listen(agent->store, on_alert_object, agent);
	return r;
}

/* Four times what a reader may ask for again: most are of no interest to him. */
#define EVENTS_KEPT (4 * EVENTS_REPLAY_MAX)

/* The flow table's collector, the programs' events, and who is told about them. */
static int start_observation(struct agent *agent, char *message, size_t size)
{
	int r = flows_start(reconciler_flows(agent->reconciler), agent->loop);

	agent->show = (struct show_sources){
		.loop = agent->loop,
		.started_ns = uv_hrtime(),
		.config = &agent->config,
		.node = &agent->node,
		.peers = agent->peers,
		.stray_pods = agent->stray_pods,
		.tunnel = &agent->tunnel,
		.routes = agent->routes,
		.store = agent->store,
		.api_source = &agent->api_source,
		.balancers = &agent->balancers,
		.announce = &agent->announce,
		.pods = agent->pods,
		.reconciler = agent->reconciler,
		.services = reconciler_services(agent->reconciler),
		.policy_sync = reconciler_policy(agent->reconciler),
		.maps = agent->maps,
		.datapath = agent->datapath,
		.flows = reconciler_flows(agent->reconciler),
		.wait_method = maps_wait_method(agent->maps),
		.process_names = process_names_new(),
		.socket_ends = agent->socket_ends,
		.cni = &agent->cni,
		.reconcile_durations = &agent->reconcile_durations,
		.progress = agent_progress,
		.data = agent,
	};
	show_event_names(&agent->show, &agent->event_names);
	if (r == 0 && !agent->show.process_names)
		r = -ENOMEM;
	if (r == 0)
		r = events_open(agent->loop, agent->maps, &agent->event_names, &agent->events);
	if (r == 0)
		r = events_keep(agent->events, EVENTS_KEPT);
	if (r == 0)
		r = drop_log_open(agent->loop, agent->maps, agent->events, &agent->event_names,
				  &agent->drop_log);
	if (r == 0)
		r = kernel_drops_open(agent->loop, agent->datapath, &agent->event_names,
				      &agent->kernel_drops);
	if (r == 0 && agent->config.flow_export)
		r = start_flow_export(agent);
	if (r == 0)
		r = start_flow_history(agent);
	if (r == 0)
		r = start_alerts(agent);
	if (r == 0)
		r = agent_start_service_events(agent);
	agent->show.alerts = agent->alerts;
	agent->show.recorder = &agent->recorder;
	agent->show.events = agent->events;
	agent->show.flow_export = agent->flow_export;
	agent->show.drop_log = agent->drop_log;
	agent->show.kernel_drops = agent->kernel_drops;
	agent->show.event_names = &agent->event_names;
	if (r < 0)
		snprintf(message, size, "flows and events cannot be read: %s", strerror(-r));
	return r;
}

/* Requests are accepted last, when everything can be answered. */
static int start_services(struct agent *agent, char *message, size_t size)
{
	const struct capture_env capture_env = {&agent->show, agent_attach_again, agent};
	int r = agent_watch_network(agent);

	if (r == 0)
		r = agent_watch_lock(agent);
	if (r == 0)
		r = cni_queue_new(agent->loop, agent->config.socket, agent_cni_finish, agent,
				  &agent->cni_queue);
	if (r < 0) {
		snprintf(message, size, "%s", strerror(-r));
		return r;
	}
	r = control_server_new(agent->loop, agent->config.socket, &agent->control);
	if (r < 0) {
		snprintf(message, size, "control socket %s: %s", agent->config.socket,
			 strerror(-r));
		return r;
	}
	agent->show.control = agent->control;
	r = agent_register_requests(agent);
	if (r == 0)
		r = show_register(agent->control, &agent->show);
	if (r == 0)
		r = explain_register(agent->control, &agent->show);
	if (r == 0)
		r = dry_run_register(agent->control, &agent->show);
	if (r == 0)
		r = capture_register(agent->control, &capture_env, &agent->capture);
	if (r == 0)
		r = agent_start_http(agent, message, size);
	return r;
}

int agent_start(struct agent *agent, uv_loop_t *loop)
{
	static int (*const stages[])(struct agent * agent, char *message, size_t size) = {
		agent_start_threads,  agent_lock,	   agent_open_state,  agent_find_ranges,
		start_node,	      start_datapath,	   start_pods,	      start_sizes,
		start_state,	      start_attachments,   start_observation, start_services,
		agent_start_announce, agent_start_sources,
	};
	char message[MESSAGE_MAX] = "";
	size_t i;
	int r;

	agent->loop = loop;
	agent->store = store_new();
	if (!agent->store)
		return -ENOMEM;
	sysctl_use_directory(agent->config.sysctl_dir);
	agent_reconcile_start(agent);
	agent_service_start(agent);
	for (i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		r = stages[i](agent, message, sizeof(message));
		if (r == -ECANCELED && agent->stopping)
			return r;
		if (r < 0) {
			log_error("agent", "cannot start: %s", message[0] ? message : strerror(-r));
			return r;
		}
	}
	return 0;
}

static void close_handle(uv_handle_t *handle, void *data)
{
	(void)data;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

void agent_stop(struct agent *agent)
{
	agent_cancel_adds(agent);
	agent_attach_finish(agent);
	/* What is not pinned would end with this process. */
	agent_repair_pins(agent);
	ui_free(agent->ui);
	agent->ui = NULL;
	control_server_free(agent->control);
	agent->control = NULL;
	http_server_free(agent->http);
	http_server_free(agent->health);
	health_ports_free(agent->health_ports);
	agent->health_ports = NULL;
	agent_stop_sources(agent);
	agent_stop_announce(agent);
	alert_watch_close(TAKE_PTR(agent->alerts));
	drop_log_close(agent->drop_log);
	kernel_drops_close(agent->kernel_drops);
	flow_export_close(agent->flow_export);
	if (agent->recorder.watch && agent->recorder.most_bytes)
		flow_recorder_end(&agent->recorder);
	events_close(agent->events);
	process_names_free(agent->show.process_names);
	agent->show.process_names = NULL;
	if (agent->reconciler)
		flows_stop(reconciler_flows(agent->reconciler), NULL, NULL);
	cni_queue_free(agent->cni_queue);
	if (agent->loop)
		uv_walk(agent->loop, close_handle, NULL);
	if (agent->loop)
		uv_run(agent->loop, UV_RUN_DEFAULT);
	/* A switch that is not synced yet is finished: the next agent finds both slots alike. */
	if (agent->reconciler)
		(void)reconciler_finish(agent->reconciler);
	capture_free(agent->capture);
	socket_ends_free(agent->socket_ends);
	reconciler_close(agent->reconciler);
	pods_close(agent->pods);
	node_routes_free(agent->routes);
	peers_free(agent->peers);
	balancers_free(agent->balancers);
	service_events_free(agent->service_events);
	stray_pods_free(agent->stray_pods);
	free(agent->state);
	datapath_free(agent->datapath);
	maps_close(agent->maps);
	node_clear(&agent->node);
	netlink_monitor_close(agent->monitor);
	netlink_close(agent->nl);
	store_free(agent->store);
	free(agent->foreign);
	agent_unlock(agent);
}
