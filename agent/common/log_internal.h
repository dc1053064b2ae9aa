/* SPDX-License-Identifier: Apache-2.0 */
/* What the log's files share: where records go, and which of them are held back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/common/log.h"

/*
 * log_sink.c: standard error, written without ever waiting for who reads it. What does not go at
 * once is kept, up to a bound, and sent later; what exceeds the bound is lost and counted. Callers
 * hold the log's lock. False: this record is lost.
 */
bool log_sink_put(const char *record, size_t length);
/* Sends what is kept. True: nothing is left. */
bool log_sink_flush(void);
/* Counts lines as lost. Those in all, and those since the last log_sink_told(). */
void log_sink_lose(uint64_t lines);
uint64_t log_sink_lost(void);
uint64_t log_sink_lost_untold(void);
void log_sink_told(void);
/* Does the journal read standard error? */
bool log_sink_is_journal(void);

/*
 * log_limit.c: of each kind of message (its format) only so many lines are written within a time.
 * False: this one is held back; it is counted, and told later in one line.
 */
bool log_limit_allows(enum log_level level, const char *category, const char *format,
		      const char *message, uint64_t now_ns);
uint64_t log_limit_held(void); /* lines held back, in all */

/* A kind of which lines were held back. `sample` is the last of them. */
struct log_summary {
	enum log_level level;
	char category[33];
	uint32_t held;
	unsigned int seconds;
	char sample[160];
};
/* The next kind whose time is over. False: there is none. */
bool log_limit_next_summary(uint64_t now_ns, struct log_summary *ret);
