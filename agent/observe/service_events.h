/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which problems of Services become Events on them, where `kubectl describe` shows them: each once,
 * as long as it lasts, and in the same words whichever node says it. What follows from the objects
 * every node finds; the few say it that rendezvous hashing places best for the Service. What is
 * this node's alone (a full map, a port that somebody has) it says itself, of a few Services: all
 * of them are in its status.
 */
#pragma once

#include "agent/services/services.h"

/* How many nodes say the same: one may be down. */
#define SERVICE_EVENTS_TELLERS 3
/* Services of which a node's own problem of one kind is told at a time. */
#define SERVICE_EVENTS_OWN 4
/* Problems that are looked at; of more none is told. */
#define SERVICE_EVENTS_MAX 1024

struct service_event {
	const struct object *service;
	const char *reason, *text;
	bool few; /* few nodes say it */
};

struct service_events_env {
	const struct store *store;
	const char *node; /* this one's name */
	void (*tell)(const struct service_event *event, void *data);
	void *data;
};

struct service_events;

/* Borrows what `env` names. 0 or -ENOMEM. */
int service_events_new(const struct service_events_env *env, struct service_events **ret);
void service_events_free(struct service_events *events); /* takes NULL */

/* All problems that there are now: service_events_begin(), service_events_problem() for each,
 * service_events_end(). What finds no memory is not told. */
void service_events_begin(struct service_events *events);
void service_events_problem(const struct service_problem *problem, void *events);
void service_events_end(struct service_events *events);
