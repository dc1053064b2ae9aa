/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/optional_programs.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/datapath_internal.h"

#define MAPS_MOST     64 /* of one program */
#define PROGRAMS_MOST 8

/* Each one's pin has its name. */
struct optional_program {
	const char *name;
	enum bpf_attach_type type; /* at the cgroup, */
	const char *tracepoint;	   /* or this one, where it is given */
};

static const struct {
	struct optional_program programs[PROGRAMS_MOST];
} objects[DATAPATH_HOOKS] = {
	[DATAPATH_LATENCY] = {{{"latency", BPF_CGROUP_SOCK_OPS}}},
	[DATAPATH_PROCESSES] = {{
		{"process_egress", BPF_CGROUP_INET_EGRESS},
		{"process_tcp", BPF_CGROUP_SOCK_OPS},
		{"process_bind4", BPF_CGROUP_INET4_POST_BIND},
		{"process_bind6", BPF_CGROUP_INET6_POST_BIND},
		{"process_connect4", BPF_CGROUP_INET4_CONNECT},
		{"process_connect6", BPF_CGROUP_INET6_CONNECT},
		{"process_sendmsg4", BPF_CGROUP_UDP4_SENDMSG},
		{"process_sendmsg6", BPF_CGROUP_UDP6_SENDMSG},
	}},
	[DATAPATH_EXECS] = {{
		{"process_fork", .tracepoint = "sched_process_fork"},
		{"process_exec", .tracepoint = "sched_process_exec"},
	}},
};

static const struct optional_program *programs_of(enum datapath_hook hook)
{
	return objects[hook].programs;
}

static bool is_last(enum datapath_hook hook, size_t i)
{
	return i == PROGRAMS_MOST || !programs_of(hook)[i].name;
}

/* ---------------------------------------------------------------- on */

static int attach_to_cgroup(struct datapath *d, const struct optional_program *program, int fd,
			    int cgroup, char *message, size_t size)
{
	const struct link_place where = {.target = cgroup, .type = program->type};
	int r = pinned_links_put(d->links, program->name, &where, fd);

	if (r < 0)
		snprintf(message, size, "program %s: cannot be attached to %s: %s", program->name,
			 d->options.cgroup, strerror(-r));
	return r;
}

/* Its links cannot be given another program. */
static int attach_to_tracepoint(struct datapath *d, const struct optional_program *program, int fd,
				char *message, size_t size)
{
	struct bpf_link_info info;
	uint32_t id;
	int r = datapath_id_of(fd, &id), link;

	if (r == 0 && pinned_links_info(d->links, program->name, &info) == 0 && info.prog_id == id)
		return 0;
	pinned_links_drop(d->links, program->name);
	link = r < 0 ? r : bpf_raw_tracepoint_open(program->tracepoint, fd);
	if (r == 0)
		r = link < 0 ? -errno : pinned_links_take(d->links, program->name, link);
	if (r < 0)
		snprintf(message, size, "program %s: cannot be attached to the tracepoint %s: %s",
			 program->name, program->tracepoint, strerror(-r));
	return r;
}

static int attach_program(struct datapath *d, enum datapath_hook hook,
			  const struct optional_program *program, int cgroup, char *message,
			  size_t size)
{
	int fd = datapath_fd_of(d, hook, program->name);

	return program->tracepoint ? attach_to_tracepoint(d, program, fd, message, size)
				   : attach_to_cgroup(d, program, fd, cgroup, message, size);
}

static int attach(struct datapath *d, enum datapath_hook hook, char *message, size_t size)
{
	CLEANUP(cleanup_close) int cgroup = -1;
	int r;

	cgroup = open(d->options.cgroup, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (cgroup < 0) {
		r = -errno;
		snprintf(message, size, "--cgroup %s: %s", d->options.cgroup, strerror(-r));
		return r;
	}
	r = datapath_need(d, hook, message, size);
	for (size_t i = 0; !is_last(hook, i) && r == 0; i++)
		r = attach_program(d, hook, &programs_of(hook)[i], cgroup, message, size);
	return r;
}

/* ---------------------------------------------------------------- off */

/* Its number is another one's later. */
static void forget_own(struct datapath *d, int program)
{
	uint32_t id;

	if (datapath_id_of(program, &id) < 0)
		return;
	for (size_t i = 0; i < d->own_count; i++)
		if (d->own[i] == id)
			d->own[i--] = d->own[--d->own_count];
}

static void drop_links(struct datapath *d, enum datapath_hook hook)
{
	for (size_t i = 0; !is_last(hook, i); i++)
		pinned_links_drop(d->links, programs_of(hook)[i].name);
}

/* With the programs' last user their maps go. */
static void detach(struct datapath *d, enum datapath_hook hook)
{
	int program;

	drop_links(d, hook);
	if (!d->objects[hook])
		return;
	for (size_t i = 0; loaded_object_each(d->objects[hook], i, &program); i++)
		forget_own(d, program);
	loaded_object_free(d->objects[hook]);
	d->objects[hook] = NULL;
}

/* Nobody reads what they note; an earlier agent may have left them. */
static void switch_off(struct datapath *d, enum datapath_hook hook)
{
	if (d->optional[hook] != OPTIONAL_OFF || d->objects[hook])
		detach(d, hook);
	d->optional[hook] = OPTIONAL_OFF;
}

static int switch_on(struct datapath *d, enum datapath_hook hook, char *message, size_t size)
{
	int r = attach(d, hook, message, size);

	if (r == 0) {
		d->optional[hook] = OPTIONAL_ON;
	} else if (r == -ENOENT || d->refused[hook]) {
		switch_off(d, hook);
	} else if (!cause_may_pass(r)) {
		/* Some of them alone would cost and tell nothing; what is loaded is tried again. */
		drop_links(d, hook);
		d->optional[hook] = OPTIONAL_UNKNOWN;
	}
	return r;
}

int optional_programs_want(struct datapath *d, enum datapath_hook hook, bool wanted, char *message,
			   size_t size)
{
	if (wanted && d->options.cgroup)
		return switch_on(d, hook, message, size);
	switch_off(d, hook);
	if (!wanted)
		return 0;
	snprintf(message, size, "no cgroup2 found; set --cgroup");
	return -ENOENT;
}

bool optional_programs_are_on(const struct datapath *d, enum datapath_hook hook)
{
	return d->optional[hook] == OPTIONAL_ON;
}

/* ---------------------------------------------------------------- an earlier agent's maps */

/* The map of that name and shape among those of the program; -ENOENT: none. */
static int map_of_program(int program, const struct bpf_map *like)
{
	uint32_t ids[MAPS_MOST], length = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MOST, .map_ids = (uintptr_t)ids};

	if (bpf_obj_get_info_by_fd(program, &info, &length) < 0)
		return -errno;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MOST; i++) {
		struct bpf_map_info map = {};
		int fd = bpf_map_get_fd_by_id(ids[i]);

		length = sizeof(map);
		if (fd < 0)
			continue;
		if (bpf_obj_get_info_by_fd(fd, &map, &length) == 0 &&
		    strcmp(map.name, bpf_map__name(like)) == 0 && map.type == bpf_map__type(like) &&
		    map.key_size == bpf_map__key_size(like) &&
		    map.value_size == bpf_map__value_size(like) &&
		    map.max_entries == bpf_map__max_entries(like))
			return fd;
		close(fd);
	}
	return -ENOENT;
}

/* Of a link's program; -errno: there is none. */
static int map_of_link(struct datapath *d, const char *link, const struct bpf_map *like)
{
	CLEANUP(cleanup_close) int program = -1;
	struct bpf_link_info info;
	int r = pinned_links_info(d->links, link, &info);

	if (r < 0)
		return r;
	program = bpf_prog_get_fd_by_id(info.prog_id);
	return program < 0 ? -errno : map_of_program(program, like);
}

int optional_programs_inherit(struct datapath *d, enum datapath_hook hook, struct bpf_map *map)
{
	if (!d->links)
		return 0;
	/* Not every program uses every map. */
	for (size_t i = 0; !is_last(hook, i); i++) {
		CLEANUP(cleanup_close)
		int fd = map_of_link(d, programs_of(hook)[i].name, map);

		if (fd >= 0)
			return bpf_map__reuse_fd(map, fd);
	}
	return 0;
}
