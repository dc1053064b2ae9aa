/* SPDX-License-Identifier: Apache-2.0 */
/* What commands that list things share. */
#pragma once

#include "agent/cli/cli.h"
#include "agent/cli/table.h"

#define LIST_MOST 4 /* of a cell's values */

/* Adds the cells of one object. */
typedef void (*list_row)(struct table *table, const json_t *item);
/* Its name, the caller's. */
typedef char *(*list_name)(const json_t *item);

struct list_form {
	const char *kind; /* of `-o name`: KIND/NAMESPACE/NAME */
	const char *const *titles;
	list_row row;
	const char *const *wide_titles; /* behind the others; NULL: none */
	list_row wide_row;
	list_name name; /* NULL: by namespace and name */
};

/* Prints the answer as it is wanted. An exit code. */
int list_show(const struct cli *cli, const json_t *list, const struct list_form *form);
/* Asks and prints. */
int list_run(const struct cli *cli, const char *operation, const json_t *args,
	     const struct list_form *form);

/* Prints the answer of one node. An exit code. */
typedef int (*list_shower)(const struct cli *cli, const json_t *answer);
/* Those of several nodes, one after the other. */
int list_show_nodes(const struct cli *cli, const json_t *answers, list_shower show_one);
/* For list_name: a copy of the text, or of the number, that stands under the key. */
char *list_name_of(const json_t *item, const char *key);

/* Cells. */
void list_add_scalar(struct table *table, const json_t *item, const char *path);
void list_add_strings(struct table *table, const json_t *list);
