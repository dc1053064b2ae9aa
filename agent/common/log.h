/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One record, one line, to standard error; outside strings are escaped. Only daemon functions log,
 * libraries return. Nothing here waits for whoever reads standard error: what it does not take is
 * kept for a while, then lost, counted and told. Many lines of one kind (one format) become some
 * lines and a count.
 */
#pragma once

#include <stdarg.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_LEVELS };

/* `category` is a short word of the file: "pods", "store", "maps". Settable while running. */
void log_write(enum log_level level, const char *category, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
const char *log_level_name(enum log_level level);
/* "error", "warning", "info", "debug"; 0 or -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret);

/* To be called once in a while: sends what was kept, tells what was lost or held back. */
void log_tick(void);

struct log_stats {
	uint64_t written[LOG_LEVELS];
	uint64_t lost; /* nobody took them */
	uint64_t held; /* more of one kind than are written */
};
void log_read_stats(struct log_stats *ret);

#define log_error(category, ...)   log_write(LOG_LEVEL_ERROR, category, __VA_ARGS__)
#define log_warning(category, ...) log_write(LOG_LEVEL_WARNING, category, __VA_ARGS__)
#define log_info(category, ...)	   log_write(LOG_LEVEL_INFO, category, __VA_ARGS__)
#define log_debug(category, ...)   log_write(LOG_LEVEL_DEBUG, category, __VA_ARGS__)
