/* SPDX-License-Identifier: Apache-2.0 */
/* Flows go from one pair of tables to another, of other sizes, while programs use the first one. */
#pragma once

#include "agent/kernel/flows.h"

struct flows_move;

/*
 * `links`: of each place in the old map of pods the ifindex that stands there (0: none), where the
 * new map has another number of places, `pods`; NULL: places stay. Descriptors and `links` are
 * borrowed. 0 or -errno.
 */
int flows_move_open(const struct flows_maps *from, const struct flows_maps *to,
		    const uint32_t *links, uint32_t link_count, uint32_t pods,
		    struct flows_move **ret);
void flows_move_close(struct flows_move *move); /* takes NULL */

/*
 * Copies what has changed since the last call, the first time all, without counts. No program may
 * use the new tables yet. Flows that find no place are left out; their number is added to
 * `*ret_left_out`. 0 or -ENOMEM.
 */
int flows_move_copy(struct flows_move *move, size_t *ret_left_out);
/*
 * Once no program uses the old tables: adds their counts, times and states to the flows in the new
 * ones, in which programs are at work. What was added is taken from the old entry, so it may be
 * called again after a crash.
 */
void flows_move_merge(struct flows_move *move);

/* Entries in use of a table. */
int flows_move_count(int fd, uint8_t family, uint32_t sets, uint64_t *ret);
