/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs and filters of others at the hooks that Polder's stand at: who they are, and which of
 * them come first. Those of another polderd are told by foreign_programs.h.
 */
#pragma once

#include "agent/kernel/netlink.h"

/* Of a program at the same hook. "instead": Polder's own is not there. */
enum program_order { ORDER_BEFORE, ORDER_BEHIND, ORDER_INSTEAD };
extern const char *const program_order_names[]; /* "before", "behind", "instead" */

#define OTHER_PROGRAM_AT   128
#define OTHER_PROGRAM_TEXT 160

struct other_program {
	char at[OTHER_PROGRAM_AT]; /* the link's name, or the cgroup's directory */
	const char *hook;	   /* "xdp", "tc ingress", "tc egress"; "connect4", ... */
	enum program_order order;
	bool exclusive; /* at a cgroup: attached without BPF_F_ALLOW_MULTI, none stands beside it */
	uint32_t id;   /* the kernel's number; 0: a filter that is no program, of the kind `name` */
	char name[32]; /* "": it has none */
	char tag[17];  /* of its instructions, in hex */
	uint32_t uid;  /* of who loaded it */
};

struct other_programs {
	struct other_program *items; /* free() */
	size_t count;
};

/* Which programs are Polder's own. */
struct own_programs {
	const uint32_t *ids;
	size_t count;
	bool tcx; /* they stand at tcx, else they are clsact filters */
};

/* "program NAME (id 12, tag 0123456789abcdef, loaded by user 0)". */
const char *other_program_text(const struct other_program *program, char text[OTHER_PROGRAM_TEXT]);
/* Of a link: XDP, tcx and clsact. They are added to `list`. 0 or -errno. */
int other_programs_of_link(struct netlink *nl, const struct own_programs *own, int ifindex,
			   const char *name, struct other_programs *list);
/*
 * Of one hook (BPF_CGROUP_INET4_CONNECT, ...; its name is kept) at a cgroup2 directory and at those
 * above it, whose programs run for it as well. 0 or -errno.
 */
int other_programs_of_cgroup(const struct own_programs *own, const char *directory, int type,
			     const char *hook, struct other_programs *list);
/* Is the directory below another one of cgroup2 that can be seen from here? */
bool cgroup_is_below(const char *directory);
