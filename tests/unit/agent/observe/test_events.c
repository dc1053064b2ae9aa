/* SPDX-License-Identifier: Apache-2.0 */
/* Events from a real ring buffer, filled by a program of the kernel, to whoever listens. */
#include "agent/observe/events.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "agent/config/config.h"
#include "agent/kernel/counters.h"
#include "agent/observe/drop_log.h"
#include "agent/observe/flow_filter.h"
#include "tests/unit/unit.h"

#define EVENT_WORDS (sizeof(struct polder_event) / sizeof(uint64_t))

struct fixture {
	char directory[32];
	struct config config;
	struct maps *maps;
	uv_loop_t loop;
	struct events *events;
};

struct reader {
	struct event_subscriber *subscriber;
	json_t *lines;
	bool blocked;
};

static int name_pod(const struct polder_addr *addr, char *buffer, size_t size, void *data)
{
	struct polder_addr web;

	addr_parse("10.0.0.2", &web);
	if (memcmp(addr, &web, sizeof(web)) != 0)
		return -ENOENT;
	snprintf(buffer, size, "demo/web");
	return 0;
}

static int name_link(uint32_t ifindex, char *buffer, size_t size, void *data)
{
	snprintf(buffer, size, "link%u", ifindex);
	return 0;
}

static int name_rule(uint32_t rule, struct rule_origin *ret, void *data)
{
	*ret = (struct rule_origin){"demo", "deny", false, 2};
	return rule == 9 ? 0 : -ENOENT;
}

static const char *name_of_rule(const struct rule_origin *origin, void *data)
{
	return strcmp(origin->name, "deny") == 0 ? "stop" : NULL;
}

/* 10.0.0.3 is isolated by two policies, in both directions. */
static const struct compiled_selection *find_isolation(const struct polder_addr *addr, bool egress,
						       void *data)
{
	static char *policies[] = {"demo/a", "demo/b"};
	static const struct compiled_selection selection = {policies, 2};
	struct polder_addr isolated;

	addr_parse("10.0.0.3", &isolated);
	return memcmp(addr, &isolated, sizeof(isolated)) == 0 ? &selection : NULL;
}

/* 10.96.0.1:80. */
static int name_service(const struct polder_addr *addr, __be16 port_be, uint8_t proto, char *buffer,
			size_t size, void *data)
{
	struct polder_addr service;

	addr_parse("10.96.0.1", &service);
	if (memcmp(addr, &service, sizeof(service)) != 0 || port_be != htons(80))
		return -ENOENT;
	snprintf(buffer, size, "demo/front");
	return 0;
}

static const struct event_names names = {name_pod,	 name_link,    name_rule, name_of_rule,
					 find_isolation, name_service, NULL,	  NULL};

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char pins[64], message[512] = "";

	if (!f)
		abort();
	unit_directory(f->directory);
	if (mount("bpf", f->directory, "bpf", 0, NULL) < 0) {
		fprintf(stderr, "no bpffs: %s\n", strerror(errno));
		exit(errno == EPERM ? 77 : 1);
	}
	snprintf(pins, sizeof(pins), "%s/maps", f->directory);
	f->config.flows_v4 = f->config.flows_v6 = 1024;
	f->config.max_pods = f->config.max_fragments = f->config.max_socket_origins = 64;
	f->config.max_rule_counters = 64;
	f->config.max_services = f->config.max_backends = f->config.max_addresses = 64;
	f->config.max_policy_entries = 64;
	if (maps_open(config_map_sizes(&f->config), pins, &f->maps, message, sizeof(message)) < 0) {
		fprintf(stderr, "%s\n", message);
		abort();
	}
	uv_loop_init(&f->loop);
	CU_ASSERT_FATAL(events_open(&f->loop, f->maps, &names, &f->events) == 0);
	return f;
}

static void fixture_free(struct fixture *f)
{
	events_close(f->events);
	unit_end_loop(&f->loop);
	maps_close(f->maps);
	umount2(f->directory, MNT_DETACH);
	rmdir(f->directory);
	free(f);
}

/* A program that hands the event to the ring, as it stands on its stack. Returns whether there was
 * room. */
static bool emit(struct fixture *f, const struct polder_event *event)
{
	struct bpf_insn code[2 * EVENT_WORDS + 16], *at = code;
	LIBBPF_OPTS(bpf_test_run_opts, run);
	char frame[64] = {0};
	uint64_t words[EVENT_WORDS];
	int fd, stack = -(int)sizeof(*event);

	memcpy(words, event, sizeof(words));
	for (size_t i = 0; i < 2 * EVENT_WORDS; i++) {
		uint32_t half = (uint32_t)(words[i / 2] >> (i % 2 * 32));

		*at++ = (struct bpf_insn){.code = BPF_ST | BPF_MEM | BPF_W,
					  .dst_reg = BPF_REG_10,
					  .off = (int16_t)(stack + (int)i * 4),
					  .imm = (int32_t)half};
	}
	*at++ = (struct bpf_insn){.code = BPF_LD | BPF_DW | BPF_IMM,
				  .dst_reg = BPF_REG_1,
				  .src_reg = BPF_PSEUDO_MAP_FD,
				  .imm = maps_fd(f->maps, MAP_EVENTS)};
	*at++ = (struct bpf_insn){0};
	*at++ = (struct bpf_insn){
		.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_10};
	*at++ = (struct bpf_insn){
		.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = stack};
	*at++ = (struct bpf_insn){
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = sizeof(*event)};
	*at++ = (struct bpf_insn){
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_4, .imm = 0};
	*at++ = (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ringbuf_output};
	*at++ = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
	fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "emit", "GPL", code, (size_t)(at - code), NULL);
	if (fd < 0)
		abort();
	run.data_in = frame;
	run.data_size_in = sizeof(frame);
	if (bpf_prog_test_run_opts(fd, &run) < 0)
		abort();
	close(fd);
	return run.retval == 0;
}

static struct polder_event event_new(uint8_t type)
{
	struct polder_event event = {
		.time_ns = uv_hrtime(),
		.type = type,
		.verdict = type == EVENT_DROP ? VERDICT_DROP : VERDICT_ALLOW,
		.reason = type == EVENT_DROP ? REASON_POLICY_INGRESS : REASON_NONE,
		.hook = DROP_FROM_POD,
		.family = FAMILY_V4,
		.proto = IPPROTO_TCP,
		.sport_be = htons(40000),
		.dport_be = htons(80),
		.backend_port_be = htons(8080),
		.ifindex = 5,
		.length = 74,
		.source_identity = 300,
		.destination_identity = 301,
		.ingress_rule = 9,
	};

	addr_parse("10.0.0.2", &event.saddr);
	addr_parse("10.96.0.1", &event.daddr);
	addr_parse("10.0.0.3", &event.backend);
	return event;
}

static int take(json_t *line, void *data)
{
	struct reader *reader = data;

	if (reader->blocked) {
		json_decref(line);
		return -ENOBUFS;
	}
	json_array_append_new(reader->lines, line);
	return 0;
}

static void listen_to(struct fixture *f, struct reader *reader, uint32_t mask)
{
	*reader = (struct reader){.lines = json_array()};
	reader->subscriber = events_subscribe(f->events, mask, NULL, take, reader);
	CU_ASSERT_FATAL(reader->subscriber != NULL);
}

static void stop_listening(struct reader *reader)
{
	events_unsubscribe(reader->subscriber);
	json_decref(reader->lines);
}

static bool has_line(void *data)
{
	return json_array_size(((struct reader *)data)->lines) > 0;
}

static const char *text_of(const struct reader *reader, size_t line, const char *key)
{
	return json_string_value(json_object_get(json_array_get(reader->lines, line), key));
}

/* ---------------------------------------------------------------- tests */

static void a_drop_is_told_with_all_its_names(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP);
	json_t *line, *expected;
	struct reader reader;

	listen_to(f, &reader, EVENT_MASK_DROPS);
	CU_ASSERT(emit(f, &event));
	CU_ASSERT_FATAL(unit_wait(&f->loop, has_line, &reader, 2000));
	line = json_array_get(reader.lines, 0);
	CU_ASSERT(strlen(text_of(&reader, 0, "time")) == strlen("2026-11-22T10:00:00.000001Z"));
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(line, "monotonic_ns")),
			(json_int_t)event.time_ns);
	json_object_del(line, "monotonic_ns");
	json_object_del(line, "time");
	expected = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:i, s:s, s:i}, s:{s:s, s:i, "
		"s:s, s:i, s:s}, s:{s:s, s:i, s:s}, s:s, "
		"s:i, s:n, s:{s:s, s:i, s:s, s:s, s:s, s:b, s:[]}}",
		"type", "drop", "verdict", "drop", "reason", "policy_denied_ingress", "hook",
		"from_pod", "family", "ipv4", "proto", "tcp", "source", "ip", "10.0.0.2", "port",
		40000, "pod", "demo/web", "identity", 300, "destination", "ip", "10.96.0.1", "port",
		80, "pod", "", "identity", 301, "service", "demo/front", "backend", "ip",
		"10.0.0.3", "port", 8080, "pod", "", "link", "link5", "length", 74, "egress_policy",
		"ingress_policy", "policy", "demo/deny", "rule", 2, "rule_path", "spec.ingress[2]",
		"rule_name", "stop", "direction", "ingress", "default_deny", false, "isolated_by");
	CU_ASSERT(json_equal(line, expected));
	json_decref(expected);
	stop_listening(&reader);
	fixture_free(f);
}

static void a_default_deny_names_what_isolates(void)
{
	struct polder_event event = event_new(EVENT_DROP);
	json_t *line, *expected;

	event.ingress_rule = 0;
	line = event_document(&event, &names);
	expected = json_pack("{s:s, s:n, s:n, s:s, s:s, s:b, s:[s, s]}", "policy", "demo/a", "rule",
			     "rule_path", "rule_name", "", "direction", "ingress", "default_deny",
			     true, "isolated_by", "demo/a", "demo/b");
	CU_ASSERT(json_equal(json_object_get(line, "ingress_policy"), expected));
	CU_ASSERT(json_is_null(json_object_get(line, "egress_policy")));
	json_decref(line);
	/* A drop for another reason is due to no policy. */
	event.reason = REASON_NOT_READY;
	line = event_document(&event, &names);
	CU_ASSERT(json_is_null(json_object_get(line, "ingress_policy")));
	json_decref(line);
	json_decref(expected);
}

static void programs_are_asked_only_for_what_somebody_wants(void)
{
	struct fixture *f = fixture_new();
	const struct control *control = maps_control(f->maps);
	struct reader drops, flows;

	CU_ASSERT_EQUAL(control->events, 0);
	listen_to(f, &drops, EVENT_MASK_DROPS);
	CU_ASSERT_EQUAL(control->events, EVENT_MASK_DROPS);
	listen_to(f, &flows, EVENT_MASK_FLOWS);
	CU_ASSERT_EQUAL(control->events, EVENT_MASK_DROPS | EVENT_MASK_FLOWS);
	stop_listening(&drops);
	CU_ASSERT_EQUAL(control->events, EVENT_MASK_FLOWS);
	stop_listening(&flows);
	CU_ASSERT_EQUAL(control->events, 0);
	fixture_free(f);
}

static void each_reader_gets_what_it_asked_for(void)
{
	struct fixture *f = fixture_new();
	struct polder_event drop = event_new(EVENT_DROP), flow = event_new(EVENT_FLOW);
	struct reader drops, flows;

	listen_to(f, &drops, EVENT_MASK_DROPS);
	listen_to(f, &flows, EVENT_MASK_FLOWS);
	emit(f, &drop);
	emit(f, &flow);
	CU_ASSERT(unit_wait(&f->loop, has_line, &flows, 2000));
	CU_ASSERT_EQUAL(json_array_size(drops.lines), 1);
	CU_ASSERT_EQUAL(json_array_size(flows.lines), 1);
	CU_ASSERT_STRING_EQUAL(text_of(&drops, 0, "type"), "drop");
	CU_ASSERT_STRING_EQUAL(text_of(&flows, 0, "type"), "flow");
	stop_listening(&drops);
	stop_listening(&flows);
	fixture_free(f);
}

static void nothing_of_before_is_told(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP);
	struct reader reader;

	for (int i = 0; i < 300; i++)
		emit(f, &event);
	listen_to(f, &reader, EVENT_MASK_DROPS);
	unit_wait(&f->loop, NULL, NULL, 50);
	CU_ASSERT_EQUAL(json_array_size(reader.lines), 0);
	stop_listening(&reader);
	fixture_free(f);
}

static bool has_many(void *data)
{
	return json_array_size(((struct reader *)data)->lines) >= 600;
}

static void more_than_a_batch_arrives_whole(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP);
	struct reader reader;

	listen_to(f, &reader, EVENT_MASK_DROPS);
	for (int i = 0; i < 600; i++)
		CU_ASSERT(emit(f, &event));
	CU_ASSERT(unit_wait(&f->loop, has_many, &reader, 2000));
	CU_ASSERT_EQUAL(json_array_size(reader.lines), 600);
	stop_listening(&reader);
	fixture_free(f);
}

static json_int_t lost_in(const struct reader *reader)
{
	json_int_t lost = 0;
	const json_t *line;
	size_t i;

	json_array_foreach (reader->lines, i, line) {
		lost += json_integer_value(json_object_get(line, "lost"));
	}
	return lost;
}

static void what_had_no_room_in_the_ring_is_told_exactly(void)
{
	struct fixture *f = fixture_new();
	uint32_t index = COUNTER_EVENTS_LOST;
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values = calloc((size_t)cpus, sizeof(*values));
	struct reader reader;

	values[0] = 5; /* lost before anybody listened */
	bpf_map_update_elem(maps_fd(f->maps, MAP_COUNTERS), &index, values, BPF_ANY);
	listen_to(f, &reader, EVENT_MASK_DROPS);
	values[0] = 7;
	values[cpus - 1] += 3;
	bpf_map_update_elem(maps_fd(f->maps, MAP_COUNTERS), &index, values, BPF_ANY);
	CU_ASSERT(unit_wait(&f->loop, has_line, &reader, 3000));
	CU_ASSERT_EQUAL(lost_in(&reader), 5);
	free(values);
	stop_listening(&reader);
	fixture_free(f);
}

static void what_a_slow_reader_missed_is_told_when_it_reads_again(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP);
	struct reader slow, quick;

	listen_to(f, &slow, EVENT_MASK_DROPS);
	listen_to(f, &quick, EVENT_MASK_DROPS);
	slow.blocked = true;
	for (int i = 0; i < 4; i++)
		emit(f, &event);
	CU_ASSERT(unit_wait(&f->loop, has_line, &quick, 2000));
	CU_ASSERT_EQUAL(json_array_size(quick.lines), 4);
	slow.blocked = false;
	emit(f, &event);
	CU_ASSERT(unit_wait(&f->loop, has_line, &slow, 2000));
	CU_ASSERT_EQUAL(json_array_size(slow.lines), 2);
	CU_ASSERT_EQUAL(lost_in(&slow), 4);
	CU_ASSERT_STRING_EQUAL(text_of(&slow, 1, "type"), "drop");
	CU_ASSERT_EQUAL(lost_in(&quick), 0);
	stop_listening(&slow);
	stop_listening(&quick);
	fixture_free(f);
}

/* ---------------------------------------------------------------- history */

static void a_reader_gets_what_its_filter_lets_through(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP), other = event_new(EVENT_DROP);
	json_t *wanted = json_pack("{s:s}", "reason", "martian_source");
	struct reader reader = {.lines = json_array()};
	struct flow_filter *filter = NULL;
	struct error error;

	CU_ASSERT_FATAL(flow_filter_parse(wanted, &filter, &error) == 0);
	reader.subscriber = events_subscribe(f->events, EVENT_MASK_DROPS | EVENT_MASK_FLOWS, filter,
					     take, &reader);
	/* Flows have no reason: the programs are not asked for them. */
	CU_ASSERT_EQUAL(maps_control(f->maps)->events, EVENT_MASK_DROPS);
	other.reason = REASON_MARTIAN;
	emit(f, &event);
	emit(f, &other);
	CU_ASSERT(unit_wait(&f->loop, has_line, &reader, 2000));
	CU_ASSERT_EQUAL(json_array_size(reader.lines), 1);
	CU_ASSERT_STRING_EQUAL(text_of(&reader, 0, "reason"), "martian_source");
	stop_listening(&reader);
	json_decref(wanted);
	fixture_free(f);
}

static int64_t length_of(const struct reader *reader, size_t line)
{
	return json_integer_value(json_object_get(json_array_get(reader->lines, line), "length"));
}

static bool are_kept(void *data)
{
	struct fixture *f = data;

	return events_kept(f->events) >= 6;
}

static void the_newest_events_are_told_again(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP);
	uint64_t began = event.time_ns;
	struct reader reader;

	CU_ASSERT_FATAL(events_keep(f->events, 6) == 0);
	/* Drops are asked for, though nobody listens. */
	CU_ASSERT_EQUAL(maps_control(f->maps)->events, EVENT_MASK_DROPS);
	for (uint32_t i = 1; i <= 9; i++) {
		event.length = i;
		event.time_ns = began + i;
		emit(f, &event);
	}
	CU_ASSERT(unit_wait(&f->loop, are_kept, f, 2000));
	listen_to(f, &reader, EVENT_MASK_DROPS);
	events_replay(reader.subscriber, 0, 2);
	CU_ASSERT_EQUAL(json_array_size(reader.lines), 2);
	CU_ASSERT(length_of(&reader, 0) == 8 && length_of(&reader, 1) == 9);
	json_array_clear(reader.lines);
	events_replay(reader.subscriber, 0, SIZE_MAX); /* six are kept */
	CU_ASSERT_EQUAL(json_array_size(reader.lines), 6);
	CU_ASSERT(length_of(&reader, 0) == 4 && length_of(&reader, 5) == 9);
	json_array_clear(reader.lines);
	events_replay(reader.subscriber, began + 7, SIZE_MAX);
	CU_ASSERT_EQUAL(json_array_size(reader.lines), 2);
	CU_ASSERT(length_of(&reader, 0) == 8);
	stop_listening(&reader);
	CU_ASSERT_EQUAL(maps_control(f->maps)->events, EVENT_MASK_DROPS);
	fixture_free(f);
}

static void what_came_while_no_agent_ran_is_told_by_the_next_one(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP);
	struct reader reader;

	CU_ASSERT_FATAL(events_keep(f->events, 6) == 0);
	events_close(f->events);
	unit_end_loop(&f->loop);
	CU_ASSERT_EQUAL(maps_control(f->maps)->events, EVENT_MASK_DROPS);
	CU_ASSERT(emit(f, &event));
	uv_loop_init(&f->loop);
	CU_ASSERT_FATAL(events_open(&f->loop, f->maps, &names, &f->events) == 0);
	CU_ASSERT_FATAL(events_keep(f->events, 6) == 0);
	listen_to(f, &reader, EVENT_MASK_DROPS);
	CU_ASSERT_EQUAL(json_array_size(reader.lines), 0); /* who does not ask is not told */
	events_replay(reader.subscriber, event.time_ns - 1, SIZE_MAX);
	CU_ASSERT_EQUAL(json_array_size(reader.lines), 1);
	stop_listening(&reader);
	fixture_free(f);
}

static void what_is_too_much_to_be_told_again_counts_as_lost(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP);
	struct reader reader;

	CU_ASSERT_FATAL(events_keep(f->events, EVENTS_REPLAY_MAX + 5) == 0);
	for (int i = 0; i < EVENTS_REPLAY_MAX + 5; i++)
		emit(f, &event);
	listen_to(f, &reader, EVENT_MASK_DROPS);
	events_replay(reader.subscriber, 0, SIZE_MAX);
	CU_ASSERT_EQUAL(json_array_size(reader.lines), EVENTS_REPLAY_MAX + 1);
	CU_ASSERT_EQUAL(lost_in(&reader), 5);
	stop_listening(&reader);
	fixture_free(f);
}

/* ---------------------------------------------------------------- drop log */

static json_t *drops_of(const struct drop_log *log, const char *args)
{
	json_t *question = json_loads(args, 0, NULL), *answer = NULL;
	struct error error = {0};

	CU_ASSERT_FATAL(question != NULL);
	if (drop_log_document(log, question, &answer, &error) < 0)
		answer = json_string(error.text);
	json_decref(question);
	return answer;
}

static size_t rows_of(const struct drop_log *log, const char *args)
{
	json_t *answer = drops_of(log, args);
	size_t count = json_array_size(json_object_get(answer, "drops"));

	CU_ASSERT(json_is_object(answer));
	json_decref(answer);
	return count;
}

static bool three_rows(void *data)
{
	return rows_of(data, "{}") == 3;
}

static json_int_t packets_in(const json_t *answer, const char *list, size_t index)
{
	return json_integer_value(
		json_object_get(json_array_get(json_object_get(answer, list), index), "packets"));
}

/* By what isolates 10.0.0.3, by demo/deny's rule, and demo/web's own by its source. */
static void drops_are_counted_by_what_they_have_in_common(void)
{
	struct fixture *f = fixture_new();
	struct polder_event isolated = event_new(EVENT_DROP), rule = isolated, source = isolated;
	struct drop_log *log = NULL;
	json_t *answer;

	isolated.ingress_rule = 0;
	source.reason = REASON_NAT_PORTS;
	CU_ASSERT_FATAL(drop_log_open(&f->loop, f->maps, f->events, &names, &log) == 0);
	for (int i = 0; i < 3; i++)
		emit(f, &isolated);
	emit(f, &rule);
	emit(f, &source);
	emit(f, &source);
	CU_ASSERT(unit_wait(&f->loop, three_rows, log, 2000));
	answer = drops_of(log, "{\"since_seconds\": 60}");
	CU_ASSERT_EQUAL(packets_in(answer, "drops", 0), 3); /* the most first */
	CU_ASSERT_EQUAL(packets_in(answer, "drops", 1), 2);
	CU_ASSERT_EQUAL(packets_in(answer, "drops", 2), 1);
	json_decref(answer);
	CU_ASSERT_EQUAL(rows_of(log, "{\"filter\": {\"policy\": \"demo/b\"}}"), 1);
	CU_ASSERT_EQUAL(rows_of(log, "{\"filter\": {\"policy\": \"demo/deny\"}}"), 1);
	CU_ASSERT_EQUAL(rows_of(log, "{\"filter\": {\"policy\": \"demo/den\"}}"), 0);
	CU_ASSERT_EQUAL(rows_of(log, "{\"filter\": {\"pod\": \"demo/web\"}}"), 1);
	CU_ASSERT_EQUAL(rows_of(log, "{\"filter\": {\"namespace\": \"dem\"}}"), 0);
	CU_ASSERT_EQUAL(rows_of(log, "{\"filter\": {\"reason\": \"policy_denied_ingress\"}}"), 2);
	drop_log_close(log);
	fixture_free(f);
}

static void the_programs_counts_stand_beside_the_rows(void)
{
	struct fixture *f = fixture_new();
	uint32_t index = REASON_MARTIAN * DROP_HOOKS + DROP_FROM_WIRE;
	int cpus = libbpf_num_possible_cpus();
	struct drop_counter *values = calloc((size_t)cpus, sizeof(*values));
	struct drop_log *log = NULL;
	json_t *answer, *reason;

	values[0].packets = 7; /* before the agent began */
	bpf_map_update_elem(maps_fd(f->maps, MAP_DROPS), &index, values, BPF_ANY);
	CU_ASSERT_FATAL(drop_log_open(&f->loop, f->maps, f->events, &names, &log) == 0);
	values[0].packets = 12;
	bpf_map_update_elem(maps_fd(f->maps, MAP_DROPS), &index, values, BPF_ANY);
	answer = drops_of(log, "{}");
	reason = json_array_get(json_object_get(answer, "reasons"), 0);
	CU_ASSERT_EQUAL(packets_in(answer, "reasons", 0), 5);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(reason, "told")), 0);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(reason, "direction")),
			       "from_wire");
	json_decref(answer);
	drop_log_close(log);
	free(values);
	fixture_free(f);
}

static void rows_that_were_idle_for_longest_make_room(void)
{
	struct fixture *f = fixture_new();
	struct polder_event event = event_new(EVENT_DROP);
	struct drop_log *log = NULL;
	json_t *answer;

	CU_ASSERT_FATAL(drop_log_open(&f->loop, f->maps, f->events, &names, &log) == 0);
	drop_log_limit(log, 3);
	for (uint8_t reason = REASON_MARTIAN; reason < REASON_MARTIAN + 5; reason++) {
		event.reason = reason;
		emit(f, &event);
	}
	CU_ASSERT(unit_wait(&f->loop, three_rows, log, 2000));
	answer = drops_of(log, "{}");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "rows_left_out")), 2);
	json_decref(answer);
	CU_ASSERT_EQUAL(rows_of(log, "{\"filter\": {\"reason\": \"martian_source\"}}"), 0);
	CU_ASSERT_EQUAL(rows_of(log, "{\"filter\": {\"reason\": \"multicast\"}}"), 1);
	drop_log_close(log);
	fixture_free(f);
}

static void questions_about_drops_without_sense_are_refused(void)
{
	static const char *const cases[][2] = {
		{"{\"since_seconds\": -1}", "seconds"},
		{"{\"since_seconds\": 3600}", "59 minutes"},
		{"{\"filter\": {\"port\": \"80\"}}", "monitor"},
		{"{\"filter\": {\"pod\": \"x\"}}", "NAMESPACE/NAME"},
	};
	struct fixture *f = fixture_new();
	struct drop_log *log = NULL;

	CU_ASSERT_FATAL(drop_log_open(&f->loop, f->maps, f->events, &names, &log) == 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *answer = drops_of(log, cases[i][0]);

		CU_ASSERT_FATAL(json_is_string(answer));
		CU_ASSERT_PTR_NOT_NULL(strstr(json_string_value(answer), cases[i][1]));
		json_decref(answer);
	}
	drop_log_close(log);
	fixture_free(f);
}

static void each_reason_has_a_remedy_in_plain_words(void)
{
	for (unsigned int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
		char *remedy = drop_remedy(reason);

		CU_ASSERT_PTR_NOT_NULL_FATAL(remedy);
		CU_ASSERT(*remedy && !strpbrk(remedy, "`*[") && !strstr(remedy, ".md"));
		CU_ASSERT(*drop_meaning(reason));
		free(remedy);
	}
}

static void counters_are_sums_over_the_cpus(void)
{
	struct fixture *f = fixture_new();
	uint32_t index = REASON_MARTIAN * DROP_HOOKS + DROP_FROM_WIRE;
	int cpus = libbpf_num_possible_cpus();
	struct drop_counter *values = calloc((size_t)cpus, sizeof(*values)), sums[DROPS_COUNT];

	for (int i = 0; i < cpus; i++)
		values[i] = (struct drop_counter){2, 100};
	bpf_map_update_elem(maps_fd(f->maps, MAP_DROPS), &index, values, BPF_ANY);
	CU_ASSERT_FATAL(counters_read_drops(maps_fd(f->maps, MAP_DROPS), sums) == 0);
	for (uint32_t i = 0; i < DROPS_COUNT; i++) {
		CU_ASSERT_EQUAL(sums[i].packets, i == index ? 2u * (unsigned int)cpus : 0u);
		CU_ASSERT_EQUAL(sums[i].bytes, i == index ? 100u * (unsigned int)cpus : 0u);
	}
	free(values);
	fixture_free(f);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_drop_is_told_with_all_its_names),
		UNIT_TEST(a_default_deny_names_what_isolates),
		UNIT_TEST(programs_are_asked_only_for_what_somebody_wants),
		UNIT_TEST(each_reader_gets_what_it_asked_for),
		UNIT_TEST(nothing_of_before_is_told),
		UNIT_TEST(more_than_a_batch_arrives_whole),
		UNIT_TEST(what_had_no_room_in_the_ring_is_told_exactly),
		UNIT_TEST(what_a_slow_reader_missed_is_told_when_it_reads_again),
		UNIT_TEST(a_reader_gets_what_its_filter_lets_through),
		UNIT_TEST(the_newest_events_are_told_again),
		UNIT_TEST(what_came_while_no_agent_ran_is_told_by_the_next_one),
		UNIT_TEST(what_is_too_much_to_be_told_again_counts_as_lost),
		UNIT_TEST(drops_are_counted_by_what_they_have_in_common),
		UNIT_TEST(the_programs_counts_stand_beside_the_rows),
		UNIT_TEST(rows_that_were_idle_for_longest_make_room),
		UNIT_TEST(questions_about_drops_without_sense_are_refused),
		UNIT_TEST(each_reason_has_a_remedy_in_plain_words),
		UNIT_TEST(counters_are_sums_over_the_cpus),
	};

	/* Mounts are this program's alone. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		fprintf(stderr, "no mount namespace: %s\n", strerror(errno));
		return errno == EPERM ? 77 : 1;
	}
	return UNIT_RUN("events", tests);
}
