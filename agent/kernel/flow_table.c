/* SPDX-License-Identifier: Apache-2.0 */
/* The user-space side of the protocol that struct flow_head describes. */
#include "agent/kernel/flow_table.h"

#include <arpa/inet.h>
#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define ENTRY_WORDS_MAX (sizeof(struct flow6) / sizeof(uint64_t))

static size_t set_size(const struct flow_table *table)
{
	return FLOW_WAYS * FLOW_SIZE(table->family);
}

void flow_window_close(struct flow_window *window)
{
	if (window->base)
		munmap(window->base, window->length);
	*window = (struct flow_window){0};
}

void *flow_window_set(const struct flow_table *table, struct flow_window *window, uint32_t set,
		      uint32_t bytes)
{
	uint32_t count = bytes / set_size(table), first;
	void *base;

	assert(set < table->sets);
	if (!window->base || set < window->first || set - window->first >= window->count) {
		first = set & ~(count - 1);
		if (count > table->sets - first)
			count = table->sets - first;
		flow_window_close(window);
		base = mmap(NULL, count * set_size(table), PROT_READ | PROT_WRITE, MAP_SHARED,
			    table->fd, (off_t)(first * set_size(table)));
		if (base == MAP_FAILED)
			return NULL;
		*window = (struct flow_window){base, count * set_size(table), first, count};
	}
	return window->base + (set - window->first) * set_size(table);
}

int flow_set_copy(const struct flow_table *table, uint32_t set, void *ret)
{
	return bpf_map_lookup_elem(table->fd, &set, ret) < 0 ? -errno : 0;
}

static void decode4(const struct flow4 *flow, struct flow_snapshot *ret)
{
	memcpy(ret->tuple.words, flow->key, sizeof(flow->key));
	ret->content.new_saddr_be[0] = flow->new_saddr_be;
	ret->content.new_daddr_be[0] = flow->new_daddr_be;
}

static void decode6(const struct flow6 *flow, struct flow_snapshot *ret)
{
	memcpy(ret->tuple.words, flow->key, sizeof(flow->key));
	memcpy(ret->content.new_saddr_be, flow->new_saddr_be, sizeof(flow->new_saddr_be));
	memcpy(ret->content.new_daddr_be, flow->new_daddr_be, sizeof(flow->new_daddr_be));
}

static void decode_head(const struct flow_head *head, struct flow_snapshot *ret)
{
	ret->content.seq = head->seq;
	ret->content.generation = head->generation;
	ret->content.hop = head->hop;
	ret->content.owner = head->owner;
	ret->content.action = head->action;
	ret->content.state = head->state;
	ret->content.addr_diff = head->addr_diff;
	ret->content.port_diff = head->port_diff;
	ret->content.new_sport_be = head->new_sport_be;
	ret->content.new_dport_be = head->new_dport_be;
	ret->content.last = head->last;
	ret->packets = head->packets;
	ret->bytes = head->bytes;
}

int flow_snapshot(const struct flow_table *table, void *entry, struct flow_snapshot *ret)
{
	struct flow_head *head = flow_entry_head(table, entry);
	struct flow_snapshot copy = {.seq = __atomic_load_n(&head->seq, __ATOMIC_ACQUIRE)};
	union {
		uint64_t words[ENTRY_WORDS_MAX];
		struct flow4 v4;
		struct flow6 v6;
	} raw;

	if (copy.seq & 1)
		return -EBUSY;
	for (size_t i = 0; i < FLOW_SIZE(table->family) / sizeof(uint64_t); i++)
		raw.words[i] = __atomic_load_n((uint64_t *)entry + i, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&head->seq, __ATOMIC_RELAXED) != copy.seq)
		return -EBUSY;
	if (table->family == FAMILY_V4) {
		decode4(&raw.v4, &copy);
		decode_head(&raw.v4.head, &copy);
	} else {
		decode6(&raw.v6, &copy);
		decode_head(&raw.v6.head, &copy);
	}
	if (!copy.content.generation)
		return -ENOENT;
	*ret = copy;
	return 0;
}

bool flow_tuple_equal(const struct flow_table *table, const struct flow_tuple *a,
		      const struct flow_tuple *b)
{
	return memcmp(a->words, b->words, FLOW_WORDS(table->family) * sizeof(uint64_t)) == 0;
}

static struct polder_addr mapped(__be32 v4)
{
	return (struct polder_addr){.words_be = {0, 0, htonl(0xffff), v4}};
}

struct polder_addr flow_owner_addr(uint32_t place, uint8_t family)
{
	struct polder_addr addr = mapped(htonl(place + 1));

	if (family == FAMILY_V6) {
		addr.words_be[0] = htonl(0x01000000);
		addr.words_be[2] = 0;
	}
	return addr;
}

void flow_addresses(const struct flow_table *table, const struct flow_snapshot *flow,
		    struct polder_addr ret[FLOW_ADDRESSES])
{
	const struct flow_tuple *t = &flow->tuple;
	const struct flow_copy *c = &flow->content;

	ret[4] = flow_owner_addr(c->owner, table->family);
	if (table->family == FAMILY_V4) {
		ret[0] = mapped(t->v4.saddr_be);
		ret[1] = mapped(t->v4.daddr_be);
		ret[2] = mapped(c->new_saddr_be[0]);
		ret[3] = mapped(c->new_daddr_be[0]);
		return;
	}
	memcpy(&ret[0], t->v6.saddr_be, sizeof(*ret));
	memcpy(&ret[1], t->v6.daddr_be, sizeof(*ret));
	memcpy(&ret[2], c->new_saddr_be, sizeof(*ret));
	memcpy(&ret[3], c->new_daddr_be, sizeof(*ret));
}

bool flow_entry_doubt(struct flow_head *head, const struct flow_snapshot *flow)
{
	uint64_t old = (uint64_t)flow->content.generation << 32 | flow->seq;
	uint64_t doubted = (uint64_t)FLOW_GENERATION_DOUBTED << 32 | flow->seq;

	return __atomic_compare_exchange_n(&head->stamp, &old, doubted, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

bool flow_entry_claim(struct flow_head *head, uint32_t seq)
{
	return !(seq & 1) && __atomic_compare_exchange_n(&head->seq, &seq, seq + 1, false,
							 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

void flow_entry_release(struct flow_head *head)
{
	__atomic_fetch_add(&head->seq, 1, __ATOMIC_SEQ_CST);
}

/* The pod has an entry less, and so has the table. */
static void count_down(const struct flow_table *table, uint32_t owner)
{
	size_t family = table->family == FAMILY_V4 ? 0 : 1;

	if (!table->usage)
		return;
	if (owner < table->usage_count - 1)
		__atomic_fetch_sub(&table->usage[owner].entries[family], 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&table->usage[table->usage_count - 1].entries[family], 1,
			   __ATOMIC_RELAXED);
}

void flow_entry_free(const struct flow_table *table, void *entry, uint32_t place)
{
	struct flow_head *head = flow_entry_head(table, entry);

	count_down(table, head->owner);
	__atomic_store_n(&head->generation, 0, __ATOMIC_RELAXED);
	__atomic_store_n((uint64_t *)entry, 0, __ATOMIC_RELAXED);
	if (table->tags)
		__atomic_store_n(&table->tags[place], FLOW_TAG_FREE, __ATOMIC_RELAXED);
	flow_entry_release(head);
}

bool flow_entry_repair(const struct flow_table *table, void *entry, uint32_t place, uint32_t seq)
{
	struct flow_head *head = flow_entry_head(table, entry);

	assert(seq & 1);
	/* Odd all the time: nobody reads or claims it. */
	if (!__atomic_compare_exchange_n(&head->seq, &seq, seq + 2, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_RELAXED))
		return false;
	flow_entry_free(table, entry, place);
	return true;
}
