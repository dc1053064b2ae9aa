/* SPDX-License-Identifier: Apache-2.0 */
/* The error that the plugin prints: the specification's code, a message and details. */
#pragma once

#include <jansson.h>

/* The specification's codes (CNI 1.1.0). */
enum cni_code {
	CNI_INCOMPATIBLE_VERSION = 1,
	CNI_UNSUPPORTED_FIELD = 2,
	CNI_UNKNOWN_CONTAINER = 3,
	CNI_INVALID_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_DECODE = 6,
	CNI_INVALID_CONFIG = 7,
	CNI_TRY_AGAIN = 11,
	CNI_NOT_AVAILABLE = 50,
};

struct cni_failure {
	int code;
	char message[512];
	char details[512];
};

/* Clears the details. Returns -EINVAL, so that a function can fail in one statement. */
int cni_fail(struct cni_failure *failure, enum cni_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds what helps, after cni_fail(). */
void cni_details(struct cni_failure *failure, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Text from outside for a message: control characters and non-ASCII as '?', cut after 64 bytes.
 * Returns `buffer` of that size. */
#define CNI_QUOTE_MAX 68
const char *cni_quote(const char *text, char *buffer);

/* The error object; a new reference, NULL without memory. */
json_t *cni_failure_json(const struct cni_failure *failure, const char *version);
