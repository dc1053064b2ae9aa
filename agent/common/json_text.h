/* SPDX-License-Identifier: Apache-2.0 */
/* JSON from text: what is no JSON told apart from what finds no memory. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/*
 * As json_loadb(). jansson tells of memory that it does not get as of a mistake in the text, and
 * leaves bytes of a long string out without a word: neither happens here. 0: `*ret` is the
 * caller's; -EBADMSG: it is no JSON, `error` (may be NULL) says where; -ENOMEM.
 */
int json_text_load(const char *text, size_t length, size_t flags, json_error_t *error,
		   json_t **ret);
