/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of resource files as they were when they could last be used: what a broken file stands for
 * after a restart. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* All copies together, at most an eighth of the file system: what has no room is not kept. */
#define LAST_GOOD_TOTAL_MAX (256u << 20)

struct last_good;

/*
 * The directory is made (0700) if it is missing; it holds these copies and nothing else. A copy is
 * a state file (see agent/common/state_file.h) of the origin, a zero byte and the text, named by a
 * digest of the origin. 0 or -errno.
 */
int last_good_open(const char *directory, struct last_good **ret);
/* Takes NULL; the copies stay, and are synced. Not while a sync runs. */
void last_good_close(struct last_good *copies);

/*
 * Moves the copies of another directory, which an agent of before, or one whose directory could not
 * be used, has written last: they are newer than those in `directory`. What cannot be moved is
 * deleted, as it will be older next time. Not while either is open. Returns how many were moved.
 */
size_t last_good_import(const char *directory, const char *from);

/*
 * Keeps the text, in place of an older one: at once for an agent that is started again, after the
 * next sync also for a machine that is. What is there already is not written again. 0; -EDQUOT: no
 * room (LAST_GOOD_TOTAL_MAX); other -errno. On failure the older copy stays.
 */
int last_good_keep(struct last_good *copies, const char *origin, const char *text, size_t length);

/*
 * The text, terminated by a zero byte that is not counted; free() it. 0; -ENOENT: none was kept;
 * -EBADMSG: it was damaged and is put aside with the ending ".bad"; other -errno.
 */
int last_good_find(struct last_good *copies, const char *origin, char **ret_text,
		   size_t *ret_length);

/* Not there: 0. */
int last_good_delete(struct last_good *copies, const char *origin);

/* Forgets all that nobody has kept or looked for since last_good_open(). Returns how many. */
size_t last_good_prune(struct last_good *copies);

/*
 * What was kept, to the disk: files and directory are synced before older copies go. Begin and end
 * where the copies are used, run in any thread meanwhile. Begin gives NULL if there is nothing to
 * be done, or no memory. The end frees it: 0, or the -errno for which it will be tried again.
 */
struct last_good_sync;
bool last_good_pending(const struct last_good *copies);
struct last_good_sync *last_good_sync_begin(struct last_good *copies);
void last_good_sync_run(struct last_good_sync *sync);
int last_good_sync_end(struct last_good *copies, struct last_good_sync *sync);
