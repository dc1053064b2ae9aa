/* SPDX-License-Identifier: Apache-2.0 */
/* Suggested policies as YAML with comments. */
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/suggest.h"
#include "agent/cli/table.h"

static void indent_to(int indent, FILE *out)
{
	fprintf(out, "%*s", indent, "");
}

/* Whatever stands in them, they are one line each. */
static void print_notes(const json_t *notes, int indent, FILE *out)
{
	const json_t *note;
	size_t i;

	json_array_foreach (notes, i, note) {
		indent_to(indent, out);
		fputs("# ", out);
		text_print(json_string_value(note), NULL, out);
		putc('\n', out);
	}
}

/* JSON's strings are YAML's too. */
static void print_text(const char *text, FILE *out)
{
	json_t *value;

	if (cli_yaml_is_plain(text)) {
		fputs(text, out);
		return;
	}
	value = json_string(text);
	json_dumpf(value, out, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	json_decref(value);
}

static void print_members(const json_t *value, int indent, bool first_has_indent, FILE *out);

/* Behind "key:" or "-". */
static void print_value(const json_t *value, int indent, bool in_list, FILE *out)
{
	const json_t *item;
	size_t i;

	if (json_is_object(value) && json_object_size(value)) {
		putc(in_list ? ' ' : '\n', out);
		print_members(value, indent, in_list, out);
	} else if (json_is_array(value) && json_array_size(value)) {
		putc('\n', out);
		json_array_foreach (value, i, item) {
			indent_to(indent, out);
			putc('-', out);
			print_value(item, indent + 2, true, out);
		}
	} else if (json_is_string(value)) {
		putc(' ', out);
		print_text(json_string_value(value), out);
		putc('\n', out);
	} else {
		putc(' ', out);
		json_dumpf(value, out, JSON_ENCODE_ANY);
		putc('\n', out);
	}
}

static void print_members(const json_t *value, int indent, bool first_has_indent, FILE *out)
{
	const char *key;
	json_t *item;

	json_object_foreach ((json_t *)value, key, item) {
		if (!first_has_indent)
			indent_to(indent, out);
		first_has_indent = false;
		print_text(key, out);
		putc(':', out);
		print_value(item, indent + (json_is_array(item) ? 0 : 2), false, out);
	}
}

/* The rules of a direction, each behind its comments. */
static void print_rules(const char *direction, const json_t *rules, const json_t *notes, FILE *out)
{
	const json_t *rule;
	size_t i;

	if (!rules)
		return;
	fprintf(out, "  %s:\n", direction);
	json_array_foreach (rules, i, rule) {
		print_notes(json_array_get(notes, i), 2, out);
		fputs("  -", out);
		print_value(rule, 4, true, out);
	}
}

static void print_policy(const struct suggestion *suggestion, FILE *out)
{
	const json_t *policy = suggestion->policy, *spec = field(policy, "spec");

	/* A document of nothing but comments would be an empty one. */
	fputs(policy ? "---\n" : "\n", out);
	print_notes(suggestion->notes, 0, out);
	if (!policy)
		return;
	fprintf(out, "apiVersion: %s\nkind: %s\nmetadata:", field_text(policy, "apiVersion"),
		field_text(policy, "kind"));
	print_value(field(policy, "metadata"), 2, false, out);
	fputs("spec:\n  podSelector:", out);
	print_value(field(spec, "podSelector"), 4, false, out);
	fputs("  policyTypes:", out);
	print_value(field(spec, "policyTypes"), 2, false, out);
	print_rules("ingress", field(spec, "ingress"), suggestion->ingress_notes, out);
	print_rules("egress", field(spec, "egress"), suggestion->egress_notes, out);
}

void suggestions_print(const struct suggestions *suggestions, FILE *out)
{
	fputs("# Suggested by polderctl policy suggest from what was seen: read it before it is "
	      "applied.\n",
	      out);
	print_notes(suggestions->notes, 0, out);
	if (!suggestions->count)
		fputs("# Nothing was seen of these pods.\n", out);
	for (size_t i = 0; i < suggestions->count; i++)
		print_policy(&suggestions->items[i], out);
}

json_t *suggestions_list(const struct suggestions *suggestions)
{
	json_t *items = json_array();

	for (size_t i = 0; i < suggestions->count; i++)
		if (suggestions->items[i].policy)
			json_array_append(items, suggestions->items[i].policy);
	return json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "List", "items", items);
}
