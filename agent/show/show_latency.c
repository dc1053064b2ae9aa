/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured of connections, with the names of those that it is of. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/show/show_latency.h"

#define ROWS_OF_A_TURN 256

const char *const latency_kind_names[LATENCY_KINDS] = {
	[LATENCY_NODE] = "node", [LATENCY_POD] = "pod", [LATENCY_SERVICE] = "service"};
const char *const latency_measure_names[LATENCY_MEASURES] = {[LATENCY_CONNECT] = "connect",
							     [LATENCY_ROUND_TRIP] = "round_trip",
							     [LATENCY_FIRST_BYTE] = "first_byte",
							     [LATENCY_ANSWER] = "answer"};
const char *const latency_count_names[LATENCY_COUNTS] = {[LATENCY_RETRANSMITTED] = "retransmitted",
							 [LATENCY_RESETS] = "resets",
							 [LATENCY_TIMEOUTS] = "timeouts",
							 [LATENCY_FAILED] = "failed"};

/* ---------------------------------------------------------------- names */

struct name {
	struct latency_key key; /* what the program knows it by */
	const char *namespace, *name;
	uint16_t port;
};

struct names {
	struct name *list;
	size_t count, room;
	bool failed;
};

static void add_name(struct names *names, const struct name *name)
{
	struct name *grown;

	if (names->count == names->room) {
		size_t room = names->room ? 2 * names->room : 256;

		grown = reallocarray(names->list, room, sizeof(*grown));
		if (!grown) {
			names->failed = true;
			return;
		}
		names->list = grown;
		names->room = room;
	}
	names->list[names->count++] = *name;
}

static void add_service(const struct service_view *view, void *data)
{
	const struct name name = {
		.key = {LATENCY_SERVICE, view->id},
		.namespace = view->namespace,
		.name = view->name,
		.port = view->port,
	};

	add_name(data, &name);
}

static int by_key(const void *a, const void *b)
{
	const struct latency_key *first = &((const struct name *)a)->key;
	const struct latency_key *second = &((const struct name *)b)->key;

	if (first->kind != second->kind)
		return first->kind < second->kind ? -1 : 1;
	return (first->id > second->id) - (first->id < second->id);
}

/* The names live as long as nothing changes. 0 or -ENOMEM. */
static int name_all(const struct show_sources *sources, struct names *names)
{
	const struct name node = {.namespace = "", .name = ""};

	add_name(names, &node);
	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		const struct local_pod *pod = pods_at(sources->pods, i);
		const struct name name = {
			.key = {LATENCY_POD, (uint32_t)pod->ifindex},
			.namespace = pod->namespace,
			.name = pod->name,
		};

		add_name(names, &name);
	}
	services_each(sources->services, add_service, names);
	if (names->failed)
		return -ENOMEM;
	qsort(names->list, names->count, sizeof(*names->list), by_key);
	return 0;
}

/* NULL: whose it was is no more, or is not known yet. */
static const struct name *name_of(const struct names *names, const struct latency_key *key)
{
	const struct name wanted = {.key = *key};

	return bsearch(&wanted, names->list, names->count, sizeof(*names->list), by_key);
}

/* What was measured, and all names: both to be freed. 0 or -errno. */
static int read_all(const struct show_sources *sources, struct latency_entry **ret,
		    size_t *ret_count, struct names *ret_names)
{
	int r = name_all(sources, ret_names);

	return r < 0 ? r : latency_read(sources->datapath, ret, ret_count);
}

void show_latency_prune(const struct show_sources *sources)
{
	CLEANUP(cleanup_free) struct latency_entry *entries = NULL;
	struct names names = {};
	size_t count = 0;

	if (read_all(sources, &entries, &count, &names) == 0)
		for (size_t i = 0; i < count; i++)
			if (!name_of(&names, &entries[i].key))
				latency_forget(sources->datapath, &entries[i].key);
	free(names.list);
}

/* ---------------------------------------------------------------- rows */

static int by_name(const void *a, const void *b)
{
	const struct latency_row *first = a, *second = b;
	int order = (int)first->entry.key.kind - (int)second->entry.key.kind;

	order = order ? order : strcmp(first->namespace, second->namespace);
	order = order ? order : strcmp(first->name, second->name);
	return order ? order : first->port - second->port;
}

static void add_value(struct latency_value *to, const struct latency_value *from)
{
	for (size_t m = 0; m < LATENCY_MEASURES; m++) {
		to->measures[m].sum_us += from->measures[m].sum_us;
		for (size_t i = 0; i < LATENCY_BUCKETS; i++)
			to->measures[m].counts[i] += from->measures[m].counts[i];
	}
	for (size_t i = 0; i < LATENCY_COUNTS; i++)
		to->counts[i] += from->counts[i];
}

size_t latency_join_rows(struct latency_row *rows, size_t count)
{
	size_t used = 0;

	qsort(rows, count, sizeof(*rows), by_name);
	for (size_t i = 0; i < count; i++) {
		if (used && by_name(&rows[used - 1], &rows[i]) == 0)
			add_value(&rows[used - 1].entry.value, &rows[i].entry.value);
		else
			rows[used++] = rows[i];
	}
	return used;
}

size_t latency_limit_rows(struct latency_row *rows, size_t count, size_t most, size_t *ret_left_out)
{
	size_t used = 0, seen[LATENCY_KINDS] = {};

	for (size_t i = 0; i < count; i++)
		if (seen[rows[i].entry.key.kind]++ < most)
			rows[used++] = rows[i];
	*ret_left_out = count - used;
	return used;
}

static size_t name_rows(const struct names *names, const struct latency_entry *entries,
			size_t count, struct latency_row *rows)
{
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		const struct name *name = name_of(names, &entries[i].key);

		if (name)
			rows[used++] = (struct latency_row){
				.namespace = name->namespace,
				.name = name->name,
				.port = name->port,
				.entry = entries[i],
			};
	}
	return used;
}

int show_latency_rows(const struct show_sources *sources, struct latency_row **ret,
		      size_t *ret_count)
{
	CLEANUP(cleanup_free) struct latency_entry *entries = NULL;
	struct latency_row *rows = NULL;
	struct names names = {};
	size_t count = 0;
	int r = read_all(sources, &entries, &count, &names);

	if (r == 0)
		rows = calloc(count + 1, sizeof(*rows));
	if (rows) {
		count = name_rows(&names, entries, count, rows);
		*ret_count = latency_join_rows(rows, count);
		*ret = rows;
	}
	free(names.list);
	return r < 0 ? r : rows ? 0 : -ENOMEM;
}

/* ---------------------------------------------------------------- the list */

static json_t *buckets_document(const struct latency_histogram *histogram)
{
	json_t *list = json_array();

	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		json_t *end = i < LATENCY_BUCKETS - 1
				      ? json_integer((json_int_t)latency_bucket_end(i))
				      : json_null();

		if (histogram->counts[i])
			json_array_append_new(list, json_pack("{s:o, s:o}", "most_us", end, "count",
							      show_u64(histogram->counts[i])));
		else
			json_decref(end);
	}
	return list;
}

static json_t *histogram_document(const struct latency_histogram *histogram)
{
	uint64_t number = latency_number(histogram);

	return json_pack("{s:o, s:o, s:f, s:f, s:f, s:o}", "count", show_u64(number), "sum_us",
			 show_u64(histogram->sum_us), "p50_us", latency_quantile(histogram, 0.5),
			 "p90_us", latency_quantile(histogram, 0.9), "p99_us",
			 latency_quantile(histogram, 0.99), "buckets", buckets_document(histogram));
}

static json_t *row_document(const struct latency_row *row)
{
	const struct latency_value *value = &row->entry.value;
	json_t *document =
		json_pack("{s:s, s:s, s:s, s:i}", "kind", latency_kind_names[row->entry.key.kind],
			  "namespace", row->namespace, "name", row->name, "port", (int)row->port);

	for (size_t i = 0; document && i < LATENCY_MEASURES; i++)
		json_object_set_new(document, latency_measure_names[i],
				    histogram_document(&value->measures[i]));
	for (size_t i = 0; document && i < LATENCY_COUNTS; i++)
		json_object_set_new(document, latency_count_names[i], show_u64(value->counts[i]));
	return document;
}

/* Names are not the rows' own: each row is told while they are there. */
struct listing {
	json_t *documents;
	size_t next;
};

static bool fill(struct control_list *list, void *data)
{
	struct listing *listing = data;
	size_t end = listing->next + ROWS_OF_A_TURN;

	while (listing->next < json_array_size(listing->documents) && listing->next < end)
		if (!control_list_add(
			    list, json_incref(json_array_get(listing->documents, listing->next++))))
			return true;
	return listing->next == json_array_size(listing->documents);
}

static void end_listing(void *data)
{
	struct listing *listing = data;

	json_decref(listing->documents);
	free(listing);
}

void show_latency(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	CLEANUP(cleanup_free) struct latency_row *rows = NULL;
	const struct show_sources *sources = data;
	struct listing *listing;
	size_t count = 0;
	int r;

	(void)args;
	(void)netns_fd;
	if (!latency_is_on(sources->datapath)) {
		control_fail(request, ENODATA, "connections are not measured",
			     sources->config->latency
				     ? "the program cannot be attached: see polderctl status"
				     : "set latency to true in polderd's configuration, and reload "
				       "polderd");
		return;
	}
	r = show_latency_rows(sources, &rows, &count);
	listing = r == 0 ? calloc(1, sizeof(*listing)) : NULL;
	if (listing)
		listing->documents = json_array();
	if (!listing || !listing->documents) {
		free(listing);
		control_fail(request, r < 0 ? -r : ENOMEM, "what was measured cannot be read",
			     strerror(r < 0 ? -r : ENOMEM));
		return;
	}
	for (size_t i = 0; i < count; i++)
		json_array_append_new(listing->documents, row_document(&rows[i]));
	control_reply_list(request, fill, end_listing, listing);
}
