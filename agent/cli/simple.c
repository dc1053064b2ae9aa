/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that are one question and one answer. */
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
