/* SPDX-License-Identifier: Apache-2.0 */
/* Lists the loaded BPF programs with what the verifier had to look at: one line for each, for the
 * kernel matrix. */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Static and without libbpf: it runs in a guest that has nothing but this file and the programs. */
static int bpf(int command, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

static int print_program(uint32_t id)
{
	union bpf_attr attr = {.prog_id = id};
	struct bpf_prog_info info;
	int fd = bpf(BPF_PROG_GET_FD_BY_ID, &attr);
	int r;

	if (fd < 0)
		return fd;
	memset(&attr, 0, sizeof(attr));
	memset(&info, 0, sizeof(info));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	r = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	close(fd);
	if (r < 0)
		return r;
	printf("PROGRAM %s type %u verified %u instructions %u bytes %u\n", info.name, info.type,
	       info.verified_insns, info.xlated_prog_len / 8, info.jited_prog_len);
	return 0;
}

int main(void)
{
	uint32_t id = 0;

	for (;;) {
		union bpf_attr attr = {.start_id = id};
		int r = bpf(BPF_PROG_GET_NEXT_ID, &attr);

		if (r == -ENOENT)
			return 0;
		if (r < 0) {
			fprintf(stderr, "programs: the kernel does not list its BPF programs: %s\n",
				strerror(-r));
			return 1;
		}
		id = attr.next_id;
		r = print_program(id);
		if (r < 0 && r != -ENOENT) {
			fprintf(stderr, "programs: program %u: %s\n", id, strerror(-r));
			return 1;
		}
	}
}
