/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cleanup/install.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/cni_files.h"
#include "agent/kernel/bpffs.h"

int install_plugin(const char *directory, struct error *error)
{
	return cni_files_put_plugin(INSTALL_PLUGIN, directory, error);
}

static int enter(const char *mount_namespace, struct error *error)
{
	CLEANUP(cleanup_close) int fd = open(mount_namespace, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && setns(fd, CLONE_NEWNS) == 0)
		return 0;
	return error_set(error, -errno, errno,
			 "%s: the mount namespace cannot be entered: %s; that needs the "
			 "capabilities SYS_ADMIN, SYS_CHROOT and SYS_PTRACE",
			 mount_namespace, strerror(errno));
}

int install_bpffs(const char *directory, const char *mount_namespace, struct error *error)
{
	char message[256] = "";
	int r = mount_namespace ? enter(mount_namespace, error) : 0;

	if (r < 0)
		return r;
	r = bpffs_find(directory);
	if (r > 0)
		return 0;
	if (r == 0)
		r = bpffs_prepare(directory, message, sizeof(message));
	if (r < 0)
		return error_set(error, r, -r, "%s",
				 message[0] ? message : "the directory cannot be inspected");
	return 1;
}
