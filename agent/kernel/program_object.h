/* SPDX-License-Identifier: Apache-2.0 */
/* The programs as they were compiled: one object for each hook, with the shapes of all maps that it
 * uses. The XDP programs are of one object, loaded for one of them at a time. */
#pragma once

#include <bpf/libbpf.h>

enum datapath_hook {
	DATAPATH_FROM_POD,
	DATAPATH_TO_POD,
	DATAPATH_FROM_WIRE,
	DATAPATH_TO_WIRE,
	DATAPATH_FROM_TUNNEL,
	DATAPATH_TO_TUNNEL,
	DATAPATH_WIRE_XDP,
	DATAPATH_WIRE_XDP_VETH,
	DATAPATH_WIRE_XDP_CHECK,
	DATAPATH_SOCKETS,
	DATAPATH_CLOSED,
	DATAPATH_LATENCY,
	DATAPATH_HOOKS,
};

/* Also the name of the object's program, where it has one. */
const char *program_object_name(enum datapath_hook hook);
/* The object, opened and not loaded; bpf_object__close() frees it. 0 or -errno. */
int program_object_open(enum datapath_hook hook, struct bpf_object **ret);
/* Once the object is loaded its bytes need not stay in memory, a megabyte for each: whoever reads
 * them again gets them from polderd's file. For any thread. */
void program_object_put_away(enum datapath_hook hook);
