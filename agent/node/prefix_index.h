/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefixes in order: which of them lie inside a range or around it. For what there may be 10,000
 * of: a search costs some comparisons, an addition moves pointers.
 */
#pragma once

#include "agent/common/address.h"

/* Zeroed: empty. Items are their owners', mostly the first member of something larger. */
struct prefix_index {
	const struct prefix **items; /* by address, then length */
	size_t count, size;
	uint32_t lengths[129]; /* how many items have this length */
};

/* No equal one may be in the index. 0 or -ENOMEM. */
int prefix_index_add(struct prefix_index *index, const struct prefix *item);
/* It is in the index. */
void prefix_index_remove(struct prefix_index *index, const struct prefix *item);
/* The equal one; NULL: none. */
const struct prefix *prefix_index_find(const struct prefix_index *index,
				       const struct prefix *prefix);
/* Items strictly inside `prefix`, in order: the first one, or the one behind `item`; NULL: no
 * (more). */
const struct prefix *prefix_index_inside(const struct prefix_index *index,
					 const struct prefix *prefix, const struct prefix *item);
/* Items strictly around `prefix`, the narrowest first: the first one, or the one around `item`;
 * NULL: no (more). */
const struct prefix *prefix_index_around(const struct prefix_index *index,
					 const struct prefix *prefix, const struct prefix *item);
/* Forgets the items and frees the rest. */
void prefix_index_clear(struct prefix_index *index);
