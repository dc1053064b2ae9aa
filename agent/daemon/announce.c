/* SPDX-License-Identifier: Apache-2.0 */
/* Load balancers' addresses: when they are worked out, and when the other nodes are listened to. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/common/cleanup.h"

/* Changes that come together are worked out together. */
#define REFRESH_MS 50
/* The node's health is looked at. */
#define LOOK_MS 1000

/* A socket of an uplink. */
struct announce_poll {
	uv_poll_t poll;
	struct agent *agent;
	int ifindex;
	enum announce_socket which;
};

static bool is_on(const struct agent *agent)
{
	return agent->balancers != NULL;
}

/* ---------------------------------------------------------------- time */

static void on_run(uv_timer_t *timer);

static void run(struct agent *agent)
{
	uint64_t now = uv_now(agent->loop), due;

	if (!agent->announce)
		return;
	due = announce_run(agent->announce, now);
	if (due == UINT64_MAX)
		uv_timer_stop(&agent->announce_timer);
	else
		uv_timer_start(&agent->announce_timer, on_run, due > now ? due - now : 0, 0);
}

static void on_run(uv_timer_t *timer)
{
	run(timer->data);
}

static void work_out(struct agent *agent)
{
	int r = balancers_update(agent->balancers);

	agent->balancers_dirty = r < 0;
	if (r < 0)
		log_error("balancer",
			  "load balancers' addresses cannot be worked out: %s; what was in force "
			  "stays, next attempt in %d s",
			  strerror(-r), LOOK_MS / 1000);
	if (agent->api_source)
		api_source_balance(agent->api_source);
}

static void on_refresh(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	uv_timer_start(timer, on_refresh, LOOK_MS, 0);
	if (!agent_is_synced(agent))
		return;
	if (agent->balancers_dirty)
		work_out(agent);
	if (agent->announce) {
		announce_refresh(agent->announce, uv_now(agent->loop));
		run(agent);
	}
}

void agent_announce_changed(struct agent *agent)
{
	if (is_on(agent) && uv_timer_get_due_in(&agent->balance_timer) > REFRESH_MS)
		uv_timer_start(&agent->balance_timer, on_refresh, REFRESH_MS, 0);
}

static void on_object(const struct object *object, bool deleted, void *data)
{
	struct agent *agent = data;

	(void)deleted;
	if (!balancers_object_changed(agent->balancers, object))
		return;
	agent->balancers_dirty = true;
	agent_announce_changed(agent);
}

/* ---------------------------------------------------------------- sockets */

static void on_readable(uv_poll_t *handle, int status, int events)
{
	const struct announce_poll *poll = handle->data;
	struct agent *agent = poll->agent;

	(void)status;
	(void)events;
	/* A timer may be overdue: what is heard counts from now on. */
	uv_update_time(agent->loop);
	announce_read(agent->announce, poll->ifindex, poll->which, uv_now(agent->loop));
	run(agent);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static struct announce_poll **poll_of(struct agent *agent, int ifindex, enum announce_socket which)
{
	struct announce_poll **room = NULL;

	for (size_t i = 0; i < AGENT_ANNOUNCE_POLLS; i++) {
		struct announce_poll **one = &agent->announce_polls[i];

		if (*one && (*one)->ifindex == ifindex && (*one)->which == which)
			return one;
		if (!*one && !room)
			room = one;
	}
	return room;
}

static void opened(const struct announce_link *link, void *data)
{
	struct agent *agent = data;

	for (enum announce_socket which = 0; which < ANNOUNCE_SOCKETS; which++) {
		struct announce_poll **place = poll_of(agent, link->ifindex, which), *poll;

		if (link->fds[which] < 0 || !place || *place)
			continue;
		poll = calloc(1, sizeof(*poll));
		if (!poll)
			continue;
		*poll = (struct announce_poll){
			.agent = agent, .ifindex = link->ifindex, .which = which};
		if (uv_poll_init(agent->loop, &poll->poll, link->fds[which]) < 0) {
			free(poll);
			continue;
		}
		poll->poll.data = poll;
		uv_poll_start(&poll->poll, UV_READABLE, on_readable);
		*place = poll;
	}
}

static void closing(const struct announce_link *link, void *data)
{
	struct agent *agent = data;

	for (enum announce_socket which = 0; which < ANNOUNCE_SOCKETS; which++) {
		struct announce_poll **place = poll_of(agent, link->ifindex, which);

		if (place && *place)
			uv_close((uv_handle_t *)&TAKE_PTR(*place)->poll, on_closed);
	}
}

/* ---------------------------------------------------------------- life */

/* Reconciles that fail are no reason to let go: what was in force still is, and they may fail on
 * all nodes for the same object. */
static bool is_well(void *data)
{
	const struct agent *agent = data;

	return agent_ready(agent) && !node_misses(&agent->node);
}

/* One port that has an endpoint here is enough. */
static bool is_local(const struct balancer_address *address, void *data)
{
	const struct agent *agent = data;
	const struct services *services = reconciler_services(agent->reconciler);
	const struct object *service =
		store_get(agent->store, OBJECT_SERVICE, address->namespace, address->name);
	struct service_view view;

	for (size_t i = 0; service && i < service->service.port_count; i++) {
		const struct service_key key = {.addr = address->addr,
						.port_be = htons(service->service.ports[i].port),
						.proto = service->service.ports[i].proto};

		if (services_find(services, &key, &view) && view.local_count)
			return true;
	}
	return false;
}

static void changed(const char *namespace, const char *name, void *data)
{
	struct agent *agent = data;

	services_look_again(reconciler_services(agent->reconciler), namespace, name);
	reconciler_services_changed(agent->reconciler);
}

static size_t more_addresses(const struct object *service, const struct polder_addr **ret,
			     void *data)
{
	const struct agent *agent = data;

	return balancers_more(agent->balancers, service, ret);
}

/* One of the first tells; the others would tell the same. */
#define TELLERS 3

static void refused(const struct object *service, const char *why, void *data)
{
	const struct agent *agent = data;
	const struct polder_addr everything = {};

	if (agent->api_source && balancers_place(agent->balancers, &everything) < TELLERS)
		api_source_tell_service(agent->api_source, service, "LoadBalancerAddress", why,
					true);
}

static int start_announce(struct agent *agent)
{
	const struct announce_env env = {.config = &agent->config,
					 .node = &agent->node,
					 .maps = agent->maps,
					 .balancers = agent->balancers,
					 .is_well = is_well,
					 .is_local = is_local,
					 .opened = opened,
					 .closing = closing,
					 .data = agent};

	return announce_new(&env, uv_now(agent->loop), &agent->announce);
}

/* What an agent held that announced addresses goes, when this one announces none. */
static int clear_announced(struct agent *agent)
{
	return agent->announce ? 0 : maps_clear(agent->maps, MAP_ANNOUNCED);
}

int agent_start_announce(struct agent *agent, char *message, size_t size)
{
	char kept[PATH_MAX];
	const struct balancers_env env = {
		.config = &agent->config,
		.store = agent->store,
		.node = &agent->node,
		.kept = agent_state_path(agent, "load-balancers.json", kept),
		.changed = changed,
		.refused = refused,
		.data = agent};
	int r = 0;

	uv_timer_init(agent->loop, &agent->balance_timer);
	uv_timer_init(agent->loop, &agent->announce_timer);
	agent->balance_timer.data = agent->announce_timer.data = agent;
	if (agent->config.pool_count)
		r = balancers_new(&env, &agent->balancers);
	if (r == 0 && is_on(agent)) {
		services_on_addresses(reconciler_services(agent->reconciler), more_addresses,
				      agent);
		store_listen(agent->store, on_object, agent);
		agent->balancers_dirty = true;
		uv_timer_start(&agent->balance_timer, on_refresh, REFRESH_MS, 0);
	}
	if (r == 0 && is_on(agent) && agent->config.announce)
		r = start_announce(agent);
	if (r == 0)
		r = clear_announced(agent);
	if (r < 0)
		snprintf(message, size, "load balancers' addresses: %s", strerror(-r));
	return r;
}

void agent_stop_announce(struct agent *agent)
{
	announce_free(TAKE_PTR(agent->announce));
}
