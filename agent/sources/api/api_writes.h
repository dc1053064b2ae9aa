/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What polderd writes to the API server: that this node has a network (taint and condition), and
 * Events on objects that it refuses. There is nothing else but addresses of load balancers, where
 * pools of them are configured (api_balancers.h). One request at a time, beside those
 * that read; what fails is tried again, later each time. Nothing waits for it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/sources/api/refusal.h"

struct api_source;
struct api_writes;

enum write_kind {
	WRITE_TAINT,
	WRITE_CONDITION,
	WRITE_EVENT,
	WRITE_LANES, /* those that are written here; see api_balancers.h for the others */
	WRITE_LEASE = WRITE_LANES,
	WRITE_ADDRESS,
	WRITE_KINDS
};
enum write_result {
	WRITE_DONE,
	WRITE_KNOWN,	/* another node has told it */
	WRITE_CONFLICT, /* somebody else has written: it is read again */
	WRITE_REFUSED,	/* by the server; of an Event: given up */
	WRITE_FAILED,	/* no answer, or one that promises more later */
	WRITE_DROPPED,	/* more Events than are told */
	WRITE_RESULTS,
};
extern const char *const write_kind_names[WRITE_KINDS], *const write_result_names[WRITE_RESULTS];

/* Events that wait to be told. */
#define WRITES_EVENTS_MAX 64

/* -ENOMEM or 0. `node`: the name of this one's object; kept. */
int api_writes_new(struct api_source *source, const char *node, struct api_writes **ret);
void api_writes_free(struct api_writes *writes); /* takes NULL */

/* This node's object as the server has it, and that it has none any more. Others are ignored. */
void api_writes_node(struct api_writes *writes, const char *text, size_t length);
void api_writes_node_gone(struct api_writes *writes, const char *text, size_t length);
/* The Nodes are listed from here on. */
void api_writes_list(struct api_writes *writes);
/* All is listed. */
void api_writes_synced(const struct api_writes *writes);
/* An object is refused, in other words than before. What finds no room is not told. */
void api_writes_refused(struct api_writes *writes, const struct refusal *refusal);
/* Pods have a network here, or not. */
void api_writes_set_ready(struct api_writes *writes, bool ready);
/* Somebody has mended what was wrong: at once. */
void api_writes_hurry(struct api_writes *writes);

/* Sends what is due; not while no server is connected. */
void api_writes_run(struct api_writes *writes, uint64_t now);
uint64_t api_writes_due(const struct api_writes *writes); /* UINT64_MAX: never */
/* Its connection is closed: the request is sent again. */
void api_writes_cut(struct api_writes *writes);

struct write_status {
	const char *error; /* why it cannot be written now; "": nothing is wrong */
	uint64_t results[WRITE_RESULTS];
};
void api_writes_status(const struct api_writes *writes, struct write_status ret[WRITE_KINDS],
		       size_t *ret_waiting);
