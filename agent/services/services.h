/* SPDX-License-Identifier: Apache-2.0 */
/* From Service and EndpointSlice objects to the maps services, backends and members; one Service at
 * a time. */
#pragma once

#include "agent/kernel/maps.h"
#include "agent/store/store.h"

struct services;

/* A pod as Services with a selector see it. Borrowed from the caller. */
struct service_pod {
	const char *namespace;
	const struct labels *labels;
	const struct object *object; /* NULL: known only from its attachment */
	const struct polder_addr *addresses;
	size_t address_count;
};
/* Gives all pods of a namespace in a stable order. The array is the callback's, until its next
 * call. 0 or -ENOMEM. */
typedef int (*service_pods)(const char *namespace, const struct service_pod **ret,
			    size_t *ret_count, void *data);

/*
 * What a change of Services concerns: flows that name this address have to be re-evaluated. Called
 * after the maps have been written. A Service's address and port that comes or goes: its address;
 * endpoints that a flow may have and that take no more of its flows, or go: theirs. Endpoints that
 * come concern no flow that there is.
 */
typedef void (*services_touched)(const struct polder_addr *addr, void *data);

/*
 * An endpoint that a Service's address and port had, and has no more, in whatever condition; of UDP
 * also one that does not serve while others take new flows. What is connected to it by that Service
 * has to end. Called after the maps have been written.
 */
typedef void (*services_lost)(const struct service_key *service, const struct backend *endpoint,
			      void *data);

int services_open(struct maps *maps, const struct store *store, service_pods pods, void *data,
		  struct services **ret);
void services_close(struct services *services);

void services_on_touched(struct services *services, services_touched touched, void *data);
void services_on_lost(struct services *services, services_lost lost, void *data);
/* Is it one of its endpoints now, so that what is connected may stay? */
bool services_has_endpoint(const struct services *services, const struct service_key *service,
			   const struct backend *endpoint);

/* To be called for each change of an object in the store. */
void services_object_changed(struct services *services, const struct object *object, bool deleted);
/* Pods of a namespace have changed ("" or NULL: of any): Services whose endpoints come from pods
 * are looked at again. */
void services_pods_changed(struct services *services, const char *namespace);
bool services_dirty(const struct services *services);

/*
 * Brings the maps to what the objects ask for: new backends before what points at them; deletions
 * are left to services_prune(), after the programs have ended that may still use them. Tells whose
 * flows have to be re-evaluated, see services_touched. A Service that cannot be put into effect is
 * told by services_problems(); the others go on. 0 or -errno (memory).
 */
int services_apply(struct services *services);
/* services_prune_mark() before the wait says what the next services_prune() may take. */
void services_prune_mark(struct services *services);
void services_prune(struct services *services);
/*
 * First pass after a start: everything of the maps that no object asks for goes with the next
 * pruning, and every flow is re-evaluated. 0 or -ENOMEM: nothing was done.
 */
int services_prune_unknown(struct services *services);

struct service_problem {
	const char *namespace, *name;
	char reason[160];
};
size_t services_problems(const struct services *services, const struct service_problem **ret);

/* What is in force, for showing: one call for each frontend. */
struct service_view {
	const char *namespace, *name, *port_name;
	struct service_key key;
	const struct backend *backends;
	size_t backend_count;
	const struct backend *terminating;
	size_t terminating_count;
};
void services_each(const struct services *services,
		   void (*visit)(const struct service_view *view, void *data), void *data);
size_t services_frontend_count(const struct services *services);
size_t services_backend_count(const struct services *services);
/* Elements of map backends in use, those included that running programs may still read. */
size_t services_backends_used(const struct services *services);
