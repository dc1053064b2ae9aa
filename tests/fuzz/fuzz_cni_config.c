/* SPDX-License-Identifier: Apache-2.0 */
/* What a container runtime writes to the plugin's standard input. */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>
#include <string.h>

#include "cni/config.h"
#include "cni/failure.h"
#include "plugin/io.h"

static void look_at(const struct cni_config *config)
{
	struct error failure = {0};
	const char *why = NULL;
	json_t *valid = NULL;

	MUST(config->name && config->agent.socket && config->version < CNI_VERSION_COUNT);
	if (cni_config_check_add(config, &failure) < 0)
		MUST(failure.code > 0);
	if (cni_config_valid_attachments(config, &valid, &why))
		MUST(json_is_array(valid));
	else
		MUST(why && !valid);
	json_decref(valid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error failure = {0};
	struct cni_config config = {0};
	json_t *root = NULL;

	if (input_parse((const char *)data, size, CNI_CONFIG_MAX, &root, &failure) < 0) {
		MUST(!root && failure.code > 0);
		return 0;
	}
	(void)cni_config_version(root);
	if (cni_config_decode(root, &config, &failure) < 0) {
		MUST(failure.code > 0 && failure.text[0]);
		return 0;
	}
	look_at(&config);
	cni_config_clear(&config);
	return 0;
}
