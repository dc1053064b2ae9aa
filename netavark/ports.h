/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports (podman run -p), in the form of CNI's portMappings. */
#pragma once

#include <jansson.h>

#include "agent/common/error.h"

/*
 * podman's list, each range of ports and each list of protocols taken apart; NULL and null are an
 * empty one. 0 with a new reference, or -EINVAL with code 7.
 */
int ports_convert(const json_t *mappings, json_t **ret, struct error *ret_failure);
