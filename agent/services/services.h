/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From Service and EndpointSlice objects to the maps services, backends, backend_states and
 * service_sources; one Service at a time. Each port of a Service has a set of endpoints in each
 * family, with one number and one row of `backends`, which all its frontends name: ClusterIPs, the
 * node port, external addresses and those of load balancers.
 */
#pragma once

#include "agent/kernel/maps.h"
#include "agent/node/node.h"
#include "agent/node/peers.h"
#include "agent/store/store.h"

struct services;

/* A pod as Services with a selector see it. Borrowed from the caller. */
struct service_pod {
	const char *namespace;
	const struct labels *labels;
	const struct object *object; /* NULL: known only from its attachment */
	const struct polder_addr *addresses;
	size_t address_count;
	bool here; /* connected to this node */
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

/* What is around it. Borrowed, as is all that it points to. */
struct services_env {
	struct maps *maps;
	const struct store *store;
	const struct config *config;
	const struct node *node;   /* its addresses */
	const struct peers *peers; /* other nodes' ranges and addresses; NULL: none are known */
	service_pods pods;
	void *pods_data;
};
int services_open(const struct services_env *env, struct services **ret);
void services_close(struct services *services);

void services_on_touched(struct services *services, services_touched touched, void *data);
void services_on_lost(struct services *services, services_lost lost, void *data);
/*
 * More addresses of a Service, as if status.loadBalancer.ingress named them: any number, valid
 * until the next call. When they become others services_look_again() is to be called.
 */
typedef size_t (*services_more_addresses)(const struct object *service,
					  const struct polder_addr **ret, void *data);
void services_on_addresses(struct services *services, services_more_addresses more, void *data);
void services_look_again(struct services *services, const char *namespace, const char *name);

/*
 * What is served at an address and port without being a Service's: a host port. Its name is the
 * caller's, unlike that of any other; `owner` is who is told of in problems ("pod NS/NAME"). The
 * next services_apply() brings it, or what it has become, into force. 0 or -ENOMEM.
 */
struct services_fixed {
	const char *name, *owner;
	struct service_key key; /* the unspecified address: the node's, as of node ports */
	uint32_t flags;		/* SERVICE_HOST_PORT, SERVICE_EXTERNAL */
	struct backend endpoint;
	int64_t created; /* who of two wants the same was first; 0: unknown */
};
int services_put_fixed(struct services *services, const struct services_fixed *fixed);
void services_remove_fixed(struct services *services, const char *name);

/* Is it one of its endpoints now, so that what is connected may stay? */
bool services_has_endpoint(const struct services *services, const struct service_key *service,
			   const struct backend *endpoint);

/* To be called for each change of an object in the store. */
void services_object_changed(struct services *services, const struct object *object, bool deleted);
/* Pods of a namespace have changed ("" or NULL: of any): Services whose endpoints come from pods
 * are looked at again. */
void services_pods_changed(struct services *services, const char *namespace);
/* The node's addresses have changed, or other nodes' ranges and addresses. */
void services_node_changed(struct services *services);
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

enum service_problem_kind {
	SERVICE_PROBLEM_FRONTEND,   /* an address or port is not served */
	SERVICE_PROBLEM_ENDPOINTS,  /* some are left out */
	SERVICE_PROBLEM_ANNOTATION, /* one is ignored */
	SERVICE_PROBLEM_ROOM,	    /* this node's maps have none */
	SERVICE_PROBLEM_HEALTH,	    /* its health check node port is not served here */
	SERVICE_PROBLEM_KINDS
};
#define SERVICE_REASON_MAX 256
struct service_problem {
	const char *namespace, *name; /* of what is no Service's: "", its owner */
	enum service_problem_kind kind;
	bool here; /* of this node; else of the objects, so that each node finds it */
	char reason[SERVICE_REASON_MAX];
	char everywhere[SERVICE_REASON_MAX]; /* the same in words that each node would use; "":
						those of `reason` */
};
size_t services_problems(const struct services *services, const struct service_problem **ret);
/* Have they become others since the last call? */
bool services_take_problem_change(struct services *services);

enum service_kind {
	SERVICE_KIND_CLUSTER_IP,
	SERVICE_KIND_NODE_PORT,
	SERVICE_KIND_EXTERNAL_IP,
	SERVICE_KIND_LOAD_BALANCER,
	SERVICE_KIND_HOST_PORT,
	SERVICE_KINDS
};
/* "ClusterIP", ... */
extern const char *const service_kind_names[SERVICE_KINDS];

/* What hints of endpoints have come to. */
enum service_hints {
	HINTS_NONE, /* there are none */
	HINTS_NODE, /* the cluster's set is what is for this node */
	HINTS_ZONE, /* for its zone */
	/* Not used: */
	HINTS_MISSING,	    /* a ready endpoint has none */
	HINTS_NOT_HERE,	    /* none is for here */
	HINTS_NO_ZONE,	    /* this node has no zone */
	HINTS_NOBODY_READY, /* only endpoints that are not ready have some */
	HINTS_FORWARDING,   /* all nodes have to choose among the same endpoints */
	HINTS_COUNT
};
/* "", "node", "zone"; why hints are not used, or "". */
const char *service_hints_use(enum service_hints hints);
const char *service_hints_reason(enum service_hints hints);

/* What is in force, for showing: one call for each frontend. */
struct service_view {
	const char *namespace, *name, *port_name;
	struct service_key key; /* the unspecified address: a node port */
	enum service_kind kind;
	uint16_t port; /* of the Service; of a node port another one than the key's */
	uint32_t id, flags, affinity_seconds;
	const struct backend *backends; /* the cluster's set */
	size_t backend_count;
	const uint16_t *weights;     /* of `backends`; NULL: they have none */
	uint32_t table_size;	     /* cells; 0: each of `backends` is as likely */
	const struct backend *local; /* this node's set; some may be in both */
	size_t local_count;
	const struct backend *terminating;
	size_t terminating_count;
	enum service_hints hints;
	const struct prefix *sources; /* who may use it from outside, with SERVICE_SOURCES */
	size_t source_count;
};
void services_each(const struct services *services,
		   void (*visit)(const struct service_view *view, void *data), void *data);
/* For each Service with a healthCheckNodePort that is served: how many ready endpoints this node
 * has. */
struct service_health {
	const char *namespace, *name;
	uint16_t port;
	size_t endpoints;
};
void services_each_health(const struct services *services,
			  void (*visit)(const struct service_health *health, void *data),
			  void *data);
/* Does it tell anything else than at the last call? */
bool services_take_health_change(struct services *services);
/* The frontend that a packet to this address and port is for: of node ports, too, at an address
 * that has them. False: none. */
bool services_find(const struct services *services, const struct service_key *key,
		   struct service_view *ret);
size_t services_frontend_count(const struct services *services);
size_t services_backend_count(const struct services *services);
/* Elements of map backends in use, those included that running programs may still read. */
size_t services_backends_used(const struct services *services);
/* The same of map service_tables, in cells. */
size_t services_cells_used(const struct services *services);
