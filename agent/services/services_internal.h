/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of services share. */
#pragma once

#include "agent/common/ranges.h"
#include "agent/kernel/map_cache.h"
#include "agent/services/service_endpoints.h"
#include "agent/common/hash.h"

/* One address and port of a Service, as it stands in the maps. */
struct frontend {
	struct service_key key;
	struct service_entry entry;
	char *port_name;
	struct backend *active;
	size_t active_count;
	struct backend *terminating;
	size_t terminating_count;
	struct backend *silent; /* of those */
	size_t silent_count;
	bool wanted;
	struct frontend *next;
};

struct slice_name {
	char *name;
	struct slice_name *next;
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
	struct slice_name *slices;
	struct frontend *frontends;
	bool dirty;
	struct service_state *next_dirty;
	struct service_state *previous_sliceless, *next_sliceless; /* without a slice */
	char key[];						   /* NAMESPACE/NAME */
};

/* Which Service a slice belongs to, to notice when that changes. */
struct slice_owner {
	UT_hash_handle hh;
	char *key; /* NAMESPACE/SLICE */
	char *service;
};

/* Which Service holds an address and port: another one that wants it too is refused. */
struct claim {
	UT_hash_handle hh;
	struct service_key key;
	struct service_state *owner;
	size_t count;
};

/* A range of `backends` that nothing names any more, but running programs may still read. */
struct leftover {
	uint32_t first, count;
};

struct services {
	struct maps *maps;
	const struct store *store;
	service_pods pods;
	void *pods_data;
	services_touched touched; /* NULL: nobody is told */
	void *touched_data;
	services_lost lost; /* the same */
	void *lost_data;
	struct map_cache *services, *backend_states;
	struct ranges *backends;
	struct service_state *states;
	struct service_space *spaces;
	struct service_state *dirty;
	struct slice_owner *owners;
	struct claim *claims;
	struct leftover *leftovers;
	size_t leftover_count, leftover_marked, leftover_room;
	struct service_problem *problems;
	size_t problem_count;
	uint32_t next_id;
	bool ids_used_up; /* all numbers have been given once: one may still be a Service's */
	bool missed; /* a change that there was no memory for: everything has to be looked at */
	bool freed;  /* an address and port, or room: Services that were refused may be tried again
		      */
	size_t frontend_count, backend_count;
};

/* service_states.c */
void state_free(struct service_state *w);
void slice_owner_free(struct slice_owner *owner);
struct service_state *state_find(const struct services *s, const char *namespace, const char *name);
/* It has to be looked at; takes NULL. */
void state_mark(struct services *s, struct service_state *w);
/* A Service whose object has gone, with its slices and all that it had in the maps, is forgotten.
 */
void state_drop_idle(struct services *s, struct service_state *w);
/* After a change that was missed. 0 or -ENOMEM: then it is still to be done. */
int states_look_at_all(struct services *s);

/* service_frontends.c */
/*
 * Puts a frontend's endpoints in force, takes their arrays and tells whose flows that concerns. 0;
 * -E2BIG (nothing is changed, `*full` names the map); -errno.
 */
int frontend_apply(struct services *s, struct frontend *f, struct endpoints *e, const char **full);
/* Out of the maps, and freed. There is room for its backends, see leave_reserve(). */
void frontend_remove(struct services *s, struct frontend *f);
void frontend_free(struct frontend *f);
/* Room for so many more leave_backends(), which then cannot fail. 0 or -ENOMEM. */
int leave_reserve(struct services *s, size_t count);
/* Backends that go when the programs have ended that may still read them. */
void leave_backends(struct services *s, const struct service_entry *entry);
/* 0; -EEXIST: another Service has the address and port; -ENOMEM. */
int claim_take(struct services *s, const struct service_key *key, struct service_state *owner);
void claim_drop(struct services *s, const struct service_key *key);
