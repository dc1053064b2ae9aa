/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a history with what the programs tell and what the flow table has. An event that found no
 * room, or was withheld by the rate limit, is no flow that is lost: the table has the flow for ten
 * seconds at least, and is looked through within two.
 */
#pragma once

#include <uv.h>

#include "agent/kernel/flows.h"
#include "agent/observe/events.h"
#include "agent/observe/flow_history.h"
#include "agent/observe/flow_history_file.h"

/* Who has an address. */
struct flow_watch_end {
	const char *namespace, *name; /* of the pod; NULL: it is none */
	const struct labels *labels;
	bool local;   /* a pod of this node */
	bool unknown; /* no pod that is known, but of a range that pods have */
};

/* All is borrowed. */
struct flow_watch_env {
	uv_loop_t *loop;
	struct events *events;
	struct flows *flows;
	struct maps *maps;
	void (*who)(const struct polder_addr *addr, struct flow_watch_end *ret, void *data);
	/* The Service that is served there, as struct event_names has it. */
	int (*service)(const struct polder_addr *addr, __be16 port_be, uint8_t proto, char *buffer,
		       size_t size, void *data);
	void *data;
};

struct flow_watch;
/* Takes `history`, on failure too. Begins with a look at the flow table. 0 or -ENOMEM. */
int flow_watch_open(const struct flow_watch_env *env, struct flow_history *history,
		    struct flow_watch **ret);
/* Takes NULL. Before events_close(); the memory goes with the loop's next turns. Those who wait for
 * a look are called with false. */
void flow_watch_close(struct flow_watch *watch);

/* For the reader only. */
struct flow_history *flow_watch_history(struct flow_watch *watch);

struct flow_watch_stats {
	uint64_t walks;	    /* looks at the whole flow table */
	uint64_t looked_up; /* events that had no room or were withheld, and have been looked for */
};
void flow_watch_stats(const struct flow_watch *watch, struct flow_watch_stats *ret);

/* Calls when the table has been looked through once more, from now on. The item is the caller's,
 * until the call or flow_watch_cancel(). */
struct flow_watch_look {
	void (*done)(bool whole, void *data);
	void *data;
	uint32_t after; /* the watch's own from here on */
	struct flow_watch_look *prev, *next;
};
void flow_watch_look(struct flow_watch *watch, struct flow_watch_look *look);
void flow_watch_cancel(struct flow_watch *watch, struct flow_watch_look *look);

/* One history for all who need one: it is there as long as somebody does. */
#define FLOW_RECORDER_BYTES (16u << 20) /* of one that is not configured */
struct flow_recorder {
	struct flow_watch_env env;
	uint64_t most_bytes; /* 0: it is not configured */
	uint64_t age_ns;
	const char *path;		/* NULL: in memory only */
	struct flow_history_file *file; /* NULL: the same, or nobody needs it */
	struct flow_watch *watch;	/* NULL: nobody needs it */
	size_t users;
};
int flow_recorder_begin(struct flow_recorder *recorder); /* 0 or -ENOMEM */
void flow_recorder_end(struct flow_recorder *recorder);
