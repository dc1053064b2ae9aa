/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl explain: who may reach whom, and why; for people the way of the decision from sender to
 * receiver. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/resources.h"
#include "agent/cli/table.h"
#include "agent/common/cleanup.h"

/* Exit status: the answer. */
enum { ALLOWED = 0, DENIED = 1, UNKNOWN = 2 };

#define HEAD_WIDTH 13

/* "  egress       ", then the words; what comes from outside is made harmless. */
static void print_line(const char *head, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void print_line(const char *head, const char *format, ...)
{
	char *text = NULL;
	va_list list;

	va_start(list, format);
	if (vasprintf(&text, format, list) < 0)
		text = NULL;
	va_end(list);
	printf("  %-*s", HEAD_WIDTH, head);
	text_print(text ? text : "", NULL, stdout);
	putchar('\n');
	free(text);
}

static bool is_true(const json_t *object, const char *path)
{
	return json_is_true(field(object, path));
}

static const char *text_or(const char *text, const char *other)
{
	return *text ? text : other;
}

/* ---------------------------------------------------------------- parts */

/* "{app=web, tier=1}", "" without labels. The caller frees. */
static char *labels_text(const json_t *labels)
{
	size_t size = 0, count = 0;
	const char *key;
	json_t *value;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	json_object_foreach ((json_t *)labels, key, value)
		fprintf(out, "%s%s=%s", count++ ? ", " : " {", key, json_string_value(value));
	if (count)
		fputc('}', out);
	fclose(out);
	return text;
}

static void print_end(const char *head, const json_t *end)
{
	CLEANUP(cleanup_free) char *labels = labels_text(field(end, "labels"));
	const char *kind = field_text(end, "kind"), *node = field_text(end, "node");
	json_int_t identity = field_number(end, "identity");
	char number[FORMAT_MAX] = "";

	if (identity)
		snprintf(number, sizeof(number), ", identity %lld", (long long)identity);
	if (strcmp(kind, "node") == 0)
		print_line(head, "this node, %s%s", field_text(end, "ip"), number);
	else if (strcmp(kind, "pod") == 0)
		print_line(head, "pod %s %s on %s%s%s%s", field_text(end, "name"),
			   field_text(end, "ip"), is_true(end, "local") ? "this node" : "node ",
			   is_true(end, "local") ? "" : text_or(node, "(unknown)"), number,
			   labels ? labels : "");
	else
		print_line(head, "%s%s%s%s", field_text(end, "ip"), *node ? ", node " : "", node,
			   number);
}

static void print_service(const json_t *answer)
{
	const json_t *service = field(answer, "service"), *backend = field(answer, "backend");
	char from[FORMAT_MAX], to[FORMAT_MAX];

	if (!json_is_object(service))
		return;
	format_endpoint(field_text(service, "address"), field_number(service, "port"), from);
	if (!json_is_object(backend)) {
		print_line("Service", "%s %s: no endpoint", field_text(service, "name"), from);
		return;
	}
	format_endpoint(field_text(backend, "ip"), field_number(backend, "port"), to);
	print_line("Service", "%s %s -> %s%s%s%s, %s of %lld%s", field_text(service, "name"), from,
		   to, *field_text(backend, "pod") ? " (" : "", field_text(backend, "pod"),
		   *field_text(backend, "pod") ? ")" : "",
		   strcmp(field_text(answer, "chosen"), "program") == 0 && !is_true(answer, "mixed")
			   ? "the program's choice"
			   : "one",
		   (long long)field_number(service, "endpoints"),
		   strcmp(field_text(service, "set"), "node") == 0 ? " on this node" : "");
}

static void print_decided(const char *head, const json_t *part)
{
	CLEANUP(cleanup_free) char *isolating = format_list(field(part, "isolated_by"), 16);
	char rule[FORMAT_MAX] = "";

	if (*field_text(part, "rule_name"))
		snprintf(rule, sizeof(rule), " \"%.100s\"", field_text(part, "rule_name"));
	if (*field_text(part, "rule_path"))
		print_line(head, "%s by %s %s%s (%s%s%s)",
			   is_true(part, "allowed") ? "allowed" : "denied",
			   field_text(part, "policy"), field_text(part, "rule_path"), rule,
			   text_or(field_text(part, "tier"), "?"),
			   *field_text(part, "action") ? ", " : "", field_text(part, "action"));
	else
		print_line(head,
			   "denied by default: no rule of the policies that isolate the pod "
			   "matches: %s",
			   isolating);
}

/* Which policies were asked, and what they came to. */
static void print_direction(const char *head, const json_t *part, const char *pod)
{
	const char *basis = field_text(part, "basis");
	json_int_t ruleset = field_number(part, "ruleset");

	if (strcmp(basis, "not_asked") == 0) {
		print_line(head, "no policy applies here");
		return;
	}
	if (strcmp(basis, "open") == 0)
		print_line(head, "open: %s%s",
			   json_array_size(field(part, "policies"))
				   ? "no rule matches, and nothing isolates "
				   : "no policy selects ",
			   pod);
	else
		print_decided(head, part);
	if (*field_text(part, "passed_by"))
		print_line("", "after Pass by %s rule %lld", field_text(part, "passed_by"),
			   (long long)field_number(part, "passed_rule"));
	if (*field_text(part, "note"))
		print_line("", "%s", field_text(part, "note"));
	if (!is_true(part, "here"))
		print_line("", "(decided on %s%s, not here)",
			   *field_text(part, "node") ? "node " : "",
			   text_or(field_text(part, "node"), "another node"));
	else if (ruleset)
		print_line("", "rule set %lld", (long long)ruleset);
}

/* In a cluster: who has said what. */
static void print_halves(const json_t *answer)
{
	const json_t *half;
	size_t index;

	json_array_foreach (field(answer, "halves"), index, half) {
		CLEANUP(cleanup_free) char *directions = format_list(field(half, "directions"), 2);

		if (is_true(half, "asked"))
			print_line(index ? "" : "asked", "node %s: %s%s%s %s",
				   field_text(half, "node"), directions,
				   *field_text(half, "pod") ? " of " : "", field_text(half, "pod"),
				   field_text(half, "verdict"));
		else
			print_line(index ? "" : "asked", "node %s: %s unknown: %s",
				   field_text(half, "node"), directions, field_text(half, "note"));
	}
}

static void print_methods(const json_t *answer)
{
	static const char *const names[] = {"objects", "maps", "program"};
	const json_t *differences = field(answer, "differences");

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const json_t *method = json_object_get(field(answer, "methods"), names[i]);
		const char *reason = field_text(method, "reason");

		if (!is_true(method, "asked"))
			print_line(names[i], "not available: %s", field_text(method, "note"));
		else
			print_line(names[i], "%s%s%s%s", field_text(method, "verdict"),
				   strcmp(reason, "none") ? " (" : "",
				   strcmp(reason, "none") ? reason : "",
				   strcmp(reason, "none") ? ")" : "");
	}
	for (size_t i = 0; i < json_array_size(differences); i++)
		print_line("DIFFERENT", "%s", json_string_value(json_array_get(differences, i)));
}

static void print_backends(const json_t *answer)
{
	const json_t *list = field(answer, "backends");
	char endpoint[FORMAT_MAX];

	for (size_t i = 0; json_array_size(list) > 1 && i < json_array_size(list); i++) {
		const json_t *backend = json_array_get(list, i);
		const char *policy = field_text(backend, "policy"),
			   *path = field_text(backend, "rule_path");

		format_endpoint(field_text(backend, "ip"), field_number(backend, "port"), endpoint);
		print_line(i ? "" : "endpoints", "%s %s %s%s%s%s%s", endpoint,
			   field_text(backend, "pod"), field_text(backend, "verdict"),
			   *policy ? " by " : "", policy, *path ? " " : "", path);
	}
}

static void print_flows(const json_t *answer)
{
	const json_t *list = field(answer, "flows");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *flow = json_array_get(list, i);

		print_line(i ? "" : "flow exists",
			   "from port %lld: %lld packets, %lld bytes; replies %lld, %lld; idle "
			   "%lld s%s%s",
			   (long long)field_number(flow, "source_port"),
			   (long long)field_number(flow, "packets"),
			   (long long)field_number(flow, "bytes"),
			   (long long)field_number(flow, "reply_packets"),
			   (long long)field_number(flow, "reply_bytes"),
			   (long long)field_number(flow, "idle_seconds"),
			   is_true(flow, "established") ? ", established" : "",
			   is_true(flow, "current") ? "" : ", re-evaluated at its next packet");
	}
}

static void print_headline(const json_t *answer)
{
	const char *verdict = field_text(answer, "verdict");
	bool denied = strcmp(verdict, "denied") == 0;
	char from[FORMAT_MAX], to[FORMAT_MAX];
	const json_t *target = json_is_object(field(answer, "service")) ? field(answer, "service")
									: field(answer, "to");
	const char *addr = json_is_object(field(answer, "service")) ? field_text(target, "address")
								    : field_text(target, "ip");

	snprintf(from, sizeof(from), "%.120s",
		 text_or(field_text(answer, "from.name"), field_text(answer, "from.ip")));
	format_endpoint(addr, field_number(answer, "port"), to);
	fputs(strcmp(verdict, "allowed") == 0 ? "ALLOWED  "
	      : denied			      ? "DENIED  "
					      : "UNKNOWN  ",
	      stdout);
	text_print(from, NULL, stdout);
	fputs(" -> ", stdout);
	text_print(field_text(target, "name"), NULL, stdout);
	printf("%s%s %s", *field_text(target, "name") ? " " : "", to, field_text(answer, "proto"));
	if (denied)
		printf(" (%s)", field_text(answer, "reason"));
	puts(is_true(answer, "hypothetical") ? ", if these objects were in force" : "");
	if (is_true(answer, "mixed"))
		print_line("", "the verdict depends on the endpoint; a denied one is shown");
}

/* Programs that run with made packets do not see the outer headers: what those must be is not
 * asked. */
static void print_way(const json_t *way)
{
	bool tunnel = strcmp(field_text(way, "kind"), "tunnel") == 0, in = is_true(way, "incoming");

	if (!json_is_object(way))
		return;
	if (tunnel)
		print_line("way", "through the tunnel %s node %s", in ? "from" : "to",
			   field_text(way, "node"));
	else
		print_line("way", "natively %s node %s", in ? "from" : "by",
			   field_text(way, "node"));
	if (in)
		print_line("", "(that it comes from there is taken for granted, not asked)");
}

void cli_print_explain(const json_t *answer)
{
	print_headline(answer);
	print_service(answer);
	print_end("from", field(answer, "from"));
	print_end("to", field(answer, "to"));
	print_way(field(answer, "way"));
	print_direction("egress", field(answer, "egress"),
			text_or(field_text(answer, "from.name"), "it"));
	print_direction("ingress", field(answer, "ingress"),
			text_or(field_text(answer, "to.name"), "it"));
	print_backends(answer);
	print_flows(answer);
	print_methods(answer);
	print_halves(answer);
}

/* ---------------------------------------------------------------- the command */

static bool require(const struct cli *cli, enum cli_option option)
{
	if (!cli->given[option])
		cli_error("--%s is missing: see %s explain --help", cli_options[option].name,
			  cli_program());
	return cli->given[option];
}

json_t *cli_explain_args(const struct cli *cli)
{
	const struct cli_list *with = &cli->lists[CLI_WITH];
	json_t *args, *objects;

	if (!require(cli, CLI_FROM) || !require(cli, CLI_TO))
		return NULL;
	args = json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "from", cli->values[CLI_FROM], "to",
			 cli->values[CLI_TO], "proto", cli->values[CLI_PROTO], "port",
			 cli->values[CLI_PORT], "family", cli->values[CLI_FAMILY]);
	if (!args)
		cli_error("--from and --to: not UTF-8");
	if (!args || !with->count)
		return args;
	if (resources_read(with->items, with->count, &objects) < 0) {
		json_decref(args);
		return NULL;
	}
	json_object_set_new(args, "objects", objects);
	return args;
}

int cli_explain_status(const json_t *answer)
{
	const char *verdict = field_text(answer, "verdict");

	if (strcmp(verdict, "allowed") == 0)
		return ALLOWED;
	return strcmp(verdict, "denied") == 0 ? DENIED : UNKNOWN;
}

int cli_run_explain(struct cli *cli)
{
	json_t *args, *answer = NULL;
	int r;

	args = cli_explain_args(cli);
	if (!args)
		return UNKNOWN;
	r = cli_ask(cli, "explain", args, &answer);
	json_decref(args);
	if (r < 0)
		return UNKNOWN;
	r = cli_explain_status(answer);
	if (cli->json)
		cli_print_json(answer);
	else
		cli_print_explain(answer);
	json_decref(answer);
	return r;
}
