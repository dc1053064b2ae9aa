/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random worlds: objects, pods of this node, passes that succeed and fail, commits early and late,
 * restarts, maps with and without room. After each step what was followed is what all objects say,
 * and no verdict has changed of which nobody was told. A world is made of its number alone; on the
 * kernel's maps, needs root.
 */
#include "agent/policy/policy_sync.h"

#include <arpa/inet.h>
#include <errno.h>

#include "agent/config/config.h"
#include "agent/policy/local_pods.h"
#include "agent/policy/rule_counts.h"
#include "tests/faults.h"
#include "tests/unit/policy/compile/random_objects.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define WORLDS	   60
#define STEPS	   150
#define NAMESPACES 3
#define PODS	   9
#define LOCALS	   5 /* attachments */
#define POLICIES   6
#define CLUSTER	   2
#define NODES	   2
#define FIRST_LINK 65536
#define SIDES	   2 /* ingress, egress */

/* Of pods here and elsewhere, nodes, ranges and nobody. */
static const char *const peers[] = {
	"10.1.0.1",    "10.1.0.2",    "10.1.0.3", "10.1.0.4",  "10.1.0.5",   "fd01::1",
	"fd01::2",     "10.2.0.1",    "10.2.0.2", "10.2.0.3",  "10.2.0.4",   "10.2.0.9",
	"192.168.0.1", "192.168.0.2", "10.3.0.1", "192.0.2.1", "203.0.113.9"};
#define PEERS (sizeof(peers) / sizeof(peers[0]))

/* Worlds that were wrong once. */
static const uint64_t found[] = {1245, 1275, 2162};

/* What the maps say of packets between a pod of this node and a peer. */
struct verdict {
	struct polder_addr peer;
	uint32_t flags, link; /* of the peer's address */
	uint32_t own, rules, identity_kind, peer_class;
	uint64_t digest[2];
};

struct world {
	uint64_t random;
	struct config config;
	struct node node;
	struct maps *maps;
	struct store *store;
	struct policy_sync *policy_sync;
	char state[64];
	struct local_pod pods[LOCALS]; /* ifindex 0: not attached */
	char names[LOCALS][16], spaces[LOCALS][16];
	struct polder_addr addrs[PEERS];
	struct verdict verdicts[LOCALS][PEERS][SIDES];
	uint32_t generation; /* then */
	struct polder_addr touched[512];
	size_t touched_count;
	struct prefix ranges[64]; /* touched as a whole */
	size_t range_count;
	bool faulty;
	bool dirty; /* a pod came or went since the last pass */
	const char *step;
};

/* ---------------------------------------------------------------- objects */

static void on_change(const struct object *object, bool deleted, void *data)
{
	struct world *w = data;

	faults_begin(w->faulty ? 1 + random_pick(&w->random, 3) : 0);
	policy_sync_object_changed(w->policy_sync, object, deleted);
	faults_end();
}

/* JSON with ' for "; NULL deletes. */
static void put(struct world *w, const char *origin, const char *json)
{
	struct object_list list = {};
	struct error error = {};
	char *copy = json ? strdup(json) : NULL;

	for (char *c = copy; c && *c; c++)
		*c = *c == '\'' ? '"' : *c;
	if (copy && objects_decode(copy, strlen(copy), &list, &error) < 0) {
		fprintf(stderr, "%s: %s %s\n", copy, error.path, error.text);
		abort();
	}
	free(copy);
	w->faulty = random_pick(&w->random, 40) == 0;
	CU_ASSERT_FATAL(store_replace(w->store, origin, &list) == 0);
	object_list_clear(&list);
}

static void change_pod(struct world *w)
{
	unsigned int i = random_pick(&w->random, PODS);
	const char *origin = random_text("pod%u", i);

	if (random_pick(&w->random, 4) == 0) {
		put(w, origin, NULL);
		return;
	}
	put(w, origin,
	    random_text(
		    "{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'n%u','name':'p%u',%s"
		    "'labels':{%s}},'spec':{'nodeName':'%s',%s'containers':[{'name':'c',%s'image':'"
		    "i'"
		    "}]},'status':{'phase':'%s','podIPs':[{'ip':'10.%u.0.%u'}]}}",
		    i % NAMESPACES, i,
		    random_pick(&w->random, 8) ? "" : "'deletionTimestamp':'2026-01-01T00:00:00Z',",
		    random_labels(&w->random), random_pick(&w->random, 4) ? "other" : "here",
		    random_pick(&w->random, 10) ? "" : "'hostNetwork':true,",
		    random_pick(&w->random, 3) ? ""
					       : "'ports':[{'name':'web','containerPort':8080}],",
		    random_pick(&w->random, 10) ? "Running" : "Succeeded",
		    random_pick(&w->random, 8) ? 2 : 1, 1 + random_pick(&w->random, 4)));
}

static void change_namespace(struct world *w)
{
	unsigned int i = random_pick(&w->random, NAMESPACES);

	put(w, random_text("space%u", i),
	    random_pick(&w->random, 5) == 0
		    ? NULL
		    : random_text("{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'n%u',"
				  "%s'labels':{'team':'m%u'}}}",
				  i,
				  random_pick(&w->random, 8)
					  ? ""
					  : "'deletionTimestamp':'2026-01-01T00:00:00Z',",
				  random_pick(&w->random, 2)));
}

static void change_node(struct world *w)
{
	unsigned int i = random_pick(&w->random, NODES);

	put(w, random_text("node%u", i),
	    random_pick(&w->random, 4) == 0
		    ? NULL
		    : random_text(
			      "{'apiVersion':'v1','kind':'Node','metadata':{'name':'node%u','"
			      "labels':"
			      "{'role':'r%u'}},'spec':{'podCIDRs':['10.%u.0.0/24']},'status':{"
			      "'addresses':[{'type':'InternalIP','address':'%s'}]}}",
			      i, random_pick(&w->random, 2), 2 + random_pick(&w->random, 2),
			      random_pick(&w->random, 6)
				      ? random_text("192.168.0.%u", 1 + random_pick(&w->random, 2))
				      : "10.2.0.1"));
}

static const char *selector(struct world *w)
{
	switch (random_pick(&w->random, 4)) {
	case 0:
		return "{}";
	case 1:
		return random_text("{'matchLabels':{'tier':'t%u'}}", random_pick(&w->random, 2));
	case 2:
		return random_text(
			"{'matchExpressions':[{'key':'app','operator':'NotIn','values':['a%u']}"
			"]}",
			random_pick(&w->random, 3));
	default:
		return random_text("{'matchLabels':{'app':'a%u'}}", random_pick(&w->random, 3));
	}
}

static const char *peer(struct world *w)
{
	switch (random_pick(&w->random, 4)) {
	case 0:
		return random_text("{'namespaceSelector':%s}",
				   random_namespace_selector(&w->random));
	case 1:
		return random_text("{'namespaceSelector':%s,'podSelector':%s}",
				   random_namespace_selector(&w->random), selector(w));
	case 2:
		return random_text("{'ipBlock':{'cidr':'10.%u.0.0/%u'}}",
				   1 + random_pick(&w->random, 3),
				   24 + 8 * random_pick(&w->random, 2));
	default:
		return random_text("{'podSelector':%s}", selector(w));
	}
}

static const char *rule(struct world *w, const char *side)
{
	const char *ports = random_pick(&w->random, 3) ? "" : "'ports':[{'port':'web'}]";
	const char *who = random_pick(&w->random, 6)
				  ? random_text("'%s':[%s,%s]", side, peer(w), peer(w))
				  : "";

	return random_text("{%s%s%s}", who, *who && *ports ? "," : "", ports);
}

static void change_policy(struct world *w)
{
	unsigned int i = random_pick(&w->random, POLICIES);
	const char *origin = random_text("policy%u", i);

	if (random_pick(&w->random, 3) == 0) {
		put(w, origin, NULL);
		return;
	}
	put(w, origin,
	    random_text(
		    "{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{"
		    "'namespace':'n%u','name':'q%u'},'spec':{'podSelector':%s,'policyTypes':[%s],"
		    "'ingress':[%s],'egress':[%s]}}",
		    i % NAMESPACES, i, selector(w),
		    random_pick(&w->random, 2)	 ? "'Ingress','Egress'"
		    : random_pick(&w->random, 2) ? "'Ingress'"
						 : "'Egress'",
		    rule(w, "from"), rule(w, "to")));
}

static void change_cluster_policy(struct world *w)
{
	static const char *const actions[] = {"Accept", "Deny", "Pass"};
	unsigned int i = random_pick(&w->random, CLUSTER);
	const char *origin = random_text("cluster%u", i);

	if (random_pick(&w->random, 3) == 0) {
		put(w, origin, NULL);
		return;
	}
	put(w, origin,
	    random_text("{'apiVersion':'policy.networking.k8s.io/"
			"v1alpha2','kind':'ClusterNetworkPolicy',"
			"'metadata':{'name':'c%u'},'spec':{'tier':'%s','priority':%u,'subject':{"
			"'namespaces':%s},'ingress':[{'action':'%s','from':[{'pods':{'"
			"namespaceSelector':%"
			"s,'podSelector':%s}}]}],'egress':[{'action':'%s','to':[{'nodes':{'"
			"matchLabels':{"
			"'role':'r%u'}}}]}]}}",
			i, random_pick(&w->random, 2) ? "Admin" : "Baseline",
			random_pick(&w->random, 3), random_namespace_selector(&w->random),
			actions[random_pick(&w->random, 3)], random_namespace_selector(&w->random),
			selector(w), actions[random_pick(&w->random, 3)],
			random_pick(&w->random, 2)));
}

static void change_object(struct world *w)
{
	switch (random_pick(&w->random, 8)) {
	case 0:
		change_namespace(w);
		break;
	case 1:
		change_node(w);
		break;
	case 2:
		change_cluster_policy(w);
		break;
	case 3:
	case 4:
		change_policy(w);
		break;
	default:
		change_pod(w);
	}
}

/* ---------------------------------------------------------------- verdicts */

static void note_touched(struct world *w, const struct polder_addr *addr)
{
	if (!addr_is_zero(addr) && w->touched_count < sizeof(w->touched) / sizeof(w->touched[0]))
		w->touched[w->touched_count++] = *addr;
}

static bool is_touched(const struct world *w, const struct polder_addr *addr)
{
	for (size_t i = 0; i < w->range_count; i++)
		if (prefix_covers(&w->ranges[i], addr, 128))
			return true;
	for (size_t i = 0; i < w->touched_count; i++)
		if (memcmp(&w->touched[i], addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

/* As a program finds it, in the slot in force. */
static struct verdict ask(struct world *w, const struct local_pod *pod, size_t at, int side)
{
	uint32_t place = maps_pod_index(w->maps, pod->ifindex), identity = IDENTITY_WORLD;
	struct address_key key = {.prefixlen = 128, .addr = w->addrs[at]};
	struct verdict verdict = {.peer = w->addrs[at]};
	unsigned int slot = maps_slot(w->maps);
	const struct ruleset_entry *set;
	struct ruleset_peer_key peer_key;
	struct ruleset_peer found;
	struct address_entry address;
	struct pod_entry entry;

	if (maps_find(w->maps, MAP_ADDRESSES, &key, &address) == 0) {
		identity = address.identity[slot];
		verdict.flags = address.flags;
		verdict.link = address.ifindex;
	}
	if (!pod->ifindex || maps_find(w->maps, MAP_PODS, &place, &entry) < 0 ||
	    entry.ifindex != (uint32_t)pod->ifindex)
		return verdict;
	verdict.own = 1;
	verdict.rules = side ? entry.egress_rules[slot] : entry.ingress_rules[slot];
	verdict.identity_kind = identity < IDENTITY_FIRST_POD ? identity : IDENTITY_FIRST_POD;
	if (verdict.rules < RULESET_FIRST)
		return verdict;
	set = maps_element(w->maps, MAP_RULESETS, verdict.rules);
	memcpy(verdict.digest, set->digest, sizeof(verdict.digest));
	verdict.rules = RULESET_FIRST;
	peer_key = (struct ruleset_peer_key){.ruleset = set->number, .identity = identity};
	if (maps_find(w->maps, MAP_RULESET_PEERS, &peer_key, &found) == 0)
		verdict.peer_class = found.peer_class[slot];
	else
		verdict.peer_class = identity < IDENTITY_FIRST_POD ? set->default_world_class
								   : set->default_pod_class;
	return verdict;
}

static bool is_known_change(const struct world *w, size_t pod, size_t at)
{
	return is_touched(w, &w->pods[pod].ipv4) || is_touched(w, &w->pods[pod].ipv6) ||
	       is_touched(w, &w->addrs[at]);
}

/* False: a verdict has changed, and flows that it evaluated stay. */
static bool nothing_changed_untold(struct world *w)
{
	uint32_t generation = maps_control(w->maps)->generation;
	bool right = true;

	for (size_t i = 0; i < LOCALS; i++)
		for (size_t at = 0; at < PEERS; at++)
			for (int side = 0; side < SIDES; side++) {
				struct verdict *was = &w->verdicts[i][at][side];
				struct verdict is = ask(w, &w->pods[i], at, side);

				if (right && memcmp(was, &is, sizeof(is)) != 0 &&
				    w->pods[i].ifindex && generation == w->generation &&
				    !is_known_change(w, i, at)) {
					printf("\n    %s: pod %zu, %s, %s: rules %u to %u, class "
					       "%u to %u, link %u to %u, kind %u to %u ",
					       w->step, i, peers[at], side ? "egress" : "ingress",
					       was->rules, is.rules, was->peer_class, is.peer_class,
					       was->link, is.link, was->identity_kind,
					       is.identity_kind);
					right = false;
				}
				*was = is;
			}
	w->generation = generation;
	w->touched_count = w->range_count = 0;
	return right;
}

static bool audit_agrees(struct world *w)
{
	char *difference = NULL;
	int r = w->dirty ? -EAGAIN : policy_sync_audit(w->policy_sync, &difference);

	if (difference)
		printf("\n    %s: %s ", w->step, difference);
	free(difference);
	return (r == 0 || r == -EAGAIN) && !difference;
}

/* ---------------------------------------------------------------- steps */

static bool apply(struct world *w, size_t failing)
{
	const struct polder_addr *addrs;
	const struct prefix *ranges;
	bool switched;
	size_t count;
	int r;

	faults_begin(failing);
	r = policy_sync_run(w->policy_sync, &switched);
	faults_end();
	w->dirty &= r < 0;
	count = policy_sync_touched_ranges(w->policy_sync, &ranges);
	for (size_t i = 0; i < count && w->range_count < 64; i++)
		w->ranges[w->range_count++] = ranges[i];
	count = policy_sync_touched(w->policy_sync, &addrs);
	for (size_t i = 0; i < count; i++)
		note_touched(w, &addrs[i]);
	if (r < 0 && !failing)
		printf("\n    apply: %s ", strerror(-r));
	return r == 0 || failing;
}

static void attach(struct world *w)
{
	unsigned int i = random_pick(&w->random, LOCALS), name = random_pick(&w->random, PODS);
	struct local_pod *pod = &w->pods[i];

	w->dirty = true;
	if (pod->ifindex) {
		policy_sync_remove_pod(w->policy_sync, pod);
		note_touched(w, &pod->ipv4);
		note_touched(w, &pod->ipv6);
		*pod = (struct local_pod){};
		return;
	}
	snprintf(w->names[i], sizeof(w->names[i]), "p%u", name);
	snprintf(w->spaces[i], sizeof(w->spaces[i]), "n%u", name % NAMESPACES);
	*pod = (struct local_pod){.container_id = (char *)peers[i],
				  .ifname = "eth0",
				  .namespace = w->spaces[i],
				  .name = w->names[i],
				  .ifindex = FIRST_LINK + (int)i,
				  .object_seen = random_pick(&w->random, 4) == 0};
	pod->ipv4 = w->addrs[i];
	if (i < 2)
		pod->ipv6 = w->addrs[5 + i];
	CU_ASSERT_FATAL(policy_sync_add_pod(w->policy_sync, pod) == 0);
}

static void open_policy_sync(struct world *w)
{
	CU_ASSERT_FATAL(policy_sync_open(w->maps, w->store, &w->config, &w->node, NULL, w->state,
					 &w->policy_sync) == 0);
	for (size_t i = 0; i < LOCALS; i++)
		if (w->pods[i].ifindex)
			CU_ASSERT_FATAL(policy_sync_add_pod(w->policy_sync, &w->pods[i]) == 0);
}

static bool step(struct world *w)
{
	switch (random_pick(&w->random, 16)) {
	case 0:
		w->step = "attach";
		attach(w);
		return true;
	case 1:
	case 2:
	case 3:
		w->step = "finish";
		faults_begin(random_pick(&w->random, 8) ? 0 : 1 + random_pick(&w->random, 20));
		policy_sync_commit(w->policy_sync);
		faults_end();
		return true;
	case 4:
		w->step = "failing apply";
		return apply(w, 1 + random_pick(&w->random, 60));
	case 5:
		if (random_pick(&w->random, 8))
			return true;
		w->step = "restart";
		policy_sync_close(w->policy_sync);
		open_policy_sync(w);
		return true;
	case 6:
	case 7:
	case 8:
	case 9:
	case 10:
		w->step = "apply";
		return apply(w, 0);
	default:
		w->step = "objects";
		for (unsigned int more = 1 + random_pick(&w->random, 3); more > 0; more--)
			change_object(w);
		return true;
	}
}

static size_t elements(struct world *w, enum map_index index)
{
	void *keys = NULL, *values = NULL;
	size_t count = 0;

	CU_ASSERT(maps_dump(w->maps, index, &keys, &values, &count) == 0);
	free(keys);
	free(values);
	return count;
}

/* With everything gone nothing is left of it. */
static bool nothing_is_left(struct world *w)
{
	static const enum map_index maps[] = {MAP_RULESET_PEERS, MAP_RULESET_PREFIXES,
					      MAP_RULESET_PORTS, MAP_RULESET_CELLS,
					      MAP_RULE_COUNTERS};
	bool right = true;

	w->step = "the end";
	for (unsigned int i = 0; i < PODS; i++)
		put(w, random_text("pod%u", i), NULL);
	for (unsigned int i = 0; i < POLICIES; i++)
		put(w, random_text("policy%u", i), NULL);
	for (unsigned int i = 0; i < 3; i++) {
		put(w, random_text("cluster%u", i), NULL);
		put(w, random_text("space%u", i), NULL);
		put(w, random_text("node%u", i), NULL);
	}
	for (size_t i = 0; i < LOCALS; i++)
		if (w->pods[i].ifindex)
			policy_sync_remove_pod(w->policy_sync, &w->pods[i]);
	for (int i = 0; i < 4; i++) {
		right &= apply(w, 0);
		policy_sync_commit(w->policy_sync);
	}
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		if (elements(w, maps[i]))
			printf("\n    map %s: %zu elements are left ",
			       maps_get(w->maps, maps[i])->name, elements(w, maps[i]));
		right &= elements(w, maps[i]) == 0;
	}
	/* The node's own address and range. */
	right &= elements(w, MAP_ADDRESSES) == 2;
	right &= policy_sync_rulesets_used(w->policy_sync) == 0 &&
		 policy_sync_cells_used(w->policy_sync) == 0;
	right &= policy_sync_identity_count(w->policy_sync) == 0;
	return right;
}

static void begin(struct world *w, uint64_t seed, const char *directory)
{
	bool small = seed % 3 == 0;

	*w = (struct world){.random = seed * 0x9e3779b97f4a7c15ull};
	w->config = small_config(1024);
	if (small) {
		w->config.max_rule_counters = 16;
		w->config.max_addresses = 10;
		w->config.max_policy_entries = 24;
	}
	for (size_t i = 0; i < PEERS; i++)
		CU_ASSERT_FATAL(addr_parse(peers[i], &w->addrs[i]) == 0);
	CU_ASSERT_FATAL(addr_parse("10.1.0.0", &w->config.pod_cidr_v4.addr) == 0);
	w->config.pod_cidr_v4.length = 96 + 16;
	CU_ASSERT_FATAL(addr_parse("192.0.2.1", &w->node.ipv4) == 0);
	snprintf(w->state, sizeof(w->state), "%s/state%lu", directory, (unsigned long)seed);
	w->maps = small_maps(&w->config, NULL);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	open_policy_sync(w);
	store_listen(w->store, on_change, w);
	nothing_changed_untold(w);
}

static void end(struct world *w)
{
	policy_sync_close(w->policy_sync);
	store_free(w->store);
	maps_close(w->maps);
}

static bool world_is_right(uint64_t seed, const char *directory)
{
	bool right = true;
	struct world w;

	begin(&w, seed, directory);
	for (int i = 0; i < STEPS && right; i++) {
		right = step(&w);
		right &= audit_agrees(&w);
		right &= nothing_changed_untold(&w);
		if (!right)
			printf("\n    world %lu, step %d ", (unsigned long)seed, i);
	}
	if (right && !nothing_is_left(&w)) {
		printf("\n    world %lu: something is left ", (unsigned long)seed);
		right = false;
	}
	end(&w);
	return right;
}

static void whatever_happens_the_maps_say_what_the_objects_say(void)
{
	const char *first = getenv("FIRST_WORLD"), *count = getenv("WORLDS");
	uint64_t from = first ? strtoull(first, NULL, 10) : 1;
	uint64_t to = from + (count ? strtoull(count, NULL, 10) : WORLDS);
	char directory[32];

	unit_directory(directory);
	for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++)
		CU_ASSERT(world_is_right(found[i], directory));
	for (uint64_t seed = from; seed < to; seed++)
		CU_ASSERT(world_is_right(seed, directory));
	unit_remove_directory(directory);
}

/* ---------------------------------------------------------------- each allocation */

#define CROWD 40

/* A pod that came in the pass before, one of this node, and then more policies than lists have room
 * for. */
static void prepare(struct world *w)
{
	put(w, "pod",
	    "{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'n0','name':'r'},'spec':{"
	    "'nodeName':'other'},'status':{'podIPs':[{'ip':'10.2.0.1'}]}}");
	while (!w->pods[0].ifindex)
		attach(w);
	CU_ASSERT(apply(w, 0));
	nothing_changed_untold(w);
	for (int i = 0; i < CROWD; i++)
		put(w, random_text("crowd%d", i),
		    random_text("{'apiVersion':'networking.k8s.io/"
				"v1','kind':'NetworkPolicy','metadata':{"
				"'namespace':'%s%d','name':'q%d'},'spec':{'podSelector':{}}}",
				i < NAMESPACES ? "n" : "x", i, i));
}

static void whatever_allocation_fails_what_was_in_force_stays(void)
{
	const struct polder_addr *addrs;
	char directory[32];
	bool failed = true, switched;

	unit_directory(directory);
	for (size_t number = 1; failed; number++) {
		struct world w;
		int r;

		begin(&w, 1, directory);
		unlink(w.state);
		w.step = "failed allocation";
		prepare(&w);
		faults_begin(number);
		r = policy_sync_run(w.policy_sync, &switched);
		failed = faults_end();
		policy_sync_touched(w.policy_sync, &addrs);
		CU_ASSERT(r == 0 || nothing_changed_untold(&w));
		CU_ASSERT(apply(&w, 0));
		CU_ASSERT(audit_agrees(&w));
		end(&w);
	}
	unit_remove_directory(directory);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(whatever_allocation_fails_what_was_in_force_stays),
		UNIT_TEST(whatever_happens_the_maps_say_what_the_objects_say),
	};

	faults_take_jansson();
	return UNIT_RUN("policy sync worlds", tests);
}
