/* SPDX-License-Identifier: Apache-2.0 */
/* YAML as kubectl's users write it, read into JSON values that know their lines. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct error;
struct yaml_text;

/* More is refused: values of one text, and bytes that its aliases repeat. */
#define YAML_VALUES_MAX	 1000000
#define YAML_ALIASED_MAX (4u << 20)

/*
 * Reads all documents of a text. Tags, keys that stand twice, and aliases that hold themselves are
 * refused. 0; -EINVAL, -EFBIG or -ENOMEM with the error's line and reason filled.
 */
int yaml_text_read(const char *text, size_t length, struct yaml_text **ret,
		   struct error *ret_error);
void yaml_text_free(struct yaml_text *yaml); /* takes NULL */

/* Documents that hold nothing (comments, a last "---") are null. */
size_t yaml_text_count(const struct yaml_text *yaml);
/* Borrowed; parts may be shared between places (aliases): not to be changed. */
json_t *yaml_text_value(const struct yaml_text *yaml, size_t document);
/*
 * Where the value at `path` ("$.spec.ingress[0]") stands, or, if there is none, the last value on
 * the way to it. Lines and columns count from 1.
 */
void yaml_text_location(const struct yaml_text *yaml, size_t document, const char *path,
			int *ret_line, int *ret_column);
