/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No packet is evaluated by a mixture of two versions of policy. Versions are switched by the
 * agent's own passes while other threads put packets through the loaded programs. Each scenario's
 * two versions say the same of one packet; a mixture of them would say the contrary.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "tests/differential/datagram.h"
#include "tests/differential/harness.h"
#include "tests/differential/sandbox_pods.h"

#define PORT	   5000
#define SPORTS	   64 /* few: in a table that is nearly full each pod is held to its share of it */
#define WORLDS_MAX 4  /* a pass waits for the kernel most of the time: several do so at once */
#define SWITCHES   10000

#define NAMESPACE(name, labels)                                                                    \
	"{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'" name "','labels':{" labels    \
	"}}}"
#define POD(namespace, name, labels)                                                               \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'" namespace "','name':'" name    \
									      "','labels':"        \
									      "{" labels "}}}"
#define POLICY(namespace, name, spec)                                                              \
	"{'apiVersion':'networking.k8s.io/"                                                        \
	"v1','kind':'NetworkPolicy','metadata':{'namespace':'" namespace "','name':'" name         \
									 "'},'spec':{" spec "}}"
#define CLUSTER_POLICY(name, spec)                                                                 \
	"{'apiVersion':'policy.networking.k8s.io/"                                                 \
	"v1alpha2','kind':'ClusterNetworkPolicy','metadata':{'name':'" name "'},'spec':{" spec     \
	"}}"
#define ALL		  "'podSelector':{}"
#define FROM_LABEL(label) "'ingress':[{'from':[{'podSelector':{'matchLabels':{" label "}}}]}]"
#define FROM_NAMESPACE(label)                                                                      \
	"'ingress':[{'from':[{'namespaceSelector':{'matchLabels':{" label "}}}]}]"
#define TO_NAMESPACE(label)                                                                        \
	"'policyTypes':['Egress'],'egress':[{'to':[{'namespaceSelector':{'matchLabels':{" label    \
	"}}}]}]"
#define TO_PORT(port)                                                                              \
	"'policyTypes':['Egress'],'egress':[{'ports':[{'protocol':'UDP','port':" port "}]}]"
#define FROM_BLOCKS(rest)                                                                          \
	"'ingress':[{'from':[{'ipBlock':{'cidr':'10.1.0.0/16'}},{'ipBlock':{'cidr':'fd00:1::/"     \
	"32'}}]" rest "}]"

/*
 * A packet from pod s of namespace `from` to pod d of namespace `to`. Objects of a version stand in
 * such an order that half of them, on the other version, turn the answer about, one way of the two.
 */
static const struct scenario {
	const char *name, *from, *to;
	bool passes; /* in both versions */
	const char *always;
	const char *version[2][2];
} scenarios[] = {
	{"egress_of_one_with_ingress_of_the_other",
	 "d1",
	 "d2",
	 false,
	 NULL,
	 {{POLICY("d1", "e", ALL "," TO_PORT("5000")),
	   POLICY("d2", "i", ALL "," FROM_LABEL("'x':'1'"))},
	  {POLICY("d1", "e", ALL "," TO_PORT("5001")), POLICY("d2", "i", ALL ",'ingress':[{}]")}}},
	{"label_of_one_with_rule_of_the_other",
	 "l1",
	 "l1",
	 false,
	 NULL,
	 {{POLICY("l1", "i", "'podSelector':{'matchLabels':{'t':'d'}}," FROM_LABEL("'x':'0'")),
	   POD("l1", "s", "'x':'1'")},
	  {POLICY("l1", "i", "'podSelector':{'matchLabels':{'t':'d'}}," FROM_LABEL("'x':'1'")),
	   POD("l1", "s", "'x':'0'")}}},
	{"label_that_follows_its_rule",
	 "l2",
	 "l2",
	 true,
	 NULL,
	 {{POLICY("l2", "i", "'podSelector':{'matchLabels':{'t':'d'}}," FROM_LABEL("'x':'0'")),
	   POD("l2", "s", "'x':'0'")},
	  {POLICY("l2", "i", "'podSelector':{'matchLabels':{'t':'d'}}," FROM_LABEL("'x':'1'")),
	   POD("l2", "s", "'x':'1'")}}},
	{"one_namespace_relabelled_with_another",
	 "n1",
	 "n2",
	 false,
	 "[" POLICY("n1", "e", ALL "," TO_NAMESPACE("'env':'a'")) "," POLICY(
		 "n2", "i", ALL "," FROM_NAMESPACE("'role':'a'")) "]",
	 {{NAMESPACE("n1", "'role':'b'"), NAMESPACE("n2", "'env':'a'")},
	  {NAMESPACE("n1", "'role':'a'"), NAMESPACE("n2", "'env':'b'")}}},
	{"namespace_of_one_with_rule_of_the_other",
	 "m1",
	 "m2",
	 false,
	 NULL,
	 {{NAMESPACE("m1", "'env':'b'"), POLICY("m2", "i", ALL "," FROM_NAMESPACE("'env':'a'"))},
	  {NAMESPACE("m1", "'env':'a'"), POLICY("m2", "i", ALL "," FROM_NAMESPACE("'env':'b'"))}}},
	{"namespace_that_follows_its_rule",
	 "f1",
	 "f2",
	 true,
	 NULL,
	 {{NAMESPACE("f1", "'env':'a'"), POLICY("f2", "i", ALL "," FROM_NAMESPACE("'env':'a'"))},
	  {NAMESPACE("f1", "'env':'b'"), POLICY("f2", "i", ALL "," FROM_NAMESPACE("'env':'b'"))}}},
	{"admin_tier_of_one_with_policy_of_the_other",
	 "t1",
	 "t2",
	 false,
	 NULL,
	 {{CLUSTER_POLICY("c", "'tier':'Admin','priority':10,'subject':{'namespaces':{'matchLabels'"
			       ":{'kubernetes.io/metadata.name':'t2'}}},"
			       "'ingress':[{'action':'Deny','from':[{'namespaces':{}}]}]"),
	   POLICY("t2", "i", ALL ",'ingress':[{}]")},
	  {CLUSTER_POLICY("c", "'tier':'Admin','priority':10,'subject':{'namespaces':{'matchLabels'"
			       ":{'kubernetes.io/metadata.name':'t2'}}},"
			       "'ingress':[{'action':'Pass','from':[{'namespaces':{}}]}]"),
	   POLICY("t2", "i", ALL)}}},
	{"blocks_and_ports_of_two_versions",
	 "b1",
	 "b2",
	 false,
	 NULL,
	 {{POLICY("b1", "e", ALL "," TO_PORT("5000")),
	   POLICY("b2", "i", ALL "," FROM_BLOCKS(",'ports':[{'protocol':'UDP','port':5001}]"))},
	  {POLICY("b1", "e", ALL "," TO_PORT("5001")),
	   POLICY("b2", "i", ALL "," FROM_BLOCKS(""))}}},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

struct world {
	struct sandbox *sandbox;
	struct datagram packets[SCENARIOS][2]; /* by family */
	struct test_result result;
	_Atomic uint64_t contrary[SCENARIOS];
};

static struct harness node;
static struct world worlds[WORLDS_MAX];
static size_t world_count = WORLDS_MAX;
static int switch_count = SWITCHES;
static atomic_bool stop;
static _Atomic uint64_t packets_sent;

static void begin_run(struct world *w)
{
	bool again;

	if (sandbox_run(w->sandbox, &again) < 0)
		sandbox_give_up("run", "it failed");
}

static void reconcile(struct world *w)
{
	begin_run(w);
	sandbox_commit(w->sandbox);
}

static void put_version(struct world *w, int version, int part)
{
	size_t i;

	for (i = 0; i < SCENARIOS; i++)
		sandbox_put_text(w->sandbox, scenarios[i].version[version][part]);
}

static void put_in_force(struct world *w, int version)
{
	put_version(w, version, 0);
	put_version(w, version, 1);
	reconcile(w);
}

static void add_scenario(struct world *w, size_t i)
{
	struct polder_addr source, destination;
	uint8_t mac[6];
	int v6;

	sandbox_attach_pod(w->sandbox, 2 * i, scenarios[i].from, "s");
	sandbox_attach_pod(w->sandbox, 2 * i + 1, scenarios[i].to, "d");
	if (scenarios[i].always)
		sandbox_put_text(w->sandbox, scenarios[i].always);
	sandbox_pod_mac(2 * i, mac);
	for (v6 = 0; v6 < 2; v6++) {
		sandbox_pod_address(2 * i, !v6, &source);
		sandbox_pod_address(2 * i + 1, !v6, &destination);
		datagram_make(&w->packets[i][v6], mac, pods_gateway_mac, &source, &destination,
			      PORT);
	}
}

/* Did the packet arrive at the pod it was sent to? */
static bool arrives(struct world *w, size_t i, int v6, uint16_t sport)
{
	struct datagram *datagram = &w->packets[i][v6];
	struct test_packet packet = {.hook = DATAPATH_FROM_POD,
				     .link = HARNESS_FIRST_POD + 2 * i,
				     .ingress = HARNESS_FIRST_POD + 2 * i,
				     .frame = datagram->frame,
				     .length = datagram->length};
	uint8_t mac[6];

	datagram_set_sport(datagram, sport);
	if (test_run_program(sandbox_datapath(w->sandbox), &packet, &w->result) < 0)
		sandbox_give_up(scenarios[i].name, "the program cannot be run");
	sandbox_pod_mac(2 * i + 1, mac);
	return w->result.verdict == TC_ACT_REDIRECT && memcmp(w->result.frame, mac, 6) == 0;
}

static void open_worlds(void)
{
	char message[HARNESS_ERROR];
	size_t i, k;

	for (k = 0; k < world_count; k++) {
		/* Numbers are kept in memory only: a file of four worlds at once would be one too
		 * few. */
		if (sandbox_open(&node.config, &node.node, NULL, &worlds[k].sandbox, message,
				 sizeof(message)) < 0)
			sandbox_give_up("sandbox_open", message);
		sandbox_share(worlds[k].sandbox);
		/* Each way of waiting has its worlds. */
		for (int tries = 0; k % 2 && tries < 10; tries++)
			if (maps_prove_wait(sandbox_maps(worlds[k].sandbox)) != -EAGAIN)
				break;
		for (i = 0; i < SCENARIOS; i++)
			add_scenario(&worlds[k], i);
	}
}

/* ---------------------------------------------------------------- what a scenario can tell */

static void both_versions_say_the_same(void)
{
	struct world *w = &worlds[0];
	int version, v6;
	size_t i;

	for (version = 0; version < 2; version++) {
		put_in_force(w, version);
		for (i = 0; i < SCENARIOS; i++)
			for (v6 = 0; v6 < 2; v6++)
				CU_ASSERT_EQUAL(arrives(w, i, v6, 1000 + version),
						scenarios[i].passes);
	}
}

/* Half of one version on the other: the answer turns about, one way at least. */
static void a_mixture_says_the_contrary(void)
{
	struct world *w = &worlds[0];
	bool contrary[SCENARIOS][2] = {};
	int version, v6;
	size_t i;

	put_in_force(w, 0);
	for (version = 1; version >= 0; version--) {
		put_version(w, version, 0);
		reconcile(w);
		for (i = 0; i < SCENARIOS; i++)
			for (v6 = 0; v6 < 2; v6++)
				contrary[i][v6] |=
					arrives(w, i, v6, 1010 + version) != scenarios[i].passes;
		put_version(w, version, 1);
		reconcile(w);
	}
	for (i = 0; i < SCENARIOS; i++) {
		if (!contrary[i][0] || !contrary[i][1])
			printf("\n    %s: half of a version changes nothing\n", scenarios[i].name);
		CU_ASSERT(contrary[i][0] && contrary[i][1]);
	}
}

/* ---------------------------------------------------------------- under traffic */

/* On one CPU for itself as far as may be: on a kernel with nohz_full= the last one is a CPU that
 * knows no tick. */
static void take_last_cpu(void)
{
	cpu_set_t all, one;
	int cpu = CPU_SETSIZE - 1;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	while (cpu > 0 && !CPU_ISSET(cpu, &all))
		cpu--;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void *send_packets(void *data)
{
	uint64_t sent = 0;
	size_t i, k;
	int v6;

	(void)data;
	take_last_cpu();
	while (!stop) {
		for (k = 0; k < world_count; k++)
			for (i = 0; i < SCENARIOS; i++)
				for (v6 = 0; v6 < 2; v6++)
					if (arrives(&worlds[k], i, v6, 2000 + sent % SPORTS) !=
					    scenarios[i].passes)
						worlds[k].contrary[i]++;
		sent++;
	}
	packets_sent = sent * world_count * SCENARIOS * 2;
	return NULL;
}

struct switcher {
	struct world *world;
	int switches;
	bool halves; /* in two passes: mixtures are in force in between */
};

static void *switch_versions(void *data)
{
	const struct switcher *s = data;
	int i;

	for (i = 0; i < s->switches; i++) {
		put_version(s->world, i & 1, 0);
		if (s->halves)
			reconcile(s->world);
		put_version(s->world, i & 1, 1);
		/* Changes may come faster than passes are finished: the next one has to see to
		 * that. */
		begin_run(s->world);
		if (i % 3 == 0)
			sandbox_commit(s->world->sandbox);
	}
	return NULL;
}

/* How many packets were evaluated contrary to both versions, by scenario. */
static void run_switches(int switches, bool halves, uint64_t ret_contrary[SCENARIOS])
{
	struct switcher switchers[WORLDS_MAX];
	pthread_t sender, threads[WORLDS_MAX];
	size_t i, k;

	for (k = 0; k < world_count; k++) {
		put_in_force(&worlds[k], 1);
		memset(worlds[k].contrary, 0, sizeof(worlds[k].contrary));
	}
	stop = false;
	if (pthread_create(&sender, NULL, send_packets, NULL) != 0)
		sandbox_give_up("pthread_create", "no thread");
	for (k = 0; k < world_count; k++) {
		switchers[k] = (struct switcher){&worlds[k], switches / (int)world_count, halves};
		if (pthread_create(&threads[k], NULL, switch_versions, &switchers[k]) != 0)
			sandbox_give_up("pthread_create", "no thread");
	}
	for (k = 0; k < world_count; k++)
		pthread_join(threads[k], NULL);
	stop = true;
	pthread_join(sender, NULL);
	for (i = 0; i < SCENARIOS; i++)
		for (ret_contrary[i] = 0, k = 0; k < world_count; k++)
			ret_contrary[i] += worlds[k].contrary[i];
}

static void versions_in_two_runs_are_seen_mixed(void)
{
	uint64_t contrary[SCENARIOS];
	size_t i;

	run_switches(10 * (int)world_count, true, contrary);
	for (i = 0; i < SCENARIOS; i++)
		CU_ASSERT(contrary[i] > 0);
}

static void no_packet_meets_a_mixture_of_two_versions(void)
{
	uint64_t contrary[SCENARIOS];
	size_t i;

	run_switches(switch_count, false, contrary);
	for (i = 0; i < SCENARIOS; i++) {
		if (contrary[i])
			printf("\n    %s: %llu packets met a mixture\n", scenarios[i].name,
			       (unsigned long long)contrary[i]);
		CU_ASSERT_EQUAL(contrary[i], 0);
	}
	printf("\n    %d switches, %llu packets\n", switch_count, (unsigned long long)packets_sent);
	CU_ASSERT(packets_sent > 20ull * (unsigned int)switch_count);
}

/* test_switch [SWITCHES [WORLDS]] */
int main(int argc, char **argv)
{
	CLEANUP(cleanup_json) json_t *request = json_pack("{s:i}", "pods", (int)(2 * SCENARIOS));
	CLEANUP(cleanup_json) json_t *reply = json_object();
	unsigned int failures;
	CU_pSuite suite;
	size_t k;

	if (argc > 1)
		switch_count = atoi(argv[1]);
	if (argc > 2)
		world_count = (size_t)atoi(argv[2]);
	if (switch_count < 1 || world_count < 1 || world_count > WORLDS_MAX)
		sandbox_give_up("arguments", "expected SWITCHES, at least 1, and WORLDS, 1 to 4");
	if (harness_open(&node, request, reply) < 0)
		sandbox_give_up("the node", node.error);
	open_worlds();
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 2;
	suite = CU_add_suite("switch", NULL, NULL);
	CU_ADD_TEST(suite, both_versions_say_the_same);
	CU_ADD_TEST(suite, a_mixture_says_the_contrary);
	CU_ADD_TEST(suite, versions_in_two_runs_are_seen_mixed);
	CU_ADD_TEST(suite, no_packet_meets_a_mixture_of_two_versions);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	for (k = 0; k < world_count; k++)
		sandbox_close(worlds[k].sandbox);
	harness_close(&node);
	return failures ? 1 : 0;
}
