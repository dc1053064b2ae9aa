/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the watched directory's source share. */
#pragma once

#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "agent/common/hash.h"
#include "agent/sources/source_dir.h"

/* While the directory is there: for what inotify cannot tell. */
#define CHECK_MS 1000

/* One of its files, or what was one. */
struct watched_file {
	char *name;
	char *origin;	  /* path */
	int target_watch; /* of what a symbolic link leads to; -1: none */
	bool is_link;
	bool changed;	     /* to be read; in the source's list of those */
	bool whole;	     /* and if it is bad, that is no writer's intermediate state */
	bool retry;	     /* to be read again by the next check */
	bool gone;	     /* was not there when it was read; in the source's list of those */
	uint64_t gone_since; /* ms of the loop's clock */
	bool seen;	     /* by the running scan */
	bool in_force;	     /* what was read from it, now or before a restart */
	bool owed;	     /* a copy of what was read from it, which could not be kept */
	bool unknown;	     /* since the start nobody knows what it asks for */
	struct timespec modified, altered; /* what it was like when it was looked at last */
	off_t size;
	ino_t inode;
	struct error *problem; /* as told to the store; NULL: none */
	TAILQ_ENTRY(watched_file) in_changed, in_gone;
	UT_hash_handle hh;
};

TAILQ_HEAD(watched_files, watched_file);

/* There may be a file for each pod of a cluster: what an event asks for is found without a look at
 * all of them. */
struct source_dir {
	uv_loop_t *loop;
	char *path;
	struct store *store;
	char *copies_path;	  /* NULL: none are wanted */
	char *next_path;	  /* where they are to be kept from now on; NULL: where they are */
	struct last_good *copies; /* NULL: none are kept */
	bool copies_failed;	  /* told */
	bool keep_failed;	  /* the last copy could not be kept; told once */
	void (*on_synced)(void *data);
	void *data;
	bool synced;
	int inotify_fd; /* -1: the kernel gives none; all is polled */
	int watch;	/* of the directory; -1: it is missing, or polled */
	bool polled;	/* the directory is there, and the kernel gives no watch for it */
	bool polled_told;
	unsigned int checks, owed_checks;
	dev_t device;
	ino_t inode;
	bool rescan;
	bool links_changed;	    /* something that a link may lead through */
	struct watched_file *files; /* by name */
	struct watched_files changed, gone;
	/* Files with is_link, with retry, with unknown, with owed. */
	size_t links, retries, unknown, owed;
	struct error *problem; /* of the directory */
	uv_poll_t poll;
	uv_timer_t check;
	uv_timer_t deletion;
	uv_work_t sync; /* of copies to the disk */
	struct last_good_sync *syncing;
	bool sync_failed; /* told */
	int handles;	  /* and a sync that runs */
};

/* source_dir.c */
void source_set_changed(struct source_dir *source, struct watched_file *file, bool changed);
void source_set_link(struct source_dir *source, struct watched_file *file, bool is_link);
/* The file by this name, made if it is not known. NULL: no memory. */
struct watched_file *source_need_file(struct source_dir *source, const char *name);
/* The directory's descriptor, if the path still leads to the one that is watched. */
int source_open_watched(const struct source_dir *source);
void source_on_events(uv_poll_t *poll, int status, int events);

/* source_names.c: the names of a directory's resource files, sorted. 0 or -errno. */
bool source_is_eligible(const char *name);
int source_list_names(int dir_fd, char ***ret, size_t *ret_count);
void source_free_names(char **names, size_t count);

/* source_watch.c: what the kernel tells of, or what is looked at instead. */
bool source_is_attached(const struct source_dir *source);
/* What happens to the file behind a link happens outside the directory. False: it cannot be
 * watched. */
bool source_watch_target(struct source_dir *source, struct watched_file *file, int dir_fd);
void source_unwatch_target(struct source_dir *source, struct watched_file *file);
/* Has the file (of a link: what it leads to) become another one since it was looked at last? */
bool source_looks_changed(struct watched_file *file, int dir_fd);
/* A watch for the directory if the kernel gives one; else it is polled. 0 or -errno. */
int source_watch_directory(struct source_dir *source, int fd);
/* With each check: nothing where the kernel tells. -errno: it is another directory now. */
int source_look_again(struct source_dir *source);
