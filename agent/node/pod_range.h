/* SPDX-License-Identifier: Apache-2.0 */
/* Are the pods' addresses nobody else's on this host? */
#pragma once

#include "agent/config/config.h"
#include "agent/kernel/netlink.h"

/*
 * The pod ranges must not meet an address of the host, nor a network that is on one of its links,
 * but the pods' own: the node would be cut off from it. One that pods have addresses of is only
 * warned about. 0; -EADDRINUSE with `message`, which names link and address; -errno with `message`.
 */
int pod_range_check(const struct config *config, struct netlink *nl, char *message, size_t size);
