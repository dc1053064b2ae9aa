/* SPDX-License-Identifier: Apache-2.0 */
/* The array `local_pods`: addresses of this node's pods found by an index, what else is in
 * `addresses` by the trie. */
#pragma once

#include "agent/kernel/maps.h"

struct local_pods;

/* 0 or -ENOMEM. */
int local_pods_open(struct maps *maps, struct local_pods **ret);
void local_pods_close(struct local_pods *pods); /* takes NULL */

/*
 * The same as the trie says of the address. An element that another address has, or that running
 * programs may still read as another's, is left alone: the trie answers then. 0 or -errno.
 */
int local_pods_put(struct local_pods *pods, const struct polder_addr *addr,
		   const struct address_entry *entry);
/* To be called before the address leaves the trie. 0 or -errno: the element may still answer. */
int local_pods_clear(struct local_pods *pods, const struct polder_addr *addr);
/* Clears all that `known` says no to: what a former agent has left. 0 or -errno. */
int local_pods_prune(struct local_pods *pods,
		     bool (*known)(const struct polder_addr *addr, void *data), void *data);
/* Programs have ended: elements that were cleared before the last call may get another address. */
void local_pods_commit(struct local_pods *pods);

/* What the array says; NULL: nothing, the trie answers. */
const struct address_entry *local_pods_find(const struct maps *maps,
					    const struct polder_addr *addr);
