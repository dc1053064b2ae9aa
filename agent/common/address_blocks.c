/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/address_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BITS_V4 (POLDER_V4_MAPPED_BITS + 24)
#define BITS_V6 64
/* A range of more blocks is looked for in those that there are. */
#define BLOCK_BITS_MOST 16

struct block {
	struct hash_table_item item; /* first: the table gives it back */
	struct polder_addr addr;
	struct block_item *first;
};

static unsigned int bits_of(const struct polder_addr *addr)
{
	return addr_is_v4(addr) ? BITS_V4 : BITS_V6;
}

static struct polder_addr begin_of(const struct polder_addr *addr)
{
	struct prefix prefix = {.addr = *addr, .length = (uint8_t)bits_of(addr)};

	prefix_clear_host_bits(&prefix);
	return prefix.addr;
}

static uint32_t hash_of(const struct polder_addr *begin)
{
	return hash_table_hash_of(begin, sizeof(*begin));
}

static struct block *find(const struct address_blocks *blocks, const struct polder_addr *addr)
{
	const struct polder_addr begin = begin_of(addr);
	struct hash_table_item *item = hash_table_find(&blocks->all, hash_of(&begin));

	while (item && memcmp(&((struct block *)item)->addr, &begin, sizeof(begin)) != 0)
		item = hash_table_find_next(item);
	return (struct block *)item;
}

static struct block *need(struct address_blocks *blocks, const struct polder_addr *addr)
{
	struct block *block = find(blocks, addr);

	if (block)
		return block;
	block = calloc(1, sizeof(*block));
	if (!block)
		return NULL;
	block->addr = begin_of(addr);
	if (hash_table_add(&blocks->all, &block->item, hash_of(&block->addr)) == 0)
		return block;
	free(block);
	return NULL;
}

int address_blocks_add(struct address_blocks *blocks, struct block_item *item,
		       const struct polder_addr *addr)
{
	struct block *block = need(blocks, addr);

	if (!block)
		return -ENOMEM;
	item->next = block->first;
	item->at = &block->first;
	if (block->first)
		block->first->at = &item->next;
	block->first = item;
	return 0;
}

void address_blocks_remove(struct address_blocks *blocks, struct block_item *item,
			   const struct polder_addr *addr)
{
	struct block *block;

	if (!item->at)
		return;
	*item->at = item->next;
	if (item->next)
		item->next->at = item->at;
	item->at = NULL;
	block = find(blocks, addr);
	if (!block || block->first)
		return;
	hash_table_remove(&blocks->all, &block->item);
	free(block);
}

static void visit_block(const struct block *block,
			void (*visit)(struct block_item *item, void *data), void *data)
{
	for (struct block_item *item = block ? block->first : NULL; item; item = item->next)
		visit(item, data);
}

void address_blocks_each(const struct address_blocks *blocks, const struct prefix *range,
			 void (*visit)(struct block_item *item, void *data), void *data)
{
	unsigned int bits = bits_of(&range->addr),
		     wider = range->length < bits ? bits - range->length : 0;
	struct polder_addr at = range->addr;
	struct hash_table_item *item;

	if (wider > BLOCK_BITS_MOST || 1u << wider > blocks->all.count) {
		for (item = hash_table_first(&blocks->all); item;
		     item = hash_table_next(&blocks->all, item))
			visit_block((const struct block *)item, visit, data);
		return;
	}
	for (uint32_t i = 0; i < 1u << wider; i++) {
		visit_block(find(blocks, &at), visit, data);
		for (unsigned int byte = bits / 8; byte-- > 0 && ++at.bytes[byte] == 0;)
			;
	}
}

void address_blocks_clear(struct address_blocks *blocks)
{
	hash_table_clear(&blocks->all);
}
