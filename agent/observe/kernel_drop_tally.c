/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/kernel_drop_tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "agent/common/hash.h"
#include "agent/observe/drop_log.h"
#include "agent/observe/kernel_drop_remedies.h"

#define KEY_MAX (KERNEL_REASON_NAME_MAX + 1 + EVENT_NAME_MAX)

/* Drops that have reason, direction and pod in common. */
struct tally_row {
	UT_hash_handle hh;
	struct tally_row *prev, *next; /* by use: the longest idle first */
	char reason[KERNEL_REASON_NAME_MAX];
	bool to; /* the pod */
	char *pod;
	uint64_t packets;
	struct kernel_drop drop; /* the last one */
	struct polder_event event;
	time_t last_at;
	size_t key_length;
	char key[];
};

struct kernel_tally {
	const struct event_names *names;
	struct tally_row *rows, *by_use;
	uint64_t begun[KERNEL_DROP_COUNTS];
	uint64_t told[KERNEL_REASONS];
	uint64_t lost, limited, evicted;
	time_t since;
};

struct kernel_tally *kernel_tally_new(const struct event_names *names)
{
	struct kernel_tally *tally = calloc(1, sizeof(*tally));

	if (!tally)
		return NULL;
	tally->names = names;
	tally->since = time(NULL);
	return tally;
}

static void evict(struct kernel_tally *tally)
{
	struct tally_row *row = tally->by_use;

	DL_DELETE(tally->by_use, row);
	HASH_DEL(tally->rows, row);
	free(row->pod);
	free(row);
	tally->evicted++;
}

void kernel_tally_free(struct kernel_tally *tally)
{
	if (!tally)
		return;
	while (tally->by_use)
		evict(tally);
	free(tally);
}

/* NULL: no memory; the packet is in the kernel's counts. */
static struct tally_row *row_new(struct kernel_tally *tally, const char *key, size_t length,
				 const char *pod)
{
	struct tally_row *row = calloc(1, sizeof(*row) + length);

	if (!row)
		return NULL;
	row->key_length = length;
	memcpy(row->key, key, length);
	row->pod = strdup(pod);
	if (row->pod)
		HASH_ADD(hh, tally->rows, key, length, row);
	if (!row->pod || !HASH_ADDED(hh, row)) {
		free(row->pod);
		free(row);
		return NULL;
	}
	DL_APPEND(tally->by_use, row);
	return row;
}

static struct tally_row *find_row(struct kernel_tally *tally, const struct kernel_drop_told *told)
{
	char pod[EVENT_NAME_MAX] = "", key[KEY_MAX + 1];
	struct tally_row *row;
	size_t length;
	bool to;
	const struct polder_addr *end = kernel_drop_end(told, tally->names, &to);

	if (tally->names->pod(end, pod, sizeof(pod), tally->names->data) < 0)
		pod[0] = '\0';
	length = (size_t)snprintf(key, sizeof(key), "%c%s/%s", to ? '>' : '<', told->reason, pod);
	if (length >= sizeof(key))
		length = sizeof(key) - 1;
	HASH_FIND(hh, tally->rows, key, length, row);
	if (row) {
		DL_DELETE(tally->by_use, row);
		DL_APPEND(tally->by_use, row);
		return row;
	}
	if (HASH_COUNT(tally->rows) >= KERNEL_TALLY_ROWS)
		evict(tally);
	row = row_new(tally, key, length, pod);
	if (row) {
		snprintf(row->reason, sizeof(row->reason), "%s", told->reason);
		row->to = to;
	}
	return row;
}

static uint32_t index_of(uint32_t reason)
{
	return reason < KERNEL_REASON_REST ? reason : KERNEL_REASON_REST;
}

void kernel_tally_add(struct kernel_tally *tally, const struct kernel_drop_told *told)
{
	struct tally_row *row = find_row(tally, told);

	tally->told[index_of(told->drop->reason)]++;
	if (!row)
		return;
	row->packets++;
	row->drop = *told->drop;
	row->event = told->event;
	row->last_at = time(NULL);
}

void kernel_tally_missed(struct kernel_tally *tally, uint64_t lost, uint64_t limited)
{
	tally->lost += lost;
	tally->limited += limited;
}

void kernel_tally_begin(struct kernel_tally *tally, const uint64_t counts[KERNEL_DROP_COUNTS])
{
	memcpy(tally->begun, counts, sizeof(tally->begun));
	tally->since = time(NULL);
}

/* ---------------------------------------------------------------- words */

static const struct {
	const char *reason, *means, *remedy;
} remedies[] = {
#define X(reason, means, remedy) {reason, means, remedy},
	POLDER_KERNEL_REMEDIES(X)
#undef X
};

const char *kernel_drop_meaning(const char *reason)
{
	for (size_t i = 0; i < COUNT(remedies); i++)
		if (strcmp(remedies[i].reason, reason) == 0)
			return remedies[i].means;
	return "the kernel's own reason: SKB_DROP_REASON_ and this name in its "
	       "include/net/dropreason-core.h";
}

const char *kernel_drop_remedy(const char *reason)
{
	for (size_t i = 0; i < COUNT(remedies); i++)
		if (strcmp(remedies[i].reason, reason) == 0)
			return remedies[i].remedy;
	return "What the kernel's documentation says of it.";
}

/* ---------------------------------------------------------------- the answer */

static json_t *row_document(const struct kernel_tally *tally, const struct tally_row *row)
{
	const struct kernel_drop_told told = {&row->drop, row->reason, row->event};

	return json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:o, s:o*}", "reason",
			 json_sprintf("kernel:%s", row->reason), "direction",
			 row->to ? "to_pod" : "from_pod", "pod", row->pod, "policy", "", "packets",
			 (json_int_t)row->packets, "seconds",
			 (json_int_t)(time(NULL) - row->last_at), "last",
			 drop_time_document(row->last_at), "example",
			 kernel_drop_document(&told, tally->names));
}

/* The most packets first. NULL: no memory. */
static json_t *row_documents(const struct kernel_tally *tally)
{
	CLEANUP(cleanup_free)
	json_t **found = calloc(HASH_COUNT(tally->rows) + 1, sizeof(json_t *));
	struct tally_row *row, *next;
	json_t *list = found ? json_array() : NULL;
	size_t count = 0;

	if (!list)
		return NULL;
	HASH_ITER (hh, tally->rows, row, next)
		found[count++] = row_document(tally, row);
	qsort(found, count, sizeof(*found), drop_row_compare);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, found[i]);
	return list;
}

static json_t *reason_document(const struct kernel_tally *tally, uint32_t reason, const char *name,
			       uint64_t counted)
{
	return json_pack("{s:o, s:s, s:I, s:I, s:s, s:s}", "reason",
			 json_sprintf("kernel:%s", name), "direction", "kernel", "packets",
			 (json_int_t)counted, "told", (json_int_t)tally->told[reason], "means",
			 kernel_drop_meaning(name), "remedy", kernel_drop_remedy(name));
}

json_t *kernel_tally_document(
	const struct kernel_tally *tally, const uint64_t counts[KERNEL_DROP_COUNTS],
	const struct flow_filter *filter,
	const char *(*name)(uint32_t reason, char buffer[KERNEL_REASON_NAME_MAX], const void *data),
	const void *data)
{
	json_t *reasons = json_array();
	char buffer[KERNEL_REASON_NAME_MAX];

	for (uint32_t i = 0; i < KERNEL_REASONS; i++) {
		uint64_t counted = counts[i] > tally->begun[i] ? counts[i] - tally->begun[i] : 0;
		const char *text = i == KERNEL_REASON_REST ? "OTHERS" : name(i, buffer, data);

		if (kernel_drop_reason_is_vague(text) &&
		    !flow_filter_names_kernel_reason(filter, text))
			continue;
		if (counted && (!filter || flow_filter_has_kernel_reason(filter, text)))
			json_array_append_new(reasons, reason_document(tally, i, text, counted));
	}
	return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:b, s:b}", "since",
			 drop_time_document(tally->since), "drops", row_documents(tally), "reasons",
			 reasons, "lost_events", (json_int_t)tally->lost, "limited_events",
			 (json_int_t)tally->limited, "rows_left_out", (json_int_t)tally->evicted,
			 "counted", true, "kernel", true);
}
