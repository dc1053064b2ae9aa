/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/drop_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "agent/common/cleanup.h"
#include "agent/common/hash.h"
#include "agent/kernel/counters.h"
#include "agent/observe/drop_remedies.h"
#include "agent/observe/flow_filter.h"

#define MINUTE_MS 60000
#define POLICIES_MAX                                                                               \
	512 /* bytes of the names in a row: of many that isolate a pod, the first ones */
#define KEY_MAX (2 + EVENT_NAME_MAX + POLICIES_MAX)

/* Drops that have reason, direction, pod and policy in common. */
struct drop_row {
	UT_hash_handle hh;
	struct drop_row *prev, *next; /* by use: the longest idle first */
	uint8_t reason, hook;
	bool egress;	      /* the policy's direction, where one decided */
	char *pod, *policies; /* "": none; policies with commas between */
	uint64_t packets;     /* since the row is there */
	uint32_t minutes[DROP_LOG_MINUTES];
	struct polder_event last;
	time_t last_at;
	size_t key_length;
	char key[];
};

/* The programs' counts at the beginning of a minute. */
struct drop_sample {
	uint64_t packets[DROPS_COUNT];
	uint64_t lost, limited;
	time_t at;
	bool read;
};

struct drop_log {
	struct maps *maps;
	const struct event_names *names;
	struct event_subscriber *tap;
	struct drop_row *rows, *by_use;
	size_t minute; /* of the ring of minutes, the present one */
	size_t minutes_past;
	struct drop_sample samples[DROP_LOG_MINUTES]; /* at the beginning of each of them */
	struct drop_sample first;		      /* when the agent began */
	size_t rows_max;
	uint64_t evicted; /* rows that made room for others */
	uv_timer_t timer;
};

/* ---------------------------------------------------------------- rows */

static void row_free(struct drop_row *row)
{
	free(row->pod);
	free(row->policies);
	free(row);
}

static void evict(struct drop_log *log)
{
	struct drop_row *row = log->by_use;

	DL_DELETE(log->by_use, row);
	HASH_DEL(log->rows, row);
	row_free(row);
	log->evicted++;
}

/* The end that the drop is about: who sends from a pod or to the wire, else who is sent to. */
static const struct polder_addr *end_of(const struct polder_event *event)
{
	const struct polder_addr *receiver =
		addr_is_zero(&event->backend) ? &event->daddr : &event->backend;

	if (event->reason == REASON_POLICY_INGRESS)
		return receiver;
	if (event->reason == REASON_POLICY_EGRESS || event->hook == DROP_FROM_POD ||
	    event->hook == DROP_TO_WIRE)
		return &event->saddr;
	return receiver;
}

/* What the link's name says where the address does not: spoofed ones are nobody's. */
static void name_pod(const struct drop_log *log, const struct polder_event *event, char *ret,
		     size_t size)
{
	const struct polder_addr *addr = end_of(event);

	if (addr_is_zero(addr) || log->names->pod(addr, ret, size, log->names->data) < 0)
		ret[0] = '\0';
}

static void join(const struct compiled_selection *selection, char *ret, size_t size)
{
	size_t used = 0, length;

	ret[0] = '\0';
	for (size_t i = 0; selection && i < selection->count; i++) {
		length = strlen(selection->policies[i]) + (i > 0);
		if (used + length + 1 > size)
			return;
		if (i)
			ret[used++] = ',';
		memcpy(ret + used, selection->policies[i], strlen(selection->policies[i]) + 1);
		used += strlen(selection->policies[i]);
	}
}

/* The policy whose rule denied it, or those that isolate the pod. */
static void name_policies(const struct drop_log *log, const struct polder_event *event, char *ret,
			  size_t size)
{
	bool egress = event->reason == REASON_POLICY_EGRESS;
	uint32_t rule = egress ? event->egress_rule : event->ingress_rule;
	struct rule_origin origin;

	ret[0] = '\0';
	if (!egress && event->reason != REASON_POLICY_INGRESS)
		return;
	if (!rule)
		join(log->names->isolation(end_of(event), egress, log->names->data), ret, size);
	else if (log->names->rule(rule, &origin, log->names->data) == 0)
		snprintf(ret, size, "%.63s%s%.253s", origin.namespace, *origin.namespace ? "/" : "",
			 origin.name);
}

static struct drop_row *row_new(const struct polder_event *event, const char *key, size_t length,
				const char *pod, const char *policies)
{
	struct drop_row *row = calloc(1, sizeof(*row) + length);

	if (!row)
		return NULL;
	row->reason = event->reason;
	row->hook = event->hook;
	row->egress = event->reason == REASON_POLICY_EGRESS;
	row->pod = strdup(pod);
	row->policies = strdup(policies);
	row->key_length = length;
	memcpy(row->key, key, length);
	if (!row->pod || !row->policies) {
		row_free(row);
		return NULL;
	}
	return row;
}

/* With its end, so that no two pairs of texts are the same key. Returns its length. */
static size_t put_text(char *to, const char *text)
{
	size_t length = strlen(text) + 1;

	memcpy(to, text, length);
	return length;
}

/* NULL: no memory; the packet is in the programs' counts. */
static struct drop_row *find_row(struct drop_log *log, const struct polder_event *event)
{
	char pod[EVENT_NAME_MAX], policies[POLICIES_MAX], key[KEY_MAX];
	struct drop_row *row;
	size_t length;

	name_pod(log, event, pod, sizeof(pod));
	name_policies(log, event, policies, sizeof(policies));
	key[0] = (char)event->reason;
	key[1] = (char)event->hook;
	length = 2 + put_text(key + 2, pod);
	length += put_text(key + length, policies);
	HASH_FIND(hh, log->rows, key, length, row);
	if (row) {
		DL_DELETE(log->by_use, row);
		DL_APPEND(log->by_use, row);
		return row;
	}
	row = row_new(event, key, length, pod, policies);
	if (!row)
		return NULL;
	if (HASH_COUNT(log->rows) >= log->rows_max)
		evict(log);
	HASH_ADD(hh, log->rows, key, length, row);
	if (!HASH_ADDED(hh, row)) {
		row_free(row);
		return NULL;
	}
	DL_APPEND(log->by_use, row);
	return row;
}

static void on_drop(const struct polder_event *event, void *data)
{
	struct drop_log *log = data;
	struct drop_row *row;

	if (event->type != EVENT_DROP || event->reason >= REASON_COUNT || event->hook >= DROP_HOOKS)
		return;
	row = find_row(log, event);
	if (!row)
		return;
	row->packets++;
	row->minutes[log->minute]++;
	row->last = *event;
	row->last_at = time(NULL);
}

/* The programs' own counts say how many. */
static void on_lost(uint64_t count, void *data)
{
	(void)count;
	(void)data;
}

/* ---------------------------------------------------------------- time */

static void take_sample(const struct drop_log *log, struct drop_sample *ret)
{
	struct drop_counter drops[DROPS_COUNT];
	__u64 counters[COUNTER_COUNT];

	*ret = (struct drop_sample){.at = time(NULL)};
	if (counters_read_drops(maps_fd(log->maps, MAP_DROPS), drops) < 0 ||
	    counters_read(maps_fd(log->maps, MAP_COUNTERS), counters) < 0)
		return;
	for (size_t i = 0; i < DROPS_COUNT; i++)
		ret->packets[i] = drops[i].packets;
	ret->lost = counters[COUNTER_EVENTS_LOST];
	ret->limited = counters[COUNTER_EVENTS_LIMITED];
	ret->read = true;
}

static void on_minute(uv_timer_t *timer)
{
	struct drop_log *log = timer->data;
	struct drop_row *row, *next;

	log->minute = (log->minute + 1) % DROP_LOG_MINUTES;
	if (log->minutes_past + 1 < DROP_LOG_MINUTES)
		log->minutes_past++;
	HASH_ITER (hh, log->rows, row, next) {
		row->minutes[log->minute] = 0;
	}
	take_sample(log, &log->samples[log->minute]);
}

int drop_log_open(uv_loop_t *loop, struct maps *maps, struct events *events,
		  const struct event_names *names, struct drop_log **ret)
{
	struct drop_log *log = calloc(1, sizeof(*log));
	const struct event_tap tap = {.event = on_drop, .lost = on_lost, .data = log};

	if (!log)
		return -ENOMEM;
	log->maps = maps;
	log->names = names;
	log->rows_max = DROP_LOG_ROWS;
	take_sample(log, &log->first);
	log->samples[0] = log->first;
	log->tap = events_tap(events, EVENT_MASK_DROPS, &tap);
	if (!log->tap) {
		free(log);
		return -ENOMEM;
	}
	uv_timer_init(loop, &log->timer);
	log->timer.data = log;
	uv_timer_start(&log->timer, on_minute, MINUTE_MS, MINUTE_MS);
	uv_unref((uv_handle_t *)&log->timer);
	*ret = log;
	return 0;
}

void drop_log_limit(struct drop_log *log, size_t rows)
{
	log->rows_max = rows;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void drop_log_close(struct drop_log *log)
{
	if (!log)
		return;
	events_unsubscribe(log->tap);
	while (log->by_use)
		evict(log);
	uv_close((uv_handle_t *)&log->timer, on_closed);
}

/* ---------------------------------------------------------------- words */

const char *drop_meaning(unsigned int reason)
{
	static const char *const texts[REASON_COUNT] = {
#define X(id, name, text) [REASON_##id] = (text),
		POLDER_REASONS(X)
#undef X
	};

	return reason < REASON_COUNT ? texts[reason] : "";
}

static const char *remedy_of(unsigned int reason)
{
	static const char *const texts[REASON_COUNT] = {
#define X(id, text) [REASON_##id] = (text),
		POLDER_REMEDIES(X)
#undef X
	};

	return reason < REASON_COUNT && texts[reason] ? texts[reason] : "";
}

/* Of "[text](page)" the text; without the marks of code and emphasis. */
char *drop_remedy(unsigned int reason)
{
	const char *from = remedy_of(reason), *end;
	char *text = malloc(strlen(from) + 1), *to = text;

	if (!text)
		return NULL;
	for (; *from; from++) {
		if (*from == '`' || *from == '*' || *from == '[' || *from == '\\')
			continue;
		if (*from == ']' && from[1] == '(' && (end = strchr(from, ')'))) {
			from = end;
			continue;
		}
		*to++ = *from;
	}
	*to = '\0';
	return text;
}

/* ---------------------------------------------------------------- the answer */

/* What is asked for. */
struct question {
	struct flow_filter *filter;
	bool all;	/* since the agent began, not for the last `minutes` */
	size_t minutes; /* whole ones that are over, beside the present one */
	struct drop_sample now;
	const struct drop_sample *before;
};

static uint64_t packets_of(const struct drop_log *log, const struct question *question,
			   const struct drop_row *row)
{
	uint64_t packets = 0;

	if (question->all)
		return row->packets;
	for (size_t i = 0; i <= question->minutes; i++)
		packets += row->minutes[(log->minute + DROP_LOG_MINUTES - i) % DROP_LOG_MINUTES];
	return packets;
}

static bool is_one_of(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = list; (at = strstr(at, name)); at += length)
		if ((at == list || at[-1] == ',') && (!at[length] || at[length] == ','))
			return true;
	return false;
}

static bool matches(const struct question *question, const struct drop_row *row)
{
	const struct flow_filter *filter = question->filter;
	bool found;

	if (!filter)
		return true;
	if (!flow_filter_has_reason(filter, row->reason))
		return false;
	found = filter->pods.count == 0;
	for (size_t i = 0; i < filter->pods.count; i++)
		found |= strcmp(row->pod, filter->pods.items[i]) == 0;
	if (!found)
		return false;
	found = filter->namespaces.count == 0;
	for (size_t i = 0; i < filter->namespaces.count; i++)
		found |= flow_name_in_namespace(row->pod, filter->namespaces.items[i]);
	if (!found)
		return false;
	found = filter->policies.count == 0;
	for (size_t i = 0; i < filter->policies.count; i++)
		found |= is_one_of(row->policies, filter->policies.items[i]);
	return found;
}

json_t *drop_time_document(time_t when)
{
	char text[32];
	struct tm tm;

	gmtime_r(&when, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static json_t *number(uint64_t value)
{
	return json_integer(value <= INT64_MAX ? (json_int_t)value : INT64_MAX);
}

static json_t *row_document(const struct drop_log *log, const struct drop_row *row,
			    uint64_t packets)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o*}", "reason",
			 reason_name(row->reason), "direction", hook_name(row->hook), "pod",
			 row->pod, "policy", row->policies, "packets", number(packets), "seconds",
			 json_integer(time(NULL) - row->last_at), "last",
			 drop_time_document(row->last_at), "example",
			 event_document(&row->last, log->names));
}

int drop_row_compare(const void *a, const void *b)
{
	json_int_t left = json_integer_value(json_object_get(*(json_t *const *)a, "packets"));
	json_int_t right = json_integer_value(json_object_get(*(json_t *const *)b, "packets"));

	return left < right ? 1 : left > right ? -1 : 0;
}

/* The most packets first. NULL: no memory. */
static json_t *row_documents(const struct drop_log *log, const struct question *question,
			     uint64_t *told)
{
	CLEANUP(cleanup_free) json_t **found = calloc(HASH_COUNT(log->rows) + 1, sizeof(json_t *));
	struct drop_row *row, *next;
	json_t *list = json_array();
	size_t count = 0;

	HASH_ITER (hh, log->rows, row, next) {
		uint64_t packets = packets_of(log, question, row);

		told[row->reason * DROP_HOOKS + row->hook] += packets;
		if (found && packets && matches(question, row))
			found[count++] = row_document(log, row, packets);
	}
	if (found)
		qsort(found, count, sizeof(*found), drop_row_compare);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, found[i]);
	if (!found)
		json_decref(list);
	return found ? list : NULL;
}

static json_t *reason_document(unsigned int reason, unsigned int hook, uint64_t counted,
			       uint64_t told)
{
	CLEANUP(cleanup_free) char *remedy = drop_remedy(reason);

	return json_pack("{s:s, s:s, s:o, s:o, s:s, s:s}", "reason", reason_name(reason),
			 "direction", hook_name(hook), "packets", number(counted), "told",
			 number(told), "means", drop_meaning(reason), "remedy",
			 remedy ? remedy : "");
}

static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* By the programs' counts, which are exact whoever lost events. */
static json_t *reason_documents(const struct question *question, const uint64_t *told)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < DROPS_COUNT; i++) {
		unsigned int reason = i / DROP_HOOKS;
		uint64_t counted = since(question->now.packets[i], question->before->packets[i]);

		if (counted && (!question->filter ||
				flow_filter_has_reason(question->filter, (uint8_t)reason)))
			json_array_append_new(
				list, reason_document(reason, i % DROP_HOOKS, counted, told[i]));
	}
	return list;
}

/* 0, -EINVAL with a reason. */
static int read_since(const struct drop_log *log, const json_t *args, struct question *ret,
		      struct error *error)
{
	const json_t *value = json_object_get(args, "since_seconds");
	json_int_t seconds = json_integer_value(value);

	ret->all = !value;
	ret->before = &log->first;
	if (!value)
		return 0;
	if (!json_is_integer(value) || seconds < 0)
		return error_set(error, -EINVAL, EINVAL,
				 "since_seconds: expected a number of seconds");
	if (seconds > (DROP_LOG_MINUTES - 1) * 60)
		return error_set(
			error, -EINVAL, EINVAL,
			"since_seconds: drops are kept apart by the minute for %d minutes: "
			"ask for less, or leave it out for all since polderd started",
			DROP_LOG_MINUTES - 1);
	ret->minutes = (size_t)(seconds + 59) / 60;
	if (ret->minutes > log->minutes_past)
		ret->minutes = log->minutes_past;
	ret->before =
		&log->samples[(log->minute + DROP_LOG_MINUTES - ret->minutes) % DROP_LOG_MINUTES];
	return 0;
}

/* Rows have reason, pod and policy; the rest is of single packets. */
static int read_filter(const json_t *args, struct question *ret, struct error *error)
{
	static const char *const kept[] = {"pod", "namespace", "reason", "policy"};
	const json_t *filter = json_object_get(args, "filter");
	const char *key;
	json_t *value;
	int r;

	json_object_foreach ((json_t *)filter, key, value) {
		bool known = false;

		for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
			known |= strcmp(key, kept[i]) == 0;
		if (!known)
			return error_set(error, -EINVAL, EINVAL,
					 "filter %.80s: drops are counted by reason, pod and "
					 "policy; of single packets: polderctl monitor --drops "
					 "--last 1000",
					 key);
	}
	r = flow_filter_parse(filter, &ret->filter, error);
	if (r < 0 || !ret->filter || !ret->filter->kernel_reasons.count)
		return r;
	flow_filter_free(ret->filter);
	return error_set(error, -EINVAL, EINVAL,
			 "filter reason: what the kernel drops is counted only while somebody "
			 "watches: polderctl drop list --kernel");
}

int drop_log_document(const struct drop_log *log, const json_t *args, json_t **ret,
		      struct error *ret_error)
{
	uint64_t told[DROPS_COUNT] = {0};
	struct question question = {0};
	json_t *rows, *document;
	int r = read_since(log, args, &question, ret_error);

	if (r == 0)
		r = read_filter(args, &question, ret_error);
	if (r < 0)
		return r;
	take_sample(log, &question.now);
	rows = row_documents(log, &question, told);
	document = json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "since",
		drop_time_document(question.before->at), "drops", rows, "reasons",
		reason_documents(&question, told), "lost_events",
		number(since(question.now.lost, question.before->lost)), "limited_events",
		number(since(question.now.limited, question.before->limited)), "rows_left_out",
		number(log->evicted), "counted", question.now.read && question.before->read);
	flow_filter_free(question.filter);
	if (!document)
		return error_set(ret_error, -ENOMEM, ENOMEM, "polderd is out of memory");
	*ret = document;
	return 0;
}
