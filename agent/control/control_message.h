/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of the control socket: reading a request, writing an answer. No I/O. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* Error codes of requests that reach no operation. */
enum control_code {
	CONTROL_BAD_VERSION = 1,
	CONTROL_UNKNOWN_OPERATION = 2,
	CONTROL_BAD_REQUEST = 6, /* as CNI: the content cannot be decoded */
	CONTROL_NOT_ROOT = 13,	 /* EACCES */
};

struct control_message {
	json_t *root; /* owns what the others point to */
	const char *operation;
	const json_t *args; /* an object, never NULL */
};

/*
 * One line without its line feed. 0, or the control_code to answer with, `error` then says what is
 * wrong. Free with control_message_clear(), which takes a zeroed struct.
 */
int control_message_parse(const char *line, size_t length, struct control_message *ret, char *error,
			  size_t error_size);
void control_message_clear(struct control_message *message);

/*
 * The line of an answer, with its line feed; free() it. control_format_result() takes the reference
 * of `result` (NULL: nothing could be made). NULL: no memory.
 */
char *control_format_result(json_t *result, size_t *ret_length);
char *control_format_error(int code, const char *message, const char *details, size_t *ret_length);
