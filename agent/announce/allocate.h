/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses of the pools Services of type LoadBalancer get: a function of the pools, of what
 * they have and of what they ask for. Who has an address keeps it; no address is given twice. Where
 * a Service begins to look for one is a hash of its name, so that one that is deleted and made
 * again mostly gets its old address, and agents that know the same objects give the same ones.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/common/address_range.h"

/* Places in arrays by family. */
enum { BALANCER_V4, BALANCER_V6, BALANCER_FAMILIES };

struct balancer {
	const char *namespace, *name; /* borrowed */
	int64_t created;	      /* seconds since 1970; the older one goes first */
	bool wants[BALANCER_FAMILIES];
	struct polder_addr has[BALANCER_FAMILIES];   /* all zero: none */
	struct polder_addr asked[BALANCER_FAMILIES]; /* the same */
	struct polder_addr gets[BALANCER_FAMILIES];  /* the answer; all zero: none */
	char problem[240]; /* what it does not get, and why; "": nothing */
};

struct balancer_pools {
	const struct address_range *ranges;
	size_t count;
	/* May no Service have it (it is a node's, a ClusterIP)? NULL: all may be had. */
	bool (*is_others)(const struct polder_addr *addr, void *data);
	void *data;
};

/* Is it of a pool? */
bool balancer_pools_have(const struct balancer_pools *pools, const struct polder_addr *addr);
/* Fills in `gets` and `problem` of each, and sorts them by age. 0 or -ENOMEM. */
int balancers_allocate(const struct balancer_pools *pools, struct balancer *list, size_t count);
