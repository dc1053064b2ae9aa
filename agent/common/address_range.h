/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of addresses, of which single ones are given: counted, and told by their place. */
#pragma once

#include "agent/common/address.h"

struct address_range {
	struct polder_addr first, last; /* of one family */
	/* An IPv4 block: addresses that end in .0 or .255, which some devices take for a network's
	 * own, are left out. */
	bool careful;
};

/*
 * A block such as 192.0.2.64/26 or 2001:db8::/112, one address, or a range such as
 * 192.0.2.10-192.0.2.20, which is taken as it is written. 0 or -EINVAL.
 */
int address_range_parse(const char *text, struct address_range *ret);
/* As it may be parsed again, "FIRST-LAST". Returns `buffer`. */
#define ADDRESS_RANGE_TEXT_MAX (2 * INET6_ADDRSTRLEN + 1)
const char *address_range_format(const struct address_range *range, char *buffer);
bool address_range_is_v4(const struct address_range *range);
/* Lies the address between the first and the last? */
bool address_range_contains(const struct address_range *range, const struct polder_addr *addr);
/* May it be given? */
bool address_range_gives(const struct address_range *range, const struct polder_addr *addr);
bool address_range_meets(const struct address_range *a, const struct address_range *b);
bool address_range_meets_prefix(const struct address_range *range, const struct prefix *prefix);
/* How many addresses lie in it, UINT32_MAX at most; those that are left out are counted. */
uint32_t address_range_size(const struct address_range *range);
/* The one at a place below that number. */
struct polder_addr address_range_at(const struct address_range *range, uint32_t place);
