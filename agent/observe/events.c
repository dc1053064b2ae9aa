/* SPDX-License-Identifier: Apache-2.0 */
/* The ring buffer's reader, in the loop, a batch at a time. */
#include "agent/observe/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <bpf/libbpf.h>

#include "agent/kernel/counters.h"
#include "agent/observe/flow_filter.h"

#define BATCH	256 /* events in one turn of the loop */
#define LOST_MS 1000

struct event_subscriber {
	struct events *events; /* NULL: closed */
	uint32_t mask;
	struct flow_filter *filter; /* NULL: all */
	uint64_t lost;		    /* lines that it did not get and has not heard of */
	event_sink sink;	    /* NULL: a tap */
	void *data;
	struct event_tap tap;
	struct event_subscriber *prev, *next;
};

struct events {
	struct maps *maps;
	struct event_names names;
	struct ring_buffer *ring;
	struct event_subscriber *subscribers;
	/* The newest ones, a ring; NULL: none are kept. */
	struct polder_event *kept;
	size_t kept_size, kept_count, kept_next;
	uint64_t lost; /* the programs' count of events without room, as told so far */
	int left;      /* of this turn's batch */
	uv_poll_t poll;
	uv_timer_t timer;
	int handles;
};

size_t events_subscribers(const struct events *events)
{
	const struct event_subscriber *subscriber;
	size_t count = 0;

	/* Taps are the agent's own. */
	DL_FOREACH(events->subscribers, subscriber)
	{
		count += subscriber->sink != NULL;
	}
	return count;
}

static void set_mask(struct events *events)
{
	struct event_subscriber *subscriber;
	uint32_t mask = events->kept ? EVENT_MASK_DROPS : 0;

	DL_FOREACH(events->subscribers, subscriber)
	{
		mask |= subscriber->mask;
	}
	__atomic_store_n(&maps_control(events->maps)->events, mask, __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------- lines */

/* To one reader, with what it has missed before. Takes no reference. */
static void hand_out(struct event_subscriber *subscriber, json_t *line)
{
	json_t *lost;

	if (!subscriber->sink) {
		if (subscriber->lost)
			subscriber->tap.lost(subscriber->lost, subscriber->tap.data);
		subscriber->lost = 0;
		return;
	}
	if (subscriber->lost) {
		lost = json_pack("{s:I}", "lost", (json_int_t)subscriber->lost);
		if (!lost || subscriber->sink(lost, subscriber->data) < 0) {
			subscriber->lost += line != NULL;
			return;
		}
		subscriber->lost = 0;
	}
	if (line && subscriber->sink(json_incref(line), subscriber->data) < 0)
		subscriber->lost++;
}

static uint32_t mask_of(const struct polder_event *event)
{
	return event->type == EVENT_FLOW ? EVENT_MASK_FLOWS : EVENT_MASK_DROPS;
}

static void keep(struct events *events, const struct polder_event *event)
{
	events->kept[events->kept_next] = *event;
	events->kept_next = (events->kept_next + 1) % events->kept_size;
	if (events->kept_count < events->kept_size)
		events->kept_count++;
}

static bool is_wanted(const struct event_subscriber *subscriber, const struct polder_event *event)
{
	struct flow_subject subject;

	if (!(subscriber->mask & mask_of(event)))
		return false;
	if (!subscriber->filter)
		return true;
	flow_subject_of_event(event, &subject);
	return flow_filter_matches(subscriber->filter, &subject, &subscriber->events->names);
}

/* A negative result ends the batch; the loop comes back for the rest. */
static int on_event(void *context, void *data, size_t size)
{
	struct events *events = context;
	struct event_subscriber *subscriber;
	const struct polder_event *event = data;
	json_t *line = NULL;

	if (size < sizeof(*event))
		return --events->left > 0 ? 0 : -EAGAIN;
	if (events->kept)
		keep(events, event);
	DL_FOREACH(events->subscribers, subscriber)
	{
		if (!is_wanted(subscriber, event))
			continue;
		if (!subscriber->sink) {
			subscriber->tap.event(event, subscriber->tap.data);
			continue;
		}
		if (!line)
			line = event_document(event, &events->names);
		if (line)
			hand_out(subscriber, line);
		else
			subscriber->lost++;
	}
	json_decref(line);
	return --events->left > 0 ? 0 : -EAGAIN;
}

static void read_batch(struct events *events)
{
	events->left = BATCH;
	ring_buffer__consume(events->ring);
}

/* What is in the ring was for those who listened before. */
static void drain(struct events *events)
{
	do {
		read_batch(events);
	} while (events->left <= 0);
}

static void on_readable(uv_poll_t *poll, int status, int mask)
{
	read_batch(poll->data);
}

static uint64_t lost_by_programs(const struct events *events)
{
	__u64 lost = 0;

	if (counters_read_one(maps_fd(events->maps, MAP_COUNTERS), COUNTER_EVENTS_LOST, &lost) < 0)
		return events->lost;
	return lost;
}

static void on_time(uv_timer_t *timer)
{
	struct events *events = timer->data;
	struct event_subscriber *subscriber;
	uint64_t lost = lost_by_programs(events);
	uint64_t more = lost > events->lost ? lost - events->lost : 0;

	events->lost = lost;
	DL_FOREACH(events->subscribers, subscriber)
	{
		subscriber->lost += more;
		hand_out(subscriber, NULL);
	}
}

/* ---------------------------------------------------------------- listening */

/* Takes `subscriber` in. */
static void subscribe(struct events *events, uint32_t mask, struct event_subscriber *subscriber)
{
	if (!events->subscribers) {
		drain(events);
		events->lost = lost_by_programs(events);
		uv_timer_start(&events->timer, on_time, LOST_MS, LOST_MS);
	}
	subscriber->events = events;
	subscriber->mask = mask;
	DL_APPEND(events->subscribers, subscriber);
	set_mask(events);
}

struct event_subscriber *events_subscribe(struct events *events, uint32_t mask,
					  struct flow_filter *filter, event_sink sink, void *data)
{
	struct event_subscriber *subscriber = calloc(1, sizeof(*subscriber));

	if (!subscriber) {
		flow_filter_free(filter);
		return NULL;
	}
	subscriber->filter = filter;
	subscriber->sink = sink;
	subscriber->data = data;
	subscribe(events, flow_filter_mask(filter, mask), subscriber);
	return subscriber;
}

/* ---------------------------------------------------------------- history */

/* The i-th of those that are kept, the oldest first. */
static const struct polder_event *kept_at(const struct events *events, size_t i)
{
	return &events->kept[(events->kept_next + events->kept_size - events->kept_count + i) %
			     events->kept_size];
}

static bool is_replayed(const struct event_subscriber *subscriber, size_t i, uint64_t after_ns)
{
	const struct polder_event *event = kept_at(subscriber->events, i);

	return event->time_ns > after_ns && is_wanted(subscriber, event);
}

void events_replay(struct event_subscriber *subscriber, uint64_t after_ns, size_t last)
{
	struct events *events = subscriber->events;
	size_t first = events->kept_count, found = 0;
	json_t *line;

	/* Backwards, to find where the newest ones begin. */
	for (size_t i = events->kept_count; i > 0 && found < last; i--) {
		if (!is_replayed(subscriber, i - 1, after_ns))
			continue;
		found++;
		if (found > EVENTS_REPLAY_MAX)
			subscriber->lost++;
		else
			first = i - 1;
	}
	for (size_t i = first; i < events->kept_count; i++) {
		if (!is_replayed(subscriber, i, after_ns))
			continue;
		line = event_document(kept_at(events, i), &events->names);
		if (line)
			hand_out(subscriber, line);
		else
			subscriber->lost++;
		json_decref(line);
	}
}

int events_keep(struct events *events, size_t count)
{
	events->kept = calloc(count, sizeof(*events->kept));
	if (!events->kept)
		return -ENOMEM;
	events->kept_size = count;
	set_mask(events);
	return 0;
}

size_t events_kept(const struct events *events)
{
	return events->kept_count;
}

/* ---------------------------------------------------------------- taps */

struct event_subscriber *events_tap(struct events *events, uint32_t mask,
				    const struct event_tap *tap)
{
	struct event_subscriber *subscriber = calloc(1, sizeof(*subscriber));

	if (!subscriber)
		return NULL;
	subscriber->tap = *tap;
	subscribe(events, mask, subscriber);
	return subscriber;
}

void events_unsubscribe(struct event_subscriber *subscriber)
{
	struct events *events = subscriber ? subscriber->events : NULL;

	if (events) {
		DL_DELETE(events->subscribers, subscriber);
		set_mask(events);
		if (!events->subscribers)
			uv_timer_stop(&events->timer);
	}
	if (subscriber)
		flow_filter_free(subscriber->filter);
	free(subscriber);
}

int events_open(uv_loop_t *loop, struct maps *maps, const struct event_names *names,
		struct events **ret)
{
	struct events *events = calloc(1, sizeof(*events));
	int r;

	if (!events)
		return -ENOMEM;
	events->maps = maps;
	events->names = *names;
	set_mask(events);
	events->ring = ring_buffer__new(maps_fd(maps, MAP_EVENTS), on_event, events, NULL);
	if (!events->ring) {
		r = -errno;
		free(events);
		return r;
	}
	r = uv_poll_init(loop, &events->poll, ring_buffer__epoll_fd(events->ring));
	if (r < 0) {
		ring_buffer__free(events->ring);
		free(events);
		return r;
	}
	uv_timer_init(loop, &events->timer);
	events->poll.data = events->timer.data = events;
	events->handles = 2;
	uv_poll_start(&events->poll, UV_READABLE, on_readable);
	*ret = events;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct events *events = handle->data;

	if (--events->handles > 0)
		return;
	ring_buffer__free(events->ring);
	free(events->kept);
	free(events);
}

void events_close(struct events *events)
{
	struct event_subscriber *subscriber, *next;

	if (!events)
		return;
	DL_FOREACH_SAFE(events->subscribers, subscriber, next)
	{
		DL_DELETE(events->subscribers, subscriber);
		subscriber->events = NULL; /* its owner frees it */
	}
	set_mask(events);
	uv_poll_stop(&events->poll);
	uv_close((uv_handle_t *)&events->poll, on_closed);
	uv_close((uv_handle_t *)&events->timer, on_closed);
}
