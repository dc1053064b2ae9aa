/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/datapath.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/datapath_internal.h"

/* Newer than the headers of Debian 12 (Linux 6.6). */
#define TCX_FIRST (1U << 3) /* BPF_F_BEFORE all */
#define TCX_LAST  (1U << 4) /* BPF_F_AFTER all */

#define LINK_NAME_SIZE 40 /* a program's name, '-', a link's number */

/* TC programs. Those that stand behind run when those before them are gone. */
struct tc_program {
	const char *name;
	enum datapath_hook hook;
	bool egress, behind;
};

static const struct tc_program pod_programs[] = {
	{"from_pod", DATAPATH_FROM_POD, false, false},
	{"to_pod", DATAPATH_TO_POD, true, false},
	{"closed_from_pod", DATAPATH_CLOSED, false, true},
	{"closed_to_pod", DATAPATH_CLOSED, true, true},
};

static const struct tc_program tunnel_programs[] = {
	{"closed_from_tunnel", DATAPATH_CLOSED, false, true},
	{"closed_to_tunnel", DATAPATH_CLOSED, true, true},
	{"from_tunnel", DATAPATH_FROM_TUNNEL, false, false},
	{"to_tunnel", DATAPATH_TO_TUNNEL, true, false},
};

static const struct tc_program wire_programs[] = {
	{"from_wire", DATAPATH_FROM_WIRE, false, false},
	{"to_wire", DATAPATH_TO_WIRE, true, false},
};

static const struct {
	const char *program;
	enum bpf_attach_type type;
} socket_hooks[] = {
	{"socket_release", BPF_CGROUP_INET_SOCK_RELEASE},
	{"socket_connect4", BPF_CGROUP_INET4_CONNECT},
	{"socket_connect6", BPF_CGROUP_INET6_CONNECT},
	{"socket_sendmsg4", BPF_CGROUP_UDP4_SENDMSG},
	{"socket_sendmsg6", BPF_CGROUP_UDP6_SENDMSG},
	{"socket_recvmsg4", BPF_CGROUP_UDP4_RECVMSG},
	{"socket_recvmsg6", BPF_CGROUP_UDP6_RECVMSG},
	{"socket_getpeername4", BPF_CGROUP_INET4_GETPEERNAME},
	{"socket_getpeername6", BPF_CGROUP_INET6_GETPEERNAME},
};

/* The pin's name. */
static const char *link_name(const char *kind, int ifindex, char name[LINK_NAME_SIZE])
{
	snprintf(name, LINK_NAME_SIZE, "%s-%d", kind, ifindex);
	return name;
}

static struct link_place tcx_place(int ifindex, const struct tc_program *program)
{
	return (struct link_place){.target = ifindex,
				   .type = program->egress ? TCX_EGRESS : TCX_INGRESS,
				   .flags = program->behind ? TCX_LAST : TCX_FIRST};
}

/* One program of a link, by tcx or clsact; what the other way left behind goes afterwards. */
static int attach_tc(struct datapath *d, int ifindex, const struct tc_program *program)
{
	enum clsact_position position = program->behind ? CLSACT_BEHIND : CLSACT_FIRST;
	int prog = datapath_fd_in_force(d, program->hook, program->name), r;
	const struct link_place where = tcx_place(ifindex, program);
	uint32_t other = 0;
	char name[LINK_NAME_SIZE];

	link_name(program->name, ifindex, name);
	if (!d->features.tcx) {
		r = netlink_clsact_attach(d->nl, ifindex, program->egress, position, prog,
					  program->name);
		if (r == 0)
			pinned_links_drop(d->links, name);
		return r;
	}
	r = pinned_links_put(d->links, name, &where, prog);
	if (r == 0 &&
	    netlink_clsact_query(d->nl, ifindex, program->egress, position, &other) == 0 && other)
		netlink_clsact_detach(d->nl, ifindex, program->egress, position);
	return r;
}

static int attach_failed(const struct datapath *d, const char *what, int ifindex, int r,
			 char *message, size_t size)
{
	snprintf(message, size, "%s: cannot be attached to link %d: %s%s%s", what, ifindex,
		 strerror(-r), d->features.tcx ? "" : "; the kernel says: ",
		 d->features.tcx ? "" : netlink_error(d->nl));
	return r;
}

static int attach_all(struct datapath *d, int ifindex, const struct tc_program *programs,
		      size_t count, char *message, size_t size)
{
	for (size_t i = 0; i < count; i++) {
		int r = attach_tc(d, ifindex, &programs[i]);

		if (r < 0)
			return attach_failed(d, programs[i].name, ifindex, r, message, size);
	}
	return 0;
}

int datapath_attach_pod(struct datapath *d, int ifindex, char *message, size_t size)
{
	return attach_all(d, ifindex, pod_programs, COUNT(pod_programs), message, size);
}

int datapath_attach_tunnel(struct datapath *d, int ifindex, char *message, size_t size)
{
	return attach_all(d, ifindex, tunnel_programs, COUNT(tunnel_programs), message, size);
}

struct pod_attachment {
	int ifindex;
	int programs[COUNT(pod_programs)]; /* descriptors of its own; -1 */
	int links[COUNT(pod_programs)];	   /* those that are made; -1 */
	size_t made, taken;		   /* so many are made, and so many of them taken */
	int result;			   /* 0 or -errno, */
	size_t failed;			   /* of which */
};

void pod_attachment_free(struct pod_attachment *attachment)
{
	if (!attachment)
		return;
	for (size_t i = 0; i < COUNT(pod_programs); i++) {
		if (attachment->programs[i] >= 0)
			close(attachment->programs[i]);
		if (attachment->links[i] >= 0)
			close(attachment->links[i]);
	}
	free(attachment);
}

int datapath_prepare_pod(struct datapath *d, int ifindex, struct pod_attachment **ret)
{
	struct pod_attachment *attachment;
	struct bpf_link_info info;
	char name[LINK_NAME_SIZE];
	int r = 0;

	if (!d->features.tcx)
		return -EOPNOTSUPP;
	attachment = malloc(sizeof(*attachment));
	if (!attachment)
		return -ENOMEM;
	*attachment = (struct pod_attachment){.ifindex = ifindex};
	for (size_t i = 0; i < COUNT(pod_programs); i++)
		attachment->programs[i] = attachment->links[i] = -1;
	for (size_t i = 0; i < COUNT(pod_programs) && r == 0; i++) {
		const struct tc_program *program = &pod_programs[i];

		r = pinned_links_info(d->links, link_name(program->name, ifindex, name), &info);
		r = r == -ENOENT ? 0 : r == 0 ? -EEXIST : r;
		if (r == 0)
			attachment->programs[i] =
				fcntl(datapath_fd_in_force(d, program->hook, program->name),
				      F_DUPFD_CLOEXEC, 0);
		if (r == 0 && attachment->programs[i] < 0)
			r = -errno;
	}
	if (r < 0)
		pod_attachment_free(attachment);
	else
		*ret = attachment;
	return r;
}

/* What is made before one fails is undone here: that takes as long. */
void pod_attachment_run(struct pod_attachment *attachment)
{
	assert(attachment->taken < COUNT(pod_programs));
	attachment->made = attachment->taken;
	do {
		size_t i = attachment->made;
		const struct link_place where = tcx_place(attachment->ifindex, &pod_programs[i]);

		attachment->links[i] = pinned_links_create(&where, attachment->programs[i]);
		if (attachment->links[i] < 0) {
			attachment->result = attachment->links[i];
			attachment->failed = i;
			break;
		}
		attachment->made++;
	} while (attachment->made < COUNT(pod_programs) && !pod_programs[attachment->made].behind);
	while (attachment->result < 0 && attachment->made > attachment->taken)
		close(TAKE_FD(attachment->links[--attachment->made]));
}

bool pod_attachment_has_more(const struct pod_attachment *attachment)
{
	return attachment->result == 0 && attachment->taken < COUNT(pod_programs);
}

int datapath_finish_pod(struct datapath *d, struct pod_attachment *attachment, char *message,
			size_t size)
{
	char name[LINK_NAME_SIZE];

	while (attachment->result == 0 && attachment->taken < attachment->made) {
		size_t i = attachment->taken++;

		link_name(pod_programs[i].name, attachment->ifindex, name);
		attachment->failed = i;
		attachment->result =
			pinned_links_take(d->links, name, TAKE_FD(attachment->links[i]));
	}
	return attachment->result < 0
		       ? attach_failed(d, pod_programs[attachment->failed].name,
				       attachment->ifindex, attachment->result, message, size)
		       : 0;
}

bool datapath_switch_pod(struct datapath *d, int ifindex)
{
	char name[LINK_NAME_SIZE];

	for (size_t i = 0; i < COUNT(pod_programs) && d->features.tcx; i++) {
		const struct tc_program *program = &pod_programs[i];

		if (!program->behind &&
		    pinned_links_update(d->links, link_name(program->name, ifindex, name),
					datapath_fd_in_force(d, program->hook, program->name)) < 0)
			return false;
	}
	return d->features.tcx;
}

static void detach_all(struct datapath *d, int ifindex, const struct tc_program *programs,
		       size_t count)
{
	char name[LINK_NAME_SIZE];

	for (size_t i = 0; i < count; i++) {
		const struct tc_program *program = &programs[i];

		pinned_links_drop(d->links, link_name(program->name, ifindex, name));
		if (!d->features.tcx)
			netlink_clsact_detach(d->nl, ifindex, program->egress,
					      program->behind ? CLSACT_BEHIND : CLSACT_FIRST);
	}
}

void datapath_detach_pod(struct datapath *d, int ifindex)
{
	detach_all(d, ifindex, pod_programs, COUNT(pod_programs));
}

void datapath_detach_tunnel(struct datapath *d, int ifindex)
{
	detach_all(d, ifindex, tunnel_programs, COUNT(tunnel_programs));
}

/* Is the link of this name still on the network link, with our program? 0, -ENOENT, -errno. */
static int link_alive(const struct datapath *d, const char *name, int ifindex, uint32_t program)
{
	struct bpf_link_info info;
	int r = pinned_links_info(d->links, name, &info);

	if (r < 0)
		return r;
	/* struct bpf_link_info.tcx of Linux 6.6 has ifindex first, where .xdp has it in the headers
	 * of Debian 12. */
	return info.xdp.ifindex == (uint32_t)ifindex && info.prog_id == program ? 0 : -ENOENT;
}

static int program_attached(struct datapath *d, int ifindex, const struct tc_program *program)
{
	uint32_t want = 0, found = 0;
	char name[LINK_NAME_SIZE];
	int r = datapath_id_of(datapath_fd_in_force(d, program->hook, program->name), &want);

	if (r < 0)
		return r;
	if (d->features.tcx)
		return link_alive(d, link_name(program->name, ifindex, name), ifindex, want);
	r = netlink_clsact_query(d->nl, ifindex, program->egress,
				 program->behind ? CLSACT_BEHIND : CLSACT_FIRST, &found);
	if (r < 0)
		return r == -ENODEV ? -ENOENT : r;
	return found == want ? 0 : -ENOENT;
}

/* 0, -ENOENT, -errno. */
static int all_attached(struct datapath *d, int ifindex, const struct tc_program *programs,
			size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = program_attached(d, ifindex, &programs[i]);
	return r;
}

int datapath_pod_attached(struct datapath *d, int ifindex)
{
	return all_attached(d, ifindex, pod_programs, COUNT(pod_programs));
}

int datapath_tunnel_attached(struct datapath *d, int ifindex)
{
	return all_attached(d, ifindex, tunnel_programs, COUNT(tunnel_programs));
}

/* In which mode the link's program is on the network link; "off": it is not. */
static const char *xdp_in_force(const struct datapath *d, const char *name, int ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	struct bpf_link_info info;

	if (pinned_links_info(d->links, name, &info) < 0 || info.xdp.ifindex != (uint32_t)ifindex ||
	    bpf_xdp_query(ifindex, 0, &query) < 0)
		return "off";
	if (query.drv_prog_id == info.prog_id)
		return "native";
	return query.skb_prog_id == info.prog_id ? "generic" : "off";
}

/* Why wire_xdp is not there: another's program, or the driver. */
static void say_no_xdp(struct datapath *d, int ifindex, int error, char *message, size_t size)
{
	const char *advice = d->options.xdp == XDP_AUTO ? "" : "; use --xdp auto";
	const struct own_programs own = datapath_own(d);
	struct other_programs others = {};
	char text[OTHER_PROGRAM_TEXT];
	size_t i = 0;

	if (error == -EBUSY || error == -EEXIST)
		(void)other_programs_of_link(d->nl, &own, ifindex, "", &others);
	while (i < others.count && strcmp(others.items[i].hook, "xdp") != 0)
		i++;
	if (i < others.count)
		snprintf(message, size, "XDP is taken by %s%s",
			 other_program_text(&others.items[i], text), advice);
	else
		snprintf(message, size, "wire_xdp: cannot be attached to link %d: %s%s", ifindex,
			 strerror(-error), advice);
	free(others.items);
}

/*
 * In the driver, or not at all: the generic path copies and takes apart what the card has put
 * together, for checks that from_wire makes as well. A link keeps its mode when its program is
 * replaced: one of another mode (of before a restart) goes first.
 */
static int attach_xdp(struct datapath *d, int ifindex, enum datapath_hook hook,
		      const char **ret_xdp, char *message, size_t size)
{
	const bool generic = d->options.xdp == XDP_GENERIC;
	const struct link_place where = {.target = ifindex,
					 .type = BPF_XDP,
					 .flags =
						 generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE};
	char name[LINK_NAME_SIZE];
	int r;

	link_name("wire_xdp", ifindex, name);
	if (d->options.xdp == XDP_OFF ||
	    strcmp(xdp_in_force(d, name, ifindex), generic ? "generic" : "native") != 0)
		pinned_links_drop(d->links, name);
	if (d->options.xdp == XDP_OFF) {
		*ret_xdp = "off";
		return 0;
	}
	r = datapath_need(d, hook, message, size);
	if (r < 0) {
		/* One of an earlier agent would go on by maps that nobody keeps any more. */
		pinned_links_drop(d->links, name);
	} else {
		r = pinned_links_put(d->links, name, &where,
				     datapath_fd_in_force(d, hook, program_object_name(hook)));
		if (r < 0)
			say_no_xdp(d, ifindex, r, message, size);
	}
	*ret_xdp = xdp_in_force(d, name, ifindex);
	return r;
}

/*
 * Which program sends frames back to the wire, or only checks, and then why: 0, the link does not
 * send; -errno, it is not known. The stack sends those of the generic path.
 */
static enum datapath_hook xdp_program(struct datapath *d, int ifindex, int *ret_why)
{
	struct link_info link;

	if (d->options.xdp == XDP_GENERIC)
		return DATAPATH_WIRE_XDP;
	*ret_why = netlink_link_get_index(d->nl, ifindex, &link);
	if (*ret_why == 0)
		*ret_why = netlink_xdp_sends(&link);
	if (*ret_why <= 0)
		return DATAPATH_WIRE_XDP_CHECK;
	return link.is_veth ? DATAPATH_WIRE_XDP_VETH : DATAPATH_WIRE_XDP;
}

/* Why XDP only checks. `why` as of xdp_program(). */
static void say_checks_only(int why, char *message, size_t size)
{
	char cause[CAUSE_MAX];

	if (why == 0)
		snprintf(message, size,
			 "XDP checks, but does not forward: the other side of the veth pair takes "
			 "no frames from XDP; turn GRO on there (ethtool -K LINK gro on)");
	else if (why == -ENOENT)
		snprintf(message, size,
			 "XDP checks, but does not forward: this kernel does not say whether the "
			 "other side of the veth pair takes frames from XDP (Linux 6.3 does)");
	else
		snprintf(message, size,
			 "XDP checks, but does not forward: whether the link sends from XDP cannot "
			 "be asked: %s; it is asked again at the network's next change",
			 cause_of(why, cause));
}

static bool is_one_of(int ifindex, const int *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == ifindex)
			return true;
	return false;
}

static int note_clsact(struct datapath *d, int ifindex)
{
	int *grown;

	if (is_one_of(ifindex, d->clsact, d->clsact_count))
		return 0;
	grown = reallocarray(d->clsact, d->clsact_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	d->clsact = grown;
	d->clsact[d->clsact_count++] = ifindex;
	return 0;
}

int datapath_attach_uplink(struct datapath *d, int ifindex, const char **ret_xdp, char *message,
			   size_t size)
{
	int r = attach_all(d, ifindex, wire_programs, COUNT(wire_programs), message, size);
	enum datapath_hook hook;
	int why = 0;

	if (r == 0 && !d->features.tcx)
		r = note_clsact(d, ifindex);
	if (r < 0)
		return r;
	hook = xdp_program(d, ifindex, &why);
	message[0] = '\0';
	r = attach_xdp(d, ifindex, hook, ret_xdp, message, size);
	if (r == 0 && hook == DATAPATH_WIRE_XDP_CHECK && d->options.xdp != XDP_OFF)
		say_checks_only(why, message, size);
	/* The TC program does the same. */
	return r < 0 && d->options.xdp == XDP_AUTO ? 0 : r;
}

/* The ifindex in an uplink's pin ("from_wire-3", "wire_xdp-3"); 0: it is another's. */
static int uplink_of_pin(const char *name)
{
	const char *dash = strrchr(name, '-');
	size_t length = dash ? (size_t)(dash - name) : 0;

	if (length == strlen("wire_xdp") && strncmp(name, "wire_xdp", length) == 0)
		return atoi(dash + 1);
	for (size_t i = 0; i < COUNT(wire_programs); i++)
		if (length == strlen(wire_programs[i].name) &&
		    strncmp(name, wire_programs[i].name, length) == 0)
			return atoi(dash + 1);
	return 0;
}

static int clear_filters(const struct datapath *d, int ifindex)
{
	int first = 0;

	for (size_t i = 0; i < COUNT(wire_programs); i++) {
		int r = netlink_clsact_detach(d->nl, ifindex, wire_programs[i].egress,
					      CLSACT_FIRST);

		first = first ? first : r;
	}
	return first;
}

/* Noted among those that were attached, what stays is tried again. */
void datapath_clear_filters(struct datapath *d, int ifindex)
{
	if (clear_filters(d, ifindex) < 0)
		(void)note_clsact(d, ifindex);
}

static void forget_clsact(struct datapath *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->clsact_count; i++)
		if (is_one_of(d->clsact[i], d->kept, d->kept_count) ||
		    clear_filters(d, d->clsact[i]) < 0)
			d->clsact[kept++] = d->clsact[i];
	d->clsact_count = kept;
}

/* Does one that is no uplink have filters still? */
static bool owes_clsact(const struct datapath *d)
{
	for (size_t i = 0; i < d->clsact_count; i++)
		if (!is_one_of(d->clsact[i], d->kept, d->kept_count))
			return true;
	return false;
}

struct uplink_list {
	const int *items;
	size_t count;
};

/* Of pins that are no uplink's somebody else knows whether they are in use. */
static bool keeps_uplink(const char *name, void *data)
{
	const struct uplink_list *list = data;
	int ifindex = uplink_of_pin(name);

	return !ifindex || is_one_of(ifindex, list->items, list->count);
}

void datapath_keep_uplinks(struct datapath *d, const int *uplinks, size_t count)
{
	struct uplink_list list = {uplinks, count};
	bool same = d->kept_known && count == d->kept_count;

	for (size_t i = 0; i < count && same; i++)
		same = d->kept[i] == uplinks[i];
	if (count > NEXT_HOP_UPLINKS)
		return;
	if (same) {
		if (owes_clsact(d))
			forget_clsact(d);
		return;
	}
	if (count)
		memcpy(d->kept, uplinks, count * sizeof(*uplinks));
	d->kept_count = count;
	d->kept_known = true;
	forget_clsact(d);
	pinned_links_sweep(d->links, keeps_uplink, &list);
}

/* ---------------------------------------------------------------- sockets */

/* The hook's name in its program's: "connect4". */
static const char *hook_name(size_t hook)
{
	return socket_hooks[hook].program + strlen("socket_");
}

/* Why a socket program is not there: somebody's program that stands alone at the hook, here or
 * above. */
static void note_held(struct datapath *d, size_t hook, int error)
{
	struct other_programs others = {};
	const struct own_programs own = datapath_own(d);
	char text[OTHER_PROGRAM_TEXT];
	size_t i = 0;

	d->features.socket_held = true;
	(void)other_programs_of_cgroup(&own, d->options.cgroup, socket_hooks[hook].type,
				       hook_name(hook), &others);
	while (i < others.count && !others.items[i].exclusive)
		i++;
	if (i < others.count)
		snprintf(d->features.socket_note, sizeof(d->features.socket_note),
			 "%s: %s is attached to %s alone (without BPF_F_ALLOW_MULTI); until it is "
			 "detached, or attached with that flag, Services do not work, or not "
			 "fully, for "
			 "the node's own processes; pods are not concerned",
			 hook_name(hook), other_program_text(&others.items[i], text),
			 others.items[i].at);
	else
		snprintf(d->features.socket_note, sizeof(d->features.socket_note),
			 "%s: the program cannot be attached to %s: %s; Services do not work, or "
			 "not fully, "
			 "for the node's own processes; pods are not concerned",
			 hook_name(hook), d->options.cgroup, strerror(-error));
	free(others.items);
}

/* Not a cgroup2 directory, or no memory: nobody else's doing. */
static bool is_own_fault(int error)
{
	return error == -EBADF || error == -EINVAL || error == -ENOMEM;
}

static int attach_sockets(struct datapath *d, int cgroup, size_t *ret_hook)
{
	bool held = false;

	for (size_t i = 0; i < COUNT(socket_hooks); i++) {
		struct link_place where = {.target = cgroup, .type = socket_hooks[i].type};
		int r = pinned_links_put(
			d->links, socket_hooks[i].program, &where,
			datapath_fd_of(d, DATAPATH_SOCKETS, socket_hooks[i].program));

		*ret_hook = i;
		if (r < 0 && is_own_fault(r))
			return r;
		if (r < 0 && !held)
			note_held(d, i, r);
		held |= r < 0;
	}
	d->features.socket_programs = !held;
	return 0;
}

int datapath_attach_sockets(struct datapath *d, char *message, size_t size)
{
	size_t hook = 0;
	int cgroup, r;

	d->features.socket_programs = d->features.socket_held = false;
	d->features.socket_note[0] = '\0';
	if (!d->options.cgroup) {
		snprintf(d->features.socket_note, sizeof(d->features.socket_note),
			 "no cgroup2 found; set --cgroup");
		return 0;
	}
	cgroup = open(d->options.cgroup, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (cgroup < 0) {
		r = -errno;
		snprintf(message, size, "--cgroup %s: %s", d->options.cgroup, strerror(-r));
		return r;
	}
	if (cgroup_is_below(d->options.cgroup))
		snprintf(
			d->features.socket_note, sizeof(d->features.socket_note),
			"%s is not the root of cgroup2: processes outside it do not reach Services",
			d->options.cgroup);
	r = attach_sockets(d, cgroup, &hook);
	close(cgroup);
	if (r < 0)
		snprintf(message, size,
			 "%s: cannot be attached to %s: %s; is it a cgroup2 directory?",
			 socket_hooks[hook].program, d->options.cgroup, strerror(-r));
	return r;
}

/* ---------------------------------------------------------------- others' programs */

int datapath_others_of_link(struct datapath *d, int ifindex, const char *name,
			    struct other_programs *list)
{
	const struct own_programs own = datapath_own(d);

	return other_programs_of_link(d->nl, &own, ifindex, name, list);
}

int datapath_others_of_cgroup(struct datapath *d, struct other_programs *list)
{
	const struct own_programs own = datapath_own(d);
	int r = 0;

	for (size_t i = 0; i < COUNT(socket_hooks) && d->options.cgroup && r == 0; i++)
		r = other_programs_of_cgroup(&own, d->options.cgroup, socket_hooks[i].type,
					     hook_name(i), list);
	return r;
}

struct pruning {
	struct datapath *datapath;
	bool (*in_use)(int ifindex, void *data);
	void *data;
};

/* A name without number is a cgroup's. */
static bool keeps(const char *name, void *data)
{
	const struct pruning *pruning = data;
	const char *dash = strrchr(name, '-');

	return !dash || pruning->in_use(atoi(dash + 1), pruning->data);
}

void datapath_prune_pins(struct datapath *d, bool (*in_use)(int ifindex, void *data), void *data)
{
	struct pruning pruning = {d, in_use, data};

	pinned_links_sweep(d->links, keeps, &pruning);
}

int datapath_repair_pins(struct datapath *d, size_t *ret_repaired)
{
	return pinned_links_repair(d->links, ret_repaired);
}
