/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/other_programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/common/array.h"
#include "agent/common/cleanup.h"

/* Newer than the headers of Debian 12 (Linux 6.6). */
#define TCX_INGRESS 46
#define TCX_EGRESS  47

#define PROGRAMS_MAX 64 /* of a hook: the kernel takes no more */
#define FILTERS_MAX  32 /* of a link's direction; what is beyond is not told */
#define DEPTH_MAX    64 /* of cgroups */

const char *const program_order_names[] = {
	[ORDER_BEFORE] = "before", [ORDER_BEHIND] = "behind", [ORDER_INSTEAD] = "instead"};

static bool is_own(const struct own_programs *own, uint32_t id)
{
	for (size_t i = 0; i < own->count; i++)
		if (own->ids[i] == id)
			return true;
	return false;
}

/* Of a program that has gone meanwhile its number is all that is known. */
static void describe(uint32_t id, struct other_program *ret)
{
	CLEANUP(cleanup_close) int fd = id ? bpf_prog_get_fd_by_id(id) : -1;
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);

	ret->id = id;
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		return;
	snprintf(ret->name, sizeof(ret->name), "%.*s", (int)sizeof(info.name), info.name);
	for (size_t i = 0; i < sizeof(info.tag); i++)
		snprintf(ret->tag + 2 * i, 3, "%02x", info.tag[i]);
	ret->uid = info.created_by_uid;
}

const char *other_program_text(const struct other_program *program, char text[OTHER_PROGRAM_TEXT])
{
	if (!program->id)
		snprintf(text, OTHER_PROGRAM_TEXT, "a filter of kind %s", program->name);
	else
		snprintf(text, OTHER_PROGRAM_TEXT, "program %s (id %u, tag %s, loaded by user %u)",
			 program->name[0] ? program->name : "without a name", program->id,
			 program->tag, program->uid);
	return text;
}

static int add(struct other_programs *list, const struct other_program *program)
{
	struct other_program *grown = reallocarray(list->items, list->count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->items = grown;
	list->items[list->count++] = *program;
	return 0;
}

/*
 * A hook's programs in the order in which they run. `like` says where; those behind ours are
 * behind it. `absent`: what they are if ours is not among them.
 */
static int add_in_order(const struct own_programs *own, const uint32_t *ids, size_t count,
			const struct other_program *like, enum program_order absent,
			struct other_programs *list)
{
	bool ours = false, behind = false;
	int r = 0;

	for (size_t i = 0; i < count; i++)
		ours |= is_own(own, ids[i]);
	for (size_t i = 0; i < count && r == 0; i++) {
		struct other_program program = *like;

		if (is_own(own, ids[i])) {
			behind = true;
			continue;
		}
		program.order = !ours ? absent : behind ? ORDER_BEHIND : ORDER_BEFORE;
		describe(ids[i], &program);
		r = add(list, &program);
	}
	return r;
}

/* ---------------------------------------------------------------- links */

static int add_xdp(const struct own_programs *own, int ifindex, struct other_program like,
		   struct other_programs *list)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	uint32_t ids[3], count = 0;

	if (bpf_xdp_query(ifindex, 0, &query) < 0)
		return 0;
	like.hook = "xdp";
	/* In hardware it is the first. */
	if (query.hw_prog_id)
		ids[count++] = query.hw_prog_id;
	if (query.drv_prog_id)
		ids[count++] = query.drv_prog_id;
	if (query.skb_prog_id)
		ids[count++] = query.skb_prog_id;
	return add_in_order(own, ids, count, &like, ORDER_INSTEAD, list);
}

/* tcx runs in front of clsact. */
static int add_tcx(const struct own_programs *own, int ifindex, bool egress,
		   const struct other_program *like, struct other_programs *list)
{
	uint32_t ids[PROGRAMS_MAX] = {}, count = PROGRAMS_MAX;

	if (bpf_prog_query(ifindex, egress ? TCX_EGRESS : TCX_INGRESS, 0, NULL, ids, &count) < 0)
		return 0;
	return add_in_order(own, ids, count < PROGRAMS_MAX ? count : PROGRAMS_MAX, like,
			    own->tcx ? ORDER_INSTEAD : ORDER_BEFORE, list);
}

/* Filters of one direction, in the order in which they run. */
static int add_filters(struct netlink *nl, const struct own_programs *own, int ifindex, bool egress,
		       const struct other_program *like, struct other_programs *list)
{
	struct clsact_filter filters[FILTERS_MAX];
	size_t count = 0;
	bool behind = own->tcx;
	int r = netlink_clsact_list(nl, ifindex, egress, filters, FILTERS_MAX, &count);

	if (r < 0)
		return r == -ENODEV ? 0 : r;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct other_program program = *like;

		if (filters[i].ours) {
			behind = true;
			continue;
		}
		program.order = behind ? ORDER_BEHIND : ORDER_BEFORE;
		describe(filters[i].prog_id, &program);
		if (!program.name[0])
			snprintf(program.name, sizeof(program.name), "%.15s", filters[i].kind);
		r = add(list, &program);
	}
	return r;
}

int other_programs_of_link(struct netlink *nl, const struct own_programs *own, int ifindex,
			   const char *name, struct other_programs *list)
{
	struct other_program like = {};
	int r;

	snprintf(like.at, sizeof(like.at), "%s", name);
	r = add_xdp(own, ifindex, like, list);
	for (int egress = 0; egress < 2 && r == 0; egress++) {
		like.hook = egress ? "tc egress" : "tc ingress";
		r = add_tcx(own, ifindex, egress, &like, list);
		if (r == 0)
			r = add_filters(nl, own, ifindex, egress, &like, list);
	}
	return r;
}

/* ---------------------------------------------------------------- cgroups */

static bool is_cgroup2(const char *directory)
{
	struct statfs status;

	return statfs(directory, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
}

/* Cuts the last name off; false: there is nothing above. */
static bool go_up(char *directory)
{
	char *slash = strrchr(directory, '/');

	while (slash && slash > directory && !slash[1]) {
		*slash = '\0';
		slash = strrchr(directory, '/');
	}
	if (!slash || slash == directory)
		return false;
	*slash = '\0';
	return true;
}

bool cgroup_is_below(const char *directory)
{
	char path[PATH_MAX];

	return realpath(directory, path) && go_up(path) && is_cgroup2(path);
}

/* Of a path that is too long its end. */
static void copy_end(char at[OTHER_PROGRAM_AT], const char *path)
{
	const size_t room = OTHER_PROGRAM_AT - 1, length = strlen(path);

	memcpy(at, length > room ? path + (length - room) : path,
	       (length > room ? room : length) + 1);
}

static bool has_own(const struct own_programs *own, const uint32_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_own(own, ids[i]))
			return true;
	return false;
}

int other_programs_of_cgroup(const struct own_programs *own, const char *directory, int type,
			     const char *hook, struct other_programs *list)
{
	char path[PATH_MAX];
	enum program_order absent = ORDER_INSTEAD;
	int r = realpath(directory, path) ? 0 : -errno;

	for (int depth = 0; r == 0 && depth < DEPTH_MAX && is_cgroup2(path); depth++) {
		CLEANUP(cleanup_close) int fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
		uint32_t ids[PROGRAMS_MAX] = {}, count = PROGRAMS_MAX, flags = 0;
		struct other_program like = {.hook = hook};

		if (fd < 0 ||
		    bpf_prog_query(fd, (enum bpf_attach_type)type, 0, &flags, ids, &count) < 0)
			count = 0;
		count = count < PROGRAMS_MAX ? count : PROGRAMS_MAX;
		copy_end(like.at, path);
		like.exclusive = count && !(flags & BPF_F_ALLOW_MULTI);
		r = add_in_order(own, ids, count, &like, absent, list);
		/* Those of the cgroups above run behind. */
		if (has_own(own, ids, count))
			absent = ORDER_BEHIND;
		if (!go_up(path))
			break;
	}
	return r;
}
