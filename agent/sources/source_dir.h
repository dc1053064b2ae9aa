/* SPDX-License-Identifier: Apache-2.0 */
/* Kubernetes objects from a watched directory of *.json files. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "agent/store/store.h"

/*
 * Each file whose name ends in .json and does not begin with a dot is an origin of the store, named
 * by its path. Symbolic links are followed. A file is read when it is closed after writing, moved
 * or linked into place, or its mode changes:
 *
 * - A file that cannot be used (unreadable, not regular, over OBJECT_TEXT_MAX, not decodable, one
 * object twice) is refused whole: its last good objects stay, the store holds the problem, the log
 * one line. That holds over a restart as well: a copy of each good file is kept.
 * - A deleted file takes its objects with it. One that is back within 30 ms (an editor's save, a
 * rename to another name) is no deletion.
 * - When the directory itself goes, everything stays as it was, with a problem of the directory,
 * until it is back; it is then read anew and what it does not hold any more is deleted.
 */
struct source_dir;

/*
 * The directory may be missing: it is waited for. `last_good` is the directory for the copies of
 * good files (see agent/sources/last_good.h); NULL, or one that cannot be used (the log says so):
 * none are kept. `on_synced` (may be NULL) runs once, from the loop, when every file has been read
 * for the first time, bad ones included. Where the kernel gives no inotify instance or watch
 * (fs.inotify.max_user_instances, max_user_watches) the directory is looked at every second, and
 * the log says so. 0 or -ENOMEM.
 */
int source_dir_new(uv_loop_t *loop, const char *path, const char *last_good, struct store *store,
		   void (*on_synced)(void *data), void *data, struct source_dir **ret);
/* Reads everything again, soon. */
void source_dir_reload(struct source_dir *source);
/* Copies are kept in this directory from now on, those that are kept elsewhere are moved there; in
 * a moment. 0 or -ENOMEM. */
int source_dir_keep_in(struct source_dir *source, const char *last_good);
/* Takes NULL; leaves the store as it is. The memory is released by the loop's next turn. */
void source_dir_free(struct source_dir *source);
