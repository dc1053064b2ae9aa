/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in a file: a line for each change, appended. A line has a checksum of the rest, and what
 * is behind the last whole one is what a crash of the machine has cut off: the file is the state of
 * a moment before. Knows no object and no store; for any thread, one at a time.
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

/* More than a cluster of 100,000 pods needs. */
#define KEPT_FILE_MAX (512u << 20)

/* Lines to be appended. */
struct kept_text {
	char *text;
	size_t length, room;
	bool failed; /* for want of memory */
};
void kept_text_clear(struct kept_text *text);
void kept_add_head(struct kept_text *text);
void kept_add_object(struct kept_text *text, unsigned int kind, const char *namespace,
		     const char *name, const char *json, bool closed);
void kept_add_deletion(struct kept_text *text, unsigned int kind, const char *namespace,
		       const char *name);
void kept_add_whole(struct kept_text *text);

/* What a file holds; the texts are its own. */
struct kept_object {
	unsigned int kind;
	const char *json; /* terminated */
	size_t length;
	bool closed;
};
struct kept_content {
	char *text;
	struct kept_object *objects; /* in the order of their last change */
	size_t count;
	size_t live;  /* bytes of lines that count */
	size_t valid; /* bytes of whole lines */
	bool whole;   /* all that there was has been named */
};
/*
 * 0; -ENOENT; -EBADMSG: damaged in the middle, or of another format; -EFBIG; other -errno.
 * kept_content_clear() after success.
 */
int kept_file_read(const char *path, struct kept_content *ret);
void kept_content_clear(struct kept_content *content);

/* Writes what counts of the file anew, and puts it in its place, synced. 0 or -errno, then it stays
 * as it is. */
int kept_file_compact(const char *path);
