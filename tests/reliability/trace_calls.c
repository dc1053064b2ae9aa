/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/reliability/trace_calls.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t memory_read(pid_t pid, uint64_t from, void *to, size_t size)
{
	struct iovec here = {.iov_base = to, .iov_len = size};
	struct iovec there = {.iov_base = (void *)from, .iov_len = size};
	ssize_t got = process_vm_readv(pid, &here, 1, &there, 1, 0);

	return got < 0 ? -errno : got;
}

ssize_t memory_write(pid_t pid, uint64_t to, const void *from, size_t size)
{
	struct iovec here = {.iov_base = (void *)from, .iov_len = size};
	struct iovec there = {.iov_base = (void *)to, .iov_len = size};
	ssize_t put = process_vm_writev(pid, &here, 1, &there, 1, 0);

	return put < 0 ? -errno : put;
}

/* ------------------------------------------------------------------ netlink */

static bool is_netlink_address(pid_t pid, uint64_t address)
{
	uint16_t family = 0;

	return address && memory_read(pid, address, &family, sizeof(family)) == sizeof(family) &&
	       family == AF_NETLINK;
}

static uint64_t first_vector(pid_t pid, uint64_t message)
{
	struct msghdr header;
	struct iovec first;

	if (memory_read(pid, message, &header, sizeof(header)) != sizeof(header) ||
	    !header.msg_iovlen || !is_netlink_address(pid, (uint64_t)header.msg_name) ||
	    memory_read(pid, (uint64_t)header.msg_iov, &first, sizeof(first)) != sizeof(first))
		return 0;
	return (uint64_t)first.iov_base;
}

uint64_t call_netlink_message(pid_t pid, const struct call *call)
{
	switch (call->number) {
	case SYS_sendto:
	case SYS_recvfrom:
		return is_netlink_address(pid, call->args[4]) ? call->args[1] : 0;
	case SYS_sendmsg:
	case SYS_recvmsg:
		return first_vector(pid, call->args[1]);
	default:
		return 0;
	}
}

uint16_t call_netlink_type(pid_t pid, const struct call *call)
{
	struct nlmsghdr header;
	uint64_t at = 0;

	if (call->number == SYS_sendto || call->number == SYS_sendmsg)
		at = call_netlink_message(pid, call);
	if (!at || memory_read(pid, at, &header, sizeof(header)) != sizeof(header))
		return 0;
	return header.nlmsg_type;
}

/* ------------------------------------------------------------------ words */

struct words {
	char *text;
	size_t size, used;
};

static void add_word(struct words *words, const char *word)
{
	if (words->used && words->used + 1 < words->size)
		words->text[words->used++] = ',';
	for (; *word && words->used + 1 < words->size; word++)
		words->text[words->used++] = *word > ' ' && *word < 127 ? *word : '_';
	words->text[words->used] = '\0';
}

static void add_text_at(struct words *words, pid_t pid, uint64_t address)
{
	char text[512];
	ssize_t got = address ? memory_read(pid, address, text, sizeof(text) - 1) : 0;

	if (got <= 0) /* the text may stand at the end of what can be read */
		got = address ? memory_read(pid, address, text, 64) : 0;
	if (got <= 0)
		return;
	text[got] = '\0';
	add_word(words, text);
}

static pid_t process_of(pid_t thread)
{
	char path[64], line[128];
	pid_t found = thread;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", thread);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Tgid: %d", &found) == 1)
			break;
	if (file)
		fclose(file);
	return found;
}

static int take_descriptor(pid_t pid, int number)
{
	int process = (int)syscall(SYS_pidfd_open, process_of(pid), 0), taken;

	if (process < 0)
		return -errno;
	taken = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	close(process);
	return taken;
}

static void add_socket(struct words *words, pid_t pid, int number)
{
	int domain = 0, taken = take_descriptor(pid, number);
	socklen_t length = sizeof(domain);

	if (taken < 0)
		return;
	if (getsockopt(taken, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0)
		add_word(words, domain == AF_NETLINK ? "netlink"
				: domain == AF_UNIX  ? "unix"
						     : "inet");
	close(taken);
}

static void add_descriptor(struct words *words, pid_t pid, uint64_t number)
{
	char path[64], target[512];
	ssize_t length;

	if ((int)number < 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, (int)number);
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return;
	target[length] = '\0';
	if (strncmp(target, "socket:", 7) == 0)
		add_socket(words, pid, (int)number);
	else
		add_word(words, target);
}

static void add_map(struct words *words, pid_t pid, uint32_t number)
{
	struct bpf_map_info info = {};
	union bpf_attr attr = {};
	int map = take_descriptor(pid, (int)number);

	if (map < 0)
		return;
	attr.info.bpf_fd = (uint32_t)map;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uint64_t)&info;
	if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) == 0)
		add_word(words, info.name);
	close(map);
}

static void add_bpf(struct words *words, pid_t pid, const struct call *call)
{
	union bpf_attr attr = {};
	size_t size = call->args[2] < sizeof(attr) ? call->args[2] : sizeof(attr);

	if (memory_read(pid, call->args[1], &attr, size) < 0)
		return;
	switch (call->args[0]) {
	case BPF_MAP_CREATE:
		add_word(words, attr.map_name);
		break;
	case BPF_PROG_LOAD:
		add_word(words, attr.prog_name);
		break;
	case BPF_OBJ_PIN:
	case BPF_OBJ_GET:
		add_text_at(words, pid, attr.pathname);
		break;
	case BPF_MAP_LOOKUP_BATCH:
	case BPF_MAP_UPDATE_BATCH:
	case BPF_MAP_DELETE_BATCH:
		add_map(words, pid, attr.batch.map_fd);
		break;
	default:
		if (call->args[0] <= BPF_MAP_GET_NEXT_KEY || call->args[0] == BPF_MAP_FREEZE)
			add_map(words, pid, attr.map_fd);
	}
}

enum { PATH_0 = 1, PATH_1 = 2, PATH_3 = 4, FD_0 = 8, FD_2 = 16 };

static int kinds_of(uint64_t number)
{
	switch (number) {
	case SYS_open:
	case SYS_stat:
	case SYS_lstat:
	case SYS_access:
	case SYS_mkdir:
	case SYS_rmdir:
	case SYS_unlink:
	case SYS_readlink:
	case SYS_chmod:
	case SYS_statfs:
	case SYS_execve:
		return PATH_0;
	case SYS_rename:
	case SYS_link:
	case SYS_mount:
		return PATH_0 | PATH_1;
	case SYS_openat:
	case SYS_mkdirat:
	case SYS_unlinkat:
	case SYS_newfstatat:
	case SYS_faccessat:
	case SYS_faccessat2:
	case SYS_readlinkat:
	case SYS_statx:
	case SYS_inotify_add_watch:
		return FD_0 | PATH_1;
	case SYS_renameat:
	case SYS_renameat2:
		return FD_0 | PATH_1 | PATH_3;
	case SYS_read:
	case SYS_write:
	case SYS_pread64:
	case SYS_pwrite64:
	case SYS_readv:
	case SYS_writev:
	case SYS_close:
	case SYS_fstat:
	case SYS_lseek:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_ftruncate:
	case SYS_fchmod:
	case SYS_fcntl:
	case SYS_flock:
	case SYS_ioctl:
	case SYS_getdents64:
	case SYS_setns:
	case SYS_bind:
	case SYS_connect:
	case SYS_listen:
	case SYS_accept4:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_setsockopt:
	case SYS_getsockopt:
	case SYS_getsockname:
		return FD_0;
	case SYS_epoll_ctl:
		return FD_2;
	default:
		return 0;
	}
}

void call_describe(pid_t pid, const struct call *call, char *ret, size_t size)
{
	struct words words = {.text = ret, .size = size};
	int kinds = kinds_of(call->number);

	ret[0] = '\0';
	if (call->number == SYS_bpf)
		add_bpf(&words, pid, call);
	if (kinds & FD_0)
		add_descriptor(&words, pid, call->args[0]);
	if (kinds & FD_2)
		add_descriptor(&words, pid, call->args[2]);
	if (kinds & PATH_0)
		add_text_at(&words, pid, call->args[0]);
	if (kinds & PATH_1)
		add_text_at(&words, pid, call->args[1]);
	if (kinds & PATH_3)
		add_text_at(&words, pid, call->args[3]);
}
