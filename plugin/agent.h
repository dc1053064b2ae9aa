/* SPDX-License-Identifier: Apache-2.0 */
/* Asks polderd, and says what went wrong, with a code of CNI. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/common/error.h"

#define AGENT_DEFAULT_SOCKET "/run/polder/polder.sock"

/* Where polderd listens, and how long it may take for an answer. The path is borrowed. */
struct agent_address {
	const char *socket;
	int timeout_ms;
};

enum agent_outcome {
	AGENT_OK,
	AGENT_REFUSED, /* polderd answered with an error */
	AGENT_AWAY,    /* it never had the whole request */
	AGENT_SILENT,  /* it had the request; nobody knows what became of it */
};

/*
 * One request, one answer, within the timeout. `args` is borrowed, `fd` (-1: none)
 * goes along. With AGENT_OK, `*ret_result` is a new reference; otherwise `*ret_failure` is filled
 * (code 11 unless polderd says another).
 */
enum agent_outcome agent_call(const struct agent_address *agent, const char *operation,
			      const json_t *args, int fd, json_t **ret_result,
			      struct error *ret_failure);
