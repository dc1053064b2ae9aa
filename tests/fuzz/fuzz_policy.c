/* SPDX-License-Identifier: Apache-2.0 */
/* Policies from any objects compile, and the result is the same when the objects come in another
 * order. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include <jansson.h>

#include "policy/compile/compile.h"

#define PODS_MAX 64

struct lists {
	const struct object **of[OBJECT_KIND_COUNT];
	size_t count[OBJECT_KIND_COUNT];
};

static void sort_out(const struct object_list *list, bool backwards, struct lists *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
		ret->of[kind] = calloc(list->count + 1, sizeof(*ret->of[kind]));
		MUST(ret->of[kind]);
	}
	for (size_t i = 0; i < list->count; i++) {
		const struct object *object = list->objects[backwards ? list->count - 1 - i : i];

		ret->of[object->kind][ret->count[object->kind]++] = object;
	}
}

static struct compiled_policy *compile(struct policy_registry *registry, const struct lists *lists)
{
	bool subject[PODS_MAX];
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

	memset(subject, 1, sizeof(subject));
	if (policy_compile(registry, &input, &policy) < 0)
		MUST(!policy);
	return policy;
}

static void compare(const struct compiled_policy *one, const struct compiled_policy *other)
{
	MUST(one->ruleset_count == other->ruleset_count && one->pod_count == other->pod_count);
	for (size_t i = 0; i < one->pod_count; i++) {
		const struct compiled_pod *a = &one->pods[i];
		const struct compiled_pod *b = &other->pods[one->pod_count - 1 - i];

		MUST(a->identity == b->identity && a->ingress_ruleset == b->ingress_ruleset &&
		     a->egress_ruleset == b->egress_ruleset);
	}
}

/* Objects of one kind and name twice never reach the compiler: the store keeps one. */
static bool has_duplicates(const struct object_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		for (size_t j = i + 1; j < list->count; j++) {
			const struct object *a = list->objects[i], *b = list->objects[j];

			if (a->kind == b->kind && strcmp(a->namespace, b->namespace) == 0 &&
			    strcmp(a->name, b->name) == 0)
				return true;
		}
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_registry *registry;
	struct compiled_policy *forward, *backward;
	struct object_list list = {0};
	struct error error = {0};
	struct lists lists;

	if (objects_decode((const char *)data, size, &list, &error) < 0)
		return 0;
	if (list.count <= PODS_MAX && !has_duplicates(&list)) {
		registry = policy_registry_new();
		MUST(registry);
		sort_out(&list, false, &lists);
		forward = compile(registry, &lists);
		for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++)
			free(lists.of[kind]);
		sort_out(&list, true, &lists);
		backward = compile(registry, &lists);
		for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++)
			free(lists.of[kind]);
		if (forward && backward)
			compare(forward, backward);
		compiled_policy_free(forward);
		compiled_policy_free(backward);
		policy_registry_free(registry);
	}
	object_list_clear(&list);
	return 0;
}
