/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people: a header in capitals, aligned columns, outside strings made harmless. */
#include "agent/cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GAP 3

struct cell {
	char *text; /* escaped */
	size_t width;
};

struct table {
	const char *const *titles;
	size_t columns;
	struct cell *cells;
	size_t count, room;
};

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

	cell->text = NULL;
	out = open_memstream(&cell->text, &length);
	if (!out)
		abort();
	cell->width = text_print(text && *text ? text : "-", NULL, out);
	if (fclose(out) || !cell->text)
		abort();
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
	size_t width = strlen(table->titles[column]);

	for (size_t i = column; i < table->count; i += table->columns)
		if (table->cells[i].width > width)
			width = table->cells[i].width;
	return width;
}

/* The last column needs no padding: lines do not end in blanks. */
static void print_cell(const char *text, size_t width, size_t full, bool last, FILE *out)
{
	fputs(text, out);
	if (last)
		fputc('\n', out);
	else
		fprintf(out, "%*s", (int)(full - width + GAP), "");
}

void table_print(const struct table *table, FILE *out)
{
	size_t *widths = calloc(table->columns, sizeof(*widths)), column;

	if (!widths)
		abort();
	for (column = 0; column < table->columns; column++) {
		widths[column] = column_width(table, column);
		print_cell(table->titles[column], strlen(table->titles[column]), widths[column],
			   column + 1 == table->columns, out);
	}
	for (size_t i = 0; i < table->count; i++) {
		column = i % table->columns;
		print_cell(table->cells[i].text, table->cells[i].width, widths[column],
			   column + 1 == table->columns, out);
	}
	free(widths);
}
