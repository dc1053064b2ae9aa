/* SPDX-License-Identifier: Apache-2.0 */
/* The collector on real maps of the kernel: what it frees, keeps, repairs, forgets and lists. */
#include "agent/kernel/flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <bpf/bpf.h>

#include "policy/objects/objects.h"
#include "agent/kernel/flows_scan.h"
#include "tests/unit/unit.h"

#define SETS_V4	   4096 /* two windows */
#define SETS_V6	   2048
#define GENERATION 7
#define NOW	   1000000u
#define LONG_AGO   1u
#define NO_BUDGET  UINT64_MAX

/* The whole tables are mapped here: what a program sees. */
struct fixture {
	struct control control;
	struct flows_maps maps;
	struct flows *flows;
	struct flow4_set *v4;
	struct flow6_set *v6;
	uint8_t *tags[2];
};

static void *map_new(struct fixture *f, uint32_t value_size, uint32_t sets, int *ret_fd)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	void *base;

	*ret_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "test_flows", sizeof(uint32_t), value_size,
				 sets, &options);
	if (*ret_fd < 0) {
		fprintf(stderr, "no map: %s\n", strerror(errno));
		exit(errno == EPERM ? 77 : 1);
	}
	base = mmap(NULL, (size_t)value_size * sets, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd,
		    0);
	if (base == MAP_FAILED)
		abort();
	return base;
}

/* The clock by which the collector takes a writer for dead. */
static uint64_t clock_ns;

static uint64_t clock_now(void)
{
	return clock_ns;
}

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		abort();
	f->control = (struct control){.generation = GENERATION, .hash_seed = {0x1234, 0x5678}};
	f->v4 = map_new(f, sizeof(struct flow4_set), SETS_V4, &f->maps.fd_v4);
	f->v6 = map_new(f, sizeof(struct flow6_set), SETS_V6, &f->maps.fd_v6);
	f->tags[0] = map_new(f, FLOW_WAYS, SETS_V4, &f->maps.fd_tags_v4);
	f->tags[1] = map_new(f, FLOW_WAYS, SETS_V6, &f->maps.fd_tags_v6);
	f->maps.sets_v4 = SETS_V4;
	f->maps.sets_v6 = SETS_V6;
	f->maps.control = &f->control;
	f->maps.clock_ns = clock_now;
	f->flows = flows_new(&f->maps);
	return f;
}

static void fixture_free(struct fixture *f)
{
	flows_free(f->flows);
	munmap(f->v4, sizeof(struct flow4_set) * SETS_V4);
	munmap(f->v6, sizeof(struct flow6_set) * SETS_V6);
	munmap(f->tags[0], FLOW_WAYS * SETS_V4);
	munmap(f->tags[1], FLOW_WAYS * SETS_V6);
	close(f->maps.fd_tags_v4);
	close(f->maps.fd_tags_v6);
	close(f->maps.fd_v4);
	close(f->maps.fd_v6);
	free(f);
}

/* What a pass frees at the time NOW. */
static uint64_t collect(struct fixture *f)
{
	struct flows_stats before, after;

	flows_stats(f->flows, &before);
	CU_ASSERT(flows_collect(f->flows, NOW, NO_BUDGET));
	flows_stats(f->flows, &after);
	return after.expired - before.expired;
}

static uint64_t entries(struct fixture *f)
{
	struct flows_stats stats;

	flows_stats(f->flows, &stats);
	return stats.entries_v4 + stats.entries_v6;
}

/* ---------------------------------------------------------------- flows, as the programs write
 * them */

struct spec {
	uint8_t family, proto;
	uint16_t state;		   /* of both directions */
	uint32_t last, reply_last; /* LONG_AGO: idle beyond every time-out */
	uint16_t sport;
	bool second_set; /* of its tuple's two */
};

struct placed {
	struct flow_head *forward, *reply;
};

static struct flow_head *place(struct fixture *f, const struct flow_tuple *t,
			       const struct flow_copy *content, const struct spec *spec,
			       uint32_t last)
{
	uint64_t hash = flow_hash(t, spec->family, &f->control);
	uint32_t set = flow_set_index(hash, spec->second_set,
				      spec->family == FAMILY_V4 ? SETS_V4 : SETS_V6);
	struct flow_table table = {.family = spec->family};
	struct flow_head *head;
	void *entry;

	entry = spec->family == FAMILY_V4 ? (void *)&f->v4[set] : (void *)&f->v6[set];
	while (flow_entry_head(&table, entry)->generation)
		entry = (uint8_t *)entry + FLOW_SIZE(spec->family);
	head = flow_entry_head(&table, entry);
	f->tags[spec->family == FAMILY_V6]
	       [((uint8_t *)entry -
		 (uint8_t *)(spec->family == FAMILY_V4 ? (void *)f->v4 : f->v6)) /
		FLOW_SIZE(spec->family)] = flow_tag(hash);
	memcpy(entry, t->words, FLOW_WORDS(spec->family) * sizeof(uint64_t));
	head->generation = content->generation;
	head->action = content->action;
	head->state = content->state;
	head->new_sport_be = content->new_sport_be;
	head->new_dport_be = content->new_dport_be;
	head->last = last;
	head->packets = 3;
	head->bytes = 300;
	memcpy(head + 1, content->new_saddr_be, spec->family == FAMILY_V4 ? 4 : 16);
	memcpy((uint8_t *)(head + 1) + (spec->family == FAMILY_V4 ? 4 : 16), content->new_daddr_be,
	       spec->family == FAMILY_V4 ? 4 : 16);
	return head;
}

static void words_of(const char *text, uint8_t family, __be32 *ret)
{
	struct polder_addr addr;

	if (addr_parse(text, &addr) < 0)
		abort();
	if (family == FAMILY_V4)
		ret[0] = addr.words_be[3];
	else
		memcpy(ret, &addr, sizeof(addr));
}

/* A pod's flow to a Service whose endpoint is another pod: 10.0.0.1 -> 10.96.0.1:80
 * = 10.0.0.2:8080; fd00:: for IPv6. */
static struct placed place_flow_of(struct fixture *f, const struct spec *spec, const char *pod)
{
	bool v4 = spec->family == FAMILY_V4;
	struct flow_copy out = {.generation = GENERATION,
				.action = FLOW_TO_POD,
				.state = spec->state | FLOW_TRANSLATED};
	struct flow_copy back = out;
	struct flow_tuple t = {0}, reply = {0};
	struct placed placed;

	t.proto = spec->proto;
	t.zone = ZONE_POD;
	t.sport_be = htons(spec->sport);
	t.dport_be = htons(80);
	words_of(pod, spec->family, v4 ? &t.v4.saddr_be : t.v6.saddr_be);
	words_of(v4 ? "10.96.0.1" : "fd96::1", spec->family, v4 ? &t.v4.daddr_be : t.v6.daddr_be);
	out.new_sport_be = htons(spec->sport);
	out.new_dport_be = htons(8080);
	words_of(pod, spec->family, out.new_saddr_be);
	words_of(v4 ? "10.0.0.2" : "fd00::2", spec->family, out.new_daddr_be);
	flow_reply_tuple(&t, &out, spec->family, &reply);
	back.state |= FLOW_REPLY;
	back.new_sport_be = htons(80);
	back.new_dport_be = htons(spec->sport);
	words_of(v4 ? "10.96.0.1" : "fd96::1", spec->family, back.new_saddr_be);
	words_of(pod, spec->family, back.new_daddr_be);
	placed.forward = place(f, &t, &out, spec, spec->last);
	placed.reply = place(f, &reply, &back, spec, spec->reply_last);
	return placed;
}

static struct placed place_flow(struct fixture *f, const struct spec *spec)
{
	return place_flow_of(f, spec, spec->family == FAMILY_V4 ? "10.0.0.1" : "fd00::1");
}

static bool is_free(const struct flow_head *head, uint8_t family)
{
	return !head->generation && !(head->seq & 1) &&
	       !*((const uint64_t *)head - FLOW_WORDS(family));
}

/* ---------------------------------------------------------------- tests */

static void both_directions_of_an_idle_flow_go_at_once(void)
{
	struct fixture *f = fixture_new();

	for (int second = 0; second < 2; second++)
		for (uint8_t family = FAMILY_V4; family <= FAMILY_V6; family += 2) {
			struct spec spec = {family,   IPPROTO_UDP, 0,	  LONG_AGO,
					    LONG_AGO, 4000,	   second};
			struct placed placed = place_flow(f, &spec);

			CU_ASSERT_EQUAL(collect(f), 2);
			CU_ASSERT(is_free(placed.forward, family) && is_free(placed.reply, family));
			CU_ASSERT_EQUAL(entries(f), 0);
		}
	fixture_free(f);
}

static void one_direction_in_use_keeps_both(void)
{
	struct fixture *f = fixture_new();
	struct spec spec = {FAMILY_V4, IPPROTO_UDP, FLOW_ESTABLISHED, LONG_AGO, NOW - 10,
			    4000,      false};
	struct placed placed = place_flow(f, &spec);

	CU_ASSERT_EQUAL(collect(f), 0);
	CU_ASSERT(placed.forward->generation && placed.reply->generation);
	CU_ASSERT_EQUAL(entries(f), 2);
	placed.reply->last = NOW - FLOW_TIMEOUT_STREAM - 1;
	CU_ASSERT_EQUAL(collect(f), 2);
	fixture_free(f);
}

static void time_outs_are_those_of_the_flows_state(void)
{
	static const struct {
		uint8_t proto;
		uint16_t state;
		uint32_t timeout;
	} cases[] = {
		{IPPROTO_TCP, 0, FLOW_TIMEOUT_TCP_NEW},
		{IPPROTO_TCP, FLOW_ESTABLISHED, FLOW_TIMEOUT_TCP_ESTABLISHED},
		{IPPROTO_TCP, FLOW_ESTABLISHED | FLOW_RESET, FLOW_TIMEOUT_TCP_RESET},
		{IPPROTO_TCP, FLOW_FIN_ORIG | FLOW_ESTABLISHED, FLOW_TIMEOUT_TCP_ESTABLISHED},
		{IPPROTO_TCP, FLOW_FIN_ORIG | FLOW_FIN_REPLY, FLOW_TIMEOUT_TCP_WAIT},
		{IPPROTO_UDP, 0, FLOW_TIMEOUT_DATAGRAM},
		{IPPROTO_UDP, FLOW_REPLIED, FLOW_TIMEOUT_DATAGRAM},
		{IPPROTO_UDP, FLOW_REPLIED | FLOW_ESTABLISHED, FLOW_TIMEOUT_STREAM},
		{IPPROTO_SCTP, FLOW_REPLIED | FLOW_ESTABLISHED, FLOW_TIMEOUT_SCTP_ESTABLISHED},
		{IPPROTO_GRE, FLOW_REPLIED, FLOW_TIMEOUT_OTHER},
		{IPPROTO_ICMP, FLOW_REPLIED, FLOW_TIMEOUT_DATAGRAM},
	};
	struct fixture *f = fixture_new();

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint32_t last = NOW - cases[i].timeout;
		struct spec spec = {FAMILY_V4, cases[i].proto, cases[i].state, last,
				    last,      4000,	       false};
		struct placed placed = place_flow(f, &spec);

		CU_ASSERT_EQUAL(collect(f), 0);
		placed.forward->last--;
		placed.reply->last--;
		CU_ASSERT_EQUAL(collect(f), 2);
	}
	fixture_free(f);
}

static void what_one_direction_knows_of_the_end_holds_for_both(void)
{
	struct fixture *f = fixture_new();
	uint32_t last = NOW - FLOW_TIMEOUT_TCP_WAIT - 1;
	struct spec spec = {FAMILY_V6, IPPROTO_TCP, FLOW_ESTABLISHED, last, last, 4000, false};
	struct placed placed = place_flow(f, &spec);

	placed.reply->state |= FLOW_FIN_ORIG | FLOW_FIN_REPLY;
	CU_ASSERT_EQUAL(collect(f), 2);
	CU_ASSERT(is_free(placed.forward, FAMILY_V6));
	fixture_free(f);
}

static void a_use_after_the_scan_began_is_no_use_of_long_ago(void)
{
	struct fixture *f = fixture_new();
	struct spec spec = {FAMILY_V4, IPPROTO_UDP, 0, NOW + 2, NOW + 2, 4000, false};

	place_flow(f, &spec);
	CU_ASSERT_EQUAL(collect(f), 0);
	fixture_free(f);
}

static void an_entry_without_its_other_direction_goes_alone(void)
{
	struct fixture *f = fixture_new();
	struct spec spec = {FAMILY_V4, IPPROTO_UDP, 0, LONG_AGO, NOW, 4000, false};
	struct placed placed = place_flow(f, &spec);

	/* The reply's tuple belongs to another flow by now. */
	((struct flow4 *)((uint64_t *)placed.reply - FLOW_WORDS_V4))->new_daddr_be =
		htonl(0x0a000063);
	CU_ASSERT_EQUAL(collect(f), 1);
	CU_ASSERT(is_free(placed.forward, FAMILY_V4));
	CU_ASSERT(placed.reply->generation == GENERATION);
	fixture_free(f);
}

static void an_entry_a_writer_is_at_is_left_alone(void)
{
	struct fixture *f = fixture_new();
	struct spec spec = {FAMILY_V4, IPPROTO_UDP, 0, LONG_AGO, LONG_AGO, 4000, false};
	struct placed placed = place_flow(f, &spec);

	placed.reply->seq++;
	CU_ASSERT_EQUAL(collect(f), 0);
	CU_ASSERT(placed.forward->generation && placed.reply->generation);
	CU_ASSERT(!(placed.forward->seq & 1));
	placed.reply->seq++;
	CU_ASSERT_EQUAL(collect(f), 2);
	fixture_free(f);
}

static void an_entry_whose_writer_died_is_freed(void)
{
	struct fixture *f = fixture_new();
	struct spec spec = {FAMILY_V6, IPPROTO_TCP, FLOW_ESTABLISHED, NOW, NOW, 4000, false};
	struct placed placed = place_flow(f, &spec);
	struct flows_stats stats;

	placed.forward->seq += 5;
	collect(f);
	collect(f);
	CU_ASSERT(placed.forward->generation); /* too early to tell */
	clock_ns += 1050000000;
	placed.reply->seq += 3;
	collect(f);
	flows_stats(f->flows, &stats);
	CU_ASSERT_EQUAL(stats.repaired, 1);
	CU_ASSERT(is_free(placed.forward, FAMILY_V6));
	CU_ASSERT(placed.reply->generation && placed.reply->seq & 1);
	fixture_free(f);
}

static void a_writer_that_moves_is_alive(void)
{
	struct fixture *f = fixture_new();
	struct spec spec = {FAMILY_V4, IPPROTO_TCP, FLOW_ESTABLISHED, NOW, NOW, 4000, false};
	struct placed placed = place_flow(f, &spec);
	struct flows_stats stats;

	placed.forward->seq++;
	collect(f);
	clock_ns += 1050000000;
	placed.forward->seq += 2; /* it has written, and writes again */
	collect(f);
	flows_stats(f->flows, &stats);
	CU_ASSERT_EQUAL(stats.repaired, 0);
	CU_ASSERT(placed.forward->generation);
	fixture_free(f);
}

static uint64_t touch(struct fixture *f, const struct flows_touched *touched, bool forgotten)
{
	struct flows_stats before, after;

	flows_stats(f->flows, &before);
	CU_ASSERT(flows_touch(f->flows, touched));
	flows_stats(f->flows, &after);
	return forgotten ? after.forgotten - before.forgotten : after.doubted - before.doubted;
}

static uint64_t forget(struct fixture *f, const struct polder_addr *addr)
{
	struct flows_touched touched = {};
	uint64_t freed;

	CU_ASSERT_FATAL(address_set_add(&touched.left, addr) == 0);
	freed = touch(f, &touched, true);
	address_set_clear(&touched.left);
	return freed;
}

static uint64_t doubt(struct fixture *f, const struct polder_addr *addr)
{
	struct flows_touched touched = {};
	uint64_t doubted;

	CU_ASSERT_FATAL(address_set_add(&touched.changed, addr) == 0);
	doubted = touch(f, &touched, false);
	address_set_clear(&touched.changed);
	return doubted;
}

static void an_address_is_forgotten_wherever_it_stands(void)
{
	static const char *const named[] = {"10.0.0.1", "10.0.0.2", "10.96.0.1", "fd00::2"};
	struct fixture *f = fixture_new();

	for (size_t i = 0; i < sizeof(named) / sizeof(*named); i++) {
		struct polder_addr addr, other;
		uint8_t family = strchr(named[i], ':') ? FAMILY_V6 : FAMILY_V4;
		struct spec spec = {family, IPPROTO_TCP, FLOW_ESTABLISHED, NOW, NOW, 4000, false};
		struct placed placed = place_flow(f, &spec);

		addr_parse(named[i], &addr);
		addr_parse(family == FAMILY_V4 ? "10.0.0.3" : "fd00::3", &other);
		CU_ASSERT_EQUAL(forget(f, &other), 0);
		CU_ASSERT_EQUAL(forget(f, &addr), 2);
		CU_ASSERT(is_free(placed.forward, family) && is_free(placed.reply, family));
	}
	fixture_free(f);
}

static void flows_of_a_changed_address_are_reevaluated_and_keep_what_they_are(void)
{
	static const char *const named[] = {"10.0.0.1", "10.0.0.2", "10.96.0.1", "fd00::2"};
	struct fixture *f = fixture_new();

	for (size_t i = 0; i < sizeof(named) / sizeof(*named); i++) {
		struct polder_addr addr, other;
		uint8_t family = strchr(named[i], ':') ? FAMILY_V6 : FAMILY_V4;
		struct spec spec = {family,   IPPROTO_TCP, FLOW_ESTABLISHED, NOW, NOW,
				    4000 + i, false};
		struct placed placed = place_flow(f, &spec);
		uint32_t seq = placed.forward->seq;

		addr_parse(named[i], &addr);
		addr_parse(family == FAMILY_V4 ? "10.0.0.3" : "fd00::3", &other);
		CU_ASSERT_EQUAL(doubt(f, &other), 0);
		CU_ASSERT(placed.forward->generation == GENERATION &&
			  placed.reply->generation == GENERATION);
		CU_ASSERT_EQUAL(doubt(f, &addr), 2);
		CU_ASSERT(placed.forward->generation == FLOW_GENERATION_DOUBTED);
		CU_ASSERT(placed.reply->generation == FLOW_GENERATION_DOUBTED);
		CU_ASSERT(placed.forward->state & FLOW_ESTABLISHED && placed.forward->seq == seq);
		/* An entry that is out of date already is left alone. */
		CU_ASSERT_EQUAL(doubt(f, &addr), 0);
		CU_ASSERT_EQUAL(forget(f, &addr), 2);
	}
	fixture_free(f);
}

#define LEAVING 256

/* Pods that go at once share one look; a flow between two of them is counted once. */
static void flows_of_many_pods_are_forgotten_in_one_look_and_no_others(void)
{
	static char names[2][2 * LEAVING][24];
	static struct placed placed[2][2 * LEAVING];
	struct flows_touched touched = {};
	struct fixture *f = fixture_new();

	for (int v6 = 0; v6 < 2; v6++)
		for (int i = 0; i < 2 * LEAVING; i++) {
			struct spec spec = {v6 ? FAMILY_V6 : FAMILY_V4,
					    IPPROTO_TCP,
					    FLOW_ESTABLISHED,
					    NOW,
					    NOW,
					    4000 + i,
					    i & 1};
			struct polder_addr addr;

			snprintf(names[v6][i], sizeof(names[v6][i]),
				 v6 ? "fd00:%d::%x" : "10.%d.0.%d", 1 + i / 256, i % 256);
			placed[v6][i] = place_flow_of(f, &spec, names[v6][i]);
			addr_parse(names[v6][i], &addr);
			/* Every second one leaves. */
			if (i & 1)
				CU_ASSERT_FATAL(address_set_add(&touched.left, &addr) == 0);
		}
	CU_ASSERT_EQUAL(touched.left.count, 2 * LEAVING);
	CU_ASSERT_EQUAL(touched.left.v4_count, LEAVING);
	CU_ASSERT_EQUAL(touch(f, &touched, true), 2 * 2 * LEAVING);
	for (int v6 = 0; v6 < 2; v6++)
		for (int i = 0; i < 2 * LEAVING; i++) {
			uint8_t family = v6 ? FAMILY_V6 : FAMILY_V4;
			const struct placed *p = &placed[v6][i];

			if (i & 1)
				CU_ASSERT(is_free(p->forward, family) && is_free(p->reply, family))
			else
				CU_ASSERT(p->forward->generation == GENERATION &&
					  p->reply->generation == GENERATION)
		}
	address_set_clear(&touched.left);
	fixture_free(f);
}

static void one_flow_is_forgotten_and_no_other(void)
{
	struct fixture *f = fixture_new();

	for (uint8_t family = FAMILY_V4; family <= FAMILY_V6; family += 2) {
		struct spec spec = {family, IPPROTO_TCP, FLOW_ESTABLISHED, NOW, NOW, 3999, false};
		struct placed kept = place_flow(f, &spec);

		/* Most pairs stand far apart: no window holds both. */
		for (spec.sport = 4000; spec.sport < 4064; spec.sport++) {
			struct placed placed = place_flow(f, &spec);
			struct flow_tuple tuple = {0};

			memcpy(tuple.words, (uint64_t *)placed.forward - FLOW_WORDS(family),
			       FLOW_WORDS(family) * sizeof(uint64_t));
			CU_ASSERT_EQUAL(flows_delete_flow(f->flows, family, &tuple), 2);
			CU_ASSERT(is_free(placed.forward, family) && is_free(placed.reply, family));
			CU_ASSERT_EQUAL(flows_delete_flow(f->flows, family, &tuple), 0);
		}
		CU_ASSERT(kept.forward->generation && kept.reply->generation);
	}
	fixture_free(f);
}

static void counts_outlive_their_flows(void)
{
	struct fixture *f = fixture_new();
	struct spec spec = {FAMILY_V4, IPPROTO_UDP, 0, NOW, NOW, 4000, false};
	struct placed placed = place_flow(f, &spec);
	struct flows_stats stats;

	collect(f);
	flows_stats(f->flows, &stats);
	CU_ASSERT_EQUAL(stats.packets, 6);
	CU_ASSERT_EQUAL(stats.bytes, 600);
	placed.forward->last = placed.reply->last = LONG_AGO;
	placed.forward->packets = 10;
	collect(f);
	flows_stats(f->flows, &stats);
	CU_ASSERT_EQUAL(stats.packets, 13);
	collect(f);
	flows_stats(f->flows, &stats);
	CU_ASSERT_EQUAL(stats.packets, 13);
	CU_ASSERT_EQUAL(stats.bytes, 600);
	fixture_free(f);
}

static void a_scan_in_slices_does_what_one_in_one_go_does(void)
{
	struct fixture *f = fixture_new();
	struct flows_stats stats;
	int slices = 1;

	for (uint16_t port = 1; port <= 2000; port++) {
		struct spec spec = {FAMILY_V4, IPPROTO_UDP, 0, LONG_AGO, LONG_AGO, port, port & 1};

		place_flow(f, &spec);
	}
	while (!flows_collect(f->flows, NOW, 1))
		slices++;
	flows_stats(f->flows, &stats);
	CU_ASSERT(slices > 10);
	CU_ASSERT_EQUAL(stats.expired, 4000);
	CU_ASSERT_EQUAL(entries(f), 0);
	CU_ASSERT_EQUAL(stats.packets, 12000);
	fixture_free(f);
}

static bool count_one(const struct flow_record *record, void *data)
{
	CU_ASSERT_EQUAL(record->flow.packets, 3);
	++*(size_t *)data;
	return true;
}

static void lists_at_most_as_many_as_asked_for(void)
{
	struct fixture *f = fixture_new();
	size_t all = 0, some = 0;

	for (uint16_t port = 1; port <= 50; port++) {
		struct spec spec = {
			port & 1 ? FAMILY_V4 : FAMILY_V6, IPPROTO_UDP, 0, NOW, NOW, port, false};

		place_flow(f, &spec);
	}
	flows_list(f->flows, 0, count_one, &all);
	flows_list(f->flows, 7, count_one, &some);
	CU_ASSERT_EQUAL(all, 100);
	CU_ASSERT_EQUAL(some, 7);
	fixture_free(f);
}

struct seen {
	uv_loop_t loop;
	size_t count;
	pthread_t thread;
	int result;
};

static bool see_one(const struct flow_record *record, void *data)
{
	struct seen *seen = data;

	(void)record;
	seen->count++;
	seen->thread = pthread_self();
	return true;
}

static void on_seen(struct flows_scan *scan, int result)
{
	((struct seen *)scan->data)->result = result;
}

static void a_scan_sees_all_flows_in_another_thread(void)
{
	struct fixture *f = fixture_new();
	struct seen seen = {.result = 1};
	struct flows_scan scan = {
		.maps = f->maps, .visit = see_one, .done = on_seen, .data = &seen};

	for (uint16_t port = 1; port <= 50; port++) {
		struct spec spec = {
			port & 1 ? FAMILY_V4 : FAMILY_V6, IPPROTO_UDP, 0, NOW, NOW, port, false};

		place_flow(f, &spec);
	}
	CU_ASSERT_FATAL(uv_loop_init(&seen.loop) == 0);
	CU_ASSERT_FATAL(flows_scan_start(&seen.loop, &scan) == 0);
	CU_ASSERT_EQUAL(seen.result, 1);
	uv_run(&seen.loop, UV_RUN_DEFAULT);
	CU_ASSERT_EQUAL(seen.result, 0);
	CU_ASSERT_EQUAL(seen.count, 100);
	CU_ASSERT(!pthread_equal(seen.thread, pthread_self()));
	uv_loop_close(&seen.loop);
	fixture_free(f);
}

/* ---------------------------------------------------------------- beside a writer */

struct writer {
	struct fixture *fixture;
	bool stop;
	uint64_t written;
};

/* Fills the first entry of one set again and again, as flow_write() does: all words of an entry
 * tell one number. */
static void *write_on(void *data)
{
	struct writer *writer = data;
	struct flow4 *flow = &writer->fixture->v4[17].way[3];

	for (uint32_t n = 1; !__atomic_load_n(&writer->stop, __ATOMIC_RELAXED); n++) {
		uint32_t seq = __atomic_load_n(&flow->head.seq, __ATOMIC_RELAXED);
		struct flow_tuple t = {0};

		if (!flow_entry_claim(&flow->head, seq))
			continue;
		t.proto = IPPROTO_UDP;
		t.v4.saddr_be = n;
		t.v4.daddr_be = ~n;
		memcpy(flow->key, t.words, sizeof(flow->key));
		flow->new_saddr_be = n;
		flow->new_daddr_be = ~n;
		flow->head.last = LONG_AGO;
		flow->head.packets = n;
		flow->head.bytes = n;
		flow->head.generation = GENERATION;
		flow_entry_release(&flow->head);
		writer->written++;
		sched_yield();
	}
	return NULL;
}

static bool check_one(const struct flow_record *record, void *data)
{
	const struct flow_snapshot *flow = &record->flow;
	uint32_t n = flow->tuple.v4.saddr_be;

	++*(size_t *)data;
	CU_ASSERT_FATAL(flow->tuple.v4.daddr_be == ~n && flow->content.new_saddr_be[0] == n &&
			flow->content.new_daddr_be[0] == ~n && flow->packets == n &&
			flow->bytes == n);
	return true;
}

static void beside_a_writer_no_entry_is_torn_or_lost(void)
{
	struct fixture *f = fixture_new();
	struct writer writer = {.fixture = f};
	struct flows_stats stats;
	pthread_t thread;
	size_t seen = 0;

	CU_ASSERT_FATAL(pthread_create(&thread, NULL, write_on, &writer) == 0);
	for (int i = 0; i < 200; i++) {
		flows_list(f->flows, 0, check_one, &seen);
		collect(f);
	}
	__atomic_store_n(&writer.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	collect(f);
	flows_stats(f->flows, &stats);
	CU_ASSERT(seen > 0 && stats.expired > 0 && stats.expired <= writer.written);
	CU_ASSERT(is_free(&f->v4[17].way[3].head, FAMILY_V4));
	CU_ASSERT_EQUAL(stats.repaired, 0);
	fixture_free(f);
}

/* ---------------------------------------------------------------- in the loop */

static bool has_passed(void *data)
{
	struct flows_stats stats;

	flows_stats(data, &stats);
	return stats.scans >= 1 && stats.last_scan_seconds > 0;
}

static void runs_in_the_loop_and_ends_with_it(void)
{
	struct fixture *f = fixture_new();
	uv_loop_t loop;

	uv_loop_init(&loop);
	CU_ASSERT_FATAL(flows_start(f->flows, &loop) == 0);
	CU_ASSERT(unit_wait(&loop, has_passed, f->flows, 2000));
	flows_stop(f->flows, NULL, NULL);
	unit_end_loop(&loop);
	fixture_free(f);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(both_directions_of_an_idle_flow_go_at_once),
		UNIT_TEST(one_direction_in_use_keeps_both),
		UNIT_TEST(time_outs_are_those_of_the_flows_state),
		UNIT_TEST(what_one_direction_knows_of_the_end_holds_for_both),
		UNIT_TEST(a_use_after_the_scan_began_is_no_use_of_long_ago),
		UNIT_TEST(an_entry_without_its_other_direction_goes_alone),
		UNIT_TEST(an_entry_a_writer_is_at_is_left_alone),
		UNIT_TEST(an_entry_whose_writer_died_is_freed),
		UNIT_TEST(a_writer_that_moves_is_alive),
		UNIT_TEST(an_address_is_forgotten_wherever_it_stands),
		UNIT_TEST(flows_of_a_changed_address_are_reevaluated_and_keep_what_they_are),
		UNIT_TEST(flows_of_many_pods_are_forgotten_in_one_look_and_no_others),
		UNIT_TEST(one_flow_is_forgotten_and_no_other),
		UNIT_TEST(counts_outlive_their_flows),
		UNIT_TEST(a_scan_in_slices_does_what_one_in_one_go_does),
		UNIT_TEST(lists_at_most_as_many_as_asked_for),
		UNIT_TEST(a_scan_sees_all_flows_in_another_thread),
		UNIT_TEST(beside_a_writer_no_entry_is_torn_or_lost),
		UNIT_TEST(runs_in_the_loop_and_ends_with_it),
	};

	return UNIT_RUN("flows", tests);
}
