/* SPDX-License-Identifier: Apache-2.0 */
/* Records to standard error: `time level category: message`, or the journal's form where the
 * journal reads. */
#include "agent/common/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX 2048
/* Each byte may grow to \xNN. */
#define RECORD_MAX (128 + 4 * MESSAGE_MAX)

static enum log_level threshold = LOG_LEVEL_INFO;

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

/* JOURNAL_STREAM is inherited by children whose standard error goes elsewhere: only the same file
 * counts (systemd.exec(5)). */
static bool journal_reads(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;

	if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
		return false;
	return fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
	       status.st_ino == inode;
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

	if (journal_reads())
		return (size_t)snprintf(out, size, "<%d>%.32s: ", levels[level].priority, category);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
	return (size_t)snprintf(out, size, "%s.%03ldZ %s %.32s: ", stamp, now.tv_nsec / 1000000,
				levels[level].name, category);
}

void log_write(enum log_level level, const char *category, const char *format, ...)
{
	char message[MESSAGE_MAX], record[RECORD_MAX];
	int saved = errno;
	va_list arguments;
	size_t length;
	int wanted;

	if (level > threshold)
		return;
	va_start(arguments, format);
	wanted = vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	if (wanted >= (int)sizeof(message))
		memcpy(message + sizeof(message) - 4, "...", 4);

	length = format_prefix(record, 128, level, category);
	length += escape(record + length, wanted < 0 ? format : message);
	record[length++] = '\n';
	/* One write, so that records of several processes do not mix. What cannot be written is
	 * lost: logging never blocks work. */
	while (write(STDERR_FILENO, record, length) < 0 && errno == EINTR)
		;
	errno = saved;
}
