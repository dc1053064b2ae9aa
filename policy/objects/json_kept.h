/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON text without the members that nobody reads. An API server's pod has 6 kB, of which a tenth
 * is of use: a tree of the rest takes most of the time that an object takes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A member of an object that is kept, or all whose names begin with what stands before a final "*".
 * Tables end with one without a name. */
struct json_kept {
	const char *name;
	const struct json_kept *members; /* of its value, or of each item of an array; NULL: all */
};

/*
 * Into `buffer`, which has room for `length` bytes: the object that `text` is, with the members of
 * the table alone. Items of arrays keep their places, and members whose names are written with
 * escapes are kept. What is left out is looked at for its brackets and quotes only. False: the text
 * is not what it looks like there; a parser has to tell.
 */
bool json_keep(const char *text, size_t length, const struct json_kept *table, char *buffer,
	       size_t *ret_length);
