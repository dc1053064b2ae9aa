/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes a JSON text apart while it arrives: one object after the other, however the bytes are cut
 * and however many there are. Memory is that of the largest object, never that of the whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A larger object is not kept: etcd takes 1.5 MB by default. */
#define SPLITTER_OBJECT_MAX (8u << 20)
/* So much of its beginning is, for its name. */
#define SPLITTER_HEAD (64u << 10)
/* What is not in `items`: kind, apiVersion, metadata. */
#define SPLITTER_REST_MAX  (1u << 20)
#define SPLITTER_DEPTH_MAX 1000

enum splitter_form {
	SPLIT_VALUES, /* one object after the other: a watch */
	SPLIT_LIST,   /* one object, whose member `items` holds them */
};

/*
 * `text` is one object, terminated by a zero byte that is not counted; valid until the function
 * returns. `whole` false: it is larger than SPLITTER_OBJECT_MAX, and this is its beginning. 0 or a
 * -errno, which splitter_feed() returns then.
 */
typedef int (*splitter_take)(const char *text, size_t length, bool whole, void *data);

struct splitter;

/* NULL: no memory. */
struct splitter *splitter_new(enum splitter_form form, splitter_take take, void *data);
void splitter_free(struct splitter *splitter); /* takes NULL */
/* 0; -EBADMSG: this is no such text; -ENOMEM; what `take` said. After an error nothing more may be
 * fed. */
int splitter_feed(struct splitter *splitter, const char *bytes, size_t length);
/* The text may end here: the list is closed; no value is begun. */
bool splitter_is_whole(const struct splitter *splitter);
/* Of a list, when it is whole: the same text with an empty `items`, terminated. */
const char *splitter_rest(const struct splitter *splitter, size_t *ret_length);
