/* SPDX-License-Identifier: Apache-2.0 */
/* The programs that note which process opened what (datapath/processes.bpf.c, execs.bpf.c):
 * attached while that is wanted, and what they have noted. */
#pragma once

#include "agent/kernel/datapath.h"
#include "datapath/processes.h"

/*
 * Attaches the programs to the configured cgroup, or takes them away with their maps. Idempotent;
 * what was noted while an earlier agent ran is taken over. Without the program that notes program
 * files, which a kernel may refuse, the others do. 0 or -errno with `message`.
 */
int processes_want(struct datapath *datapath, bool wanted, char *message, size_t size);
/* Are they attached? */
bool processes_are_on(const struct datapath *datapath);
/* Why program files are not noted; "": they are, or nothing is. */
const char *processes_note(const struct datapath *datapath);

/* One end of a packet, as its socket has it. */
struct process_end {
	uint64_t netns; /* cookie */
	uint8_t proto;
	struct polder_addr local, remote;
	uint16_t local_port_be, remote_port_be;
};
/* The process of a socket there; the one that listens, where the connection was accepted. False:
 * none was noted. */
bool processes_find(const struct datapath *datapath, const struct process_end *end,
		    struct process_note *ret);
/* TCP sockets that listen, or did: the newest at each place. Of one that was not seen to be bound
 * the note is without a process. 0 or -errno: some may be left out. */
int processes_listeners(const struct datapath *datapath,
			void (*visit)(const struct process_key *key,
				      const struct process_note *note, void *arg),
			void *arg);
/* The program file of a process at the time of the note: the one it began last. 0; -ENOENT: nobody
 * saw it begin; -ESTALE: it has begun another one since. */
int processes_executable(const struct datapath *datapath, const struct process_note *note,
			 char path[PROCESS_PATH]);
/* The cookie of the node's own network namespace. */
uint64_t processes_node_netns(const struct datapath *datapath);
/* Below which cgroup they are noted; NULL: none. */
const char *processes_cgroup(const struct datapath *datapath);
