/* SPDX-License-Identifier: Apache-2.0 */
/* The table of polderd's keys: what each is called, takes and means, in the file and as an option.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/config/config.h"

enum config_form {
	FORM_TEXT,   /* a string */
	FORM_NUMBER, /* a whole number */
	FORM_YES_NO, /* true, false, "yes", "no" */
	FORM_FLAG,   /* an option without value; true or false in the file */
	FORM_PAIR,   /* "v4,v6" or an array of one or two strings */
	FORM_LIST,   /* an option given several times; an array of strings, or one string */
};

#define CONFIG_TEXT_MAX 512

/* Where a value stands, and what is wrong with it. */
struct config_source {
	const char *name; /* a file's name, or "command line" */
	bool file;	  /* paths must be absolute; else they start from the current directory */
	char error[CONFIG_TEXT_MAX];
};

struct config_key {
	const char *name;
	enum config_form form;
	const char *value; /* for the help: "DIR" */
	const char *help;
	/* One value; lists are added to. 0, or -errno with the reason (what is allowed) in
	 * source->error. */
	int (*set)(struct config *config, const char *text, struct config_source *source);
	void (*clear)(struct config *config); /* lists: forgets what the file said */
};

extern const struct config_key config_keys[];
extern const size_t config_key_count;
const struct config_key *config_find_key(const char *name);

/* Sets one value; on failure source->error names place, key, value and what is allowed. */
int config_set(struct config *config, const struct config_key *key, const char *text,
	       struct config_source *source);

/* The text of a configuration file. On failure source->error says where and what. */
#define CONFIG_FILE_MAX (1u << 20)
int config_apply_text(struct config *config, const char *text, size_t length,
		      struct config_source *source);

/* What single keys cannot know. */
int config_check(const struct config *config, struct config_source *source);

/* May a node be called so? */
bool config_is_node_name(const char *text);

void config_defaults(struct config *config);
