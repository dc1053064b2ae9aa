/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and prefixes: what only the library itself needs. */
#pragma once

#include "policy/objects/objects.h"

bool prefix_is_v4(const struct prefix *prefix);
/* Is the block of `length` bits at `addr` inside `outer`, as 128-bit strings: families are not told
 * apart. */
bool prefix_covers(const struct prefix *outer, const struct polder_addr *addr, unsigned int length);
/* By address, then length: a block stands before those inside it. */
int prefix_compare(const struct prefix *a, const struct prefix *b);
/* What kind of address this is if no pod, endpoint or Service can have it ("a loopback address");
 * NULL: it may be one. */
const char *addr_reserved_reason(const struct polder_addr *addr);
