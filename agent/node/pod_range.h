/* SPDX-License-Identifier: Apache-2.0 */
/* Are the pods' addresses nobody else's on this host? */
#pragma once

#include "agent/config/config.h"
#include "agent/kernel/netlink.h"
#include "agent/node/network.h"

/*
 * The pod ranges must not meet an address of the host, nor a network that is on one of its links,
 * but the pods' own: the node would be cut off from it. One that pods have addresses of is only
 * warned about. 0; -EADDRINUSE with `message`, which names link and address; -errno with `message`.
 */
int pod_range_check(const struct config *config, struct netlink *nl, char *message, size_t size);

/* The same of a network that changes while pods are served, by the table main: is there something
 * that a range meets now? `message` says what, "": nothing. 0 or -ENOMEM. */
int pod_range_meets(const struct config *config, const struct network *network, char *message,
		    size_t size);
