/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other nodes: who owns which range and address, how each is reached, and by which number the
 * programs know it. The one place that says so; routes, addresses and tunnel follow it.
 *
 * Of several Nodes that claim one range, or ranges that meet, the one that was made last counts (by
 * creationTimestamp, then uid, then name); the others' claims are told. A change costs what the
 * Node's own ranges and addresses cost, and those that they meet.
 *
 *     Node objects, networks, tunnel ──> owners, ways ──> listeners: this range is another's now
 *     peers_write()    numbers and ways into the maps, before anything names them
 *     peers_written()  what was written says the new numbers alone
 *     peers_prune()    the programs that ran then have ended: numbers that nothing says are free
 */
#pragma once

#include <time.h>

#include "agent/common/hash_table.h"
#include "agent/config/config.h"
#include "agent/kernel/maps.h"
#include "agent/kernel/netlink_network.h"
#include "agent/store/store.h"

struct peers;
struct claim;
struct claimed;
struct neighbour;

/* Why a range is not routed to who claims it. */
enum range_fault {
	RANGE_GOOD,
	RANGE_OURS,    /* it meets the range of this node's pods */
	RANGE_HOST,    /* it meets a network that this node is on */
	RANGE_TAKEN,   /* a newer Node claims it, or a range that it meets */
	RANGE_GATEWAY, /* the Node's address is one of this node's */
};

enum peer_way {
	WAY_NONE,   /* the network's own routing leads there */
	WAY_NATIVE, /* its address is a neighbour's on an uplink's network */
	WAY_TUNNEL,
	WAY_UNKNOWN, /* no uplink has an address of that family at present */
};

/* How packets of a family reach a peer. */
struct peer_route {
	enum peer_way way;
	int ifindex;		    /* the uplink or the tunnel; 0: it is not there at present */
	struct polder_addr gateway; /* native: the neighbour */
	struct polder_addr source;  /* tunnel: of the node's own packets; all 0: none */
	uint32_t mtu;		    /* 0: not known */
};

/* A Node. Read only, but for peers*.c. */
struct peer {
	struct hash_table_item item;
	char *name, *uid;
	int64_t created;
	bool is_self;
	bool is_named;		       /* by the store, while all Nodes are read again */
	bool is_dirty;		       /* its map entries have to be written */
	struct polder_addr *addresses; /* InternalIPs first */
	size_t address_count, internal_count;
	struct claim *ranges, *hosts; /* its claims to ranges, and to its addresses */
	size_t range_count, host_count;
	struct peer_route routes[2];	    /* of IPv4, of IPv6 packets */
	struct neighbour *neighbours[2];    /* native: by the routes' gateways */
	struct polder_addr underlay, local; /* the tunnel's ends; all 0: none */
	uint32_t number;		    /* 0: none (yet) */
	time_t since;			    /* of this way */
	struct peer *next_dirty;
};

/* Of the tunnel's device, as it is. */
struct peers_tunnel {
	int ifindex;   /* 0: there is none */
	uint32_t mtu4; /* of packets within it where the outer ones are IPv4, and IPv6 */
	uint32_t mtu6;
};

struct peers_network {
	const struct address_info *addresses; /* of the whole host */
	size_t address_count;
	const int *uplinks; /* ifindices; 0 is none */
	const uint32_t *mtus;
	size_t uplink_count;
	struct polder_addr node_ipv4, node_ipv6; /* this node's ends of tunnels; all 0: none */
};

enum peers_change {
	PEERS_OWNER, /* a range or an address is another peer's, or nobody's, or a refusal changed
		      */
	PEERS_WAY,   /* its owner is reached by another way */
};
/* `prefix` NULL: of all. */
typedef void (*peers_listener)(const struct prefix *prefix, enum peers_change change, void *data);

/* Borrows `config`. `maps` NULL: peers have no numbers. 0 or -errno. */
int peers_new(const struct config *config, struct maps *maps, struct peers **ret);
void peers_free(struct peers *peers); /* takes NULL; maps stay */
/* At most two. */
void peers_listen(struct peers *peers, peers_listener listener, void *data);

/* A Node object as the store's listener hears of it. 0 or -ENOMEM: peers_read() has to be called.
 * Before that has been called once, and of others than Nodes, nothing is heeded. */
int peers_object(struct peers *peers, const struct object *object, bool deleted);
/* All Nodes of the store, and no others. 0 or -ENOMEM: to be called again. */
int peers_read(struct peers *peers, const struct store *store);
/* Has one of these failed, so that what is known is not all there is? */
bool peers_incomplete(const struct peers *peers);
/* Copies. 0 or -ENOMEM: as before. */
int peers_set_network(struct peers *peers, const struct peers_network *network);
void peers_set_tunnel(struct peers *peers, const struct peers_tunnel *tunnel);
const struct peers_tunnel *peers_get_tunnel(const struct peers *peers);
/* Does the tunnel lead to an IPv6 address? Counted: it is asked at each change of the network. */
bool peers_have_v6_end(const struct peers *peers);

/* ------------------------------------------------ asking */

/* Whose the range is, if it may be; NULL: nobody's, this node's, or refused. */
const struct peer *peers_owner(const struct peers *peers, const struct prefix *range);
/* Does another Node claim it at all? As a range, or as its address. */
bool peers_claims_range(const struct peers *peers, const struct prefix *range);
bool peers_claims_address(const struct peers *peers, const struct polder_addr *addr);
/* Does another Node claim a range around it, or it? */
bool peers_claims_around(const struct peers *peers, const struct prefix *prefix);
/* The number of the owner of the narrowest range around the address; 0: none. */
uint32_t peers_number_behind(const struct peers *peers, const struct polder_addr *addr,
			     const struct peer **ret_peer);
/* The number of the node whose own address it is and that is reached by the tunnel; 0: none. */
uint32_t peers_number_of_node(const struct peers *peers, const struct polder_addr *addr);
/* Whose own address it is; NULL: no other node's. */
const struct peer *peers_node_with(const struct peers *peers, const struct polder_addr *addr);
const struct peer *peers_find(const struct peers *peers, const char *name);
/* All of them, this node's own too, in no order: the first one after NULL. */
const struct peer *peers_next(const struct peers *peers, const struct peer *peer);
/* Each range, and each address, that a Node claims, with its first claimant by name. */
void peers_each_range(const struct peers *peers,
		      void (*visit)(const struct prefix *range, void *data), void *data);
void peers_each_address(const struct peers *peers,
			void (*visit)(const struct polder_addr *addr, void *data), void *data);
/* All ranges that it claims: the caller's array, free(); NULL: no memory. */
const struct prefix **peers_ranges_of(const struct peer *peer, size_t *ret_count);
/* How packets of the range's family reach its owner; NULL: nobody owns it. */
const struct peer_route *peers_route(const struct peers *peers, const struct prefix *range);

struct peers_counts {
	size_t peers;	   /* other Nodes */
	size_t by_way[4];  /* enum peer_way, by the better of both families */
	size_t conflicts;  /* ranges and addresses that several Nodes claim */
	size_t numberless; /* no number was left */
};
struct peers_counts peers_count(const struct peers *peers);
/* Is the claim to the range or address refused, why, and whose is it? In words. False: it is not.
 */
bool peers_refused(const struct peers *peers, const struct prefix *range, char *text, size_t size,
		   const char **ret_node);
/* One call for each range and address that has a claim which is refused. At most `max` calls; how
 * many there are. */
size_t peers_problems(const struct peers *peers, size_t max,
		      void (*visit)(const char *node, const char *reason, void *data), void *data);
extern const char *const peer_way_names[];

/* ------------------------------------------------ neighbours */

/* Some have to be made or taken away in the kernel. */
bool peers_neighbours_due(const struct peers *peers);
/* Does that: what it costs depends on how many are due. Those that fail are tried again by
 * peers_check_neighbours(). */
void peers_keep_neighbours(struct peers *peers, struct netlink *nl);
/* The kernel has told that this entry is gone: due again if it is needed. */
void peers_neighbour_gone(struct peers *peers, int ifindex, const struct polder_addr *addr);
/* Reads all of the kernel's entries: the missing are made, those of before taken away. 0 or -errno.
 */
int peers_check_neighbours(struct peers *peers, struct netlink *nl);
/* How many the kernel has refused; `*ret_one` is one of them, `*ret_error` why (-errno). */
size_t peers_unkept_neighbours(const struct peers *peers, struct polder_addr *ret_one,
			       int *ret_error);

/* ------------------------------------------------ the maps */

/* Numbers of before are known again by their peers' addresses. 0 or -errno. */
int peers_recall(struct peers *peers);
bool peers_dirty(const struct peers *peers);
/* Peers that came, or whose way is another: before their numbers are named. 0 or -errno: to be
 * called again. */
int peers_write(struct peers *peers);
void peers_written(struct peers *peers);
/* To be called before the wait for the programs, and after it. */
void peers_prune_mark(struct peers *peers);
void peers_prune(struct peers *peers);
