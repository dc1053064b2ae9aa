/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people: a header in capitals, aligned columns, outside strings made harmless. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct table;

/* `titles` ends with NULL and must outlive the table. NULL: no memory. */
struct table *table_new(const char *const *titles);
void table_free(struct table *table); /* takes NULL */

/* The next cell of the last row; a row that is full is followed by a new one. An empty or NULL text
 * shows as "-". */
void table_add(struct table *table, const char *text);
void table_addf(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* In a colour, if the table has them. */
enum table_colour { COLOUR_NONE, COLOUR_RED, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_DIM };
void table_add_colour(struct table *table, enum table_colour colour, const char *text);
/* Without the line of titles; with colours. Neither by default. */
void table_no_headers(struct table *table);
void table_colours(struct table *table);
size_t table_rows(const struct table *table);
void table_print(const struct table *table, FILE *out);

/*
 * Writes text with control characters, line separators and direction marks as \xNN and \uNNNN.
 * Returns how many columns it takes. `keep` holds characters to pass on all the same (NULL: none).
 */
size_t text_print(const char *text, const char *keep, FILE *out);

/* Is standard output a terminal whose user has not refused colours (NO_COLOR, TERM=dumb)? */
bool text_has_colours(void);
/* The same as text_print() to standard output, in a colour if it has them. */
void text_print_colour(enum table_colour colour, const char *text);
/* What a verdict looks like. */
enum table_colour text_verdict_colour(const char *verdict);
