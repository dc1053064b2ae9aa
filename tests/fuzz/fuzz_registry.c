/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's state file: damaged content is refused whole; what is taken is told again the
 * same. */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>

#include "policy/compile/compile.h"

static json_t *exported(const struct policy_registry *registry)
{
	char *text = policy_registry_export(registry, "");
	json_t *state;

	MUST(text);
	state = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *state = json_loadb((const char *)data, size,
				   JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
	struct policy_registry *registry, *second;
	json_t *told, *told_again;

	if (!state)
		return 0;
	registry = policy_registry_new();
	second = policy_registry_new();
	MUST(registry && second);
	if (policy_registry_import(registry, state) == 0) {
		told = exported(registry);
		MUST(told && policy_registry_import(second, told) == 0);
		told_again = exported(second);
		MUST(told_again && json_equal(told, told_again));
		json_decref(told);
		json_decref(told_again);
	}
	policy_registry_free(registry);
	policy_registry_free(second);
	json_decref(state);
	return 0;
}
