/* SPDX-License-Identifier: Apache-2.0 */
/* `podman network create --driver polder-netavark`: the network is checked and completed. */
#pragma once

#include <jansson.h>

#include "agent/common/error.h"

/*
 * Changes `network` in place to what podman shall keep: no name server of podman's own, addresses
 * from polderd or from subnets that lie in its ranges, labels as options. 0 or -EINVAL, then
 * `network` is of no use. Asks polderd for its ranges: subnets need its answer, without them a
 * polderd that is away is no error.
 */
int create_network(json_t *network, struct error *ret_failure);
