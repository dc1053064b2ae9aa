/* SPDX-License-Identifier: Apache-2.0 */
/* What a sysdump is put together from: bounded pieces of text, without secrets, in one archive. */
#pragma once

#include <jansson.h>
#include <stddef.h>

struct cli;
struct archive;

#define SYSDUMP_TEXT_MAX (1u << 20) /* bytes of one file */

struct sysdump {
	const struct cli *cli;
	struct archive *archive;
	json_t *files; /* {"name", "bytes", "note"} of each file, in order */
	const char *bpffs, *run_dir, *state_dir;
	json_t *config; /* the agent's; the directories are of it. NULL: it did not answer */
};

/*
 * Opens the archive at the command's argument, standard output for "-", else at a name of its own
 * with `what` in it; `ret_path` (the caller frees) is its name. 0, or -1 after a complaint.
 */
int sysdump_open(const struct cli *cli, const char *what, struct sysdump *ret, char **ret_path);
/* Adds index.json and closes. An exit code; says on standard output what there is. */
int sysdump_close(struct sysdump *dump, char *path);

/* Adds text, with secrets overwritten in place and what is above the limit cut off. `note` (NULL:
 * none) goes into the index. */
void sysdump_add(struct sysdump *dump, const char *name, char *text, size_t length,
		 const char *note);
/* As it is: an archive of a node, which has no secrets any more. */
void sysdump_add_binary(struct sysdump *dump, const char *name, const void *data, size_t length);
void sysdump_add_json(struct sysdump *dump, const char *name, const json_t *value);
/* What could not be had, into the index alone. */
void sysdump_miss(struct sysdump *dump, const char *name, const char *note);

/* The parts of a node. */
void sysdump_add_agent(struct sysdump *dump);
void sysdump_add_system(struct sysdump *dump);
void sysdump_add_programs(struct sysdump *dump);
