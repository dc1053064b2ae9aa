/* SPDX-License-Identifier: Apache-2.0 */
/* Faults and warnings of resource files, found without an agent. */
#pragma once

#include <stdio.h>

#include "agent/cli/resources.h"

/* Where and why; strings are owned. */
struct check_fault {
	bool warning;
	char *file;
	size_t document;  /* from 1 */
	int line, column; /* 0: not known */
	char *object;	  /* "NetworkPolicy demo/web"; "" if it is not known */
	char *path;
	char *reason;
};

struct check_object;

/* What was found so far. Zeroed: nothing. */
struct check {
	struct check_fault *faults;
	size_t fault_count;
	struct check_object *objects; /* that are good */
	size_t object_count;
	size_t skipped, files, errors, warnings;
	bool unreadable; /* a file could not be read */
};

/* Each returns 0 or -ENOMEM. */
int check_file(struct check *check, const char *path);
/* What only all files together show: names that stand twice, priorities that are equal. */
int check_together(struct check *check);
void check_clear(struct check *check);
void check_print_fault(const struct check_fault *fault, FILE *out);

/* One more warning at a path of a document. `object` is "KIND NAMESPACE/NAME". For the functions
 * that look for them. */
struct check_location {
	struct check *check;
	const struct resource_file *file;
	size_t document; /* index in the file */
	const char *object;
};
int check_warn(const struct check_location *location, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* What is valid in an object and surely not meant. `value` was decoded without fault. */
int check_object_warnings(const struct check_location *location, const char *path,
			  const json_t *value);
