/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consistent hashing as in Maglev (Eisenbud et al., NSDI 2016, 3.4): which endpoint each cell of a
 * table belongs to. It follows from the endpoints' addresses, ports and weights alone, whatever
 * their order: all nodes that know the same ones have the same table. When an endpoint goes nearly
 * all cells of the others stay theirs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "datapath/abi.h"

#define MAGLEV_WEIGHT_MAX    256
#define MAGLEV_ENDPOINTS_MAX 65535
#define MAGLEV_SIZE_MIN	     7
#define MAGLEV_SIZE_MAX	     1048573 /* the largest prime below 2^20 */

bool maglev_is_prime(uint32_t number);
/* The next smaller and the next larger prime of a number from MAGLEV_SIZE_MIN to MAGLEV_SIZE_MAX
 * that is none itself. */
void maglev_primes_around(uint32_t number, uint32_t *ret_below, uint32_t *ret_above);

/*
 * Fills `size` cells, a prime, each with the place in `endpoints` of the one that it belongs to.
 * `weights` of 0 to MAGLEV_WEIGHT_MAX, not all 0: shares in the cells, 0 has none; NULL: all the
 * same. There are no more endpoints than cells and MAGLEV_ENDPOINTS_MAX, at least one, and
 * none twice. 0 or -ENOMEM.
 */
int maglev_fill(const struct backend *endpoints, const uint16_t *weights, uint32_t count,
		uint32_t size, uint16_t *ret_cells);
