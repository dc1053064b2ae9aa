/* SPDX-License-Identifier: Apache-2.0 */
/* The error as the plugin prints it. */
#pragma once

#include <jansson.h>

#include "agent/common/cni_code.h"
#include "agent/common/error.h"

/* Text from outside for a message: control characters and non-ASCII as '?', cut after 64 bytes.
 * Returns `buffer` of that size. */
#define CNI_QUOTE_MAX 68
const char *cni_quote(const char *text, char *buffer);

/* The error object; a new reference, NULL without memory. */
json_t *cni_failure_json(const struct error *failure, const char *version);
