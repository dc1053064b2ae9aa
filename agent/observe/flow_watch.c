/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/flow_watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/kernel/counters.h"
#include "agent/observe/flow_opening.h"

#define SLICE_NS  1000000
#define SECOND_MS 1000

struct flow_watch {
	struct flow_watch_env env;
	struct flow_history *history;
	struct event_subscriber *tap;
	struct flows_cursor cursor;
	uint32_t walk;	/* that is under way, or was the last one */
	uint32_t begun; /* walks that have begun */
	bool walking, again;
	uint64_t lost;		  /* by the programs' counts, as seen so far */
	uint64_t wanted, looking; /* of these, for the next walk and for this one */
	struct flow_watch_stats stats;
	struct flow_watch_look *looks;
	uv_idle_t idle;
	uv_timer_t timer;
	int handles;
};

/* ---------------------------------------------------------------- what it says */

static struct flow_name name_of(const struct flow_watch_end *end, char buffer[FLOW_WORKLOAD_MAX])
{
	if (!end->namespace)
		return (struct flow_name){0};
	return (struct flow_name){flow_workload(end->namespace, end->labels, buffer), buffer};
}

static enum flow_peer peer_kind(const struct flow_watch_end *end)
{
	return end->namespace ? FLOW_PEER_POD
	       : end->unknown ? FLOW_PEER_UNKNOWN
			      : FLOW_PEER_ADDRESS;
}

/* Says nothing that no policy decides: of a pod and itself. */
static void add_sides(struct flow_watch *watch, const struct flow_opening *opening, uint32_t walk,
		      const struct flow_watch_end *from, const struct flow_watch_end *to,
		      const struct flow_seen *common)
{
	char from_text[FLOW_WORKLOAD_MAX], to_text[FLOW_WORKLOAD_MAX];
	struct flow_name from_name = name_of(from, from_text), to_name = name_of(to, to_text);
	static const struct polder_addr nowhere;
	const uint64_t time_ns = flow_history_clock(opening->time_ns);
	struct flow_seen seen = *common;

	if (from->local) {
		seen.direction = EGRESS;
		/* What the other end refuses was no traffic that this one needs. */
		seen.allowed = opening->egress_allowed && opening->ingress_allowed;
		seen.subject = from_name;
		seen.peer = to_name;
		seen.peer_kind = peer_kind(to);
		seen.addr = to->namespace ? nowhere : opening->to;
		flow_history_add(watch->history, &seen, time_ns, walk);
	}
	/* What the source may not send never comes so far. */
	if (to->local && opening->egress_allowed) {
		seen.direction = INGRESS;
		seen.allowed = opening->ingress_allowed;
		seen.subject = to_name;
		seen.peer = from_name;
		seen.peer_kind = opening->zone == ZONE_HOST ? FLOW_PEER_NODE : peer_kind(from);
		seen.addr = from->namespace || seen.peer_kind == FLOW_PEER_NODE ? nowhere
										: opening->from;
		flow_history_add(watch->history, &seen, time_ns, walk);
	}
}

/* `walk` 0: an event has told of it. */
static void add_opening(struct flow_watch *watch, const struct flow_opening *opening, uint32_t walk)
{
	const struct flow_watch_env *env = &watch->env;
	struct flow_watch_end from = {0}, to = {0};
	char service[EVENT_NAME_MAX];
	struct flow_seen seen = {.proto = opening->proto, .port = opening->port};

	if (memcmp(&opening->from, &opening->to, sizeof(opening->from)) == 0)
		return;
	if (opening->zone != ZONE_HOST)
		env->who(&opening->from, &from, env->data);
	env->who(&opening->to, &to, env->data);
	from.local &= opening->zone == ZONE_POD;
	if (!from.local && !to.local)
		return;
	if (env->service(&opening->asked, htons(opening->asked_port), opening->proto, service,
			 sizeof(service), env->data) == 0) {
		seen.service = (struct flow_name){strlen(service) + 1, service};
		seen.service_port = opening->asked_port;
	}
	add_sides(watch, opening, walk, &from, &to, &seen);
}

/* ---------------------------------------------------------------- events */

static void on_event(const struct polder_event *event, void *data)
{
	struct flow_opening opening;

	if (flow_opening_of_event(event, &opening))
		add_opening(data, &opening, 0);
}

/* The counters tell of it, and of what the rate limit withheld. */
static void on_lost(uint64_t count, void *data)
{
	(void)count;
	(void)data;
}

/* ---------------------------------------------------------------- the flow table */

static bool on_flow(const struct flow_record *record, void *data)
{
	struct flow_watch *watch = data;
	struct flow_opening opening;

	if (flow_opening_of_flow(record, maps_control(watch->env.maps)->generation,
				 clock_monotonic_ns(), &opening))
		add_opening(watch, &opening, watch->walk);
	return true;
}

/* The walk of that number has ended: it answers all that had asked before it began. */
static void tell_looks(struct flow_watch *watch, uint32_t ended)
{
	struct flow_watch_look *look, *next;

	DL_FOREACH_SAFE(watch->looks, look, next)
	{
		if (look->after >= ended)
			continue;
		DL_DELETE(watch->looks, look);
		look->done(true, look->data);
	}
}

static void on_idle(uv_idle_t *idle);

static void begin_walk(struct flow_watch *watch)
{
	watch->walk = ++watch->begun;
	watch->cursor = (struct flows_cursor){0};
	watch->walking = true;
	watch->again = false;
	watch->looking = watch->wanted;
	watch->wanted = 0;
	uv_idle_start(&watch->idle, on_idle);
}

static void want_walk(struct flow_watch *watch)
{
	if (watch->walking)
		watch->again = true;
	else
		begin_walk(watch);
}

static void on_idle(uv_idle_t *idle)
{
	struct flow_watch *watch = idle->data;
	uint32_t ended = watch->walk;

	if (!flows_walk(watch->env.flows, &watch->cursor, SLICE_NS, on_flow, watch))
		return;
	uv_idle_stop(idle);
	watch->walking = false;
	watch->stats.walks++;
	watch->stats.looked_up += watch->looking;
	if (watch->again)
		begin_walk(watch);
	tell_looks(watch, ended);
}

/* ---------------------------------------------------------------- what was lost */

static uint64_t untold(const struct flow_watch *watch)
{
	__u64 counters[COUNTER_COUNT] = {0};

	if (counters_read(maps_fd(watch->env.maps, MAP_COUNTERS), counters) < 0)
		return watch->lost + 1; /* then nobody knows */
	return counters[COUNTER_EVENTS_LOST] + counters[COUNTER_EVENTS_LIMITED];
}

static void on_time(uv_timer_t *timer)
{
	struct flow_watch *watch = timer->data;
	uint64_t now = untold(watch);

	if (now != watch->lost) {
		watch->wanted += now > watch->lost ? now - watch->lost : 1;
		watch->lost = now;
		want_walk(watch);
	}
	flow_history_expire(watch->history, flow_history_clock(clock_monotonic_ns()));
}

/* ---------------------------------------------------------------- its life */

struct flow_history *flow_watch_history(struct flow_watch *watch)
{
	return watch->history;
}

void flow_watch_stats(const struct flow_watch *watch, struct flow_watch_stats *ret)
{
	*ret = watch->stats;
}

void flow_watch_look(struct flow_watch *watch, struct flow_watch_look *look)
{
	look->after = watch->begun;
	DL_APPEND(watch->looks, look);
	want_walk(watch);
}

void flow_watch_cancel(struct flow_watch *watch, struct flow_watch_look *look)
{
	DL_DELETE(watch->looks, look);
}

int flow_watch_open(const struct flow_watch_env *env, struct flow_history *history,
		    struct flow_watch **ret)
{
	struct flow_watch *watch = calloc(1, sizeof(*watch));
	const struct event_tap tap = {on_event, on_lost, watch};

	if (!watch || !history) {
		free(watch);
		flow_history_free(history);
		return -ENOMEM;
	}
	watch->env = *env;
	watch->history = history;
	watch->lost = untold(watch);
	watch->tap = events_tap(env->events, EVENT_MASK_FLOWS | EVENT_MASK_DROPS, &tap);
	if (!watch->tap) {
		flow_history_free(history);
		free(watch);
		return -ENOMEM;
	}
	uv_idle_init(env->loop, &watch->idle);
	uv_timer_init(env->loop, &watch->timer);
	watch->idle.data = watch->timer.data = watch;
	watch->handles = 2;
	uv_timer_start(&watch->timer, on_time, SECOND_MS, SECOND_MS);
	begin_walk(watch);
	*ret = watch;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct flow_watch *watch = handle->data;

	if (--watch->handles > 0)
		return;
	flow_history_free(watch->history);
	free(watch);
}

void flow_watch_close(struct flow_watch *watch)
{
	struct flow_watch_look *look, *next;

	if (!watch)
		return;
	DL_FOREACH_SAFE(watch->looks, look, next)
	{
		DL_DELETE(watch->looks, look);
		look->done(false, look->data);
	}
	events_unsubscribe(watch->tap);
	uv_idle_stop(&watch->idle);
	uv_timer_stop(&watch->timer);
	uv_close((uv_handle_t *)&watch->idle, on_closed);
	uv_close((uv_handle_t *)&watch->timer, on_closed);
}

/* ---------------------------------------------------------------- who needs it */

static int begin(struct flow_recorder *recorder)
{
	uint64_t bytes = recorder->most_bytes ? recorder->most_bytes : FLOW_RECORDER_BYTES;
	struct flow_history *history =
		flow_history_new(bytes, recorder->age_ns, flow_history_clock(clock_monotonic_ns()));
	int r = history ? 0 : -ENOMEM;

	if (r == 0 && recorder->path)
		r = flow_history_file_open(recorder->env.loop, recorder->path, history, bytes,
					   &recorder->file);
	if (r < 0) {
		flow_history_free(history);
		return r;
	}
	return flow_watch_open(&recorder->env, history, &recorder->watch);
}

int flow_recorder_begin(struct flow_recorder *recorder)
{
	int r = recorder->users ? 0 : begin(recorder);

	if (r == 0)
		recorder->users++;
	return r;
}

void flow_recorder_end(struct flow_recorder *recorder)
{
	if (--recorder->users)
		return;
	flow_history_file_close(TAKE_PTR(recorder->file));
	flow_watch_close(recorder->watch);
	recorder->watch = NULL;
}
