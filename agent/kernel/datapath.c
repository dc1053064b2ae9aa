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
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/array.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/pinned_links.h"

/* Newer than the headers of Debian 12 (Linux 6.6). */
#define TCX_INGRESS 46
#define TCX_EGRESS  47
#define TCX_FIRST   (1U << 3) /* BPF_F_BEFORE all */
#define TCX_LAST    (1U << 4) /* BPF_F_AFTER all */

#define OWN_PROGRAMS_MAX 32

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

struct datapath {
	struct bpf_object *objects[DATAPATH_HOOKS];
	struct maps *maps;
	struct datapath_config constants;
	bool is_apart;
	struct datapath *apart; /* owned; NULL: not loaded */
	struct netlink *nl;
	struct datapath_options options;
	struct pinned_links *links; /* NULL: nothing can be attached */
	struct datapath_features features;
	int *clsact; /* links that were uplinks by clsact filters, which have no pins */
	size_t clsact_count;
	int kept[NEXT_HOP_UPLINKS]; /* what datapath_keep_uplinks() was told last */
	size_t kept_count;
	bool kept_known;
	uint32_t own[OWN_PROGRAMS_MAX]; /* the kernel's numbers of all programs */
	size_t own_count;
};

/* Gives an object its configuration. A string constant may stand behind it. */
static int set_constants(struct bpf_map *map, const struct datapath_config *constants)
{
	size_t size;
	const void *old = bpf_map__initial_value(map, &size);
	char *value;
	int r;

	if (!old || size < sizeof(*constants))
		return 0;
	value = malloc(size);
	if (!value)
		return -ENOMEM;
	memcpy(value, old, size);
	memcpy(value, constants, sizeof(*constants));
	r = bpf_map__set_initial_value(map, value, size);
	free(value);
	return r;
}

/* What tells of the traffic, and is not to tell of packets that were only tried. */
static bool is_own_apart(enum map_index index)
{
	return index == MAP_DROPS || index == MAP_COUNTERS || index == MAP_EVENTS ||
	       index == MAP_EVENT_BUDGETS;
}

/* What each object has for itself and is as large as `pods`: some budgets for uplinks, behind them
 * one for each pod's link. */
static int size_own_map(const struct datapath *d, struct bpf_map *map)
{
	uint32_t links = d->constants.pods_mask + 1;

	return strcmp(bpf_map__name(map), "reject_budgets") == 0
		       ? bpf_map__set_max_entries(map, REJECT_UPLINKS + links)
		       : 0;
}

/* Gives an object's map the pinned one's descriptor, if there is one. */
static int share_map(struct datapath *d, struct bpf_map *map)
{
	const char *name = bpf_map__name(map);
	int i = 0;

	while (i < MAP_COUNT && strcmp(name, maps_get(d->maps, i)->name) != 0)
		i++;
	if (i == MAP_COUNT)
		return size_own_map(d, map);
	if (!d->is_apart || !is_own_apart(i))
		return bpf_map__reuse_fd(map, maps_fd(d->maps, i));
	/* Nobody reads its events. */
	return i == MAP_EVENTS ? bpf_map__set_max_entries(map, (uint32_t)sysconf(_SC_PAGESIZE)) : 0;
}

/* Not in the generic path: Linux 6.18 loses what it takes apart there. */
static void take_frags(const struct datapath *d, struct bpf_object *object)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, "wire_xdp");

	if (program && d->options.xdp != XDP_GENERIC)
		bpf_program__set_flags(program, bpf_program__flags(program) | BPF_F_XDP_HAS_FRAGS);
}

static int prepare_object(struct datapath *d, struct bpf_object *object)
{
	struct bpf_map *map;
	int r = 0;

	take_frags(d, object);
	bpf_object__for_each_map(map, object)
	{
		r = strstr(bpf_map__name(map), ".rodata") ? set_constants(map, &d->constants)
							  : share_map(d, map);
		if (r < 0)
			break;
	}
	return r;
}

static int load_object(struct datapath *d, enum datapath_hook hook, char *message, size_t size)
{
	char cause[CAUSE_MAX];
	int r = program_object_open(hook, &d->objects[hook]);

	if (r == 0)
		r = prepare_object(d, d->objects[hook]);
	if (r == 0)
		r = bpf_object__load(d->objects[hook]);
	if (r == 0)
		return 0;
	snprintf(message, size,
		 "program %s: the kernel refused to load it: %s (POLDER_LIBBPF_DEBUG=1 shows what "
		 "it "
		 "says)",
		 program_object_name(hook), cause_of(r, cause));
	return r;
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 ? info.id : 0;
}

static void note_own(struct datapath *d)
{
	struct bpf_program *program;

	for (int i = 0; i < DATAPATH_HOOKS; i++) {
		if (!d->objects[i])
			continue;
		bpf_object__for_each_program(program, d->objects[i])
		{
			assert(d->own_count < OWN_PROGRAMS_MAX);
			d->own[d->own_count++] = program_id(bpf_program__fd(program));
		}
	}
}

static struct own_programs own_programs(const struct datapath *d)
{
	return (struct own_programs){d->own, d->own_count, d->features.tcx};
}

static int program_fd(const struct datapath *d, enum datapath_hook hook, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(d->objects[hook], name));
}

/* Does the kernel take a tcx link? Tried on the loopback link of this namespace, gone at once. */
static bool probe_tcx(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int prog, link;

	prog = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe_tcx", "Dual BSD/GPL", pass, 2, NULL);
	if (prog < 0)
		return false;
	link = bpf_link_create(prog, 1, TCX_INGRESS, NULL);
	close(prog);
	if (link < 0)
		return false;
	close(link);
	return true;
}

int datapath_load(struct maps *maps, struct netlink *nl, struct datapath_options options,
		  const struct datapath_config *constants, const char *directory,
		  struct datapath **ret, char *message, size_t size)
{
	struct datapath *d = calloc(1, sizeof(*d));
	int i, r = 0;

	if (!d)
		return -ENOMEM;
	d->maps = maps;
	d->constants = *constants;
	d->nl = nl;
	d->options = options;
	if (directory)
		r = pinned_links_new(directory, &d->links);
	if (r == 0 && directory && mkdir(directory, 0700) < 0 && errno != EEXIST) {
		r = -errno;
		snprintf(message, size, "%s: cannot create a directory for pins: %s", directory,
			 strerror(-r));
	}
	for (i = 0; i < (directory ? DATAPATH_HOOKS : DATAPATH_SOCKETS) && r == 0; i++)
		r = load_object(d, i, message, size);
	if (r < 0) {
		datapath_free(d);
		return r;
	}
	note_own(d);
	d->features.tcx = directory && options.attach != ATTACH_CLSACT && probe_tcx();
	if (directory && options.attach == ATTACH_TCX && !d->features.tcx) {
		snprintf(message, size,
			 "--attach tcx: this kernel has no tcx (Linux 6.6); use --attach auto");
		datapath_free(d);
		return -EOPNOTSUPP;
	}
	*ret = d;
	return 0;
}

int datapath_load_apart(const struct datapath *d, struct datapath **ret, char *message, size_t size)
{
	struct datapath *apart = calloc(1, sizeof(*apart));
	int i, r = 0;

	if (!apart)
		return -ENOMEM;
	*apart = (struct datapath){.maps = d->maps,
				   .constants = d->constants,
				   .is_apart = true,
				   .options = d->options};
	for (i = 0; i < DATAPATH_SOCKETS && r == 0; i++)
		r = load_object(apart, i, message, size);
	if (r < 0) {
		datapath_free(apart);
		return r;
	}
	*ret = apart;
	return 0;
}

void datapath_keep_apart(struct datapath *d, struct datapath *apart)
{
	if (d->apart)
		datapath_free(apart);
	else
		d->apart = apart;
}

struct datapath *datapath_apart(const struct datapath *d)
{
	return d->apart;
}

void datapath_free(struct datapath *d)
{
	if (!d)
		return;
	datapath_free(d->apart);
	for (int i = 0; i < DATAPATH_HOOKS; i++)
		bpf_object__close(d->objects[i]);
	pinned_links_free(d->links);
	free(d->clsact);
	free(d);
}

const struct datapath_features *datapath_features(const struct datapath *d)
{
	return &d->features;
}

int datapath_program_fd(const struct datapath *d, enum datapath_hook hook)
{
	return program_fd(d, hook, program_object_name(hook));
}

int datapath_map_fd(const struct datapath *d, enum datapath_hook hook, const char *map)
{
	return d->objects[hook] ? bpf_object__find_map_fd_by_name(d->objects[hook], map) : -ENOENT;
}

/* The pin's name. */
static const char *link_name(const char *kind, int ifindex, char name[LINK_NAME_SIZE])
{
	snprintf(name, LINK_NAME_SIZE, "%s-%d", kind, ifindex);
	return name;
}

/* One program of a link, by tcx or clsact; what the other way left behind goes afterwards. */
static int attach_tc(struct datapath *d, int ifindex, const struct tc_program *program)
{
	enum clsact_position position = program->behind ? CLSACT_BEHIND : CLSACT_FIRST;
	uint32_t flags = program->behind ? TCX_LAST : TCX_FIRST, other = 0;
	int prog = program_fd(d, program->hook, program->name), r;
	const struct link_place where = {.target = ifindex,
					 .type = program->egress ? TCX_EGRESS : TCX_INGRESS,
					 .flags = flags};
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

bool datapath_switch_pod(struct datapath *d, int ifindex)
{
	char name[LINK_NAME_SIZE];

	for (size_t i = 0; i < COUNT(pod_programs) && d->features.tcx; i++) {
		const struct tc_program *program = &pod_programs[i];

		if (!program->behind &&
		    pinned_links_update(d->links, link_name(program->name, ifindex, name),
					program_fd(d, program->hook, program->name)) < 0)
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

/* Is the link of this name still on the network link, with our program? */
static bool link_alive(const struct datapath *d, const char *name, int ifindex, uint32_t program)
{
	struct bpf_link_info info;

	/* struct bpf_link_info.tcx of Linux 6.6 has ifindex first, where .xdp has it in the headers
	 * of Debian 12. */
	return pinned_links_info(d->links, name, &info) == 0 &&
	       info.xdp.ifindex == (uint32_t)ifindex && info.prog_id == program;
}

static bool program_attached(struct datapath *d, int ifindex, const struct tc_program *program)
{
	uint32_t want = program_id(program_fd(d, program->hook, program->name)), found = 0;
	char name[LINK_NAME_SIZE];

	if (d->features.tcx)
		return link_alive(d, link_name(program->name, ifindex, name), ifindex, want);
	return netlink_clsact_query(d->nl, ifindex, program->egress,
				    program->behind ? CLSACT_BEHIND : CLSACT_FIRST, &found) == 0 &&
	       found == want;
}

static bool all_attached(struct datapath *d, int ifindex, const struct tc_program *programs,
			 size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!program_attached(d, ifindex, &programs[i]))
			return false;
	return true;
}

bool datapath_pod_attached(struct datapath *d, int ifindex)
{
	return all_attached(d, ifindex, pod_programs, COUNT(pod_programs));
}

bool datapath_tunnel_attached(struct datapath *d, int ifindex)
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

/*
 * In the driver, or not at all: the generic path copies and takes apart what the card has put
 * together, for checks that from_wire makes as well. A link keeps its mode when its program is
 * replaced: one of another mode (of before a restart) goes first.
 */
static int attach_xdp(struct datapath *d, int ifindex, const char **ret_xdp)
{
	int prog = program_fd(d, DATAPATH_WIRE_XDP, "wire_xdp"), r;
	const bool generic = d->options.xdp == XDP_GENERIC;
	const struct link_place where = {.target = ifindex,
					 .type = BPF_XDP,
					 .flags =
						 generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE};
	char name[LINK_NAME_SIZE];

	link_name("wire_xdp", ifindex, name);
	if (d->options.xdp == XDP_OFF ||
	    strcmp(xdp_in_force(d, name, ifindex), generic ? "generic" : "native") != 0)
		pinned_links_drop(d->links, name);
	if (d->options.xdp == XDP_OFF) {
		*ret_xdp = "off";
		return 0;
	}
	r = pinned_links_put(d->links, name, &where, prog);
	*ret_xdp = xdp_in_force(d, name, ifindex);
	return r;
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

/* Why wire_xdp is not there: another's program, or the driver. */
static void say_no_xdp(struct datapath *d, int ifindex, int error, char *message, size_t size)
{
	const char *advice = d->options.xdp == XDP_AUTO ? "" : "; use --xdp auto";
	const struct own_programs own = own_programs(d);
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

int datapath_attach_uplink(struct datapath *d, int ifindex, const char **ret_xdp, char *message,
			   size_t size)
{
	int r = attach_all(d, ifindex, wire_programs, COUNT(wire_programs), message, size);

	if (r == 0 && !d->features.tcx)
		r = note_clsact(d, ifindex);
	if (r < 0)
		return r;
	r = attach_xdp(d, ifindex, ret_xdp);
	message[0] = '\0';
	if (r < 0)
		say_no_xdp(d, ifindex, r, message, size);
	/* The TC program checks the same. */
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

void datapath_clear_filters(struct datapath *d, int ifindex)
{
	for (size_t i = 0; i < COUNT(wire_programs); i++)
		netlink_clsact_detach(d->nl, ifindex, wire_programs[i].egress, CLSACT_FIRST);
}

static void forget_clsact(struct datapath *d, const int *uplinks, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->clsact_count; i++) {
		if (is_one_of(d->clsact[i], uplinks, count)) {
			d->clsact[kept++] = d->clsact[i];
			continue;
		}
		datapath_clear_filters(d, d->clsact[i]);
	}
	d->clsact_count = kept;
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
	if (same || count > NEXT_HOP_UPLINKS)
		return;
	if (count)
		memcpy(d->kept, uplinks, count * sizeof(*uplinks));
	d->kept_count = count;
	d->kept_known = true;
	forget_clsact(d, uplinks, count);
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
	const struct own_programs own = own_programs(d);
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
		int r = pinned_links_put(d->links, socket_hooks[i].program, &where,
					 program_fd(d, DATAPATH_SOCKETS, socket_hooks[i].program));

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
	const struct own_programs own = own_programs(d);

	return other_programs_of_link(d->nl, &own, ifindex, name, list);
}

int datapath_others_of_cgroup(struct datapath *d, struct other_programs *list)
{
	const struct own_programs own = own_programs(d);
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
