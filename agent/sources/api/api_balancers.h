/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of load balancers, into the status of their Services. One agent of all writes: the one
 * that holds the Lease polder-load-balancer, which is taken when there is something to write and
 * let go when there is nothing more, so that it costs a cluster that does not change no request.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/common/address.h"
#include "agent/sources/api/api_writes.h"
#include "policy/objects/limits.h"

#define BALANCER_LEASE "polder-load-balancer"
#define BALANCER_ADDRS 8

/* What the status of one Service is to be. */
struct balancer_write {
	char namespace[LIMIT_NAMESPACE + 1], name[LIMIT_NAME + 1];
	char version[LIMIT_VERSION + 1]; /* resourceVersion that this was worked out from */
	struct polder_addr addrs[BALANCER_ADDRS];
	size_t count; /* 0: none any more */
};

struct balancer_hooks {
	/* Is there a Service whose status is not what it is to be? */
	bool (*wants)(void *data);
	/* How many agents are to try before this one. */
	unsigned int (*place)(void *data);
	/* One of these, under the Lease; false: not now. */
	bool (*next)(struct balancer_write *ret, void *data);
	/* It is written, and the Service has this resourceVersion now; 0: it is not, somebody else
	 * has changed the Service. */
	void (*written)(const struct balancer_write *write, uint64_t version, void *data);
	void *data;
};

struct api_source;
struct api_balancers;

/* `node`, `namespace` (the Lease's) are kept, `hooks` is copied. 0 or -ENOMEM. */
int api_balancers_new(struct api_source *source, const char *node, const char *namespace,
		      const struct balancer_hooks *hooks, struct api_balancers **ret);
void api_balancers_free(struct api_balancers *balancers); /* takes NULL, as the others do */
/* Sends what is due. */
void api_balancers_run(struct api_balancers *balancers, uint64_t now);
uint64_t api_balancers_due(struct api_balancers *balancers, uint64_t now); /* UINT64_MAX: never */
/* The connection is closed: what was asked is asked again. */
void api_balancers_cut(struct api_balancers *balancers);
/* Somebody has mended what was wrong. */
void api_balancers_hurry(struct api_balancers *balancers);
/* Of WRITE_LEASE and WRITE_ADDRESS; the others are left alone. */
void api_balancers_status(const struct api_balancers *balancers,
			  struct write_status ret[WRITE_KINDS]);
/* Who holds the Lease, as far as is known; "": nobody. */
const char *api_balancers_holder(const struct api_balancers *balancers);
