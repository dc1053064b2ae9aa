/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation of a change and its pass fails once. A packet that both the world before and the
 * world after deny is never let through, one that both let through is never denied, no Service and
 * no route is lost; and the next pass reaches the state that it reaches without the failure, to the
 * last element of each map.
 */
#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/policy/rule_counts.h"
#include "tests/differential/datagram.h"
#include "tests/faults.h"
#include "tests/differential/harness.h"

#define PORT	    5000
#define SENDINGS    16 /* of all probes, until the flow table is emptied */
#define OBJECTS_MAX 8
#define PASSES_MAX  5

#define META(namespace, name, rest)                                                                \
	"'metadata':{'namespace':'" namespace "','name':'" name "'" rest "}"
#define NAMESPACE(name, labels)                                                                    \
	"{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'" name "','labels':{" labels    \
	"}}}"
#define POD(namespace, name, labels)                                                               \
	"{'apiVersion':'v1','kind':'Pod'," META(namespace, name, ",'labels':{" labels "}") "}"
#define ENDING_POD(namespace, name, labels)                                                        \
	"{'apiVersion':'v1','kind':'Pod'," META(                                                   \
		namespace, name,                                                                   \
		",'labels':{" labels "},'deletionTimestamp':'2026-01-01T00:00:00Z'") "}"
#define REMOTE_POD(name, labels, ip)                                                               \
	"{'apiVersion':'v1','kind':'Pod'," META(                                                   \
		"d1", name,                                                                        \
		",'labels':{" labels                                                               \
		"}") ",'spec':{'nodeName':'n2'},'status':{'phase':'Running','podIPs':[{'ip':'" ip  \
		     "'}]}}"
#define POLICY(namespace, name, spec)                                                              \
	"{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy'," META(                       \
		namespace, name, "") ",'spec':{" spec "}}"
#define CLUSTER_POLICY(name, spec)                                                                 \
	"{'apiVersion':'policy.networking.k8s.io/"                                                 \
	"v1alpha2','kind':'ClusterNetworkPolicy','metadata':{'name':'" name "'},'spec':{" spec     \
	"}}"
#define NODE(name, ip, range)                                                                      \
	"{'apiVersion':'v1','kind':'Node','metadata':{'name':'" name                               \
	"'},'spec':{'podCIDRs':['" range "']},"                                                    \
	"'status':{'addresses':[{'type':'InternalIP','address':'" ip "'}]}}"
#define SERVICE(name, ip, selector)                                                                \
	"{'apiVersion':'v1','kind':'Service'," META(                                               \
		"d1", name, "") ",'spec':{'clusterIP':'" ip "','selector':{" selector              \
				"},'ports':[{'name':'p','protocol':'UDP','port':5000}]}}"
#define SLICE(name, service, ip, more)                                                             \
	"{'apiVersion':'discovery.k8s.io/v1','kind':'EndpointSlice'," META(                        \
		"d1", name,                                                                        \
		",'labels':{'kubernetes.io/service-name':'" service                                \
		"'}") ",'addressType':'IPv4','endpoints':[{'addresses':['" ip                      \
		      "'],'conditions':{'ready':true}}" more                                       \
		      "],'ports':[{'name':'p','protocol':'UDP','port':5000}]}"
#define ATTACHED       "attached" /* no object: the pod that comes and goes is there */
#define ALL	       "'podSelector':{}"
#define FROM(selector) "'ingress':[{'from':[" selector "]}]"
#define PODS(label)    "{'podSelector':{'matchLabels':{" label "}}}"
#define SPACES(label)  "{'namespaceSelector':{'matchLabels':{" label "}}}"

/* What is always there. */
static const char *const always[] = {
	NAMESPACE("d1", "'env':'a'"),
	NAMESPACE("d2", "'env':'b'"),
	NODE("n2", "192.168.7.2", "10.2.0.0/24"),
	REMOTE_POD("r1", "'app':'a'", "10.2.0.1"),
	POLICY("d2", "stays", ALL "," FROM(PODS("'t':'c'") "," SPACES("'env':'a'"))),
	SERVICE("stays", "10.96.0.1", "'t':'b'"),
};

/* Two worlds. What one names and the other does not is deleted on the way. */
static const struct scene {
	const char *name;
	const char *version[2][OBJECTS_MAX];
	bool hands_over; /* an address goes from one Service to another: without memory it may be
			    nobody's until the next pass */
} scenes[] = {
	{.name = "policy_comes_and_goes",
	 .version = {{NULL}, {POLICY("d1", "i", ALL "," FROM(PODS("'t':'a'")))}}},
	{.name = "policies_go_and_others_come",
	 .version = {{POLICY("d1", "x", ALL "," FROM(PODS("'t':'a'"))),
		      POLICY("d1", "y", ALL ",'policyTypes':['Egress']")},
		     {POLICY("d1", "z", ALL "," FROM(PODS("'app':'a'")))}}},
	{.name = "namespace_is_relabelled",
	 .version = {{NAMESPACE("d1", "'env':'a'")}, {NAMESPACE("d1", "'env':'c','more':'1'")}}},
	{.name = "pod_of_another_node_comes_with_a_policy_that_denies_it",
	 .version = {{CLUSTER_POLICY("c", "'tier':'Admin','priority':1,'subject':{'namespaces':{}},"
					  "'ingress':[{'action':'Deny','from':[{'pods':{'"
					  "podSelector':{'matchLabels':{'x':'1'}}}}]}]")},
		     {CLUSTER_POLICY("c", "'tier':'Admin','priority':1,'subject':{'namespaces':{}},"
					  "'ingress':[{'action':'Deny','from':[{'pods':{'"
					  "podSelector':{'matchLabels':{'x':'1'}}}},"
					  "{'pods':{'podSelector':{'matchLabels':{'x':'2'}}}}]}]"),
		      REMOTE_POD("r2", "'x':'1','y':'1'", "10.2.0.2"),
		      REMOTE_POD("r3", "'app':'a','y':'2'", "10.2.0.3")}}},
	{.name = "blocks_and_ports_change",
	 .version =
		 {{POLICY("d1", "e",
			  ALL ",'policyTypes':['Egress'],'egress':[{'to':[{'ipBlock':{'cidr':'10.0."
			      "0.0/8'}}]}]")},
		  {POLICY("d1", "e",
			  ALL
			  ",'policyTypes':['Egress'],'egress':[{'to':[{'ipBlock':{'cidr':'10.0.0.0/"
			  "8','except':"
			  "['10.2.0.0/"
			  "16']}}],'ports':[{'protocol':'UDP','port':4000,'endPort':6000}]}]")}}},
	{.name = "pod_objects_give_labels",
	 .version = {{POLICY("d1", "i", ALL "," FROM(PODS("'app':'new'")))},
		     {POLICY("d1", "i", ALL "," FROM(PODS("'app':'new'"))),
		      POD("d1", "a", "'app':'new'"), POD("d2", "c", "'app':'old'")}}},
	{.name = "policy_goes_while_its_pod_ends",
	 .version = {{POLICY("d1", "i", ALL "," FROM(PODS("'t':'nobody'"))),
		      POD("d1", "b", "'t':'b'")},
		     {ENDING_POD("d1", "b", "'t':'b'")}}},
	{.name = "pod_and_its_policy_go_before_its_container",
	 .version = {{POLICY("d1", "i", ALL "," FROM(PODS("'t':'nobody'"))),
		      POD("d1", "b", "'role':'b'")},
		     {NULL}}},
	{.name = "services_come_and_go",
	 .version = {{NULL},
		     {SERVICE("s1", "10.96.0.2", "'t':'a'"),
		      SERVICE("s2", "10.96.0.3", "'t':'nobody'"),
		      SLICE("s2-1", "s2", "10.1.0.11",
			    ",{'addresses':['10.2.0.1'],'conditions':{'ready':false,'serving':true,"
			    "'terminating':true}}")}}},
	{.name = "slice_changes_its_service",
	 .version = {{SERVICE("s1", "10.96.0.2", "'t':'x'"), SERVICE("s2", "10.96.0.3", "'t':'x'"),
		      SLICE("one", "s1", "10.1.0.11", ""), SLICE("two", "s2", "10.1.0.12", "")},
		     {SERVICE("s1", "10.96.0.2", "'t':'x'"), SERVICE("s2", "10.96.0.3", "'t':'x'"),
		      SLICE("one", "s2", "10.1.0.11", ""),
		      SLICE("two", "s1", "10.1.0.12",
			    ",{'addresses':['10.2.0.1'],'conditions':{'ready':false,'serving':true,"
			    "'terminating':true}}")}}},
	{.name = "two_services_want_one_address",
	 .version = {{SERVICE("s1", "10.96.0.2", "'t':'a'"), SERVICE("s2", "10.96.0.2", "'t':'b'")},
		     {SERVICE("s2", "10.96.0.2", "'t':'b'"),
		      SERVICE("s3", "10.96.0.2", "'t':'c'")}},
	 .hands_over = true},
	{.name = "nodes_come_and_go",
	 .version = {{NULL},
		     {NODE("n3", "192.168.7.3", "10.3.0.0/24"),
		      NODE("n4", "192.168.9.4", "10.4.0.0/24")}}},
	{.name = "pod_is_connected_and_a_policy_comes",
	 .version = {{NULL}, {POLICY("d2", "i", ALL "," FROM(PODS("'t':'nobody'"))), ATTACHED}}},
};
#define SCENES (sizeof(scenes) / sizeof(scenes[0]))

/* Local pods by number; the last one comes and goes. */
static const struct {
	const char *namespace, *name;
} pods[] = {{"d1", "a"}, {"d1", "b"}, {"d2", "c"}, {"d2", "d"}, {"d2", "e"}};
#define LOCAL_PODS 5
#define COMING_POD 4

static const char *const targets[] = {"10.1.0.10", "10.1.0.11",	  "10.1.0.12",	 "10.1.0.13",
				      "10.1.0.14", "10.2.0.1",	  "10.2.0.2",	 "10.2.0.3",
				      "10.3.0.1",  "192.168.7.3", "203.0.113.9", "10.96.0.1",
				      "10.96.0.2", "10.96.0.3"};
static const char *const wire_sources[] = {"10.2.0.1", "10.2.0.2", "10.2.0.3", "192.168.7.3",
					   "203.0.113.9"};
#define TARGETS	     (sizeof(targets) / sizeof(targets[0]))
#define WIRE_SOURCES (sizeof(wire_sources) / sizeof(wire_sources[0]))
#define PROBES	     (LOCAL_PODS * TARGETS + WIRE_SOURCES * LOCAL_PODS)

struct probe {
	struct test_packet packet;
	struct datagram datagram;
	char name[96];
};

/* What became of a probe. */
struct fate {
	bool passes;
	struct polder_addr backend;
};

#define COUNTS 16
struct state {
	struct fate fates[PROBES];
	size_t counts[COUNTS];
};

static struct harness node;
static struct probe probes[PROBES];
static size_t failures_told;

_Noreturn static void give_up(const char *what, const char *why)
{
	fprintf(stderr, "test_no_memory: %s: %s\n", what, why);
	exit(2);
}

/* ---------------------------------------------------------------- objects */

/* JSON with ' for ". One object. */
static struct object *decode(const char *text)
{
	CLEANUP(cleanup_free) char *json = strdup(text);
	struct error error = {};
	struct object_list list = {};
	struct object *object;

	for (char *c = json; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	if (objects_decode(json, strlen(json), &list, &error) < 0 || list.count != 1)
		give_up(error.path, error.text);
	object = TAKE_PTR(list.objects[0]);
	list.count = 0;
	object_list_clear(&list);
	return object;
}

/* All but the store's work is paused. 0 or -ENOMEM: nothing has changed. */
static int put(const char *text)
{
	struct object *object;
	int r;

	faults_pause();
	object = decode(text);
	faults_go_on();
	r = sandbox_put(node.sandbox, object);
	return r;
}

static bool is_attached(const char *const texts[OBJECTS_MAX])
{
	for (size_t i = 0; i < OBJECTS_MAX && texts[i]; i++)
		if (strcmp(texts[i], ATTACHED) == 0)
			return true;
	return false;
}

static bool names(const char *const texts[OBJECTS_MAX], const struct object *object)
{
	bool found = false;

	for (size_t i = 0; i < OBJECTS_MAX && texts[i] && !found; i++) {
		struct object *other;

		if (strcmp(texts[i], ATTACHED) == 0)
			continue;
		other = decode(texts[i]);

		found = other->kind == object->kind &&
			strcmp(other->namespace, object->namespace) == 0 &&
			strcmp(other->name, object->name) == 0;
		object_free(other);
	}
	return found;
}

/* What is not in the other version goes; what always stands comes back. */
static int take_away(const struct scene *scene, int version)
{
	const char *const *old = scene->version[!version];
	int r = 0;

	for (size_t i = 0; i < OBJECTS_MAX && old[i]; i++) {
		struct object *object;
		bool stays;

		if (strcmp(old[i], ATTACHED) == 0)
			continue;
		faults_pause();
		object = decode(old[i]);
		stays = names(scene->version[version], object) ||
			!store_get(sandbox_store(node.sandbox), object->kind, object->namespace,
				   object->name);
		faults_go_on();
		if (!stays &&
		    !sandbox_delete(node.sandbox, object->kind, object->namespace, object->name))
			r = -ENOMEM;
		faults_pause();
		object_free(object);
		faults_go_on();
	}
	return r;
}

static void pod_mac(int number, uint8_t mac[6])
{
	memcpy(mac, (uint8_t[6]){2, 0, 0, 0, 0, 10 + number}, 6);
}

static int attach(int number)
{
	struct label label = {.key = "t", .value = (char *)pods[number].name};
	struct local_pod pod = {.container_id = (char *)pods[number].name,
				.namespace = (char *)pods[number].namespace,
				.name = (char *)pods[number].name,
				.ifname = "eth0",
				.ifindex = HARNESS_FIRST_POD + number,
				.mtu = 1500,
				.labels = {.items = &label, .count = 1}};
	char text[64];

	snprintf(text, sizeof(text), "10.1.0.%d", 10 + number);
	addr_parse(text, &pod.ipv4);
	pod_mac(number, pod.mac);
	return sandbox_attach(node.sandbox, &pod);
}

/* 0 or -ENOMEM: then it is to be done again. */
static int change(const struct scene *scene, int version)
{
	const char *const *texts = scene->version[version];
	int r = take_away(scene, version), result;

	for (size_t i = 0; i < OBJECTS_MAX && texts[i]; i++) {
		result = strcmp(texts[i], ATTACHED) == 0 ? attach(COMING_POD) : put(texts[i]);
		r = r < 0 || result == -EEXIST ? r : result;
	}
	if (!is_attached(texts)) {
		sandbox_detach(node.sandbox, pods[COMING_POD].name, "eth0");
	}
	return r;
}

/* ---------------------------------------------------------------- packets */

static void make_probe(struct probe *probe, const char *source, const uint8_t mac[6],
		       const char *destination)
{
	struct polder_addr from, to;

	addr_parse(source, &from);
	addr_parse(destination, &to);
	datagram_make(&probe->datagram, mac, pods_gateway_mac, &from, &to, PORT);
	probe->packet.frame = probe->datagram.frame;
	probe->packet.length = probe->datagram.length;
	snprintf(probe->name, sizeof(probe->name), "%s to %s", source, destination);
}

static void make_probes(void)
{
	struct probe *probe = probes;
	char text[64];
	uint8_t mac[6];

	for (int i = 0; i < LOCAL_PODS; i++)
		for (size_t j = 0; j < TARGETS; j++, probe++) {
			uint32_t link = HARNESS_FIRST_POD + i;

			snprintf(text, sizeof(text), "10.1.0.%d", 10 + i);
			pod_mac(i, mac);
			probe->packet = (struct test_packet){
				.hook = DATAPATH_FROM_POD, .link = link, .ingress = link};
			make_probe(probe, text, mac, targets[j]);
		}
	memcpy(mac, (uint8_t[6]){2, 0, 0, 1, 0, 2}, 6);
	for (size_t i = 0; i < WIRE_SOURCES; i++)
		for (int j = 0; j < LOCAL_PODS; j++, probe++) {
			snprintf(text, sizeof(text), "10.1.0.%d", 10 + j);
			probe->packet = (struct test_packet){.hook = DATAPATH_FROM_WIRE,
							     .link = HARNESS_UPLINK,
							     .ingress = HARNESS_UPLINK};
			make_probe(probe, wire_sources[i], mac, text);
		}
}

/* Each packet is of a new flow. */
static uint16_t new_sport(void)
{
	static const enum map_index maps[] = {MAP_FLOWS4, MAP_FLOW_TAGS4, MAP_FLOW_USAGE,
					      MAP_FLOW_RULES4};
	static unsigned int sent;

	if (sent++ % SENDINGS == 0)
		for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
			if (maps_clear(sandbox_maps(node.sandbox), maps[i]) < 0)
				give_up("flows", "cannot be cleared");
	return 1000 + sent % SENDINGS;
}

static void send_probes(struct fate fates[PROBES])
{
	uint16_t sport = new_sport();

	for (size_t i = 0; i < PROBES; i++) {
		struct test_result result;

		datagram_set_sport(&probes[i].datagram, sport);
		if (test_run(sandbox_test_run(node.sandbox), &probes[i].packet, &result) < 0)
			give_up(probes[i].name, "the program cannot be run");
		fates[i] = (struct fate){.passes = result.outcome == VERDICT_ALLOW &&
						   result.reason == REASON_NONE};
		if (result.evaluated)
			fates[i].backend = result.flow_verdict.backend;
	}
}

/* ---------------------------------------------------------------- states */

static size_t elements(enum map_index index)
{
	CLEANUP(cleanup_free) void *keys = NULL, *values = NULL;
	size_t count;

	if (maps_dump(sandbox_maps(node.sandbox), index, &keys, &values, &count) < 0)
		give_up("maps", "cannot be read");
	return count;
}

static void look(struct state *state)
{
	static const enum map_index maps[] = {
		MAP_ADDRESSES,	   MAP_RULESET_PEERS, MAP_RULESET_PREFIXES, MAP_RULESET_PORTS,
		MAP_RULESET_CELLS, MAP_SERVICES,      MAP_BACKEND_STATES};
	const struct policy_sync_problem *problems;
	const struct service_problem *refused;
	struct services *services = sandbox_services(node.sandbox);
	struct policy_sync *policy_sync = sandbox_policy_sync(node.sandbox);
	size_t n = 0;

	*state = (struct state){};
	send_probes(state->fates);
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		state->counts[n++] = elements(maps[i]);
	state->counts[n++] = services_frontend_count(services);
	state->counts[n++] = services_backend_count(services);
	state->counts[n++] = services_backends_used(services);
	state->counts[n++] = services_problems(services, &refused);
	state->counts[n++] = policy_sync_problems(policy_sync, &problems);
	state->counts[n++] = policy_sync_rulesets_used(policy_sync);
	state->counts[n++] = policy_sync_cells_used(policy_sync);
	state->counts[n++] = policy_sync_identity_count(policy_sync);
	state->counts[n++] = rule_counts_uncounted(policy_sync_rule_counts(policy_sync));
}

static bool fate_is(const struct fate *a, const struct fate *b)
{
	return a->passes == b->passes && memcmp(&a->backend, &b->backend, sizeof(a->backend)) == 0;
}

static void tell(const struct scene *scene, size_t number, const char *what, const char *subject)
{
	if (failures_told++ < 20)
		printf("\n    %s, allocation %zu: %s: %s", scene->name, number, what, subject);
}

static bool is_state(const struct scene *scene, size_t number, const struct state *expected,
		     const char *when)
{
	struct state state;
	char text[128];
	bool same = true;

	look(&state);
	for (size_t i = 0; i < PROBES; i++)
		if (!fate_is(&state.fates[i], &expected->fates[i])) {
			same = false;
			snprintf(text, sizeof(text), "%s %s", probes[i].name,
				 state.fates[i].passes ? "passes" : "is dropped");
			tell(scene, number, when, text);
		}
	for (size_t i = 0; i < COUNTS; i++)
		if (state.counts[i] != expected->counts[i]) {
			same = false;
			snprintf(text, sizeof(text), "count %zu is %zu, not %zu", i,
				 state.counts[i], expected->counts[i]);
			tell(scene, number, when, text);
		}
	return same;
}

/* Until nothing is left to do, without failure. */
static void run_and_commit(void)
{
	bool again = true;

	for (int i = 0; i < PASSES_MAX && again; i++) {
		if (sandbox_run(node.sandbox, &again) < 0)
			give_up("pass", "it failed");
		again |= sandbox_commit(node.sandbox);
	}
}

/* What the world is like in a version that comes after the other one. */
static void learn(const struct scene *scene, int version, struct state *ret)
{
	if (change(scene, version) < 0)
		give_up(scene->name, "no memory");
	run_and_commit();
	look(ret);
}

static bool is_served(const struct fate *fate)
{
	static const struct polder_addr nobody;

	return memcmp(&fate->backend, &nobody, sizeof(nobody)) != 0;
}

static bool may_be(const struct scene *scene, const struct fate *fate, const struct fate *one,
		   const struct fate *other)
{
	if (fate_is(fate, one) || fate_is(fate, other))
		return true;
	if (scene->hands_over && is_served(one) && is_served(other) && !is_served(fate))
		return true;
	/* Denied, where one world denies, or has no such Service. */
	return !fate->passes &&
	       (!one->passes || !other->passes || is_served(one) != is_served(other));
}

/* After a run that may have failed: nothing that neither world says. */
static bool is_between(const struct scene *scene, size_t number, const struct state states[2],
		       const char *when)
{
	struct fate fates[PROBES];
	char text[128];
	bool ok = true;

	send_probes(fates);
	for (size_t i = 0; i < PROBES; i++) {
		if (may_be(scene, &fates[i], &states[0].fates[i], &states[1].fates[i]))
			continue;
		ok = false;
		snprintf(text, sizeof(text), "%s %s", probes[i].name,
			 fates[i].passes ? "passes" : "is dropped");
		tell(scene, number, when, text);
	}
	return ok;
}

/* The change with one allocation that fails. False: it has fewer. */
static bool fail_once(const struct scene *scene, int version, size_t number,
		      const struct state states[2])
{
	bool again, failed, unfinished;
	size_t counted;

	faults_begin(number);
	/* Whoever gives objects gives them again. */
	unfinished = change(scene, version) < 0;
	if (unfinished && change(scene, version) < 0)
		give_up(scene->name, "no memory");
	sandbox_run(node.sandbox, &again);
	faults_pause();
	CU_ASSERT(is_between(scene, number, states, "after the run"));
	faults_go_on();
	counted = faults_counted();
	sandbox_commit(node.sandbox);
	failed = faults_end();
	if (number > counted)
		CU_ASSERT(is_between(scene, number, states, "after its end"));
	run_and_commit();
	CU_ASSERT(is_state(scene, number, &states[version], "after the next run"));
	return failed;
}

static size_t allocations;

static void run_scene(const struct scene *scene)
{
	static struct state states[2];
	size_t number;

	failures_told = 0;
	learn(scene, 0, &states[0]);
	learn(scene, 1, &states[1]);
	learn(scene, 0, &states[0]);
	for (int version = 1; version >= 0; version--) {
		bool failed = true;

		for (number = 1; failed && failures_told == 0; number++) {
			failed = fail_once(scene, version, number, states);
			allocations += failed;
			if (change(scene, !version) < 0)
				give_up(scene->name, "no memory");
			run_and_commit();
			if (number % 16 == 0)
				CU_ASSERT(is_state(scene, number, &states[!version], "back"));
		}
		CU_ASSERT(number > 3);
		if (change(scene, version) < 0)
			give_up(scene->name, "no memory");
		run_and_commit();
	}
	for (size_t i = 0; i < OBJECTS_MAX && scene->version[0][i]; i++) {
		struct object *object = decode(scene->version[0][i]); /* none of them is ATTACHED */

		sandbox_delete(node.sandbox, object->kind, object->namespace, object->name);
		object_free(object);
	}
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		if (put(always[i]) < 0)
			give_up(scene->name, "no memory");
	run_and_commit();
}

static void every_allocation_of_a_run_may_fail(void)
{
	for (size_t i = 0; i < SCENES; i++) {
		size_t before = allocations;

		run_scene(&scenes[i]);
		printf("\n    %s: %zu allocations", scenes[i].name, allocations - before);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	CLEANUP(cleanup_json) json_t *request = NULL, *reply = NULL;
	unsigned int failures;
	CU_pSuite suite;

	faults_take_jansson();
	request = json_pack("{s:i}", "pods", LOCAL_PODS);
	reply = json_object();
	if (harness_open(&node, request, reply) < 0)
		give_up("the node", node.error);
	for (int i = 0; i < LOCAL_PODS; i++)
		if (i != COMING_POD && attach(i) < 0)
			give_up(pods[i].name, "a pod cannot be attached");
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		if (put(always[i]) < 0)
			give_up("objects", "no memory");
	make_probes();
	run_and_commit();
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 2;
	suite = CU_add_suite("no_memory", NULL, NULL);
	CU_ADD_TEST(suite, every_allocation_of_a_run_may_fail);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	harness_close(&node);
	return failures ? 1 : 0;
}
