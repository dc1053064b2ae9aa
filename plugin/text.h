/* SPDX-License-Identifier: Apache-2.0 */
/* Text from outside. */
#pragma once

#include <jansson.h>

/* Text from outside for a message: control characters and non-ASCII as '?', cut after 64 bytes.
 * Returns `buffer` of that size. */
#define TEXT_QUOTE_MAX 68
const char *text_quote(const char *text, char *buffer);

/* A string of JSON, whatever the text is; one of another encoding has '?' instead. NULL without
 * memory. */
json_t *text_json(const char *text);
