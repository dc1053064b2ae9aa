/* SPDX-License-Identifier: Apache-2.0 */
/* This node: its uplinks, its addresses, and the constants the programs are loaded with. */
#pragma once

#include "agent/config/config.h"
#include "agent/kernel/maps.h"
#include "agent/kernel/netlink.h"
#include "datapath/abi.h"

struct maps;

struct node_uplink {
	char name[IFNAMSIZ];
	int ifindex; /* 0: not there at present */
	uint32_t mtu;
	const char *xdp; /* "native", "generic", "off" */
};

struct node {
	struct node_uplink uplinks[CONFIG_MAX_UPLINKS];
	size_t uplink_count;
	struct polder_addr ipv4, ipv6; /* node IPs; all zero: none */
	struct prefix *addresses; /* of all links but the loopback's own, host addresses with their
				     prefix */
	size_t address_count;
};

/*
 * Finds uplinks (configured, else the default route's) and node addresses (configured, else the
 * first uplink's). 0; -ENODEV with `message` if a configured uplink is missing.
 */
int node_discover(const struct config *config, struct netlink *nl, struct node *ret, char *message,
		  size_t size);
/* Reads the addresses again. */
int node_refresh_addresses(struct netlink *nl, struct node *node);
void node_clear(struct node *node);
/* The uplinks' places in the map next_hops, the default uplink first. Only differences are written.
 * 0 or -errno. */
int node_write_next_hops(const struct node *node, struct maps *maps);

/* What the programs need to know; see struct datapath_config. 0 or -errno. */
int node_datapath_config(const struct config *config, const struct node *node,
			 const struct maps *maps, struct datapath_config *ret);
