/* SPDX-License-Identifier: Apache-2.0 */
/* What a change has to bring about in the maps: of pods, words, rule sets without room, passes that
 * fail. On the kernel's maps; needs root. */
#include <bpf/bpf.h>
#include <errno.h>

#include "agent/node/peers.h"
#include "agent/common/array.h"
#include "agent/policy/local_pods.h"
#include "agent/policy/rule_counts.h"
#include "policy/compile/registry.h"
#include "tests/unit/agent/policy/sync_world.h"
#include "tests/unit/unit.h"

#define HERE	 "'nodeName':'here'"
#define THERE	 "'nodeName':'there'"
#define IP(ip)	 "'podIPs':[{'ip':'" ip "'}]"
#define APP(app) ",'labels':{'app':'" app "'}"
#define CLOSING	 "'podSelector':{},'ingress':[]"

static bool is_open(const struct sync_world *w, const struct local_pod *pod)
{
	return sync_world_ingress(w, pod) == RULESET_OPEN;
}

static bool agrees(struct sync_world *w)
{
	char *difference = NULL;
	bool agrees = policy_sync_audit(w->policy_sync, &difference) == 0 && !difference;

	if (difference)
		printf("\n    %s ", difference);
	free(difference);
	return agrees;
}

static void begin(struct sync_world *w)
{
	*w = (struct sync_world){};
	sync_world_begin(w, NULL);
}

static bool is_known(const struct sync_world *w, const char *addr)
{
	return sync_world_identity(w, addr, false) != 0;
}

/* ---------------------------------------------------------------- pods and their addresses */

static void a_pod_elsewhere_takes_its_new_address_and_leaves_the_old_one(void)
{
	struct sync_world w;

	begin(&w);
	sync_world_put_pod(&w, "r", "", THERE, IP("10.2.0.1"));
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_known(&w, "10.2.0.1"));
	sync_world_put_pod(&w, "r", "", THERE, IP("10.2.0.2"));
	sync_world_run_and_commit(&w);
	CU_ASSERT(!is_known(&w, "10.2.0.1") && is_known(&w, "10.2.0.2"));
	sync_world_end(&w);
}

static uint32_t peer_of(const struct sync_world *w, const char *addr)
{
	const struct address_key key = {.prefixlen = 128, .addr = sync_world_addr(addr)};
	struct address_entry entry = {};

	CU_ASSERT(maps_find(w->maps, MAP_ADDRESSES, &key, &entry) == 0);
	return entry.peer;
}

/* Its object is another one each time, and its address the same. */
static void a_pod_elsewhere_is_behind_its_node_whatever_its_labels(void)
{
	const struct polder_addr there = sync_world_addr("192.168.7.2");
	struct sync_world w;
	struct peer *peer;

	begin(&w);
	sync_world_put(&w, "there",
		       "{'apiVersion':'v1','kind':'Node','metadata':{'name':'there'},'spec':{"
		       "'podCIDR':'10.2.0.0/24'},'status':{'addresses':[{'type':'InternalIP',"
		       "'address':'192.168.7.2'}]}}");
	sync_world_put_policy(&w, "p", "'podSelector':{'matchLabels':{'app':'b'}},'ingress':[]");
	sync_world_put_pod(&w, "r", APP("a"), "'nodeName':'elsewhere'", IP("10.2.0.1"));
	sync_world_run_and_commit(&w);
	peer = (struct peer *)peers_node_with(policy_sync_peers(w.policy_sync), &there);
	CU_ASSERT_FATAL(peer != NULL);
	peer->number = 7; /* as if it were reached by a tunnel */
	CU_ASSERT_EQUAL(peer_of(&w, "10.2.0.1"), 0);
	sync_world_put_pod(&w, "r", APP("b"), THERE, IP("10.2.0.1"));
	sync_world_run_and_commit(&w);
	CU_ASSERT_EQUAL(peer_of(&w, "10.2.0.1"), 7);
	sync_world_put_pod(&w, "r", APP("a"), THERE, IP("10.2.0.1"));
	sync_world_run_and_commit(&w);
	CU_ASSERT_EQUAL(peer_of(&w, "10.2.0.1"), 7);
	sync_world_end(&w);
}

/* The node's network is `count` addresses now: 10.2.0.1 and on. */
static void give_node(struct sync_world *w, size_t count)
{
	static const char *const given[] = {"10.2.0.1", "10.2.0.2"};
	static struct prefix addresses[COUNT(given)];

	for (size_t i = 0; i < count; i++)
		addresses[i] = (struct prefix){sync_world_addr(given[i]), 128};
	w->node.addresses = count ? addresses : NULL;
	w->node.address_count = count;
	policy_sync_refresh(w->policy_sync, true);
	sync_world_run_and_commit(w);
}

static void an_address_that_the_node_gets_is_no_pods_until_it_goes(void)
{
	struct sync_world w;

	begin(&w);
	sync_world_put_pod(&w, "one", "", THERE, IP("10.2.0.1"));
	sync_world_put_pod(&w, "two", "", THERE, IP("10.2.0.2"));
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_known(&w, "10.2.0.1") && is_known(&w, "10.2.0.2"));
	give_node(&w, 2);
	CU_ASSERT(!is_known(&w, "10.2.0.1") && !is_known(&w, "10.2.0.2") && agrees(&w));
	give_node(&w, 1);
	CU_ASSERT(!is_known(&w, "10.2.0.1") && is_known(&w, "10.2.0.2") && agrees(&w));
	give_node(&w, 0);
	CU_ASSERT(is_known(&w, "10.2.0.1") && is_known(&w, "10.2.0.2") && agrees(&w));
	sync_world_end(&w);
}

static void an_object_of_this_node_claims_nothing(void)
{
	struct sync_world w;

	begin(&w);
	/* Not attached; and attached, which the attachment speaks for. */
	sync_world_put_pod(&w, "late", "", HERE, IP("10.2.0.1"));
	sync_world_put_pod(&w, "own", "", "", IP("10.2.0.2"));
	sync_world_run_and_commit(&w);
	CU_ASSERT(!is_known(&w, "10.2.0.1") && !is_known(&w, "10.2.0.2"));
	CU_ASSERT(agrees(&w));
	sync_world_end(&w);
}

static void an_object_stands_for_another_thing_while_its_pod_is_here(void)
{
	struct local_pod late;
	struct sync_world w;

	begin(&w);
	sync_world_put_pod(&w, "late", "", "", IP("10.2.0.1"));
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_known(&w, "10.2.0.1"));
	late = sync_world_add(&w, "late", 65537, "10.1.0.6");
	sync_world_run_and_commit(&w);
	CU_ASSERT(!is_known(&w, "10.2.0.1") && is_known(&w, "10.1.0.6") && agrees(&w));
	policy_sync_remove_pod(w.policy_sync, &late);
	CU_ASSERT(!is_known(&w, "10.1.0.6"));
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_known(&w, "10.2.0.1") && agrees(&w));
	sync_world_end(&w);
}

static void the_identity_of_a_pod_that_went_goes(void)
{
	struct local_pod late;
	struct sync_world w;
	size_t before;

	begin(&w);
	sync_world_put_policy(&w, "p", "'podSelector':{'matchLabels':{'app':'a'}},'ingress':[]");
	sync_world_run_and_commit(&w);
	before = policy_sync_identity_count(w.policy_sync);
	late = sync_world_add(&w, "late", 65537, "10.1.0.6");
	sync_world_put_pod(&w, "late", APP("a"), HERE, "");
	sync_world_run_and_commit(&w);
	CU_ASSERT(policy_sync_identity_count(w.policy_sync) == before + 1);
	sync_world_put(&w, "late", NULL);
	policy_sync_remove_pod(w.policy_sync, &late);
	sync_world_run_and_commit(&w);
	CU_ASSERT(policy_sync_identity_count(w.policy_sync) == before && agrees(&w));
	sync_world_end(&w);
}

static void an_element_of_the_array_is_free_two_waits_later(void)
{
	struct polder_addr next = sync_world_addr("10.9.0.5");
	struct local_pod pod;
	struct sync_world w;

	begin(&w);
	sync_world_run_and_commit(&w);
	policy_sync_remove_pod(w.policy_sync, &w.pod);
	for (int i = 0; i < 2; i++) {
		sync_world_put_policy(&w, "p", i ? NULL : CLOSING);
		sync_world_run_and_commit(&w);
	}
	pod = sync_world_add(&w, "next", 65537, "10.9.0.5");
	sync_world_run_and_commit(&w);
	CU_ASSERT_FATAL(local_pods_find(w.maps, &next) != NULL);
	CU_ASSERT(local_pods_find(w.maps, &next)->ifindex == (uint32_t)pod.ifindex);
	sync_world_end(&w);
}

static void entries_of_before_the_start_go_with_the_first_run(void)
{
	struct pod_entry entry = {.ifindex = 65599};
	struct sync_world w;
	uint32_t place;

	begin(&w);
	place = maps_pod_index(w.maps, entry.ifindex);
	CU_ASSERT(maps_put(w.maps, MAP_PODS, &place, &entry) == 0);
	sync_world_run_and_commit(&w);
	CU_ASSERT(maps_find(w.maps, MAP_PODS, &place, &entry) == 0 && entry.ifindex == 0);
	sync_world_end(&w);
}

/* ---------------------------------------------------------------- both slots */

static bool alike(const struct sync_world *w, enum pod_word word)
{
	return sync_world_word(w, &w->pod, word, false) == sync_world_word(w, &w->pod, word, true);
}

static void all_that_a_switch_changes_of_a_pod_is_mirrored(void)
{
	struct sync_world w;

	begin(&w);
	sync_world_put_policy(&w, "q",
			      "'podSelector':{'matchLabels':{'app':'a'}},'ingress':[],"
			      "'egress':[],'policyTypes':['Ingress','Egress']");
	sync_world_put_pod(&w, "own", "", HERE, "");
	sync_world_run_and_commit(&w);
	sync_world_put_pod(&w, "own", APP("a"), HERE, "");
	CU_ASSERT(sync_world_run(&w));
	CU_ASSERT(!alike(&w, WORD_IDENTITY) && !alike(&w, WORD_INGRESS) && !alike(&w, WORD_EGRESS));
	CU_ASSERT(sync_world_identity(&w, "10.1.0.5", false) ==
		  sync_world_word(&w, &w.pod, WORD_IDENTITY, false));
	CU_ASSERT(sync_world_identity(&w, "10.1.0.5", true) ==
		  sync_world_word(&w, &w.pod, WORD_IDENTITY, true));
	policy_sync_commit(w.policy_sync);
	CU_ASSERT(alike(&w, WORD_IDENTITY) && alike(&w, WORD_INGRESS) && alike(&w, WORD_EGRESS));
	CU_ASSERT(!is_open(&w, &w.pod));
	sync_world_end(&w);
}

/* The slot that the second switch puts in force knows what the first one has. */
static void a_switch_behind_another_brings_nothing_old_back(void)
{
	uint32_t identity;
	struct sync_world w;

	begin(&w);
	sync_world_put_policy(&w, "q", "'podSelector':{'matchLabels':{'app':'none'}}");
	sync_world_put_pod(&w, "r", APP("a"), THERE, IP("10.2.0.1"));
	sync_world_run_and_commit(&w);
	sync_world_put_pod(&w, "r", APP("b"), THERE, IP("10.2.0.1"));
	CU_ASSERT(sync_world_run(&w));
	identity = sync_world_identity(&w, "10.2.0.1", false);
	CU_ASSERT(identity != sync_world_identity(&w, "10.2.0.1", true));
	sync_world_put_policy(&w, "p", CLOSING);
	CU_ASSERT(sync_world_run(&w));
	CU_ASSERT(sync_world_identity(&w, "10.2.0.1", false) == identity);
	sync_world_end(&w);
}

/* ---------------------------------------------------------------- words, namespaces, nodes */

static void pods_of_this_node_are_grouped_by_what_policies_come_to_name(void)
{
	struct sync_world w;

	begin(&w);
	sync_world_put_pod(&w, "own", APP("a"), HERE, "");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_open(&w, &w.pod));
	sync_world_put_policy(&w, "p", "'podSelector':{'matchLabels':{'app':'a'}},'ingress':[]");
	sync_world_run_and_commit(&w);
	CU_ASSERT(!is_open(&w, &w.pod) && agrees(&w));
	/* And follow their objects. */
	sync_world_put_pod(&w, "own", APP("b"), HERE, "");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_open(&w, &w.pod) && agrees(&w));
	sync_world_end(&w);
}

static void a_namespace_that_went_has_no_labels(void)
{
	struct sync_world w;

	begin(&w);
	sync_world_put(&w, "cluster",
		       "{'apiVersion':'policy.networking.k8s.io/v1alpha2','kind':"
		       "'ClusterNetworkPolicy','metadata':{'name':'c'},'spec':{'tier':'Admin',"
		       "'priority':1,'subject':{'namespaces':{'matchLabels':{'team':'a'}}},"
		       "'ingress':[{'action':'Deny','from':[{'namespaces':{}}]}]}}");
	sync_world_put(&w, "x",
		       "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'x',"
		       "'labels':{'team':'a'}}}");
	sync_world_run_and_commit(&w);
	CU_ASSERT(!is_open(&w, &w.pod));
	sync_world_put(&w, "x", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_open(&w, &w.pod) && agrees(&w));
	sync_world_end(&w);
}

static void put_node(struct sync_world *w, const char *role)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Node','metadata':{'name':'n2','labels':{'role':'%s'}},"
		 "'status':{'addresses':[{'type':'InternalIP','address':'192.0.2.2'}]}}",
		 role);
	sync_world_put(w, "node", text);
}

static void rule_sets_follow_the_labels_of_nodes(void)
{
	uint32_t first;
	struct sync_world w;

	begin(&w);
	sync_world_put(&w, "cluster",
		       "{'apiVersion':'policy.networking.k8s.io/v1alpha2','kind':"
		       "'ClusterNetworkPolicy','metadata':{'name':'c'},'spec':{'tier':'Admin',"
		       "'priority':1,'subject':{'namespaces':{}},'egress':[{'action':'Deny',"
		       "'to':[{'nodes':{'matchLabels':{'role':'a'}}}]}]}}");
	put_node(&w, "b");
	sync_world_run_and_commit(&w);
	first = sync_world_word(&w, &w.pod, WORD_EGRESS, false);
	put_node(&w, "a");
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_word(&w, &w.pod, WORD_EGRESS, false) != first);
	CU_ASSERT(agrees(&w));
	sync_world_end(&w);
}

/* ---------------------------------------------------------------- peers */

/* Peers without a class in one of the slots. */
static size_t peers_without_class(const struct sync_world *w)
{
	void *keys = NULL, *values = NULL;
	size_t count = 0, without = 0;
	const struct ruleset_peer *peers;

	CU_ASSERT_FATAL(maps_dump(w->maps, MAP_RULESET_PEERS, &keys, &values, &count) == 0);
	peers = values;
	for (size_t i = 0; i < count; i++)
		without += peers[i].peer_class[0] == 0 || peers[i].peer_class[1] == 0;
	free(keys);
	free(values);
	return without;
}

#define TEAM(space, team)                                                                          \
	"{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'" space                         \
	"','labels':{'team':'" team "'}}}"
#define OF_TEAM                                                                                    \
	"'podSelector':{},'ingress':[{'from':[{'namespaceSelector':{}}],'ports':[{'port':80}]},"   \
	"{'from':[{'namespaceSelector':{'matchLabels':{'team':'a'}}}]}]"

/* x/own and z/z, which keeps the class of the team in the set. */
static void begin_teams(struct sync_world *w, const char *policy)
{
	begin(w);
	sync_world_put(w, "x", TEAM("x", "b"));
	sync_world_put(w, "z", TEAM("z", "a"));
	sync_world_put(w, "pod-z",
		       "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'z','namespace':'z'},"
		       "'spec':{" THERE "},'status':{" IP("10.2.0.9") "}}");
	sync_world_put_policy(w, "p", policy);
	sync_world_run_and_commit(w);
}

/* It was what pods are by default, and is so in the slot before the switch. */
static void a_pod_that_gets_a_class_had_that_of_pods_before(void)
{
	struct sync_world w;

	begin_teams(&w, OF_TEAM);
	CU_ASSERT(peers_without_class(&w) == 0);
	sync_world_put(&w, "x", TEAM("x", "a"));
	CU_ASSERT(sync_world_run(&w));
	CU_ASSERT(peers_without_class(&w) == 0);
	sync_world_end(&w);
}

static size_t count_peers(const struct sync_world *w)
{
	void *keys = NULL, *values = NULL;
	size_t count = 0;

	CU_ASSERT_FATAL(maps_dump(w->maps, MAP_RULESET_PEERS, &keys, &values, &count) == 0);
	free(keys);
	free(values);
	return count;
}

/* By a compiler that begins anew, which knows no peers that went. */
static void a_class_that_was_lost_while_nobody_followed_is_lost_in_the_maps(void)
{
	struct sync_world w;
	size_t before;

	begin_teams(&w, "'podSelector':{},'ingress':[{'from':[{'namespaceSelector':{'matchLabels':"
			"{'team':'a'}}}]}]");
	before = count_peers(&w);
	sync_world_put(&w, "x", TEAM("x", "a"));
	sync_world_run_and_commit(&w);
	CU_ASSERT(count_peers(&w) == before + 1);
	sync_world_put(&w, "x", TEAM("x", "b"));
	policy_sync_resync(w.policy_sync);
	CU_ASSERT(sync_world_run(&w));
	CU_ASSERT(peers_without_class(&w) == 1);
	policy_sync_commit(w.policy_sync);
	CU_ASSERT(count_peers(&w) == before);
	sync_world_end(&w);
}

/* ---------------------------------------------------------------- rules that are counted */

static bool is_counted(struct sync_world *w, const char *policy)
{
	const struct rule_origin origin = {.namespace = "x", .name = policy};
	uint32_t rule = policy_rule_number(policy_sync_registry(w->policy_sync), &origin);

	return rule && rule_counts_counted(policy_sync_rule_counts(w->policy_sync), rule);
}

#define ONE_PORT "'podSelector':{},'ingress':[{'ports':[{'port':80}]}]"

static void rules_are_counted_while_a_set_has_them(void)
{
	struct local_pod more;
	struct sync_world w;

	begin(&w);
	sync_world_run_and_commit(&w);
	sync_world_put_policy(&w, "p", ONE_PORT);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_counted(&w, "p"));
	/* Two sets have it; one goes, and further passes take nothing from the other. */
	more = sync_world_add(&w, "more", 65537, "10.1.0.6");
	sync_world_put_pod(&w, "more", APP("a"), HERE, "");
	sync_world_put_policy(
		&w, "q",
		"'podSelector':{'matchLabels':{'app':'a'}},'ingress':[{'ports':[{'port':81}]}]");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_counted(&w, "p") && is_counted(&w, "q"));
	policy_sync_remove_pod(w.policy_sync, &more);
	for (int i = 0; i < 3; i++)
		sync_world_run_and_commit(&w);
	CU_ASSERT(is_counted(&w, "p") && !is_counted(&w, "q"));
	/* A policy that goes while a compiler begins anew leaves none. */
	sync_world_put_policy(&w, "p", NULL);
	policy_sync_resync(w.policy_sync);
	sync_world_run_and_commit(&w);
	CU_ASSERT(!is_counted(&w, "p"));
	sync_world_end(&w);
}

/* ---------------------------------------------------------------- room */

#define PORTS(a)                                                                                   \
	"'ingress':[{'ports':[{'port':" a "1},{'port':" a "3},{'port':" a "5},{'port':" a          \
	"7},{'port':" a "9}]}]"

static void a_set_without_room_closes_its_pods_until_another_goes(void)
{
	struct sync_world w = {.config = {.max_policy_entries = 8}};
	struct local_pod more;

	sync_world_begin(&w, NULL);
	more = sync_world_add(&w, "more", 65537, "10.1.0.6");
	sync_world_put_pod(&w, "more", APP("a"), HERE, "");
	sync_world_put_pod(&w, "own", APP("b"), HERE, "");
	sync_world_put_policy(&w, "p", "'podSelector':{'matchLabels':{'app':'a'}}," PORTS("10"));
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &more) >= RULESET_FIRST);
	sync_world_put_policy(&w, "q", "'podSelector':{'matchLabels':{'app':'b'}}," PORTS("20"));
	CU_ASSERT(!sync_world_run_and_commit(&w));
	CU_ASSERT(sync_world_ingress(&w, &w.pod) == RULESET_CAPACITY);
	sync_world_put_policy(&w, "p", NULL);
	CU_ASSERT(sync_world_run_and_commit(&w)); /* what is pruned makes room */
	CU_ASSERT(sync_world_ingress(&w, &w.pod) == RULESET_CAPACITY);
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) >= RULESET_FIRST);
	CU_ASSERT(is_open(&w, &more));
	sync_world_end(&w);
}

static void put_peer(struct sync_world *w, int n)
{
	char name[16], labels[64], status[64];

	snprintf(name, sizeof(name), "r%d", n);
	snprintf(labels, sizeof(labels), ",'labels':{'app':'a','n':'%d'}", n);
	snprintf(status, sizeof(status), "'podIPs':[{'ip':'10.2.0.%d'}]", n);
	sync_world_put_pod(w, name, labels, THERE, status);
}

/* What is left of it is nobody's, and goes. */
static void a_set_that_grows_out_of_the_map_closes_its_pods(void)
{
	struct sync_world w = {.config = {.max_policy_entries = 8}};

	sync_world_begin(&w, NULL);
	sync_world_put_policy(&w, "n", "'podSelector':{'matchLabels':{'n':'none'}}");
	sync_world_put_policy(&w, "p",
			      "'podSelector':{},'ingress':[{'from':[{'podSelector':{"
			      "'matchLabels':{'app':'a'}}}]}]");
	for (int i = 1; i <= 5; i++)
		put_peer(&w, i);
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) >= RULESET_FIRST);
	CU_ASSERT(count_peers(&w) >= 5);
	for (int i = 6; i <= 10; i++)
		put_peer(&w, i);
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) == RULESET_CAPACITY);
	CU_ASSERT(count_peers(&w) == 0);
	/* And comes back when it fits again: it was tried once more when what was left of it had
	 * gone. */
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) == RULESET_CAPACITY);
	for (int i = 1; i <= 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "r%d", i);
		sync_world_put(&w, name, NULL);
	}
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) >= RULESET_FIRST);
	sync_world_end(&w);
}

/* ---------------------------------------------------------------- passes that fail */

/* The map of addresses takes nothing any more. */
static void a_run_that_fails_takes_new_pods_out_again(void)
{
	struct local_pod more;
	struct sync_world w;
	bool switched;

	begin(&w);
	sync_world_run_and_commit(&w);
	more = sync_world_add(&w, "more", 65537, "10.1.0.6");
	CU_ASSERT_FATAL(bpf_map_freeze(maps_fd(w.maps, MAP_ADDRESSES)) == 0);
	CU_ASSERT(policy_sync_run(w.policy_sync, &switched) < 0);
	CU_ASSERT_EQUAL(policy_sync_pod_in_force(w.policy_sync, &more), -ENOENT);
	CU_ASSERT(sync_world_word(&w, &more, WORD_IDENTITY, false) == 0);
	CU_ASSERT(sync_world_word(&w, &w.pod, WORD_IDENTITY, false) != 0);
	sync_world_end(&w);
}

/* Numbers of identities have run out, and the pod that wanted one goes. */
static void a_compiler_that_failed_is_not_asked_again(void)
{
	const struct labels none = {};
	struct sync_world w;
	bool switched;

	begin(&w);
	sync_world_put_policy(&w, "p", "'podSelector':{'matchLabels':{'app':'a'}},'ingress':[]");
	sync_world_run_and_commit(&w);
	CU_ASSERT(registry_add_identity(policy_sync_registry(w.policy_sync), UINT32_MAX, "other",
					&none, NULL, 0) == 0);
	sync_world_put_pod(&w, "r", APP("a"), THERE, IP("10.2.0.1"));
	CU_ASSERT(policy_sync_run(w.policy_sync, &switched) == -ENOSPC);
	sync_world_put(&w, "r", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(agrees(&w));
	sync_world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_pod_elsewhere_takes_its_new_address_and_leaves_the_old_one),
		UNIT_TEST(an_address_that_the_node_gets_is_no_pods_until_it_goes),
		UNIT_TEST(an_object_of_this_node_claims_nothing),
		UNIT_TEST(an_object_stands_for_another_thing_while_its_pod_is_here),
		UNIT_TEST(the_identity_of_a_pod_that_went_goes),
		UNIT_TEST(an_element_of_the_array_is_free_two_waits_later),
		UNIT_TEST(entries_of_before_the_start_go_with_the_first_run),
		UNIT_TEST(all_that_a_switch_changes_of_a_pod_is_mirrored),
		UNIT_TEST(a_switch_behind_another_brings_nothing_old_back),
		UNIT_TEST(pods_of_this_node_are_grouped_by_what_policies_come_to_name),
		UNIT_TEST(a_namespace_that_went_has_no_labels),
		UNIT_TEST(rule_sets_follow_the_labels_of_nodes),
		UNIT_TEST(a_pod_that_gets_a_class_had_that_of_pods_before),
		UNIT_TEST(a_class_that_was_lost_while_nobody_followed_is_lost_in_the_maps),
		UNIT_TEST(rules_are_counted_while_a_set_has_them),
		UNIT_TEST(a_set_without_room_closes_its_pods_until_another_goes),
		UNIT_TEST(a_set_that_grows_out_of_the_map_closes_its_pods),
		UNIT_TEST(a_run_that_fails_takes_new_pods_out_again),
		UNIT_TEST(a_compiler_that_failed_is_not_asked_again),
		UNIT_TEST(a_pod_elsewhere_is_behind_its_node_whatever_its_labels),
	};

	return UNIT_RUN("policy sync, followed", tests);
}
