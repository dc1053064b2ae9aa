/* SPDX-License-Identifier: Apache-2.0 */
/* A watched directory with a store behind it, for the tests of source_dir. */
#pragma once

#include "agent/sources/source_dir.h"
#include "tests/unit/unit.h"

struct world {
	char top[32];
	char path[64];	 /* of the watched directory */
	char copies[64]; /* of its good files */
	uv_loop_t loop;
	struct store *store;
	struct source_dir *source;
	unsigned int synced;
	unsigned int deletions;
	/* for has() */
	const char *name, *label;
};

#define TEXT(name, label)                                                                          \
	"{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"" name             \
	"\",\"labels\":{\"l\":\"" label "\"}}}\n"

void start(struct world *world);
void begin_without(struct world *world);
void begin(struct world *world);
void stop(struct world *world);
void finish(struct world *world);
const char *at(const struct world *world, const char *name, char buffer[512]);
void save(const struct world *world, const char *name, const char *text);
void move(const struct world *world, const char *from, const char *to);
void delete (const struct world *world, const char *name);
bool is_synced(void *data);
bool has(struct world *world, const char *name, const char *label);
bool keeps(struct world *world, const char *name, const char *label);
size_t problem_count(const struct world *world, struct error *ret);
bool has_no_problem(void *data);
bool has_problem(void *data);
bool becomes(struct world *world, bool (*holds)(void *data));
