/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration, CNI_ARGS and the agent's answer, each on a line: whatever they say, the result
 * is whole or there is none. */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cni/config.h"
#include "cni/environment.h"
#include "cni/result.h"
#include "plugin/io.h"

static void check_result(const struct cni_config *config, const json_t *result)
{
	size_t interfaces = json_array_size(json_object_get(result, "interfaces"));
	const char *version = json_string_value(json_object_get(result, "cniVersion"));
	char *text = json_dumps(result, JSON_COMPACT);

	MUST(text && version && !strcmp(version, cni_versions[config->version]));
	MUST(interfaces >= json_array_size(json_object_get(config->previous, "interfaces")));
	MUST(json_is_array(json_object_get(result, "ips")));
	free(text);
}

static void build(const struct cni_config *config, const char *text, size_t length)
{
	struct error failure = {0};
	json_t *answer = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL), *result = NULL;

	if (!cni_result_build(config, answer, &result, &failure))
		check_result(config, result);
	else
		MUST(!result && failure.code > 0);
	json_decref(result);
	json_decref(answer);
}

static void decode_args(const char *text, size_t length)
{
	char *copy = strndup(text, length);
	struct error failure = {0};
	json_t *args = NULL;

	if (cni_args_decode(copy, &args, &failure) < 0)
		MUST(!args && failure.code == CNI_INVALID_ENVIRONMENT);
	json_decref(args);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *second = memchr(text, '\n', size), *third;
	struct error failure = {0};
	struct cni_config config;
	json_t *root = NULL;

	if (!second)
		return 0;
	third = memchr(second + 1, '\n', size - (size_t)(second + 1 - text));
	if (!third)
		return 0;
	decode_args(second + 1, (size_t)(third - second - 1));
	if (input_parse(text, (size_t)(second - text), CNI_CONFIG_MAX, &root, &failure) < 0 ||
	    cni_config_decode(root, &config, &failure) < 0)
		return 0;
	build(&config, third + 1, size - (size_t)(third + 1 - text));
	cni_config_clear(&config);
	return 0;
}
