/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/kept_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"
#include "agent/common/hash_table.h"
#include "agent/common/state_file.h"
#include "policy/objects/limits.h"

#define HEAD	   "H polder-objects 1"
#define CRC_DIGITS 8
/* Checksum and a space. */
#define FRAME (CRC_DIGITS + 1)

/* ---------------------------------------------------------------- lines */

void kept_text_clear(struct kept_text *text)
{
	free(text->text);
	*text = (struct kept_text){};
}

static bool need_room(struct kept_text *text, size_t more)
{
	size_t room = text->room ? text->room : 4096;
	char *longer;

	while (room - text->length < more)
		room *= 2;
	if (room == text->room)
		return true;
	longer = realloc(text->text, room);
	if (!longer)
		return false;
	text->text = longer;
	text->room = room;
	return true;
}

/* A line of a head and what follows it; neither has an end of line in it. */
static void add_line(struct kept_text *text, const char *head, const char *rest)
{
	size_t length = strlen(head) + strlen(rest);
	char *line, crc[FRAME + 1];

	if (text->failed || !need_room(text, FRAME + length + 2)) {
		text->failed = true;
		return;
	}
	line = text->text + text->length;
	snprintf(line + FRAME, length + 1, "%s%s", head, rest);
	snprintf(crc, sizeof(crc), "%08x ", state_file_crc32(line + FRAME, length));
	memcpy(line, crc, FRAME);
	line[FRAME + length] = '\n';
	text->length += FRAME + length + 1;
}

void kept_add_head(struct kept_text *text)
{
	add_line(text, HEAD, "");
}

void kept_add_whole(struct kept_text *text)
{
	add_line(text, "W", "");
}

void kept_add_object(struct kept_text *text, unsigned int kind, const char *namespace,
		     const char *name, const char *json, bool closed)
{
	char head[LIMIT_NAMESPACE + LIMIT_NAME + 32];

	snprintf(head, sizeof(head), "%c %u %s/%s ", closed ? 'C' : 'P', kind, namespace, name);
	add_line(text, head, json);
}

void kept_add_deletion(struct kept_text *text, unsigned int kind, const char *namespace,
		       const char *name)
{
	char head[LIMIT_NAMESPACE + LIMIT_NAME + 32];

	snprintf(head, sizeof(head), "D %u %s/%s", kind, namespace, name);
	add_line(text, head, "");
}

/* ---------------------------------------------------------------- reading */

/* The last word about an object. */
struct entry {
	struct hash_table_item item;
	const char *key; /* "KIND NAMESPACE/NAME" */
	size_t key_length;
	char *line; /* NULL: deleted */
	size_t length;
};

struct reader {
	struct hash_table table;
	struct entry **order;
	size_t count, room;
	bool whole;
};

static void reader_clear(struct reader *reader)
{
	hash_table_clear(&reader->table);
	for (size_t i = 0; i < reader->count; i++)
		free(reader->order[i]);
	free(reader->order);
}

static bool is_valid(const char *line, size_t length)
{
	char crc[FRAME + 1];

	if (length <= FRAME)
		return false;
	snprintf(crc, sizeof(crc), "%08x ", state_file_crc32(line + FRAME, length - FRAME));
	return memcmp(line, crc, FRAME) == 0;
}

static struct entry *find(const struct reader *reader, const char *key, size_t length)
{
	struct hash_table_item *item =
		hash_table_find(&reader->table, hash_table_hash_of(key, length));

	for (; item; item = hash_table_find_next(item)) {
		struct entry *entry = (struct entry *)item;

		if (entry->key_length == length && memcmp(entry->key, key, length) == 0)
			return entry;
	}
	return NULL;
}

static int add_entry(struct reader *reader, const char *key, size_t length, struct entry **ret)
{
	struct entry **longer, *entry;

	if (reader->count == reader->room) {
		reader->room = reader->room ? 2 * reader->room : 1024;
		longer = reallocarray(reader->order, reader->room, sizeof(*longer));
		if (!longer)
			return -ENOMEM;
		reader->order = longer;
	}
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->key = key;
	entry->key_length = length;
	reader->order[reader->count++] = entry;
	if (hash_table_add(&reader->table, &entry->item, hash_table_hash_of(key, length)) < 0)
		return -ENOMEM;
	*ret = entry;
	return 0;
}

/* The key behind "P "; NULL: the line has none. */
static const char *key_of(const char *line, size_t length, size_t *ret_length)
{
	const char *key = line + FRAME + 2, *end = line + length, *space;

	if (length < FRAME + 3 || line[FRAME + 1] != ' ')
		return NULL;
	space = memchr(key, ' ', (size_t)(end - key));
	if (!space)
		return NULL;
	space = memchr(space + 1, ' ', (size_t)(end - space - 1));
	*ret_length = (size_t)((space ? space : end) - key);
	return key;
}

/* 0; -EBADMSG: a line that nobody writes. */
static int take_line(struct reader *reader, char *line, size_t length)
{
	char what = line[FRAME];
	struct entry *entry;
	const char *key;
	size_t key_length;
	int r = 0;

	if (what == 'W' && length == FRAME + 1) {
		reader->whole = true;
		return 0;
	}
	key = key_of(line, length, &key_length);
	if (!key || (what != 'P' && what != 'C' && what != 'D'))
		return -EBADMSG;
	entry = find(reader, key, key_length);
	if (!entry)
		r = add_entry(reader, key, key_length, &entry);
	if (r < 0)
		return r;
	entry->line = what == 'D' ? NULL : line;
	entry->length = length;
	entry->key = key;
	return 0;
}

static bool is_head(const char *line, size_t length)
{
	return length == FRAME + strlen(HEAD) && memcmp(line + FRAME, HEAD, strlen(HEAD)) == 0;
}

/* Is there a whole line from here on? Then what stands before it is no crash's doing. */
static bool has_valid_line(char *at, const char *end)
{
	while (at < end) {
		char *stop = memchr(at, '\n', (size_t)(end - at));

		if (!stop)
			return false;
		if (is_valid(at, (size_t)(stop - at)))
			return true;
		at = stop + 1;
	}
	return false;
}

static int read_lines(struct reader *reader, char *text, size_t length, size_t *ret_valid)
{
	char *at = text, *end = text + length;
	int r;

	while (at < end) {
		char *stop = memchr(at, '\n', (size_t)(end - at));

		if (!stop)
			break;
		if (!is_valid(at, (size_t)(stop - at))) {
			if (has_valid_line(stop + 1, end))
				return -EBADMSG;
			break;
		}
		if (at == text)
			r = is_head(at, (size_t)(stop - at)) ? 0 : -EBADMSG;
		else
			r = take_line(reader, at, (size_t)(stop - at));
		if (r < 0)
			return r;
		*stop = '\0';
		at = stop + 1;
	}
	*ret_valid = (size_t)(at - text);
	return at == text ? -EBADMSG : 0;
}

static int collect(const struct reader *reader, struct kept_content *content)
{
	content->objects = calloc(reader->count + 1, sizeof(*content->objects));
	if (!content->objects)
		return -ENOMEM;
	for (size_t i = 0; i < reader->count; i++) {
		const struct entry *entry = reader->order[i];
		struct kept_object *object = &content->objects[content->count];
		const char *json = entry->key + entry->key_length + 1;

		if (!entry->line)
			continue;
		if (json > entry->line + entry->length)
			return -EBADMSG;
		object->kind = (unsigned int)strtoul(entry->key, NULL, 10);
		object->json = json;
		object->length = (size_t)(entry->line + entry->length - json);
		object->closed = entry->line[FRAME] == 'C';
		content->live += entry->length + 1;
		content->count++;
	}
	return 0;
}

int kept_file_read(const char *path, struct kept_content *ret)
{
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct kept_content content = {};
	struct reader reader = {};
	size_t length = 0;
	int r = fd < 0 ? -errno : file_read_all(fd, KEPT_FILE_MAX, &content.text, &length);

	if (r < 0)
		return r;
	r = read_lines(&reader, content.text, length, &content.valid);
	if (r == 0)
		r = collect(&reader, &content);
	content.whole = reader.whole;
	reader_clear(&reader);
	if (r < 0)
		kept_content_clear(&content);
	else
		*ret = content;
	return r;
}

void kept_content_clear(struct kept_content *content)
{
	free(content->objects);
	free(content->text);
	*content = (struct kept_content){};
}

/* ---------------------------------------------------------------- less of it */

static int write_new(const char *path, const struct kept_text *text)
{
	CLEANUP(cleanup_close)
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd < 0 ? -errno : file_write_all(fd, text->text, text->length);

	return r == 0 && fsync(fd) < 0 ? -errno : r;
}

/* The lines as they are: their checksums tell of damage in memory as well. */
static void copy_lines(const struct kept_content *content, struct kept_text *text)
{
	kept_add_head(text);
	for (size_t i = 0; i < content->count && !text->failed; i++) {
		const struct kept_object *object = &content->objects[i];
		const char *line = object->json;

		while (line > content->text && line[-1] != '\0')
			line--;
		add_line(text, line + FRAME, "");
	}
	if (content->whole)
		kept_add_whole(text);
}

int kept_file_compact(const char *path)
{
	struct kept_content content = {};
	struct kept_text text = {};
	char beside[PATH_MAX];
	int r = snprintf(beside, sizeof(beside), "%s.new", path) < (int)sizeof(beside)
			? 0
			: -ENAMETOOLONG;

	if (r == 0)
		r = kept_file_read(path, &content);
	if (r < 0)
		return r;
	copy_lines(&content, &text);
	r = text.failed ? -ENOMEM : write_new(beside, &text);
	if (r == 0 && rename(beside, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(beside);
	kept_text_clear(&text);
	kept_content_clear(&content);
	return r;
}
