/* SPDX-License-Identifier: Apache-2.0 */
/* One family's flow table seen from user space: windows of the map, stable copies, claims. The
 * programs write at the same time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/flow_math.h"

/* The most that is mapped at once: what is mapped counts as the agent's memory. */
#define FLOW_WINDOW_BYTES (1u << 20)

struct flow_table {
	int fd; /* borrowed */
	uint8_t family;
	uint32_t sets; /* a power of two */
	uint8_t *tags; /* the whole map of tags, a byte for each way; NULL: none are kept */
	struct flow_usage *usage; /* the whole map; NULL: nobody counts */
	uint32_t usage_count;	  /* the last one is for all */
};

/* Sets `first` to `first + count - 1`, mapped. Zeroed: nothing. */
struct flow_window {
	uint8_t *base;
	size_t length;
	uint32_t first, count;
};

/* A stable copy of one entry. */
struct flow_snapshot {
	uint32_t seq;
	struct flow_tuple tuple; /* words beyond the family's are 0 */
	struct flow_copy content;
	uint32_t packets;
	uint64_t bytes;
};

/*
 * The set's first entry, from a window of at most `bytes` (a power of two, a page at least) that is
 * moved if need be. NULL: it could not be mapped.
 */
void *flow_window_set(const struct flow_table *table, struct flow_window *window, uint32_t set,
		      uint32_t bytes);
void flow_window_close(struct flow_window *window);
/* The set as it stands there at this moment, without a window; `ret`: FLOW_SET_MAX bytes. 0 or
 * -errno. */
#define FLOW_SET_MAX (FLOW_WAYS * sizeof(struct flow6))
int flow_set_copy(const struct flow_table *table, uint32_t set, void *ret);

static inline void *flow_entry(const struct flow_table *table, void *set, uint32_t way)
{
	return (uint8_t *)set + way * FLOW_SIZE(table->family);
}

static inline struct flow_head *flow_entry_head(const struct flow_table *table, void *entry)
{
	return (struct flow_head *)((uint64_t *)entry + FLOW_WORDS(table->family));
}

static inline uint8_t flow_entry_proto(const void *entry)
{
	return ((const struct flow_tuple *)entry)->proto;
}

/* 0; -ENOENT: the place is free; -EBUSY: a writer is at it. */
int flow_snapshot(const struct flow_table *table, void *entry, struct flow_snapshot *ret);
/* The same two tuples of the table's family? */
bool flow_tuple_equal(const struct flow_table *table, const struct flow_tuple *a,
		      const struct flow_tuple *b);
/*
 * The pod that an entry counts for, by its place in `pods`, as an address that no packet has: of
 * 0.0.0.0/8 (as mapped) or of the discard prefix 100::/64 (RFC 6666). A flow of a pod that the node
 * masquerades names the pod in no other way.
 */
struct polder_addr flow_owner_addr(uint32_t place, uint8_t family);
/* All that the flow names: its addresses before and after translation (IPv4 as mapped), its owner.
 */
#define FLOW_ADDRESSES 5
void flow_addresses(const struct flow_table *table, const struct flow_snapshot *flow,
		    struct polder_addr ret[FLOW_ADDRESSES]);

/* False: somebody has written the entry since the copy. */
bool flow_entry_doubt(struct flow_head *head, const struct flow_snapshot *flow);

/* Wins the entry if nobody wrote it since the copy. Then it is freed or released, at once. */
bool flow_entry_claim(struct flow_head *head, uint32_t seq);
void flow_entry_release(struct flow_head *head);
/* `place`: set * FLOW_WAYS + way. */
void flow_entry_free(const struct flow_table *table, void *entry, uint32_t place);
/* Frees an entry whose writer died while it held `seq` (odd). False: the writer lives. */
bool flow_entry_repair(const struct flow_table *table, void *entry, uint32_t place, uint32_t seq);
