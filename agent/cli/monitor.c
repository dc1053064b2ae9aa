/* SPDX-License-Identifier: Apache-2.0 */
/* Prints drops and flows as they happen. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/alerts.h"
#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"
#include "agent/common/clock.h"
#include "agent/common/control_client.h"

#define EVENT_MAX (1u << 20)
#define SEND_MS	  5000
#define LOOK_MS	  500 /* how often to look whether anybody still reads */
#define LAST_MAX  1000
#define SINCE_MAX INT32_MAX

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

/* "source process pid 12 uid 0 "curl"". */
static void print_process(const char *what, const json_t *process)
{
	char *text = format_process(process);

	if (*text) {
		printf(" %s process", what);
		print_word(text);
	}
	free(text);
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
	if (field(event, "kernel_lost")) {
		printf("lost %lld of the kernel's drops: the ring was full; %lld more were beyond "
		       "events-per-second\n",
		       (long long)field_number(event, "kernel_lost"),
		       (long long)field_number(event, "kernel_limited"));
		return;
	}
	text_print(format_scalar(field(event, "time"), scalar), NULL, stdout);
	print_word(field_text(event, "type"));
	putchar(' ');
	text_print_colour(text_verdict_colour(field_text(event, "verdict")),
			  field_text(event, "verdict"));
	if (strcmp(field_text(event, "reason"), "none"))
		print_word(field_text(event, "reason"));
	print_word(field_text(event, "hook"));
	print_word(field_text(event, "family"));
	print_word(format_scalar(field(event, "proto"), scalar));
	print_end(field(event, "source"));
	fputs(" ->", stdout);
	if (*field_text(event, "destination.service")) {
		fputs(" service", stdout);
		print_word(field_text(event, "destination.service"));
	}
	print_end(field(event, "destination"));
	if (json_is_object(field(event, "backend"))) {
		fputs(" via", stdout);
		print_end(field(event, "backend"));
	}
	if (json_is_object(field(event, "masqueraded"))) {
		fputs(" masqueraded as", stdout);
		print_end(field(event, "masqueraded"));
	}
	print_policy("egress", field(event, "egress_policy"));
	print_policy("ingress", field(event, "ingress_policy"));
	if (*field_text(event, "place"))
		fputs(" in", stdout);
	print_word(field_text(event, "place"));
	if (*field_text(event, "link"))
		fputs(" link", stdout);
	print_word(field_text(event, "link"));
	printf(" length %lld", (long long)field_number(event, "length"));
	print_process("source", field(event, "source.process"));
	print_process("destination", field(event, "destination.process"));
	putchar('\n');
}

/* What is known of the programs' counts, to tell what came while nobody listened. */
struct counts {
	bool known;
	json_int_t time_ns; /* of the newest event that was seen, or when listening began */
	json_int_t dropped, lost, limited;
};

struct monitor {
	const struct cli *cli;
	json_t *args;
	struct counts counts;
	json_int_t lost; /* the same, of those the reader has heard that they were lost */
	bool away;	 /* the agent went, and has not come back yet */
	int64_t away_since_ms;
};

/* 0, or -EPIPE when nobody reads. */
static int show_event(struct monitor *monitor, const json_t *event)
{
	json_int_t when = field_number(event, "monotonic_ns");

	if (when > monitor->counts.time_ns)
		monitor->counts.time_ns = when;
	monitor->lost += field_number(event, "lost");
	if (monitor->cli->json)
		cli_print_line(event);
	else if (!strcmp(field_text(event, "type"), "alert"))
		alert_print(event);
	else
		print_event(event);
	return fflush(stdout) ? -EPIPE : 0;
}

/* Whether the kernel's own drops are told. False: they are not, and nothing else is asked for. */
static bool take_kernel_drops(const struct monitor *monitor, const json_t *event)
{
	const json_t *told = field(event, "kernel_drops");

	if (json_is_true(field(told, "available")))
		return true;
	cli_error("%s", field_text(told, "why"));
	if (monitor->cli->json)
		cli_print_line(event);
	fflush(stdout);
	return !json_is_true(field(told, "alone"));
}

/* ---------------------------------------------------------------- a restart of the agent */

static json_int_t more(json_int_t now, json_int_t before)
{
	return now > before ? now - before : 0;
}

/* What the programs' counts say of the time in between. They go on counting while no agent runs;
 * if they are less than before, the maps were made anew. */
static void tell_gap(struct monitor *monitor, const json_t *begin)
{
	const struct counts *before = &monitor->counts;
	json_int_t lost = field_number(begin, "lost_events"),
		   limited = field_number(begin, "limited_events"),
		   dropped = field_number(begin, "dropped_packets");
	double seconds = (double)(clock_monotonic_ms() - monitor->away_since_ms) / 1000;
	json_t *document;

	if (dropped < before->dropped || lost < before->lost) {
		cli_error("connected again after %.1f s; polderd's maps were made anew: what was "
			  "dropped in between is not known",
			  seconds);
		document = json_pack("{s:{s:f, s:n, s:n}}", "reconnected", "seconds", seconds,
				     "lost", "limited");
	} else {
		lost = more(lost, before->lost + monitor->lost);
		limited = more(limited, before->limited);
		cli_error("connected again after %.1f s: of the events in between %lld had no room "
			  "and %lld were withheld by the rate limit; flows that were allowed in "
			  "between are not told",
			  seconds, (long long)lost, (long long)limited);
		document = json_pack("{s:{s:f, s:I, s:I}}", "reconnected", "seconds", seconds,
				     "lost", lost, "limited", limited);
	}
	if (monitor->cli->json)
		cli_print_line(document);
	json_decref(document);
}

/* The agent's first line: where its programs' counts are. */
static void take_begin(struct monitor *monitor, const json_t *begin)
{
	json_int_t now = field_number(begin, "monotonic_ns");

	if (monitor->away && monitor->counts.known)
		tell_gap(monitor, begin);
	else if (monitor->away)
		cli_error("connected again");
	monitor->away = false;
	monitor->counts.known = true;
	monitor->counts.dropped = field_number(begin, "dropped_packets");
	monitor->counts.lost = field_number(begin, "lost_events");
	monitor->counts.limited = field_number(begin, "limited_events");
	if (!monitor->counts.time_ns)
		monitor->counts.time_ns = now;
	monitor->lost = 0;
}

/* What came after the newest event that was seen, which the agent may still have, or find. */
static void ask_for_the_rest(struct monitor *monitor)
{
	json_object_del(monitor->args, "last");
	json_object_del(monitor->args, "since_seconds");
	if (monitor->counts.time_ns)
		json_object_set_new(monitor->args, "after_ns",
				    json_integer(monitor->counts.time_ns));
}

static bool is_agent_away(int error)
{
	return error == -ECONNRESET || error == -EPIPE || error == -ENOENT ||
	       error == -ECONNREFUSED || error == -ETIMEDOUT;
}

/* ---------------------------------------------------------------- one connection */

/* Until it ends: -errno. *ret_began: there was an answer. */
static int follow(struct monitor *monitor, struct control_client *client, bool *ret_began,
		  bool *ret_reader_gone, struct error *ret_failure)
{
	json_t *event;
	int r = 0;

	while (!r) {
		r = control_client_receive(client, LOOK_MS, &event, ret_failure);
		if (r == -ETIMEDOUT) {
			*ret_reader_gone = cli_reader_is_gone();
			r = *ret_reader_gone ? -EPIPE : 0;
			continue;
		}
		if (r)
			break;
		*ret_began = true;
		if (field(event, "begin")) {
			take_begin(monitor, field(event, "begin"));
		} else if (field(event, "kernel_drops")) {
			r = take_kernel_drops(monitor, event) ? 0 : -EOPNOTSUPP;
		} else {
			r = show_event(monitor, event);
			*ret_reader_gone = r != 0;
		}
		json_decref(event);
	}
	return r;
}

static int connect_and_follow(struct monitor *monitor, bool *ret_began, bool *ret_reader_gone,
			      struct error *ret_failure)
{
	struct control_client *client = NULL;
	int r = control_client_connect(monitor->cli->socket, EVENT_MAX, CONTROL_CLIENT_CONNECT_MS,
				       &client);

	if (!r)
		r = control_client_send(client, "monitor", monitor->args, -1, SEND_MS);
	if (!r)
		r = follow(monitor, client, ret_began, ret_reader_gone, ret_failure);
	control_client_free(client);
	return r;
}

static void tell_away(struct monitor *monitor, int error)
{
	if (monitor->away)
		return;
	monitor->away = true;
	monitor->away_since_ms = clock_monotonic_ms();
	cli_error("polderd at %s %s: waiting for it to come back; --no-reconnect ends instead",
		  monitor->cli->socket,
		  error == -ETIMEDOUT ? "does not answer" : "closed the connection");
}

static int tell_end(const struct monitor *monitor, int error, const struct error *failure)
{
	char message[1536];

	if (error == -EREMOTEIO) {
		cli_error("polderd at %s refused monitor: %s (code %d)", monitor->cli->socket,
			  failure->text, failure->code);
	} else {
		cli_explain(monitor->cli, error, message, sizeof(message));
		cli_error("%s", message);
	}
	return CLI_FAILED;
}

static int run(struct monitor *monitor)
{
	bool began = false, reader_gone = false;
	struct error failure = {0};
	int r;

	for (;;) {
		r = connect_and_follow(monitor, &began, &reader_gone, &failure);
		if (reader_gone || r == -EOPNOTSUPP)
			return CLI_FAILED; /* it is said already */
		if (!began || !is_agent_away(r) || monitor->cli->given[CLI_NO_RECONNECT])
			return tell_end(monitor, r, &failure);
		tell_away(monitor, r);
		ask_for_the_rest(monitor);
		usleep(LOOK_MS * 1000);
		if (cli_reader_is_gone())
			return CLI_FAILED;
	}
}

/* ---------------------------------------------------------------- the command */

static int add_past(const struct cli *cli, json_t *args)
{
	json_int_t last;

	if (cli->given[CLI_LAST]) {
		if (!cli_parse_number(cli, CLI_LAST, 0, LAST_MAX, &last))
			return CLI_USAGE;
		json_object_set_new(args, "last", json_integer(last));
	}
	return cli_add_since(cli, SINCE_MAX, args);
}

/* None of --drops, --flows, --kernel and --alerts means the first three; drops are Polder's and the
 * kernel's. */
int cli_run_monitor(struct cli *cli)
{
	bool drops = cli->given[CLI_DROPS], flows = cli->given[CLI_FLOWS],
	     kernel = cli->given[CLI_KERNEL], alerts = cli->given[CLI_ALERTS],
	     all = !drops && !flows && !kernel && !alerts;
	struct monitor monitor = {.cli = cli};
	json_t *filter = NULL;
	int code;

	monitor.args = json_pack("{s:b, s:b, s:b, s:b}", "drops", all || drops, "flows",
				 all || flows, "kernel", all || drops || kernel, "begin", true);
	if (alerts)
		json_object_set_new(monitor.args, "alerts", json_true());
	code = add_past(cli, monitor.args);
	if (!code)
		code = cli_filter(cli, &filter);
	if (!code && filter)
		json_object_set_new(monitor.args, "filter", filter);
	if (!code)
		code = run(&monitor);
	json_decref(monitor.args);
	return code;
}
