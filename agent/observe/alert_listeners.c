/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/alert_listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "agent/common/cleanup.h"
#include "agent/common/clock.h"

/* In one look: whoever opens thousands of sockets is told of without the process of each. */
#define NAMED_MOST 256

struct cookies {
	uint64_t *items;
	size_t count, capacity;
};

struct places {
	struct alert_place *items;
	size_t count, capacity;
};

struct alert_listeners {
	const struct flow_watch_env *flows;
	const struct alert_socket_env *env;
	struct alerts *alerts;
	struct cookies before; /* sockets of the look before, sorted */
};

/* One look. */
struct look {
	struct alert_listeners *listeners;
	struct cookies seen;
	struct places places;
	size_t named;
	uint64_t time_ns;
	int r;
};

struct alert_listeners *alert_listeners_new(const struct flow_watch_env *flows,
					    const struct alert_socket_env *env,
					    struct alerts *alerts)
{
	struct alert_listeners *listeners = calloc(1, sizeof(*listeners));

	if (listeners)
		*listeners = (struct alert_listeners){flows, env, alerts, {0}};
	return listeners;
}

void alert_listeners_free(struct alert_listeners *listeners)
{
	if (!listeners)
		return;
	free(listeners->before.items);
	free(listeners);
}

void alert_listeners_anew(struct alert_listeners *listeners)
{
	listeners->before.count = 0;
}

/* 0 or -ENOMEM. */
static int grow(void *items, size_t count, size_t *capacity, size_t size)
{
	size_t more = *capacity ? 2 * *capacity : 64;
	void *grown;

	if (count < *capacity)
		return 0;
	grown = reallocarray(*(void **)items, more, size);
	if (!grown)
		return -ENOMEM;
	*(void **)items = grown;
	*capacity = more;
	return 0;
}

/* ---------------------------------------------------------------- whose they are */

static void end_at(const struct look *look, const struct alert_place *place, struct alert_end *ret)
{
	const struct flow_watch_env *flows = look->listeners->flows;
	struct flow_watch_end end = {0};

	if (!place->node)
		flows->who(&place->addr, &end, flows->data);
	*ret = (struct alert_end){.addr = place->addr,
				  .namespace = end.namespace,
				  .name = end.name,
				  .labels = end.labels,
				  .local = place->node || end.local,
				  .node = place->node,
				  .inside = true};
}

static void on_place(const struct alert_place *place, void *arg)
{
	struct look *look = arg;
	struct places *places = &look->places;
	struct alert_end end;

	if (grow(&places->items, places->count, &places->capacity, sizeof(*place)) < 0) {
		look->r = -ENOMEM;
		return;
	}
	places->items[places->count++] = *place;
	end_at(look, place, &end);
	alerts_present(look->listeners->alerts, &end, look->time_ns);
}

/* NULL: a namespace that somebody has made, or that is no more. */
static const struct alert_place *place_of(const struct look *look, uint64_t netns)
{
	for (size_t i = 0; i < look->places.count; i++)
		if (look->places.items[i].netns == netns)
			return &look->places.items[i];
	return NULL;
}

/* ---------------------------------------------------------------- who it is */

void alert_process_of(const json_t *document, struct alert_process *ret)
{
	*ret = (struct alert_process){
		.pid = (uint32_t)json_integer_value(json_object_get(document, "pid")),
		.uid = (uint32_t)json_integer_value(json_object_get(document, "uid")),
		.comm = json_string_value(json_object_get(document, "comm")),
		.executable = json_string_value(json_object_get(document, "executable")),
	};
}

/* ---------------------------------------------------------------- what is new */

static int compare(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return one < other ? -1 : one > other;
}

static bool was_there(const struct cookies *before, uint64_t cookie)
{
	return before->count &&
	       bsearch(&cookie, before->items, before->count, sizeof(cookie), compare);
}

static void tell(struct look *look, const struct process_key *key, const struct alert_place *place,
		 const struct alert_end *end)
{
	const struct alert_listeners *listeners = look->listeners;
	const struct event_socket socket = {
		.proto = IPPROTO_TCP,
		.local = addr_is_zero(&key->local) ? place->addr : key->local,
		.local_port_be = key->local_port_be,
	};
	CLEANUP(cleanup_json) json_t *noted = NULL;
	struct alert_process process;
	struct alert_listening listening = {.time_ns = look->time_ns,
					    .at = *end,
					    .addr = key->local,
					    .port = ntohs(key->local_port_be)};

	if (look->named < NAMED_MOST) {
		look->named++;
		noted = listeners->env->process(&socket, listeners->flows->data);
	}
	if (noted) {
		alert_process_of(noted, &process);
		listening.process = &process;
	}
	alerts_listening(listeners->alerts, &listening);
}

/* False: whose it is may be known later. */
static bool look_at(struct look *look, const struct process_key *key)
{
	const struct alert_place *place = place_of(look, key->netns);
	struct alert_end end;

	if (!place)
		return false;
	end_at(look, place, &end);
	if (!end.local)
		return false;
	tell(look, key, place, &end);
	return true;
}

static void on_listener(const struct process_key *key, const struct process_note *note, void *arg)
{
	struct look *look = arg;
	struct cookies *seen = &look->seen;

	if (addr_is_loopback(&key->local) ||
	    (!was_there(&look->listeners->before, note->socket) && !look_at(look, key)))
		return;
	if (grow(&seen->items, seen->count, &seen->capacity, sizeof(*seen->items)) < 0)
		look->r = -ENOMEM;
	else
		seen->items[seen->count++] = note->socket;
}

int alert_listeners_look(struct alert_listeners *listeners)
{
	struct look look = {.listeners = listeners, .time_ns = clock_monotonic_ns()};
	int r;

	listeners->env->places(on_place, &look, listeners->flows->data);
	r = listeners->env->listeners(on_listener, &look, listeners->flows->data);
	free(look.places.items);
	if (r < 0 || look.r < 0) {
		free(look.seen.items);
		return r < 0 ? r : look.r;
	}
	if (look.seen.count)
		qsort(look.seen.items, look.seen.count, sizeof(*look.seen.items), compare);
	free(listeners->before.items);
	listeners->before = look.seen;
	return 0;
}
