/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What restore.bpf.c and the program that starts it share. */
#pragma once

#include <linux/types.h>

#define RESTORE_HEADER_V4 54
#define RESTORE_HEADER_V6 74
#define RESTORE_PORT_BITS 14
#define RESTORE_PORTS	  (1 << RESTORE_PORT_BITS)

/* Flow n has source port + n % RESTORE_PORTS and the destination address + n / RESTORE_PORTS of
 * `header`. */
struct restore {
	__u8 header[80];
	__u32 mask; /* flows - 1 */
	__u32 at;
	__u32 v6;
	__u32 pad;
};
