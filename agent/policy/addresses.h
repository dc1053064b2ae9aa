/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the map `addresses` says: who claims each address, which claim counts, and what stands in
 * the map. Changes of claims cost nothing but a mark; addresses_write() brings the map after them
 * and looks at marked addresses alone. An identity that changes is written to the slot that is not
 * in force.
 */
#pragma once

#include "agent/kernel/maps.h"
#include "agent/policy/local_pods.h"
#include "policy/objects/objects.h"

struct addresses;
struct address;

struct addresses_env {
	struct maps *maps;
	struct local_pods *local_pods; /* follows what is written of local pods */
	/* Does this node give the address itself? Then no pod of another node has it. */
	bool (*is_own)(const struct polder_addr *addr, const void *data);
	/* The number of the peer that an address of a pod on the Node `node` (NULL: unknown) is
	 * behind; 0: none. NULL: there are no peers. */
	uint32_t (*peer_of)(const struct polder_addr *addr, const char *node, const void *data);
	/* The map says something else of the address or range now, in both slots at once or from
	 * the next switch on. */
	void (*touched)(const struct prefix *prefix, void *data);
	void *data;
};

/* Reads the map: what stands there and nobody claims goes with the first addresses_write(). 0 or
 * -errno. */
int addresses_open(const struct addresses_env *env, struct addresses **ret);
void addresses_close(struct addresses *addresses); /* takes NULL */

/* ---------------------------------------------------------------- pods */

/*
 * A pod's claim to an address: its owner's memory, zeroed at first. Local pods count before others,
 * these in the order of their names.
 */
struct address_claim {
	const struct object *pod; /* its namespace, name and, of another node's, node count */
	uint32_t identity;	  /* 0: it claims nothing for now */
	uint32_t ifindex;	  /* of a local pod; 0: a pod of another node */
	struct address *address;
	struct address_claim *next;
};
/* 0 or -ENOMEM. */
int addresses_claim(struct addresses *addresses, struct address_claim *claim,
		    const struct polder_addr *addr);
/* Takes one that claims no address. */
void addresses_unclaim(struct addresses *addresses, struct address_claim *claim);
/* To be called when the claim's identity has changed. */
void addresses_claim_changed(struct addresses *addresses, struct address_claim *claim);

/* ---------------------------------------------------------------- nodes and ranges */

/* All of them by mark and sweep; a pod of another node does not get a node's address. */
void addresses_fix_begin(struct addresses *addresses);
/* What is said of an address or a range. */
struct address_fix {
	const char *owner; /* outlives the fix */
	uint32_t identity;
	uint32_t flags; /* ADDRESS_* */
	uint32_t peer;	/* not ADDRESS_LOCAL: its number; 0: none */
};
/* 0 or -ENOMEM. */
int addresses_fix(struct addresses *addresses, const struct prefix *prefix,
		  const struct address_fix *fix);
void addresses_fix_end(struct addresses *addresses);
/* Of one alone, outside of begin and end: nothing is said of it any more. */
void addresses_unfix(struct addresses *addresses, const struct prefix *prefix);
/* Who is behind the range has changed: pods' addresses inside are looked at again. */
void addresses_mark_inside(struct addresses *addresses, const struct prefix *range);

/* ---------------------------------------------------------------- the map */

/* Every address is looked at by the next addresses_write(). */
void addresses_mark_all(struct addresses *addresses);
/*
 * `slot` is in force. `*ret_switch`: identities changed in the other one. What finds no room waits,
 * and is told as a problem. 0 or -errno: then everything is looked at again the next time.
 */
int addresses_write(struct addresses *addresses, unsigned int slot, bool *ret_switch);
/* Identities alike in both slots again, as they stand in `slot`. */
void addresses_sync_slots(struct addresses *addresses, unsigned int slot);
/*
 * Takes pods' addresses out again that an addresses_write() which failed has written in both slots
 * at once: what stays in force need not know their identities.
 */
void addresses_undo(struct addresses *addresses);
/* At once, of a pod that goes. */
void addresses_remove(struct addresses *addresses, const struct polder_addr *addr);

/* What the map says of just this address; NULL: nothing. */
const struct address_entry *addresses_find(const struct addresses *addresses,
					   const struct polder_addr *addr);
/* The pod whose claim counts; NULL: none does. */
const struct object *addresses_owner(const struct addresses *addresses,
				     const struct polder_addr *addr);
/* An address that a pod of another node claims and does not get, or that found no room. */
struct address_problem {
	const struct polder_addr *addr;
	const struct object *pod; /* NULL: no pod's */
	const char *owner;	  /* then: whose it is */
	bool no_room;
};
void addresses_problems(const struct addresses *addresses,
			void (*visit)(const struct address_problem *problem, void *data),
			void *data);
/* How many of those that are claimed stand outside of the map. */
size_t addresses_without_room(const struct addresses *addresses);
/* Calls for each element of the map. */
void addresses_each(const struct addresses *addresses,
		    void (*visit)(const struct address_key *key, const struct address_entry *entry,
				  void *data),
		    void *data);
