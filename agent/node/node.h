/* SPDX-License-Identifier: Apache-2.0 */
/* This node: its uplinks, its addresses, the ways out, and the constants the programs are loaded
 * with. Followed as the kernel changes them. */
#pragma once

#include <time.h>

#include "agent/config/config.h"
#include "agent/kernel/maps.h"
#include "agent/kernel/netlink.h"
#include "agent/node/network.h"
#include "agent/node/egress_routes.h"
#include "datapath/abi.h"

struct maps;
struct peers;

enum uplink_state {
	UPLINK_READY,
	UPLINK_MISSING, /* a configured name that no link has */
	UPLINK_REFUSED, /* of a type that cannot serve */
	UPLINK_DOWN,
	UPLINK_STATES
};
extern const char *const uplink_state_names[UPLINK_STATES];

struct node_uplink {
	char name[IFNAMSIZ];
	int ifindex;	/* 0: not there at present, or refused */
	uint32_t place; /* in the map next_hops */
	uint32_t mtu;
	const char *xdp; /* "native", "generic", "off" */
	bool configured; /* by name; else it was a default route's */
	enum uplink_state state;
	char reason[200];	/* what is wrong and what to do; "": nothing */
	char attach_error[256]; /* why its programs are not there; "": they are */
	char xdp_note[256];	/* why XDP is off though it is asked for; "": it is not */
	time_t since;		/* of the state, wall clock */
};

enum node_reach { REACH_NONE, REACH_SOME, REACH_ALL };

/* The way out of one family. */
struct node_exit {
	uint8_t reach;	  /* enum node_reach: what packets of pods reach */
	uint8_t promised; /* by the configuration, or it was so before */
	char reason[200];
	time_t since;
};

struct node {
	struct node_uplink uplinks[CONFIG_MAX_UPLINKS];
	size_t uplink_count;
	struct polder_addr ipv4, ipv6; /* node IPs; all zero: none */
	struct prefix *addresses; /* of all links but the loopback's own, host addresses with their
				     prefix; those of uplinks first */
	size_t address_count, uplink_address_count;
	struct network network;	    /* what all this was found in */
	struct node_egress *egress; /* see egress_routes_compute() */
	size_t egress_count;
	struct node_exit exits[2]; /* IPv4, IPv6 */
	char range_met[256];	   /* what of the host's a pod range meets; "": nothing */
	time_t range_met_since;
	time_t egress_full; /* since when the map has no room for all of `egress`; 0: it has */
	uint64_t changes;   /* of the network, since the start */
};

/* What node_follow() found different. */
enum node_change {
	NODE_UPLINKS = 1 << 0, /* other links, MTUs or states */
	NODE_EGRESS = 1 << 1,
	NODE_ADDRESSES = 1 << 2,
};

/*
 * Finds uplinks (configured, else those of the default routes), addresses and ways. What is not
 * there yet is no error. 0 or -errno with `message`.
 */
int node_discover(const struct config *config, struct netlink *nl, struct node *ret, char *message,
		  size_t size);
/* Reads the network again. 0 or -errno (nothing has changed then); `*ret_changes`: enum
 * node_change, 0: all is as it was. */
int node_follow(const struct config *config, struct netlink *nl, struct node *node,
		unsigned int *ret_changes);
/* The uplinks that a network has, as node_follow() finds them: no I/O. */
void node_find_uplinks(const struct config *config, const struct network *network,
		       struct node *node);
/* What is told of node->egress_full. */
#define EGRESS_FULL_TEXT                                                                           \
	"map egress_routes has no room for all that the node's routes say: packets for what is "   \
	"left out leave by a wider route; routes that forbid are not left out. Fewer routes on "   \
	"the "                                                                                     \
	"node help"

/* Is it an address of this node at which node ports are served: of those that the configuration
 * names, else of an uplink, or the node's own. */
bool node_has_node_ports(const struct node *node, const struct config *config,
			 const struct polder_addr *addr);

/* A copy without the network, for another thread. 0 or -ENOMEM. */
int node_copy(const struct node *from, struct node *to);
void node_clear(struct node *node);
/* Is something gone that was promised, and what? NULL: nothing. */
const char *node_misses(const struct node *node);

/*
 * Writes what the programs have to know of the network: next_hops, egress_routes, this_node. Only
 * differences, and in an order in which a flow never leaves by another link with the source of
 * before: what is no uplink any more keeps its place until node_release_hops(). `*ret_changed`:
 * flows have to be re-evaluated. 0 or -errno.
 */
int node_write_maps(const struct node *node, struct maps *maps, bool *ret_changed);
/* After flows are re-evaluated: places of links that are no uplinks. */
int node_release_hops(const struct node *node, struct maps *maps);

/* By which networks this node has neighbours. 0 or -ENOMEM: peers_read() has to be called. */
int node_tell_peers(const struct node *node, struct peers *peers);

/* What the programs need to know; see struct datapath_config. 0 or -errno. */
int node_datapath_config(const struct config *config, const struct maps *maps,
			 struct datapath_config *ret);
