/* SPDX-License-Identifier: Apache-2.0 */
/* Records to standard error: `time level category: message`, or the journal's form where the
 * journal reads. */
#include "agent/common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/common/clock.h"
#include "agent/common/log_internal.h"

#define MESSAGE_MAX 2048
/* Each byte may grow to \xNN. */
#define RECORD_MAX (128 + 4 * MESSAGE_MAX)

static enum log_level threshold = LOG_LEVEL_INFO;
/* Work in the thread pool may log, too. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t written[LOG_LEVELS];

static const struct {
	const char *name;
	int priority; /* syslog(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARNING] = {"warning", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};

void log_set_level(enum log_level level)
{
	threshold = level;
}

enum log_level log_get_level(void)
{
	return threshold;
}

const char *log_level_name(enum log_level level)
{
	return levels[level].name;
}

int log_level_parse(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(levels[i].name, text) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* Bytes of the UTF-8 character at `text`; 0 if it is none, or a control character of the second
 * block (U+0080 to U+009F). */
static size_t utf8_length(const unsigned char *text)
{
	uint32_t code;
	size_t length;

	if (text[0] < 0x80)
		return 1;
	if ((text[0] & 0xe0) == 0xc0) {
		length = 2;
		code = text[0] & 0x1f;
	} else if ((text[0] & 0xf0) == 0xe0) {
		length = 3;
		code = text[0] & 0x0f;
	} else if ((text[0] & 0xf8) == 0xf0) {
		length = 4;
		code = text[0] & 0x07;
	} else {
		return 0;
	}
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < 0xa0 || (length == 3 && code < 0x800) || (length == 4 && code < 0x10000))
		return 0;
	/* Line and paragraph separators, and what turns the direction of the text around. */
	if ((code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
		return 0;
	return length;
}

static size_t escape(char *out, const char *text)
{
	const unsigned char *in = (const unsigned char *)text;
	char *start = out;

	while (*in) {
		size_t length = utf8_length(in);

		if (*in == '\n') {
			out = stpcpy(out, "\\n");
		} else if (*in == '\t') {
			out = stpcpy(out, "\\t");
		} else if (*in == '\\') {
			out = stpcpy(out, "\\\\");
		} else if (length == 0 || *in < 0x20 || *in == 0x7f) {
			out += sprintf(out, "\\x%02x", *in);
		} else {
			memcpy(out, in, length);
			out += length;
			in += length - 1;
		}
		in++;
	}
	return (size_t)(out - start);
}

static size_t format_prefix(char *out, size_t size, enum log_level level, const char *category)
{
	struct timespec now;
	char stamp[32];
	struct tm utc;

	if (log_sink_is_journal())
		return (size_t)snprintf(out, size, "<%d>%.32s: ", levels[level].priority, category);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
	return (size_t)snprintf(out, size, "%s.%03ldZ %s %.32s: ", stamp, now.tv_nsec / 1000000,
				levels[level].name, category);
}

/* One record, held back by nothing any more. False: it is lost. */
static bool put_record(enum log_level level, const char *category, const char *message)
{
	char record[RECORD_MAX];
	size_t length = format_prefix(record, 128, level, category);

	length += escape(record + length, message);
	record[length++] = '\n';
	if (!log_sink_put(record, length))
		return false;
	written[level]++;
	return true;
}

/* What was lost, as soon as lines are taken again. */
static void tell_lost(void)
{
	char message[160];
	uint64_t lost = log_sink_flush() ? log_sink_lost_untold() : 0;

	if (!lost)
		return;
	snprintf(message, sizeof(message),
		 "%" PRIu64 " lines were lost: whoever reads standard error had stopped", lost);
	if (put_record(LOG_LEVEL_WARNING, "log", message))
		log_sink_told();
}

static void tell_held(void)
{
	struct log_summary summary;
	char message[320];

	while (log_limit_next_summary(clock_monotonic_ns(), &summary)) {
		snprintf(message, sizeof(message),
			 "%u more lines like this within %u s were not written: %s", summary.held,
			 summary.seconds, summary.sample);
		if (!put_record(summary.level, summary.category, message))
			log_sink_lose(1);
	}
}

void log_write(enum log_level level, const char *category, const char *format, ...)
{
	char message[MESSAGE_MAX];
	int saved = errno, wanted;
	va_list arguments;

	if (level > threshold)
		return;
	va_start(arguments, format);
	wanted = vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	if (wanted < 0)
		snprintf(message, sizeof(message), "%s", format);
	else if (wanted >= (int)sizeof(message))
		memcpy(message + sizeof(message) - 4, "...", 4);

	pthread_mutex_lock(&lock);
	tell_lost();
	tell_held();
	/* Who asks for debug wants all of it. */
	if ((level == LOG_LEVEL_DEBUG ||
	     log_limit_allows(level, category, format, message, clock_monotonic_ns())) &&
	    !put_record(level, category, message))
		log_sink_lose(1);
	pthread_mutex_unlock(&lock);
	errno = saved;
}

void log_tick(void)
{
	pthread_mutex_lock(&lock);
	tell_lost();
	tell_held();
	pthread_mutex_unlock(&lock);
}

void log_read_stats(struct log_stats *ret)
{
	pthread_mutex_lock(&lock);
	memcpy(ret->written, written, sizeof(ret->written));
	ret->lost = log_sink_lost();
	ret->held = log_limit_held();
	pthread_mutex_unlock(&lock);
}
