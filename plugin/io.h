/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in on standard input, JSON out on standard output. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "agent/common/error.h"

/*
 * Standard input to its end. One byte more than `max` is kept, for input_parse() to refuse; what
 * follows is read and forgotten, so that the runtime comes to the point of reading the error. The
 * caller frees `*ret`. 0 or -EINVAL.
 */
int input_read(size_t max, char **ret, size_t *ret_length, struct error *ret_failure);
/* Duplicate keys, anything that is no object and more than `max` bytes are refused. 0 or -EINVAL
 * with code 6. */
int input_parse(const char *text, size_t length, size_t max, json_t **ret,
		struct error *ret_failure);

/* Whole and with a newline, or -EMSGSIZE: that would be more than `max` bytes; other -errno. */
int output_print(const json_t *output, size_t max);
