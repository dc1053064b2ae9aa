/* SPDX-License-Identifier: Apache-2.0 */
/* Overlapping blocks, excepts and port ranges: compiled rule sets against the objects read word by
 * word. */
#include <netinet/in.h>

#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

#define PODS_WRITTEN 6
#define TRIALS	     60
#define QUESTIONS    400

static uint32_t state = 12345;

/* The same sequence in every run. */
static uint32_t draw(uint32_t below)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % below;
}

static void write_block(FILE *out)
{
	uint32_t length = 24 + draw(9);
	bool v6 = draw(3) == 0;

	if (draw(8) == 0)
		fprintf(out, "{'ipBlock':{'cidr':'%s'}}", v6 ? "::/0" : "0.0.0.0/0");
	else if (v6)
		fprintf(out, "{'ipBlock':{'cidr':'fd00::/120','except':['fd00::%x/%u']}}",
			draw(256), 120 + draw(9));
	else
		fprintf(out, "{'ipBlock':{'cidr':'10.0.0.%u/%u'}}", draw(256), length);
}

/* Excepts lie inside: lower bits only. */
static void write_block_with_excepts(FILE *out)
{
	uint32_t base = 64 * draw(4);

	fprintf(out,
		"{'ipBlock':{'cidr':'10.0.0.%u/26','except':['10.0.0.%u/%u','10.0.0.%u/"
		"%u','10.0.0.%u/32']}}",
		base, base + draw(64), 26 + draw(7), base + draw(64), 26 + draw(7),
		base + draw(64));
}

static void write_peer(FILE *out)
{
	switch (draw(6)) {
	case 0:
		fprintf(out, "{'podSelector':{'matchLabels':{'app':'%c'}}}", 'a' + draw(3));
		break;
	case 1:
		fprintf(out,
			"{'namespaceSelector':{'matchLabels':{'kubernetes.io/"
			"metadata.name':'%c'}}}",
			'x' + draw(2));
		break;
	case 2:
		fprintf(out,
			"{'namespaceSelector':{},'podSelector':{'matchExpressions':[{'key':'app','"
			"operator':"
			"'%s','values':['a','b']}]}}",
			draw(2) ? "In" : "NotIn");
		break;
	case 3:
		write_block_with_excepts(out);
		break;
	default:
		write_block(out);
	}
}

static void write_ports(FILE *out)
{
	uint32_t first = draw(40);

	fprintf(out, "'ports':[{'port':%u,'endPort':%u},", 1 + first, 1 + first + draw(40));
	switch (draw(4)) {
	case 0:
		fprintf(out, "{'protocol':'UDP'}]");
		break;
	case 1:
		fprintf(out, "{'port':'web'}]");
		break;
	case 2:
		fprintf(out, "{'protocol':'SCTP','port':%u}]", 1 + draw(80));
		break;
	default:
		fprintf(out, "{'port':%u}]", 1 + draw(80));
	}
}

static void write_rules(FILE *out, const char *peers)
{
	uint32_t rules = draw(4);

	for (uint32_t i = 0; i < rules; i++) {
		fprintf(out, "%s{", i ? "," : "");
		if (draw(6)) {
			fprintf(out, "'%s':[", peers);
			write_peer(out);
			for (uint32_t more = draw(3); more > 0; more--) {
				fprintf(out, ",");
				write_peer(out);
			}
			fprintf(out, "]");
			if (draw(3)) {
				fprintf(out, ",");
				write_ports(out);
			}
		} else if (draw(3)) {
			write_ports(out);
		}
		fprintf(out, "}");
	}
}

static char *write_cluster(void)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (uint32_t i = 0; i < PODS_WRITTEN; i++)
		fprintf(out,
			"{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'%c','name':'p%u',"
			"'labels':{'app':'%c'}},"
			"'spec':{'containers':[{'name':'c','ports':[{'name':'web','containerPort':%"
			"u}]}]},"
			"'status':{'podIPs':[{'ip':'10.0.0.%u'},{'ip':'fd00::%x'}]}},",
			'x' + i % 2, i, 'a' + i % 4, 1 + draw(80), 1 + draw(254), 1 + draw(254));
	for (uint32_t i = 0; i < 6; i++) {
		fprintf(out,
			"%s{'apiVersion':'networking.k8s.io/"
			"v1','kind':'NetworkPolicy','metadata':{'namespace':'%c',"
			"'name':'n%u'},'spec':{'podSelector':{%s},'policyTypes':['Ingress','Egress'"
			"],'ingress':[",
			i ? "," : "", 'x' + i % 2, i, draw(2) ? "" : "'matchLabels':{'app':'a'}");
		write_rules(out, "from");
		fprintf(out, "],'egress':[");
		write_rules(out, "to");
		fprintf(out, "]}}");
	}
	fclose(out);
	return text;
}

struct question {
	const struct object *subject, *peer; /* peer NULL: nobody's address */
	bool egress;
	struct polder_addr addr;
	uint8_t proto;
	uint16_t port;
};

static bool has_port(const struct object *pod, const struct policy_port *wanted, uint16_t port)
{
	for (size_t i = 0; pod && i < pod->pod.port_count; i++)
		if (pod->pod.ports[i].name && strcmp(pod->pod.ports[i].name, wanted->name) == 0 &&
		    pod->pod.ports[i].proto == wanted->proto && pod->pod.ports[i].port == port)
			return true;
	return false;
}

static bool port_allowed(const struct policy_rule *rule, const struct question *q)
{
	for (size_t i = 0; i < rule->port_count; i++) {
		const struct policy_port *port = &rule->ports[i];

		if (port->proto != q->proto)
			continue;
		if (port->any_port)
			return true;
		if (port->name && has_port(q->egress ? q->peer : q->subject, port, q->port))
			return true;
		if (!port->name && q->port >= port->first && q->port <= port->last)
			return true;
	}
	return rule->port_count == 0;
}

static bool block_matches(const struct policy_peer *peer, const struct polder_addr *addr)
{
	if (!prefix_contains(&peer->block, addr))
		return false;
	for (size_t i = 0; i < peer->except_count; i++)
		if (prefix_contains(&peer->excepts[i], addr))
			return false;
	return true;
}

static bool peer_matches(const struct policy_peer *peer, const char *policy_namespace,
			 const struct question *q)
{
	struct labels labels = {};
	bool result = true;

	if (peer->is_block)
		return block_matches(peer, &q->addr);
	if (!q->peer)
		return false;
	if (!peer->has_namespace_selector)
		result = strcmp(policy_namespace, q->peer->namespace) == 0;
	labels_set(&labels, "kubernetes.io/metadata.name", q->peer->namespace);
	if (peer->has_namespace_selector)
		result = selector_matches(&peer->namespace_selector, &labels);
	labels_clear(&labels);
	return result &&
	       (!peer->has_pod_selector || selector_matches(&peer->pod_selector, &q->peer->labels));
}

static bool rule_allows(const struct policy_rule *rule, const char *policy_namespace,
			const struct question *q)
{
	bool matched = rule->peer_count == 0;

	for (size_t i = 0; i < rule->peer_count; i++)
		matched |= peer_matches(&rule->peers[i], policy_namespace, q);
	return matched && port_allowed(rule, q);
}

/* Is it allowed, by the words of the objects; -1: nothing selects the subject. */
static int read_objects(const struct world *world, const struct question *q)
{
	int result = -1;

	for (size_t i = 0; i < world->count[OBJECT_NETWORK_POLICY]; i++) {
		const struct object *object = world->by_kind[OBJECT_NETWORK_POLICY][i];
		const struct network_policy_object *policy = &object->network_policy;
		size_t count = q->egress ? policy->egress_count : policy->ingress_count;

		if (strcmp(object->namespace, q->subject->namespace) != 0 ||
		    !selector_matches(&policy->pod_selector, &q->subject->labels))
			continue;
		result = result < 0 ? 0 : result;
		for (size_t j = 0; j < count; j++)
			if (rule_allows(q->egress ? &policy->egress[j] : &policy->ingress[j],
					object->namespace, q))
				result = 1;
	}
	return result;
}

static bool named_rule_allows(const struct world *world, uint32_t rule, const struct question *q)
{
	struct rule_origin origin;

	if (policy_rule_origin(world->registry, rule, &origin) < 0 || origin.egress != q->egress)
		return false;
	for (size_t i = 0; i < world->count[OBJECT_NETWORK_POLICY]; i++) {
		const struct object *object = world->by_kind[OBJECT_NETWORK_POLICY][i];
		const struct network_policy_object *policy = &object->network_policy;

		if (strcmp(object->name, origin.name) == 0 &&
		    strcmp(object->namespace, origin.namespace) == 0)
			return rule_allows(q->egress ? &policy->egress[origin.index]
						     : &policy->ingress[origin.index],
					   object->namespace, q);
	}
	return false;
}

static void ask(const struct world *world)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP,
					    IPPROTO_ICMP};
	size_t subject = draw(PODS_WRITTEN), peer = draw(PODS_WRITTEN + 3);
	struct question q = {
		.subject = world->by_kind[OBJECT_POD][subject],
		.peer = peer < PODS_WRITTEN ? world->by_kind[OBJECT_POD][peer] : NULL,
		.egress = draw(2),
		.proto = protocols[draw(5)],
		.port = (uint16_t)draw(90),
	};
	const struct compiled_pod *pod = &world->policy->pods[subject];
	const struct compiled_ruleset *ruleset =
		world_ruleset(world, q.egress ? pod->egress_ruleset : pod->ingress_ruleset);
	struct policy_verdict verdict;
	char text[64];
	int expected;

	snprintf(text, sizeof(text), draw(2) ? "10.0.%u.%u" : "fd00::%x:%x", draw(8) == 0 ? 1 : 0,
		 draw(256));
	addr_parse(text, &q.addr);
	if (q.peer)
		q.addr = q.peer->pod.addresses[draw(2)];
	expected = read_objects(world, &q);
	CU_ASSERT_EQUAL(expected < 0, ruleset == NULL);
	if (!ruleset)
		return;
	verdict = compiled_ruleset_verdict(
		ruleset,
		&(struct ruleset_question){
			.identity = q.peer ? world->policy->pods[peer].identity : IDENTITY_WORLD,
			.peer = &q.addr,
			.proto = q.proto,
			.port = q.port,
		});
	CU_ASSERT_EQUAL(verdict.allowed, expected == 1);
	CU_ASSERT(verdict.allowed ? named_rule_allows(world, verdict.rule, &q) : verdict.rule == 0);
}

static void compiled_sets_say_what_the_objects_say(void)
{
	for (int trial = 0; trial < TRIALS; trial++) {
		char *text = write_cluster();
		struct world *world = world_new(text, NULL);

		for (int i = 0; i < QUESTIONS; i++)
			ask(world);
		world_free(world);
		free(text);
	}
}

#define ONE_POD POD("x", "a", "'app':'a'", "10.0.0.1")

static const struct compiled_ruleset *ingress_of(const struct world *world)
{
	return world_ruleset(world, world_pod(world, "x/a")->ingress_ruleset);
}

static void a_block_inside_a_wider_one_needs_no_entry(void)
{
	struct world *w = world_new(
		ONE_POD "," NETPOL(
			"x", "p",
			"'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/8'}},"
			"{'ipBlock':{'cidr':'10.1.0.0/16'}},{'ipBlock':{'cidr':'10.1.2.0/24'}}]}]"),
		NULL);

	CU_ASSERT_EQUAL(ingress_of(w)->prefix_count, 1);
	CU_ASSERT(world_takes(w, "x/a", "10.1.2.3", IPPROTO_TCP, 1));
	world_free(w);
}

static void an_except_is_an_entry_of_class_none(void)
{
	struct world *w =
		world_new(ONE_POD "," NETPOL("x", "p",
					     "'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/8',"
					     "'except':['10.1.0.0/16','10.1.5.0/24']}}]}]"),
			  NULL);

	CU_ASSERT_EQUAL_FATAL(ingress_of(w)->prefix_count, 2);
	CU_ASSERT_EQUAL(ingress_of(w)->prefixes[0].prefix.length, 96 + 8);
	CU_ASSERT_EQUAL(ingress_of(w)->prefixes[1].peer_class, 0);
	world_free(w);
}

static void an_except_as_wide_as_its_block_leaves_nothing(void)
{
	struct world *w =
		world_new(ONE_POD "," NETPOL("x", "p",
					     "'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/8',"
					     "'except':['10.0.0.0/8']}}]}]"),
			  NULL);

	CU_ASSERT_FALSE(world_takes(w, "x/a", "10.1.2.3", IPPROTO_TCP, 1));
	CU_ASSERT_EQUAL(ingress_of(w)->prefix_count, 0);
	world_free(w);
}

static void an_except_ends_only_its_own_block(void)
{
	struct world *w = world_new(
		ONE_POD
		"," NETPOL("x", "p",
			   "'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/8',"
			   "'except':['10.1.0.0/16']}},{'ipBlock':{'cidr':'10.0.0.0/9'}}]}]"),
		NULL);

	CU_ASSERT(world_takes(w, "x/a", "10.1.2.3", IPPROTO_TCP, 1));
	world_free(w);
}

static void ipv6_blocks_leave_a_hole_for_ipv4(void)
{
	struct world *w = world_new(
		ONE_POD "," NETPOL("x", "p", "'ingress':[{'from':[{'ipBlock':{'cidr':'::/0'}}]}]"),
		NULL);

	CU_ASSERT_EQUAL_FATAL(ingress_of(w)->prefix_count, 2);
	CU_ASSERT_EQUAL(ingress_of(w)->prefixes[1].prefix.length, 96);
	CU_ASSERT_EQUAL(ingress_of(w)->prefixes[1].peer_class, 0);
	world_free(w);
	w = world_new(ONE_POD "," NETPOL("x", "p",
					 "'ingress':[{'from':[{'ipBlock':{'cidr':'::/0'}},"
					 "{'ipBlock':{'cidr':'0.0.0.0/0'}}]}]"),
		      NULL);
	CU_ASSERT_EQUAL(ingress_of(w)->prefix_count, 1);
	CU_ASSERT(world_takes(w, "x/a", "10.1.2.3", IPPROTO_TCP, 1));
	world_free(w);
}

static void a_whole_protocol_is_one_entry(void)
{
	struct world *w = world_new(
		ONE_POD "," NETPOL("x", "p",
				   "'ingress':[{'ports':[{'protocol':'UDP'},"
				   "{'port':1,'endPort':65535},{'protocol':'UDP','port':53}]}]"),
		NULL);

	/* UDP: 1. TCP from 1: 16 prefixes. */
	CU_ASSERT_EQUAL(ingress_of(w)->port_count, 17);
	CU_ASSERT_EQUAL(ingress_of(w)->ports[0].length, 16);
	world_free(w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(compiled_sets_say_what_the_objects_say),
		UNIT_TEST(a_block_inside_a_wider_one_needs_no_entry),
		UNIT_TEST(an_except_is_an_entry_of_class_none),
		UNIT_TEST(an_except_as_wide_as_its_block_leaves_nothing),
		UNIT_TEST(an_except_ends_only_its_own_block),
		UNIT_TEST(ipv6_blocks_leave_a_hole_for_ipv4),
		UNIT_TEST(a_whole_protocol_is_one_entry),
	};

	return UNIT_RUN("policy/blocks", tests);
}
