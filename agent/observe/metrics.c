/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus' text format, written into one growing buffer. */
#include "agent/observe/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"

#define NAME_MAX_LENGTH 127

struct metrics {
	char *text;
	size_t length, size;
	bool failed; /* no memory: what follows is not written */
	char family[NAME_MAX_LENGTH + 1];
	enum metric_type type;
};

struct metrics *metrics_new(void)
{
	return calloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	free(metrics->text);
	free(metrics);
}

static void append(struct metrics *metrics, const char *text, size_t length)
{
	if (metrics->failed)
		return;
	if (metrics->length + length + 1 > metrics->size) {
		size_t size = metrics->size ? metrics->size : 4096;
		char *larger;

		while (size < metrics->length + length + 1)
			size *= 2;
		larger = realloc(metrics->text, size);
		if (!larger) {
			metrics->failed = true;
			return;
		}
		metrics->text = larger;
		metrics->size = size;
	}
	memcpy(metrics->text + metrics->length, text, length);
	metrics->length += length;
	metrics->text[metrics->length] = '\0';
}

static void append_text(struct metrics *metrics, const char *text)
{
	append(metrics, text, strlen(text));
}

/* A help text has its backslashes and line feeds escaped, a label's value its quotes as well. */
static void append_escaped(struct metrics *metrics, const char *text, bool quotes)
{
	for (; *text; text++) {
		if (*text == '\n')
			append_text(metrics, "\\n");
		else if (*text == '\\')
			append_text(metrics, "\\\\");
		else if (*text == '"' && quotes)
			append_text(metrics, "\\\"");
		else
			append(metrics, text, 1);
	}
}

static bool valid_name(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return length > 0 && length <= NAME_MAX_LENGTH && !name[length] &&
	       !(name[0] >= '0' && name[0] <= '9');
}

void metrics_family(struct metrics *metrics, const char *name, enum metric_type type,
		    const char *help)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};

	assert(valid_name(name));
	snprintf(metrics->family, sizeof(metrics->family), "%s", name);
	metrics->type = type;
	append_text(metrics, "# HELP ");
	append_text(metrics, name);
	append_text(metrics, " ");
	append_escaped(metrics, help, false);
	append_text(metrics, "\n# TYPE ");
	append_text(metrics, name);
	append_text(metrics, " ");
	append_text(metrics, types[type]);
	append_text(metrics, "\n");
}

static void append_label(struct metrics *metrics, const char *name, const char *value, bool first)
{
	append_text(metrics, first ? "{" : ",");
	append_text(metrics, name);
	append_text(metrics, "=\"");
	append_escaped(metrics, value, true);
	append_text(metrics, "\"");
}

static void append_line(struct metrics *metrics, const char *suffix,
			const struct metric_label *labels, size_t label_count, const char *value)
{
	assert(metrics->family[0]);
	append_text(metrics, metrics->family);
	append_text(metrics, suffix);
	for (size_t i = 0; i < label_count; i++) {
		assert(valid_name(labels[i].name));
		append_label(metrics, labels[i].name, labels[i].value, i == 0);
	}
	if (label_count > 0)
		append_text(metrics, "}");
	append_text(metrics, " ");
	append_text(metrics, value);
	append_text(metrics, "\n");
}

#define NUMBER_MAX 32

/* The shortest form that reads back as the same number. */
static const char *format_double(double value, char text[NUMBER_MAX])
{
	if (isnan(value))
		return "NaN";
	if (isinf(value))
		return value > 0 ? "+Inf" : "-Inf";
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, NUMBER_MAX, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	return text;
}

static const char *format_u64(uint64_t value, char text[NUMBER_MAX])
{
	snprintf(text, NUMBER_MAX, "%" PRIu64, value);
	return text;
}

void metrics_sample(struct metrics *metrics, double value, const struct metric_label *labels,
		    size_t label_count)
{
	char text[NUMBER_MAX];

	append_line(metrics, "", labels, label_count, format_double(value, text));
}

void metrics_sample_u64(struct metrics *metrics, uint64_t value, const struct metric_label *labels,
			size_t label_count)
{
	char text[NUMBER_MAX];

	append_line(metrics, "", labels, label_count, format_u64(value, text));
}

void metrics_buckets(struct metrics *metrics, const struct metric_buckets *buckets,
		     const struct metric_label *labels, size_t label_count)
{
	struct metric_label with_end[METRIC_LABELS_MAX + 1];
	char end[NUMBER_MAX], text[NUMBER_MAX];
	uint64_t sum = 0;

	assert(metrics->type == METRIC_HISTOGRAM && label_count <= METRIC_LABELS_MAX);
	for (size_t i = 0; i < label_count; i++)
		with_end[i] = labels[i];
	for (size_t i = 0; i <= buckets->steps; i++) {
		sum += buckets->counts[i];
		with_end[label_count] = (struct metric_label){
			"le", i < buckets->steps ? format_double(buckets->ends[i], end) : "+Inf"};
		append_line(metrics, "_bucket", with_end, label_count + 1, format_u64(sum, text));
	}
	append_line(metrics, "_sum", labels, label_count, format_double(buckets->sum, text));
	append_line(metrics, "_count", labels, label_count, format_u64(sum, text));
}

void metrics_histogram(struct metrics *metrics, const struct histogram *histogram,
		       const struct metric_label *labels, size_t label_count)
{
	const struct metric_buckets buckets = {.ends = histogram_steps,
					       .counts = histogram->counts,
					       .steps = HISTOGRAM_STEPS,
					       .sum = (double)histogram->sum_ns / 1e9};

	metrics_buckets(metrics, &buckets, labels, label_count);
}

void metrics_single(struct metrics *metrics, const char *name, enum metric_type type,
		    const char *help, double value)
{
	metrics_family(metrics, name, type, help);
	metrics_sample(metrics, value, NULL, 0);
}

char *metrics_finish(struct metrics *metrics, size_t *ret_length)
{
	char *text;

	append(metrics, "", 0);
	if (metrics->failed)
		return NULL;
	if (ret_length)
		*ret_length = metrics->length;
	text = TAKE_PTR(metrics->text);
	*metrics = (struct metrics){0};
	return text;
}
