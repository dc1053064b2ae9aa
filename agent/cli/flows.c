/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl flow list: the flow table, once or again and again. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/cli/format.h"
#include "agent/cli/lists.h"

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX     100000000
#define SORTED_MAX    10000
#define SINCE_MAX     INT32_MAX
#define WATCH_SECONDS 2
#define WATCH_MAX     3600
#define WATCH_LINES   40  /* of what is no terminal */
#define LOOK_MS	      250 /* how often to look whether anybody still reads */

/* ---------------------------------------------------------------- one flow */

/* "demo/web:80" where its name is known, else "10.0.0.1:80". */
static void add_end(struct table *table, const char *name, const char *address, json_int_t port)
{
	char buffer[FORMAT_MAX];

	if (*name && port > 0)
		table_addf(table, "%s:%lld", name, (long long)port);
	else if (*name)
		table_add(table, name);
	else
		table_add(table, format_endpoint(address, port, buffer));
}

/* What the packet's addresses become; "-" where nothing changes. */
static void add_translation(struct table *table, const json_t *flow)
{
	char source[FORMAT_MAX], destination[FORMAT_MAX];

	format_endpoint(field_text(flow, "new_source"), field_number(flow, "new_source_port"),
			source);
	format_endpoint(field_text(flow, "new_destination"),
			field_number(flow, "new_destination_port"), destination);
	if (source[0] && destination[0])
		table_addf(table, "%s -> %s", source, destination);
	else if (source[0])
		table_addf(table, "%s ->", source);
	else if (destination[0])
		table_addf(table, "-> %s", destination);
	else
		table_add(table, NULL);
}

/* "demo/web" of the policy that allowed it, ingress before egress. */
static void add_policy(struct table *table, const json_t *flow)
{
	const char *ingress = field_text(flow, "ingress_policy.policy"),
		   *egress = field_text(flow, "egress_policy.policy");

	if (*ingress && *egress && strcmp(ingress, egress))
		table_addf(table, "%s,%s", egress, ingress);
	else
		table_add(table, *ingress ? ingress : egress);
}

static void add_flow(struct table *table, const json_t *flow)
{
	const char *service = field_text(flow, "service"), *verdict = field_text(flow, "verdict");
	bool reply = json_is_true(field(flow, "reply"));
	char idle[FORMAT_MAX];

	list_add_scalar(table, flow, "proto");
	add_end(table, field_text(flow, "source_pod"), field_text(flow, "source"),
		field_number(flow, "source_port"));
	add_end(table, *service && !reply ? service : field_text(flow, "destination_pod"),
		field_text(flow, "destination"), field_number(flow, "destination_port"));
	add_translation(table, flow);
	table_add_colour(table, text_verdict_colour(verdict), verdict);
	add_policy(table, flow);
	if (*field_text(flow, "node"))
		table_addf(table, "%s (%s)", field_text(flow, "action"), field_text(flow, "node"));
	else
		list_add_scalar(table, flow, "action");
	list_add_strings(table, field(flow, "state"));
	table_add(table, format_duration(field_number(flow, "idle_seconds"), idle));
	list_add_scalar(table, flow, "packets");
	list_add_scalar(table, flow, "bytes");
}

static void add_endpoint(struct table *table, const json_t *flow, const char *address,
			 const char *port)
{
	add_end(table, "", field_text(flow, address), field_number(flow, port));
}

/* "demo/web ingress[0]". */
static void add_rule(struct table *table, const json_t *policy)
{
	if (*field_text(policy, "rule_path"))
		table_addf(table, "%s %s", field_text(policy, "policy"),
			   field_text(policy, "rule_path"));
	else
		table_add(table, "");
}

static void add_process(struct table *table, const json_t *process)
{
	char *text = format_process(process);

	table_add(table, text);
	free(text);
}

static void add_flow_more(struct table *table, const json_t *flow)
{
	add_endpoint(table, flow, "source", "source_port");
	add_endpoint(table, flow, "destination", "destination_port");
	list_add_scalar(table, flow, "service");
	add_rule(table, field(flow, "egress_policy"));
	add_rule(table, field(flow, "ingress_policy"));
	list_add_scalar(table, flow, "reply");
	list_add_scalar(table, flow, "current");
	add_process(table, field(flow, "source_process"));
	add_process(table, field(flow, "destination_process"));
}

/* tcp/10.0.0.1:40000/10.0.0.2:80 */
static char *flow_name(const json_t *flow)
{
	char source[FORMAT_MAX], destination[FORMAT_MAX], *text;

	format_endpoint(field_text(flow, "source"), field_number(flow, "source_port"), source);
	format_endpoint(field_text(flow, "destination"), field_number(flow, "destination_port"),
			destination);
	if (asprintf(&text, "%s/%s/%s", field_text(flow, "proto"), source, destination) < 0)
		abort();
	return text;
}

static const char *const titles[] = {"PROTO",	"SOURCE",  "DESTINATION", "TRANSLATED",
				     "VERDICT", "POLICY",  "ACTION",	  "STATE",
				     "IDLE",	"PACKETS", "BYTES",	  NULL};
static const char *const wide_titles[] = {
	"FROM",	 "TO",	    "SERVICE",	      "EGRESS-RULE",	     "INGRESS-RULE",
	"REPLY", "CURRENT", "SOURCE-PROCESS", "DESTINATION-PROCESS", NULL};
static const struct list_form form = {.kind = "flow",
				      .titles = titles,
				      .row = add_flow,
				      .wide_titles = wide_titles,
				      .wide_row = add_flow_more,
				      .name = flow_name};

/* ---------------------------------------------------------------- the question */

/* Lines of the terminal, less one for titles and one that stays free. */
static json_int_t lines_of_terminal(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row < 4)
		return WATCH_LINES;
	return size.ws_row - 2;
}

/* How many, and which come first. */
static int add_order(const struct cli *cli, json_t *args, json_int_t *ret_limit)
{
	bool watch = cli->given[CLI_WATCH], last = cli->given[CLI_LAST];
	const char *sort = cli->values[CLI_SORT];
	json_int_t limit = watch ? lines_of_terminal() : LIMIT_DEFAULT;

	if (last && (sort || cli->given[CLI_LIMIT])) {
		cli_error("--last N lists the N flows that were used last: leave --sort and "
			  "--limit out");
		return CLI_USAGE;
	}
	if (cli->values[CLI_LIMIT] && !cli_parse_number(cli, CLI_LIMIT, 0, LIMIT_MAX, &limit))
		return CLI_USAGE;
	if (last && !cli_parse_number(cli, CLI_LAST, 1, SORTED_MAX, &limit))
		return CLI_USAGE;
	if (!sort)
		sort = last ? "use" : watch ? "bytes" : NULL;
	if (sort && (limit < 1 || limit > SORTED_MAX)) {
		cli_error("--limit %lld: 1 to %d flows can be sorted; sort a longer list yourself "
			  "(-o jsonl)",
			  (long long)limit, SORTED_MAX);
		return CLI_USAGE;
	}
	json_object_set_new(args, "limit", json_integer(limit));
	if (sort)
		json_object_set_new(args, "sort", json_string(sort));
	*ret_limit = last ? 0 : limit;
	return CLI_OK;
}

static int make_arguments(const struct cli *cli, json_t *args, json_int_t *ret_limit)
{
	json_t *filter = NULL;
	int code = add_order(cli, args, ret_limit);

	if (!code)
		code = cli_add_since(cli, SINCE_MAX, args);
	if (!code)
		code = cli_filter(cli, &filter);
	if (!code && filter)
		json_object_set_new(args, "filter", filter);
	return code;
}

/* ---------------------------------------------------------------- once, or again and again */

static int list_once(const struct cli *cli, const json_t *args, json_int_t limit)
{
	json_t *list;
	int code;

	if (cli_ask(cli, "flows", args, &list) < 0)
		return CLI_FAILED;
	code = list_show(cli, list, &form);
	if (limit && !cli->answer && !cli->given[CLI_WATCH] &&
	    json_array_size(list) >= (size_t)limit)
		cli_error("only the first %lld flows are shown: use --limit N for more, --limit "
			  "0 for all",
			  (long long)limit);
	json_decref(list);
	return code;
}

/* False: nobody reads any more. */
static bool wait_for(json_int_t seconds)
{
	for (json_int_t ms = 0; ms < seconds * 1000; ms += LOOK_MS) {
		if (cli_reader_is_gone())
			return false;
		usleep(LOOK_MS * 1000);
	}
	return !cli_reader_is_gone();
}

static int list_again(const struct cli *cli, const json_t *args)
{
	bool terminal = isatty(STDOUT_FILENO) && !cli->json;
	json_int_t seconds = WATCH_SECONDS;
	int code;

	if (cli->values[CLI_WATCH] && !cli_parse_number(cli, CLI_WATCH, 1, WATCH_MAX, &seconds))
		return CLI_USAGE;
	for (bool first = true;; first = false) {
		/* From the top of the terminal, what was there before is gone. */
		if (terminal)
			fputs("\033[H\033[2J", stdout);
		else if (!first && !cli->json)
			putchar('\n');
		code = list_once(cli, args, 0);
		if (code || fflush(stdout))
			return code ? code : CLI_FAILED;
		if (!wait_for(seconds))
			return CLI_FAILED;
	}
}

int cli_run_flows(struct cli *cli)
{
	json_t *args = json_object();
	json_int_t limit = 0;
	int code = make_arguments(cli, args, &limit);

	if (!code)
		code = cli->given[CLI_WATCH] ? list_again(cli, args) : list_once(cli, args, limit);
	json_decref(args);
	return code;
}
