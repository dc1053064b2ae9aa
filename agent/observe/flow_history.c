/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/flow_history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "agent/common/hash.h"

struct name {
	UT_hash_handle hh;
	size_t users, length;
	char text[];
};

/* Hashed as it stands: no padding may differ. */
struct entry_key {
	const struct name *subject, *peer, *service; /* NULL: none */
	struct polder_addr addr;
	uint16_t port, service_port;
	uint8_t direction, allowed, peer_kind, proto;
};

struct entry {
	UT_hash_handle hh;
	struct entry_key key;
	struct flow_seen_counts counts;
	uint64_t found_now; /* by walk `walk` */
	uint32_t walk;
	struct entry *prev, *next; /* by the time of last use */
};

struct flow_history {
	uint64_t most_bytes, age_ns;
	uint64_t bytes;
	uint64_t reach_ns;
	uint64_t forgotten;
	struct flow_gap gaps[FLOW_GAPS_MAX];
	size_t gap_count;
	struct name *names;
	struct entry *entries;
	struct entry *order; /* what was seen longest ago comes first */
};

/* What uthash takes beside the item itself, its share of the buckets included. */
#define HASH_SHARE 32

/* ---------------------------------------------------------------- names */

static uint64_t name_bytes(const struct name *name)
{
	return sizeof(*name) + name->length + HASH_SHARE;
}

/* Of one more user; NULL: there is none (`length` 0), or no memory (then *ret_failed). */
static struct name *use_name(struct flow_history *history, const struct flow_name *wanted,
			     bool *ret_failed)
{
	struct name *name;

	if (!wanted->length)
		return NULL;
	HASH_FIND(hh, history->names, wanted->text, wanted->length, name);
	if (!name) {
		name = calloc(1, sizeof(*name) + wanted->length);
		if (name) {
			name->length = wanted->length;
			memcpy(name->text, wanted->text, wanted->length);
			HASH_ADD_KEYPTR(hh, history->names, name->text, name->length, name);
		}
		if (!name || !HASH_ADDED(hh, name)) {
			free(name);
			*ret_failed = true;
			return NULL;
		}
		history->bytes += name_bytes(name);
	}
	name->users++;
	return name;
}

static void leave_name(struct flow_history *history, const struct name *left)
{
	struct name *name = (struct name *)left;

	if (!name || --name->users)
		return;
	history->bytes -= name_bytes(name);
	HASH_DEL(history->names, name);
	free(name);
}

static void leave_names(struct flow_history *history, const struct entry_key *key)
{
	leave_name(history, key->subject);
	leave_name(history, key->peer);
	leave_name(history, key->service);
}

/* ---------------------------------------------------------------- entries */

static void forget(struct flow_history *history, struct entry *entry)
{
	/* Whatever was used later is there still. */
	if (entry->counts.last_ns >= history->reach_ns)
		history->reach_ns = entry->counts.last_ns + 1;
	HASH_DEL(history->entries, entry);
	DL_DELETE(history->order, entry);
	leave_names(history, &entry->key);
	history->bytes -= sizeof(*entry) + HASH_SHARE;
	free(entry);
}

static int make_key(struct flow_history *history, const struct flow_seen *seen,
		    struct entry_key *key)
{
	bool failed = false;

	memset(key, 0, sizeof(*key));
	key->addr = seen->addr;
	key->port = seen->port;
	key->service_port = seen->service_port;
	key->direction = (uint8_t)seen->direction;
	key->allowed = seen->allowed;
	key->peer_kind = (uint8_t)seen->peer_kind;
	key->proto = seen->proto;
	key->subject = use_name(history, &seen->subject, &failed);
	key->peer = use_name(history, &seen->peer, &failed);
	key->service = use_name(history, &seen->service, &failed);
	if (!failed)
		return 0;
	leave_names(history, key);
	return -ENOMEM;
}

static void count(struct entry *entry, uint64_t time_ns, uint32_t walk)
{
	struct flow_seen_counts *counts = &entry->counts;

	if (time_ns < counts->first_ns)
		counts->first_ns = time_ns;
	if (time_ns > counts->last_ns)
		counts->last_ns = time_ns;
	if (!walk) {
		counts->events++;
		return;
	}
	entry->found_now = entry->walk == walk ? entry->found_now + 1 : 1;
	entry->walk = walk;
	if (entry->found_now > counts->found)
		counts->found = entry->found_now;
}

/* Behind all that were not used later: near the end, as a rule. */
static void put_in_order(struct flow_history *history, struct entry *entry)
{
	struct entry *before = history->order ? history->order->prev : NULL;

	while (before && before->counts.last_ns > entry->counts.last_ns)
		before = before == history->order ? NULL : before->prev;
	if (before)
		DL_APPEND_ELEM(history->order, before, entry);
	else
		DL_PREPEND(history->order, entry);
}

static void shrink(struct flow_history *history, const struct entry *kept)
{
	while (history->bytes > history->most_bytes && history->order && history->order != kept) {
		history->forgotten++;
		forget(history, history->order);
	}
}

/* A history that lacks this reaches back to no earlier time. */
static int miss(struct flow_history *history, uint64_t time_ns)
{
	history->forgotten++;
	if (time_ns >= history->reach_ns)
		history->reach_ns = time_ns + 1;
	return -ENOMEM;
}

/* Out of the order, to be put into it again: the one that there is, or a new one of that time.
 * NULL: no memory. */
static struct entry *take_entry(struct flow_history *history, const struct flow_seen *seen,
				uint64_t time_ns)
{
	struct entry *entry;
	struct entry_key key;

	if (make_key(history, seen, &key) < 0)
		return NULL;
	HASH_FIND(hh, history->entries, &key, sizeof(key), entry);
	if (entry) {
		leave_names(history, &key);
		DL_DELETE(history->order, entry);
		return entry;
	}
	entry = calloc(1, sizeof(*entry));
	if (entry) {
		entry->key = key;
		entry->counts.first_ns = entry->counts.last_ns = time_ns;
		HASH_ADD(hh, history->entries, key, sizeof(key), entry);
	}
	if (!entry || !HASH_ADDED(hh, entry)) {
		leave_names(history, &key);
		free(entry);
		return NULL;
	}
	history->bytes += sizeof(*entry) + HASH_SHARE;
	return entry;
}

int flow_history_add(struct flow_history *history, const struct flow_seen *seen, uint64_t time_ns,
		     uint32_t walk)
{
	struct entry *entry = take_entry(history, seen, time_ns);

	if (!entry)
		return miss(history, time_ns);
	count(entry, time_ns, walk);
	put_in_order(history, entry);
	shrink(history, entry);
	return 0;
}

int flow_history_restore(struct flow_history *history, const struct flow_history_item *item)
{
	struct entry *entry = take_entry(history, &item->seen, item->counts.last_ns);

	if (!entry)
		return miss(history, item->counts.last_ns);
	entry->counts = item->counts;
	put_in_order(history, entry);
	shrink(history, entry);
	return 0;
}

/* ---------------------------------------------------------------- gaps */

static void drop_gap(struct flow_history *history, size_t place)
{
	history->gap_count--;
	memmove(&history->gaps[place], &history->gaps[place + 1],
		(history->gap_count - place) * sizeof(history->gaps[0]));
}

/* What was before the history's reach is missing as a whole. */
static void forget_gaps(struct flow_history *history)
{
	while (history->gap_count && history->gaps[0].to_ns <= history->reach_ns)
		drop_gap(history, 0);
}

void flow_history_add_gap(struct flow_history *history, struct flow_gap gap)
{
	if (history->gap_count == FLOW_GAPS_MAX) {
		history->gaps[1].from_ns = history->gaps[0].from_ns;
		drop_gap(history, 0);
	}
	history->gaps[history->gap_count++] = gap;
}

size_t flow_history_gaps(const struct flow_history *history, const struct flow_gap **ret)
{
	*ret = history->gaps;
	return history->gap_count;
}

uint64_t flow_history_missed(const struct flow_history *history, uint64_t since_ns)
{
	uint64_t begin = since_ns > history->reach_ns ? since_ns : history->reach_ns, missed = 0;

	for (size_t i = 0; i < history->gap_count; i++) {
		const struct flow_gap *gap = &history->gaps[i];
		uint64_t from = gap->from_ns > begin ? gap->from_ns : begin;

		missed += gap->to_ns > from ? gap->to_ns - from : 0;
	}
	return missed;
}

void flow_history_expire(struct flow_history *history, uint64_t now_ns)
{
	uint64_t oldest = now_ns > history->age_ns ? now_ns - history->age_ns : 0;

	while (history->order && history->order->counts.last_ns < oldest)
		forget(history, history->order);
	if (oldest > history->reach_ns)
		history->reach_ns = oldest;
	forget_gaps(history);
}

/* ---------------------------------------------------------------- reading */

uint64_t flow_history_reach(const struct flow_history *history)
{
	return history->reach_ns;
}

void flow_history_set_reach(struct flow_history *history, uint64_t reach_ns)
{
	history->reach_ns = reach_ns;
	/* What found no room while it was restored was older than all that there is. */
	if (history->forgotten && history->order && history->order->counts.last_ns >= reach_ns)
		history->reach_ns = history->order->counts.last_ns + 1;
}

void flow_history_stats(const struct flow_history *history, struct flow_history_stats *ret)
{
	*ret = (struct flow_history_stats){
		.entries = HASH_COUNT(history->entries),
		.bytes = history->bytes,
		.forgotten = history->forgotten,
	};
}

static void copy_name(const struct name *name, char **texts, struct flow_name *ret)
{
	if (!name)
		return;
	memcpy(*texts, name->text, name->length);
	*ret = (struct flow_name){name->length, *texts};
	*texts += name->length;
}

static size_t name_length(const struct name *name)
{
	return name ? name->length : 0;
}

static void copy_item(const struct entry *entry, char **texts, struct flow_history_item *item)
{
	const struct entry_key *key = &entry->key;

	item->counts = entry->counts;
	item->seen = (struct flow_seen){
		.direction = key->direction,
		.allowed = key->allowed,
		.peer_kind = key->peer_kind,
		.proto = key->proto,
		.port = key->port,
		.service_port = key->service_port,
		.addr = key->addr,
	};
	copy_name(key->subject, texts, &item->seen.subject);
	copy_name(key->peer, texts, &item->seen.peer);
	copy_name(key->service, texts, &item->seen.service);
}

int flow_history_copy(const struct flow_history *history, uint64_t since_ns,
		      struct flow_history_copy *ret)
{
	struct flow_history_copy copy = {0};
	const struct entry *entry;
	size_t length = 0, total = 0;
	char *texts;

	DL_FOREACH(history->order, entry)
	{
		if (entry->counts.last_ns < since_ns)
			continue;
		total++;
		length += name_length(entry->key.subject) + name_length(entry->key.peer) +
			  name_length(entry->key.service);
	}
	copy.items = calloc(total + 1, sizeof(*copy.items));
	copy.texts = texts = malloc(length + 1);
	if (!copy.items || !copy.texts) {
		flow_history_copy_clear(&copy);
		return -ENOMEM;
	}
	DL_FOREACH(history->order, entry)
	{
		if (entry->counts.last_ns >= since_ns)
			copy_item(entry, &texts, &copy.items[copy.count++]);
	}
	*ret = copy;
	return 0;
}

void flow_history_copy_clear(struct flow_history_copy *copy)
{
	free(copy->items);
	free(copy->texts);
	*copy = (struct flow_history_copy){0};
}

struct flow_history *flow_history_new(uint64_t most_bytes, uint64_t age_ns, uint64_t now_ns)
{
	struct flow_history *history = calloc(1, sizeof(*history));

	if (!history)
		return NULL;
	history->most_bytes = most_bytes;
	history->age_ns = age_ns;
	history->reach_ns = now_ns;
	history->bytes = sizeof(*history);
	return history;
}

void flow_history_free(struct flow_history *history)
{
	struct entry *entry, *next;

	if (!history)
		return;
	HASH_ITER (hh, history->entries, entry, next) {
		HASH_DEL(history->entries, entry);
		leave_names(history, &entry->key);
		free(entry);
	}
	free(history);
}
