/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of balancers share. */
#pragma once

#include "agent/announce/balancers.h"
#include "agent/announce/claims.h"
#include "agent/common/hash.h"

#define BALANCER_KEY_MAX (LIMIT_NAMESPACE + LIMIT_NAME + 2)

/* One Service that is ours. */
struct balancer_item {
	char key[BALANCER_KEY_MAX]; /* NAMESPACE/NAME; its parts are the allocation's names */
	char namespace[LIMIT_NAMESPACE + 1], name[LIMIT_NAME + 1];
	bool from_api;
	bool local;
	bool waits;	    /* what was written has not come back yet */
	bool asks_nonsense; /* in its annotation */
	bool unwanted;	    /* it is no load balancer any more, and its status has our addresses */
	struct polder_addr status[BALANCER_ADDRS]; /* what its status says */
	size_t status_count;
	struct polder_addr
		foreign[BALANCER_ADDRS + BALANCER_FAMILIES]; /* what it has that is in no pool */
	size_t foreign_count;
	struct balancer balancer;
};

/* What was written, until the store has it. */
struct balancer_pending {
	UT_hash_handle hh;
	char key[BALANCER_KEY_MAX];
	uint64_t version; /* that the Service has since; 0: somebody else had changed it */
	char tried[LIMIT_VERSION + 1]; /* the version that it had */
	struct polder_addr has[BALANCER_FAMILIES];
};

/* What a Service has, by name: from a file, or what it has been told. */
struct balancer_kept {
	UT_hash_handle hh;
	char key[BALANCER_KEY_MAX];
	bool marked;
	struct polder_addr has[BALANCER_FAMILIES];
};

struct balancer_told {
	UT_hash_handle hh;
	char key[BALANCER_KEY_MAX];
	bool marked;
	char why[240];
};

struct balancer_place {
	UT_hash_handle hh;
	struct polder_addr addr;
	unsigned int place;
};

/* An address inside a pool that no Service may have. */
struct balancer_taboo {
	UT_hash_handle hh;
	struct polder_addr addr;
};

struct balancers {
	struct balancers_env env;
	char *kept_path;	     /* NULL: nothing is kept */
	struct balancer_item *items; /* by namespace and name */
	size_t count;
	struct balancer_address *addresses;
	size_t address_count;
	size_t refused;
	struct balancer_pending *pending;
	struct balancer_kept *kept;
	struct balancer_told *told;
	struct balancer_place *places;
	struct balancer_taboo *taboo;
	uint64_t *node_hashes;
	size_t node_count;
	bool nodes_read;
	struct polder_addr more[BALANCER_FAMILIES]; /* balancers_more() */
	bool keep_failed;			    /* told */
};

/* balancers_write.c */
/* Is its status another one than it is to be? */
bool balancer_differs(const struct balancer_item *item);
/* The answers that it waits for, into `item`. */
void balancer_recall_pending(struct balancers *balancers, const struct object *service,
			     struct balancer_item *item);

/* balancers_kept.c: a file of what Services from files have. */
void balancers_kept_read(struct balancers *balancers);
const struct balancer_kept *balancers_kept_find(const struct balancers *balancers, const char *key);
/* Of all items: what changed is told and written. */
void balancers_kept_take(struct balancers *balancers);
void balancers_kept_clear(struct balancers *balancers);
