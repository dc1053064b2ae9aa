/* SPDX-License-Identifier: Apache-2.0 */
/* Asks polderd, and says in CNI's terms what went wrong. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "cni/config.h"

enum agent_outcome {
	AGENT_OK,
	AGENT_REFUSED, /* polderd answered with an error */
	AGENT_AWAY,    /* it never had the whole request */
	AGENT_SILENT,  /* it had the request; nobody knows what became of it */
};

/*
 * One request, one answer, within the configuration's timeout. `args` is borrowed, `fd` (-1: none)
 * goes along. With AGENT_OK, `*ret_result` is a new reference; otherwise `*ret_failure` is filled
 * (code 11 unless polderd says another).
 */
enum agent_outcome agent_call(const struct cni_config *config, const char *operation,
			      const json_t *args, int fd, json_t **ret_result,
			      struct error *ret_failure);
