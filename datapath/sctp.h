/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * SCTP's checksum where ports change: a CRC32c over the whole packet (RFC 9260, 6.8), addresses
 * apart. A CRC is linear, so what the ports' change makes of it depends on how many bytes follow,
 * not on which: a few multiplications of polynomials instead of a walk over the packet.
 */
#pragma once

#include "packet.h"

#define SCTP_CHECK_OFFSET 8
#define CRC32C_POLYNOMIAL 0x82f63b78 /* reflected: the highest bit is x^0 */

/* The product of two polynomials modulo CRC32c's. Without a branch: the verifier would follow each.
 * Global: verified once. */
__noinline __u32 crc32c_times(__u32 a, __u32 b)
{
	__u32 product = 0;
	int i;

	for (i = 0; i < 32; i++) {
		product ^= -(a >> 31) & b;
		a <<= 1;
		b = (b >> 1) ^ (-(b & 1) & CRC32C_POLYNOMIAL);
	}
	return product;
}

/* x^(8 * 2^n), by n. */
static const __u32 crc32c_bytes[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a,
	0xb82be955, 0xb8fdb1e7, 0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a,
	0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/*
 * By what a packet's CRC32c changes if its first four bytes change by `difference` (exclusive or,
 * as they stand in memory of a little-endian host). `length`: of all that the CRC covers. Global:
 * verified once.
 */
__noinline __u32 sctp_check_difference(__u32 difference, __u32 length)
{
	__u32 n;

	for (n = 0; n < 16; n++)
		if (length >> n & 1)
			difference = crc32c_times(difference, crc32c_bytes[n]);
	return difference;
}
