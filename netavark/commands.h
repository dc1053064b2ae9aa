/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin does for each subcommand. */
#pragma once

#include <jansson.h>

#include "agent/common/error.h"

/*
 * Each takes the reference of `input` (in any case). 0 or -EINVAL with `*ret_failure` filled.
 * `*ret_output` (a new reference) is what goes to standard output; it stays NULL where success is
 * silent. `netns`: the path of the container's network namespace.
 */
int netavark_create(json_t *input, const char *netns, json_t **ret_output,
		    struct error *ret_failure);
int netavark_setup(json_t *input, const char *netns, json_t **ret_output,
		   struct error *ret_failure);
int netavark_teardown(json_t *input, const char *netns, json_t **ret_output,
		      struct error *ret_failure);

/* Takes back a setup of `input` (borrowed) whose result did not reach netavark. */
void netavark_undo_setup(json_t *input);
