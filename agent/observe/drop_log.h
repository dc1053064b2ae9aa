/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who loses packets, and why: drop events counted by reason, direction, pod and policy, for the
 * last hour by the minute. Events are limited in number, so beside them stand the programs' own
 * counts by reason and direction, which miss nothing.
 */
#pragma once

#include <jansson.h>
#include <time.h>
#include <uv.h>

#include "agent/common/error.h"
#include "agent/observe/events.h"

#define DROP_LOG_ROWS	 1024
#define DROP_LOG_MINUTES 60

struct drop_log;
/* Listens to `events`, and reads the programs' counts. All is borrowed. 0 or -errno. */
int drop_log_open(uv_loop_t *loop, struct maps *maps, struct events *events,
		  const struct event_names *names, struct drop_log **ret);
/* Other than DROP_LOG_ROWS. */
void drop_log_limit(struct drop_log *log, size_t rows);
/* Takes NULL. Before events_close(); the memory goes with the loop's next turn. */
void drop_log_close(struct drop_log *log);

/*
 * The answer of `drops` (docs/control-protocol.md) for the question `args`. 0; -EINVAL: it makes no
 * sense, and `*ret_error` says why; -ENOMEM.
 */
int drop_log_document(const struct drop_log *log, const json_t *args, json_t **ret,
		      struct error *ret_error);

/* What rows of drops have in common. */
json_t *drop_time_document(time_t when);
/* For qsort(3) of an array of documents: the most packets first. */
int drop_row_compare(const void *a, const void *b);

/* What to do about a reason, in plain words. The caller frees; NULL: no memory. */
char *drop_remedy(unsigned int reason);
/* What the reason means; "": of a newer release. */
const char *drop_meaning(unsigned int reason);
