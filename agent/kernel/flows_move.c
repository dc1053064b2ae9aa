/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/flows_move.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ENTRY_WORDS_MAX (sizeof(struct flow6) / sizeof(uint64_t))
#define CLAIM_TRIES	1000
/* The seq of an entry that was copied and that no program has written since. */
#define SEQ_COPIED 2
/* What programs note in `state` beside what was evaluated. */
#define SEEN_BITS                                                                                  \
	(FLOW_REPLIED | FLOW_ESTABLISHED | FLOW_FIN_ORIG | FLOW_FIN_REPLY | FLOW_RESET | FLOW_AGAIN)

/* An entry of the old table: as it was seen last, and where its copy stands. */
struct copied {
	uint32_t seq;
	uint32_t place; /* from 1; 0: nowhere */
};
#define SEQ_UNSEEN UINT32_MAX /* odd: no entry at rest has it */

struct table {
	struct flow_table from, to;
	uint8_t *from_base, *to_base;
	struct flow_rules *from_rules, *to_rules; /* NULL: none are kept */
	struct copied *copied;
};

struct flows_move {
	struct table tables[2];
	const struct control *control;
	struct flow_usage *usage;
	uint32_t usage_count;
	const uint32_t *links;
	uint32_t link_count, pods;
};

static size_t table_bytes(const struct flow_table *table)
{
	return (size_t)table->sets * FLOW_WAYS * FLOW_SIZE(table->family);
}

static size_t rules_bytes(const struct flow_table *table)
{
	return (size_t)table->sets * sizeof(struct flow_rules_set);
}

/* NULL: there is none; MAP_FAILED: it cannot be mapped. */
static void *map_all(int fd, size_t bytes)
{
	return fd > 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : NULL;
}

static void unmap_all(void *base, size_t bytes)
{
	if (base && base != MAP_FAILED)
		munmap(base, bytes);
}

static int table_open(struct table *t, int from_rules, int to_rules, int to_tags)
{
	t->from_base = map_all(t->from.fd, table_bytes(&t->from));
	t->to_base = map_all(t->to.fd, table_bytes(&t->to));
	t->from_rules = map_all(from_rules, rules_bytes(&t->from));
	t->to_rules = map_all(to_rules, rules_bytes(&t->to));
	t->to.tags = map_all(to_tags, (size_t)t->to.sets * FLOW_WAYS);
	if (t->from_base == MAP_FAILED || t->to_base == MAP_FAILED || t->from_rules == MAP_FAILED ||
	    t->to_rules == MAP_FAILED || t->to.tags == MAP_FAILED)
		return -ENOMEM;
	return 0;
}

static void table_close(struct table *t)
{
	unmap_all(t->from_base, table_bytes(&t->from));
	unmap_all(t->to_base, table_bytes(&t->to));
	unmap_all(t->from_rules, rules_bytes(&t->from));
	unmap_all(t->to_rules, rules_bytes(&t->to));
	unmap_all(t->to.tags, (size_t)t->to.sets * FLOW_WAYS);
	free(t->copied);
}

int flows_move_open(const struct flows_maps *from, const struct flows_maps *to,
		    const uint32_t *links, uint32_t link_count, uint32_t pods,
		    struct flows_move **ret)
{
	struct flows_move *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->control = to->control;
	m->links = links;
	m->link_count = link_count;
	m->pods = pods;
	m->usage_count = to->usage_count;
	m->usage = map_all(to->fd_usage, to->usage_count * sizeof(struct flow_usage));
	m->tables[0].from =
		(struct flow_table){.fd = from->fd_v4, .family = FAMILY_V4, .sets = from->sets_v4};
	m->tables[0].to =
		(struct flow_table){.fd = to->fd_v4, .family = FAMILY_V4, .sets = to->sets_v4};
	m->tables[1].from =
		(struct flow_table){.fd = from->fd_v6, .family = FAMILY_V6, .sets = from->sets_v6};
	m->tables[1].to =
		(struct flow_table){.fd = to->fd_v6, .family = FAMILY_V6, .sets = to->sets_v6};
	r = m->usage == MAP_FAILED ? -ENOMEM : 0;
	if (r == 0)
		r = table_open(&m->tables[0], from->fd_rules_v4, to->fd_rules_v4, to->fd_tags_v4);
	if (r == 0)
		r = table_open(&m->tables[1], from->fd_rules_v6, to->fd_rules_v6, to->fd_tags_v6);
	if (r < 0) {
		flows_move_close(m);
		return r;
	}
	*ret = m;
	return 0;
}

void flows_move_close(struct flows_move *m)
{
	if (!m)
		return;
	table_close(&m->tables[0]);
	table_close(&m->tables[1]);
	unmap_all(m->usage, m->usage_count * sizeof(struct flow_usage));
	free(m);
}

static void *from_entry(const struct table *t, uint32_t place)
{
	return t->from_base ? t->from_base + (size_t)place * FLOW_SIZE(t->from.family) : NULL;
}

static void *to_entry(const struct table *t, uint32_t place)
{
	return t->to_base + (size_t)place * FLOW_SIZE(t->to.family);
}

/* ---------------------------------------------------------------- copying: nobody else is at the
 * new table */

static void count(struct flows_move *m, const struct table *t, uint32_t owner, int32_t entries)
{
	size_t family = t->to.family == FAMILY_V4 ? 0 : 1;

	if (!m->usage)
		return;
	if (owner < m->usage_count - 1)
		m->usage[owner].entries[family] += (uint32_t)entries;
	m->usage[m->usage_count - 1].entries[family] += (uint32_t)entries;
}

static void remove_copy(struct flows_move *m, struct table *t, uint32_t place)
{
	void *entry = to_entry(t, place);

	count(m, t, flow_entry_head(&t->to, entry)->owner, -1);
	memset(entry, 0, FLOW_SIZE(t->to.family));
	t->to.tags[place] = FLOW_TAG_FREE;
}

static uint64_t tags_of(const struct table *t, uint32_t set)
{
	uint64_t tags;

	memcpy(&tags, t->to.tags + (size_t)set * FLOW_WAYS, sizeof(tags));
	return tags;
}

/* A free place for the tuple, as the programs would choose: the first way of set 0, else one of the
 * emptier set. From 1; 0: none. */
static uint32_t free_place(const struct table *t, uint64_t hash)
{
	uint32_t set[2] = {flow_set_index(hash, 0, t->to.sets),
			   flow_set_index(hash, 1, t->to.sets)},
		 which, way;
	uint64_t free[2] = {flow_tags_free(tags_of(t, set[0])), flow_tags_free(tags_of(t, set[1]))};

	way = flow_first_way(hash, 0);
	which = !(free[0] >> (way * 8 + 7) & 1) &&
		flow_tags_count(free[1]) > flow_tags_count(free[0]);
	if (!free[which])
		return 0;
	way = flow_first_way(hash, which);
	if (!(free[which] >> (way * 8 + 7) & 1))
		way = flow_tags_first(free[which]);
	return set[which] * FLOW_WAYS + way + 1;
}

/*
 * The same place, in a table of the same size: all entries find one, however full it is. The
 * programs can crowd a table more than entry by entry can be done here (datapath/flow_displace.h).
 * From 1; 0: it is not to be had.
 */
static uint32_t same_place(const struct table *t, uint64_t hash, uint32_t from)
{
	uint32_t set = from / FLOW_WAYS;

	if (t->to.sets != t->from.sets || t->to.tags[from] != FLOW_TAG_FREE ||
	    (set != flow_set_index(hash, 0, t->to.sets) &&
	     set != flow_set_index(hash, 1, t->to.sets)))
		return 0;
	return from + 1;
}

/* The pod's place in the new map; false: it has gone. */
static bool new_place(const struct flows_move *m, uint16_t *place)
{
	if (!m->links)
		return true;
	if (*place >= m->link_count || !m->links[*place])
		return false;
	*place = (uint16_t)(m->links[*place] & (m->pods - 1));
	return true;
}

/* `raw` is a stable copy. False: no place. */
static bool insert(struct flows_move *m, struct table *t, uint32_t from, uint64_t *raw,
		   struct copied *copied)
{
	struct flow_head *head = flow_entry_head(&t->to, raw);
	uint64_t hash = flow_hash((struct flow_tuple *)raw, t->to.family, m->control);
	uint32_t place;

	/* To a pod that is no more; its place may be another's. */
	if (head->action == FLOW_TO_POD && !new_place(m, &head->hop))
		return true;
	if (head->owner != FLOW_OWNER_NODE && !new_place(m, &head->owner))
		head->owner = 0;
	place = same_place(t, hash, from);
	if (!place)
		place = free_place(t, hash);
	if (!place)
		return false;
	head->seq = SEQ_COPIED;
	head->packets = 0;
	head->bytes = 0;
	memcpy(to_entry(t, place - 1), raw, FLOW_SIZE(t->to.family));
	t->to.tags[place - 1] = flow_tag(hash);
	if (t->to_rules && t->from_rules && head->state & FLOW_RULED)
		t->to_rules[place - 1] = t->from_rules[from];
	count(m, t, head->owner, 1);
	copied->place = place;
	return true;
}

/* False: it found no place. */
static bool copy_entry(struct flows_move *m, struct table *t, uint32_t place)
{
	uint64_t raw[ENTRY_WORDS_MAX];
	void *entry = from_entry(t, place);
	struct flow_head *head = flow_entry_head(&t->from, entry);
	uint32_t seq = __atomic_load_n(&head->seq, __ATOMIC_ACQUIRE);
	struct copied *copied = &t->copied[place];

	/* A writer is at it: it is seen the next time. */
	if (seq == copied->seq || seq & 1)
		return true;
	if (copied->place)
		remove_copy(m, t, copied->place - 1);
	*copied = (struct copied){.seq = SEQ_UNSEEN};
	memcpy(raw, entry, FLOW_SIZE(t->from.family));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&head->seq, __ATOMIC_RELAXED) != seq)
		return true;
	copied->seq = seq;
	return !flow_entry_head(&t->from, raw)->generation || insert(m, t, place, raw, copied);
}

static bool remember(struct table *t)
{
	size_t places = (size_t)t->from.sets * FLOW_WAYS;

	if (t->copied)
		return true;
	t->copied = malloc(places * sizeof(*t->copied));
	for (size_t i = 0; t->copied && i < places; i++)
		t->copied[i] = (struct copied){.seq = SEQ_UNSEEN};
	return t->copied;
}

int flows_move_copy(struct flows_move *m, size_t *ret_left_out)
{
	for (size_t i = 0; i < 2; i++) {
		struct table *t = &m->tables[i];

		if (!t->from_base || !t->to_base || !t->to.tags)
			continue;
		if (!remember(t))
			return -ENOMEM;
		for (uint32_t place = 0; place < t->from.sets * FLOW_WAYS; place++)
			*ret_left_out += !copy_entry(m, t, place);
	}
	return 0;
}

/* ---------------------------------------------------------------- merging: the programs are at the
 * new table */

static bool same_key(const struct table *t, const void *entry, const struct flow_tuple *tuple)
{
	const uint64_t *key = entry;

	for (size_t i = 0; i < FLOW_WORDS(t->to.family); i++)
		if (__atomic_load_n(&key[i], __ATOMIC_RELAXED) != tuple->words[i])
			return false;
	return true;
}

/* The tuple's entry in a set, claimed; `*ret_seq` is that of before. */
static struct flow_head *claim_in_set(const struct table *t, uint32_t set,
				      const struct flow_tuple *tuple, uint32_t *ret_seq)
{
	for (uint32_t way = 0; way < FLOW_WAYS; way++) {
		void *entry = to_entry(t, set * FLOW_WAYS + way);
		struct flow_head *head = flow_entry_head(&t->to, entry);

		for (int i = 0; i < CLAIM_TRIES && same_key(t, entry, tuple); i++) {
			uint32_t seq = __atomic_load_n(&head->seq, __ATOMIC_ACQUIRE);

			if (!flow_entry_claim(head, seq))
				continue;
			*ret_seq = seq;
			if (head->generation && same_key(t, entry, tuple))
				return head;
			flow_entry_release(head);
			break;
		}
	}
	return NULL;
}

static void merge_entry(const struct flows_move *m, struct table *t, uint32_t place)
{
	void *entry = from_entry(t, place);
	struct flow_head *old = flow_entry_head(&t->from, entry), *head;
	struct flow_tuple tuple = {0};
	uint64_t hash;
	uint32_t seq;

	if (old->seq & 1 || !old->generation)
		return;
	memcpy(tuple.words, entry, FLOW_WORDS(t->from.family) * sizeof(uint64_t));
	hash = flow_hash(&tuple, t->from.family, m->control);
	head = claim_in_set(t, flow_set_index(hash, 0, t->to.sets), &tuple, &seq);
	if (!head)
		head = claim_in_set(t, flow_set_index(hash, 1, t->to.sets), &tuple, &seq);
	if (!head)
		return;
	/* Packets are counted without a claim. */
	__atomic_fetch_add(&head->packets, old->packets, __ATOMIC_RELAXED);
	__atomic_fetch_add(&head->bytes, old->bytes, __ATOMIC_RELAXED);
	old->packets = 0;
	old->bytes = 0;
	/* Written again since: what the old entry saw may be of a connection before. */
	if (seq == SEQ_COPIED) {
		__atomic_fetch_or(&head->state_word, old->state & SEEN_BITS, __ATOMIC_RELAXED);
		if ((int32_t)(old->last - head->last) > 0)
			__atomic_store_n(&head->last, old->last, __ATOMIC_RELAXED);
	}
	flow_entry_release(head);
}

void flows_move_merge(struct flows_move *m)
{
	for (size_t i = 0; i < 2; i++) {
		struct table *t = &m->tables[i];

		for (uint32_t place = 0;
		     t->from_base && t->to_base && place < t->from.sets * FLOW_WAYS; place++)
			merge_entry(m, t, place);
	}
}

int flows_move_count(int fd, uint8_t family, uint32_t sets, uint64_t *ret)
{
	const struct flow_table table = {.fd = fd, .family = family, .sets = sets};
	uint8_t *base = map_all(fd, table_bytes(&table));
	uint64_t found = 0;

	if (!base || base == MAP_FAILED)
		return -ENOMEM;
	for (uint32_t place = 0; place < sets * FLOW_WAYS; place++)
		found += flow_entry_head(&table, base + (size_t)place * FLOW_SIZE(family))
				 ->generation != 0;
	munmap(base, table_bytes(&table));
	*ret = found;
	return 0;
}
