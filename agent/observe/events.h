/* SPDX-License-Identifier: Apache-2.0 */
/* The programs' events on their way to whoever listens; nobody listens, nothing is sent. */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "agent/kernel/maps.h"
#include "agent/observe/event_names.h"

struct events;

/*
 * Opens the ring. Nobody listens to begin with, whatever an earlier agent left; what it left in the
 * ring is for events_keep() alone. `maps` outlives it.
 * 0 or -errno.
 */
int events_open(uv_loop_t *loop, struct maps *maps, const struct event_names *names,
		struct events **ret);
/* Takes NULL. Subscribers get no more lines; their events_unsubscribe() must have been called or
 * never will be. The memory goes with the loop's next turn. */
void events_close(struct events *events);

struct event_subscriber;
/*
 * Hands a line of docs/control-protocol.md (monitor) to its reader and takes the reference. 0, or
 * -errno if the line went nowhere: it is told as lost when there is room again.
 */
typedef int (*event_sink)(json_t *line, void *data);
/*
 * `mask` of enum event_mask; of these what matches `filter`, which is the subscriber's from now on,
 * on failure too (NULL: all). NULL: no memory.
 */
struct flow_filter;
struct event_subscriber *events_subscribe(struct events *events, uint32_t mask,
					  struct flow_filter *filter, event_sink sink, void *data);
/*
 * To be called right after events_subscribe(), for what the history still has of that: events later
 * than `after_ns` (monotonic clock), the newest `last` of them. Those beyond
 * EVENTS_REPLAY_MAX are told as lost, the oldest ones.
 */
#define EVENTS_REPLAY_MAX 1000
void events_replay(struct event_subscriber *subscriber, uint64_t after_ns, size_t last);
/* The same for a reader of the events themselves. `lost`: so many that were asked for never came
 * (the ring was full). */
struct event_tap {
	void (*event)(const struct polder_event *event, void *data);
	void (*lost)(uint64_t count, void *data);
	void *data;
};
struct event_subscriber *events_tap(struct events *events, uint32_t mask,
				    const struct event_tap *tap);
void events_unsubscribe(struct event_subscriber *subscriber); /* takes NULL */

size_t events_subscribers(const struct events *events);

/*
 * Keeps the newest `count` events of those that are read, and has the programs tell of drops
 * whether anybody listens or not: also while no agent runs, as far as the ring has room, for the
 * next one. 0 or -ENOMEM.
 */
int events_keep(struct events *events, size_t count);
size_t events_kept(const struct events *events); /* so many there are */

/* Wall-clock time of a moment of the monotonic clock, RFC 3339 in UTC, into `buffer`. */
#define EVENT_TIME_MAX 40
const char *event_time_format(uint64_t monotonic_ns, char *buffer, size_t size);
/* The document of one event; NULL: no memory. */
json_t *event_document(const struct polder_event *event, const struct event_names *names);
/* The document of the rule that decided; NULL: no memory. */
json_t *event_rule_document(const struct rule_origin *origin, const struct event_names *names);
