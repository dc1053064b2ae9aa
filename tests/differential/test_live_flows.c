/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which live flows a change has re-evaluated: those that it concerns, at once, and no others.
 * Changes are put in force by the agent's own passes, packets go through the loaded programs; in
 * the last test they do so while the slots switch and the flow table is looked through.
 */
#include <CUnit/Basic.h>
#include <linux/pkt_cls.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/reconcile/touched.h"
#include "tests/differential/datagram.h"
#include "tests/differential/harness.h"
#include "tests/differential/sandbox_pods.h"

#define PORT	    5000
#define RACE_ROUNDS 500
#define RACE_FLOWS                                                                                 \
	64 /* places: a look is over before a program that ran during the switch may have written  \
	    */

#define META(namespace, name) "'metadata':{'namespace':'" namespace "','name':'" name "'}"
#define NAMESPACE(name, labels)                                                                    \
	"{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'" name "','labels':{" labels    \
	"}}}"
#define POLICY(namespace, name, from)                                                              \
	"{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy'," META(                       \
		namespace, name) ",'spec':{'podSelector':{},'ingress':[{'from':[" from "]}]}}"
/* Of no pod that there is. */
#define ALWAYS	      POLICY("c", "always", PODS("'t':'client'") "," PODS("'t':'nobody'"))
#define PODS(label)   "{'podSelector':{'matchLabels':{" label "}}}"
#define SPACES(label) "{'namespaceSelector':{'matchLabels':{" label "}}}"
#define SERVICE(name, v4, v6)                                                                      \
	"{'apiVersion':'v1','kind':'Service'," META(                                               \
		"b", name) ",'spec':{'clusterIPs':['" v4 "','" v6                                  \
			   "'],'ports':[{'name':'p','protocol':'UDP','port':5000}]}}"
#define SLICE(service, family, endpoints)                                                          \
	"{'apiVersion':'discovery.k8s.io/"                                                         \
	"v1','kind':'EndpointSlice','metadata':{'namespace':'b','name':'" service "-" family       \
	"','labels':{'kubernetes.io/service-name':'" service "'}},'addressType':'" family          \
	"','endpoints':[" endpoints "],'ports':[{'name':'p','protocol':'UDP','port':5000}]}"
#define AT(address)		"{'addresses':['" address "']}"
#define SLICES(service, v4, v6) "[" SLICE(service, "IPv4", v4) "," SLICE(service, "IPv6", v6) "]"

enum pod { CLIENT_A, SERVER_A, CLIENT_B, SERVER_B, SECOND_B, POD_COUNT };
static const struct {
	const char *namespace, *name;
} pods[POD_COUNT] = {
	{"a", "client"}, {"a", "server"}, {"b", "client"}, {"b", "server"}, {"b", "second"}};

static const char *const service_one[2] = {"fd00:96::1", "10.96.0.1"};
static const char *const outside[2] = {"2001:db8::9", "203.0.113.9"};

static struct harness node;
static struct sandbox *sandbox;

#define EACH_FAMILY(v4) for (int v4 = 0; v4 < 2; v4++)

static uint32_t generation(void)
{
	return maps_control(sandbox_maps(sandbox))->generation;
}

static void put(const char *text)
{
	sandbox_put_text(sandbox, text);
}

static void reconcile(void)
{
	bool again;

	if (sandbox_run(sandbox, &again) < 0)
		sandbox_give_up("run", "it failed");
}

static void put_in_force(const char *text)
{
	put(text);
	reconcile();
}

/* What is said of flows is said behind the first look, and again behind the second, which cannot
 * tell what the first has seen to. */
#define BOTH_LOOKS(look)                                                                           \
	for (int look = 0; look < 2; look++, look == 1 ? (void)sandbox_commit(sandbox) : (void)0)

static void begin(void)
{
	if (sandbox_clear(sandbox) < 0)
		sandbox_give_up("clear", "it failed");
	for (int i = 0; i < POD_COUNT; i++)
		sandbox_attach_pod(sandbox, i, pods[i].namespace, pods[i].name);
	reconcile();
	sandbox_commit(sandbox);
}

/* ---------------------------------------------------------------- packets */

struct path {
	enum pod from;
	struct polder_addr to;
	bool v4;
};

static struct path path_to(enum pod from, const char *to, bool v4)
{
	struct path path = {.from = from, .v4 = v4};

	addr_parse(to, &path.to);
	return path;
}

static struct path path_to_pod(enum pod from, enum pod to, bool v4)
{
	struct path path = {.from = from, .v4 = v4};

	sandbox_pod_address(to, v4, &path.to);
	return path;
}

static void packet_make(struct datagram *datagram, struct test_packet *packet,
			const struct path *path, uint16_t sport)
{
	struct polder_addr source;
	uint8_t mac[6];

	sandbox_pod_address(path->from, path->v4, &source);
	sandbox_pod_mac(path->from, mac);
	datagram_make(datagram, mac, pods_gateway_mac, &source, &path->to, PORT);
	datagram_set_sport(datagram, sport);
	*packet = (struct test_packet){.hook = DATAPATH_FROM_POD,
				       .link = HARNESS_FIRST_POD + path->from,
				       .ingress = HARNESS_FIRST_POD + path->from,
				       .frame = datagram->frame,
				       .length = datagram->length};
}

struct outcome {
	bool evaluated, passed;
	int pod; /* that it arrives at; -1: none */
};

static struct outcome send_packet(const struct path *path, uint16_t sport)
{
	static struct test_result result;
	struct outcome outcome = {.pod = -1};
	struct test_packet packet;
	struct datagram datagram;
	uint8_t mac[6];

	packet_make(&datagram, &packet, path, sport);
	if (test_run(sandbox_test_run(sandbox), &packet, &result) < 0)
		sandbox_give_up("packet", "the program cannot be run");
	outcome.evaluated = result.evaluated;
	outcome.passed = result.verdict == TC_ACT_REDIRECT;
	for (int i = 0; i < POD_COUNT && outcome.passed; i++) {
		sandbox_pod_mac(i, mac);
		if (memcmp(result.frame, mac, 6) == 0)
			outcome.pod = i;
	}
	return outcome;
}

static bool passes_by_fast_path(const struct path *path, uint16_t sport)
{
	struct outcome outcome = send_packet(path, sport);

	return outcome.passed && !outcome.evaluated;
}

static bool passes_by_slow_path(const struct path *path, uint16_t sport)
{
	struct outcome outcome = send_packet(path, sport);

	return outcome.passed && outcome.evaluated;
}

/* A live flow: the first packet is evaluated, the next one is not. */
static void open_flow(const struct path *path, uint16_t sport)
{
	CU_ASSERT(passes_by_slow_path(path, sport));
	CU_ASSERT(passes_by_fast_path(path, sport));
}

/* ---------------------------------------------------------------- policy */

static void a_policy_has_flows_of_its_pods_reevaluated_and_no_others(void)
{
	uint32_t before;

	begin();
	/* What policies name of a pod is its identity: a first one that names a label has its pods'
	 * flows re-evaluated. */
	put_in_force(ALWAYS);
	sandbox_commit(sandbox);
	before = generation();
	EACH_FAMILY(v4)
	{
		struct path mine = path_to_pod(CLIENT_A, SERVER_A, v4),
			    other = path_to_pod(CLIENT_B, SERVER_B, v4);

		open_flow(&mine, 1000);
		open_flow(&other, 1000);
		put_in_force(POLICY("a", "p", PODS("'t':'client'")));
		BOTH_LOOKS(look)
		{
			CU_ASSERT(passes_by_slow_path(&mine, 1000));
			CU_ASSERT(passes_by_fast_path(&other, 1000));
		}
		put_in_force(POLICY("a", "p", PODS("'t':'nobody'")));
		BOTH_LOOKS(look)
		{
			CU_ASSERT(!send_packet(&mine, 1000).passed);
			CU_ASSERT(passes_by_fast_path(&other, 1000));
		}
		sandbox_delete(sandbox, OBJECT_NETWORK_POLICY, "a", "p");
		reconcile();
		CU_ASSERT(passes_by_slow_path(&mine, 1000));
		CU_ASSERT(passes_by_fast_path(&other, 1000));
		sandbox_commit(sandbox);
	}
	CU_ASSERT_EQUAL(generation(), before);
}

/*
 * Pods of another namespace have the label all the time: the rule sets keep their numbers, only the
 * class of this one's pods in them changes.
 */
static void labels_of_a_namespace_have_flows_to_pods_that_ask_for_them_reevaluated(void)
{
	uint32_t before;

	begin();
	put("[" NAMESPACE("a", "'env':'a'") "," NAMESPACE("b", "'env':'a'") "," POLICY(
		"b", "p", SPACES("'env':'a'")) "]");
	reconcile();
	sandbox_commit(sandbox);
	before = generation();
	EACH_FAMILY(v4)
	{
		struct path mine = path_to_pod(CLIENT_A, SERVER_B, v4),
			    other = path_to_pod(CLIENT_A, SERVER_A, v4);

		open_flow(&mine, 1000);
		open_flow(&other, 1000);
		put_in_force(NAMESPACE("a", "'env':'b'"));
		BOTH_LOOKS(look)
		{
			CU_ASSERT(!send_packet(&mine, 1000).passed);
			CU_ASSERT(passes_by_fast_path(&other, 1000));
		}
		put_in_force(NAMESPACE("a", "'env':'a'"));
		CU_ASSERT(passes_by_slow_path(&mine, 1000));
		CU_ASSERT(passes_by_fast_path(&other, 1000));
		sandbox_commit(sandbox);
	}
	CU_ASSERT_EQUAL(generation(), before);
}

/* ---------------------------------------------------------------- Services */

static void put_services(void)
{
	put("[" SERVICE("one", "10.96.0.1", "fd00:96::1") "," SERVICE("two", "10.96.0.2",
								      "fd00:96::2") "]");
	put(SLICES("one", AT("10.1.0.13") "," AT("10.1.0.14"),
		   AT("fd00:1::13") "," AT("fd00:1::14")));
	put(SLICES("two", AT("10.1.0.11"), AT("fd00:1::11")));
	reconcile();
	sandbox_commit(sandbox);
}

static void endpoints_of_another_service_have_no_flow_reevaluated(void)
{
	uint32_t before;

	begin();
	put_services();
	before = generation();
	EACH_FAMILY(v4)
	{
		struct path mine = path_to(CLIENT_B, service_one[v4], v4);

		open_flow(&mine, 1000);
		for (int i = 0; i < 6; i++) {
			put_in_force(i & 1 ? SLICES("two", AT("10.1.0.11"), AT("fd00:1::11"))
					   : SLICES("two", AT("10.1.0.10"), AT("fd00:1::10")));
			BOTH_LOOKS(look)
			CU_ASSERT(passes_by_fast_path(&mine, 1000));
		}
	}
	CU_ASSERT_EQUAL(generation(), before);
}

#define SPREAD 32 /* flows: to each of two endpoints go some */

static void an_endpoint_that_goes_has_its_own_flows_reevaluated(void)
{
	uint32_t before;

	begin();
	put_services();
	before = generation();
	EACH_FAMILY(v4)
	{
		struct path mine = path_to(CLIENT_B, service_one[v4], v4);
		int at[SPREAD], count[POD_COUNT] = {};

		for (int i = 0; i < SPREAD; i++) {
			open_flow(&mine, 1000 + i);
			at[i] = send_packet(&mine, 1000 + i).pod;
			CU_ASSERT_FATAL(at[i] == SERVER_B || at[i] == SECOND_B);
			count[at[i]]++;
		}
		CU_ASSERT(count[SERVER_B] && count[SECOND_B]);
		put_in_force(SLICES("one", AT("10.1.0.13"), AT("fd00:1::13")));
		for (int i = 0; i < SPREAD; i++) {
			struct outcome outcome = send_packet(&mine, 1000 + i);

			CU_ASSERT(outcome.evaluated == (at[i] == SECOND_B) &&
				  outcome.pod == SERVER_B);
		}
		sandbox_commit(sandbox);
		/* One that comes concerns none. */
		put_in_force(SLICES("one", AT("10.1.0.13") "," AT("10.1.0.14"),
				    AT("fd00:1::13") "," AT("fd00:1::14")));
		for (int i = 0; i < SPREAD; i++)
			CU_ASSERT(passes_by_fast_path(&mine, 1000 + i));
		sandbox_commit(sandbox);
	}
	CU_ASSERT_EQUAL(generation(), before);
}

static void a_service_that_comes_or_goes_has_flows_to_its_address_reevaluated(void)
{
	uint32_t before;

	begin();
	before = generation();
	EACH_FAMILY(v4)
	{
		struct path mine = path_to(CLIENT_A, outside[v4], v4),
			    other = path_to_pod(CLIENT_B, SERVER_B, v4);

		open_flow(&mine, 1000);
		open_flow(&other, 1000);
		put(SERVICE("three", "203.0.113.9", "2001:db8::9"));
		put_in_force(SLICES("three", AT("10.1.0.11"), AT("fd00:1::11")));
		BOTH_LOOKS(look)
		{
			CU_ASSERT_EQUAL(send_packet(&mine, 1000).pod, SERVER_A);
			CU_ASSERT(passes_by_fast_path(&other, 1000));
		}
		sandbox_delete(sandbox, OBJECT_SERVICE, "b", "three");
		reconcile();
		CU_ASSERT(send_packet(&mine, 1000).pod != SERVER_A);
		CU_ASSERT(passes_by_fast_path(&other, 1000));
		sandbox_commit(sandbox);
	}
	CU_ASSERT_EQUAL(generation(), before);
}

/* ---------------------------------------------------------------- flows that are written while the
 * table is looked through */

struct race {
	struct test_packet packets[2];
	struct datagram datagrams[2];
	struct test_result result;
	atomic_bool stop;
	uint64_t sent;
};

/* Each packet opens a flow, and so is evaluated. */
static void *open_flows(void *data)
{
	struct race *race = data;

	for (; !atomic_load(&race->stop); race->sent++) {
		datagram_set_sport(&race->datagrams[race->sent & 1],
				   1024 + (race->sent >> 1) % 60000);
		if (test_run_program(sandbox_datapath(sandbox), &race->packets[race->sent & 1],
				     &race->result) < 0)
			sandbox_give_up("packet", "the program cannot be run");
	}
	return NULL;
}

struct stale {
	struct polder_addr addrs[2]; /* of the pod that is closed now */
	size_t count;
};

static bool names(const struct stale *stale, const struct flow_record *record)
{
	const struct flow_tuple *t = &record->flow.tuple;

	if (record->family == FAMILY_V4)
		return t->v4.saddr_be == stale->addrs[1].words_be[3] ||
		       t->v4.daddr_be == stale->addrs[1].words_be[3];
	return memcmp(t->v6.saddr_be, &stale->addrs[0], 16) == 0 ||
	       memcmp(t->v6.daddr_be, &stale->addrs[0], 16) == 0;
}

static bool count_stale(const struct flow_record *record, void *data)
{
	struct stale *stale = data;

	stale->count += record->flow.content.generation == generation() && names(stale, record);
	return true;
}

/* Of both slots: in the first one the pod is open, in the second it is closed. */
static void close_in_second_slot(enum pod pod)
{
	uint32_t index = maps_pod_index(sandbox_maps(sandbox), HARNESS_FIRST_POD + pod);
	struct pod_entry entry;

	CU_ASSERT_FATAL(maps_find(sandbox_maps(sandbox), MAP_PODS, &index, &entry) == 0);
	entry.ingress_rules[0] = RULESET_OPEN;
	entry.ingress_rules[1] = RULESET_CLOSED;
	CU_ASSERT_FATAL(maps_put(sandbox_maps(sandbox), MAP_PODS, &index, &entry) == 0);
	if (maps_slot(sandbox_maps(sandbox)))
		maps_switch_slots(sandbox_maps(sandbox));
}

/* As a pass does and what follows it, with nothing in between. */
static void switch_and_look(struct touched *touched, const struct stale *closed)
{
	maps_switch_slots(sandbox_maps(sandbox));
	touched_change(touched, &closed->addrs[0]);
	touched_change(touched, &closed->addrs[1]);
	touched_look(touched);
	touched_mark(touched);
	CU_ASSERT_FATAL(maps_wait_for_programs(sandbox_maps(sandbox)) == 0);
	touched_second_look(touched);
}

static uint64_t doubted(struct flows *flows)
{
	struct flows_stats stats;

	flows_stats(flows, &stats);
	return stats.doubted;
}

static void open_sandbox(const struct config *config)
{
	char message[HARNESS_ERROR];

	if (sandbox_open(config, &node.node, NULL, &sandbox, message, sizeof(message)) < 0)
		sandbox_give_up("sandbox_open", message);
	sandbox_share(sandbox);
}

static void no_flow_holds_what_was_evaluated_by_the_slot_of_before(void)
{
	static struct race race;
	static struct config small;
	struct stale stale = {};
	struct flows_maps tables;
	struct touched *touched;
	struct flows *flows;
	pthread_t sender;
	uint32_t before;

	sandbox_close(sandbox);
	small = node.config;
	small.flows_v4 = small.flows_v6 = RACE_FLOWS;
	open_sandbox(&small);
	tables = flows_maps_of(sandbox_maps(sandbox));
	flows = flows_new(&tables);
	touched = touched_new(sandbox_maps(sandbox), flows);
	CU_ASSERT_FATAL(flows && touched);
	begin();
	close_in_second_slot(SERVER_A);
	before = generation();
	EACH_FAMILY(v4)
	{
		struct path path = path_to_pod(CLIENT_A, SERVER_A, v4);

		stale.addrs[v4] = path.to;
		packet_make(&race.datagrams[v4], &race.packets[v4], &path, 1);
	}
	if (pthread_create(&sender, NULL, open_flows, &race) != 0)
		sandbox_give_up("pthread_create", "no thread");
	for (int i = 0; i < RACE_ROUNDS && !stale.count; i++) {
		switch_and_look(touched, &stale);
		flows_list(flows, 0, count_stale, &stale);
		switch_and_look(touched, &stale);
	}
	atomic_store(&race.stop, true);
	pthread_join(sender, NULL);
	CU_ASSERT_EQUAL(stale.count, 0);
	/* A look that meets a writer who is not let run has every flow re-evaluated instead. */
	CU_ASSERT(generation() - before < RACE_ROUNDS / 10);
	CU_ASSERT(race.sent > RACE_ROUNDS && doubted(flows) > RACE_ROUNDS);
	printf("\n    %d switches, %llu packets, %llu entries re-evaluated\n", 2 * RACE_ROUNDS,
	       (unsigned long long)race.sent, (unsigned long long)doubted(flows));
	touched_free(touched);
	flows_free(flows);
}

int main(void)
{
	CLEANUP(cleanup_json) json_t *request = json_pack("{s:i}", "pods", POD_COUNT);
	CLEANUP(cleanup_json) json_t *reply = json_object();
	unsigned int failures;
	CU_pSuite suite;

	if (harness_open(&node, request, reply) < 0)
		sandbox_give_up("the node", node.error);
	open_sandbox(&node.config);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 2;
	suite = CU_add_suite("live flows", NULL, NULL);
	CU_ADD_TEST(suite, a_policy_has_flows_of_its_pods_reevaluated_and_no_others);
	CU_ADD_TEST(suite, labels_of_a_namespace_have_flows_to_pods_that_ask_for_them_reevaluated);
	CU_ADD_TEST(suite, endpoints_of_another_service_have_no_flow_reevaluated);
	CU_ADD_TEST(suite, an_endpoint_that_goes_has_its_own_flows_reevaluated);
	CU_ADD_TEST(suite, a_service_that_comes_or_goes_has_flows_to_its_address_reevaluated);
	CU_ADD_TEST(suite, no_flow_holds_what_was_evaluated_by_the_slot_of_before);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	sandbox_close(sandbox);
	harness_close(&node);
	return failures ? 1 : 0;
}
