/* SPDX-License-Identifier: Apache-2.0 */
/* Takes what looks like a secret out of text that leaves the machine. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/*
 * Overwrites with "x", in place: private keys (PEM), JSON web tokens, credentials of HTTP
 * (Authorization, Bearer, Basic), values behind names that end in token, password, secret, key data
 * and their like, user and password of URLs. `text` has `length` bytes; NULs are text.
 */
void redact(char *text, size_t length);
/* What a Kubernetes object need not show: values of environments, annotations of kubectl. */
void redact_object(json_t *value);
