/* SPDX-License-Identifier: Apache-2.0 */
/* Resource files as polderctl's commands take them: JSON or YAML, a file, a directory, or "-". */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "policy/objects/objects.h"

struct yaml_text;

/* One document of a file. */
struct resource_document {
	const json_t *value;
	size_t number; /* from 1 */
};

/* What one file holds. Free with resource_file_clear(). */
struct resource_file {
	char *name;			     /* as to be shown */
	struct resource_document *documents; /* without empty ones */
	size_t count;
	bool is_yaml;
	struct yaml_text *yaml; /* NULL: JSON */
	json_t *json;		/* NULL: YAML */
};

/*
 * Reads one file ("-": standard input). It is JSON if its name ends in .json or its text begins as
 * JSON does. 0; -EINVAL or -EFBIG: what stands in it is wrong; -EIO: it cannot be read; -ENOMEM.
 * The error says why.
 */
int resource_file_read(const char *path, struct resource_file *ret, struct error *ret_error);
void resource_file_clear(struct resource_file *file); /* takes a zeroed one */
/* The line of a path in a document; 0: JSON, where only syntax has lines. */
void resource_file_location(const struct resource_file *file, size_t document, const char *path,
			    int *ret_line, int *ret_column);

/*
 * The files that a word of the command line stands for: itself, or those of a directory that end in
 * .json, .yaml or .yml, sorted. 0 or -errno. The caller frees with resource_paths_clear().
 */
struct resource_paths {
	char **items;
	size_t count;
};
int resource_paths_add(struct resource_paths *paths, const char *word);
void resource_paths_clear(struct resource_paths *paths);

/*
 * All objects of files and directories as one JSON array, each document an item, for the agent or
 * objects_decode(). 0, or -1 after a complaint on standard error that says file, line and reason.
 * The caller owns the result.
 */
int resources_read(char *const *words, size_t count, json_t **ret);
