/* SPDX-License-Identifier: Apache-2.0 */
/* The node's sockets that are connected to endpoints which are gone: when they are looked for, in a
 * thread, and what is told of it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/kernel/counters.h"

/* Since a connect found no room it is told for so long. */
#define FULL_TOLD_NS 600000000000ull
/* How often it is looked whether the sockets in the full map are still there. */
#define FULL_DOUBT_NS 60000000000ull

static void on_due(uv_timer_t *timer);

static void set_timer(struct agent *agent)
{
	uint64_t due = socket_ends_due(agent->socket_ends), now = uv_hrtime();

	if (due == SOCKET_ENDS_NEVER)
		uv_timer_stop(&agent->sockets_timer);
	else
		uv_timer_start(&agent->sockets_timer, on_due,
			       due > now ? (due - now + 999999) / 1000000 : 0, 0);
}

static void look_in_thread(uv_work_t *work)
{
	struct agent *agent = work->data;

	agent->sockets_result = socket_look_run(&agent->sockets_look);
}

static void tell_failure(struct agent *agent)
{
	struct socket_ends_stats stats;
	char note[sizeof(agent->sockets_note)] = "";

	socket_ends_stats(agent->socket_ends, &stats);
	if (stats.failure == -EOPNOTSUPP)
		snprintf(
			note, sizeof(note),
			"this kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY): the node's own "
			"connections by a Service stay with endpoints that are gone");
	else if (stats.failure)
		snprintf(
			note, sizeof(note),
			"the node's own connections by a Service to endpoints that are gone cannot "
			"be ended: %s; retried every 5 s",
			strerror(-stats.failure));
	if (note[0] && strcmp(note, agent->sockets_note) != 0)
		log_error("services", "%s", note);
	memcpy(agent->sockets_note, note, sizeof(note));
}

static void on_looked(uv_work_t *work, int status)
{
	struct agent *agent = work->data;
	const struct socket_look *look = &agent->sockets_look;

	if (look->ended_tcp || look->ended_udp)
		log_info("services",
			 "connections of the node to endpoints that are gone are ended: %zu TCP, "
			 "%zu UDP",
			 look->ended_tcp, look->ended_udp);
	socket_ends_finish(agent->socket_ends, &agent->sockets_look,
			   status < 0 ? status : agent->sockets_result, uv_hrtime());
	tell_failure(agent);
	set_timer(agent);
}

static void on_due(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	int r;

	if (socket_ends_begin(agent->socket_ends, uv_hrtime(), &agent->sockets_look)) {
		agent->sockets_work.data = agent;
		r = uv_queue_work(agent->loop, &agent->sockets_work, look_in_thread, on_looked);
		if (r < 0)
			on_looked(&agent->sockets_work, r);
	}
	set_timer(agent);
}

static void on_lost(const struct service_key *service, const struct backend *endpoint, void *data)
{
	struct agent *agent = data;

	socket_ends_lost(agent->socket_ends, service, endpoint, uv_hrtime());
	set_timer(agent);
}

static uint64_t unknown_sockets(const struct agent *agent)
{
	__u64 unknown = 0;

	(void)counters_read_one(maps_fd(agent->maps, MAP_COUNTERS), COUNTER_SOCKETS_UNKNOWN,
				&unknown);
	return unknown;
}

int agent_start_sockets(struct agent *agent)
{
	struct services *services = reconciler_services(agent->reconciler);

	agent->socket_ends = socket_ends_new(agent->maps, services);
	if (!agent->socket_ends)
		return -ENOMEM;
	agent->unknown_sockets = unknown_sockets(agent);
	services_on_lost(services, on_lost, agent);
	uv_timer_init(agent->loop, &agent->sockets_timer);
	agent->sockets_timer.data = agent;
	return 0;
}

void agent_doubt_sockets(struct agent *agent)
{
	socket_ends_doubt(agent->socket_ends);
	set_timer(agent);
}

void agent_check_sockets(struct agent *agent)
{
	uint64_t unknown = unknown_sockets(agent), now = uv_hrtime();
	bool grew = unknown != agent->unknown_sockets;

	if (grew) {
		if (!agent->sockets_full_note[0] || now - agent->sockets_full_ns >= FULL_DOUBT_NS)
			agent_doubt_sockets(agent);
		if (!agent->sockets_full_note[0])
			log_error("services",
				  "map socket_peers is full: connections of the node by a Service "
				  "are not ended when their endpoint goes; restart polderd with a "
				  "larger --max-socket-origins");
		snprintf(agent->sockets_full_note, sizeof(agent->sockets_full_note),
			 "map socket_peers is full: %" PRIu64
			 " connections of the node by a Service are not ended when their endpoint "
			 "goes; restart polderd with a larger --max-socket-origins",
			 unknown);
		agent->sockets_full_ns = now;
	} else if (agent->sockets_full_note[0] && now - agent->sockets_full_ns >= FULL_TOLD_NS) {
		agent->sockets_full_note[0] = '\0';
	}
	agent->unknown_sockets = unknown;
}
