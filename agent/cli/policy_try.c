/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl policy try: which flows would be evaluated otherwise, and by which rule. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/policy_check.h"
#include "agent/cli/table.h"
#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/common/control_client.h"
#include "agent/common/file.h"

#define LINE_MAX_BYTES (1u << 20)
#define SEND_MS	       5000
#define LOOK_MS	       500   /* how often to look whether anybody still reads */
#define GRACE_MS       30000 /* for the flows of the table, beyond the time asked for */
#define DEFAULT_FOR    30
#define FOR_MAX	       86400

/* ---------------------------------------------------------------- the objects */

/* Says every fault of the files, as policy check does. */
static int check_files(const struct cli *cli)
{
	struct resource_paths paths = {0};
	struct check check = {0};
	int r = 0;

	for (size_t i = 0; r == 0 && i < cli->arguments.count; i++)
		r = resource_paths_add(&paths, cli->arguments.items[i]);
	/* Standard input can be read once only: the agent's answer has to do. */
	for (size_t i = 0; r == 0 && i < paths.count; i++)
		if (strcmp(paths.items[i], "-"))
			r = check_file(&check, paths.items[i]);
	if (r == 0)
		r = check_together(&check);
	for (size_t i = 0; i < check.fault_count; i++)
		if (!check.faults[i].warning)
			check_print_fault(&check.faults[i], stderr);
	if (r < 0)
		cli_error("the files cannot be read: %s", strerror(-r));
	else if (check.errors)
		cli_error("nothing was tried: %zu objects are invalid", check.errors);
	r = r < 0 || check.errors ? -1 : 0;
	check_clear(&check);
	resource_paths_clear(&paths);
	return r;
}

/* The objects as a sealed memfd, which polderd can read without waiting for anybody. */
static int objects_descriptor(const struct cli *cli, int *ret)
{
	CLEANUP(cleanup_close) int fd = -1;
	CLEANUP(cleanup_json) json_t *list = NULL;
	CLEANUP(cleanup_free) char *text = NULL;
	int r;

	if (check_files(cli) < 0 ||
	    resources_read(cli->arguments.items, cli->arguments.count, &list) < 0)
		return -1;
	text = json_dumps(list, JSON_INDENT(1));
	fd = memfd_create("polder-objects", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	r = !text ? -ENOMEM : fd < 0 ? -errno : file_write_all(fd, text, strlen(text));
	if (r == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r < 0) {
		cli_error("the objects cannot be passed to polderd: %s", strerror(-r));
		return -1;
	}
	*ret = TAKE_FD(fd);
	return 0;
}

/* ---------------------------------------------------------------- lines for people */

static void print_side(const char *direction, const json_t *side)
{
	const char *basis = field_text(side, "basis");
	char *list;

	if (!strcmp(basis, "rule")) {
		printf(" %s ", direction);
		text_print(field_text(side, "policy"), NULL, stdout);
		printf(" spec.%s[%lld]", direction, (long long)field_number(side, "rule"));
	} else if (!strcmp(basis, "default_deny")) {
		list = format_list(field(side, "isolated_by"), 3);
		printf(" %s default deny of ", direction);
		text_print(*list ? list : "its policies", NULL, stdout);
		free(list);
	} else if (!strcmp(basis, "closed")) {
		printf(" %s isolated: the rule set exceeds its limits", direction);
	} else if (!strcmp(basis, "waiting")) {
		printf(" %s isolated: its Pod object has not come", direction);
	}
}

/* "allow (egress demo/web spec.egress[0])". */
static void print_answer(const json_t *answer)
{
	const json_t *egress = field(answer, "egress"), *ingress = field(answer, "ingress");
	bool open = strcmp(field_text(egress, "basis"), "rule") &&
		    strcmp(field_text(ingress, "basis"), "rule");

	text_print(field_text(answer, "verdict"), NULL, stdout);
	putchar(':');
	/* What refuses is the reason; what allows is both. */
	if (!strcmp(field_text(egress, "verdict"), "deny")) {
		print_side("egress", egress);
	} else if (!strcmp(field_text(ingress, "verdict"), "deny")) {
		print_side("ingress", ingress);
	} else {
		print_side("egress", egress);
		print_side("ingress", ingress);
		if (open)
			fputs(" no policy", stdout);
	}
}

static void print_end(const json_t *end)
{
	char endpoint[FORMAT_MAX];

	if (*field_text(end, "pod")) {
		text_print(field_text(end, "pod"), NULL, stdout);
		putchar(' ');
	}
	text_print(format_endpoint(field_text(end, "ip"), field_number(end, "port"), endpoint),
		   NULL, stdout);
}

static void print_flow(const json_t *flow)
{
	printf("%s %s ", !strcmp(field_text(flow, "change"), "denied") ? "DENIED " : "ALLOWED",
	       field_text(flow, "proto"));
	print_end(field(flow, "source"));
	fputs(" -> ", stdout);
	print_end(field(flow, "destination"));
	if (json_is_object(field(flow, "backend"))) {
		fputs(" via ", stdout);
		print_end(field(flow, "backend"));
	}
	fputs("\n    current  ", stdout);
	print_answer(field(flow, "before"));
	fputs("\n    staged   ", stdout);
	print_answer(field(flow, "after"));
	putchar('\n');
}

static void print_begin(const json_t *begin)
{
	const json_t *object;
	size_t i;

	json_array_foreach (field(begin, "objects"), i, object) {
		const char *namespace = field_text(object, "namespace");

		printf("%-9s %s ", field_text(object, "change"), field_text(object, "kind"));
		text_print(namespace, NULL, stdout);
		if (*namespace)
			putchar('/');
		text_print(field_text(object, "name"), NULL, stdout);
		putchar('\n');
	}
	if (field_number(begin, "ignored"))
		printf("%lld Services and EndpointSlices are ignored: endpoints do not change in a "
		       "try\n",
		       (long long)field_number(begin, "ignored"));
}

static void print_totals(const json_t *end)
{
	printf("%lld existing and %lld new flows: %lld would be denied, %lld would be allowed, "
	       "%lld would "
	       "keep their verdict by another rule\n",
	       (long long)field_number(end, "live_flows"),
	       (long long)field_number(end, "new_flows"), (long long)field_number(end, "denied"),
	       (long long)field_number(end, "allowed"), (long long)field_number(end, "other_rule"));
	if (field_number(end, "lost"))
		printf("%lld events or lines were lost: there may be more flows\n",
		       (long long)field_number(end, "lost"));
}

static void show_line(const struct cli *cli, const json_t *line)
{
	const char *type = field_text(line, "type");

	if (cli->json) {
		json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
		putchar('\n');
	} else if (!strcmp(type, "begin")) {
		print_begin(line);
	} else if (!strcmp(type, "flow")) {
		print_flow(line);
	} else if (!strcmp(type, "end")) {
		print_totals(line);
	}
}

/* ---------------------------------------------------------------- the stream */

/* Until the end's line: `*ret_differs` is how many flows would be evaluated otherwise. 0, or what
 * control_client_receive() says. */
static int follow(const struct cli *cli, struct control_client *client, long seconds,
		  json_int_t *ret_differs, struct error *ret_failure)
{
	int64_t deadline = clock_monotonic_ms() + seconds * 1000 + GRACE_MS;
	bool end = false;
	json_t *line;
	int r = 0;

	while (!r && !end) {
		r = control_client_receive(client, LOOK_MS, &line, ret_failure);
		if (r == -ETIMEDOUT && clock_monotonic_ms() < deadline) {
			r = cli_reader_is_gone() ? -EPIPE : 0;
			continue;
		}
		if (r)
			break;
		show_line(cli, line);
		end = !strcmp(field_text(line, "type"), "end");
		*ret_differs = field_number(line, "denied") + field_number(line, "allowed");
		json_decref(line);
		if (fflush(stdout))
			r = -EPIPE;
	}
	return r;
}

static void report_failure(const struct cli *cli, const char *operation, int r,
			   const struct error *failure)
{
	char message[1536];

	if (r == -EPIPE)
		return;
	if (r == -EREMOTEIO) {
		cli_error("polderd at %s refused %s: %s (code %d)", cli->socket, operation,
			  failure->text, failure->code);
		return;
	}
	cli_explain(cli, r, message, sizeof(message));
	cli_error("%s", message);
}

static json_t *arguments(const struct cli *cli, long seconds)
{
	const struct cli_list *removals = &cli->lists[CLI_DELETE];
	json_t *list = json_array();

	for (size_t i = 0; i < removals->count; i++)
		json_array_append_new(list, json_string(removals->items[i]));
	return json_pack("{s:I, s:o}", "seconds", (json_int_t)seconds, "delete", list);
}

static int start_dry_run(const struct cli *cli, long seconds, int fd, json_int_t *ret_differs)
{
	struct control_client *client = NULL;
	struct error failure = {0};
	json_t *args = arguments(cli, seconds);
	int r = control_client_connect(cli->socket, LINE_MAX_BYTES, CONTROL_CLIENT_CONNECT_MS,
				       &client);

	if (!r)
		r = control_client_send(client, "policy.try", args, fd, SEND_MS);
	if (!r)
		r = follow(cli, client, seconds, ret_differs, &failure);
	json_decref(args);
	control_client_free(client);
	if (r)
		report_failure(cli, "policy try", r, &failure);
	return r;
}

static int run_commit(const struct cli *cli, int fd)
{
	struct control_client *client = NULL;
	struct error failure = {0};
	json_t *args = arguments(cli, 0), *result = NULL;
	int r = control_client_connect(cli->socket, LINE_MAX_BYTES, CONTROL_CLIENT_CONNECT_MS,
				       &client);

	if (!r)
		r = control_client_send(client, "policy.commit", args, fd, SEND_MS);
	if (!r)
		r = control_client_receive(client, cli->patience_ms, &result, &failure);
	json_decref(args);
	control_client_free(client);
	if (r) {
		report_failure(cli, "the commit", r, &failure);
	} else if (cli->json) {
		json_object_set_new(result, "type", json_string("commit"));
		show_line(cli, result);
	} else {
		fputs("in force: ", stdout);
		text_print(field_text(result, "file"), NULL, stdout);
		putchar('\n');
	}
	json_decref(result);
	return r;
}

int cli_run_policy_try(struct cli *cli)
{
	long seconds =
		cli->values[CLI_FOR] ? cli_parse_time(cli->values[CLI_FOR], FOR_MAX) : DEFAULT_FOR;
	CLEANUP(cleanup_close) int fd = -1;
	json_int_t differs = 0;

	if (seconds < 0) {
		cli_error("--for %s: expected a time such as 30s, 5m, 1h or 0, at most 24h",
			  cli->values[CLI_FOR]);
		return CLI_USAGE;
	}
	if (!cli->arguments.count && !cli->lists[CLI_DELETE].count) {
		cli_error("nothing to try: name files, or objects with --delete; see polderctl "
			  "policy try --help");
		return CLI_USAGE;
	}
	if (objects_descriptor(cli, &fd) < 0)
		return CLI_FAILED;
	if (start_dry_run(cli, seconds, fd, &differs))
		return CLI_FAILED;
	if (cli->given[CLI_COMMIT])
		return run_commit(cli, fd) ? CLI_FAILED : CLI_OK;
	return differs ? CLI_DIFFERS : CLI_OK;
}
