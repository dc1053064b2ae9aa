/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What scatter.bpf.c and the program that starts it share. */
#pragma once

#include <linux/types.h>

#define SCATTER_HEADER_V4 42
#define SCATTER_HEADER_V6 62
#define SCATTER_BITS	  20

/* Packets of UDP from `count` sources, in an order that no cache foresees: source n has the last
 * word of `header`'s + n * stride. */
struct scatter {
	__u8 header[64];
	__u32 count;
	__u32 stride;
	__u32 at;
	__u32 v6;
};
