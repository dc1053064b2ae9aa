/* SPDX-License-Identifier: Apache-2.0 */
/* The status block that netavark shows its user: interfaces, addresses, name servers. */
#pragma once

#include <jansson.h>

#include "netavark/request.h"

/*
 * `answer` is the agent's result of cni.add. A new object. 0 or -EINVAL: with code 6 the answer
 * makes no sense.
 */
int status_build(const struct request *request, const json_t *answer, json_t **ret,
		 struct error *ret_failure);
