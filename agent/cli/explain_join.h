/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of two nodes about one connection, joined: each is believed of what it evaluates. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#define EXPLAIN_NO_ENDPOINT ((size_t)-1)

/* What one node is asked about: the source's egress, or a pod's ingress. Strings are borrowed. */
struct explain_half {
	const char *node; /* NULL: no node evaluates it */
	const char *pod;
	json_int_t port;
	size_t endpoint;      /* of a Service: its index in `backends` */
	const json_t *answer; /* NULL: it could not be asked; `why_not` says why */
	const char *why_not;
};

/*
 * `answer` is the source's node's, or any node's if that has none: the joined answer is it with
 * what the nodes in `targets` say of the ingress of their pods. Keys are only added: `halves`. The
 * verdict is "unknown" if nobody denies and a half could not be asked. The caller owns the result.
 */
json_t *explain_join(const json_t *answer, const struct explain_half *source,
		     const struct explain_half *targets, size_t count);
