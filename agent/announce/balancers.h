/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services of type LoadBalancer and their addresses of the pools: worked out by each agent from the
 * objects that it knows. Of a Service of the API server its status says which it has; what the
 * status lacks one agent writes (agent/sources/api/api_balancers.h). Of one from a file nobody can
 * write a status: what is worked out counts, and is kept in a file.
 */
#pragma once

#include "agent/announce/allocate.h"
#include "agent/config/config.h"
#include "agent/node/node.h"
#include "agent/sources/api/api_balancers.h"
#include "agent/store/store.h"

/* spec.loadBalancerClass of Services that want an address of Polder's; others' are left alone. */
#define BALANCER_CLASS "polder.dev/pool"
/* Which address a Service asks for: one, or one of each family with a comma between. */
#define BALANCER_ASKED "polder.dev/load-balancer-ips"
/* Of a Node: it announces nothing. */
#define BALANCER_EXCLUDED "node.kubernetes.io/exclude-from-external-load-balancers"

struct balancers_env {
	const struct config *config;
	struct store *store; /* problems are told there */
	const struct node *node;
	const char *kept; /* file of what Services from files got; NULL: it is not kept */
	/* A Service from a file has other addresses than before. */
	void (*changed)(const char *namespace, const char *name, void *data);
	/* A Service does not get what it wants, in other words than before. */
	void (*refused)(const struct object *service, const char *why, void *data);
	void *data;
};

struct balancers;

/* 0 or -ENOMEM. A file that cannot be used is told. */
int balancers_new(const struct balancers_env *env, struct balancers **ret);
void balancers_free(struct balancers *balancers); /* takes NULL */

/* For each change of an object: does it concern them? Then balancers_update() is due. */
bool balancers_object_changed(struct balancers *balancers, const struct object *object);
/* Works everything out. 0 or -ENOMEM: all is as it was. */
int balancers_update(struct balancers *balancers);

/* Hooks for the API server; `data` is the struct balancers. */
extern const struct balancer_hooks balancers_hooks;

/* What a Service from a file has beside its status; valid until the next call. */
size_t balancers_more(struct balancers *balancers, const struct object *service,
		      const struct polder_addr **ret);

/* An address of a pool that a Service has now. */
struct balancer_address {
	struct polder_addr addr;
	const char *namespace, *name;
	bool local; /* externalTrafficPolicy: only nodes with endpoints may serve it */
};
const struct balancer_address *balancers_addresses(const struct balancers *balancers,
						   size_t *ret_count);
/* Services that do not get what they want. */
size_t balancers_refused(const struct balancers *balancers);
size_t balancers_count(const struct balancers *balancers);

/* How many nodes are better placed than this one to announce an address. */
unsigned int balancers_place(struct balancers *balancers, const struct polder_addr *addr);
/* Its Node says that this one announces nothing. */
bool balancers_excluded(const struct balancers *balancers);
