/* SPDX-License-Identifier: Apache-2.0 */
/* What loading programs and attaching them share. */
#pragma once

#include "agent/kernel/datapath.h"
#include "agent/kernel/loaded_object.h"
#include "agent/kernel/pinned_links.h"

/* Newer than the headers of Debian 12 (Linux 6.6). */
#define TCX_INGRESS 46
#define TCX_EGRESS  47

#define OWN_PROGRAMS_MAX 32

struct datapath {
	struct loaded_object *objects[DATAPATH_HOOKS]; /* NULL: not needed so far */
	int refused[DATAPATH_HOOKS];		       /* -errno: it would be again */
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

/* Of a loaded program; borrowed. */
int datapath_fd_of(const struct datapath *d, enum datapath_hook hook, const char *name);
/* The kernel's number of a program. 0 or -errno. */
int datapath_id_of(int fd, uint32_t *ret);
struct own_programs datapath_own(const struct datapath *d);
