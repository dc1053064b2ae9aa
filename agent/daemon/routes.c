/* SPDX-License-Identifier: Apache-2.0 */
/* Routes to other nodes: what they hear of, and when they run. */
#include <errno.h>
#include <string.h>

#include "agent/daemon/agent.h"

static void on_timer(uv_timer_t *timer);

static uint64_t now_ns(void *data)
{
	(void)data;
	return uv_hrtime();
}

static void set_timer(void *data)
{
	struct agent *agent = data;
	uint64_t due = node_routes_due(agent->routes), now = uv_hrtime(), ms;

	if (due == NODE_ROUTES_NEVER) {
		uv_timer_stop(&agent->routes_timer);
		return;
	}
	/* Never at once: what is due in the same turn of the loop would run again and again. */
	ms = due > now ? (due - now + 999999) / 1000000 : 1;
	if (!uv_is_active((uv_handle_t *)&agent->routes_timer) ||
	    uv_timer_get_due_in(&agent->routes_timer) > ms)
		uv_timer_start(&agent->routes_timer, on_timer, ms ? ms : 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	uv_timer_stop(timer);
	node_routes_run(agent->routes);
	set_timer(agent);
}

static void on_peer(const struct prefix *prefix, enum peers_change change, void *data)
{
	struct agent *agent = data;

	(void)change;
	node_routes_changed(agent->routes, prefix);
}

int agent_start_routes(struct agent *agent)
{
	const struct node_routes_env env = {
		.store = agent->store,
		.node = &agent->node,
		.peers = agent->peers,
		.nl = agent->nl,
		.now_ns = now_ns,
		.wanted = set_timer,
		.data = agent,
	};
	int r = node_routes_new(&env, &agent->routes);

	if (r < 0)
		return r;
	peers_listen(agent->peers, on_peer, agent);
	uv_timer_init(agent->loop, &agent->routes_timer);
	agent->routes_timer.data = agent;
	return 0;
}
