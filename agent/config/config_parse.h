/* SPDX-License-Identifier: Apache-2.0 */
/* From a text to a value: what the keys of the configuration have in common. Each returns 0, or
 * -EINVAL with what is allowed in source->error. */
#pragma once

#include "agent/config/config_keys.h"

int bad(struct config_source *source, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
int replace_text(char **field, const char *text, struct config_source *source);
/* Absolute, of plain parts; without trailing slashes. */
int set_path(char **field, const char *text, struct config_source *source);
int set_directory(char **field, const char *text, struct config_source *source);
int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret,
		 struct config_source *source);
int set_u32(uint32_t *field, const char *text, uint32_t min, uint32_t max,
	    struct config_source *source);

struct choice {
	const char *name;
	int value;
};
int choose(const struct choice *choices, size_t count, const char *text, int *ret,
	   struct config_source *source);
#define CHOOSE(choices, ...) choose(choices, sizeof(choices) / sizeof((choices)[0]), __VA_ARGS__)
