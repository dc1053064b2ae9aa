/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses by the block that they are in, an IPv4 /24 or an IPv6 /64: which of 100,000 lie in a
 * range is found without a look at the others.
 */
#pragma once

#include "agent/common/address.h"
#include "agent/common/hash_table.h"

/* A part of what has the address; zeroed: in no block. */
struct block_item {
	struct block_item *next, **at;
};

/* Zeroed: empty. */
struct address_blocks {
	struct hash_table all;
};

/* 0 or -ENOMEM. */
int address_blocks_add(struct address_blocks *blocks, struct block_item *item,
		       const struct polder_addr *addr);
/* Takes one that is in no block. */
void address_blocks_remove(struct address_blocks *blocks, struct block_item *item,
			   const struct polder_addr *addr);
/* All in blocks that meet the range, so others may be among them. */
void address_blocks_each(const struct address_blocks *blocks, const struct prefix *range,
			 void (*visit)(struct block_item *item, void *data), void *data);
/* All items have been removed. */
void address_blocks_clear(struct address_blocks *blocks);
