/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What forward.bpf.c and forward.c share. */
#pragma once

#define FORWARD_LENGTH 54 /* Ethernet, IPv4 and TCP headers, nothing else */
