/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/alert_watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/common/log.h"
#include "agent/kernel/counters.h"
#include "agent/observe/flow_bytes.h"
#include "agent/observe/flow_opening.h"

#define SLICE_NS   1000000
#define SECOND_MS  1000
#define BYTES_EACH 5 /* seconds between walks for bytes: no flow is gone within ten */

struct alert_subscriber {
	struct alert_watch *watch; /* NULL: closed */
	event_sink sink;
	void *data;
	struct alert_subscriber *prev, *next;
};

struct alert_watch {
	struct alert_watch_env env;
	struct alerts *alerts;
	uint32_t wanted;		   /* enum alerts_want */
	struct event_subscriber *tap;	   /* NULL: no events are wanted */
	struct flow_bytes *bytes;	   /* NULL: nobody wants to know */
	struct alert_listeners *listeners; /* the same */
	struct alert_subscriber *subscribers;
	json_t *kept; /* the oldest first */
	uint64_t lost;
	uint64_t unknown_processes;
	int look_error;	 /* of the last look for listeners */
	uint64_t untold; /* events, by the programs' counts, as seen so far */
	unsigned int seconds;
	struct flows_cursor cursor;
	bool walking, looking, look_again; /* looking: this walk is for openings that were missed */
	uv_idle_t idle;
	uv_timer_t timer;
	int handles;
};

/* ---------------------------------------------------------------- told */

static void keep(struct alert_watch *watch, json_t *document)
{
	if (json_array_size(watch->kept) == ALERT_WATCH_KEPT)
		json_array_remove(watch->kept, 0);
	if (json_array_append(watch->kept, document) < 0)
		watch->lost++;
}

static void log_alert(const struct alert *alert, const json_t *document)
{
	const char *text = json_string_value(json_object_get(document, "text"));
	const char *message = alert->rule->message;

	log_write(alert->rule->severity == ALERT_INFO ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "alert",
		  "%s (%s): %s%s%s", alert->name, alert_severity_name(alert->rule->severity), text,
		  message ? ": " : "", message ? message : "");
}

static void on_alert(const struct alert *alert, void *data)
{
	struct alert_watch *watch = data;
	struct alert_subscriber *subscriber;
	char time[EVENT_TIME_MAX];
	CLEANUP(cleanup_json)
	json_t *document = alert_document(
		alert, event_time_format(alert->newest->time_ns, time, sizeof(time)));

	if (!document) {
		watch->lost++;
		log_error("alert", "%s: raised by %s; there is no memory to say more", alert->name,
			  alert->newest->pod);
		return;
	}
	log_alert(alert, document);
	keep(watch, document);
	DL_FOREACH(watch->subscribers, subscriber)
	{
		if (subscriber->sink(json_incref(document), subscriber->data) < 0)
			watch->lost++;
	}
}

json_t *alert_watch_kept(const struct alert_watch *watch, uint64_t after_ns, size_t last)
{
	size_t count = json_array_size(watch->kept), first = count;
	json_t *list = json_array();

	while (first > 0 && count - first < last &&
	       (uint64_t)json_integer_value(json_object_get(json_array_get(watch->kept, first - 1),
							    "monotonic_ns")) > after_ns)
		first--;
	for (size_t i = first; list && i < count; i++)
		json_array_append(list, json_array_get(watch->kept, i));
	return list;
}

struct alert_subscriber *alert_watch_subscribe(struct alert_watch *watch, event_sink sink,
					       void *data)
{
	struct alert_subscriber *subscriber = calloc(1, sizeof(*subscriber));

	if (!subscriber)
		return NULL;
	*subscriber = (struct alert_subscriber){.watch = watch, .sink = sink, .data = data};
	DL_APPEND(watch->subscribers, subscriber);
	return subscriber;
}

void alert_watch_unsubscribe(struct alert_subscriber *subscriber)
{
	if (subscriber && subscriber->watch)
		DL_DELETE(subscriber->watch->subscribers, subscriber);
	free(subscriber);
}

/* ---------------------------------------------------------------- what happens */

static void end_of(const struct alert_watch *watch, const struct polder_addr *addr, uint16_t port,
		   struct alert_end *ret)
{
	const struct flow_watch_env *env = &watch->env.flows;
	struct flow_watch_end end = {0};

	env->who(addr, &end, env->data);
	*ret = (struct alert_end){.addr = *addr,
				  .port = port,
				  .namespace = end.namespace,
				  .name = end.name,
				  .labels = end.labels,
				  .local = end.local,
				  .inside = end.namespace || end.unknown};
}

/* The end of who opened it; one that is found may have been noted at any time. */
static struct event_socket socket_of(const struct flow_opening *seen, bool found)
{
	return (struct event_socket){
		.proto = seen->proto,
		.local = seen->from,
		.remote = seen->asked,
		.local_port_be = htons(seen->from_port),
		.remote_port_be = htons(seen->asked_port),
		.time_ns = found ? 0 : seen->time_ns,
	};
}

/* Is it a connection of a pod whose process may have been noted, and does an alert want to know? */
static bool has_process(const struct alert_watch *watch, const struct alert_opening *opening)
{
	return watch->wanted & ALERTS_WANT_PROCESSES && opening->from.local &&
	       (opening->proto == IPPROTO_TCP || opening->proto == IPPROTO_UDP);
}

static void ask(struct alert_watch *watch, const struct flow_opening *seen, bool found)
{
	const struct event_socket socket = socket_of(seen, found);
	CLEANUP(cleanup_json) json_t *noted = NULL;
	struct alert_process process;
	const struct flow_watch_env *env = &watch->env.flows;
	char service[EVENT_NAME_MAX];
	struct alert_opening opening = {
		/* A flow that is there still is known of from now on. */
		.time_ns = found ? clock_monotonic_ns() : seen->time_ns,
		.asked = seen->asked,
		.asked_port = seen->asked_port,
		.proto = seen->proto,
		.denied = !seen->egress_allowed || !seen->ingress_allowed,
		.found = found,
	};

	if (memcmp(&seen->from, &seen->to, sizeof(seen->from)) == 0)
		return;
	if (seen->zone == ZONE_HOST)
		opening.from.addr = seen->from;
	else
		end_of(watch, &seen->from, 0, &opening.from);
	opening.from.local &= seen->zone == ZONE_POD;
	end_of(watch, &seen->to, seen->port, &opening.to);
	if (env->service(&seen->asked, htons(seen->asked_port), seen->proto, service,
			 sizeof(service), env->data) == 0)
		opening.service = service;
	if (has_process(watch, &opening)) {
		noted = watch->env.sockets.process(&socket, env->data);
		watch->unknown_processes += !noted && !found;
	}
	if (noted) {
		alert_process_of(noted, &process);
		opening.process = &process;
	}
	alerts_opening(watch->alerts, &opening);
}

static void on_event(const struct polder_event *event, void *data)
{
	struct flow_opening opening;

	if (flow_opening_of_event(event, &opening))
		ask(data, &opening, false);
}

/* The counters tell of it, and of what the rate limit withheld. */
static void on_lost(uint64_t count, void *data)
{
	(void)count;
	(void)data;
}

/* ---------------------------------------------------------------- the flow table */

/* What a pod of this node sends, as the one who opened the flow or as the one who was asked. */
static void count_bytes(struct alert_watch *watch, const struct flow_record *record)
{
	const struct flow_table table = {.family = record->family};
	bool translated = record->flow.content.state & FLOW_TRANSLATED;
	struct polder_addr addresses[FLOW_ADDRESSES];
	struct alert_traffic traffic = {.time_ns = clock_monotonic_ns(),
					.proto = record->flow.tuple.proto};

	if (record->flow.tuple.zone != ZONE_POD)
		return;
	flow_addresses(&table, &record->flow, addresses);
	end_of(watch, &addresses[0], 0, &traffic.from);
	end_of(watch, &addresses[translated ? 3 : 1], 0, &traffic.to);
	if (!traffic.from.local || traffic.to.inside)
		return;
	traffic.bytes = flow_bytes_of(watch->bytes, record);
	if (traffic.bytes)
		alerts_traffic(watch->alerts, &traffic);
}

static bool on_flow(const struct flow_record *record, void *data)
{
	struct alert_watch *watch = data;
	uint32_t generation = maps_control(watch->env.flows.maps)->generation;
	struct flow_opening opening;

	if (watch->looking &&
	    flow_opening_of_flow(record, generation, clock_monotonic_ns(), &opening))
		ask(watch, &opening, true);
	if (watch->bytes)
		count_bytes(watch, record);
	return true;
}

static void on_idle(uv_idle_t *idle);

static void begin_walk(struct alert_watch *watch, bool look)
{
	watch->cursor = (struct flows_cursor){0};
	watch->walking = true;
	watch->looking = look;
	watch->look_again = false;
	uv_idle_start(&watch->idle, on_idle);
}

static void on_idle(uv_idle_t *idle)
{
	struct alert_watch *watch = idle->data;

	if (!flows_walk(watch->env.flows.flows, &watch->cursor, SLICE_NS, on_flow, watch))
		return;
	uv_idle_stop(idle);
	watch->walking = false;
	if (watch->bytes)
		flow_bytes_walked(watch->bytes);
	if (watch->look_again)
		begin_walk(watch, true);
}

/* For openings that no event told of. */
static void look(struct alert_watch *watch)
{
	if (watch->walking)
		watch->look_again = true;
	else
		begin_walk(watch, true);
}

/* ---------------------------------------------------------------- time */

static int follow(struct alert_watch *watch);

static uint64_t untold(const struct alert_watch *watch)
{
	__u64 counters[COUNTER_COUNT] = {0};

	if (counters_read(maps_fd(watch->env.flows.maps, MAP_COUNTERS), counters) < 0)
		return watch->untold + 1; /* then nobody knows */
	return counters[COUNTER_EVENTS_LOST] + counters[COUNTER_EVENTS_LIMITED];
}

static void look_for_listeners(struct alert_watch *watch)
{
	int r = alert_listeners_look(watch->listeners);

	if (r < 0 && r != watch->look_error)
		log_warning("alert",
			    "sockets that listen cannot be looked through: %s; tried "
			    "again each second",
			    strerror(-r));
	watch->look_error = r;
}

static void on_time(uv_timer_t *timer)
{
	struct alert_watch *watch = timer->data;
	uint64_t now = untold(watch);

	alerts_tick(watch->alerts, clock_monotonic_ns());
	watch->seconds++;
	if (now != watch->untold && watch->wanted & ALERTS_WANT_FLOWS)
		look(watch);
	watch->untold = now;
	/* There was no memory for it. */
	(void)follow(watch);
	if (watch->listeners)
		look_for_listeners(watch);
	if (watch->bytes && watch->seconds % BYTES_EACH == 0 && !watch->walking)
		begin_walk(watch, false);
}

/* ---------------------------------------------------------------- rules */

static int listen_for(struct alert_watch *watch, uint32_t wanted)
{
	const struct event_tap tap = {on_event, on_lost, watch};
	uint32_t mask = (wanted & ALERTS_WANT_FLOWS ? EVENT_MASK_FLOWS : 0u) |
			(wanted & ALERTS_WANT_DROPS ? EVENT_MASK_DROPS : 0u);
	struct event_subscriber *before = watch->tap;

	watch->tap = NULL;
	if (mask) {
		watch->tap = events_tap(watch->env.flows.events, mask, &tap);
		if (!watch->tap) {
			watch->tap = before;
			return -ENOMEM;
		}
	}
	events_unsubscribe(before);
	return 0;
}

static int count_for(struct alert_watch *watch, uint32_t wanted)
{
	bool counted = wanted & ALERTS_WANT_TRAFFIC;

	if (!counted) {
		flow_bytes_free(TAKE_PTR(watch->bytes));
		return 0;
	}
	if (watch->bytes)
		return 0;
	watch->bytes = flow_bytes_new(FLOW_BYTES_FLOWS);
	if (!watch->bytes)
		return -ENOMEM;
	/* From the beginning, if it is under way: its first walk has to see what all have sent. */
	begin_walk(watch, watch->walking && watch->looking);
	return 0;
}

static int look_for(struct alert_watch *watch, uint32_t wanted)
{
	if (!(wanted & ALERTS_WANT_LISTENERS)) {
		alert_listeners_free(TAKE_PTR(watch->listeners));
		return 0;
	}
	if (!watch->listeners)
		watch->listeners =
			alert_listeners_new(&watch->env.flows, &watch->env.sockets, watch->alerts);
	return watch->listeners ? 0 : -ENOMEM;
}

/* What is asked for is what the rules that there are need. */
static int follow(struct alert_watch *watch)
{
	uint32_t wanted = alerts_wanted(watch->alerts);
	bool noted = alert_watch_wants_processes(watch);
	int r;

	if (wanted == watch->wanted)
		return 0;
	if (!uv_is_active((uv_handle_t *)&watch->timer)) {
		watch->untold = untold(watch);
		uv_timer_start(&watch->timer, on_time, SECOND_MS, SECOND_MS);
	}
	r = listen_for(watch, wanted);
	if (r == 0)
		r = count_for(watch, wanted);
	if (r == 0)
		r = look_for(watch, wanted);
	if (r < 0)
		return r;
	watch->wanted = wanted;
	if (alert_watch_wants_processes(watch) != noted)
		watch->env.processes_wanted(watch->env.wanted_data);
	if (!wanted) {
		uv_timer_stop(&watch->timer);
		uv_idle_stop(&watch->idle);
		watch->walking = false;
	}
	return 0;
}

void alert_watch_object(struct alert_watch *watch, const struct object *object, bool deleted)
{
	int r = 0;

	if (object->kind != OBJECT_TRAFFIC_ALERT)
		return;
	if (deleted)
		alerts_remove(watch->alerts, object->name);
	else
		r = alerts_set(watch->alerts, object);
	if (r == 0)
		r = follow(watch);
	if (r < 0) {
		watch->lost++;
		log_error("alert", "TrafficAlert %s is not followed: %s", object->name,
			  strerror(-r));
		return;
	}
	/* What is open already is looked at as well, and learnt. */
	if (!deleted && watch->wanted & ALERTS_WANT_FLOWS)
		look(watch);
	if (!deleted && watch->listeners)
		alert_listeners_anew(watch->listeners);
}

static const struct labels *namespace_labels(const char *name, void *data)
{
	const struct alert_watch *watch = data;
	const struct object *space = store_get(watch->env.store, OBJECT_NAMESPACE, "", name);

	return space ? &space->labels : NULL;
}

/* ---------------------------------------------------------------- its life */

const struct alerts *alert_watch_alerts(const struct alert_watch *watch)
{
	return watch->alerts;
}

uint64_t alert_watch_left_out(const struct alert_watch *watch)
{
	return watch->bytes ? flow_bytes_left_out(watch->bytes) : 0;
}

bool alert_watch_wants_processes(const struct alert_watch *watch)
{
	return watch->wanted & (ALERTS_WANT_PROCESSES | ALERTS_WANT_LISTENERS);
}

uint64_t alert_watch_unknown_processes(const struct alert_watch *watch)
{
	return watch->unknown_processes;
}

uint64_t alert_watch_lost(const struct alert_watch *watch)
{
	return watch->lost;
}

int alert_watch_open(const struct alert_watch_env *env, struct alert_watch **ret)
{
	struct alert_watch *watch = calloc(1, sizeof(*watch));
	const struct alerts_env alerts = {on_alert, namespace_labels, watch};

	if (!watch)
		return -ENOMEM;
	watch->env = *env;
	watch->alerts = alerts_new(&alerts);
	watch->kept = json_array();
	if (!watch->alerts || !watch->kept) {
		alerts_free(watch->alerts);
		json_decref(watch->kept);
		free(watch);
		return -ENOMEM;
	}
	uv_idle_init(env->flows.loop, &watch->idle);
	uv_timer_init(env->flows.loop, &watch->timer);
	watch->idle.data = watch->timer.data = watch;
	watch->handles = 2;
	*ret = watch;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct alert_watch *watch = handle->data;

	if (--watch->handles > 0)
		return;
	alerts_free(watch->alerts);
	flow_bytes_free(watch->bytes);
	alert_listeners_free(watch->listeners);
	json_decref(watch->kept);
	free(watch);
}

void alert_watch_close(struct alert_watch *watch)
{
	struct alert_subscriber *subscriber, *next;

	if (!watch)
		return;
	alerts_flush(watch->alerts);
	DL_FOREACH_SAFE(watch->subscribers, subscriber, next)
	{
		DL_DELETE(watch->subscribers, subscriber);
		subscriber->watch = NULL; /* its owner frees it */
	}
	events_unsubscribe(watch->tap);
	uv_idle_stop(&watch->idle);
	uv_timer_stop(&watch->timer);
	uv_close((uv_handle_t *)&watch->idle, on_closed);
	uv_close((uv_handle_t *)&watch->timer, on_closed);
}
