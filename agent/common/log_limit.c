/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kind of message is its format and category: however many objects, clients or retries cause it,
 * LINES_MOST lines are written within a window, the rest is a count. While a kind goes on like this
 * its windows are longer and take one line.
 */
#include <stdio.h>
#include <string.h>

#include "agent/common/log_internal.h"

#define LINES_MOST	20
#define SAME_MOST	10 /* of them with the same text as the line before */
#define WINDOW_NS	10000000000ull
#define WINDOW_LONG_NS	60000000000ull
#define LINES_MOST_LONG 1
#define KINDS_MOST	512 /* a power of two; more formats than the agent has */

struct kind {
	const char *format; /* NULL: free */
	uint64_t began_ns;
	uint32_t written, same, held;
	uint32_t last; /* hash of the last line */
	bool is_long;  /* the window before was full */
	struct log_summary summary;
};

static struct kind kinds[KINDS_MOST];
static uint64_t held_in_all;
static unsigned int holding; /* kinds of which lines are held back */

static uint32_t hash_text(const char *text)
{
	uint32_t hash = 0x811c9dc5;

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x01000193;
	return hash;
}

/* NULL: there are more kinds than places. */
static struct kind *find_kind(const char *format, const char *category)
{
	uint64_t at = ((uintptr_t)format * 0x9e3779b97f4a7c15ull) >> 40;

	for (unsigned int i = 0; i < KINDS_MOST; i++) {
		struct kind *kind = &kinds[(at + i) % KINDS_MOST];

		if (!kind->format) {
			kind->format = format;
			snprintf(kind->summary.category, sizeof(kind->summary.category), "%s",
				 category);
			return kind;
		}
		if (kind->format == format && strncmp(kind->summary.category, category,
						      sizeof(kind->summary.category) - 1) == 0)
			return kind;
	}
	return NULL;
}

static uint64_t window_of(const struct kind *kind)
{
	return kind->is_long ? WINDOW_LONG_NS : WINDOW_NS;
}

static void begin_window(struct kind *kind, uint64_t now_ns)
{
	kind->began_ns = now_ns;
	kind->written = kind->same = kind->held = 0;
}

bool log_limit_allows(enum log_level level, const char *category, const char *format,
		      const char *message, uint64_t now_ns)
{
	struct kind *kind = find_kind(format, category);
	uint32_t hash = hash_text(message);

	if (!kind)
		return true;
	/* One of which lines were held back is told first: log_limit_next_summary(). */
	if (!kind->held && now_ns - kind->began_ns >= window_of(kind)) {
		kind->is_long = false;
		begin_window(kind, now_ns);
	}
	kind->same = kind->written && kind->last == hash ? kind->same + 1 : 0;
	kind->last = hash;
	if (kind->same < SAME_MOST &&
	    kind->written < (kind->is_long ? LINES_MOST_LONG : LINES_MOST)) {
		kind->written++;
		return true;
	}
	holding += kind->held++ == 0;
	held_in_all++;
	kind->summary.level = level;
	snprintf(kind->summary.sample, sizeof(kind->summary.sample), "%s", message);
	return false;
}

uint64_t log_limit_held(void)
{
	return held_in_all;
}

bool log_limit_next_summary(uint64_t now_ns, struct log_summary *ret)
{
	for (unsigned int i = 0; i < KINDS_MOST && holding > 0; i++) {
		struct kind *kind = &kinds[i];

		if (!kind->held || now_ns - kind->began_ns < window_of(kind))
			continue;
		*ret = kind->summary;
		ret->held = kind->held;
		ret->seconds = (unsigned int)((now_ns - kind->began_ns) / 1000000000);
		holding--;
		kind->is_long = true;
		begin_window(kind, now_ns);
		return true;
	}
	return false;
}
