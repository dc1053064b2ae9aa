/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/kept_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
/* Of "KIND NAMESPACE/NAME", behind "P ". */
#define KEY_AT	(FRAME + 2)
#define KEY_MAX (LIMIT_NAMESPACE + LIMIT_NAME + 16)
/* Is written at once, unless a line is longer. */
#define WRITE_BYTES (64u << 10)

/* ---------------------------------------------------------------- lines */

static void write_out(struct kept_lines *lines)
{
	int r = file_write_all(lines->fd, lines->text, lines->length);

	if (r < 0)
		lines->result = r;
	else
		lines->written += lines->length;
	lines->length = 0;
}

/* For so many bytes more. */
static bool need_room(struct kept_lines *lines, size_t more)
{
	size_t room = lines->room ? lines->room : WRITE_BYTES;
	char *longer;

	if (lines->length > 0 && lines->length + more > WRITE_BYTES)
		write_out(lines);
	while (room - lines->length < more)
		room *= 2;
	if (room == lines->room)
		return lines->result == 0;
	longer = realloc(lines->text, room);
	if (!longer) {
		lines->result = -ENOMEM;
		return false;
	}
	lines->text = longer;
	lines->room = room;
	return lines->result == 0;
}

int kept_lines_end(struct kept_lines *lines)
{
	if (lines->result == 0 && lines->length > 0)
		write_out(lines);
	free(lines->text);
	lines->text = NULL;
	lines->length = lines->room = 0;
	return lines->result;
}

/* A line of a head and what follows it; neither has an end of line in it. */
static void add_line(struct kept_lines *lines, const char *head, const char *rest)
{
	size_t length = strlen(head) + strlen(rest);
	char *line, crc[FRAME + 1];

	if (lines->result < 0 || !need_room(lines, FRAME + length + 2))
		return;
	line = lines->text + lines->length;
	snprintf(line + FRAME, length + 1, "%s%s", head, rest);
	snprintf(crc, sizeof(crc), "%08x ", state_file_crc32(line + FRAME, length));
	memcpy(line, crc, FRAME);
	line[FRAME + length] = '\n';
	lines->length += FRAME + length + 1;
}

void kept_add_head(struct kept_lines *lines)
{
	add_line(lines, HEAD, "");
}

void kept_add_whole(struct kept_lines *lines)
{
	add_line(lines, "W", "");
}

void kept_add_object(struct kept_lines *lines, unsigned int kind, const char *namespace,
		     const char *name, const char *json, bool closed)
{
	char head[LIMIT_NAMESPACE + LIMIT_NAME + 32];

	snprintf(head, sizeof(head), "%c %u %s/%s ", closed ? 'C' : 'P', kind, namespace, name);
	add_line(lines, head, json);
}

void kept_add_deletion(struct kept_lines *lines, unsigned int kind, const char *namespace,
		       const char *name)
{
	char head[LIMIT_NAMESPACE + LIMIT_NAME + 32];

	snprintf(head, sizeof(head), "D %u %s/%s", kind, namespace, name);
	add_line(lines, head, "");
}

/* ---------------------------------------------------------------- reading */

/* The last word about an object. */
struct kept_place {
	struct hash_table_item item;
	uint64_t at;	     /* of its line */
	uint32_t length;     /* without the end of line */
	uint16_t key_length; /* of "KIND NAMESPACE/NAME" */
	bool closed, deleted;
};

struct reader {
	struct kept_content content;
	struct hash_table table;
	size_t room;
};

static bool is_valid(const char *line, size_t length)
{
	char crc[FRAME + 1];

	if (length <= FRAME)
		return false;
	snprintf(crc, sizeof(crc), "%08x ", state_file_crc32(line + FRAME, length - FRAME));
	return memcmp(line, crc, FRAME) == 0;
}

/* Of the line itself only its place is known: the key stands in the file. */
static bool has_key(int fd, const struct kept_place *place, const char *key, size_t length)
{
	char there[KEY_MAX];

	return place->key_length == length &&
	       pread(fd, there, length, (off_t)(place->at + KEY_AT)) == (ssize_t)length &&
	       memcmp(there, key, length) == 0;
}

static struct kept_place *find(const struct reader *reader, const char *key, size_t length)
{
	struct hash_table_item *item =
		hash_table_find(&reader->table, hash_table_hash_of(key, length));

	while (item && !has_key(reader->content.fd, (struct kept_place *)item, key, length))
		item = hash_table_find_next(item);
	return (struct kept_place *)item;
}

static int add_place(struct reader *reader, const char *key, size_t length, struct kept_place **ret)
{
	struct kept_content *content = &reader->content;
	struct kept_place **longer, *place;

	if (content->count == reader->room) {
		reader->room = reader->room ? 2 * reader->room : 1024;
		longer = reallocarray(content->places, reader->room, sizeof(struct kept_place *));
		if (!longer)
			return -ENOMEM;
		content->places = longer;
	}
	place = calloc(1, sizeof(*place));
	if (!place)
		return -ENOMEM;
	content->places[content->count++] = place;
	place->key_length = (uint16_t)length;
	if (hash_table_add(&reader->table, &place->item, hash_table_hash_of(key, length)) < 0)
		return -ENOMEM;
	*ret = place;
	return 0;
}

/* The key behind "P "; NULL: the line has none. */
static const char *key_of(const char *line, size_t length, size_t *ret_length)
{
	const char *key = line + KEY_AT, *end = line + length, *space;

	if (length <= KEY_AT || line[FRAME + 1] != ' ')
		return NULL;
	space = memchr(key, ' ', (size_t)(end - key));
	if (!space)
		return NULL;
	space = memchr(space + 1, ' ', (size_t)(end - space - 1));
	*ret_length = (size_t)((space ? space : end) - key);
	return *ret_length < KEY_MAX ? key : NULL;
}

/* 0; -EBADMSG: a line that nobody writes. */
static int take_line(struct reader *reader, const char *line, size_t length)
{
	char what = line[FRAME];
	struct kept_place *place;
	const char *key;
	size_t key_length;
	int r = 0;

	if (what == 'W' && length == FRAME + 1) {
		reader->content.whole = true;
		return 0;
	}
	key = key_of(line, length, &key_length);
	if (!key || (what != 'P' && what != 'C' && what != 'D'))
		return -EBADMSG;
	/* A space, and JSON. */
	if (what != 'D' && (size_t)(key - line) + key_length + 1 >= length)
		return -EBADMSG;
	place = find(reader, key, key_length);
	if (!place)
		r = add_place(reader, key, key_length, &place);
	if (r < 0)
		return r;
	place->at = reader->content.valid;
	place->length = (uint32_t)length;
	place->closed = what == 'C';
	place->deleted = what == 'D';
	return 0;
}

static bool is_head(const char *line, size_t length)
{
	return length == FRAME + strlen(HEAD) && memcmp(line + FRAME, HEAD, strlen(HEAD)) == 0;
}

/* A line without its end, which it has to have; -ENODATA: there is none. */
static int next_line(FILE *file, char **line, size_t *room, size_t *ret_length)
{
	ssize_t length = getline(line, room, file);

	if (length < 0)
		return ferror(file) ? -errno : -ENODATA;
	if ((*line)[length - 1] != '\n')
		return -ENODATA;
	*ret_length = (size_t)length - 1;
	(*line)[length - 1] = '\0';
	return 0;
}

/* What stands behind damage: if there is a whole line, it is no crash's doing. */
static int read_damaged(FILE *file, char **line, size_t *room)
{
	size_t length = 0;
	int r;

	while ((r = next_line(file, line, room, &length)) == 0)
		if (is_valid(*line, length))
			return -EBADMSG;
	return r == -ENODATA ? 0 : r;
}

static int read_lines(struct reader *reader, FILE *file)
{
	CLEANUP(cleanup_free) char *line = NULL;
	struct kept_content *content = &reader->content;
	size_t room = 0, length = 0;
	int r;

	while ((r = next_line(file, &line, &room, &length)) == 0) {
		if (!is_valid(line, length)) {
			r = read_damaged(file, &line, &room);
			break;
		}
		if (content->valid == 0)
			r = is_head(line, length) ? 0 : -EBADMSG;
		else
			r = take_line(reader, line, length);
		if (r < 0)
			return r;
		content->valid += length + 1;
	}
	if (r < 0 && r != -ENODATA)
		return r;
	return content->valid == 0 ? -EBADMSG : 0;
}

static void count_live(struct kept_content *content)
{
	for (size_t i = 0; i < content->count; i++) {
		const struct kept_place *place = content->places[i];

		content->live += !place->deleted;
		content->bytes += place->deleted ? 0 : place->length + 1;
	}
}

/* The file's lines by a stream of its own, which takes a share of the descriptor. */
static int read_content(struct reader *reader)
{
	int fd = fcntl(reader->content.fd, F_DUPFD_CLOEXEC, 0);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "re");
	struct stat status;
	int r = file ? 0 : -errno;

	if (!file && fd >= 0)
		close(fd);
	if (r < 0)
		return r;
	if (fstat(fd, &status) < 0)
		r = -errno;
	else if (!S_ISREG(status.st_mode))
		r = -EBADMSG;
	else if (status.st_size > KEPT_FILE_MAX)
		r = -EFBIG;
	if (r == 0)
		r = read_lines(reader, file);
	(void)fclose(file);
	return r;
}

int kept_file_read(const char *path, struct kept_content *ret)
{
	struct reader reader = {.content.fd =
					open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
	int r = reader.content.fd < 0 ? -errno : read_content(&reader);

	hash_table_clear(&reader.table);
	if (r < 0) {
		kept_content_clear(&reader.content);
		return r;
	}
	count_live(&reader.content);
	*ret = reader.content;
	return 0;
}

void kept_content_clear(struct kept_content *content)
{
	for (size_t i = 0; i < content->count; i++)
		free(content->places[i]);
	free(content->places);
	cleanup_close(&content->fd);
	*content = (struct kept_content){.fd = -1};
}

/* The lines that count, once more; see kept_file_each(). */
static int each_line(const struct kept_content *content,
		     int (*take)(const struct kept_place *place, const char *line, void *data),
		     void *data)
{
	CLEANUP(cleanup_free) char *line = NULL;
	size_t room = 0;
	int r = 0;

	for (size_t i = 0; i < content->count && r == 0; i++) {
		const struct kept_place *place = content->places[i];
		ssize_t got;

		if (place->deleted)
			continue;
		if (place->length + 1 > room) {
			room = 2 * ((size_t)place->length + 1);
			free(line);
			line = malloc(room);
		}
		if (!line)
			return -ENOMEM;
		got = pread(content->fd, line, place->length, (off_t)place->at);
		if (got < 0)
			return -errno;
		line[got] = '\0';
		r = is_valid(line, (size_t)got) ? take(place, line, data) : -EBADMSG;
	}
	return r;
}

struct each {
	int (*take)(const struct kept_object *object, void *data);
	void *data;
};

static int take_object(const struct kept_place *place, const char *line, void *data)
{
	const struct each *each = data;
	size_t json = KEY_AT + place->key_length + 1;
	struct kept_object object = {.kind = (unsigned int)strtoul(line + KEY_AT, NULL, 10),
				     .json = line + json,
				     .length = place->length - json,
				     .closed = place->closed};

	return each->take(&object, each->data);
}

int kept_file_each(const struct kept_content *content,
		   int (*take)(const struct kept_object *object, void *data), void *data)
{
	struct each each = {take, data};

	return each_line(content, take_object, &each);
}

/* ---------------------------------------------------------------- less of it */

/* As it is: its checksum tells of damage in memory as well. */
static int copy_line(const struct kept_place *place, const char *line, void *data)
{
	struct kept_lines *lines = data;

	(void)place;
	add_line(lines, line + FRAME, "");
	return lines->result;
}

static int write_new(const char *path, const struct kept_content *content)
{
	CLEANUP(cleanup_close)
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct kept_lines lines = {.fd = fd};
	int r, end;

	if (fd < 0)
		return -errno;
	kept_add_head(&lines);
	r = each_line(content, copy_line, &lines);
	if (content->whole)
		kept_add_whole(&lines);
	end = kept_lines_end(&lines);
	r = r < 0 ? r : end;
	return r == 0 && fsync(fd) < 0 ? -errno : r;
}

int kept_file_compact(const char *path)
{
	struct kept_content content = {};
	char beside[PATH_MAX];
	int r = snprintf(beside, sizeof(beside), "%s.new", path) < (int)sizeof(beside)
			? 0
			: -ENAMETOOLONG;

	if (r == 0)
		r = kept_file_read(path, &content);
	if (r < 0)
		return r;
	r = write_new(beside, &content);
	if (r == 0 && rename(beside, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(beside);
	kept_content_clear(&content);
	return r;
}
