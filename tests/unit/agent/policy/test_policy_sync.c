/* SPDX-License-Identifier: Apache-2.0 */
/* Which changes move the generation, which touch single addresses, and which nothing. On the
 * kernel's maps; needs root.
 */
#include "agent/policy/policy_sync.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/config/config.h"
#include "agent/kernel/flow_table.h"
#include "agent/policy/rule_counts.h"
#include "tests/unit/refuse.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define ROOM 1024
#define PODS 64

struct world {
	struct config config;
	struct node node;
	struct maps *maps;
	struct store *store;
	struct policy_sync *policy_sync;
	struct local_pod pod;
};

static void on_change(const struct object *object, bool deleted, void *data)
{
	struct world *w = data;

	policy_sync_object_changed(w->policy_sync, object, deleted);
}

static struct polder_addr addr(const char *text)
{
	struct polder_addr addr = {};

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

static void put(struct world *w, const char *origin, const char *text)
{
	struct object_list list = {};
	struct error error = {};

	if (text)
		CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT_FATAL(store_replace(w->store, origin, &list) == 0);
	object_list_clear(&list);
}

/* A pod of another node; `more` goes into its metadata. */
static void put_remote(struct world *w, const char *name, const char *app, const char *ip,
		       const char *more, bool ready)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\","
		 "\"namespace\":\"x\",\"labels\":"
		 "{\"app\":\"%s\"}%s},"
		 "\"spec\":{\"nodeName\":\"other\"},\"status\":{\"phase\":\"Running\",\"podIPs\":[{"
		 "\"ip\":\"%s\"}],"
		 "\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\"}]}}",
		 name, app, more, ip, ready ? "True" : "False");
	put(w, name, text);
}

static void begin(struct world *w)
{
	*w = (struct world){.config = small_config(ROOM)};
	w->config.max_pods = PODS;
	w->config.pod_cidr_v4 = (struct prefix){.addr = addr("10.1.0.0"), .length = 96 + 16};
	w->node.ipv4 = addr("192.0.2.1");
	w->maps = small_maps(&w->config, NULL);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	CU_ASSERT_FATAL(policy_sync_open(w->maps, w->store, &w->config, &w->node, NULL, NULL,
					 &w->policy_sync) == 0);
	store_listen(w->store, on_change, w);
	w->pod = (struct local_pod){.container_id = "c1",
				    .ifname = "eth0",
				    .namespace = "x",
				    .name = "own",
				    .ifindex = 65536};
	w->pod.ipv4 = addr("10.1.0.5");
	CU_ASSERT_FATAL(policy_sync_add_pod(w->policy_sync, &w->pod) == 0);
	put(w, "policy",
	    "{\"apiVersion\":\"networking.k8s.io/"
	    "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"p\",\"namespace\":\"x\"},"
	    "\"spec\":{\"podSelector\":{},\"ingress\":[{\"from\":[{\"podSelector\":{"
	    "\"matchLabels\":{\"app\":\"a\"}}}]}"
	    "]}}");
	/* Of nobody, but it makes the label part of identities. */
	put(w, "more",
	    "{\"apiVersion\":\"networking.k8s.io/"
	    "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"p\",\"namespace\":\"nobody\"}"
	    ","
	    "\"spec\":{\"podSelector\":{\"matchLabels\":{\"more\":\"1\"}}}}");
	put_remote(w, "r1", "a", "10.2.0.1", "", true);
	put_remote(w, "r2", "b", "10.2.0.2", "", true);
}

/* Of no pod of this node. The label is part of identities all the time, whatever other policies
 * come and go. */
static void name_app_always(struct world *w)
{
	put(w, "always",
	    "{\"apiVersion\":\"networking.k8s.io/"
	    "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"always\",\"namespace\":\"w\"}"
	    ","
	    "\"spec\":{\"podSelector\":{},\"ingress\":[{\"from\":[{\"podSelector\":{"
	    "\"matchLabels\":{\"app\":\"a\"}},"
	    "\"namespaceSelector\":{}}]}]}}");
}

static void end(struct world *w)
{
	policy_sync_close(w->policy_sync);
	store_free(w->store);
	maps_close(w->maps);
}

static uint32_t generation(struct world *w)
{
	return maps_control(w->maps)->generation;
}

/* What came of a run. */
struct outcome {
	uint32_t moved;
	uint64_t writes;
	size_t touched;
	bool switched;
	struct polder_addr first, second;
};

static struct outcome reconcile(struct world *w)
{
	struct outcome outcome = {.moved = generation(w), .writes = maps_writes(w->maps)};
	const struct polder_addr *addrs;

	CU_ASSERT(policy_sync_run(w->policy_sync, &outcome.switched) == 0);
	outcome.touched = policy_sync_touched(w->policy_sync, &addrs);
	if (outcome.touched)
		outcome.first = addrs[0];
	if (outcome.touched > 1)
		outcome.second = addrs[1];
	outcome.moved = generation(w) - outcome.moved;
	outcome.writes = maps_writes(w->maps) - outcome.writes;
	return outcome;
}

static struct outcome run_and_commit(struct world *w)
{
	struct outcome outcome = reconcile(w);

	policy_sync_commit(w->policy_sync);
	return outcome;
}

static void the_first_run_moves_the_generation(void)
{
	struct world w;

	begin(&w);
	CU_ASSERT(run_and_commit(&w).moved > 0);
	/* After a restart, too: what the agent before it had still to look at is not known. */
	policy_sync_close(w.policy_sync);
	CU_ASSERT_FATAL(policy_sync_open(w.maps, w.store, &w.config, &w.node, NULL, NULL,
					 &w.policy_sync) == 0);
	CU_ASSERT_FATAL(policy_sync_add_pod(w.policy_sync, &w.pod) == 0);
	CU_ASSERT(run_and_commit(&w).moved > 0);
	end(&w);
}

static void what_no_map_tells_writes_nothing(void)
{
	struct outcome outcome;
	struct world w;

	begin(&w);
	run_and_commit(&w);
	outcome = run_and_commit(&w);
	CU_ASSERT(outcome.moved == 0 && outcome.writes == 0 && outcome.touched == 0);
	for (int i = 0; i < 100; i++) {
		char note[64];

		snprintf(note, sizeof(note), ",\"annotations\":{\"n\":\"%d\"}", i);
		put_remote(&w, "r1", "a", "10.2.0.1", note, i & 1);
		outcome = run_and_commit(&w);
		CU_ASSERT(outcome.moved == 0 && outcome.writes == 0 && outcome.touched == 0);
	}
	end(&w);
}

static bool tells_of(const struct outcome *outcome, const char *text)
{
	struct polder_addr wanted = addr(text);

	return outcome->moved == 0 && outcome->touched == 1 &&
	       memcmp(&outcome->first, &wanted, sizeof(wanted)) == 0;
}

/* Of a pod with one address: flows that name it, and those that count for the pod. */
static bool tells_of_pod(struct world *w, const struct outcome *outcome, const char *text)
{
	uint32_t places = maps_get(w->maps, MAP_PODS)->max_entries;
	struct polder_addr wanted = addr(text),
			   owner = flow_owner_addr(w->pod.ifindex % places, FAMILY_V4);

	return outcome->moved == 0 && outcome->touched == 2 &&
	       memcmp(&outcome->first, &wanted, sizeof(wanted)) == 0 &&
	       memcmp(&outcome->second, &owner, sizeof(owner)) == 0;
}

/* How many peers have a class in the slot in force. */
static size_t peers_in_force(struct world *w)
{
	void *keys = NULL, *values = NULL;
	size_t count = 0, named = 0;
	const struct ruleset_peer *peers;

	CU_ASSERT_FATAL(maps_dump(w->maps, MAP_RULESET_PEERS, &keys, &values, &count) == 0);
	peers = values;
	for (size_t i = 0; i < count; i++)
		named += peers[i].peer_class[maps_slot(w->maps)] != 0;
	free(keys);
	free(values);
	return named;
}

static void a_pod_elsewhere_that_comes_or_goes_touches_its_address_alone(void)
{
	struct outcome outcome;
	struct world w;

	begin(&w);
	run_and_commit(&w);
	/* Of an identity that is known. */
	put_remote(&w, "r3", "a", "10.2.0.3", "", true);
	outcome = run_and_commit(&w);
	CU_ASSERT(tells_of(&outcome, "10.2.0.3"));
	put(&w, "r3", NULL);
	outcome = run_and_commit(&w);
	CU_ASSERT(tells_of(&outcome, "10.2.0.3"));
	end(&w);
}

static void an_identity_that_is_new_is_in_force_without_a_switch(void)
{
	struct outcome outcome;
	size_t before;
	struct world w;

	begin(&w);
	run_and_commit(&w);
	before = peers_in_force(&w);
	/* One label more: an identity of its own, which the policy's rule allows. */
	put(&w, "r4",
	    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"r4\",\"namespace\":"
	    "\"x\",\"labels\":{"
	    "\"app\":\"a\",\"more\":\"1\"}},"
	    "\"spec\":{\"nodeName\":\"other\"},\"status\":{\"podIPs\":[{\"ip\":\"10.2.0.4\"}]}}");
	outcome = reconcile(&w);
	CU_ASSERT(tells_of(&outcome, "10.2.0.4"));
	CU_ASSERT(peers_in_force(&w) == before + 1);
	CU_ASSERT(!outcome.switched);
	policy_sync_commit(w.policy_sync);
	/* And goes without one; its peer is removed behind it. */
	put(&w, "r4", NULL);
	outcome = reconcile(&w);
	CU_ASSERT(tells_of(&outcome, "10.2.0.4"));
	CU_ASSERT(peers_in_force(&w) == before + 1);
	policy_sync_commit(w.policy_sync);
	CU_ASSERT(peers_in_force(&w) == before);
	end(&w);
}

static void an_identity_that_returns_at_once_is_in_force_without_a_switch(void)
{
	struct outcome outcome;
	size_t before;
	struct world w;

	begin(&w);
	put(&w, "twin",
	    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"twin\",\"namespace\":"
	    "\"x\",\"labels\":{\"app\":\"a\",\"more\":\"1\"}},"
	    "\"spec\":{\"nodeName\":\"other\"},\"status\":{\"podIPs\":[{\"ip\":\"10.2.0.4\"}]}}");
	run_and_commit(&w);
	before = peers_in_force(&w);
	/* r1 is the only one of its labels; behind a finished pass and before one. */
	for (int i = 0; i < 8; i++) {
		put(&w, "r1", NULL);
		outcome = i & 1 ? reconcile(&w) : run_and_commit(&w);
		CU_ASSERT(tells_of(&outcome, "10.2.0.1"));
		put_remote(&w, "r1", "a", "10.2.0.1", "", true);
		outcome = run_and_commit(&w);
		CU_ASSERT(tells_of(&outcome, "10.2.0.1"));
		CU_ASSERT(peers_in_force(&w) == before);
	}
	end(&w);
}

/* A namespace with one label and one pod in it, of another node. */
static void put_namespace_with_pod(struct world *w, const char *name, const char *team,
				   const char *ip)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":["
		 "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"%s\","
		 "\"labels\":{\"team\":\"%s\"}}},"
		 "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"r\","
		 "\"namespace\":\"%s\"},"
		 "\"spec\":{\"nodeName\":\"other\"},\"status\":{\"podIPs\":[{\"ip\":\"%s\"}]}}]}",
		 name, team, name, ip);
	put(w, name, text);
}

static void put_team_policy(struct world *w)
{
	put(w, "team",
	    "{\"apiVersion\":\"networking.k8s.io/"
	    "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"team\",\"namespace\":\"x\"},"
	    "\"spec\":{\"podSelector\":{},\"ingress\":[{\"from\":[{\"namespaceSelector\":{"
	    "\"matchLabels\":{\"team\":\"a\"}}}]}]}}");
}

static void an_identity_that_returns_with_another_class_has_it_at_once(void)
{
	struct outcome outcome;
	size_t before;
	struct world w;

	begin(&w);
	put_team_policy(&w);
	put_namespace_with_pod(&w, "y", "a", "10.2.0.5");
	put_namespace_with_pod(&w, "z", "a", "10.2.0.6");
	run_and_commit(&w);
	before = peers_in_force(&w);
	/* It goes, and what it had stands until the next finish. */
	put(&w, "y", NULL);
	reconcile(&w);
	CU_ASSERT(peers_in_force(&w) == before);
	put_namespace_with_pod(&w, "y", "b", "10.2.0.5");
	outcome = reconcile(&w);
	CU_ASSERT(peers_in_force(&w) == before - 1);
	CU_ASSERT(outcome.moved == 0 && outcome.touched > 0);
	policy_sync_commit(w.policy_sync);
	CU_ASSERT(peers_in_force(&w) == before - 1);
	end(&w);
}

/* The class of an address in the rule set for what the own pod gets, in the slot in force; -1: the
 * default one. */
static int class_in_force(struct world *w, const char *text)
{
	const struct address_key key = {.prefixlen = 128, .addr = addr(text)};
	uint32_t place = maps_pod_index(w->maps, w->pod.ifindex);
	struct ruleset_peer_key peer_key = {};
	const struct ruleset_entry *set;
	struct address_entry address;
	struct ruleset_peer peer;
	struct pod_entry pod;

	CU_ASSERT_FATAL(maps_find(w->maps, MAP_ADDRESSES, &key, &address) == 0);
	CU_ASSERT_FATAL(maps_find(w->maps, MAP_PODS, &place, &pod) == 0);
	set = maps_element(w->maps, MAP_RULESETS, pod.ingress_rules[maps_slot(w->maps)]);
	peer_key.ruleset = set->number;
	peer_key.identity = address.identity[maps_slot(w->maps)];
	return maps_find(w->maps, MAP_RULESET_PEERS, &peer_key, &peer) < 0 ||
			       peer.peer_class[maps_slot(w->maps)] == set->default_pod_class
		       ? -1
		       : peer.peer_class[maps_slot(w->maps)];
}

static void a_rule_set_that_returns_before_the_sweep_finds_nothing_of_before(void)
{
	struct world w;

	begin(&w);
	put_team_policy(&w);
	put_namespace_with_pod(&w, "y", "a", "10.2.0.5");
	put_namespace_with_pod(&w, "z", "a", "10.2.0.6");
	run_and_commit(&w);
	CU_ASSERT(class_in_force(&w, "10.2.0.5") > 0);
	/* It goes in a run that looks at everything, so nobody has a list of its elements. */
	put(&w, "team", NULL);
	policy_sync_resync(w.policy_sync);
	reconcile(&w);
	put_namespace_with_pod(&w, "y", "b", "10.2.0.5");
	put_team_policy(&w);
	reconcile(&w);
	CU_ASSERT(class_in_force(&w, "10.2.0.5") < 0 && class_in_force(&w, "10.2.0.6") > 0);
	policy_sync_commit(w.policy_sync);
	CU_ASSERT(class_in_force(&w, "10.2.0.5") < 0 && class_in_force(&w, "10.2.0.6") > 0);
	end(&w);
}

static void a_pod_that_changes_its_labels_touches_its_address_alone(void)
{
	struct outcome outcome;
	struct world w;

	begin(&w);
	run_and_commit(&w);
	put_remote(&w, "r2", "a", "10.2.0.2", "", true);
	outcome = run_and_commit(&w);
	CU_ASSERT(outcome.switched && tells_of(&outcome, "10.2.0.2"));
	end(&w);
}

/* A pod of this node that no policy of namespace x selects, with an address of each family. */
static struct local_pod add_other(struct world *w)
{
	struct local_pod other = {.container_id = "c2",
				  .ifname = "eth0",
				  .namespace = "y",
				  .name = "other",
				  .ifindex = 65537};

	other.ipv4 = addr("10.1.0.6");
	other.ipv6 = addr("fd00::6");
	CU_ASSERT_FATAL(policy_sync_add_pod(w->policy_sync, &other) == 0);
	return other;
}

static void a_policy_that_changes_touches_the_pods_that_it_selects(void)
{
	struct outcome outcome;
	struct world w;

	begin(&w);
	name_app_always(&w);
	add_other(&w);
	run_and_commit(&w);
	put(&w, "policy", NULL);
	outcome = run_and_commit(&w);
	CU_ASSERT(outcome.switched && tells_of_pod(&w, &outcome, "10.1.0.5"));
	put(&w, "policy2",
	    "{\"apiVersion\":\"networking.k8s.io/"
	    "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"q\",\"namespace\":\"y\"},"
	    "\"spec\":{\"podSelector\":{}}}");
	outcome = run_and_commit(&w);
	CU_ASSERT(outcome.switched && outcome.moved == 0 && outcome.touched == 4);
	end(&w);
}

static void put_namespace(struct world *w, const char *labels)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"x\","
		 "\"labels\":{%s}}}",
		 labels);
	put(w, "namespace", text);
}

/* A pod of another namespace has the label all the time: the set keeps its number, only the class
 * of x's pods in it changes. */
static void labels_of_a_namespace_touch_the_pods_whose_rule_sets_name_them(void)
{
	struct outcome outcome;
	struct world w;

	begin(&w);
	add_other(&w);
	put_namespace(&w, "");
	put(&w, "z",
	    "[{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"z\","
	    "\"labels\":{\"team\":\"a\"}}},"
	    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"z\",\"namespace\":"
	    "\"z\"},"
	    "\"spec\":{\"nodeName\":\"other\"},\"status\":{\"podIPs\":[{\"ip\":\"10.2.0.9\"}]}}]");
	put(&w, "policy", NULL);
	put(&w, "policy2",
	    "{\"apiVersion\":\"networking.k8s.io/"
	    "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"q\",\"namespace\":\"y\"},"
	    "\"spec\":{\"podSelector\":{},\"ingress\":[{\"from\":[{\"namespaceSelector\":{"
	    "\"matchLabels\":{\"team\":\"a\"}}}]}"
	    "]}}");
	run_and_commit(&w);
	for (int i = 0; i < 4; i++) {
		put_namespace(&w, i & 1 ? "" : "\"team\":\"a\"");
		outcome = run_and_commit(&w);
		CU_ASSERT(outcome.switched && outcome.moved == 0 && outcome.touched == 4);
		CU_ASSERT(outcome.first.bytes[15] == 6);
	}
	end(&w);
}

static void a_policy_of_no_pod_of_this_node_moves_nothing(void)
{
	struct outcome outcome;
	struct world w;

	begin(&w);
	run_and_commit(&w);
	put(&w, "policy2",
	    "{\"apiVersion\":\"networking.k8s.io/"
	    "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"q\",\"namespace\":\"y\"},"
	    "\"spec\":{\"podSelector\":{}}}");
	outcome = run_and_commit(&w);
	CU_ASSERT(outcome.moved == 0 && outcome.touched == 0);
	end(&w);
}

static void a_pod_range_is_told_of_and_moves_nothing(void)
{
	const struct prefix *ranges;
	struct world w;

	begin(&w);
	run_and_commit(&w);
	put(&w, "node",
	    "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"other\"},\"spec\":{"
	    "\"podCIDRs\":[\"10.2."
	    "0.0/16\"]}}");
	CU_ASSERT(run_and_commit(&w).moved == 0);
	CU_ASSERT(policy_sync_touched_ranges(w.policy_sync, &ranges) == 1);
	CU_ASSERT(ranges[0].length == POLDER_V4_MAPPED_BITS + 16 && ranges[0].addr.bytes[13] == 2);
	CU_ASSERT(policy_sync_touched_ranges(w.policy_sync, &ranges) == 0);
	end(&w);
}

static void a_pod_range_with_a_policy_moves_the_generation_and_switches(void)
{
	const struct prefix *ranges;
	struct outcome outcome;
	struct world w;

	begin(&w);
	name_app_always(&w);
	run_and_commit(&w);
	put(&w, "node",
	    "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"other\"},\"spec\":{"
	    "\"podCIDRs\":[\"10.2."
	    "0.0/16\"]}}");
	put(&w, "policy", NULL);
	outcome = run_and_commit(&w);
	CU_ASSERT(outcome.moved == 0 && outcome.switched);
	CU_ASSERT(policy_sync_touched_ranges(w.policy_sync, &ranges) == 1);
	put_remote(&w, "r2", "a", "10.2.0.2", "", true);
	outcome = run_and_commit(&w);
	CU_ASSERT(outcome.switched && tells_of(&outcome, "10.2.0.2"));
	end(&w);
}

/* 0 marks a free place, 1 what is to be re-evaluated. */
static void the_generation_turns_over_to_what_marks_nothing(void)
{
	struct world w;

	begin(&w);
	for (uint32_t i = 0; i < 3; i++) {
		maps_control(w.maps)->generation = UINT32_MAX - 2 + i;
		maps_move_generation(w.maps);
		CU_ASSERT(generation(&w) == (i < 2 ? UINT32_MAX - 1 + i : 2));
	}
	end(&w);
}

static void a_pod_of_this_node_touches_its_address_alone(void)
{
	struct local_pod more = {.container_id = "c2",
				 .ifname = "eth0",
				 .namespace = "x",
				 .name = "more",
				 .ifindex = 65537};
	struct outcome outcome;
	uint32_t before;
	struct world w;

	begin(&w);
	run_and_commit(&w);
	more.ipv4 = addr("10.1.0.6");
	CU_ASSERT_FATAL(policy_sync_add_pod(w.policy_sync, &more) == 0);
	outcome = run_and_commit(&w);
	CU_ASSERT(outcome.moved == 0 && outcome.touched >= 1);
	CU_ASSERT_EQUAL(policy_sync_pod_in_force(w.policy_sync, &more), 0);
	before = generation(&w);
	policy_sync_remove_pod(w.policy_sync, &more);
	outcome = run_and_commit(&w);
	CU_ASSERT(generation(&w) == before && outcome.touched == 0);
	end(&w);
}

/* In a child whose look-ups fail. */
static void entries_that_cannot_be_read_are_not_called_missing(void)
{
	struct world w;
	int status;
	pid_t child;

	begin(&w);
	run_and_commit(&w);
	CU_ASSERT_EQUAL(policy_sync_pod_in_force(w.policy_sync, &w.pod), 0);
	child = fork();
	if (child == 0)
		_exit(!refuse_call(SYS_bpf, BPF_MAP_LOOKUP_ELEM, ENOMEM) ||
		      policy_sync_pod_in_force(w.policy_sync, &w.pod) != -ENOMEM);
	CU_ASSERT(waitpid(child, &status, 0) == child && status == 0);
	end(&w);
}

/* Before its entries are pruned. */
static void a_rule_that_went_and_came_back_is_not_counted_for_ever(void)
{
	const struct rule_origin origin = {.namespace = "x", .name = "p"};
	struct object_list list = {};
	struct object *policy;
	uint32_t rule;
	struct world w;

	begin(&w);
	run_and_commit(&w);
	rule = policy_rule_number(policy_sync_registry(w.policy_sync), &origin);
	CU_ASSERT(rule_counts_counted(policy_sync_rule_counts(w.policy_sync), rule));
	policy = object_share(store_get(w.store, OBJECT_NETWORK_POLICY, "x", "p"));
	put(&w, "policy", NULL);
	reconcile(&w);
	list = (struct object_list){.objects = calloc(1, sizeof(policy)), .count = 1};
	list.objects[0] = policy;
	CU_ASSERT(store_replace(w.store, "policy", &list) == 0);
	object_list_clear(&list);
	run_and_commit(&w);
	CU_ASSERT(rule_counts_counted(policy_sync_rule_counts(w.policy_sync), rule));
	put(&w, "policy", NULL);
	run_and_commit(&w);
	CU_ASSERT(!rule_counts_counted(policy_sync_rule_counts(w.policy_sync), rule));
	end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(the_first_run_moves_the_generation),
		UNIT_TEST(what_no_map_tells_writes_nothing),
		UNIT_TEST(a_pod_elsewhere_that_comes_or_goes_touches_its_address_alone),
		UNIT_TEST(an_identity_that_is_new_is_in_force_without_a_switch),
		UNIT_TEST(a_rule_that_went_and_came_back_is_not_counted_for_ever),
		UNIT_TEST(an_identity_that_returns_at_once_is_in_force_without_a_switch),
		UNIT_TEST(an_identity_that_returns_with_another_class_has_it_at_once),
		UNIT_TEST(a_rule_set_that_returns_before_the_sweep_finds_nothing_of_before),
		UNIT_TEST(a_pod_that_changes_its_labels_touches_its_address_alone),
		UNIT_TEST(a_policy_that_changes_touches_the_pods_that_it_selects),
		UNIT_TEST(labels_of_a_namespace_touch_the_pods_whose_rule_sets_name_them),
		UNIT_TEST(a_policy_of_no_pod_of_this_node_moves_nothing),
		UNIT_TEST(a_pod_range_is_told_of_and_moves_nothing),
		UNIT_TEST(a_pod_range_with_a_policy_moves_the_generation_and_switches),
		UNIT_TEST(the_generation_turns_over_to_what_marks_nothing),
		UNIT_TEST(a_pod_of_this_node_touches_its_address_alone),
		UNIT_TEST(entries_that_cannot_be_read_are_not_called_missing),
	};

	return UNIT_RUN("policy sync", tests);
}
