/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of maps share. */
#pragma once

#include <linux/bpf.h>

#include "agent/kernel/flows_move.h"
#include "agent/kernel/maps.h"

struct maps {
	struct map_info info[MAP_COUNT];
	struct map_info old[MAP_COUNT]; /* those that are being replaced; fd -1: none */
	const char *views[MAP_COUNT];	/* arrays that are read in place; NULL: others */
	struct flows_move *flows;
	uint32_t *links; /* by place in the old map of pods */
	struct control *control;
	struct program_wait wait;
	uint64_t writes;	    /* elements written or deleted, see maps_writes() */
	uint64_t counts[MAP_COUNT]; /* elements + 1; 0: nobody keeps count */
	char directory[256];
};

struct map_shape {
	const char *name;
	enum bpf_map_type type;
	uint32_t key_size, value_size, max_entries, flags;
};

/* map_shapes.c: of the programs' object, as large as is asked for. 0 or -errno with `message`. */
int maps_shapes(const struct map_sizes *sizes, struct map_shape ret_shapes[MAP_COUNT],
		char *message, size_t size);

/* maps.c */
void maps_path(const struct maps *maps, const char *sub, const char *name, char *path, size_t size);
/* Makes a map and pins it at `path` (NULL: nowhere). 0 or -errno with `message`. */
int maps_make(const struct map_shape *shape, const char *path, struct map_info *info, char *message,
	      size_t size);
/* The map that is pinned at `path`, into info->fd. 0; -ENOENT: none is, which needs no `message`;
 * -errno. */
int maps_get_pinned(struct map_info *info, const char *path, char *message, size_t size);
/*
 * Reads sizes of the map at info->fd, which is pinned at `path`, and compares type, sizes of key
 * and value, and flags. 0, -EINVAL (it is another one), -errno, with `message`.
 */
int maps_check(const struct map_shape *shape, const char *path, struct map_info *info,
	       char *message, size_t size);
/* The programs' own copy of an array, mapped or read; free(). 0 or -errno. */
int maps_read_values(const struct map_info *info, void **ret_values);

/*
 * maps_move.c: behind the opening of all. Goes on with a move that another agent has left, or makes
 * maps of the sizes that are asked for beside those that have others. 0 or -errno with `message`.
 */
int maps_move_open(struct maps *maps, const struct map_shape shapes[MAP_COUNT], char *message,
		   size_t size);
/* Nothing stays of what was begun, if no program can be using it. */
void maps_move_close(struct maps *maps);
