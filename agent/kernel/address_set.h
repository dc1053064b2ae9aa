/* SPDX-License-Identifier: Apache-2.0 */
/* A set of addresses that is asked once for each address of each flow. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "datapath/abi.h"

/* Zeroed: empty. The zero address cannot be in it. */
struct address_set {
	struct polder_addr *places; /* a power of two, at most half full */
	size_t size, count, v4_count;
};

void address_set_clear(struct address_set *set);
/* 0 or -ENOMEM: the set is as it was. */
int address_set_add(struct address_set *set, const struct polder_addr *addr);
bool address_set_holds(const struct address_set *set, const struct polder_addr *addr);
