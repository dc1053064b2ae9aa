/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TrafficAlerts in the agent: has the programs tell what the alerts need, asks them, and tells
 * whoever listens. As long as there is no TrafficAlert nothing is asked for and nothing is looked
 * through. An event that found no room is looked for in the flow table, as by flow_watch.
 */
#pragma once

#include <jansson.h>

#include "agent/observe/alert_listeners.h"
#include "agent/observe/flow_watch.h"
#include "agent/store/store.h"
#include "policy/alerts/alerts.h"

#define ALERT_WATCH_KEPT 256 /* the newest alerts, for those who ask later */

struct alert_watch_env {
	struct flow_watch_env flows;
	const struct store *store; /* of namespaces */
	/* alert_watch_wants_processes() has changed. */
	void (*processes_wanted)(void *data);
	void *wanted_data;
	struct alert_socket_env sockets;
};

struct alert_watch;
/* 0 or -ENOMEM. */
int alert_watch_open(const struct alert_watch_env *env, struct alert_watch **ret);
/* Takes NULL. Before events_close(); the memory goes with the loop's next turns. */
void alert_watch_close(struct alert_watch *watch);

/* As a listener of the store. */
void alert_watch_object(struct alert_watch *watch, const struct object *object, bool deleted);

/* For the reader only. */
const struct alerts *alert_watch_alerts(const struct alert_watch *watch);
/* Flows whose bytes no alert knows of, for want of room, each time. */
uint64_t alert_watch_left_out(const struct alert_watch *watch);
/* Do alerts need to know of processes? */
bool alert_watch_wants_processes(const struct alert_watch *watch);
/* Connections of pods whose process nobody has noted, of those that alerts wanted to know of. */
uint64_t alert_watch_unknown_processes(const struct alert_watch *watch);
/* Told to nobody for want of memory, or without a rule. */
uint64_t alert_watch_lost(const struct alert_watch *watch);

/* Those of the newest ALERT_WATCH_KEPT that are later than `after_ns`, at most `last` of them, the
 * oldest first. A new reference; NULL: no memory. */
json_t *alert_watch_kept(const struct alert_watch *watch, uint64_t after_ns, size_t last);

struct alert_subscriber;
/* As events_subscribe(); NULL: no memory. */
struct alert_subscriber *alert_watch_subscribe(struct alert_watch *watch, event_sink sink,
					       void *data);
void alert_watch_unsubscribe(struct alert_subscriber *subscriber); /* takes NULL */
