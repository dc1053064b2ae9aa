/* SPDX-License-Identifier: Apache-2.0 */
/* The result of an ADD, in the version that the configuration names, merged into that of the
 * plugins before. */
#pragma once

#include <jansson.h>

#include "cni/config.h"

/*
 * `answer` is the agent's result of cni.add (the form of 1.0.0). A new object. 0 or -EINVAL: with
 * code 6 the answer makes no sense.
 */
int cni_result_build(const struct cni_config *config, const json_t *answer, json_t **ret,
		     struct error *ret_failure);
