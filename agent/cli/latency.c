/* SPDX-License-Identifier: Apache-2.0 */
/* How connections fare: a line for each pod and Service, or the histograms of one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/format.h"
#include "agent/cli/lists.h"
#include "agent/common/cleanup.h"

#define BAR_WIDTH 40

static const struct {
	const char *key, *title;
} measures[] = {
	{"connect", "Connect"},
	{"round_trip", "Round trip"},
	{"first_byte", "First byte of the answer (as client)"},
	{"answer", "First byte of the answer (as server)"},
};
#define MEASURES (sizeof(measures) / sizeof(*measures))

/* "85 us", "1.2 ms", "3.4 s". */
static const char *format_us(double us, char *buffer)
{
	if (us < 1000)
		snprintf(buffer, FORMAT_MAX, "%.0f us", us);
	else if (us < 1e6)
		snprintf(buffer, FORMAT_MAX, us < 10000 ? "%.1f ms" : "%.0f ms", us / 1000);
	else
		snprintf(buffer, FORMAT_MAX, us < 1e7 ? "%.1f s" : "%.0f s", us / 1e6);
	return buffer;
}

static double number_of(const json_t *object, const char *path)
{
	return json_number_value(field(object, path));
}

/* "default/web", "default/web:80"; NULL: the node. To be freed. */
static char *name_of(const json_t *row)
{
	const char *namespace = field_text(row, "namespace"), *name = field_text(row, "name");
	int port = (int)field_number(row, "port");
	char *text = NULL;

	if (strcmp(field_text(row, "kind"), "node") == 0)
		return NULL;
	if ((port ? asprintf(&text, "%s/%s:%d", namespace, name, port)
		  : asprintf(&text, "%s/%s", namespace, name)) < 0)
		abort();
	return text;
}

/* ---------------------------------------------------------------- one line for each */

static void add_measure(struct table *table, const json_t *measure)
{
	char p50[FORMAT_MAX], p90[FORMAT_MAX], p99[FORMAT_MAX];

	if (number_of(measure, "count") > 0)
		table_addf(table, "%s, %s, %s", format_us(number_of(measure, "p50_us"), p50),
			   format_us(number_of(measure, "p90_us"), p90),
			   format_us(number_of(measure, "p99_us"), p99));
	else
		table_add(table, NULL);
}

static void add_row(struct table *table, const json_t *row)
{
	CLEANUP(cleanup_free) char *name = name_of(row);

	list_add_scalar(table, row, "kind");
	table_add(table, name);
	for (size_t i = 0; i < MEASURES; i++)
		add_measure(table, field(row, measures[i].key));
	list_add_scalar(table, row, "retransmitted");
	list_add_scalar(table, row, "resets");
	list_add_scalar(table, row, "timeouts");
	list_add_scalar(table, row, "failed");
}

/* "service/demo/web:80" and "pod/demo/web", for the name alone may be either's; "node". */
static char *full_name_of(const json_t *row)
{
	CLEANUP(cleanup_free) char *name = name_of(row);
	char *text;

	if (asprintf(&text, "%s%s%s", field_text(row, "kind"), name ? "/" : "", name ? name : "") <
	    0)
		abort();
	return text;
}

static int print_rows(const struct cli *cli, const json_t *rows)
{
	static const char *const titles[] = {
		"KIND",		 "NAME",       "CONNECT (50, 90, 99 %)",
		"ROUND-TRIP",	 "FIRST-BYTE", "ANSWER",
		"RETRANSMITTED", "RESETS",     "TIMEOUTS",
		"FAILED",	 NULL};
	static const struct list_form form = {
		.kind = "latency", .titles = titles, .row = add_row, .name = full_name_of};

	return list_show(cli, rows, &form);
}

/* ---------------------------------------------------------------- one with its histograms */

static void print_bucket(const json_t *bucket, double most)
{
	double count = number_of(bucket, "count");
	int bar = most > 0 ? (int)(count * BAR_WIDTH / most + 0.5) : 0;
	char end[FORMAT_MAX];

	if (json_is_null(field(bucket, "most_us")))
		printf("  %9s |", "longer");
	else
		printf("  <= %6s |", format_us(number_of(bucket, "most_us"), end));
	for (int i = 0; i < BAR_WIDTH; i++)
		putchar(i < bar || (i == 0 && count > 0) ? '#' : ' ');
	printf("| %.0f\n", count);
}

static void print_measure(const json_t *measure, const char *title)
{
	const json_t *buckets = field(measure, "buckets"), *bucket;
	char mean[FORMAT_MAX], p50[FORMAT_MAX], p90[FORMAT_MAX], p99[FORMAT_MAX];
	double count = number_of(measure, "count"), most = 0;
	size_t index;

	if (count <= 0)
		return;
	printf("\n%s: %.0f measured, mean %s, p50 %s, p90 %s, p99 %s\n", title, count,
	       format_us(number_of(measure, "sum_us") / count, mean),
	       format_us(number_of(measure, "p50_us"), p50),
	       format_us(number_of(measure, "p90_us"), p90),
	       format_us(number_of(measure, "p99_us"), p99));
	json_array_foreach (buckets, index, bucket)
		if (number_of(bucket, "count") > most)
			most = number_of(bucket, "count");
	json_array_foreach (buckets, index, bucket)
		print_bucket(bucket, most);
}

static void print_row(const struct cli *cli, const json_t *row)
{
	CLEANUP(cleanup_free) char *name = name_of(row);

	fputs(strcmp(field_text(row, "kind"), "service") == 0 ? "Service" : field_text(row, "kind"),
	      stdout);
	if (name) {
		putchar(' ');
		text_print(name, NULL, stdout);
	}
	if (cli->answer) {
		fputs(" on node ", stdout);
		text_print(field_text(row, "node"), NULL, stdout);
	}
	printf("\n%.0f segments sent again, %.0f connections reset, %.0f given up without an "
	       "answer, %.0f connects failed\n",
	       number_of(row, "retransmitted"), number_of(row, "resets"),
	       number_of(row, "timeouts"), number_of(row, "failed"));
	for (size_t i = 0; i < MEASURES; i++)
		print_measure(field(row, measures[i].key), measures[i].title);
}

/* ---------------------------------------------------------------- which are meant */

struct wanted {
	char namespace[FORMAT_MAX], name[FORMAT_MAX];
	long port; /* 0: any */
	bool node;
};

/* "NAME", "NS/NAME", "NS/NAME:PORT", "node". 0 or -EINVAL. */
static int parse_wanted(const char *text, struct wanted *ret)
{
	const char *slash = strchr(text, '/'), *name = slash ? slash + 1 : text;
	const char *colon = strchr(name, ':');
	size_t length = colon ? (size_t)(colon - name) : strlen(name);
	char *end = NULL;

	*ret = (struct wanted){.namespace = "default", .node = strcmp(text, "node") == 0};
	if (!length || length >= sizeof(ret->name) || strchr(name, '/'))
		return -EINVAL;
	if (slash && (slash == text || (size_t)(slash - text) >= sizeof(ret->namespace)))
		return -EINVAL;
	if (slash)
		snprintf(ret->namespace, sizeof(ret->namespace), "%.*s", (int)(slash - text), text);
	snprintf(ret->name, sizeof(ret->name), "%.*s", (int)length, name);
	if (!colon)
		return 0;
	errno = 0;
	ret->port = strtol(colon + 1, &end, 10);
	return colon[1] >= '0' && colon[1] <= '9' && !*end && !errno && ret->port > 0 &&
			       ret->port < 65536
		       ? 0
		       : -EINVAL;
}

static bool is_wanted(const struct wanted *wanted, const json_t *row)
{
	if (strcmp(field_text(row, "kind"), "node") == 0)
		return wanted->node;
	return strcmp(field_text(row, "namespace"), wanted->namespace) == 0 &&
	       strcmp(field_text(row, "name"), wanted->name) == 0 &&
	       (!wanted->port || field_number(row, "port") == wanted->port);
}

/* A new list. */
static json_t *choose_rows(const struct wanted *wanted, const json_t *rows)
{
	json_t *list = json_array(), *row;
	size_t index;

	json_array_foreach (rows, index, row)
		if (is_wanted(wanted, row))
			json_array_append(list, row);
	return list;
}

/* What is named. An exit code. */
static int print_wanted(const struct cli *cli, const struct wanted *wanted, const json_t *rows)
{
	json_t *list = choose_rows(wanted, rows);
	const json_t *row;
	size_t index;
	int code = CLI_OK;

	if (json_array_size(list) == 0) {
		cli_error("%s: no connection of a pod of this node, or to a Service, of that name "
			  "has been measured; without a name all are listed",
			  cli->argument);
		code = CLI_FAILED;
	}
	if (cli->json || cli->format == CLI_NAMES) {
		print_rows(cli, list);
		json_decref(list);
		return code;
	}
	json_array_foreach (list, index, row) {
		if (index)
			putchar('\n');
		print_row(cli, row);
	}
	json_decref(list);
	return code;
}

int cli_run_latency(struct cli *cli)
{
	struct wanted wanted;
	json_t *rows;
	int code;

	if (cli->argument && parse_wanted(cli->argument, &wanted) < 0) {
		cli_error("%s: a pod or a Service is required: NAME, NAMESPACE/NAME, "
			  "NAMESPACE/NAME:PORT, or node for the node's own connections",
			  cli->argument);
		return CLI_USAGE;
	}
	if (cli_ask(cli, "latency", NULL, &rows) < 0)
		return CLI_FAILED;
	code = cli->argument ? print_wanted(cli, &wanted, rows) : print_rows(cli, rows);
	json_decref(rows);
	return code;
}
