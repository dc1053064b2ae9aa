/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in a file: a line for each change, appended. A line has a checksum of the rest, and what
 * is behind the last whole one is what a crash of the machine has cut off: the file is the state of
 * a moment before. Neither reading nor writing takes memory for the whole of it. Knows no object
 * and no store; for any thread, one at a time.
 *
 *     CRC H polder-objects 1             the first line
 *     CRC P KIND NAMESPACE/NAME JSON     an object, in place of the one of this name
 *     CRC C KIND NAMESPACE/NAME JSON     the same, of one that stands for a refused one
 *     CRC D KIND NAMESPACE/NAME          it is deleted
 *     CRC W                              from here on all objects that there are have been named
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than a cluster of 100,000 pods needs. */
#define KEPT_FILE_MAX (512u << 20)

/* Lines that are written to a file, a part at a time. */
struct kept_lines {
	int fd; /* borrowed */
	char *text;
	size_t length, room; /* of what is not written yet */
	uint64_t written;
	int result; /* -errno of what has failed; nothing is written from then on */
};
void kept_add_head(struct kept_lines *lines);
void kept_add_object(struct kept_lines *lines, unsigned int kind, const char *namespace,
		     const char *name, const char *json, bool closed);
void kept_add_deletion(struct kept_lines *lines, unsigned int kind, const char *namespace,
		       const char *name);
void kept_add_whole(struct kept_lines *lines);
/* Writes the rest and frees what they take. The lines' result. */
int kept_lines_end(struct kept_lines *lines);

/* What a file holds: where the last word about each object stands. */
struct kept_place;
struct kept_content {
	int fd;
	struct kept_place **places; /* in the order in which the file first names them */
	size_t count;
	size_t live;	/* objects that are not deleted */
	uint64_t bytes; /* of lines that count */
	uint64_t valid; /* bytes of whole lines */
	bool whole;	/* all that there was has been named */
};
/*
 * 0; -ENOENT; -EBADMSG: damaged in the middle, or of another format; -EFBIG; other -errno.
 * kept_content_clear() after success.
 */
int kept_file_read(const char *path, struct kept_content *ret);
void kept_content_clear(struct kept_content *content);

struct kept_object {
	unsigned int kind;
	const char *json; /* terminated; until the next object */
	size_t length;
	bool closed;
};
/* Each object, until `take` returns other than 0, which is returned. -EBADMSG: the file has changed
 * since it was read; other -errno. */
int kept_file_each(const struct kept_content *content,
		   int (*take)(const struct kept_object *object, void *data), void *data);

/* Writes what counts of the file anew, and puts it in its place, synced. 0 or -errno, then it stays
 * as it is. */
int kept_file_compact(const char *path);
