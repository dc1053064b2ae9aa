/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of full flow tables share. */
#pragma once

#include "suite.h"

/* Large enough for the count of all entries, of which each CPU tells now and then. */
#define SHARED_SETS 256
#define SHARED_WAYS (SHARED_SETS * FLOW_WAYS)
#define SHARE	    (SHARED_WAYS / 4)

/* Runs it in a world with so many sets of each family. */
void with_table(uint32_t sets, void (*run)(void));

/* A connection between two pods; why its first packet was refused, 0: it stands. */
int connection(int from, int to, enum suite_version v, uint16_t sport);

/* Entries that each pod may have when the table is nearly full. */
void set_share(uint32_t share);
