/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets that listen, for TrafficAlerts: looks through what the programs have noted for those that
 * were not there at the look before, and tells the alerts whose they are.
 */
#pragma once

#include "agent/observe/event_names.h"
#include "agent/observe/flow_watch.h"
#include "datapath/processes.h"
#include "policy/alerts/alerts.h"

/* A network namespace of this node, by one of its addresses. */
struct alert_place {
	uint64_t netns; /* cookie */
	struct polder_addr addr;
	bool node; /* the node's own; else a pod's */
};

/* All are called with the flow_watch_env's `data`. */
struct alert_socket_env {
	/* Pods of this node whose namespace is known, and the node; once each. */
	void (*places)(void (*visit)(const struct alert_place *place, void *arg), void *arg,
		       void *data);
	/* Sockets that listen, or did. 0 or -errno: some may be left out. */
	int (*listeners)(void (*visit)(const struct process_key *key,
				       const struct process_note *note, void *arg),
			 void *arg, void *data);
	/* As struct event_names has it. */
	json_t *(*process)(const struct event_socket *socket, void *data);
};

/* What a document of `process` says; its texts are the document's. */
void alert_process_of(const json_t *document, struct alert_process *ret);

struct alert_listeners;
/* The environments are borrowed. NULL: no memory. */
struct alert_listeners *alert_listeners_new(const struct flow_watch_env *flows,
					    const struct alert_socket_env *env,
					    struct alerts *alerts);
void alert_listeners_free(struct alert_listeners *listeners); /* takes NULL */
/* 0 or -errno: the next look tells what this one has not. */
int alert_listeners_look(struct alert_listeners *listeners);
/* An alert has come or was changed: at the next look all of them are told. */
void alert_listeners_anew(struct alert_listeners *listeners);
