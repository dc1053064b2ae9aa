/* SPDX-License-Identifier: Apache-2.0 */
/* Does what the compiler has followed say what the whole world compiled anew says? */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/compiler_internal.h"

/* The first difference. The text is the caller's. */
struct difference {
	char *text;
	bool no_memory;
};

static void differ(struct difference *difference, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void differ(struct difference *difference, const char *format, ...)
{
	va_list args;

	if (difference->text || difference->no_memory)
		return;
	va_start(args, format);
	if (vasprintf(&difference->text, format, args) < 0) {
		difference->text = NULL;
		difference->no_memory = true;
	}
	va_end(args);
}

static bool same_selection(const struct compiled_selection *a, const struct compiled_selection *b)
{
	if (!a || !b)
		return a == b;
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->policies[i], b->policies[i]) != 0)
			return false;
	return true;
}

static void compare_pod(const struct object *object, const struct compiled_pod *is,
			const struct compiled_pod *wanted, struct difference *ret)
{
	if (is->identity != wanted->identity)
		differ(ret, "pod %s/%s: identity %u, not %u", object->namespace, object->name,
		       is->identity, wanted->identity);
	if (is->ingress_ruleset != wanted->ingress_ruleset)
		differ(ret, "pod %s/%s: ingress rule set %u, not %u", object->namespace,
		       object->name, is->ingress_ruleset, wanted->ingress_ruleset);
	if (is->egress_ruleset != wanted->egress_ruleset)
		differ(ret, "pod %s/%s: egress rule set %u, not %u", object->namespace,
		       object->name, is->egress_ruleset, wanted->egress_ruleset);
	if (is->ingress_held != wanted->ingress_held || is->egress_held != wanted->egress_held)
		differ(ret, "pod %s/%s: other policies that went hold for it", object->namespace,
		       object->name);
	if (!same_selection(is->ingress_isolation, wanted->ingress_isolation) ||
	    !same_selection(is->egress_isolation, wanted->egress_isolation))
		differ(ret, "pod %s/%s: isolated by other policies", object->namespace,
		       object->name);
}

static bool same_array(const void *a, size_t a_count, const void *b, size_t b_count, size_t size)
{
	return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * size) == 0);
}

/* What stands under the number is named by the digest; peers are not part of it. */
static void compare_ruleset(const struct policy_compiler *c, const struct compiled_ruleset *wanted,
			    struct difference *ret)
{
	const struct compiled_ruleset *is = policy_compiler_ruleset(c, wanted->id);

	if (!is) {
		differ(ret, "rule set %u is missing", wanted->id);
		return;
	}
	if (memcmp(&is->entry, &wanted->entry, sizeof(is->entry)) != 0)
		differ(ret, "rule set %u: another header", wanted->id);
	if (!same_array(is->peers, is->peer_count, wanted->peers, wanted->peer_count,
			sizeof(*is->peers)))
		differ(ret, "rule set %u: %zu peers, not the same as the right %zu", wanted->id,
		       is->peer_count, wanted->peer_count);
	if (!same_array(is->cells, is->cell_count, wanted->cells, wanted->cell_count,
			sizeof(*is->cells)))
		differ(ret, "rule set %u: other cells", wanted->id);
}

static void compare(const struct policy_compiler *c, const struct policy_input *input,
		    struct policy_pod *const *pods, const struct compiled_policy *wanted,
		    struct difference *ret)
{
	for (size_t i = 0; i < input->pod_count; i++) {
		struct compiled_pod is =
			pods[i] ? policy_compiler_pod(c, pods[i]) : (struct compiled_pod){};

		if (!pods[i])
			differ(ret, "pod %s/%s is missing", input->pods[i]->namespace,
			       input->pods[i]->name);
		compare_pod(input->pods[i], &is, &wanted->pods[i], ret);
	}
	for (size_t i = 0; i < wanted->ruleset_count; i++)
		compare_ruleset(c, &wanted->rulesets[i], ret);
	if (policy_compiler_ruleset_count(c) != wanted->ruleset_count)
		differ(ret, "%zu rule sets, not %zu", policy_compiler_ruleset_count(c),
		       wanted->ruleset_count);
	if (policy_compiler_identity_count(c) != wanted->identity_count)
		differ(ret, "%zu identities, not %zu", policy_compiler_identity_count(c),
		       wanted->identity_count);
}

int policy_compiler_audit(const struct policy_compiler *c, const struct policy_input *input,
			  struct policy_pod *const *pods, char **ret_difference)
{
	struct compiled_policy *wanted = NULL;
	struct difference difference = {};
	int r = compiler_compile_like(c, input, &wanted);

	if (r < 0)
		return r;
	compare(c, input, pods, wanted, &difference);
	compiled_policy_free(wanted);
	if (difference.no_memory)
		return -ENOMEM;
	*ret_difference = difference.text;
	return 0;
}
