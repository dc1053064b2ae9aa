/* SPDX-License-Identifier: Apache-2.0 */
/* How programs are attached. config_datapath_options() takes it from the configuration. */
#pragma once

#include <stdbool.h>

enum attach_mode { ATTACH_AUTO, ATTACH_TCX, ATTACH_CLSACT };
enum xdp_mode { XDP_AUTO, XDP_NATIVE, XDP_GENERIC, XDP_OFF };

struct datapath_options {
	enum attach_mode attach;
	enum xdp_mode xdp;
	bool tunnel;	    /* other nodes may be reached through it */
	const char *cgroup; /* borrowed; NULL: no socket programs */
};
