/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects of the API server on disk, for an agent that starts while no server is reached. The
 * loop notes what changes; a thread writes it, a fraction of a second later, to a file (see
 * kept_file.h) and now and then to the disk. A file that cannot be written is removed: one that
 * falls behind would put back in force what is over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/store/store.h"

struct api_kept;

struct kept_hooks {
	/* An object of the file. 0 or -errno: then none of the file counts. */
	int (*recall)(enum object_kind kind, const char *json, size_t length, bool closed,
		      void *data);
	/* What was recalled does not count. */
	void (*forget)(void *data);
	/* Does it stand for one that was refused? */
	bool (*is_closed)(const struct object *object, void *data);
	void *data;
};

/*
 * Reads the file, which hands all its objects to the hooks if it is whole, and listens to the
 * store from then on. A file that cannot be used is a message, and begun anew. `path` is copied,
 * `hooks` borrowed. 0 or -ENOMEM.
 */
int api_kept_new(uv_loop_t *loop, struct store *store, const char *path,
		 const struct kept_hooks *hooks, struct api_kept **ret);
/* What is noted is written before. The memory goes with the loop's next turns. Takes NULL. The
 * store has to go before the next change. */
void api_kept_free(struct api_kept *kept);

/* All that there is has been listed: from now on the file is whole. */
void api_kept_set_whole(struct api_kept *kept);
/* The server has been heard of: what is in the file is so now. */
void api_kept_confirm(struct api_kept *kept);

/* Were all objects of a whole file recalled? */
bool api_kept_recalled(const struct api_kept *kept);
/* When it was so, in seconds since 1970; 0: there is no whole file. */
int64_t api_kept_time(const struct api_kept *kept);
const char *api_kept_path(const struct api_kept *kept);
