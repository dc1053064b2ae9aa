/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl flow history: who has spoken with whom. */
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/suggest.h"
#include "agent/cli/table.h"

/* Takes the text. */
static void add_text(struct table *table, json_t *text)
{
	table_add(table, json_string_value(text));
	json_decref(text);
}

static void add_line(struct table *table, const json_t *line)
{
	char buffer[FORMAT_MAX];

	table_add(table, field_text(line, "direction"));
	add_text(table, suggest_workload_text(field(line, "subject")));
	add_text(table, suggest_peer_text(field(line, "peer")));
	table_add(table, field_text(line, "proto"));
	table_add(table,
		  field_number(line, "port") ? format_scalar(field(line, "port"), buffer) : NULL);
	table_add(table, field_text(line, "service"));
	table_add_colour(table,
			 text_verdict_colour(
				 !strcmp(field_text(line, "verdict"), "deny") ? "drop" : "allow"),
			 field_text(line, "verdict"));
	table_add(table, format_scalar(field(line, "count"), buffer));
	table_add(table, format_duration(field_number(line, "first_seconds"), buffer));
	table_add(table, format_duration(field_number(line, "last_seconds"), buffer));
}

static int print_table(const json_t *lines)
{
	static const char *const titles[] = {"DIRECTION", "PODS",    "PEER",	"PROTO",
					     "PORT",	  "SERVICE", "VERDICT", "COUNT",
					     "FIRST",	  "LAST",    NULL};
	struct table *table = table_new(titles);

	if (!table) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	if (text_has_colours())
		table_colours(table);
	for (size_t i = 0; i < json_array_size(lines); i++)
		add_line(table, json_array_get(lines, i));
	if (table_rows(table))
		table_print(table, stdout);
	else
		fputs("No resources found\n", stderr);
	table_free(table);
	return CLI_OK;
}

/* An answer that does not reach as far as was asked for says so. */
static void tell_reach(const json_t *end)
{
	json_int_t asked = field_number(end, "asked_seconds"),
		   reach = field_number(end, "reach_seconds");
	char text[FORMAT_MAX];

	if (!json_is_true(field(end, "recorded")))
		cli_error("no history is kept: these are the flows of the flow table; the key "
			  "flow-history keeps one");
	else if (asked < 0 || asked > reach)
		cli_error("the history reaches back %s: what was seen before is not known",
			  format_duration(reach, text));
	if (field_number(end, "missed_seconds"))
		cli_error("for %s of it no polderd watched: what was opened and ended then is not "
			  "known",
			  format_duration(field_number(end, "missed_seconds"), text));
	if (field_number(end, "forgotten"))
		cli_error("%lld entries were forgotten for want of room (flow-history)",
			  (long long)field_number(end, "forgotten"));
}

int cli_run_flow_history(struct cli *cli)
{
	json_t *answer = json_pack("{s:[], s:{}}", "seen", "end"), *args;
	json_int_t seconds;
	int code = CLI_FAILED;

	args = cli_seen_args(cli, &seconds);
	if (!args) {
		json_decref(answer);
		return CLI_USAGE;
	}
	if (cli_ask_seen(cli, args, seconds, answer) == 0) {
		code = CLI_OK;
		if (cli->json)
			cli_print_json(answer);
		else
			code = print_table(field(answer, "seen"));
		tell_reach(field(answer, "end"));
	}
	json_decref(args);
	json_decref(answer);
	return code;
}
