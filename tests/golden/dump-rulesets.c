/* SPDX-License-Identifier: Apache-2.0 */
/* dump-rulesets FILE: objects from a JSON file to the entries of the maps, one a line. Every pod is
 * a subject. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/compile.h"

struct lists {
	const struct object **of[OBJECT_KIND_COUNT];
	size_t count[OBJECT_KIND_COUNT];
};

static const char *ruleset_name(uint32_t id, char *buffer, size_t size)
{
	if (id == RULESET_OPEN)
		return "open";
	if (id == RULESET_CLOSED)
		return "closed";
	if (id == RULESET_CAPACITY)
		return "capacity";
	snprintf(buffer, size, "%u", id);
	return buffer;
}

static const char *protocol_name(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "SCTP";
}

static void dump_identities(const struct compiled_policy *policy)
{
	for (size_t i = 0; i < policy->identity_count; i++) {
		const struct compiled_identity *identity = &policy->identities[i];

		printf("identity %u namespace %s pods %zu", identity->id, identity->namespace,
		       identity->pods);
		for (size_t j = 0; j < identity->labels->count; j++)
			printf(" %s=%s", identity->labels->items[j].key,
			       identity->labels->items[j].value);
		printf("\n");
	}
}

static void dump_pods(const struct compiled_policy *policy, const struct lists *lists)
{
	char ingress[16], egress[16];

	for (size_t i = 0; i < policy->pod_count; i++) {
		const struct object *object = lists->of[OBJECT_POD][i];
		const struct compiled_pod *pod = &policy->pods[i];

		printf("pod %s/%s identity %u ingress %s egress %s\n", object->namespace,
		       object->name, pod->identity,
		       ruleset_name(pod->ingress_ruleset, ingress, sizeof(ingress)),
		       ruleset_name(pod->egress_ruleset, egress, sizeof(egress)));
	}
}

static void dump_port(const struct compiled_port *port)
{
	if (port->length == 0)
		printf("  port any class %u\n", port->port_class);
	else if (port->length == 16)
		printf("  port %s any class %u\n", protocol_name(port->proto), port->port_class);
	else
		printf("  port %s %u/%u class %u\n", protocol_name(port->proto), port->port,
		       port->length - 16, port->port_class);
}

static void dump_cell(const struct policy_registry *registry, const struct compiled_cell *cell)
{
	static const char *const verdicts[] = {"none", "allow", "deny", "pass"};
	struct rule_origin origin;

	for (int step = 0; step < POLICY_STEPS; step++) {
		const struct ruleset_cell *c = &cell->cell;

		if (c->verdict[step] == CELL_NONE)
			continue;
		printf("  cell %u %u %s%s rank %u", cell->peer_class, cell->port_class,
		       step == STEP_ADMIN ? "admin " : "", verdicts[c->verdict[step]],
		       c->rank[step]);
		if (policy_rule_origin(registry, c->rule[step], &origin) == 0)
			printf(" rule %u %s/%s %s[%u]", c->rule[step], origin.namespace,
			       origin.name, origin.egress ? "egress" : "ingress", origin.index);
		printf("\n");
	}
}

static void dump_ruleset(const struct policy_registry *registry,
			 const struct compiled_ruleset *ruleset)
{
	char text[PREFIX_TEXT_MAX];

	printf("ruleset %u default pod %u world %u%s%s%s\n", ruleset->id,
	       ruleset->entry.default_pod_class, ruleset->entry.default_world_class,
	       ruleset->entry.flags & RULESET_HAS_PREFIXES ? " prefixes" : "",
	       ruleset->entry.flags & RULESET_HAS_PORTS ? " ports" : "",
	       ruleset->entry.flags & RULESET_ISOLATES ? " isolates" : "");
	for (size_t i = 0; i < ruleset->peer_count; i++)
		printf("  peer %u class %u\n", ruleset->peers[i].identity,
		       ruleset->peers[i].peer_class);
	for (size_t i = 0; i < ruleset->prefix_count; i++)
		printf("  prefix %s class %u\n", prefix_format(&ruleset->prefixes[i].prefix, text),
		       ruleset->prefixes[i].peer_class);
	for (size_t i = 0; i < ruleset->port_count; i++)
		dump_port(&ruleset->ports[i]);
	for (size_t i = 0; i < ruleset->cell_count; i++)
		dump_cell(registry, &ruleset->cells[i]);
}

static int dump(const struct lists *lists)
{
	struct policy_registry *registry = policy_registry_new();
	bool *subject = calloc(lists->count[OBJECT_POD] + 1, sizeof(bool));
	struct policy_input input = {
		.namespaces = lists->of[OBJECT_NAMESPACE],
		.namespace_count = lists->count[OBJECT_NAMESPACE],
		.pods = lists->of[OBJECT_POD],
		.subject = subject,
		.pod_count = lists->count[OBJECT_POD],
		.policies = lists->of[OBJECT_NETWORK_POLICY],
		.policy_count = lists->count[OBJECT_NETWORK_POLICY],
		.cluster_policies = lists->of[OBJECT_CLUSTER_NETWORK_POLICY],
		.cluster_policy_count = lists->count[OBJECT_CLUSTER_NETWORK_POLICY],
		.nodes = lists->of[OBJECT_NODE],
		.node_count = lists->count[OBJECT_NODE],
	};
	struct compiled_policy *policy = NULL;
	int r = -1;

	if (registry && subject) {
		memset(subject, true, lists->count[OBJECT_POD]);
		r = policy_compile(registry, &input, &policy);
	}
	if (r == 0) {
		dump_identities(policy);
		dump_pods(policy, lists);
		for (size_t i = 0; i < policy->ruleset_count; i++)
			dump_ruleset(registry, &policy->rulesets[i]);
	}
	compiled_policy_free(policy);
	policy_registry_free(registry);
	free(subject);
	return r;
}

static char *read_file(const char *path, size_t *ret_length)
{
	FILE *file = fopen(path, "re");
	char *text = NULL, chunk[4096];
	size_t length = 0, got;
	FILE *out = open_memstream(&text, &length);

	if (!file || !out) {
		perror(path);
		exit(2);
	}
	while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
		fwrite(chunk, 1, got, out);
	fclose(file);
	fclose(out);
	*ret_length = length;
	return text;
}

int main(int argc, char **argv)
{
	struct object_list list = {};
	struct error error = {};
	struct lists lists = {};
	size_t length;
	char *text;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: dump-rulesets FILE\n");
		return 2;
	}
	text = read_file(argv[1], &length);
	r = objects_decode(text, length, &list, &error);
	free(text);
	if (r < 0) {
		printf("refused %s: %s\n", error.path, error.text);
		return 0;
	}
	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
		lists.of[kind] = calloc(list.count + 1, sizeof(struct object *));
		for (size_t i = 0; lists.of[kind] && i < list.count; i++)
			if (list.objects[i]->kind == (enum object_kind)kind)
				lists.of[kind][lists.count[kind]++] = list.objects[i];
	}
	r = dump(&lists);
	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		free(lists.of[kind]);
	object_list_clear(&list);
	return r < 0 ? 1 : 0;
}
