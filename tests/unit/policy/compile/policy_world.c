/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster written as JSON, compiled, and asked who may reach whom. */
#include "tests/unit/policy/compile/policy_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A registry that the caller gave stays his. */
struct owned_world {
	struct world world;
	bool owns_registry;
};

static void give_up(const char *what, const char *path, const char *reason)
{
	fprintf(stderr, "policy_world: %s: %s %s\n", what, path, reason);
	exit(2);
}

static void decode(struct world *world, const char *items)
{
	struct error error = {};
	char *text;
	int length = asprintf(&text, "[%s]", items);

	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	if (objects_decode(text, (size_t)length, &world->list, &error) < 0)
		give_up("the objects are wrong", error.path, error.text);
	free(text);
}

static void turn_list(struct object_list *list, size_t turn)
{
	struct object **turned = calloc(list->count + 1, sizeof(struct object *));

	for (size_t i = 0; i < list->count; i++) {
		size_t place = (i + turn) % list->count;

		turned[turn % 2 ? list->count - 1 - place : place] = list->objects[i];
	}
	free(list->objects);
	list->objects = turned;
}

struct world *world_new_turned(const char *items, struct policy_registry *registry, size_t turn)
{
	struct owned_world *owned = calloc(1, sizeof(*owned));
	struct world *world = &owned->world;
	struct policy_input input;

	decode(world, items);
	turn_list(&world->list, turn);
	owned->owns_registry = !registry;
	world->registry = registry ? registry : policy_registry_new();
	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		world->by_kind[kind] = calloc(world->list.count + 1, sizeof(struct object *));
	for (size_t i = 0; i < world->list.count; i++) {
		const struct object *object = world->list.objects[i];

		world->by_kind[object->kind][world->count[object->kind]++] = object;
	}
	world->subject = calloc(world->list.count + 1, sizeof(bool));
	memset(world->subject, true, world->list.count);
	input = (struct policy_input){
		.namespaces = world->by_kind[OBJECT_NAMESPACE],
		.namespace_count = world->count[OBJECT_NAMESPACE],
		.pods = world->by_kind[OBJECT_POD],
		.subject = world->subject,
		.pod_count = world->count[OBJECT_POD],
		.policies = world->by_kind[OBJECT_NETWORK_POLICY],
		.policy_count = world->count[OBJECT_NETWORK_POLICY],
		.cluster_policies = world->by_kind[OBJECT_CLUSTER_NETWORK_POLICY],
		.cluster_policy_count = world->count[OBJECT_CLUSTER_NETWORK_POLICY],
		.nodes = world->by_kind[OBJECT_NODE],
		.node_count = world->count[OBJECT_NODE],
	};
	if (policy_compile(world->registry, &input, &world->policy) < 0)
		give_up("the policies do not compile", "", "");
	return world;
}

struct world *world_new(const char *items, struct policy_registry *registry)
{
	return world_new_turned(items, registry, 0);
}

void world_free(struct world *world)
{
	struct owned_world *owned = (struct owned_world *)world;

	compiled_policy_free(world->policy);
	if (owned->owns_registry)
		policy_registry_free(world->registry);
	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		free(world->by_kind[kind]);
	free(world->subject);
	object_list_clear(&world->list);
	free(owned);
}

static size_t pod_index(const struct world *world, const char *name)
{
	for (size_t i = 0; i < world->count[OBJECT_POD]; i++) {
		const struct object *pod = world->by_kind[OBJECT_POD][i];
		size_t length = strlen(pod->namespace);

		if (strncmp(pod->namespace, name, length) == 0 && name[length] == '/' &&
		    strcmp(pod->name, name + length + 1) == 0)
			return i;
	}
	give_up("no such pod", name, "");
	return 0;
}

const struct compiled_pod *world_pod(const struct world *world, const char *name)
{
	return &world->policy->pods[pod_index(world, name)];
}

const struct object *world_pod_object(const struct world *world, const char *name)
{
	return world->by_kind[OBJECT_POD][pod_index(world, name)];
}

const struct compiled_ruleset *world_ruleset(const struct world *world, uint32_t id)
{
	for (size_t i = 0; i < world->policy->ruleset_count; i++)
		if (world->policy->rulesets[i].id == id)
			return &world->policy->rulesets[i];
	return NULL;
}

static struct policy_verdict verdict_of(const struct world *world, uint32_t id, uint32_t identity,
					const struct polder_addr *peer, uint8_t proto,
					uint16_t port)
{
	const struct compiled_ruleset *ruleset = world_ruleset(world, id);

	if (!ruleset)
		return (struct policy_verdict){.allowed = id == RULESET_OPEN};
	return compiled_ruleset_verdict(
		ruleset, &(struct ruleset_question){
				 .identity = identity, .peer = peer, .proto = proto, .port = port});
}

static const struct polder_addr *address_of(const struct world *world, const char *name, int family)
{
	const struct object *object = world_pod_object(world, name);

	for (size_t i = 0; i < object->pod.address_count; i++)
		if (addr_is_v4(&object->pod.addresses[i]) == (family == 4))
			return &object->pod.addresses[i];
	give_up("the pod has no address of this family", name, "");
	return NULL;
}

bool world_reaches_family(const struct world *world, const char *from, const char *to,
			  uint8_t proto, uint16_t port, int family)
{
	const struct compiled_pod *source = world_pod(world, from), *target = world_pod(world, to);

	return verdict_of(world, source->egress_ruleset, target->identity,
			  address_of(world, to, family), proto, port)
		       .allowed &&
	       verdict_of(world, target->ingress_ruleset, source->identity,
			  address_of(world, from, family), proto, port)
		       .allowed;
}

bool world_reaches(const struct world *world, const char *from, const char *to, uint8_t proto,
		   uint16_t port)
{
	return world_reaches_family(world, from, to, proto, port, 4);
}

struct policy_verdict world_verdict(const struct world *world, const char *pod, bool egress,
				    uint32_t identity, const char *address, uint8_t proto,
				    uint16_t port)
{
	const struct compiled_pod *subject = world_pod(world, pod);
	struct polder_addr addr;

	if (addr_parse(address, &addr) < 0)
		give_up("not an address", address, "");
	return verdict_of(world, egress ? subject->egress_ruleset : subject->ingress_ruleset,
			  identity, &addr, proto, port);
}

bool world_sends(const struct world *world, const char *pod, const char *address, uint8_t proto,
		 uint16_t port)
{
	return world_verdict(world, pod, true, IDENTITY_WORLD, address, proto, port).allowed;
}

bool world_takes(const struct world *world, const char *pod, const char *address, uint8_t proto,
		 uint16_t port)
{
	return world_verdict(world, pod, false, IDENTITY_WORLD, address, proto, port).allowed;
}
