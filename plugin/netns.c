/* SPDX-License-Identifier: Apache-2.0 */
/* The container's network namespace. */
#include "plugin/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cni_code.h"
#include "plugin/text.h"

static bool is_our_own(int fd)
{
	struct stat theirs, ours;

	return !fstat(fd, &theirs) && !stat("/proc/self/ns/net", &ours) &&
	       theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/* What a file that is no namespace says to the question which kind it is of. */
static bool is_refusal(int error)
{
	return error == ENOTTY || error == EINVAL || error == EOPNOTSUPP || error == ENODEV;
}

int netns_open(const char *path, const char *what, int *ret_fd, struct error *ret_failure)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), type;
	char quoted[TEXT_QUOTE_MAX];

	text_quote(path, quoted);
	if (fd < 0)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "%s \"%s\" cannot be opened: %s", what, quoted, strerror(errno));
	type = ioctl(fd, NS_GET_NSTYPE);
	if (type < 0 && !is_refusal(errno))
		error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN, "%s \"%s\" cannot be inspected: %s",
			  what, quoted, strerror(errno));
	else if (type != CLONE_NEWNET)
		error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
			  "%s \"%s\" is not a network namespace", what, quoted);
	else if (is_our_own(fd))
		error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
			  "%s \"%s\" is the node's own network namespace", what, quoted);
	else {
		*ret_fd = fd;
		return 0;
	}
	close(fd);
	return -EINVAL;
}
