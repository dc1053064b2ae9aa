/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel dropped while somebody watched, by reason, direction and pod. */
#pragma once

#include "agent/observe/kernel_drops.h"

#define KERNEL_TALLY_ROWS 1024

struct kernel_tally;
/* Counts from now on; `names` is borrowed. NULL: no memory. */
struct kernel_tally *kernel_tally_new(const struct event_names *names);
void kernel_tally_free(struct kernel_tally *tally); /* takes NULL */
void kernel_tally_add(struct kernel_tally *tally, const struct kernel_drop_told *told);
void kernel_tally_missed(struct kernel_tally *tally, uint64_t lost, uint64_t limited);
/* The kernel's own counts, when it begins; they miss nothing. */
void kernel_tally_begin(struct kernel_tally *tally, const uint64_t counts[KERNEL_DROP_COUNTS]);
/*
 * The answer of `drops.kernel` (docs/control-protocol.md): as that of `drops`. `counts` as they are
 * now; of the reasons those that `filter` wants (NULL: all), by the names that `name` gives them.
 * NULL: no memory.
 */
json_t *kernel_tally_document(
	const struct kernel_tally *tally, const uint64_t counts[KERNEL_DROP_COUNTS],
	const struct flow_filter *filter,
	const char *(*name)(uint32_t reason, char buffer[KERNEL_REASON_NAME_MAX], const void *data),
	const void *data);

/* Of a reason of the kernel's, by its name. */
const char *kernel_drop_meaning(const char *reason);
const char *kernel_drop_remedy(const char *reason);
