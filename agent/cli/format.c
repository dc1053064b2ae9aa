/* SPDX-License-Identifier: Apache-2.0 */
/* How the fields of the agent's documents are written for people. */
#include "agent/cli/format.h"

#include <stdlib.h>
#include <string.h>

#define CONTAINER_SHORT 12 /* characters of its id, as runtimes show it */

const json_t *field(const json_t *object, const char *path)
{
	const char *dot;

	while (object && (dot = strchr(path, '.'))) {
		object = json_object_getn(object, path, (size_t)(dot - path));
		path = dot + 1;
	}
	return json_object_get(object, path);
}

const char *field_text(const json_t *object, const char *path)
{
	const char *text = json_string_value(field(object, path));

	return text ? text : "";
}

json_int_t field_number(const json_t *object, const char *path)
{
	return (json_int_t)json_number_value(field(object, path));
}

const char *format_scalar(const json_t *value, char *buffer)
{
	buffer[0] = '\0';
	if (json_is_string(value))
		snprintf(buffer, FORMAT_MAX, "%s", json_string_value(value));
	else if (json_is_integer(value))
		snprintf(buffer, FORMAT_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		snprintf(buffer, FORMAT_MAX, "%g", json_real_value(value));
	else if (json_is_boolean(value))
		snprintf(buffer, FORMAT_MAX, "%s", json_is_true(value) ? "yes" : "no");
	return buffer;
}

const char *format_endpoint(const char *address, json_int_t port, char *buffer)
{
	const char *format = strchr(address, ':') ? "[%.64s]:%lld" : "%.64s:%lld";

	if (port > 0)
		snprintf(buffer, FORMAT_MAX, format, address, (long long)port);
	else
		snprintf(buffer, FORMAT_MAX, "%.64s", address);
	return buffer;
}

const char *format_duration(json_int_t seconds, char *buffer)
{
	long long s = seconds < 0 ? 0 : seconds;

	if (s < 60)
		snprintf(buffer, FORMAT_MAX, "%llds", s);
	else if (s < 3600)
		snprintf(buffer, FORMAT_MAX, "%lldm%llds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buffer, FORMAT_MAX, "%lldh%lldm", s / 3600, s / 60 % 60);
	else
		snprintf(buffer, FORMAT_MAX, "%lldd%lldh", s / 86400, s / 3600 % 24);
	return buffer;
}

const char *format_bytes(json_int_t bytes, char *buffer)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(buffer, FORMAT_MAX, "%lld B", (long long)bytes);
		return buffer;
	}
	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(*units)) {
		value /= 1024;
		unit++;
	}
	snprintf(buffer, FORMAT_MAX, "%.1f %s", value, units[unit]);
	return buffer;
}

/* Quotes in it do not end it. */
static void print_quoted(const char *text, FILE *out)
{
	fputs(" \"", out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

char *format_process(const json_t *process)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		abort();
	if (json_is_object(process)) {
		fprintf(out, "pid %lld uid %lld", (long long)field_number(process, "pid"),
			(long long)field_number(process, "uid"));
		if (*field_text(process, "pod"))
			fprintf(out, " pod %s", field_text(process, "pod"));
		if (*field_text(process, "container"))
			fprintf(out, " container %.*s", CONTAINER_SHORT,
				field_text(process, "container"));
		print_quoted(field_text(process, "comm"), out);
		if (*field_text(process, "executable"))
			print_quoted(field_text(process, "executable"), out);
	}
	if (fclose(out))
		abort();
	return text;
}

char *format_list(const json_t *list, size_t most)
{
	char *text = NULL, scalar[FORMAT_MAX];
	size_t length, index;
	const json_t *item;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		abort();
	json_array_foreach (list, index, item)
		if (index < most)
			fprintf(out, "%s%s", index ? "," : "", format_scalar(item, scalar));
	if (json_array_size(list) > most)
		fprintf(out, " +%zu", json_array_size(list) - most);
	if (fclose(out))
		abort();
	return text;
}
