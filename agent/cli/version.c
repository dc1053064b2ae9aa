/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl version: do the two ends of the socket belong together? */
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"

static void print_versions(const json_t *status, bool same)
{
	char layout[FORMAT_MAX];

	puts("polderctl  " POLDER_VERSION);
	fputs("polderd    ", stdout);
	text_print(field_text(status, "version"), NULL, stdout);
	format_scalar(field(status, "layout"), layout);
	printf("\nlayout     %s\n", *layout ? layout : "not told: an older polderd");
	if (!same)
		puts("polderctl and polderd are of different releases: what one of them knows and "
		     "the "
		     "other does not is left out of answers or refused. Install the same release "
		     "of "
		     "both, and restart polderd if it is the older one.");
}

/* Does not need the agent to say its own version. */
int cli_run_version(struct cli *cli)
{
	json_t *status, *document;
	bool same;

	if (cli_ask(cli, "status", NULL, &status) < 0) {
		if (!cli->json)
			puts("polderctl  " POLDER_VERSION);
		return CLI_FAILED;
	}
	same = !strcmp(field_text(status, "version"), POLDER_VERSION);
	document = json_pack("{s:s, s:s, s:O?, s:b}", "polderctl", POLDER_VERSION, "polderd",
			     field_text(status, "version"), "layout", field(status, "layout"),
			     "same", same);
	if (cli->json)
		cli_print_json(document);
	else
		print_versions(status, same);
	json_decref(document);
	json_decref(status);
	return same ? CLI_OK : CLI_DIFFERS;
}
