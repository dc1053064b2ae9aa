/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which process opened what: notes of sockets by their ends, shared with user space. */
#pragma once

#include "abi.h"

#define PROCESS_SOCKETS 65536 /* that have no known tuple yet */
#define PROCESS_FLOWS	65536
#define PROCESS_PORTS	16384
#define PROCESS_EXECS	8192
#define PROCESS_COMM	16  /* with a zero at the end, as the kernel has it */
#define PROCESS_PATH	248 /* the same; a longer one is cut off */

/*
 * Whose a socket's end is. Ports mean nothing without the network namespace, in which whoever may
 * make namespaces gives himself any address.
 *
 * Map `process_flows`, LRU: a TCP connection as its client has it, or a UDP socket by its port
 * (`remote` and `remote_port_be` are 0). Map `process_ports`, LRU: a TCP socket that listens, by
 * its port. `local` is all 0 where the socket is at all addresses, or its address is not known.
 */
struct process_key {
	__u64 netns; /* cookie */
	struct polder_addr local;
	struct polder_addr remote;
	__be16 local_port_be;
	__be16 remote_port_be;
	__u8 proto;
	__u8 pad[3];
};
ABI_SIZE(struct process_key, 48);

/* The process at the moment when it connected, bound or sent. */
struct process_note {
	__u64 socket;	/* cookie */
	__u64 netns;	/* cookie */
	__u64 since_ns; /* since boot, sleep included: processes' start times are told by that clock
			 */
	__u64 cgroup;	/* number in the cgroup2 hierarchy */
	__u32 pid; /* of the process, not of the thread; of the node's first PID namespace. 0: of
		      one that listens nobody knows who bound it */
	__u32 uid; /* of the node's first user namespace, as gid */
	__u32 gid;
	__u32 pad;
	char comm[PROCESS_COMM]; /* of the thread; whatever the process wants to be called */
};
ABI_SIZE(struct process_note, 64);

/* Map `process_execs`, LRU, by process: the program file it began last. */
struct process_exec {
	__u64 since_ns; /* as above */
	char path[PROCESS_PATH];
};
ABI_SIZE(struct process_exec, 256);
