/* SPDX-License-Identifier: Apache-2.0 */
/* What loading programs and attaching them share. */
#pragma once

#include "agent/kernel/datapath.h"
#include "agent/kernel/loaded_object.h"
#include "agent/kernel/pinned_links.h"

/* Newer than the headers of Debian 12 (Linux 6.6). */
#define TCX_INGRESS 46
#define TCX_EGRESS  47

/* Of the names of programs that capture. */
#define CAPTURE_SUFFIX	 "_capture"
#define PROGRAM_NAME_MAX 64

#define OWN_PROGRAMS_MAX 48

struct datapath {
	struct loaded_object *objects[DATAPATH_HOOKS]; /* NULL: not needed so far */
	int refused[DATAPATH_HOOKS];		       /* -errno: it would be again */
	struct maps *maps;
	struct datapath_config constants;
	bool is_apart;
	struct datapath *apart; /* owned; NULL: not loaded */
	bool is_capture;	/* the programs that capture */
	int capture_maps[CAPTURE_MAPS];
	const struct datapath *capture; /* in force instead of `objects`; borrowed; NULL: none */
	struct netlink *nl;
	struct datapath_options options;
	struct pinned_links *links; /* NULL: nothing can be attached */
	struct datapath_features features;
	bool latency_on;   /* latency.h: its program is attached */
	bool latency_gone; /* that of an earlier agent, too */
	int *clsact;	   /* links that were uplinks by clsact filters, which have no pins */
	size_t clsact_count;
	int kept[NEXT_HOP_UPLINKS]; /* what datapath_keep_uplinks() was told last */
	size_t kept_count;
	bool kept_known;
	uint32_t own[OWN_PROGRAMS_MAX]; /* the kernel's numbers of all programs */
	size_t own_count;
};

/* Of a loaded program; borrowed. */
int datapath_fd_of(const struct datapath *d, enum datapath_hook hook, const char *name);
/* The same of the one that is to be on links now. */
int datapath_fd_in_force(const struct datapath *d, enum datapath_hook hook, const char *name);
/* datapath_capture.c: the map that a capture's objects share, by its name, CAPTURE_MAP_OTHER (it is
 * none of these) or CAPTURE_MAP_NONE (it is, and ordinary programs have no use for it). */
#define CAPTURE_MAP_OTHER (-1)
#define CAPTURE_MAP_NONE  (-2)
int datapath_capture_map_of(const struct datapath *d, const char *name);
/* Notes the numbers of all that is loaded. 0 or -errno with `message`. */
int datapath_note_own(struct datapath *d, char *message, size_t size);
/* Closes its maps. */
void datapath_capture_close(struct datapath *d);
/* Is this the program that captures, by its name? */
bool datapath_is_capturing(const char *program);
/* datapath_load.c: loads one object, as datapath_load() does. */
int datapath_load_object(struct datapath *d, enum datapath_hook hook, char *message, size_t size);
/* The kernel's number of a program. 0 or -errno. */
int datapath_id_of(int fd, uint32_t *ret);
/* latency.c: gives its object's map what an earlier agent's program has for it. 0 or -errno. */
int datapath_inherit_map(struct datapath *d, struct bpf_map *map);
struct own_programs datapath_own(const struct datapath *d);
