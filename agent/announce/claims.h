/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which node announces an address: agreed among the nodes of a link by what they say to each other,
 * without a server. Knows no sockets, no clock, no objects: all are given to it.
 *
 *     WATCHED  another node says every 300 ms that it holds the address: nothing to do. It is
 *              silent for a second, or says that it lets go            ──> PROBED, the best-placed
 *              node first, the others 100 ms later each
 *     PROBED   does anybody answer for the address? Somebody: the agent there is away and its
 *              programs are not, or it is a stranger's                 ──> WATCHED; asked again
 *              Nobody, twice                                           ──> HELD, and all are told
 *     HELD     it is answered for here. Another node holds it by a later take-over ──> WATCHED
 *
 * A take-over counts the address's term up: of two that hold it, after a network was in two parts,
 * the later one keeps it, so that it moves no more often than it must; of two that took it over at
 * once, the better-placed one. Nodes that hold nothing say nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/common/address.h"
#include "policy/objects/limits.h"

#define CLAIM_BEAT_MS	  300
#define CLAIM_LOST_MS	  1000 /* so long after its last word a holder is looked for */
#define CLAIM_PLACE_MS	  100  /* for each node that is better placed */
#define CLAIM_PLACES_MOST 7
#define CLAIM_PROBES	  2
#define CLAIM_PROBE_MS	  100 /* an answer has so long */
#define CLAIM_AGAIN_MS	  300 /* after an answer */
#define CLAIM_RIVAL_MS	  500 /* another node is asking */
#define CLAIM_TELLS	  5
#define CLAIM_TELL_MS	  700
#define CLAIM_FAILED_MS	  1000
/* What a node whose agent is away goes on answering for. */
#define CLAIM_PROMISE_MS 60000
/* Nobody gets there by taking over. */
#define CLAIM_TERM_MOST (1ull << 62)

/* What nodes say of an address. */
enum claim_word { WORD_HOLD = 1, WORD_PROBE = 2, WORD_RELEASE = 3 };

struct claim_entry {
	struct polder_addr addr;
	uint64_t term;
	int64_t since; /* of WORD_HOLD: seconds since 1970 */
	enum claim_word word;
};

enum claim_state { CLAIM_WATCHED, CLAIM_PROBED, CLAIM_HELD, CLAIM_STATES };
extern const char *const claim_state_names[CLAIM_STATES];

/* An address that the node may have to announce. */
struct claim_want {
	struct polder_addr addr;
	int link;	    /* where it is of use; 0: nowhere */
	bool may;	    /* this node can serve it now */
	unsigned int place; /* how many nodes are better placed, see claim_score() */
};

struct claim_hooks {
	void (*probe)(const struct polder_addr *addr, int link, void *data);
	/* Answer for it from now on, if that can be: 0 or -errno. */
	int (*hold)(const struct polder_addr *addr, int link, uint64_t term, int64_t since,
		    void *data);
	void (*release)(const struct polder_addr *addr, void *data);
	/* All hosts of the link: it is here. */
	void (*tell)(const struct polder_addr *addr, int link, void *data);
	/* The other nodes of the link; may be gathered until claims_*() returns. */
	void (*say)(int link, const struct claim_entry *entry, void *data);
	int64_t (*time)(void *data); /* seconds since 1970 */
	void *data;
};

struct claims;

/* `node`: this one's name; `return_ms`: after so long a better-placed node takes an address back;
 * 0: never. NULL: no memory. */
struct claims *announce_claims_new(const char *node, uint64_t return_ms,
				   const struct claim_hooks *hooks, uint64_t now);
/* Lets go of nothing: the agent may come again. Takes NULL. */
void announce_claims_free(struct claims *claims);

/* How well a node is placed to announce an address; less is better. The same on all nodes. */
uint64_t claim_score(uint64_t node_hash, const struct polder_addr *addr);
uint64_t claim_node_hash(const char *node);

/* The agent before this one held it, and its promise is not over: if it is wanted by the first
 * announce_claims_set() it is held without a gap. 0 or -ENOMEM. */
int announce_claims_recall(struct claims *claims, const struct polder_addr *addr, int link,
			   uint64_t term, int64_t since);
/* All there are: others are let go. 0 or -ENOMEM: some are missing. */
int announce_claims_set(struct claims *claims, const struct claim_want *wants, size_t count,
			uint64_t now);
/* What another node says. */
void announce_claims_heard(struct claims *claims, int link, const char *node,
			   const struct claim_entry *entry, uint64_t now);
/* Somebody answers for the address. */
void announce_claims_answered(struct claims *claims, int link, const struct polder_addr *addr,
			      const uint8_t mac[6], uint64_t now);
/* Does what is due. When to be called again, in ms; UINT64_MAX: never. */
uint64_t announce_claims_run(struct claims *claims, uint64_t now);

struct claim_view {
	struct polder_addr addr;
	int link;
	enum claim_state state;
	bool may;
	unsigned int place;
	const char *holder; /* "": nobody is known; this node's name if it holds it */
	uint64_t term;
	int64_t since;	       /* that it is held so; 0: unknown */
	uint64_t silent_ms;    /* since the holder's last word; 0: it is here, or nobody */
	bool answered;	       /* when it was asked last, somebody was there */
	const uint8_t *answer; /* of this MAC address */
	int error;	       /* why it cannot be held: -errno; 0 */
};
void announce_claims_each(const struct claims *claims, uint64_t now,
			  void (*visit)(const struct claim_view *view, void *data), void *data);
/* Counted since the start. */
struct claim_counts {
	uint64_t taken, released, lost; /* lost: to another node that held it as well */
	uint64_t answered;
};
struct claim_counts announce_claims_counts(const struct claims *claims);
