/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people: a header in capitals, aligned columns, outside strings made harmless. */
#include "agent/cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GAP 3

struct cell {
	char *text; /* escaped */
	size_t width;
	enum table_colour colour;
};

struct table {
	const char *const *titles;
	size_t columns;
	struct cell *cells;
	size_t count, room;
	bool no_headers, colours;
};

/* ECMA-48; "" ends nothing. */
static const char *const colour_codes[] = {
	[COLOUR_NONE] = "",	      [COLOUR_RED] = "\033[31m", [COLOUR_GREEN] = "\033[32m",
	[COLOUR_YELLOW] = "\033[33m", [COLOUR_DIM] = "\033[2m",
};
#define BOLD	   "\033[1m"
#define COLOUR_END "\033[0m"

bool text_has_colours(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return !(no && *no) && term && *term && strcmp(term, "dumb") != 0 && isatty(STDOUT_FILENO);
}

enum table_colour text_verdict_colour(const char *verdict)
{
	if (strcmp(verdict, "allow") == 0)
		return COLOUR_GREEN;
	return strcmp(verdict, "reject") == 0 ? COLOUR_YELLOW : COLOUR_RED;
}

void text_print_colour(enum table_colour colour, const char *text)
{
	bool colours = colour != COLOUR_NONE && text_has_colours();

	if (colours)
		fputs(colour_codes[colour], stdout);
	text_print(text, NULL, stdout);
	if (colours)
		fputs(COLOUR_END, stdout);
}

/* One character of UTF-8; an invalid byte stands for itself, negative. Returns its length. */
static size_t decode_character(const char *text, int32_t *ret)
{
	unsigned char first = (unsigned char)text[0];
	size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	int32_t value = length == 1 ? first : first & (0x7f >> length);

	*ret = -(int32_t)first;
	if ((first >= 0x80 && first < 0xc2) || first > 0xf4)
		return 1;
	for (size_t i = 1; i < length; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 1;
		value = value << 6 | (text[i] & 0x3f);
	}
	*ret = value;
	return length;
}

static bool is_harmful(int32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
	       c == 0x61c;
}

size_t text_print(const char *text, const char *keep, FILE *out)
{
	size_t width = 0, length;
	int32_t c;

	for (; *text; text += length) {
		length = decode_character(text, &c);
		if (!is_harmful(c) || (keep && c > 0 && c < 0x80 && strchr(keep, c))) {
			fwrite(text, 1, length, out);
			width++;
		} else if (c < 0x100) {
			width += (size_t)fprintf(out, "\\x%02x", c < 0 ? -c : c);
		} else {
			width += (size_t)fprintf(out, "\\u%04x", c);
		}
	}
	return width;
}

struct table *table_new(const char *const *titles)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->titles = titles;
	while (titles[table->columns])
		table->columns++;
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
}

static struct cell *next_cell(struct table *table)
{
	size_t room = table->room ? table->room * 2 : 256;
	struct cell *cells;

	if (table->count == table->room) {
		cells = realloc(table->cells, room * sizeof(*cells));
		if (!cells)
			abort(); /* a program that prints and ends has nothing better to do */
		table->cells = cells;
		table->room = room;
	}
	return &table->cells[table->count++];
}

void table_add(struct table *table, const char *text)
{
	struct cell *cell = next_cell(table);
	size_t length;
	FILE *out;

	*cell = (struct cell){0};
	out = open_memstream(&cell->text, &length);
	if (!out)
		abort();
	cell->width = text_print(text && *text ? text : "-", NULL, out);
	if (fclose(out) || !cell->text)
		abort();
}

void table_add_colour(struct table *table, enum table_colour colour, const char *text)
{
	table_add(table, text);
	table->cells[table->count - 1].colour = colour;
}

void table_no_headers(struct table *table)
{
	table->no_headers = true;
}

void table_colours(struct table *table)
{
	table->colours = true;
}

void table_addf(struct table *table, const char *format, ...)
{
	char *text;
	va_list list;
	int n;

	va_start(list, format);
	n = vasprintf(&text, format, list);
	va_end(list);
	if (n < 0)
		abort();
	table_add(table, text);
	free(text);
}

size_t table_rows(const struct table *table)
{
	return (table->count + table->columns - 1) / table->columns;
}

static size_t column_width(const struct table *table, size_t column)
{
	size_t width = table->no_headers ? 0 : strlen(table->titles[column]);

	for (size_t i = column; i < table->count; i += table->columns)
		if (table->cells[i].width > width)
			width = table->cells[i].width;
	return width;
}

/* The last column needs no padding: lines do not end in blanks. */
static void print_cell(const char *text, const char *colour, size_t padding, bool last, FILE *out)
{
	fprintf(out, "%s%s%s", colour, text, *colour ? COLOUR_END : "");
	if (last)
		fputc('\n', out);
	else
		fprintf(out, "%*s", (int)(padding + GAP), "");
}

static void print_titles(const struct table *table, const size_t *widths, FILE *out)
{
	for (size_t i = 0; i < table->columns; i++)
		print_cell(table->titles[i], table->colours ? BOLD : "",
			   widths[i] - strlen(table->titles[i]), i + 1 == table->columns, out);
}

void table_print(const struct table *table, FILE *out)
{
	size_t *widths = calloc(table->columns, sizeof(*widths)), column;
	const struct cell *cell;

	if (!widths)
		abort();
	for (column = 0; column < table->columns; column++)
		widths[column] = column_width(table, column);
	if (!table->no_headers)
		print_titles(table, widths, out);
	for (size_t i = 0; i < table->count; i++) {
		column = i % table->columns;
		cell = &table->cells[i];
		print_cell(cell->text, table->colours ? colour_codes[cell->colour] : "",
			   widths[column] - cell->width, column + 1 == table->columns, out);
	}
	free(widths);
}
