/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler that follows a world says what the whole world compiled anew says, and tells all
 * that changed. Each world is made of its number alone. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/compiler_internal.h"
#include "policy/compile/registry.h"
#include "tests/unit/policy/compile/random_objects.h"
#include "tests/unit/unit.h"

#define WORLDS	   200
#define STEPS	   60
#define PODS	   14
#define NAMESPACES 4
#define POLICIES   8
#define CLUSTER	   4
#define NODES	   3
#define DELETED	   2

struct slot_pod {
	struct object *object; /* NULL: not there */
	struct policy_pod *handle;
	bool subject;
	uint64_t terminating;
};

/* One element of the map of peers, as the told changes leave it. */
struct element {
	uint32_t ruleset, identity;
	uint16_t class;
};

struct world {
	uint64_t random;
	struct policy_registry *registry;
	struct policy_compiler *compiler;
	struct slot_pod pods[PODS];
	struct object *namespaces[NAMESPACES], *policies[POLICIES], *cluster[CLUSTER],
		*nodes[NODES], *deleted[DELETED];
	uint64_t deleted_at[DELETED];
	size_t deleted_count;
	bool nodes_changed;
	struct element *elements;
	size_t element_count, element_room;
};

/* ---------------------------------------------------------------- objects */

static const char *ports(struct world *w)
{
	if (random_pick(&w->random, 2))
		return "";
	return random_text(
		"'ports':[{'name':'web','containerPort':%u},{'name':'dns','protocol':'UDP',"
		"'containerPort':53}]",
		8080 + random_pick(&w->random, 2));
}

static struct object *make_pod(struct world *w, unsigned int i)
{
	return random_decode(
		"{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'n%u','name':'p%u',"
		"'labels':{%s}},'spec':{%s'containers':[{'name':'c',%s'image':'i'}]},'status':"
		"{'phase':'%s','podIPs':[{'ip':'10.0.%u.%u'},{'ip':'fd00::%u:%u'}]}}",
		i % NAMESPACES, i, random_labels(&w->random),
		random_pick(&w->random, 12) ? "" : "'hostNetwork':true,",
		*ports(w) ? "'ports':[{'name':'web','containerPort':8080}],"
			  : (random_pick(&w->random, 3)
				     ? ""
				     : "'ports':[{'name':'web','containerPort':9090}],"),
		random_pick(&w->random, 12) ? "Running" : "Succeeded", random_pick(&w->random, 3),
		i + 1, random_pick(&w->random, 3), i + 1);
}

static struct object *make_namespace(struct world *w, unsigned int i)
{
	return random_decode(
		"{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'n%u','labels':{"
		"'team':'m%u'}}}",
		i, random_pick(&w->random, 2));
}

static struct object *make_node(struct world *w, unsigned int i)
{
	return random_decode(
		"{'apiVersion':'v1','kind':'Node','metadata':{'name':'node%u','labels':{"
		"'role':'r%u'}},'status':{'addresses':[{'type':'InternalIP','address':"
		"'192.168.%u.%u'}]}}",
		i, random_pick(&w->random, 2), random_pick(&w->random, 2), i + 1);
}

static const char *pod_selector(struct world *w)
{
	switch (random_pick(&w->random, 6)) {
	case 0:
		return "{}";
	case 4:
		return random_text(
			"{'matchLabels':{'tier':'t%u'},'matchExpressions':[{'key':'app','operator':"
			"'In','values':['a%u','a%u']}]}",
			random_pick(&w->random, 2), random_pick(&w->random, 3),
			random_pick(&w->random, 3));
	case 5:
		return "{'matchExpressions':[{'key':'app','operator':'Exists'}]}";
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
				   random_namespace_selector(&w->random), pod_selector(w));
	case 2:
		return random_pick(&w->random, 2)
			       ? random_text("{'ipBlock':{'cidr':'10.0.%u.0/24'}}",
					     random_pick(&w->random, 3))
			       : "{'ipBlock':{'cidr':'10.0.0.0/16','except':['10.0.1.0/28']}}";
	default:
		return random_text("{'podSelector':%s}", pod_selector(w));
	}
}

static const char *peers(struct world *w, const char *side)
{
	if (random_pick(&w->random, 6) == 0)
		return "";
	return random_pick(&w->random, 2) ? random_text("'%s':[%s]", side, peer(w))
					  : random_text("'%s':[%s,%s]", side, peer(w), peer(w));
}

static const char *rule_ports(struct world *w)
{
	switch (random_pick(&w->random, 4)) {
	case 0:
		return "'ports':[{'port':'web'}]";
	case 1:
		return "'ports':[{'port':'dns','protocol':'UDP'},{'port':80}]";
	case 2:
		return random_text("'ports':[{'port':%u,'endPort':%u}]",
				   1000 + random_pick(&w->random, 3) * 10,
				   1100 + random_pick(&w->random, 3));
	default:
		return "";
	}
}

static const char *rule(struct world *w, const char *side)
{
	const char *who = peers(w, side), *what = rule_ports(w);

	return random_text("{%s%s%s}", who, *who && *what ? "," : "", what);
}

static struct object *make_policy(struct world *w, unsigned int i)
{
	bool ingress = random_pick(&w->random, 3), egress = random_pick(&w->random, 2) || !ingress;

	return random_decode(
		"{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{"
		"'namespace':'n%u','name':'q%u'},'spec':{'podSelector':%s,'policyTypes':[%s%s"
		"%s],'ingress':[%s],'egress':[%s]}}",
		i % NAMESPACES, i, pod_selector(w), ingress ? "'Ingress'" : "",
		ingress && egress ? "," : "", egress ? "'Egress'" : "", rule(w, "from"),
		rule(w, "to"));
}

static const char *pods_peer(struct world *w)
{
	return random_pick(&w->random, 2)
		       ? random_text("{'pods':{'namespaceSelector':%s,'podSelector':%s}}",
				     random_namespace_selector(&w->random), pod_selector(w))
		       : random_text("{'namespaces':%s}", random_namespace_selector(&w->random));
}

static const char *address_peer(struct world *w)
{
	return random_pick(&w->random, 2)
		       ? random_text("{'networks':['10.0.%u.0/24']}", random_pick(&w->random, 3))
		       : random_text("{'nodes':{'matchLabels':{'role':'r%u'}}}",
				     random_pick(&w->random, 2));
}

static struct object *make_cluster(struct world *w, unsigned int i)
{
	static const char *const actions[] = {"Accept", "Deny", "Pass"};
	static const char *const protocols[] = {
		"", ",'protocols':[{'destinationNamedPort':'web'}]",
		",'protocols':[{'tcp':{'destinationPort':{'number':80}}}]"};
	bool by_address = random_pick(&w->random, 2);
	const char *to = by_address ? address_peer(w) : pods_peer(w);
	/* Names of ports mean nothing for addresses. */
	unsigned int protocol =
		by_address ? 2 * random_pick(&w->random, 2) : random_pick(&w->random, 3);

	return random_decode(
		"{'apiVersion':'policy.networking.k8s.io/v1alpha2','kind':"
		"'ClusterNetworkPolicy','metadata':{'name':'c%u'},'spec':{'tier':'%s',"
		"'priority':%u,'subject':{'namespaces':%s},'ingress':[{'action':'%s','from':["
		"%s]%s}],'egress':[{'action':'%s','to':[%s]%s}]}}",
		i, random_pick(&w->random, 2) ? "Admin" : "Baseline", random_pick(&w->random, 3),
		random_namespace_selector(&w->random), actions[random_pick(&w->random, 3)],
		pods_peer(w), protocols[random_pick(&w->random, 3)],
		actions[random_pick(&w->random, 3)], to, protocols[protocol]);
}

/* ---------------------------------------------------------------- what stands in the map */

static void element_set(struct world *w, uint32_t ruleset, uint32_t identity, uint16_t class)
{
	for (size_t i = 0; i < w->element_count; i++)
		if (w->elements[i].ruleset == ruleset && w->elements[i].identity == identity) {
			w->elements[i].class = class;
			return;
		}
	if (w->element_count == w->element_room) {
		w->element_room = w->element_room ? 2 * w->element_room : 64;
		w->elements = reallocarray(w->elements, w->element_room, sizeof(*w->elements));
	}
	w->elements[w->element_count++] = (struct element){ruleset, identity, class};
}

static void element_drop(struct world *w, uint32_t ruleset, uint32_t identity)
{
	for (size_t i = 0; i < w->element_count; i++)
		if (w->elements[i].ruleset == ruleset &&
		    (w->elements[i].identity == identity || !identity))
			w->elements[i--] = w->elements[--w->element_count];
}

static int bury(const struct compiled_ruleset *set, void *data)
{
	for (size_t i = 0; i < set->peer_count; i++)
		element_drop(data, set->id, set->peers[i].identity);
	return 0;
}

/* As the map's writer does. */
static void follow(struct world *w)
{
	struct policy_changes changes = policy_compiler_changes(w->compiler);

	for (size_t i = 0; i < changes.ruleset_count; i++) {
		const struct compiled_ruleset *set =
			policy_compiler_ruleset(w->compiler, changes.rulesets[i]);

		for (size_t j = 0; set && j < set->peer_count; j++)
			element_set(w, set->id, set->peers[j].identity,
				    (uint16_t)set->peers[j].peer_class);
	}
	for (size_t i = 0; i < changes.peer_count; i++) {
		const struct peer_change *peer = &changes.peers[i];

		if (peer->gone || !policy_compiler_ruleset(w->compiler, peer->ruleset))
			element_drop(w, peer->ruleset, peer->identity);
		else
			element_set(w, peer->ruleset, peer->identity, peer->peer_class);
	}
}

struct counting {
	struct world *world;
	size_t peers;
	bool right;
};

static int count_peers(const struct compiled_ruleset *set, void *data)
{
	struct counting *counting = data;

	for (size_t i = 0; i < set->peer_count; i++) {
		bool found = false;

		for (size_t j = 0; j < counting->world->element_count; j++) {
			const struct element *element = &counting->world->elements[j];

			found |= element->ruleset == set->id &&
				 element->identity == set->peers[i].identity &&
				 element->class == set->peers[i].peer_class;
		}
		counting->right &= found;
		counting->peers++;
	}
	return 0;
}

/* ---------------------------------------------------------------- steps */

static void set_pod(struct world *w, unsigned int i)
{
	struct slot_pod *pod = &w->pods[i];
	struct object *object = make_pod(w, i);
	const struct pod_addresses addresses = {object->pod.addresses, object->pod.address_count};

	if (!pod->handle)
		pod->subject = random_pick(&w->random, 2);
	pod->terminating = pod->subject && random_pick(&w->random, 3) == 0
				   ? 5 + random_pick(&w->random, 10)
				   : 0;
	CU_ASSERT_EQUAL(policy_compiler_set_pod(w->compiler, &pod->handle, object, &addresses,
						pod->subject, pod->terminating),
			0);
	object_free(pod->object);
	pod->object = object;
}

static void remove_pod(struct world *w, unsigned int i)
{
	struct slot_pod *pod = &w->pods[i];

	if (!pod->handle)
		return;
	CU_ASSERT_EQUAL(policy_compiler_remove_pod(w->compiler, pod->handle), 0);
	object_free(pod->object);
	*pod = (struct slot_pod){};
}

static void set_policy(struct world *w, struct object **slot, struct object *object)
{
	CU_ASSERT_EQUAL(policy_compiler_set_policy(w->compiler, object), 0);
	object_free(*slot);
	*slot = object;
}

static void remove_policy(struct world *w, struct object **slot)
{
	if (!*slot)
		return;
	CU_ASSERT_EQUAL(policy_compiler_remove_policy(w->compiler, (*slot)->kind,
						      (*slot)->namespace, (*slot)->name),
			0);
	object_free(*slot);
	*slot = NULL;
}

static void change_namespace(struct world *w, unsigned int i)
{
	char name[8];

	snprintf(name, sizeof(name), "n%u", i);
	object_free(w->namespaces[i]);
	w->namespaces[i] = random_pick(&w->random, 4) ? make_namespace(w, i) : NULL;
	CU_ASSERT_EQUAL(policy_compiler_set_namespace(w->compiler, name, w->namespaces[i]), 0);
}

static void change_deleted(struct world *w)
{
	for (size_t i = 0; i < w->deleted_count; i++)
		object_free(w->deleted[i]);
	w->deleted_count = random_pick(&w->random, DELETED + 1);
	for (size_t i = 0; i < w->deleted_count; i++) {
		w->deleted[i] = random_pick(&w->random, 4)
					? make_policy(w, random_pick(&w->random, POLICIES))
					: make_cluster(w, random_pick(&w->random, CLUSTER));
		w->deleted_at[i] = 1 + i + random_pick(&w->random, 14);
	}
	CU_ASSERT_EQUAL(policy_compiler_set_deleted(w->compiler,
						    (const struct object *const *)w->deleted,
						    w->deleted_at, w->deleted_count),
			0);
}

static void step(struct world *w)
{
	unsigned int i;

	switch (random_pick(&w->random, 12)) {
	case 0:
		change_namespace(w, random_pick(&w->random, NAMESPACES));
		break;
	case 1:
		i = random_pick(&w->random, NODES);
		object_free(w->nodes[i]);
		w->nodes[i] = random_pick(&w->random, 3) ? make_node(w, i) : NULL;
		w->nodes_changed = true;
		break;
	case 2:
		i = random_pick(&w->random, CLUSTER);
		if (random_pick(&w->random, 3))
			set_policy(w, &w->cluster[i], make_cluster(w, i));
		else
			remove_policy(w, &w->cluster[i]);
		break;
	case 3:
	case 4:
		i = random_pick(&w->random, POLICIES);
		if (random_pick(&w->random, 3))
			set_policy(w, &w->policies[i], make_policy(w, i));
		else
			remove_policy(w, &w->policies[i]);
		break;
	case 5:
		change_deleted(w);
		break;
	case 6:
	case 7:
		remove_pod(w, random_pick(&w->random, PODS));
		break;
	default:
		set_pod(w, random_pick(&w->random, PODS));
	}
}

static size_t present(struct object *const *slots, size_t count, const struct object **ret)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		if (slots[i])
			ret[found++] = slots[i];
	return found;
}

static void give_again(struct world *w)
{
	for (size_t i = 0; i < PODS; i++) {
		struct slot_pod *pod = &w->pods[i];
		struct pod_addresses addresses;

		if (!pod->object || !policy_compiler_concerns(w->compiler, pod->object))
			continue;
		addresses = (struct pod_addresses){pod->object->pod.addresses,
						   pod->object->pod.address_count};
		CU_ASSERT_EQUAL(policy_compiler_set_pod(w->compiler, &pod->handle, pod->object,
							&addresses, pod->subject, pod->terminating),
				0);
	}
}

/* A run, and whether it says what a compilation of the whole world says. */
static bool run_agrees(struct world *w)
{
	const struct object *namespaces[NAMESPACES], *policies[POLICIES], *cluster[CLUSTER],
		*nodes[NODES], *pods[PODS];
	struct policy_pod *handles[PODS];
	bool subject[PODS];
	uint64_t terminating[PODS];
	struct policy_input input = {.namespaces = namespaces,
				     .pods = pods,
				     .subject = subject,
				     .terminating = terminating,
				     .policies = policies,
				     .cluster_policies = cluster,
				     .deleted_policies = (const struct object *const *)w->deleted,
				     .deleted_at = w->deleted_at,
				     .deleted_policy_count = w->deleted_count,
				     .nodes = nodes};
	struct counting counting = {.world = w, .right = true};
	char *difference = NULL;

	input.namespace_count = present(w->namespaces, NAMESPACES, namespaces);
	input.policy_count = present(w->policies, POLICIES, policies);
	input.cluster_policy_count = present(w->cluster, CLUSTER, cluster);
	input.node_count = present(w->nodes, NODES, nodes);
	for (size_t i = 0; i < PODS; i++) {
		if (!w->pods[i].object)
			continue;
		pods[input.pod_count] = w->pods[i].object;
		handles[input.pod_count] = w->pods[i].handle;
		subject[input.pod_count] = w->pods[i].subject;
		terminating[input.pod_count++] = w->pods[i].terminating;
	}
	if (policy_compiler_regroup(w->compiler))
		give_again(w);
	policy_compiler_set_nodes(w->compiler, nodes, input.node_count, w->nodes_changed);
	w->nodes_changed = false;
	if (policy_compiler_run(w->compiler) < 0)
		return false;
	follow(w);
	if (policy_compiler_audit(w->compiler, &input, handles, &difference) < 0)
		return false;
	if (difference)
		printf("\n    %s ", difference);
	free(difference);
	if (random_pick(&w->random, 2)) {
		policy_compiler_each_gone(w->compiler, bury, w);
		policy_compiler_bury(w->compiler);
		policy_registry_collect(w->registry);
		policy_compiler_each_ruleset(w->compiler, count_peers, &counting);
		if (counting.peers != w->element_count)
			printf("\n    %zu peers are wanted, %zu stand there ", counting.peers,
			       w->element_count);
		return !difference && counting.right && counting.peers == w->element_count;
	}
	return !difference;
}

static void world_end(struct world *w)
{
	policy_compiler_free(w->compiler);
	policy_registry_free(w->registry);
	for (size_t i = 0; i < PODS; i++)
		object_free(w->pods[i].object);
	for (size_t i = 0; i < NAMESPACES; i++)
		object_free(w->namespaces[i]);
	for (size_t i = 0; i < POLICIES; i++)
		object_free(w->policies[i]);
	for (size_t i = 0; i < CLUSTER; i++)
		object_free(w->cluster[i]);
	for (size_t i = 0; i < NODES; i++)
		object_free(w->nodes[i]);
	for (size_t i = 0; i < w->deleted_count; i++)
		object_free(w->deleted[i]);
	free(w->elements);
}

static void whatever_changes_the_compiler_says_what_the_whole_world_says(void)
{
	for (uint64_t seed = 1; seed <= WORLDS; seed++) {
		struct world w = {.random = seed * 0x9e3779b97f4a7c15ull};

		w.registry = policy_registry_new();
		w.compiler = policy_compiler_new(w.registry);
		if (random_pick(&w.random, 3))
			w.compiler->view.word_runs = random_pick(&w.random, 12);
		for (int i = 0; i < STEPS; i++) {
			bool agrees;

			/* Now and then several changes in one run. */
			for (unsigned int more =
				     random_pick(&w.random, 4) ? 1 : 1 + random_pick(&w.random, 6);
			     more > 0; more--)
				step(&w);
			agrees = run_agrees(&w);
			CU_ASSERT(agrees);
			if (!agrees) {
				printf("\n    world %lu, step %d ", (unsigned long)seed, i);
				break;
			}
		}
		world_end(&w);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(whatever_changes_the_compiler_says_what_the_whole_world_says),
	};

	return UNIT_RUN("compiler", tests);
}
