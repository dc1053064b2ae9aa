/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/flow_history_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/common/hash.h"
#include "agent/common/hex.h"
#include "agent/common/state_file.h"

#define MAGIC	  "polder-flow-history"
#define VERSION	  1
#define CRC_SIZE  9 /* eight digits and a blank */
#define NAME_MOST FLOW_WORKLOAD_MAX

struct flow_history_now flow_history_now(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct flow_history_now){
		.history_ns = flow_history_clock(clock_monotonic_ns()),
		.wall_ns = (uint64_t)wall.tv_sec * 1000000000 + (uint64_t)wall.tv_nsec,
	};
}

int flow_history_image(const struct flow_history *history, struct flow_history_image *ret)
{
	struct flow_history_image image = {
		.reach_ns = flow_history_reach(history),
		.now = flow_history_now(),
	};
	const struct flow_gap *gaps;
	int r = flow_history_copy(history, 0, &image.copy);

	if (r < 0)
		return r;
	image.gap_count = flow_history_gaps(history, &gaps);
	memcpy(image.gaps, gaps, image.gap_count * sizeof(*gaps));
	*ret = image;
	return 0;
}

void flow_history_image_clear(struct flow_history_image *image)
{
	flow_history_copy_clear(&image->copy);
}

/* ---------------------------------------------------------------- writing */

/* Names have numbers from 1 on, by which entries tell them. */
struct numbered {
	UT_hash_handle hh;
	size_t number;
};

struct writer {
	const struct flow_history_now *now;
	FILE *out;
	struct numbered *names;
	bool failed; /* no memory */
};

/* By the wall clock. */
static uint64_t to_wall(const struct flow_history_now *now, uint64_t time_ns)
{
	uint64_t age = now->history_ns > time_ns ? now->history_ns - time_ns : 0;

	return now->wall_ns > age ? now->wall_ns - age : 0;
}

__attribute__((format(printf, 2, 3))) static void put_line(struct writer *writer,
							   const char *format, ...)
{
	char *line = NULL;
	va_list list;
	int length;

	va_start(list, format);
	length = vasprintf(&line, format, list);
	va_end(list);
	if (length < 0) {
		writer->failed = true;
		return;
	}
	fprintf(writer->out, "%08" PRIx32 " %s\n", state_file_crc32(line, (size_t)length), line);
	free(line);
}

/* Bytes that would end a word, or are none of ASCII, as %XX. */
static void escape(const struct flow_name *name, char buffer[3 * NAME_MOST + 1])
{
	char *p = buffer;

	for (size_t i = 0; i < name->length && i < NAME_MOST; i++) {
		unsigned char c = (unsigned char)name->text[i];

		if (c > ' ' && c < 0x7f && c != '%')
			*p++ = (char)c;
		else
			p += sprintf(p, "%%%02x", c);
	}
	*p = '\0';
}

/* 0: no name. */
static size_t number_of(struct writer *writer, const struct flow_name *name)
{
	char text[3 * NAME_MOST + 1];
	struct numbered *known;

	if (!name->length)
		return 0;
	HASH_FIND(hh, writer->names, name->text, name->length, known);
	if (known)
		return known->number;
	known = calloc(1, sizeof(*known));
	if (known) {
		known->number = HASH_COUNT(writer->names) + 1;
		HASH_ADD_KEYPTR(hh, writer->names, name->text, name->length, known);
	}
	if (!known || !HASH_ADDED(hh, known)) {
		free(known);
		writer->failed = true;
		return 0;
	}
	escape(name, text);
	put_line(writer, "name %zu %s", known->number, text);
	return known->number;
}

static void put_entry(struct writer *writer, const struct flow_history_item *item)
{
	const struct flow_seen *seen = &item->seen;
	const struct flow_seen_counts *counts = &item->counts;
	size_t subject = number_of(writer, &seen->subject), peer = number_of(writer, &seen->peer),
	       service = number_of(writer, &seen->service);
	char addr[INET6_ADDRSTRLEN] = "-";

	if (!addr_is_zero(&seen->addr))
		addr_format(&seen->addr, addr);
	put_line(writer,
		 "entry %zu %zu %zu %d %d %d %u %u %u %s %" PRIu64 " %" PRIu64 " %" PRIu64
		 " %" PRIu64,
		 subject, peer, service, (int)seen->direction, seen->allowed, (int)seen->peer_kind,
		 seen->proto, seen->port, seen->service_port, addr,
		 to_wall(writer->now, counts->first_ns), to_wall(writer->now, counts->last_ns),
		 counts->events, counts->found);
}

static void put_all(struct writer *writer, const struct flow_history_image *image)
{
	put_line(writer, MAGIC " %d", VERSION);
	for (size_t i = 0; i < image->copy.count; i++)
		put_entry(writer, &image->copy.items[i]);
	for (size_t i = 0; i < image->gap_count; i++)
		put_line(writer, "gap %" PRIu64 " %" PRIu64,
			 to_wall(writer->now, image->gaps[i].from_ns),
			 to_wall(writer->now, image->gaps[i].to_ns));
	put_line(writer, "end %zu %zu %" PRIu64 " %" PRIu64, image->copy.count, image->gap_count,
		 to_wall(writer->now, image->reach_ns), image->now.wall_ns);
}

int flow_history_format(const struct flow_history_image *image, char **ret, size_t *ret_length)
{
	CLEANUP(cleanup_free) char *text = NULL;
	struct writer writer = {.now = &image->now};
	struct numbered *name, *next;
	size_t length = 0;

	writer.out = open_memstream(&text, &length);
	if (!writer.out)
		return -ENOMEM;
	put_all(&writer, image);
	HASH_ITER (hh, writer.names, name, next) {
		HASH_DEL(writer.names, name);
		free(name);
	}
	if (ferror(writer.out))
		writer.failed = true;
	if (fclose(writer.out) != 0 || writer.failed)
		return -ENOMEM;
	*ret = TAKE_PTR(text);
	*ret_length = length;
	return 0;
}

/* ---------------------------------------------------------------- reading */

struct reader {
	const struct flow_history_now *now;
	struct flow_history *history;
	struct flow_name *names; /* by their numbers; length 0: not there */
	size_t name_count;
	struct flow_gap gaps[FLOW_GAPS_MAX];
	size_t gap_count;
	uint64_t reach_ns, written_ns;
	size_t lines, entries_told, gaps_told;
	bool is_whole; /* its end was there */
	struct flow_history_read *result;
};

/* A time that lies ahead (the clock was set back) is now. */
static uint64_t from_wall(const struct flow_history_now *now, uint64_t wall_ns)
{
	uint64_t age = now->wall_ns > wall_ns ? now->wall_ns - wall_ns : 0;

	return now->history_ns > age ? now->history_ns - age : 1;
}

/* The name in its own memory; false: it is none. */
static bool unescape(const char *text, struct flow_name *ret)
{
	char *name = malloc(strlen(text) + 1), *p = name;

	while (name && *text) {
		if (*text != '%') {
			*p++ = *text++;
			continue;
		}
		if (hex_digit(text[1]) < 0 || hex_digit(text[2]) < 0) {
			free(name);
			return false;
		}
		*p++ = (char)(hex_digit(text[1]) << 4 | hex_digit(text[2]));
		text += 3;
	}
	/* Names end with a NUL, by which they are read. */
	if (!name || p == name || p[-1] != '\0') {
		free(name);
		return false;
	}
	*ret = (struct flow_name){(size_t)(p - name), name};
	return true;
}

/* Lines are numbered by their names: nobody has more of these than lines. */
static bool read_name(struct reader *reader, const char *line)
{
	size_t number;
	int at = 0;

	if (sscanf(line, "name %zu %n", &number, &at) != 1 || !at || !number ||
	    number >= reader->name_count || reader->names[number].length)
		return false;
	return unescape(line + at, &reader->names[number]);
}

static size_t strings_in(const struct flow_name *name)
{
	size_t count = 0;

	for (size_t i = 0; i < name->length; i++)
		count += name->text[i] == '\0';
	return count;
}

/* 0 is no name, and good. */
static bool find_name(const struct reader *reader, size_t number, struct flow_name *ret)
{
	if (number && (number >= reader->name_count || !reader->names[number].length))
		return false;
	*ret = number ? reader->names[number] : (struct flow_name){0};
	return true;
}

/* A namespace, then keys with their values. */
static bool find_workload(const struct reader *reader, size_t number, struct flow_name *ret)
{
	return find_name(reader, number, ret) && (!number || strings_in(ret) % 2 == 1);
}

static bool find_service(const struct reader *reader, size_t number, struct flow_name *ret)
{
	return find_name(reader, number, ret) && (!number || strings_in(ret) == 1);
}

static bool read_entry(struct reader *reader, const char *line)
{
	size_t subject, peer, service;
	unsigned int direction, allowed, kind, proto, port, service_port;
	uint64_t first, last;
	char addr[INET6_ADDRSTRLEN], rest;
	struct flow_history_item item = {0};

	if (sscanf(line,
		   "entry %zu %zu %zu %u %u %u %u %u %u %45s %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64 "%c",
		   &subject, &peer, &service, &direction, &allowed, &kind, &proto, &port,
		   &service_port, addr, &first, &last, &item.counts.events, &item.counts.found,
		   &rest) != 14 ||
	    direction >= DIRECTIONS || allowed > 1 || kind > FLOW_PEER_NODE || proto > UINT8_MAX ||
	    port > UINT16_MAX || service_port > UINT16_MAX || !subject ||
	    !find_workload(reader, subject, &item.seen.subject) ||
	    !find_workload(reader, peer, &item.seen.peer) ||
	    !find_service(reader, service, &item.seen.service) ||
	    (kind == FLOW_PEER_POD) != (peer != 0) ||
	    (strcmp(addr, "-") != 0 && addr_parse(addr, &item.seen.addr) < 0))
		return false;
	item.seen.direction = (enum direction)direction;
	item.seen.allowed = allowed;
	item.seen.peer_kind = (enum flow_peer)kind;
	item.seen.proto = (uint8_t)proto;
	item.seen.port = (uint16_t)port;
	item.seen.service_port = (uint16_t)service_port;
	item.counts.first_ns = from_wall(reader->now, first);
	item.counts.last_ns = from_wall(reader->now, last);
	if (flow_history_restore(reader->history, &item) == 0)
		reader->result->entries++;
	return true;
}

static bool read_gap(struct reader *reader, const char *line)
{
	uint64_t from, to;
	char rest;

	if (sscanf(line, "gap %" SCNu64 " %" SCNu64 "%c", &from, &to, &rest) != 2 ||
	    reader->gap_count == FLOW_GAPS_MAX)
		return false;
	reader->gaps[reader->gap_count++] =
		(struct flow_gap){from_wall(reader->now, from), from_wall(reader->now, to)};
	return true;
}

static bool read_end(struct reader *reader, const char *line)
{
	uint64_t reach, written;
	char rest;

	if (sscanf(line, "end %zu %zu %" SCNu64 " %" SCNu64 "%c", &reader->entries_told,
		   &reader->gaps_told, &reach, &written, &rest) != 4)
		return false;
	reader->reach_ns = from_wall(reader->now, reach);
	reader->written_ns = from_wall(reader->now, written);
	reader->is_whole = true;
	return true;
}

static bool read_line(struct reader *reader, const char *line)
{
	static const struct {
		const char *word;
		bool (*read)(struct reader *reader, const char *line);
	} kinds[] = {{"name ", read_name},
		     {"entry ", read_entry},
		     {"gap ", read_gap},
		     {"end ", read_end}};

	for (size_t i = 0; i < COUNT(kinds); i++)
		if (strncmp(line, kinds[i].word, strlen(kinds[i].word)) == 0)
			return kinds[i].read(reader, line);
	return false;
}

/* Is the line, which ends with a NUL, as it was written? */
static bool is_good(const char *line, size_t length)
{
	char sum[CRC_SIZE + 1];

	if (length <= CRC_SIZE || strlen(line) != length)
		return false;
	snprintf(sum, sizeof(sum), "%08" PRIx32 " ",
		 state_file_crc32(line + CRC_SIZE, length - CRC_SIZE));
	return strncmp(line, sum, CRC_SIZE) == 0;
}

/* 0; -EPROTO: it is another release's. */
static int read_first(const char *line)
{
	int version = 0;

	return sscanf(line, MAGIC " %d", &version) == 1 && version != VERSION ? -EPROTO : 0;
}

/* The text is cut into lines. */
static int read_lines(struct reader *reader, char *text, size_t length)
{
	char *end = text + length, *line = text, *next;
	int r;

	for (; line < end; line = next + 1) {
		next = memchr(line, '\n', (size_t)(end - line));
		/* Without an end it was cut off. */
		if (!next)
			return 0;
		*next = '\0';
		if (!is_good(line, (size_t)(next - line))) {
			reader->result->damaged++;
			continue;
		}
		reader->lines++;
		r = read_first(line + CRC_SIZE);
		if (r < 0)
			return r;
		if (strncmp(line + CRC_SIZE, MAGIC, strlen(MAGIC)) != 0 &&
		    !read_line(reader, line + CRC_SIZE))
			reader->result->damaged++;
	}
	return 0;
}

static size_t count_lines(const char *text, size_t length)
{
	size_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += text[i] == '\n';
	return count;
}

/* Nothing is missing: then it is known since when it is whole. */
static void take_reach(struct reader *reader)
{
	struct flow_history_read *result = reader->result;

	result->cut_off = !reader->is_whole;
	if (!reader->is_whole || result->damaged || reader->gaps_told != reader->gap_count ||
	    reader->entries_told != result->entries)
		return;
	flow_history_set_reach(reader->history, reader->reach_ns);
	for (size_t i = 0; i < reader->gap_count; i++)
		flow_history_add_gap(reader->history, reader->gaps[i]);
	flow_history_add_gap(reader->history,
			     (struct flow_gap){reader->written_ns, reader->now->history_ns});
}

int flow_history_parse(struct flow_history *history, const char *text, size_t length,
		       const struct flow_history_now *now, struct flow_history_read *ret)
{
	CLEANUP(cleanup_free) char *copy = malloc(length + 1);
	struct flow_history_read result = {0};
	struct reader reader = {.now = now, .history = history, .result = &result};
	int r;

	reader.name_count = count_lines(text, length) + 1;
	reader.names = calloc(reader.name_count, sizeof(*reader.names));
	if (!copy || !reader.names) {
		free(reader.names);
		return -ENOMEM;
	}
	memcpy(copy, text, length);
	r = read_lines(&reader, copy, length);
	for (size_t i = 0; i < reader.name_count; i++)
		free((char *)reader.names[i].text);
	free(reader.names);
	/* Not one good line: it is something else. An empty one is nobody's. */
	if (r == 0 && length && !reader.lines)
		r = -EBADMSG;
	if (r < 0)
		return r;
	take_reach(&reader);
	*ret = result;
	return 0;
}
