/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of services share. */
#pragma once

#include "agent/common/address_blocks.h"
#include "agent/common/hash_table.h"
#include "agent/common/ranges.h"
#include "agent/kernel/map_cache.h"
#include "agent/services/service_endpoints.h"
#include "agent/services/service_tables.h"
#include "agent/common/hash.h"

/* Endpoints in a row of `backends`, and their tables, which the row has taken: what an entry says
 * of them. */
struct set_row {
	uint32_t first, count;
	uint32_t local_only, both; /* see struct endpoints */
	struct service_table table, local_table;
};

/* What a Service's port offers in one family, wherever it is served. */
struct service_set {
	struct service_state *owner;
	char *port_name;
	uint16_t port;
	uint8_t proto;
	bool v4;
	bool wanted;
	bool known;  /* `endpoints` are in force; else what is there is from before the start */
	uint32_t id; /* 0: none yet */
	struct set_row row;
	int table_refused; /* why it has no table that it should have: -E2BIG, -ERANGE */
	struct endpoints endpoints;
	uint32_t affinity_seconds;
	struct prefix *sources; /* in force */
	size_t source_count;
	struct frontend *frontends;
	struct service_set *next;
	struct hash_table_item by_id; /* its hash is the number */
};

/* An address and port that leads to a set. */
struct frontend {
	struct claim *claim;
	struct service_set *set;
	enum service_kind kind;
	uint32_t flags;
	bool wanted;
	bool written; /* its entry stands in the map */
	struct frontend *next;
};

/* A slice, and the Service that it belongs to. */
struct service_slice {
	struct hash_table_item by_name; /* first: the table gives it back */
	struct service_state *state;
	struct service_slice *next; /* of the Service */
	char name[];		    /* in the Service's namespace */
};

/* What is known of a namespace. */
struct service_space {
	UT_hash_handle hh;
	size_t states; /* how many there are */
	struct service_state
		*sliceless; /* those without a slice: their endpoints, if any, are pods */
	char name[];
};

/* All about one Service; there also while only slices of it are known. */
struct service_state {
	UT_hash_handle hh;
	struct service_space *space;
	const char *namespace, *name; /* the space's; inside the key */
	struct service_slice *slices;
	struct service_set *sets, *cursor; /* where the next one is looked for */
	struct claimant *claimants;
	struct fixed *fixed; /* it is no Service: what it is instead; NULL */
	uint16_t health_port;
	size_t ready_here;
	bool dirty;
	struct service_state *next_dirty;
	struct service_state *previous_sliceless, *next_sliceless; /* without a slice */
	char key[];						   /* NAMESPACE/NAME */
};

/*
 * Who wants an address and port (port 0: the address), and whose it is: of several the one that was
 * made first. A ClusterIP is its Service's alone, whatever the port.
 */
struct claim {
	struct hash_table_item by_key; /* first: the table gives it back */
	struct block_item in_block;    /* of an address; a port of it is in none */
	struct service_key key;
	struct claimant *claimants;
	struct frontend *frontend; /* NULL: it leads nowhere yet */
	bool address_written;	   /* of an address: it stands in the map */
};

struct claimant {
	struct claim *claim;
	struct service_state *state;
	bool cluster_ip; /* of an address: as its ClusterIP */
	bool wanted;
	struct claimant *next;		/* of the claim */
	struct claimant *next_of_state; /* of the Service */
};

/* See struct services_fixed. */
struct fixed {
	char *name, *owner;
	bool removed;
	struct services_fixed said;
};

/* A row of before the start, until its set is known again. */
struct inherited {
	UT_hash_handle hh;
	uint32_t first, count, id;
};

/* A range of `backends` that nothing names any more, but running programs may still read. */
struct leftover {
	uint32_t first, count;
};

struct services {
	struct services_env env;
	struct maps *maps;
	const struct store *store;
	services_touched touched; /* NULL: nobody is told */
	void *touched_data;
	services_lost lost; /* the same */
	void *lost_data;
	services_more_addresses more; /* the same */
	void *more_data;
	char *zone; /* this node's; NULL: it has none */
	struct map_cache *services, *backend_states, *sources;
	struct ranges *backends;
	struct service_tables *tables;
	struct service_state *states;
	struct service_space *spaces;
	struct service_state *dirty;
	struct hash_table slices;      /* struct service_slice, by namespace and name */
	struct hash_table claims;      /* struct claim, by key */
	struct address_blocks claimed; /* the addresses among them */
	struct hash_table sets;	       /* struct service_set, by number */
	struct inherited *inherited;
	struct leftover *leftovers;
	size_t leftover_count, leftover_marked, leftover_room;
	struct service_problem *problems;
	size_t problem_count;
	bool problems_changed; /* since services_take_problem_change() */
	uint32_t next_id;
	bool ids_used_up; /* all numbers have been given once: one may still be a Service's */
	bool missed; /* a change that there was no memory for: everything has to be looked at */
	bool freed;  /* an address and port, or room: Services that were refused may be tried again
		      */
	bool affinity_left;	 /* clients of Services that have gone may be in the map */
	bool affinity_marked;	 /* so that a wait for the programs is over for them */
	bool health_changed;	 /* since services_take_health_change() */
	bool node_ports_touched; /* flows to node ports are to be re-evaluated */
	size_t frontend_count, backend_count;
};

/* service_states.c */
void state_free(struct service_state *w);
struct service_state *state_find(const struct services *s, const char *namespace, const char *name);
/* NULL: no memory. */
struct service_state *state_get(struct services *s, const char *namespace, const char *name);
/* It has to be looked at; takes NULL. */
void state_mark(struct services *s, struct service_state *w);
/* A Service whose object has gone, with its slices and all that it had in the maps, is forgotten.
 */
void state_drop_idle(struct services *s, struct service_state *w);
/* After a change that was missed. 0 or -ENOMEM: then it is still to be done. */
int states_look_at_all(struct services *s);

/* services.c */
/* A Service that is refused is tried again when something has been freed: so it must be known. 0 or
 * -ENOMEM. */
int problem_add(struct services *s, const struct service_state *w, enum service_problem_kind kind,
		const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same of one that is this node's, or said in other words elsewhere: see struct
 * service_problem.
 */
int problem_add_worded(struct services *s, const struct service_state *w,
		       enum service_problem_kind kind, bool here, const char *everywhere,
		       const char *format, ...) __attribute__((format(printf, 6, 7)));

void problems_clear_of(struct services *s, const struct service_state *w);
/* Services that were refused are looked at again. */
void mark_refused(struct services *s);

/* service_claims.c */
struct claim *claim_find(const struct services *s, const struct service_key *key);
/* All of them: the first one after NULL. */
struct claim *claim_next(const struct services *s, const struct claim *claim);
/* Of the address itself; NULL: nobody wants it. */
struct claim *claim_of_address(const struct services *s, const struct polder_addr *addr);
/* Notes that the Service wants it. 0 or -ENOMEM. */
int claim_want(struct services *s, struct service_state *w, const struct service_key *key,
	       bool cluster_ip, struct claim **ret);
/* Whose it is, of all that want it; not NULL. */
struct service_state *claim_winner(const struct services *s, const struct claim *claim);
/* Who has the address as its ClusterIP; NULL: nobody. */
struct service_state *claim_cluster_ip(const struct services *s, const struct claim *claim);
/* All that want it but `w` are looked at again. */
void claim_mark_others(struct services *s, const struct claim *claim,
		       const struct service_state *w);
/* All that want an address in the range are looked at again. */
void claims_mark_inside(struct services *s, const struct prefix *range);
/* What the Service wanted before and does not now. */
void claims_begin(struct service_state *w);
void claims_end(struct services *s, struct service_state *w);
/* All of it, without a word: the map is not looked at. */
void claims_free(struct services *s);

/* service_addresses.c */
/* Why a Service does not get an address, in words of this node and in those of each. */
struct address_refusal {
	char reason[400], everywhere[400];
	bool here; /* other nodes may not know of it */
};
/* In the same words everywhere. */
void address_refuse(struct address_refusal *ret, const char *reason);
/* May the Service not have the address, whoever else wants it? */
bool address_is_refused(const struct services *s, const struct polder_addr *addr,
			enum service_kind kind, struct address_refusal *ret);
/* Is it on a link of this node? Then its other ports are the node's own. */
bool address_is_on_node(const struct services *s, const struct polder_addr *addr);
bool address_is_here(const struct polder_addr *addr, const void *services);
/* The entry of an address that a Service has, whatever the port: 0, -E2BIG or -errno. */
int address_write(struct services *s, struct claim *claim);
/* Who is told of the flows to node ports. */
void addresses_tell_node_ports(struct services *s);

/* service_frontends.c */
/* What a Service asks for. 0 or -errno. */
int service_apply(struct services *s, struct service_state *w, const struct object *service,
		  const struct object *const *slices, size_t slice_count);
int fixed_apply(struct services *s, struct service_state *w);
void fixed_free(struct fixed *fixed);
/* The frontend goes to another set, or is none any more: `keep_entry` leaves its entry to be
 * replaced. */
void frontend_remove(struct services *s, struct frontend *f, bool keep_entry);

/* service_sets.c */
/* Of the Service; a new one is known to have nothing. NULL: no memory. */
struct service_set *set_get(struct service_state *w, uint16_t port, uint8_t proto, bool v4,
			    const char *port_name);
/*
 * Puts endpoints in force, takes them, and writes the entries of the set's frontends that are
 * wanted; tells whose flows that concerns. 0; -E2BIG: `*full` names the map: without room for
 * endpoints nothing is changed, without room for an entry or for sources those are left out alone;
 * -errno.
 */
struct set_terms {
	bool table; /* endpoints are chosen by tables, with weights or without */
	uint32_t affinity_seconds;
	const struct prefix *sources; /* borrowed */
	size_t source_count;
};
int set_apply(struct services *s, struct service_set *set, struct endpoints *e,
	      const struct set_terms *terms, const char **full);
/* It has no frontends. There is room for its row, see leave_reserve(). */
void set_remove(struct services *s, struct service_set *set);
void set_free(struct service_set *set);
/* Room for so many more leave_row(), which then cannot fail. 0 or -ENOMEM. */
int leave_reserve(struct services *s, size_t count);
/* Backends that go when the programs have ended that may still read them. */
void leave_row(struct services *s, uint32_t first, uint32_t count);
/* Flows that name the address, and flows to this address and port. */
void notify_touched(const struct services *s, const struct polder_addr *addr);
void notify_frontend(struct services *s, const struct service_key *key);
/* The set's endpoints are no more what the address and port leads to. */
void set_notify_left(const struct services *s, const struct service_set *set,
		     const struct service_key *key);
/* After the programs have ended: clients of what has affinity no more. */
void sets_forget_clients(struct services *s);

/* service_inherited.c */
/* At the start: the rows and tables that the map's entries name. 0 or -errno. */
int sets_inherit(struct services *s);
/* Those that no Service was found for. There is room for the rows. */
void sets_disinherit(struct services *s);
/* The row that the entry names, if it is of before the start and nobody else's since. */
void inherited_take(struct services *s, const struct service_entry *entry, struct set_row *ret);

/* service_sources.c */
/* Beside those that are in force. 0, -E2BIG or -errno: as it was. */
int sources_add(struct services *s, const struct service_set *set, const struct prefix *ranges,
		size_t count);
bool sources_are_in_force(const struct service_set *set, const struct prefix *ranges, size_t count);
/* Those that are no more among `ranges` go. Takes a copy. 0 or -ENOMEM: as it was. */
int sources_settle(struct services *s, struct service_set *set, const struct prefix *ranges,
		   size_t count);
void sources_remove(struct services *s, const struct service_set *set);
