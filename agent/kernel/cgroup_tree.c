/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/cgroup_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"

struct walk {
	void (*visit)(uint64_t id, const char *path, void *data);
	void *data;
	int root;
	char *paths[CGROUP_TREE_MOST]; /* of those that were visited, in their order */
	size_t count;
};

static void visit_child(struct walk *walk, const char *parent, const struct dirent *entry)
{
	char *path;

	if (walk->count == CGROUP_TREE_MOST || asprintf(&path, "%s/%s", parent, entry->d_name) < 0)
		return;
	walk->paths[walk->count++] = path;
	/* The number of its directory is its own. */
	walk->visit(entry->d_ino, path, walk->data);
}

/* One that has gone meanwhile has no children. */
static void visit_children(struct walk *walk, const char *parent)
{
	int fd = openat(walk->root, *parent ? parent + 1 : ".",
			O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			visit_child(walk, parent, entry);
	if (directory)
		closedir(directory);
	else if (fd >= 0)
		close(fd);
}

int cgroup_tree_walk(const char *root, void (*visit)(uint64_t id, const char *path, void *data),
		     void *data)
{
	CLEANUP(cleanup_close) int fd = open(root, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	CLEANUP(cleanup_free) struct walk *walk = NULL;
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	walk = calloc(1, sizeof(*walk));
	if (!walk)
		return -ENOMEM;
	walk->visit = visit;
	walk->data = data;
	walk->root = fd;
	visit(status.st_ino, "/", data);
	visit_children(walk, "");
	for (size_t i = 0; i < walk->count; i++) {
		visit_children(walk, walk->paths[i]);
		free(walk->paths[i]);
	}
	return 0;
}
