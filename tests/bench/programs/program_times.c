/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nanoseconds that the loaded programs need for a packet, by test-run, net of the wrapper that
 * writes each packet; and how full the flow table becomes.
 *
 *   bench-program-times [--quick] [PART OF A CASE'S NAME]   measures, prints JSON
 *   bench-program-times --serve [--quick]                   does what standard input says, a line
 *                                                           each, and answers by a line of JSON:
 *     cases       all cases, by number
 *     open N      prepares a case
 *     round       measures it once
 *     lines       [address, file, line] of the programs that the case measures
 * (tests/bench/profile) close       ends it
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "lines.h"

#include "restore.skel.h"

#define ROUNDS_MAX 15
#define FILLINGS   5

_Noreturn void bench_fail(const char *what)
{
	fprintf(stderr, "program-times: %s\n", what);
	exit(1);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static json_t *describe(const struct bench_case *c)
{
	return json_pack("{s:s, s:s, s:i}", "case", c->name, "kind", bench_kind_names[c->kind],
			 "flows", (int)c->flows);
}

/* {"ns": …}, or of a filling {"percent": …, "reason": …}. */
static json_t *measure_once(struct bench *b)
{
	const char *reason;
	double percent;

	if (b->c->kind != KIND_FILL)
		return json_pack("{s:f}", "ns", bench_round(b));
	percent = bench_fill(b, &reason);
	return json_pack("{s:f, s:s}", "percent", percent, "reason", reason);
}

/* ---- all at once */

static void measure_case(struct bench *b, const struct bench_case *c, int rounds, json_t *results)
{
	bool fills = c->kind == KIND_FILL;
	const char *key = fills ? "percent" : "ns";
	json_t *row = describe(c), *one = NULL;
	double values[ROUNDS_MAX];

	bench_open(b, c);
	for (int i = 0; i < rounds; i++) {
		json_decref(one);
		one = measure_once(b);
		values[i] = json_number_value(json_object_get(one, key));
	}
	bench_close(b);
	qsort(values, rounds, sizeof(values[0]), compare);
	json_object_update(row, one);
	json_object_set_new(row, key, json_real(values[rounds / 2]));
	json_object_set_new(row, "lowest", json_real(values[0]));
	fprintf(stderr, "  %-40s %6u flows %7.1f %s\n", c->name, c->flows, values[rounds / 2],
		fills ? "%" : "ns");
	json_array_append_new(results, row);
	json_decref(one);
}

static void measure_all(struct bench *b, bool quick, const char *only)
{
	json_t *results = json_array();

	for (int i = 0; i < bench_case_count; i++) {
		const struct bench_case *c = &bench_cases[i];

		if (strstr(c->name, only))
			measure_case(b, c,
				     quick		    ? 3
				     : c->kind == KIND_FILL ? FILLINGS
							    : ROUNDS_MAX,
				     results);
	}
	json_dumpf(results, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(results);
}

/* ---- one step after the other */

static json_t *all_cases(void)
{
	json_t *cases = json_array();

	for (int i = 0; i < bench_case_count; i++)
		json_array_append_new(cases, describe(&bench_cases[i]));
	return cases;
}

static json_t *step(struct bench *b, const char *line)
{
	int number;

	if (!strcmp(line, "cases\n"))
		return all_cases();
	if (sscanf(line, "open %d", &number) == 1 && number >= 0 && number < bench_case_count &&
	    !b->world) {
		bench_open(b, &bench_cases[number]);
		return describe(b->c);
	}
	if (!strcmp(line, "round\n") && b->world)
		return measure_once(b);
	if (!strcmp(line, "lines\n") && b->world)
		return lines_of(b->world->objects[b->c->path->hook]);
	if (!strcmp(line, "close\n") && b->world) {
		bench_close(b);
		return json_object();
	}
	bench_fail("a line of standard input is no command, or comes too early");
}

static void serve(struct bench *b)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin)) {
		json_t *answer = step(b, line);

		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
		fflush(stdout);
		json_decref(answer);
	}
}

int main(int argc, char **argv)
{
	bool serves = argc > 1 && !strcmp(argv[1], "--serve");
	bool quick = argc > 1 + serves && !strcmp(argv[1 + serves], "--quick");
	const char *only = argc > 1 + quick ? argv[1 + quick] : "";
	struct bench b = {.repeat = quick ? 50000 : 200000};
	struct world *outer;

	/* Makes the namespace and the links; each case then loads programs of its own in it. */
	if (world_open(NULL, &outer) < 0)
		bench_fail("cannot make a network namespace and load the programs: needs root");
	world_close(&outer);
	b.wrapper = restore_bpf__open_and_load();
	if (!b.wrapper)
		bench_fail("the wrapper does not load");
	if (serves)
		serve(&b);
	else
		measure_all(&b, quick, only);
	restore_bpf__destroy(b.wrapper);
	return 0;
}
