/* SPDX-License-Identifier: Apache-2.0 */
/* Histograms of connections. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/show/exporter_internal.h"
#include "agent/show/show_latency.h"

/* A Prometheus server keeps each series: of each kind so many are told. To add up the others would
 * make a counter that falls and leaps as names come and go. */
#define ROWS_MAX 128
/* Of the program's buckets each second one: four times the one before. */
#define STEP 2
#define ENDS (LATENCY_BUCKETS / STEP)

static const struct {
	const char *name, *help;
} measures[LATENCY_MEASURES] = {
	[LATENCY_CONNECT] = {"polder_tcp_connect_seconds",
			     "From the first SYN to the established connection, at the client."},
	[LATENCY_ROUND_TRIP] = {"polder_tcp_round_trip_seconds",
				"TCP's smoothed round-trip time, at the handshake and at most "
				"once in 16 jiffies of each connection."},
	[LATENCY_FIRST_BYTE] = {"polder_tcp_first_byte_seconds",
				"From a connection's first request to its answer's first byte, at "
				"the client."},
	[LATENCY_ANSWER] = {"polder_tcp_answer_seconds",
			    "From the arrival of a connection's first request to its answer's "
			    "first byte, at the server."},
};

static const struct {
	const char *name, *help;
} counts[LATENCY_COUNTS] = {
	[LATENCY_RETRANSMITTED] = {"polder_tcp_retransmitted_segments_total",
				   "Segments that were sent again."},
	[LATENCY_RESETS] = {"polder_tcp_resets_total",
			    "Connections that ended by a reset, sent or received."},
	[LATENCY_TIMEOUTS] = {"polder_tcp_timeouts_total",
			      "Connections that ended because nobody answered."},
	[LATENCY_FAILED] = {"polder_tcp_failed_connects_total",
			    "Connects that were refused, or given up by the process."},
};

#define LABELS 4

static void label_row(const struct latency_row *row, char port[8],
		      struct metric_label labels[LABELS])
{
	snprintf(port, 8, "%u", row->port);
	labels[0] = (struct metric_label){"kind", latency_kind_names[row->entry.key.kind]};
	labels[1] = (struct metric_label){"namespace", row->namespace};
	labels[2] = (struct metric_label){"name", row->name};
	labels[3] = (struct metric_label){"port", row->port ? port : ""};
}

static void add_histogram(struct metrics *m, const struct latency_row *row,
			  enum latency_measure measure)
{
	const struct latency_histogram *from = &row->entry.value.measures[measure];
	uint64_t numbers[ENDS + 1] = {};
	struct metric_label labels[LABELS];
	double ends[ENDS];
	char port[8];

	if (!latency_number(from))
		return;
	for (size_t i = 0; i < ENDS; i++)
		ends[i] = (double)latency_bucket_end(i * STEP) / 1e6;
	for (size_t i = 0; i < LATENCY_BUCKETS; i++)
		numbers[(i + STEP - 1) / STEP] += from->counts[i];
	label_row(row, port, labels);
	metrics_buckets(m,
			&(struct metric_buckets){.ends = ends,
						 .counts = numbers,
						 .steps = ENDS,
						 .sum = (double)from->sum_us / 1e6},
			labels, LABELS);
}

static void add_counts(struct metrics *m, const struct latency_row *rows, size_t count,
		       enum latency_count which)
{
	struct metric_label labels[LABELS];
	char port[8];

	for (size_t i = 0; i < count; i++) {
		label_row(&rows[i], port, labels);
		metrics_sample_u64(m, rows[i].entry.value.counts[which], labels, LABELS);
	}
}

void exporter_add_latency(struct metrics *m, const struct show_sources *sources)
{
	struct latency_row *rows = NULL;
	size_t count = 0, left_out;

	if (!latency_is_on(sources->datapath) || show_latency_rows(sources, &rows, &count) < 0)
		return;
	count = latency_limit_rows(rows, count, ROWS_MAX, &left_out);
	for (size_t measure = 0; measure < LATENCY_MEASURES; measure++) {
		metrics_family(m, measures[measure].name, METRIC_HISTOGRAM, measures[measure].help);
		for (size_t i = 0; i < count; i++)
			add_histogram(m, &rows[i], measure);
	}
	for (size_t which = 0; which < LATENCY_COUNTS; which++) {
		metrics_family(m, counts[which].name, METRIC_COUNTER, counts[which].help);
		add_counts(m, rows, count, which);
	}
	exporter_u64(m, "polder_tcp_unmeasured_total", METRIC_COUNTER,
		     "Events of connections for which map latencies had no room.",
		     latency_lost(sources->datapath));
	metrics_single(m, "polder_tcp_left_out", METRIC_GAUGE,
		       "Pods and ports of Services that were measured and, for want of room here, "
		       "have no series.",
		       (double)left_out);
	free(rows);
}
