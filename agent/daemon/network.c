/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's network, followed: the kernel's messages only say that something has changed; it is
 * then read as a whole, compared, and what differs is applied. Messages that come together share
 * one reading, and reading takes a tenth of the loop's time at most.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/daemon/agent.h"

#define RESCAN_LEAST_MS 2
#define RESCAN_MOST_MS	2000
#define RESCAN_PARTS	10 /* of the time, one for reading */
#define RESCAN_RETRY_MS 1000

/* ---------------------------------------------------------------- what is told */

static void tell_uplink(const struct node_uplink *uplink)
{
	if (uplink->state == UPLINK_READY)
		log_info("network", "uplink %s: link %d, MTU %u", uplink->name, uplink->ifindex,
			 uplink->mtu);
	else
		log_warning("network", "uplink %s is %s: %s", uplink->name,
			    uplink_state_names[uplink->state], uplink->reason);
}

static const struct node_uplink *told_uplink(const struct agent *agent, const char *name)
{
	for (size_t i = 0; i < agent->told.uplink_count; i++)
		if (strcmp(agent->told.uplinks[i].name, name) == 0)
			return &agent->told.uplinks[i];
	return NULL;
}

static bool is_uplink(const struct node *node, const char *name)
{
	for (size_t i = 0; i < node->uplink_count; i++)
		if (strcmp(node->uplinks[i].name, name) == 0)
			return true;
	return false;
}

/* Each state once, when it begins. */
static void tell_network(struct agent *agent)
{
	static const char *const families[2] = {"IPv4", "IPv6"};
	const struct node *node = &agent->node;

	for (size_t i = 0; i < node->uplink_count; i++) {
		const struct node_uplink *told = told_uplink(agent, node->uplinks[i].name);

		if (!told || told->state != node->uplinks[i].state ||
		    told->ifindex != node->uplinks[i].ifindex)
			tell_uplink(&node->uplinks[i]);
	}
	for (size_t i = 0; i < agent->told.uplink_count; i++)
		if (!is_uplink(node, agent->told.uplinks[i].name))
			log_info("network", "%s is no uplink any more: its programs are removed",
				 agent->told.uplinks[i].name);
	for (int i = 0; i < 2; i++) {
		const char *reason = node->exits[i].reason, *before = agent->told.exits[i].reason;

		if (strcmp(reason, before) == 0)
			continue;
		if (*reason)
			log_warning("network", "%s: %s", families[i], reason);
		else
			log_info("network", "%s: there is a way out", families[i]);
	}
	if (strcmp(node->range_met, agent->told.range_met) != 0) {
		if (*node->range_met)
			log_warning("network", "%s; pods go on", node->range_met);
		else
			log_info("network", "the pods' ranges meet nothing of the host any more");
	}
	memcpy(agent->told.range_met, node->range_met, sizeof(node->range_met));
	memcpy(agent->told.uplinks, node->uplinks, sizeof(node->uplinks));
	memcpy(agent->told.exits, node->exits, sizeof(node->exits));
	agent->told.uplink_count = node->uplink_count;
}

/* ---------------------------------------------------------------- what is applied */

static void tell_full(struct agent *agent, bool full)
{
	if (!full)
		agent->node.egress_full = 0;
	else if (!agent->node.egress_full) {
		agent->node.egress_full = time(NULL);
		log_error("network", "%s", EGRESS_FULL_TEXT);
	}
}

/* Flows are re-evaluated between the new places and the end of the old ones. Without room for all
 * the rest is served. */
static int write_maps(struct agent *agent, char *message, size_t size)
{
	bool changed = false;
	int r = node_write_maps(&agent->node, agent->maps, &changed);

	if (changed)
		maps_move_generation(agent->maps);
	tell_full(agent, r == -E2BIG);
	if (r == 0 || r == -E2BIG)
		r = node_release_hops(&agent->node, agent->maps);
	agent->ways_owed = r < 0;
	if (r < 0)
		snprintf(message, size,
			 "maps next_hops and egress_routes: the ways out cannot be written: %s",
			 strerror(-r));
	return r;
}

/* from_wire does the same without it, so that is no problem. */
static void tell_xdp(struct node_uplink *uplink, const char *note)
{
	if (*note && strcmp(note, uplink->xdp_note) != 0)
		log_info("network", "uplink %s: %s; from_wire does the same", uplink->name, note);
	snprintf(uplink->xdp_note, sizeof(uplink->xdp_note), "%s", note);
}

/* One that cannot be attached keeps no other from being served. 0 or the first error. */
static int attach_programs(struct agent *agent, char *message, size_t size)
{
	int uplinks[CONFIG_MAX_UPLINKS], first = 0;
	size_t count = 0;

	for (size_t i = 0; i < agent->node.uplink_count; i++) {
		struct node_uplink *uplink = &agent->node.uplinks[i];
		char why[sizeof(uplink->attach_error)] = "";
		int r;

		if (!uplink->ifindex)
			continue;
		uplinks[count++] = uplink->ifindex;
		r = datapath_attach_uplink(agent->datapath, uplink->ifindex, &uplink->xdp, why,
					   sizeof(why));
		if (r == 0) {
			tell_xdp(uplink, why);
			why[0] = '\0';
		} else if (strcmp(why, uplink->attach_error) != 0) {
			log_error("network", "uplink %s: %s", uplink->name, why);
		}
		memcpy(uplink->attach_error, why, sizeof(why));
		if (r < 0 && first == 0) {
			first = r;
			snprintf(message, size, "uplink %s: %s", uplink->name, why);
		}
	}
	datapath_keep_uplinks(agent->datapath, uplinks, count);
	return first;
}

int agent_attach_uplinks(struct agent *agent, char *message, size_t size)
{
	int r = write_maps(agent, message, size);

	return r < 0 ? r : attach_programs(agent, message, size);
}

void agent_repair_uplinks(struct agent *agent)
{
	char message[256];

	agent_follow_peers(agent);
	(void)peers_check_neighbours(agent->peers, agent->nl);
	/* Each error is told once, where it happens. */
	if (!agent->ways_owed || write_maps(agent, message, sizeof(message)) == 0)
		(void)attach_programs(agent, message, sizeof(message));
}

static void apply(struct agent *agent, unsigned int changes)
{
	char message[256] = "";

	tell_network(agent);
	if (agent_attach_uplinks(agent, message, sizeof(message)) < 0)
		log_error("network", "%s", message);
	agent_follow_peers(agent);
	if (changes & NODE_UPLINKS)
		node_routes_distrust(agent->routes);
	if (changes & NODE_ADDRESSES)
		reconciler_refresh(agent->reconciler, true);
}

/* ---------------------------------------------------------------- when */

static void rescan_in(struct agent *agent, uint64_t ms);

static void on_rescan(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	uint64_t began = uv_hrtime();
	unsigned int changes = 0;
	int r = node_follow(&agent->config, agent->nl, &agent->node, &changes);

	agent->rescans++;
	agent->rescan_end_ns = uv_hrtime();
	agent->rescan_ns = agent->rescan_end_ns - began;
	if (r < 0) {
		if (!agent->rescan_failed)
			log_error("network",
				  "links, addresses and routes cannot be read: %s; what was known "
				  "stays in force, next attempt in %d s",
				  strerror(-r), RESCAN_RETRY_MS / 1000);
		agent->rescan_failed = true;
		rescan_in(agent, RESCAN_RETRY_MS);
		return;
	}
	agent->rescan_failed = false;
	if (agent->tunnel_owed && !changes)
		agent_follow_peers(agent);
	if (changes)
		apply(agent, changes);
	else
		tell_network(agent);
}

static void rescan_in(struct agent *agent, uint64_t ms)
{
	if (!uv_is_active((uv_handle_t *)&agent->rescan_timer))
		uv_timer_start(&agent->rescan_timer, on_rescan, ms, 0);
}

/* The first of many messages is heeded at once, the others together. */
static void rescan_soon(struct agent *agent)
{
	uint64_t pause = agent->rescan_ns * RESCAN_PARTS, now = uv_hrtime(), due, ms;

	if (pause < RESCAN_LEAST_MS * 1000000ull)
		pause = RESCAN_LEAST_MS * 1000000ull;
	if (pause > RESCAN_MOST_MS * 1000000ull)
		pause = RESCAN_MOST_MS * 1000000ull;
	due = agent->rescan_end_ns + pause;
	ms = due > now ? (due - now + 999999) / 1000000 : 0;
	rescan_in(agent, ms);
}

/* Routes by links that are not known are pods', or their link has been told of before them.
 * Polder's own to other nodes change nothing where a wider one leads the same way. */
static bool route_matters(const struct agent *agent, const struct route_info *route)
{
	const struct node_egress *way;

	if (route->ifindex && !network_link(&agent->node.network, route->ifindex))
		return false;
	if (route->protocol != NETLINK_ROUTE_PROTOCOL)
		return true;
	way = egress_routes_find(agent->node.egress, agent->node.egress_count,
				 &route->destination.addr);
	return !way || way->ifindex != route->ifindex ||
	       way->prefix.length >= route->destination.length;
}

static void on_event(const struct netlink_event *event, void *data)
{
	struct agent *agent = data;

	node_routes_heard(agent->routes, event);
	if (event->change <= NETLINK_LINK_GONE && strcmp(event->link.name, TUNNEL_NAME) == 0) {
		agent->tunnel_owed = true;
		rescan_soon(agent);
	}
	switch (event->change) {
	case NETLINK_LINK_GONE:
		pods_link_gone(agent->pods, event->link.ifindex);
		agent_links_changed(agent);
		if (network_link(&agent->node.network, event->link.ifindex))
			rescan_soon(agent);
		break;
	case NETLINK_LINK_NEW:
		if (!network_is_pods(&event->link))
			rescan_soon(agent);
		break;
	case NETLINK_ADDRESS:
		rescan_soon(agent);
		break;
	case NETLINK_NEIGHBOUR_GONE:
		peers_neighbour_gone(agent->peers, event->link.ifindex, &event->addr);
		break;
	case NETLINK_ROUTES:
		if (event->route && route_matters(agent, event->route))
			rescan_soon(agent);
		break;
	}
}

static void on_monitor(uv_poll_t *poll, int status, int events)
{
	struct agent *agent = poll->data;
	int r = netlink_monitor_read(agent->monitor, on_event, agent);

	(void)events;
	peers_keep_neighbours(agent->peers, agent->nl);
	/* An overrun is an error of the socket, for which libuv ends the poll; reading has taken
	 * it. */
	if (status < 0)
		(void)uv_poll_start(poll, UV_READABLE, on_monitor);
	if (r == -ENOBUFS) {
		log_warning("network",
			    "kernel messages were lost; the state of all links and routes is read "
			    "again");
		node_routes_distrust(agent->routes);
		agent_links_changed(agent);
		on_rescan(&agent->rescan_timer);
		agent_repair(agent);
	} else if (r < 0 && r != -EAGAIN) {
		log_error("network", "kernel messages cannot be read: %s", strerror(-r));
	}
}

/* Once: of an earlier agent that attached by clsact, and had other uplinks. */
static void clear_other_links(struct agent *agent)
{
	const struct network *network = &agent->node.network;

	for (size_t i = 0; i < network->link_count; i++)
		if (!is_uplink(&agent->node, network->links[i].name))
			datapath_clear_filters(agent->datapath, network->links[i].ifindex);
}

int agent_watch_network(struct agent *agent)
{
	uv_timer_init(agent->loop, &agent->rescan_timer);
	agent->rescan_timer.data = agent;
	uv_poll_init(agent->loop, &agent->monitor_poll, netlink_monitor_fd(agent->monitor));
	agent->monitor_poll.data = agent;
	clear_other_links(agent);
	tell_network(agent);
	return uv_poll_start(&agent->monitor_poll, UV_READABLE, on_monitor);
}
