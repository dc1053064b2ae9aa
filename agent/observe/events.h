/* SPDX-License-Identifier: Apache-2.0 */
/* The programs' events on their way to whoever listens; nobody listens, nothing is sent. */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "agent/kernel/maps.h"
#include "policy/compile/compile.h"

struct events;

#define EVENT_NAME_MAX 640

/* What turns numbers into names. Each returns 0 or -ENOENT. */
struct event_names {
	/* "namespace/name" of the pod with the address. */
	int (*pod)(const struct polder_addr *addr, char *buffer, size_t size, void *data);
	int (*link)(uint32_t ifindex, char *buffer, size_t size, void *data);
	int (*rule)(uint32_t rule, struct rule_origin *ret, void *data);
	/* The name that the user gave the rule. Valid as long as the event is worked on. NULL:
	 * none. */
	const char *(*rule_name)(const struct rule_origin *origin, void *data);
	/* The policies that isolate the pod with the address; NULL: none, or it is no pod of this
	 * node. */
	const struct compiled_selection *(*isolation)(const struct polder_addr *addr, bool egress,
						      void *data);
	void *data;
};

/*
 * Opens the ring. Nobody listens to begin with, whatever an earlier agent left. `maps` outlives it.
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
/* `mask` of enum event_mask. NULL: no memory. */
struct event_subscriber *events_subscribe(struct events *events, uint32_t mask, event_sink sink,
					  void *data);
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

/* The document of one event; NULL: no memory. */
json_t *event_document(const struct polder_event *event, const struct event_names *names);
