/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl alert list: the TrafficAlerts of a node, and what they told last. */
#include "agent/cli/alerts.h"

#include <string.h>

#include "agent/cli/format.h"
#include "agent/cli/lists.h"

#define TOLD_SHOWN 20

static enum table_colour severity_colour(const char *severity)
{
	if (!strcmp(severity, "Critical"))
		return COLOUR_RED;
	return strcmp(severity, "Warning") ? COLOUR_NONE : COLOUR_YELLOW;
}

void alert_print(const json_t *alert)
{
	const char *severity = field_text(alert, "severity"),
		   *message = field_text(alert, "message");

	text_print(field_text(alert, "time"), NULL, stdout);
	putchar(' ');
	text_print_colour(severity_colour(severity), severity);
	putchar(' ');
	text_print(field_text(alert, "alert"), NULL, stdout);
	fputs(": ", stdout);
	text_print(field_text(alert, "text"), NULL, stdout);
	if (*message) {
		fputs(": ", stdout);
		text_print(message, NULL, stdout);
	}
	putchar('\n');
}

/* ---------------------------------------------------------------- the list */

static void add_rule(struct table *table, const json_t *rule)
{
	list_add_scalar(table, rule, "alert");
	list_add_scalar(table, rule, "kind");
	table_add_colour(table, severity_colour(field_text(rule, "severity")),
			 field_text(rule, "severity"));
	list_add_scalar(table, rule, "raised");
	list_add_scalar(table, rule, "told");
	list_add_scalar(table, rule, "workloads");
}

static void add_message(struct table *table, const json_t *rule)
{
	list_add_scalar(table, rule, "message");
}

static char *rule_name(const json_t *rule)
{
	return list_name_of(rule, "alert");
}

static void print_told(const json_t *told)
{
	size_t count = json_array_size(told), index = count > TOLD_SHOWN ? count - TOLD_SHOWN : 0;

	if (count)
		putchar('\n');
	for (; index < count; index++)
		alert_print(json_array_get(told, index));
}

/* What the rows leave out, if anything. */
static void print_limits(const json_t *answer)
{
	static const struct {
		const char *key, *text;
	} limits[] = {
		{"forgotten",
		 "workloads or addresses, idle for longest, were forgotten for want of "
		 "room: what a newPeer had learnt of them is learnt again"},
		{"flows_left_out", "times a flow's bytes found no room: volume alerts know less "
				   "than was sent"},
		{"processes_unknown", "connections were opened by processes that nobody has noted: "
				      "newProcess and shell know nothing of them"},
		{"lost", "alerts were lost: no memory, or a reader that does not read"},
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
		if (field_number(answer, limits[i].key))
			printf("\n%lld %s.\n", (long long)field_number(answer, limits[i].key),
			       limits[i].text);
}

static int show_one(const struct cli *cli, const json_t *answer)
{
	static const char *const titles[] = {"ALERT", "KIND",	   "SEVERITY", "RAISED",
					     "TOLD",  "WORKLOADS", NULL};
	static const char *const wide_titles[] = {"MESSAGE", NULL};
	static const struct list_form form = {.kind = "alert",
					      .titles = titles,
					      .row = add_rule,
					      .wide_titles = wide_titles,
					      .wide_row = add_message,
					      .name = rule_name};
	int code = list_show(cli, field(answer, "rules"), &form);

	if (!code && cli->format != CLI_NAMES && !cli->given[CLI_NO_HEADERS]) {
		print_told(field(answer, "told"));
		print_limits(answer);
	}
	return code;
}

int cli_run_alert_list(struct cli *cli)
{
	json_t *answer = NULL;
	int code = CLI_OK;

	if (cli_ask(cli, "alerts", NULL, &answer) < 0)
		return CLI_FAILED;
	if (cli->json)
		cli_print_json(answer);
	else
		code = cli->answer ? list_show_nodes(cli, answer, show_one) : show_one(cli, answer);
	json_decref(answer);
	return code;
}
