/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/foreign_programs.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/array.h"
#include "agent/common/cleanup.h"

/* Newer than the headers of Debian 12 (Linux 6.6). */
#define TCX_INGRESS   46
#define TCX_EGRESS    47
#define LINK_TYPE_TCX 11

#define MAPS_MAX     64 /* of a program, and of a directory */
#define PROGRAMS_MAX 64 /* of a hook of a link */
#define DEPTH_MAX    8	/* of directories on a bpffs */

/* Each of them counts what it drops. */
#define COMMON_MAP "drops"

struct ids {
	uint32_t items[2 * MAPS_MAX];
	size_t count;
};

static bool has_id(const struct ids *ids, uint32_t id)
{
	for (size_t i = 0; i < ids->count; i++)
		if (ids->items[i] == id)
			return true;
	return false;
}

static int map_info_of(int fd, struct bpf_map_info *ret)
{
	uint32_t length = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return bpf_obj_get_info_by_fd(fd, ret, &length) < 0 ? -errno : 0;
}

/* ---------------------------------------------------------------- which maps are ours */

static int add_pinned(struct ids *ids, const char *path)
{
	CLEANUP(cleanup_close) int fd = bpf_obj_get(path);
	struct bpf_map_info info;
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = map_info_of(fd, &info);
	if (r == 0 && info.id && ids->count < COUNT(ids->items))
		ids->items[ids->count++] = info.id;
	return r;
}

static int add_directory(struct ids *ids, const char *directory)
{
	DIR *dir = opendir(directory);
	char path[PATH_MAX];
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		int length = snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);

		if (entry->d_name[0] != '.' && entry->d_type == DT_REG && length < PATH_MAX)
			r = add_pinned(ids, path);
	}
	if (r == 0)
		r = -errno;
	closedir(dir);
	return r;
}

/* A map of ours that is not recognized would make our own programs another's. */
static int find_own_maps(const char *directory, struct ids *ret)
{
	char next[PATH_MAX];
	int r;

	*ret = (struct ids){};
	r = add_directory(ret, directory);
	if (r == 0 && snprintf(next, sizeof(next), "%s/next", directory) < PATH_MAX)
		r = add_directory(ret, next);
	return r;
}

/* ---------------------------------------------------------------- whose programs */

static const struct {
	const char *name;
	bool on_pod;
} names[] = {
	{"from_pod", true},	     {"to_pod", true},		{"closed_from_pod", true},
	{"closed_to_pod", true},     {"from_wire", false},	{"to_wire", false},
	{"wire_xdp", false},	     {"wire_xdp_check", false}, {"wire_xdp_veth", false},
	{"from_tunnel", false},	     {"to_tunnel", false},	{"closed_from_tunnel", false},
	{"closed_to_tunnel", false},
};

static uint32_t common_map(const uint32_t *maps, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		CLEANUP(cleanup_close) int fd = bpf_map_get_fd_by_id(maps[i]);
		struct bpf_map_info info;

		if (fd >= 0 && map_info_of(fd, &info) == 0 && strcmp(info.name, COMMON_MAP) == 0)
			return maps[i];
	}
	return 0;
}

struct search {
	struct ids own;
	struct foreign_program *found;
	size_t count;
};

static int keep(struct search *search, const struct foreign_program *program)
{
	struct foreign_program *grown =
		reallocarray(search->found, search->count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	search->found = grown;
	search->found[search->count++] = *program;
	return 0;
}

/* A program that is gone meanwhile is nobody's. 0 or -errno. */
static int look_at(struct search *search, const struct link_info *link, uint32_t id)
{
	CLEANUP(cleanup_close) int fd = id ? bpf_prog_get_fd_by_id(id) : -1;
	uint32_t maps[MAPS_MAX] = {};
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps};
	uint32_t length = sizeof(info);
	struct foreign_program program = {.ifindex = link->ifindex, .id = id};
	size_t i = 0, count;

	if (!id)
		return 0;
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* The kernel cuts names off. */
	while (i < COUNT(names) && strncmp(names[i].name, info.name, sizeof(info.name) - 1) != 0)
		i++;
	count = info.nr_map_ids < MAPS_MAX ? info.nr_map_ids : MAPS_MAX;
	if (i == COUNT(names))
		return 0;
	program.map = common_map(maps, count);
	program.on_pod = names[i].on_pod;
	for (size_t j = 0; j < count; j++)
		if (has_id(&search->own, maps[j]))
			return 0;
	if (!program.map)
		return 0;
	memcpy(program.link, link->name, sizeof(program.link));
	snprintf(program.name, sizeof(program.name), "%s", names[i].name);
	return keep(search, &program);
}

static int look_at_tcx(struct search *search, const struct link_info *link)
{
	static const enum bpf_attach_type hooks[] = {TCX_INGRESS, TCX_EGRESS};
	int r = 0;

	for (size_t i = 0; i < COUNT(hooks); i++) {
		uint32_t ids[PROGRAMS_MAX] = {}, count = PROGRAMS_MAX;

		/* EINVAL: a kernel before 6.6; ENODEV: the link has gone. */
		if (bpf_prog_query(link->ifindex, hooks[i], 0, NULL, ids, &count) < 0) {
			if (errno != EINVAL && errno != ENODEV && errno != ENOENT)
				return -errno;
			continue;
		}
		for (size_t j = 0; j < count && j < PROGRAMS_MAX && r == 0; j++)
			r = look_at(search, link, ids[j]);
	}
	return r;
}

static int look_at_clsact(struct search *search, struct netlink *nl, const struct link_info *link)
{
	int r = 0;

	for (int i = 0; i < 4 && r == 0; i++) {
		uint32_t id = 0;

		if (netlink_clsact_query(nl, link->ifindex, i & 1,
					 i & 2 ? CLSACT_BEHIND : CLSACT_FIRST, &id) == 0)
			r = look_at(search, link, id);
	}
	return r;
}

int foreign_programs_find(struct netlink *nl, const char *directory, struct foreign_program **ret,
			  size_t *ret_count)
{
	CLEANUP(cleanup_free) struct link_info *links = NULL;
	struct search search = {};
	size_t count = 0;
	int r = netlink_link_list(nl, &links, &count);

	if (r == 0)
		r = find_own_maps(directory, &search.own);
	for (size_t i = 0; i < count && r == 0; i++) {
		r = look_at_tcx(&search, &links[i]);
		if (r == 0)
			r = look_at_clsact(&search, nl, &links[i]);
		if (r == 0)
			r = look_at(&search, &links[i], links[i].xdp_prog_id);
	}
	if (r < 0) {
		free(search.found);
		return r;
	}
	*ret = search.found;
	*ret_count = search.count;
	return 0;
}

/* ---------------------------------------------------------------- taking them away */

static bool is_listed(const struct foreign_program *programs, size_t count, uint32_t id)
{
	for (size_t i = 0; i < count; i++)
		if (programs[i].id == id)
			return true;
	return false;
}

int foreign_programs_detach(const struct foreign_program *programs, size_t count)
{
	uint32_t id = 0;
	int result = 0;

	while (count && bpf_link_get_next_id(id, &id) == 0) {
		CLEANUP(cleanup_close) int fd = bpf_link_get_fd_by_id(id);
		struct bpf_link_info info = {};
		uint32_t length = sizeof(info);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0 ||
		    (info.type != BPF_LINK_TYPE_XDP && info.type != LINK_TYPE_TCX) ||
		    !is_listed(programs, count, info.prog_id))
			continue;
		if (bpf_link_detach(fd) < 0 && result == 0)
			result = -errno;
	}
	return result;
}

/* ---------------------------------------------------------------- where they come from */

static bool is_map(const char *path, uint32_t id)
{
	CLEANUP(cleanup_close) int fd = bpf_obj_get(path);
	struct bpf_map_info info;

	return fd >= 0 && map_info_of(fd, &info) == 0 && info.id == id;
}

static bool search_below(const char *directory, uint32_t map, int depth, char *ret, size_t size)
{
	char path[PATH_MAX];
	DIR *dir;
	struct dirent *entry;
	bool found = false;

	if (snprintf(path, sizeof(path), "%s/" COMMON_MAP, directory) < PATH_MAX &&
	    is_map(path, map)) {
		snprintf(ret, size, "%s", directory);
		return true;
	}
	dir = depth < DEPTH_MAX ? opendir(directory) : NULL;
	while (dir && !found && (entry = readdir(dir)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
		    snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name) < PATH_MAX)
			found = search_below(path, map, depth + 1, ret, size);
	if (dir)
		closedir(dir);
	return found;
}

int foreign_program_directory(const struct foreign_program *program, char *ret, size_t size)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	bool found = false;

	while (mounts && !found && (mount = getmntent(mounts)))
		if (strcmp(mount->mnt_type, "bpf") == 0)
			found = search_below(mount->mnt_dir, program->map, 0, ret, size);
	if (mounts)
		endmntent(mounts);
	return found ? 0 : -ENOENT;
}
