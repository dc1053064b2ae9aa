/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What inject.bpf.c and inject.c share. */
#pragma once

#include <linux/types.h>

#define INJECT_LENGTH 64

/* A TCP frame; with `fresh` its source port counts up from `port` to 65535 and begins again. */
struct inject {
	__u8 frame[INJECT_LENGTH];
	__u32 fresh;
	__u32 port_first;
	__u32 port;
	__u32 pad;
};
