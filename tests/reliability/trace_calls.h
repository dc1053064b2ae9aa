/* SPDX-License-Identifier: Apache-2.0 */
/* What a stopped system call is about: read from the memory and the descriptors of its process. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct call {
	uint64_t number; /* of the machine's table */
	uint64_t args[6];
};

/* Bytes that were read or written; less than `size` where the memory ends, or negative errno. */
ssize_t memory_read(pid_t pid, uint64_t from, void *to, size_t size);
ssize_t memory_write(pid_t pid, uint64_t to, const void *from, size_t size);

/* The request's nlmsg_type if the call sends one to a netlink socket, else 0. */
uint16_t call_netlink_type(pid_t pid, const struct call *call);
/* The address of the first netlink message that the call sends or has received; 0: none. */
uint64_t call_netlink_message(pid_t pid, const struct call *call);
/* Paths, descriptors and maps of the call, in words, without spaces; "" if it has none. */
void call_describe(pid_t pid, const struct call *call, char *ret, size_t size);
