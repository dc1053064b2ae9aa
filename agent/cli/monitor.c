/* SPDX-License-Identifier: Apache-2.0 */
/* Prints drops and flows as they happen. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"
#include "agent/common/control_client.h"

#define EVENT_MAX (1u << 20)
#define SEND_MS	  5000
#define LOOK_MS	  500 /* how often to look whether anybody still reads */

static void print_word(const char *text)
{
	if (!*text)
		return;
	putchar(' ');
	text_print(text, NULL, stdout);
}

/* "default/web 10.0.0.1:80". */
static void print_end(const json_t *end)
{
	char endpoint[FORMAT_MAX];
	const json_t *identity = field(end, "identity");

	print_word(field_text(end, "pod"));
	print_word(format_endpoint(field_text(end, "ip"), field_number(end, "port"), endpoint));
	if (!*field_text(end, "pod") && json_integer_value(identity))
		printf(" identity %lld", (long long)json_integer_value(identity));
}

/* "ingress demo/web rule 0 "from-front"", "ingress default deny demo/a,demo/b". */
static void print_policy(const char *what, const json_t *policy)
{
	char rule[FORMAT_MAX];
	char *list;

	if (!json_is_object(policy))
		return;
	printf(" %s", what);
	if (json_is_true(field(policy, "default_deny"))) {
		list = format_list(field(policy, "isolated_by"), 8);
		fputs(" default deny", stdout);
		print_word(list);
		free(list);
		return;
	}
	print_word(field_text(policy, "policy"));
	printf(" rule %s", format_scalar(field(policy, "rule"), rule));
	if (*field_text(policy, "rule_name")) {
		fputs(" \"", stdout);
		text_print(field_text(policy, "rule_name"), NULL, stdout);
		putchar('"');
	}
}

static void print_event(const json_t *event)
{
	char scalar[FORMAT_MAX];

	if (field(event, "lost")) {
		printf("lost %s events: the ring was full\n",
		       format_scalar(field(event, "lost"), scalar));
		return;
	}
	text_print(format_scalar(field(event, "time"), scalar), NULL, stdout);
	print_word(field_text(event, "type"));
	print_word(field_text(event, "verdict"));
	if (strcmp(field_text(event, "reason"), "none"))
		print_word(field_text(event, "reason"));
	print_word(field_text(event, "hook"));
	print_word(field_text(event, "family"));
	print_word(format_scalar(field(event, "proto"), scalar));
	print_end(field(event, "source"));
	fputs(" ->", stdout);
	print_end(field(event, "destination"));
	if (json_is_object(field(event, "backend"))) {
		fputs(" via", stdout);
		print_end(field(event, "backend"));
	}
	print_policy("egress", field(event, "egress_policy"));
	print_policy("ingress", field(event, "ingress_policy"));
	if (*field_text(event, "link"))
		fputs(" link", stdout);
	print_word(field_text(event, "link"));
	printf(" length %lld\n", (long long)field_number(event, "length"));
}

/* 0, or -EPIPE when nobody reads. */
static int show_event(const struct cli *cli, const json_t *event)
{
	if (cli->json) {
		json_dumpf(event, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
		putchar('\n');
	} else {
		print_event(event);
	}
	return fflush(stdout) ? -EPIPE : 0;
}

static int follow(const struct cli *cli, struct control_client *client)
{
	struct error failure;
	char message[1536];
	json_t *event;
	int r = 0;

	while (!r) {
		r = control_client_receive(client, LOOK_MS, &event, &failure);
		if (r == -ETIMEDOUT) {
			r = cli_reader_is_gone() ? -EPIPE : 0;
		} else if (!r) {
			r = show_event(cli, event);
			json_decref(event);
		}
	}
	if (r == -EPIPE)
		return CLI_FAILED;
	if (r == -EREMOTEIO) {
		cli_error("polderd at %s refused monitor: %s (code %d)", cli->socket, failure.text,
			  failure.code);
	} else {
		cli_explain(cli, r, message, sizeof(message));
		cli_error("%s", message);
	}
	return CLI_FAILED;
}

/* Neither option means both. */
int cli_run_monitor(struct cli *cli)
{
	bool both = cli->given[CLI_DROPS] == cli->given[CLI_FLOWS];
	json_t *args = json_pack("{s:b, s:b}", "drops", both || cli->given[CLI_DROPS], "flows",
				 both || cli->given[CLI_FLOWS]);
	struct control_client *client = NULL;
	char message[1536];
	int r, code = CLI_FAILED;

	r = control_client_connect(cli->socket, EVENT_MAX, CONTROL_CLIENT_CONNECT_MS, &client);
	if (!r)
		r = control_client_send(client, "monitor", args, -1, SEND_MS);
	json_decref(args);
	if (!r) {
		code = follow(cli, client);
	} else {
		cli_explain(cli, r, message, sizeof(message));
		cli_error("%s", message);
	}
	control_client_free(client);
	return code;
}
