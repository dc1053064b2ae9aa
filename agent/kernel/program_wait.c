/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/program_wait.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/mount.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

void program_wait_open(struct program_wait *ret)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);

	*ret = (struct program_wait){.outer = -1, .inner = -1, .unmounts = false};
	ret->inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "wait_inner", 4, 4, 1, NULL);
	if (ret->inner < 0)
		return;
	opts.inner_map_fd = ret->inner;
	ret->outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "wait_outer", 4, 4, 1, &opts);
}

void program_wait_close(struct program_wait *wait)
{
	if (wait->outer >= 0)
		close(wait->outer);
	if (wait->inner >= 0)
		close(wait->inner);
	wait->outer = wait->inner = -1;
}

/* A copy of the root's mount, which is in no namespace: it ends with its descriptor, unseen. */
static int unmount(void)
{
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int program_wait_prove(struct program_wait *wait)
{
	int r = program_wait_is_true(unmount);

	if (r == 0)
		atomic_store(&wait->unmounts, true);
	return r;
}

int program_wait_by(const struct program_wait *wait, enum program_wait_method method)
{
	const uint32_t zero = 0;

	if (method == PROGRAM_WAIT_UNMOUNT)
		return atomic_load(&wait->unmounts) ? unmount() : -EOPNOTSUPP;
	if (method == PROGRAM_WAIT_MEMBARRIER)
		return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0 ? -errno : 0;
	if (wait->outer < 0)
		return -EOPNOTSUPP;
	/* That the element is the same does not matter: the kernel waits behind every update. */
	return bpf_map_update_elem(wait->outer, &zero, &wait->inner, BPF_ANY) < 0 ? -errno : 0;
}

int program_wait(const struct program_wait *wait)
{
	enum program_wait_method method;
	int r = -EOPNOTSUPP;

	for (method = 0; method < PROGRAM_WAIT_METHODS; method++) {
		r = program_wait_by(wait, method);
		if (r == 0)
			break;
	}
	return r;
}

enum program_wait_method program_wait_probe(const struct program_wait *wait)
{
	enum program_wait_method method = 0;

	while (method < PROGRAM_WAIT_METHODS && program_wait_by(wait, method) < 0)
		method++;
	return method;
}
