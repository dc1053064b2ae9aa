/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of peers share: claims and owners (peers.c), ways (peer_ways.c), words
 * (peers_show.c), numbers and maps (peer_maps.c). */
#pragma once

#include "agent/node/peers.h"
#include "agent/node/prefix_index.h"

/* A Node says that a range, or an address, is its own. */
struct claim {
	struct claimed *place;
	struct peer *peer;
	struct claim *next; /* of the same place */
};

/* A range or an address that Nodes claim. */
struct claimed {
	struct prefix prefix; /* first: the index's item */
	struct claim *claims; /* the newest Node's first */
	struct peer *owner; /* whose claim counts among Nodes'; NULL: a newer one's that it meets */
	const struct peer *rival; /* owner NULL: that one */
	enum range_fault fault;	  /* of the owner */
};

/* What a number is used for. */
enum number_state {
	NUMBER_FREE,
	NUMBER_USED,
	NUMBER_RECALLED, /* by an agent of before */
	NUMBER_LEFT,	 /* its peer is gone; addresses may say it */
	NUMBER_UNSAID,	 /* they do not any more, but programs may have read it */
	NUMBER_MARKED,	 /* and the wait for those has begun */
};

struct number {
	uint8_t state;		 /* enum number_state */
	struct peer_entry entry; /* as written */
	struct next_hop hop;
};

/* By which number an earlier agent knew who has the address. */
struct recalled {
	struct polder_addr addr;
	uint32_t number;
};

#define PEERS_LISTENERS 2

struct peers {
	const struct config *config;
	struct maps *maps;
	struct {
		peers_listener call;
		void *data;
	} listeners[PEERS_LISTENERS];
	size_t listener_count;
	bool is_read, incomplete;
	struct hash_table all;
	size_t count;
	struct prefix_index ranges, hosts; /* of struct claimed */

	struct address_info *networks; /* of the host */
	size_t network_count;
	int uplinks[CONFIG_MAX_UPLINKS];
	uint32_t mtus[CONFIG_MAX_UPLINKS];
	struct polder_addr node_ipv4, node_ipv6;
	struct prefix_index own; /* the networks without host bits, each once: of own_items */
	struct prefix *own_items;
	struct peers_tunnel tunnel;

	struct hash_table neighbours;	  /* on links, that the kernel keeps known */
	struct neighbour *due_neighbours; /* that have to be looked at */

	struct peer *dirty;
	struct number *numbers;	 /* POLDER_MAX_PEERS; NULL: no maps */
	uint32_t next_number;	 /* where the search for a free one begins */
	struct tunnel_end *ends; /* as written */
	size_t numberless, v6_ends;
	struct recalled *recalled; /* by address; NULL: none any more */
	size_t recalled_count;
	struct polder_addr *gone; /* addresses that a peer does not claim any more */
	size_t gone_count, gone_room;
	bool begun;		      /* peers_write() has succeeded once */
	bool leaving, unsaid, marked; /* some number's state is so */
};

/* ------------------------------------------------ peers.c */

void peers_tell(const struct peers *peers, const struct prefix *prefix, enum peers_change change);
/* The way of a peer is another one. */
void peers_tell_way(const struct peers *peers, const struct peer *peer);
void peers_mark_dirty(struct peers *peers, struct peer *peer);
struct claimed *peers_range(const struct peers *peers, const struct prefix *range);
struct claimed *peers_host(const struct peers *peers, const struct polder_addr *addr);
/* Whether an address is this node's has changed. */
void peers_resolve_host(struct peers *peers, struct claimed *place);
/* Is `a` the newer one? */
bool peer_is_newer(const struct peer *a, const struct peer *b);

/* ------------------------------------------------ peer_ways.c */

/* How the peer is reached now; has it changed? */
bool peer_find_ways(struct peers *peers, struct peer *peer);
/* It goes: its end of the tunnel is none any more. */
void peer_forget_end(struct peers *peers, struct peer *peer);
/* Does it meet the range of this node's pods, or is it this node's address? */
bool peers_is_ours(const struct peers *peers, const struct claimed *place);
/* The fault of a place with its owner. */
enum range_fault peers_fault_of(const struct peers *peers, const struct claimed *place);
const struct prefix *peers_own_network(const struct peers *peers, const struct prefix *range);
bool peers_is_own_address(const struct peers *peers, const struct polder_addr *addr);

/* ------------------------------------------------ peer_maps.c */

void peers_give_number(struct peers *peers, struct peer *peer);
/* The peer goes. */
void peers_leave_number(struct peers *peers, struct peer *peer);
/* It claims the address no more. */
void peers_forget_end(struct peers *peers, const struct polder_addr *addr);
/* Needs the neighbours that the peer's routes lead to, and those of before no more. */
void peers_hold_neighbours(struct peers *peers, struct peer *peer);
void peers_leave_neighbours(struct peers *peers, struct peer *peer);
void peers_free_neighbours(struct peers *peers);
