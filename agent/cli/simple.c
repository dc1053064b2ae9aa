/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that are one question and one answer. */
#include <stdlib.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"

int cli_run_metrics(struct cli *cli)
{
	json_t *result;

	if (cli_ask(cli, "metrics", NULL, &result) < 0)
		return CLI_FAILED;
	if (cli->json)
		cli_print_json(result);
	else
		text_print(field_text(result, "text"), "\n", stdout);
	json_decref(result);
	return CLI_OK;
}

static void add_key(struct table *table, const json_t *key)
{
	const json_t *value = field(key, "value");
	const char *source = field_text(key, "source"), *file = field_text(key, "file");
	char *text = json_is_array(value) ? format_list(value, SIZE_MAX) : NULL;
	char buffer[FORMAT_MAX];

	table_add(table, field_text(key, "key"));
	table_add(table, json_is_string(value) ? json_string_value(value)
			 : text		       ? text
					       : format_scalar(value, buffer));
	if (*file)
		table_addf(table, "%s %s", source, file);
	else
		table_add(table, source);
	table_add(table, json_is_true(field(key, "reload")) ? "reload" : "restart");
	free(text);
}

int cli_run_config(struct cli *cli)
{
	static const char *const titles[] = {"KEY", "VALUE", "SOURCE", "CHANGED-BY", NULL};
	struct table *table;
	json_t *result, *key;
	size_t index;

	if (cli_ask(cli, "config", NULL, &result) < 0)
		return CLI_FAILED;
	if (cli->json) {
		cli_print_json(result);
	} else {
		table = table_new(titles);
		if (!table)
			abort();
		json_array_foreach (field(result, "keys"), index, key) {
			add_key(table, key);
		}
		table_print(table, stdout);
		table_free(table);
	}
	json_decref(result);
	return CLI_OK;
}

int cli_run_log_level(struct cli *cli)
{
	json_t *args = json_pack("{s:s}", "level", cli->argument), *result = NULL;
	int r = cli_ask(cli, "log.level", args, &result);

	if (!r && cli->json)
		cli_print_json(result);
	json_decref(args);
	json_decref(result);
	return r < 0 ? CLI_FAILED : CLI_OK;
}
