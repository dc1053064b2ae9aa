/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/pinned_links.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/hash.h"
#include "agent/kernel/cause.h"

#define NAME_SIZE 48
/* Of what may go well at once if it is done again. */
#define TRIES 5

struct held {
	char name[NAME_SIZE];
	int fd;
	uint32_t id;  /* the kernel's number of the link */
	dev_t device; /* of its pin, */
	ino_t inode;  /* 0: it has none */
	UT_hash_handle hh;
};

/* A pin whose link is detached, and that could not be removed. */
struct stale {
	char name[NAME_SIZE];
	struct stale *next;
};

struct pinned_links {
	char *directory;
	struct held *held; /* by name */
	struct stale *stale;
};

int pinned_links_new(const char *directory, struct pinned_links **ret)
{
	struct pinned_links *links = calloc(1, sizeof(*links));

	if (!links)
		return -ENOMEM;
	links->directory = strdup(directory);
	if (!links->directory) {
		free(links);
		return -ENOMEM;
	}
	*ret = links;
	return 0;
}

static void forget(struct pinned_links *links, struct held *held)
{
	HASH_DEL(links->held, held);
	close(held->fd);
	free(held);
}

void pinned_links_free(struct pinned_links *links)
{
	struct held *held, *next;

	if (!links)
		return;
	HASH_ITER (hh, links->held, held, next)
		forget(links, held);
	while (links->stale) {
		struct stale *stale = links->stale;

		links->stale = stale->next;
		free(stale);
	}
	free(links->directory);
	free(links);
}

static const char *path_of(const struct pinned_links *links, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", links->directory, name);
	return path;
}

/* 0; -ENOENT: it is no link's; -errno. */
static int link_id(int fd, uint32_t *ret)
{
	struct bpf_link_info info = {};
	uint32_t length = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		return -errno;
	*ret = info.id;
	return info.id ? 0 : -ENOENT;
}

static void note_pin(const struct pinned_links *links, struct held *held)
{
	char path[PATH_MAX];
	struct stat status;

	held->inode = 0;
	if (stat(path_of(links, held->name, path), &status) < 0)
		return;
	held->device = status.st_dev;
	held->inode = status.st_ino;
}

/* Takes the descriptor. NULL: no memory. */
static struct held *hold(struct pinned_links *links, const char *name, int fd)
{
	struct held *held = calloc(1, sizeof(*held));

	if (held) {
		snprintf(held->name, sizeof(held->name), "%s", name);
		held->fd = fd;
		(void)link_id(fd, &held->id);
		HASH_ADD_STR(links->held, name, held);
	}
	if (held && HASH_ADDED(hh, held))
		return held;
	free(held);
	close(fd);
	return NULL;
}

/* What is held, or what a former agent has pinned. 0; -ENOENT: neither, or no link's; -errno: a pin
 * that cannot be opened now. */
static int find(struct pinned_links *links, const char *name, struct held **ret)
{
	char path[PATH_MAX];
	struct held *held;
	int fd, r, tries = 0;

	HASH_FIND_STR(links->held, name, held);
	if (held) {
		*ret = held;
		return 0;
	}
	do {
		fd = bpf_obj_get(path_of(links, name, path));
	} while (fd < 0 && cause_may_pass(errno) && ++tries < TRIES);
	if (fd < 0)
		return -errno;
	r = link_id(fd, &(uint32_t){0});
	if (r < 0) {
		close(fd);
		return r;
	}
	held = hold(links, name, fd);
	if (!held)
		return -ENOMEM;
	note_pin(links, held);
	*ret = held;
	return 0;
}

/* ---------------------------------------------------------------- pins */

static bool has_pin(const struct pinned_links *links, const struct held *held)
{
	char path[PATH_MAX];
	struct stat status;

	return held->inode && stat(path_of(links, held->name, path), &status) == 0 &&
	       status.st_dev == held->device && status.st_ino == held->inode;
}

/* 0; 1: it had none, and has one; -errno. */
static int pin(const struct pinned_links *links, struct held *held)
{
	CLEANUP(cleanup_close) int other = -1;
	char path[PATH_MAX];
	uint32_t id = 0;
	int r;

	if (has_pin(links, held))
		return 0;
	other = bpf_obj_get(path_of(links, held->name, path));
	if (other < 0 && errno != ENOENT)
		return -errno; /* the pin is there, whatever it is */
	r = held->id ? 0 : link_id(held->fd, &held->id);
	if (r == 0 && other >= 0)
		r = link_id(other, &id);
	if (r < 0 && r != -ENOENT)
		return r;
	if (id && id == held->id) {
		note_pin(links, held);
		return 0;
	}
	/* Something else of this name would be taken for it by the next agent. */
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	if (mkdir(links->directory, 0700) < 0 && errno != EEXIST)
		return -errno;
	r = bpf_obj_pin(held->fd, path) < 0 ? -errno : 0;
	note_pin(links, held);
	return r < 0 ? r : 1;
}

/* Without memory the next agent removes it. */
static void note_stale(struct pinned_links *links, const char *name)
{
	struct stale *stale = calloc(1, sizeof(*stale));

	if (!stale)
		return;
	snprintf(stale->name, sizeof(stale->name), "%s", name);
	stale->next = links->stale;
	links->stale = stale;
}

/* Unless the name is a link's again. 0 or the first -errno. */
static int remove_stale(struct pinned_links *links)
{
	struct stale **at = &links->stale, *stale;
	char path[PATH_MAX];
	struct held *held;
	int result = 0;

	while ((stale = *at)) {
		HASH_FIND_STR(links->held, stale->name, held);
		if (!held && unlink(path_of(links, stale->name, path)) < 0 && errno != ENOENT) {
			result = result ? result : -errno;
			at = &stale->next;
			continue;
		}
		*at = stale->next;
		free(stale);
	}
	return result;
}

int pinned_links_repair(struct pinned_links *links, size_t *ret_repaired)
{
	struct held *held, *next;
	size_t repaired = 0;
	int result = 0, r;

	HASH_ITER (hh, links->held, held, next) {
		r = pin(links, held);

		repaired += r > 0;
		if (r < 0 && result == 0)
			result = r;
	}
	*ret_repaired = repaired;
	r = remove_stale(links);
	return result < 0 ? result : r;
}

/* ---------------------------------------------------------------- links */

/* Its network link or cgroup is gone, or somebody detached it: nothing runs there any more. */
static bool means_gone(int r)
{
	return r == -ENOLINK || r == -ENODEV || r == -ENOENT;
}

/* A cgroup's link stays at the cgroup that it was made for. */
static bool is_elsewhere(const struct held *held, const struct link_place *place)
{
	struct bpf_link_info info = {};
	uint32_t length = sizeof(info);
	struct stat status;

	if (bpf_obj_get_info_by_fd(held->fd, &info, &length) < 0 ||
	    info.type != BPF_LINK_TYPE_CGROUP)
		return false;
	return fstat(place->target, &status) == 0 &&
	       info.cgroup.cgroup_id != (uint64_t)status.st_ino;
}

int pinned_links_create(const struct link_place *place, int program)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = place->flags);
	int fd, tries = 0;

	do {
		fd = bpf_link_create(program, place->target, place->type,
				     place->flags ? &opts : NULL);
	} while (fd < 0 && cause_may_pass(errno) && ++tries < TRIES);
	return fd < 0 ? -errno : fd;
}

int pinned_links_take(struct pinned_links *links, const char *name, int link)
{
	struct held *held = hold(links, name, link);

	if (!held)
		return -ENOMEM;
	(void)pin(links, held);
	return 0;
}

static int create(struct pinned_links *links, const char *name, const struct link_place *place,
		  int program)
{
	int link = pinned_links_create(place, program);

	return link < 0 ? link : pinned_links_take(links, name, link);
}

/* Nobody could look whether it is there. */
static bool is_short(int r)
{
	return cause_may_pass(r) || r == -EMFILE || r == -ENFILE;
}

/* The new one is there before the old one goes. */
static int replace(struct pinned_links *links, struct held *held, const struct link_place *place,
		   int program)
{
	int r;

	HASH_DEL(links->held, held);
	r = create(links, held->name, place, program);
	if (r == 0) {
		(void)bpf_link_detach(held->fd);
	} else {
		HASH_ADD_STR(links->held, name, held);
		if (HASH_ADDED(hh, held))
			return r;
	}
	close(held->fd);
	free(held);
	return r;
}

int pinned_links_put(struct pinned_links *links, const char *name, const struct link_place *place,
		     int program)
{
	struct held *held = NULL;
	char path[PATH_MAX];
	int r = find(links, name, &held);

	if (r < 0)
		return is_short(r) ? r : create(links, name, place, program);
	if (is_elsewhere(held, place))
		return replace(links, held, place, program);
	r = bpf_link_update(held->fd, program, NULL) < 0 ? -errno : 0;
	if (r == 0) {
		(void)pin(links, held);
		return 0;
	}
	if (!means_gone(r))
		return r;
	forget(links, held);
	unlink(path_of(links, name, path));
	return create(links, name, place, program);
}

int pinned_links_update(struct pinned_links *links, const char *name, int program)
{
	struct held *held = NULL;
	int r = find(links, name, &held);

	if (r < 0)
		return r;
	return bpf_link_update(held->fd, program, NULL) < 0 ? -errno : 0;
}

void pinned_links_drop(struct pinned_links *links, const char *name)
{
	struct held *held = NULL;
	char path[PATH_MAX];

	if (find(links, name, &held) == 0) {
		/* Now: one whose pin was only unlinked is there for a while. */
		(void)bpf_link_detach(held->fd);
		forget(links, held);
	}
	if (unlink(path_of(links, name, path)) < 0 && errno != ENOENT)
		note_stale(links, name);
}

int pinned_links_info(struct pinned_links *links, const char *name, struct bpf_link_info *ret)
{
	struct bpf_link_info info = {};
	uint32_t length = sizeof(info);
	struct held *held = NULL;
	int r = find(links, name, &held);

	if (r < 0)
		return r;
	if (bpf_obj_get_info_by_fd(held->fd, &info, &length) < 0)
		return -errno;
	*ret = info;
	return 0;
}

void pinned_links_sweep(struct pinned_links *links, bool (*keep)(const char *name, void *data),
			void *data)
{
	DIR *directory = opendir(links->directory);
	struct held *held, *next;
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		if (entry->d_name[0] != '.' && !keep(entry->d_name, data))
			pinned_links_drop(links, entry->d_name);
	if (directory)
		closedir(directory);
	HASH_ITER (hh, links->held, held, next) {
		char name[NAME_SIZE];

		snprintf(name, sizeof(name), "%s", held->name);
		if (!keep(name, data))
			pinned_links_drop(links, name);
	}
}
