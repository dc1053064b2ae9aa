/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tunnel's device: made, and set right whenever something of it differs. Without its programs
 * it is down, so that nothing passes that they have not seen.
 */
#pragma once

#include <time.h>

#include "agent/config/config.h"
#include "agent/kernel/netlink.h"
#include "agent/node/peers.h"

#define TUNNEL_NAME "polder_vxlan"

/* What is around it; borrowed. */
struct tunnel_env {
	const struct config *config;
	struct netlink *nl;
	/* Puts the programs on the device. 0 or -errno with `message`. */
	int (*attach)(int ifindex, char *message, size_t size, void *data);
	void *data;
};

/* Zeroed at first. */
struct tunnel {
	struct peers_tunnel is; /* ifindex 0: it is not up */
	int ifindex;		/* of the device, up or not; 0: there is none of ours */
	char problem[400];	/* why there is none that works; "": there is, or none is wanted */
	time_t since;		/* of the problem */
	uint64_t made;		/* how often */
};

/*
 * Looks at the device and does what is needed. `uplink_mtu` 0: not known. `v6`: some outer packets
 * are IPv6. 0 or -errno: what is wrong is in `problem`, and told once in the log.
 */
int tunnel_apply(const struct tunnel_env *env, struct tunnel *tunnel, uint32_t uplink_mtu, bool v6);
/* What a packet within may have; 0: not known. */
uint32_t tunnel_mtu(const struct config *config, uint32_t uplink_mtu, bool v6);
