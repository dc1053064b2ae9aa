/* SPDX-License-Identifier: Apache-2.0 */
/* One family's pool of pod addresses: who has which is in memory only, the pods' records, and for
 * those that rest a file (pods_pool.c), say it again after a restart. */
#pragma once

#include <stdint.h>

#include "policy/objects/objects.h"

struct ipam_pool;

/*
 * Of an IPv6 range the first 2^20 addresses are used, of an IPv4 range the first 2^24. The range's
 * own address, the next one (so that no pod has what looks like a gateway) and IPv4's broadcast
 * address are nobody's. 0, -EINVAL or -ENOMEM.
 */
int ipam_pool_new(const struct prefix *range, struct ipam_pool **ret);
void ipam_pool_free(struct ipam_pool *pool); /* takes NULL */

/* A certain address. 0; -ERANGE: not of this pool; -EPERM: reserved; -EADDRINUSE. */
int ipam_take(struct ipam_pool *pool, const struct polder_addr *addr);
/* The next free one after the last that was taken so: an address rests as long as possible before
 * it is used again. `now`: see ipam_rest(). 0 or -ENOSPC. */
int ipam_take_next(struct ipam_pool *pool, uint64_t now, struct polder_addr *ret);
/* What is not of the pool, reserved or free stays as it is. */
void ipam_release(struct ipam_pool *pool, const struct polder_addr *addr);
/*
 * As ipam_release(), but ipam_take_next() gives it to nobody before `until`, in the caller's
 * seconds, as long as it has another one. ipam_take() does.
 */
void ipam_rest(struct ipam_pool *pool, const struct polder_addr *addr, uint64_t until);
/* Calls for each address that rests, the one that has rested longest first. */
void ipam_each_resting(const struct ipam_pool *pool,
		       void (*visit)(const struct polder_addr *addr, uint64_t until, void *data),
		       void *data);
/* The one that ipam_take_next() looks at first. */
void ipam_next(const struct ipam_pool *pool, struct polder_addr *ret);
/* An address that no pod may get (the node's own). Not of this pool, or in use: nothing happens. */
void ipam_reserve(struct ipam_pool *pool, const struct polder_addr *addr);
/* ipam_take_next() goes on with this address; after it. */
void ipam_continue_at(struct ipam_pool *pool, const struct polder_addr *addr);
void ipam_continue_after(struct ipam_pool *pool, const struct polder_addr *addr);

/* `size` counts what pods may get. */
void ipam_usage(const struct ipam_pool *pool, uint64_t *ret_used, uint64_t *ret_size);
