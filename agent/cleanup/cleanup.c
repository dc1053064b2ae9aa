/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cleanup/cleanup.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/cni_files.h"
#include "agent/kernel/bpffs.h"
#include "agent/kernel/netlink_remains.h"

#define DEPTH_MAX 8

struct slow_path {
	const struct cleanup_options *options;
	cleanup_listener listener;
	void *data;
	int result; /* the first that failed */
};

static void tell(struct slow_path *work, const char *kind, const char *name, int r)
{
	work->listener(kind, name, r, work->data);
	if (work->result == 0)
		work->result = r;
}

/* ---------------------------------------------------------------- the kernel's network state */

static const char *const kind_names[] = {
	[REMAIN_LINK] = "link",	  [REMAIN_TUNNEL] = "tunnel",	    [REMAIN_RULE] = "rule",
	[REMAIN_ROUTE] = "route", [REMAIN_NEIGHBOUR] = "neighbour", [REMAIN_FILTER] = "filter",
};

static void take_remains(struct slow_path *work, struct netlink *nl, const struct remain *list,
			 size_t count)
{
	for (size_t i = 0; i < count; i++)
		tell(work, kind_names[list[i].kind], list[i].text,
		     work->options->dry_run ? 0 : netlink_remain_delete(nl, &list[i]));
}

static size_t count_links(const struct remain *list, size_t count)
{
	size_t links = 0;

	for (size_t i = 0; i < count; i++)
		links += list[i].kind == REMAIN_LINK;
	return links;
}

int cleanup_count_links(size_t *ret)
{
	struct remain *list = NULL;
	struct netlink *nl;
	size_t count = 0;
	int r = netlink_open(-1, &nl);

	if (r < 0)
		return r;
	r = netlink_remains_list(nl, &list, &count);
	netlink_close(nl);
	if (r < 0)
		return r;
	*ret = count_links(list, count);
	netlink_remains_free(list, count);
	return 0;
}

/* ---------------------------------------------------------------- directories */

/* A pin of a link is taken off the kernel first: whoever else holds it would keep it attached. */
static int take_pin(const char *path)
{
	CLEANUP(cleanup_close) int fd = bpf_obj_get(path);

	if (fd >= 0)
		(void)bpf_link_detach(fd); /* maps and programs have nothing to detach */
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static void take_tree(struct slow_path *work, const char *path, bool pins, int depth);

static void take_entry(struct slow_path *work, const char *path, bool pins, int depth)
{
	struct stat status;
	int r = 0;

	if (lstat(path, &status) < 0)
		return;
	if (S_ISDIR(status.st_mode)) {
		take_tree(work, path, pins, depth + 1);
		return;
	}
	if (!work->options->dry_run)
		r = pins ? take_pin(path) : unlink(path) < 0 ? -errno : 0;
	tell(work, pins ? "pin" : "file", path, r);
}

static void take_tree(struct slow_path *work, const char *path, bool pins, int depth)
{
	DIR *dir = depth < DEPTH_MAX ? opendir(path) : NULL;
	char name[PATH_MAX];
	struct dirent *item;
	int r = 0;

	if (!dir) {
		tell(work, "directory", path, depth < DEPTH_MAX ? -errno : -ELOOP);
		return;
	}
	while ((item = readdir(dir))) {
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		if (snprintf(name, sizeof(name), "%s/%s", path, item->d_name) < (int)sizeof(name))
			take_entry(work, name, pins, depth);
	}
	closedir(dir);
	/* A mount's root, or what the service manager holds, stays as an empty directory. */
	if (!work->options->dry_run && rmdir(path) < 0 && errno != EBUSY && errno != ENOENT)
		r = -errno;
	tell(work, "directory", path, r);
}

/* ---------------------------------------------------------------- what runtimes find */

static void take_file(struct slow_path *work, const char *path)
{
	int r = 0;

	if (!work->options->dry_run && unlink(path) < 0 && errno != ENOENT)
		r = -errno;
	tell(work, "file", path, r);
}

/* One that was cut off is known by its name alone. */
static bool is_our_config(const char *path, const char *name, const char *own)
{
	size_t length = strlen(own);

	if (strcmp(name, own) == 0)
		return true;
	if (name[0] == '.' && strncmp(name + 1, own, length) == 0 &&
	    strcmp(name + 1 + length, ".tmp") == 0)
		return true;
	return cni_files_is_config_name(name) && cni_files_is_our_config(path);
}

static void take_configs(struct slow_path *work, const char *directory)
{
	const char *own =
		work->options->cni_config ? work->options->cni_config : "10-polder.conflist";
	DIR *dir = directory ? opendir(directory) : NULL;
	char path[PATH_MAX];
	struct dirent *item;

	while (dir && (item = readdir(dir)))
		if (snprintf(path, sizeof(path), "%s/%s", directory, item->d_name) <
			    (int)sizeof(path) &&
		    is_our_config(path, item->d_name, own))
			take_file(work, path);
	if (dir)
		closedir(dir);
}

static void take_plugin(struct slow_path *work, const char *directory)
{
	static const char *const names[] = {CNI_PLUGIN_NAME, "." CNI_PLUGIN_NAME ".tmp"};
	char path[PATH_MAX];

	for (size_t i = 0; directory && i < sizeof(names) / sizeof(names[0]); i++) {
		if (snprintf(path, sizeof(path), "%s/%s", directory, names[i]) >= (int)sizeof(path))
			continue;
		if (i == 0 ? cni_files_is_our_plugin(path) : access(path, F_OK) == 0)
			take_file(work, path);
	}
}

/* ---------------------------------------------------------------- are they ours? */

/* Does one of these stand in it? Then polderd has made it, or it is empty. */
static bool is_polders(const char *path, bool *ret_empty)
{
	static const char *const marks[] = {"lock",	"polder.sock", "polder.sock.lock",
					    "pods",	"policy.json", "last-good",
					    "agent-id", "copies",      "pool.json"};
	DIR *dir = opendir(path);
	struct dirent *item;
	bool found = false;

	*ret_empty = true;
	while (dir && (item = readdir(dir))) {
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		*ret_empty = false;
		for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
			found |= strcmp(item->d_name, marks[i]) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* A directory that is named by mistake is not emptied. */
static int check_directory(const char *option, const char *path, char *message, size_t size)
{
	bool empty;

	if (!path || access(path, F_OK) < 0 || is_polders(path, &empty) || empty)
		return 0;
	snprintf(message, size,
		 "--%s %s: nothing in it is Polder's; is that the directory polderd used?", option,
		 path);
	return -EINVAL;
}

static int check_pins(const char *path, char *message, size_t size)
{
	int r;

	if (!path || access(path, F_OK) < 0)
		return 0;
	r = bpffs_is(path);
	if (r < 0)
		snprintf(message, size, "--bpffs %s: cannot be inspected: %s", path, strerror(-r));
	else if (!r)
		snprintf(
			message, size,
			"--bpffs %s: not on a BPF file system; is that the directory polderd used?",
			path);
	return r < 0 ? r : r ? 0 : -EINVAL;
}

static int check_directories(const struct cleanup_options *options, char *message, size_t size)
{
	int r = check_directory("run-dir", options->run_dir, message, size);

	if (r == 0)
		r = check_directory("state-dir", options->state_dir, message, size);
	return r < 0 ? r : check_pins(options->bpffs, message, size);
}

/* Held while we work: no agent starts in between. -EBUSY: one runs. */
static int lock_run_dir(const struct cleanup_options *options, int *ret_fd, char *message,
			size_t size)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", options->run_dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	*ret_fd = fd;
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0 || options->force)
		return 0;
	snprintf(message, size,
		 "polderd is running (%s is locked): stop and disable it first, or use --force",
		 path);
	return -EBUSY;
}

static int check_pods(const struct cleanup_options *options, size_t links, char *message,
		      size_t size)
{
	if (links == 0 || options->force || options->dry_run)
		return 0;
	snprintf(message, size,
		 "%zu links of pods are there, and would lose their network: delete the containers "
		 "first, or use --force",
		 links);
	return -EBUSY;
}

int cleanup_run(const struct cleanup_options *options, cleanup_listener listener, void *data,
		char *message, size_t size)
{
	struct slow_path work = {.options = options, .listener = listener, .data = data};
	CLEANUP(cleanup_close) int lock = -1;
	struct remain *list = NULL;
	struct netlink *nl = NULL;
	size_t count = 0;
	int r = check_directories(options, message, size);

	if (r == 0 && !options->dry_run)
		r = lock_run_dir(options, &lock, message, size);
	if (r < 0)
		return r;
	r = netlink_open(-1, &nl);
	if (r == 0)
		r = netlink_remains_list(nl, &list, &count);
	if (r < 0)
		snprintf(message, size, "links, rules and routes cannot be listed: %s",
			 strerror(-r));
	else
		r = check_pods(options, count_links(list, count), message, size);
	if (r == 0) {
		take_configs(&work, options->cni_config_dir);
		take_remains(&work, nl, list, count);
		if (options->bpffs && access(options->bpffs, F_OK) == 0)
			take_tree(&work, options->bpffs, true, 0);
		if (options->run_dir && access(options->run_dir, F_OK) == 0)
			take_tree(&work, options->run_dir, false, 0);
		if (options->state_dir && access(options->state_dir, F_OK) == 0)
			take_tree(&work, options->state_dir, false, 0);
		take_plugin(&work, options->cni_bin_dir);
		r = work.result;
	}
	netlink_remains_free(list, count);
	netlink_close(nl);
	return r;
}
