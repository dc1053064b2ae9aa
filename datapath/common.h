/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every program includes: kernel headers, small macros, the load-time configuration. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define READ_ONCE(x)	     (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))
#define barrier()	     asm volatile("" ::: "memory")
/* Keeps a bound that the compiler knows visible to the verifier. */
#define opaque(x) asm volatile("" : "+r"(x))
/* Keeps a 64-bit variable's value but lets the verifier forget what it knows of it. `unknown`:
 * anything it knows nothing of. */
#define forget(x, unknown) asm volatile("%0 ^= %1\n%0 ^= %1" : "+r"(x) : "r"(unknown))
#define likely(x)	   __builtin_expect(!!(x), 1)
#define unlikely(x)	   __builtin_expect(!!(x), 0)

/* Filled by the agent before loading; constant for the verifier afterwards. */
const volatile struct datapath_config config = {};

/* Both places may be read and written as if they were aligned to 4 bytes. */
static __always_inline void copy_mac(void *to, const void *from)
{
	*(__u32 *)to = *(const __u32 *)from;
	*(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

/*
 * Arrays of `config` are read through these: without volatile the compiler would take the zeros it
 * sees here for the truth.
 */
static __always_inline void copy_gateway_mac(void *to)
{
	*(__u32 *)to = *(const volatile __u32 *)config.gateway_mac;
	*(__u16 *)(to + 4) = *(const volatile __u16 *)(config.gateway_mac + 4);
}

static __always_inline void copy_addr6(__be32 *to, const volatile __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* The ticks that were read last, and in the high half the jiffy in which that was. */
static volatile __u64 ticks_read;

/*
 * The coarse clock stands still within a jiffy, so it is asked once in each: jiffies are read
 * without a call, and every call of a helper costs several ns where the CPU's returns have to be
 * guarded.
 */
static __always_inline __u32 now_ticks(void)
{
	__u64 read = ticks_read;
	__u32 jiffy = bpf_jiffies64(), read_jiffy = read >> 32;

	if (unlikely(read_jiffy != jiffy)) {
		read = (__u64)jiffy << 32 | (__u32)(bpf_ktime_get_coarse_ns() >> FLOW_TICK_SHIFT);
		ticks_read = read;
	}
	return read;
}

/* The ones' complement sum, folded to 16 bits (RFC 1071). */
static __always_inline __u16 csum_fold16(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The same of what has no more than 32 bits. */
static __always_inline __u16 csum_fold32(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
}

/*
 * Is a sum, which is not 0, all ones when it is folded? Then 65,535 divides it: times the inverse
 * of 65,535 modulo 2^64 it is small.
 */
static __always_inline bool csum_is_ones(__u64 sum)
{
	return sum * 0xfffefffefffeffffULL <= 0x0001000100010001ULL;
}

/* Sum and difference of 32-bit words, to be folded; never negative. */
static __always_inline __u64 csum_change32(__be32 from, __be32 to)
{
	return (__u64)(__u32)~from + to;
}

static __always_inline __u64 csum_change16(__be16 from, __be16 to)
{
	return (__u64)(__u16)~from + to;
}
