/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/processes.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/datapath_internal.h"
#include "agent/kernel/optional_programs.h"

#define BATCH 256

int processes_want(struct datapath *d, bool wanted, char *message, size_t size)
{
	int r = optional_programs_want(d, DATAPATH_PROCESSES, wanted, message, size);

	d->execs_note[0] = '\0';
	(void)optional_programs_want(d, DATAPATH_EXECS, wanted && r == 0, d->execs_note,
				     sizeof(d->execs_note));
	return r;
}

bool processes_are_on(const struct datapath *d)
{
	return optional_programs_are_on(d, DATAPATH_PROCESSES);
}

const char *processes_note(const struct datapath *d)
{
	return d->execs_note;
}

static bool find(const struct datapath *d, const char *map, const struct process_key *key,
		 struct process_note *ret)
{
	int fd = datapath_map_fd(d, DATAPATH_PROCESSES, map);

	return fd >= 0 && bpf_map_lookup_elem(fd, key, ret) == 0;
}

/* By the port: of its own address or of all of them, whoever came last. The other has ended: a port
 * is seldom given twice. */
static bool find_port(const struct datapath *d, const char *map, const struct process_end *end,
		      struct process_note *ret)
{
	struct process_note own, all;
	struct process_key key = {
		.netns = end->netns,
		.local = end->local,
		.local_port_be = end->local_port_be,
		.proto = end->proto,
	};
	bool has_own = find(d, map, &key, &own), has_all;

	memset(&key.local, 0, sizeof(key.local));
	has_all = find(d, map, &key, &all);
	if (!has_own && !has_all)
		return false;
	*ret = !has_all || (has_own && own.since_ns > all.since_ns) ? own : all;
	return true;
}

bool processes_find(const struct datapath *d, const struct process_end *end,
		    struct process_note *ret)
{
	struct process_key key = {
		.netns = end->netns,
		.local = end->local,
		.remote = end->remote,
		.local_port_be = end->local_port_be,
		.remote_port_be = end->remote_port_be,
		.proto = end->proto,
	};

	if (!processes_are_on(d))
		return false;
	if (end->proto == IPPROTO_UDP)
		return find_port(d, "process_flows", end, ret);
	if (end->proto != IPPROTO_TCP)
		return false;
	return find(d, "process_flows", &key, ret) ||
	       (find_port(d, "process_ports", end, ret) && ret->pid);
}

struct batch {
	struct process_key keys[BATCH];
	struct process_note notes[BATCH];
};

int processes_listeners(const struct datapath *d,
			void (*visit)(const struct process_key *key,
				      const struct process_note *note, void *arg),
			void *arg)
{
	CLEANUP(cleanup_free) struct batch *batch = NULL;
	int fd = datapath_map_fd(d, DATAPATH_PROCESSES, "process_ports"), r = 0;
	uint32_t at = 0;

	if (fd < 0 || !processes_are_on(d))
		return 0;
	batch = malloc(sizeof(*batch));
	if (!batch)
		return -ENOMEM;
	for (bool first = true; r == 0; first = false) {
		uint32_t got = BATCH;

		if (bpf_map_lookup_batch(fd, first ? NULL : &at, &at, batch->keys, batch->notes,
					 &got, NULL) < 0)
			r = -errno;
		for (uint32_t i = 0; (r == 0 || r == -ENOENT) && i < got; i++)
			visit(&batch->keys[i], &batch->notes[i], arg);
	}
	return r == -ENOENT ? 0 : r;
}

int processes_executable(const struct datapath *d, const struct process_note *note,
			 char path[PROCESS_PATH])
{
	int fd = datapath_map_fd(d, DATAPATH_EXECS, "process_execs");
	struct process_exec exec;

	if (fd < 0 || bpf_map_lookup_elem(fd, &note->pid, &exec) < 0)
		return -ENOENT;
	if (exec.since_ns > note->since_ns)
		return -ESTALE;
	snprintf(path, PROCESS_PATH, "%.*s", PROCESS_PATH - 1, exec.path);
	return 0;
}

uint64_t processes_node_netns(const struct datapath *d)
{
	return d->constants.netns_cookie;
}

const char *processes_cgroup(const struct datapath *d)
{
	return d->options.cgroup;
}
