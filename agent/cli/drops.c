/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl drop list: who loses packets, why, and what to do; by Polder, or by the kernel. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/format.h"
#include "agent/cli/lists.h"
#include "agent/common/clock.h"
#include "agent/common/control_client.h"

#define SINCE_MAX   3540 /* as long as the agent keeps minutes apart */
#define FOR_DEFAULT "10s"
#define FOR_MAX	    86400
#define ANSWER_MAX  (16u << 20)
#define SEND_MS	    5000
#define LOOK_MS	    500	  /* how often to look whether anybody still reads */
#define GRACE_MS    30000 /* to load the program, beyond the time asked for */

/* ---------------------------------------------------------------- rows */

/* The pod, or the link that the last one came in by: spoofed packets are no pod's. */
static void add_pod(struct table *table, const json_t *row)
{
	if (!*field_text(row, "pod") && *field_text(row, "example.link"))
		table_addf(table, "link %s", field_text(row, "example.link"));
	else
		list_add_scalar(table, row, "pod");
}

static void add_row(struct table *table, const json_t *row)
{
	char buffer[FORMAT_MAX];

	table_add_colour(table, COLOUR_RED, field_text(row, "reason"));
	list_add_scalar(table, row, "direction");
	add_pod(table, row);
	list_add_scalar(table, row, "policy");
	list_add_scalar(table, row, "packets");
	table_addf(table, "%s ago", format_duration(field_number(row, "seconds"), buffer));
}

/* "tcp 10.0.0.1:40000 -> 10.0.0.2:80": the last one of them. */
static void add_example(struct table *table, const json_t *row)
{
	const json_t *example = field(row, "example");
	char source[FORMAT_MAX], destination[FORMAT_MAX];

	format_endpoint(field_text(example, "source.ip"), field_number(example, "source.port"),
			source);
	format_endpoint(field_text(example, "destination.ip"),
			field_number(example, "destination.port"), destination);
	if (*source || *destination)
		table_addf(table, "%s %s -> %s", field_text(example, "proto"), source, destination);
	else
		table_add(table, "");
}

/* drop/REASON/NAMESPACE/POD */
static char *row_name(const json_t *row)
{
	const char *pod = field_text(row, "pod");
	char *text;

	if (asprintf(&text, "%s%s%s", field_text(row, "reason"), *pod ? "/" : "", pod) < 0)
		abort();
	return text;
}

/* ---------------------------------------------------------------- reasons */

static bool is_first_of_reason(const json_t *reasons, size_t index)
{
	const char *reason = field_text(json_array_get(reasons, index), "reason");

	for (size_t i = 0; i < index; i++)
		if (!strcmp(field_text(json_array_get(reasons, i), "reason"), reason))
			return false;
	return true;
}

/* All directions of one reason: their packets by the programs' counts, and those in the rows. */
static void print_counts(const json_t *reasons, const char *reason)
{
	json_int_t packets = 0, told = 0;
	const json_t *item;
	size_t index;

	json_array_foreach (reasons, index, item) {
		if (strcmp(field_text(item, "reason"), reason))
			continue;
		packets += field_number(item, "packets");
		told += field_number(item, "told");
	}
	printf(": %lld packets", (long long)packets);
	if (told < packets)
		printf(", %lld of them not told one by one", (long long)(packets - told));
	putchar('\n');
}

static void print_reasons(const json_t *reasons)
{
	const json_t *item;
	size_t index;

	json_array_foreach (reasons, index, item) {
		if (!is_first_of_reason(reasons, index))
			continue;
		putchar('\n');
		text_print_colour(COLOUR_RED, field_text(item, "reason"));
		print_counts(reasons, field_text(item, "reason"));
		fputs("  means: ", stdout);
		text_print(field_text(item, "means"), NULL, stdout);
		fputs("\n  to do: ", stdout);
		text_print(field_text(item, "remedy"), NULL, stdout);
		putchar('\n');
	}
}

/* What the rows leave out, if anything. */
static void print_limits(const json_t *answer)
{
	json_int_t lost = field_number(answer, "lost_events"),
		   limited = field_number(answer, "limited_events"),
		   left_out = field_number(answer, "rows_left_out");

	if (lost || limited)
		printf("\nThe packets of each reason are exact; of those told one by one, by pod "
		       "and "
		       "policy, %lld found no room and %lld were beyond events-per-second.\n",
		       (long long)lost, (long long)limited);
	if (left_out)
		printf("\n%lld rows that were idle for longest made room for others since polderd "
		       "started.\n",
		       (long long)left_out);
	if (json_is_false(field(answer, "counted")))
		puts("\nThe programs' counts could not be read: the packets of each reason are not "
		     "known.");
}

/* ---------------------------------------------------------------- the command */

static int show_one(const struct cli *cli, const json_t *answer)
{
	static const char *const titles[] = {"REASON",	"DIRECTION", "POD", "POLICY",
					     "PACKETS", "LAST",	     NULL};
	static const char *const wide_titles[] = {"EXAMPLE", NULL};
	static const struct list_form form = {.kind = "drop",
					      .titles = titles,
					      .row = add_row,
					      .wide_titles = wide_titles,
					      .wide_row = add_example,
					      .name = row_name};
	const json_t *rows = field(answer, "drops");
	int code = list_show(cli, rows, &form);

	if (!code && cli->format != CLI_NAMES && !cli->given[CLI_NO_HEADERS]) {
		print_reasons(field(answer, "reasons"));
		print_limits(answer);
	}
	return code;
}

/* ---------------------------------------------------------------- the kernel's */

/* 0, or what control_client_receive() says; -EOPNOTSUPP: the agent says why not. */
static int receive_count(struct control_client *client, json_int_t seconds, json_t **ret_answer,
			 struct error *failure)
{
	int64_t deadline = clock_monotonic_ms() + seconds * 1000 + GRACE_MS;
	json_t *line;
	int r;

	do {
		r = control_client_receive(client, LOOK_MS, &line, failure);
	} while (r == -ETIMEDOUT && clock_monotonic_ms() < deadline && !cli_reader_is_gone());
	if (r < 0)
		return r;
	if (strcmp(field_text(line, "type"), "end") == 0)
		*ret_answer = json_incref(json_object_get(line, "answer"));
	else
		r = error_set(failure, -EOPNOTSUPP, EOPNOTSUPP, "%s", field_text(line, "reason"));
	json_decref(line);
	return r;
}

/* Counts while it waits: nobody counts these when nobody asks. 0 or -errno after a complaint. */
static int ask_kernel(const struct cli *cli, const json_t *args, json_t **ret_answer)
{
	struct control_client *client = NULL;
	struct error failure = {0};
	char message[1536];
	int r = control_client_connect(cli->socket, ANSWER_MAX, CONTROL_CLIENT_CONNECT_MS, &client);

	if (r == 0)
		r = control_client_send(client, "drops.kernel", args, -1, SEND_MS);
	if (r == 0)
		r = receive_count(client, json_integer_value(json_object_get(args, "seconds")),
				  ret_answer, &failure);
	control_client_free(client);
	if (r == -EREMOTEIO) {
		cli_error("polderd at %s refused drops.kernel: %s (code %d)", cli->socket,
			  failure.text, failure.code);
	} else if (r == -EOPNOTSUPP) {
		cli_error("%s", failure.text);
	} else if (r < 0) {
		cli_explain(cli, r, message, sizeof(message));
		cli_error("%s", message);
	}
	return r;
}

static int add_time(const struct cli *cli, json_t *args)
{
	const char *text = cli->given[CLI_FOR] ? cli->values[CLI_FOR] : FOR_DEFAULT;
	long seconds = cli_parse_time(text, FOR_MAX);

	if (!cli->given[CLI_KERNEL] && cli->given[CLI_FOR]) {
		cli_error("--for: Polder's own drops are counted all the time, ask with --since; "
			  "--kernel counts the kernel's for a time");
		return CLI_USAGE;
	}
	if (!cli->given[CLI_KERNEL])
		return CLI_OK;
	if (cli->given[CLI_SINCE]) {
		cli_error("--kernel, --since: the kernel's drops are counted only while somebody "
			  "asks: give --for instead, for how long");
		return CLI_USAGE;
	}
	if (seconds < 1) {
		cli_error("--for %s: expected a time such as 10s, 5m, 1h, at most %d hours", text,
			  FOR_MAX / 3600);
		return CLI_USAGE;
	}
	json_object_set_new(args, "seconds", json_integer(seconds));
	return CLI_OK;
}

/* ---------------------------------------------------------------- all */

/* Polder's own drops are counted by reason, pod and policy; nothing else of a packet is kept. */
static int check_filter(const struct cli *cli)
{
	const enum cli_option packets[] = {CLI_FROM,  CLI_TO,	   CLI_IP,	CLI_PORT,
					   CLI_PROTO, CLI_VERDICT, CLI_PROCESS, CLI_UID};

	for (size_t i = 0; !cli->given[CLI_KERNEL] && i < sizeof(packets) / sizeof(*packets); i++)
		if (cli->given[packets[i]]) {
			cli_error("--%s: Polder's own drops are counted by --pod, --namespace, "
				  "--reason and --policy; monitor --drops chooses packets, and "
				  "so does --kernel",
				  cli_options[packets[i]].name);
			return CLI_USAGE;
		}
	return CLI_OK;
}

static int make_arguments(const struct cli *cli, json_t *args)
{
	json_t *filter = NULL;
	int code;

	code = check_filter(cli);
	if (!code)
		code = add_time(cli, args);
	if (!code)
		code = cli_add_since(cli, SINCE_MAX, args);
	if (!code)
		code = cli_filter(cli, &filter);
	if (!code && filter)
		json_object_set_new(args, "filter", filter);
	return code;
}

int cli_run_drop_list(struct cli *cli)
{
	json_t *args = json_object(), *answer = NULL;
	int code = make_arguments(cli, args);

	if (!code && cli->given[CLI_KERNEL] && !cli->answer)
		code = ask_kernel(cli, args, &answer) < 0 ? CLI_FAILED : CLI_OK;
	else if (!code && cli_ask(cli, "drops", args, &answer) < 0)
		code = CLI_FAILED;
	if (!code && cli->json)
		cli_print_json(answer);
	else if (!code)
		code = cli->answer ? list_show_nodes(cli, answer, show_one) : show_one(cli, answer);
	json_decref(answer);
	json_decref(args);
	return code;
}
