/* SPDX-License-Identifier: Apache-2.0 */
/* Documents for programs: JSON, a line for each element, or YAML of the same. */
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "agent/cli/cli.h"

static enum cli_format format = CLI_JSON;

void cli_set_format(enum cli_format wanted)
{
	format = wanted;
}

/* ---------------------------------------------------------------- YAML */

static int write_out(void *data, unsigned char *buffer, size_t size)
{
	return fwrite(buffer, 1, size, data) == size;
}

static void emit(yaml_emitter_t *emitter, yaml_event_t *event)
{
	/* Without memory a program that prints has nothing better to do; that nobody reads is
	 * found out at its end. */
	if (!yaml_emitter_emit(emitter, event) && emitter->error == YAML_MEMORY_ERROR)
		abort();
}

/* Nothing that YAML 1.1 or 1.2 could take for a number, a date, a truth or null. */
bool cli_yaml_is_plain(const char *text)
{
	static const char words[] =
		"true false yes no on off y n null True False Yes No On Off Y N Null TRUE FALSE "
		"YES NO ON OFF NULL";
	size_t length = strlen(text);

	if (!length || !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", text[0]))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-",
			    text[i]))
			return false;
	return !cli_is_choice(words, text);
}

static void emit_text(yaml_emitter_t *emitter, const char *text, bool is_string)
{
	yaml_scalar_style_t style = is_string && !cli_yaml_is_plain(text)
					    ? YAML_DOUBLE_QUOTED_SCALAR_STYLE
					    : YAML_PLAIN_SCALAR_STYLE;
	yaml_event_t event;

	if (!yaml_scalar_event_initialize(&event, NULL, NULL, (yaml_char_t *)text,
					  (int)strlen(text), 1, 1, style))
		abort();
	emit(emitter, &event);
}

static void emit_value(yaml_emitter_t *emitter, const json_t *value);

static void emit_list(yaml_emitter_t *emitter, const json_t *list)
{
	yaml_sequence_style_t style =
		json_array_size(list) ? YAML_BLOCK_SEQUENCE_STYLE : YAML_FLOW_SEQUENCE_STYLE;
	yaml_event_t event;
	const json_t *item;
	size_t index;

	if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, style))
		abort();
	emit(emitter, &event);
	json_array_foreach (list, index, item) {
		emit_value(emitter, item);
	}
	yaml_sequence_end_event_initialize(&event);
	emit(emitter, &event);
}

static void emit_object(yaml_emitter_t *emitter, const json_t *object)
{
	yaml_mapping_style_t style =
		json_object_size(object) ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE;
	yaml_event_t event;
	const char *key;
	json_t *item;

	if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, style))
		abort();
	emit(emitter, &event);
	json_object_foreach ((json_t *)object, key, item) {
		emit_text(emitter, key, true);
		emit_value(emitter, item);
	}
	yaml_mapping_end_event_initialize(&event);
	emit(emitter, &event);
}

static void emit_value(yaml_emitter_t *emitter, const json_t *value)
{
	char *text;

	if (json_is_array(value)) {
		emit_list(emitter, value);
	} else if (json_is_object(value)) {
		emit_object(emitter, value);
	} else if (json_is_string(value)) {
		emit_text(emitter, json_string_value(value), true);
	} else {
		text = json_dumps(value, JSON_ENCODE_ANY);
		if (!text)
			abort();
		emit_text(emitter, text, false);
		free(text);
	}
}

void cli_print_yaml(const json_t *value, FILE *out)
{
	yaml_emitter_t emitter;
	yaml_event_t event;

	if (!yaml_emitter_initialize(&emitter))
		abort();
	yaml_emitter_set_output(&emitter, write_out, out);
	yaml_emitter_set_width(&emitter, -1);
	yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);
	emit(&emitter, &event);
	yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1);
	emit(&emitter, &event);
	emit_value(&emitter, value);
	yaml_document_end_event_initialize(&event, 1);
	emit(&emitter, &event);
	yaml_stream_end_event_initialize(&event);
	emit(&emitter, &event);
	yaml_emitter_delete(&emitter);
}

/* ---------------------------------------------------------------- all */

void cli_print_line(const json_t *value)
{
	if (format == CLI_YAML) {
		puts("---");
		cli_print_yaml(value, stdout);
		return;
	}
	json_dumpf(value, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
	putchar('\n');
}

void cli_print_json(const json_t *value)
{
	const json_t *item;
	size_t index;

	if (format == CLI_YAML) {
		cli_print_yaml(value, stdout);
	} else if (format == CLI_JSONL && json_is_array(value)) {
		json_array_foreach (value, index, item) {
			cli_print_line(item);
		}
	} else if (format == CLI_JSONL) {
		cli_print_line(value);
	} else {
		json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
		putchar('\n');
	}
}
