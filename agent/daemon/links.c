/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/kernel/netlink_rules_of_others.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/counters.h"
#include "agent/kernel/latency.h"
#include "agent/kernel/processes.h"
#include "agent/kernel/sock_diag.h"
#include "agent/reconcile/host_ports.h"

#define LATENCY_PRUNE_SECONDS 60

static int check_ports(const struct agent *agent, const struct local_pod *pod, char *message,
		       size_t size)
{
	return host_ports_check(reconciler_services(agent->reconciler), agent->maps, pod, message,
				size);
}

/* Who listens at a published port gets nothing there any more: it is for the administrator to say
 * who is meant. Not refused: some runtimes hold the ports that they publish by sockets. */
static void tell_listeners(struct agent *agent, const struct local_pod *pod)
{
	struct netlink *nl = NULL;
	char text[PORT_MAPPING_TEXT_MAX];
	uint32_t user;

	if (!pod->ports.count || sock_diag_open(&nl) < 0)
		return;
	for (size_t i = 0; i < pod->ports.count; i++) {
		const struct port_mapping *port = &pod->ports.items[i];

		if (sock_diag_find_listener(nl, port->proto, &port->host_ip, port->host_port,
					    &user) == 0)
			log_warning("pods",
				    "pod %s/%s: a socket of the node, of user %u, has %s as well: "
				    "it gets nothing there while the port is published for the pod",
				    pod->namespace, pod->name, user, port_mapping_text(port, text));
	}
	netlink_close(nl);
}

/* A pod that is being connected: programs and map entries before its link is up. */
static int connect_pod(const struct local_pod *pod, char *message, size_t size, void *data)
{
	struct agent *agent = data;
	int r;

	if (!agent_is_synced(agent)) {
		snprintf(message, size,
			 "the objects have not been read yet; try again in a moment");
		return -EAGAIN;
	}
	r = host_ports_conflict(reconciler_services(agent->reconciler), pod, message, size);
	if (r < 0)
		return r;
	tell_listeners(agent, pod);
	r = reconciler_attach(agent->reconciler, pod);
	if (r == 0)
		r = agent_attach_begin(agent, pod->ifindex, message, size);
	else
		snprintf(message, size, "%s", strerror(-r));
	if (r < 0)
		return r;
	r = agent_reconcile(agent);
	if (r < 0) {
		snprintf(message, size, "its policies cannot be applied: %s", strerror(-r));
		return r;
	}
	r = check_ports(agent, pod, message, size);
	return r == -ENOENT ? -ENOSPC : r;
}

/* The run of connect_pod() has left policy for later if the slot that it would write may still be
 * read: then it comes with the end of the grace period that runs. */
static int pod_in_force(const struct local_pod *pod, char *message, size_t size, void *data)
{
	struct agent *agent = data;
	struct policy_sync *policy = reconciler_policy(agent->reconciler);
	const char *refused;
	int r = agent_attach_result(agent, pod->ifindex, message, size);

	if (r < 0)
		return r == -EINPROGRESS ? -EAGAIN : r;
	if (!policy_sync_pod_written(policy, pod)) {
		snprintf(message, size, "its policies did not come in force in time");
		return -EAGAIN;
	}
	refused = policy_sync_pod_refused(policy, pod);
	if (!refused)
		return 0;
	snprintf(message, size, "%s", refused);
	return -ENOSPC;
}

static void disconnect_pod(const struct local_pod *pod, void *data)
{
	struct agent *agent = data;

	agent_attach_cancel(agent, pod->ifindex);
	datapath_detach_pod(agent->datapath, pod->ifindex);
	reconciler_detach(agent->reconciler, pod);
}

/* -ENOENT: they are not what they should be. Else it is not known, which is no reason to make the
 * pod anew. */
static int check_pod(const struct local_pod *pod, char *message, size_t size, void *data)
{
	struct agent *agent = data;
	char cause[CAUSE_MAX];
	int r = datapath_pod_attached(agent->datapath, pod->ifindex);

	if (r == -ENOENT)
		snprintf(message, size, "link %s: Polder's programs are not attached to it",
			 pod->link);
	else if (r < 0)
		snprintf(message, size, "link %s: its programs cannot be looked at: %s", pod->link,
			 cause_of(r, cause));
	if (r < 0)
		return r;
	r = policy_sync_pod_in_force(reconciler_policy(agent->reconciler), pod);
	if (r == -ENOENT)
		snprintf(message, size, "pod %s/%s: its map entries are missing or changed",
			 pod->namespace, pod->name);
	else if (r < 0)
		snprintf(message, size, "pod %s/%s: its map entries cannot be read: %s",
			 pod->namespace, pod->name, cause_of(r, cause));
	return r < 0 ? r : check_ports(agent, pod, message, size);
}

static int recall_pod(int ifindex, struct pods_addresses *ret, void *data)
{
	const struct agent *agent = data;
	uint32_t index = (uint32_t)ifindex & (agent->config.max_pods - 1);
	struct pod_entry entry;
	int r = maps_find(agent->maps, MAP_PODS, &index, &entry);

	if (r < 0 || entry.ifindex != (uint32_t)ifindex)
		return r < 0 ? r : -ENOENT;
	*ret = (struct pods_addresses){.mtu = entry.mtu};
	memcpy(ret->mac, entry.mac, sizeof(ret->mac));
	memcpy(ret->ipv6.bytes, entry.ipv6_be, sizeof(ret->ipv6.bytes));
	if (entry.ipv4_be)
		ret->ipv4 = (struct polder_addr){.words_be = {0, 0, htonl(0xffff), entry.ipv4_be}};
	return addr_is_zero(&ret->ipv4) && addr_is_zero(&ret->ipv6) ? -ENOENT : 0;
}

static int pod_mac_changed(const struct local_pod *pod, void *data)
{
	struct agent *agent = data;

	return policy_sync_pod_mac(reconciler_policy(agent->reconciler), pod);
}

const struct pods_hooks agent_pods_hooks = {
	.recall = recall_pod,
	.connect = connect_pod,
	.in_force = pod_in_force,
	.disconnect = disconnect_pod,
	.check = check_pod,
	.mac_changed = pod_mac_changed,
};

/* ---------------------------------------------------------------- MAC addresses */

/* Plugins behind ours in the list run at once. By the end the container has begun. */
#define MAC_PLUGINS_S	     3
#define MAC_YOUNG_S	     20
#define MAC_INTERVAL_MS	     100
#define MAC_LATE_INTERVAL_MS 1000

static void on_mac_timer(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	int64_t age = pods_follow_macs(agent->pods, MAC_YOUNG_S);

	if (age < 0)
		uv_timer_stop(timer);
	else if (age > MAC_PLUGINS_S)
		uv_timer_set_repeat(timer, MAC_LATE_INTERVAL_MS);
}

void agent_watch_macs(struct agent *agent)
{
	uv_timer_start(&agent->mac_timer, on_mac_timer, MAC_INTERVAL_MS, MAC_INTERVAL_MS);
}

/* Later changes are seen by what is dropped: a pod that sends under another address. */
static void follow_macs(struct agent *agent)
{
	static struct drop_counter drops[DROPS_COUNT];
	uint64_t count;

	if (counters_read_drops(maps_fd(agent->maps, MAP_DROPS), drops) < 0)
		return;
	count = drops[REASON_SOURCE_MAC * DROP_HOOKS + DROP_FROM_POD].packets;
	if (count != agent->mac_drops)
		(void)pods_follow_macs(agent->pods, 0);
	agent->mac_drops = count;
}

/* A pod whose programs cannot be attached is cut off until they can. */
int agent_attach_pod(struct agent *agent, size_t index)
{
	const struct local_pod *pod = pods_at(agent->pods, index);
	bool held = pod->held_down;
	char message[256] = "";
	int r = datapath_attach_pod(agent->datapath, pod->ifindex, message, sizeof(message)), down;

	if (r == 0) {
		pods_let_up(agent->pods, index);
		if (held)
			log_warning(
				"links",
				"pod %s/%s: programs are attached to %s again; the link is set up",
				pod->namespace, pod->name, pod->link);
		return 0;
	}
	down = pods_hold_down(agent->pods, index, message);
	if (down < 0)
		log_error("links", "pod %s/%s: %s; and %s cannot be set down: %s", pod->namespace,
			  pod->name, message, pod->link, strerror(-down));
	else if (!held)
		log_error("links", "pod %s/%s: %s; %s stays down until they can be attached",
			  pod->namespace, pod->name, message, pod->link);
	return r;
}

void agent_attach_again(void *data)
{
	struct agent *agent = data;
	char message[256] = "";

	for (size_t i = 0; i < pods_count(agent->pods); i++) {
		int ifindex = pods_at(agent->pods, i)->ifindex;

		if (!agent_is_attaching(agent, ifindex) &&
		    !datapath_switch_pod(agent->datapath, ifindex))
			(void)agent_attach_pod(agent, i);
	}
	/* Failures are told where they happen, and looked after by agent_repair(). */
	(void)agent_attach_uplinks(agent, message, sizeof(message));
	if (agent->tunnel.ifindex && datapath_attach_tunnel(agent->datapath, agent->tunnel.ifindex,
							    message, sizeof(message)) < 0)
		log_error("links", "%s", message);
}

static void repair_pod(struct agent *agent, size_t index)
{
	const struct local_pod *pod = pods_at(agent->pods, index);
	bool held = pod->held_down;

	if (agent_is_attaching(agent, pod->ifindex))
		return;
	/* What could not be asked is asked again the next time: nothing says that they are missing.
	 */
	if (!held && datapath_pod_attached(agent->datapath, pod->ifindex) != -ENOENT)
		return;
	if (agent_attach_pod(agent, index) == 0 && !held)
		log_warning("links", "pod %s/%s: programs were missing from %s; attached again",
			    pod->namespace, pod->name, pod->link);
}

/* Somebody's rules that pods' packets would follow if the node's stack forwarded them. */
static void tell_passed_rules(struct agent *agent, const struct prefix *ranges, size_t count)
{
	char note[sizeof(agent->passed_note)] = "", more[32] = "";
	struct passed_rules passed = {};

	/* What cannot be asked is as it was. */
	if (netlink_passed_rules(agent->nl, ranges, count, &passed) < 0)
		return;
	if (passed.count > 1)
		snprintf(more, sizeof(more), " and %zu more", passed.count - 1);
	if (passed.count)
		snprintf(note, sizeof(note),
			 "rule %s%s does not hold for what pods send: that leaves by the uplink, "
			 "and with the source, of table main; to have it otherwise, put the routes "
			 "into table main (docs/operations.md, The node's network)",
			 passed.first, more);
	if (note[0] && strcmp(note, agent->passed_note) != 0)
		log_warning("network", "routing %s", note);
	memcpy(agent->passed_note, note, sizeof(note));
}

/* What closes the pods' way through the node's stack when programs are gone. */
void agent_apply_rules(struct agent *agent)
{
	const struct config *config = &agent->config;
	const bool before = agent->rules_note[0];
	struct prefix ranges[2];
	size_t count = 0, changed = 0;
	int r;

	if (config->pod_cidr_v4.length)
		ranges[count++] = config->pod_cidr_v4;
	if (config->pod_cidr_v6.length)
		ranges[count++] = config->pod_cidr_v6;
	tell_passed_rules(agent, ranges, count);
	r = netlink_stack_rules_apply(agent->nl, ranges, count, config->stack_mark, &changed);
	if (r == 0) {
		if (changed && agent_ready(agent))
			log_warning("links", "routing rules of Polder (protocol 80) were changed "
					     "by others; restored");
		agent->rules_note[0] = '\0';
		return;
	}
	snprintf(agent->rules_note, sizeof(agent->rules_note), "the rules cannot be set: %s%s%s",
		 strerror(-r), netlink_error(agent->nl)[0] ? ": " : "", netlink_error(agent->nl));
	if (!before)
		log_error("links", "routing rules that isolate pods without programs: %s",
			  agent->rules_note);
}

/* Each state of the socket programs once, when it begins. */
void agent_tell_sockets(struct agent *agent)
{
	const struct datapath_features *features = datapath_features(agent->datapath);

	if (strcmp(agent->hooks_note, features->socket_note) == 0)
		return;
	snprintf(agent->hooks_note, sizeof(agent->hooks_note), "%s", features->socket_note);
	if (features->socket_held)
		log_warning("links", "%s; retried every 5 s", features->socket_note);
	else if (features->socket_programs)
		log_info("links", "programs of sockets are attached%s%s",
			 features->socket_note[0] ? ": " : "", features->socket_note);
}

static void repair_sockets(struct agent *agent)
{
	char message[256] = "";
	bool before = agent->sockets_failed;

	agent->sockets_failed =
		datapath_attach_sockets(agent->datapath, message, sizeof(message)) < 0;
	if (agent->sockets_failed && !before)
		log_error("links", "%s; retried every 5 s", message);
	if (!agent->sockets_failed)
		agent_tell_sockets(agent);
}

/* Connections are measured if that is wanted, and what was measured of pods and Services that are
 * no more is forgotten. */
void agent_measure(struct agent *agent)
{
	char message[sizeof(agent->latency_note)] = "";

	if (latency_want(agent->datapath, agent->config.latency, message, sizeof(message)) < 0 &&
	    strcmp(message, agent->latency_note) != 0)
		log_warning("links", "connections are not measured: %s; retried every 5 s",
			    message);
	snprintf(agent->latency_note, sizeof(agent->latency_note), "%s", message);
	/* To name all Services takes a while, where there are many. First after a start: what went
	 * before may have had a number that is given again. */
	if (agent->config.latency && agent_is_synced(agent) &&
	    (!agent->latency_pruned ||
	     agent->seconds - agent->latency_pruned >= LATENCY_PRUNE_SECONDS)) {
		show_latency_prune(&agent->show);
		agent->latency_pruned = agent->seconds;
	}
}

bool agent_wants_processes(const struct agent *agent)
{
	return agent->config.processes ||
	       (agent->alerts && alert_watch_wants_processes(agent->alerts));
}

/* Who opens connections is noted if that is wanted: by the configuration, or by an alert. Until all
 * is read what an earlier agent has noted may still be. */
void agent_note_processes(struct agent *agent)
{
	char message[sizeof(agent->processes_note)] = "";

	if (!agent->ready && !agent_wants_processes(agent))
		return;
	if (processes_want(agent->datapath, agent_wants_processes(agent), message,
			   sizeof(message)) < 0 &&
	    strcmp(message, agent->processes_note) != 0)
		log_warning("links", "processes are not noted: %s; retried every 5 s", message);
	snprintf(agent->processes_note, sizeof(agent->processes_note), "%s", message);
}

/* What others removed is put back: links' programs, routes, neighbours, map entries. */
void agent_repair(struct agent *agent)
{
	struct link_info link;
	size_t i;

	for (i = 0; i < pods_count(agent->pods); i++) {
		const struct local_pod *pod = pods_at(agent->pods, i);

		if (netlink_link_get_index(agent->nl, pod->ifindex, &link) == -ENODEV) {
			pods_link_gone(agent->pods, pod->ifindex);
			agent_links_changed(agent);
		} else if (!pod->gone) {
			repair_pod(agent, i);
			if (agent_is_synced(agent) &&
			    policy_sync_pod_in_force(reconciler_policy(agent->reconciler), pod) ==
				    -ENOENT)
				reconciler_refresh(agent->reconciler, false);
		}
	}
	follow_macs(agent);
	(void)pods_look_for_queues(agent->pods, NULL);
	pods_repair(agent->pods);
	agent_apply_rules(agent);
	repair_sockets(agent);
	agent_measure(agent);
	agent_note_processes(agent);
	agent_repair_pins(agent);
	agent_repair_run_dir(agent);
	agent_repair_state(agent);
	agent_repair_uplinks(agent);
	agent_install_cni_config(agent);
}
