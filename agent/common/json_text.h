/* SPDX-License-Identifier: Apache-2.0 */
/* JSON from text: what is no JSON told apart from what finds no memory. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Memory of values that are let go at once: on the stack of who reads them. */
#define JSON_SCRATCH_SIZE (32u << 10)
struct json_scratch {
	size_t used, live; /* bytes; pieces that are not given back */
	uint64_t memory[JSON_SCRATCH_SIZE / sizeof(uint64_t)];
};

/*
 * As json_loadb(). jansson tells of memory that it does not get as of a mistake in the text, and
 * leaves bytes of a long string out without a word: neither happens here. 0: `*ret` is the
 * caller's; -EBADMSG: it is no JSON, `error` (may be NULL) says where; -ENOMEM.
 */
int json_text_load(const char *text, size_t length, size_t flags, json_error_t *error,
		   json_t **ret);

/*
 * Until json_scratch_end() what jansson takes in this thread is `scratch`'s, as long as there is
 * room: a hundred pieces of a text that is read and forgotten cost their bytes, and the heap does
 * not see them. Whatever was made by jansson in between has to be let go before the end.
 */
void json_scratch_begin(struct json_scratch *scratch);
void json_scratch_end(struct json_scratch *scratch);
