/* SPDX-License-Identifier: Apache-2.0 */
/* `podman network create --driver polder-netavark`: the network is checked and completed. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/common/error.h"
#include "netavark/options.h"
#include "netavark/ranges.h"

/*
 * Checks `network` and changes it in place to what podman shall keep: no name server of podman's
 * own, labels as options. 0 with the options, to be freed with options_clear() and borrowing from
 * `network`; or -EINVAL.
 */
int create_convert(json_t *network, struct options *ret_options, struct error *ret_failure);

/* Has it subnets, so that nothing can be said without polderd? */
bool create_needs_ranges(const json_t *network);

/* Addresses: polderd's to give, or podman's in subnets that lie in polderd's ranges. 0 or -EINVAL.
 */
int create_place(json_t *network, const struct ranges_of_agent *ranges, struct error *ret_failure);
