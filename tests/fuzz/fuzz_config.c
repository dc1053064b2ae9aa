/* SPDX-License-Identifier: Apache-2.0 */
/* polderd's configuration file, and each value as an option's. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "agent/config/config_keys.h"

static void check(const struct config *config)
{
	const size_t size = config->flows_v4;

	MUST(config->run_dir && config->node_name && config->bpffs);
	MUST(config->run_dir[0] == '/' && config->bpffs[0] == '/');
	MUST(config->masquerade_port_min <= config->masquerade_port_max);
	MUST(size >= 1024 && (size & (size - 1)) == 0);
	MUST(config->uplink_count <= CONFIG_MAX_UPLINKS);
	MUST(config->no_masquerade_count <= CONFIG_MAX_RANGES);
	MUST(config->pod_cidr_v4.length == 0 ||
	     (config->pod_cidr_v4.length >= 104 && config->pod_cidr_v4.length <= 126));
	MUST(config->pod_cidr_v6.length <= 126);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_source file = {.name = "polderd.json", .file = true};
	struct config_source option = {.name = "command line"};
	struct config config = {0};
	int r;

	config_defaults(&config);
	r = config_apply_text(&config, (const char *)data, size, &file);
	if (r == 0)
		r = config_check(&config, &file);
	MUST((r == 0) == (file.error[0] == '\0'));
	check(&config);
	/* The first byte chooses the key, the rest is its value. */
	if (size > 0) {
		char *text = strndup((const char *)data + 1, size - 1);

		MUST(text);
		r = config_set(&config, &config_keys[data[0] % config_key_count], text, &option);
		MUST((r == 0) == (option.error[0] == '\0'));
		check(&config);
		free(text);
	}
	config_clear(&config);
	return 0;
}
