/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and prefixes of both families as 128 bits, IPv4 mapped. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "datapath/abi.h"

struct prefix {
	struct polder_addr addr; /* IPv4 as ::ffff:a.b.c.d; host bits cleared */
	uint8_t length;		 /* of 128: IPv4 has 96 + n */
};

/* "10.0.0.1", "fd00::1". 0 or -EINVAL. */
int addr_parse(const char *text, struct polder_addr *ret);
/* Writes at most INET6_ADDRSTRLEN bytes; returns `buffer`. IPv4-mapped stands in dotted form. */
const char *addr_format(const struct polder_addr *addr, char *buffer);
bool addr_is_v4(const struct polder_addr *addr);
/* Where an address may be missing, that stands for it. Not 0.0.0.0, which is IPv4-mapped. */
bool addr_is_zero(const struct polder_addr *addr);
/* 0.0.0.0 or ::. */
bool addr_is_unspecified(const struct polder_addr *addr);
/* 127.0.0.0/8 or ::1. */
bool addr_is_loopback(const struct polder_addr *addr);
struct polder_addr addr_unspecified(bool v4);
/* "10.0.0.0/8"; host bits are cleared. 0 or -EINVAL. */
int prefix_parse(const char *text, struct prefix *ret);
void prefix_clear_host_bits(struct prefix *prefix);
/* "10.0.0.0/8" into a buffer of PREFIX_TEXT_MAX bytes. */
#define PREFIX_TEXT_MAX (INET6_ADDRSTRLEN + 4)
const char *prefix_format(const struct prefix *prefix, char *buffer);
bool prefix_contains(const struct prefix *prefix, const struct polder_addr *addr);
bool prefix_is_v4(const struct prefix *prefix);
/* Is the block of `length` bits at `addr` inside `outer`, as 128-bit strings: families are not told
 * apart. */
bool prefix_covers(const struct prefix *outer, const struct polder_addr *addr, unsigned int length);
/* By address, then length: a block stands before those inside it. */
int prefix_compare(const struct prefix *a, const struct prefix *b);
/* What kind of address this is if no pod, endpoint or Service can have it ("a loopback address");
 * NULL: it may be one. */
const char *addr_reserved_reason(const struct polder_addr *addr);
