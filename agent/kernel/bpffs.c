/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/bpffs.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

int bpffs_is(const char *path)
{
	struct statfs fs;
	int r;

	do {
		r = statfs(path, &fs) < 0 ? -errno : 0;
	} while (r == -EINTR);
	return r < 0 ? r : (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* mkdir -p, mode 0700 for what is made. */
static int make_directories(const char *path)
{
	char part[256];
	size_t i;

	if (strlen(path) >= sizeof(part))
		return -ENAMETOOLONG;
	for (i = 1; path[i - 1]; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return -errno;
		if (!path[i])
			break;
	}
	return 0;
}

int bpffs_find(const char *directory)
{
	char parent[256];

	snprintf(parent, sizeof(parent), "%s", directory);
	while (strlen(parent) > 1 && access(parent, F_OK) < 0 && errno == ENOENT)
		*strrchr(parent, '/') = '\0';
	return bpffs_is(parent);
}

/* Pins need a bpffs: mounted where it belongs if nobody has done so. */
int bpffs_prepare(const char *directory, char *message, size_t size)
{
	static const char system_bpffs[] = "/sys/fs/bpf";
	const char *where = directory;
	int r = bpffs_find(directory);

	/* Another one mounted over it would hide the pins that are there. */
	if (r < 0)
		goto failed;
	if (!r) {
		if (strncmp(directory, system_bpffs, strlen(system_bpffs)) == 0)
			where = system_bpffs;
		else if ((r = make_directories(directory)) < 0)
			goto failed;
		if (mount("bpf", where, "bpf", 0, "mode=0700") < 0) {
			r = -errno;
			goto failed;
		}
	}
	r = make_directories(directory);
	if (r == 0)
		return 0;
failed:
	snprintf(message, size,
		 "%s: cannot create a directory for pins on a bpffs: %s; mount one (mount -t bpf "
		 "bpf %s) or set --bpffs",
		 directory, strerror(-r), system_bpffs);
	return r;
}
