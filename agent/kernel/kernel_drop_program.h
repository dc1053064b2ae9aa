/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program at skb:kfree_skb, and what the running kernel calls its reasons. Loaded and attached
 * for as long as somebody asks; pinned nowhere, so it goes with the process whatever ends that.
 */
#pragma once

#include "agent/kernel/datapath.h"
#include "datapath/kernel_drop_abi.h"

#define KERNEL_REASON_NAME_MAX 64

struct kernel_drop_program;

/*
 * Loads and attaches it on the maps and with the constants of `datapath` (borrowed). Takes some
 * tenths of a second of a CPU, in any thread while nobody else loads. 0, or -errno with `message`:
 * -EOPNOTSUPP if the kernel cannot say what is needed.
 */
int kernel_drop_program_load(const struct datapath *datapath, struct kernel_drop_program **ret,
			     char *message, size_t size);
void kernel_drop_program_free(struct kernel_drop_program *program); /* takes NULL; detaches it */

int kernel_drop_program_ring(const struct kernel_drop_program *program); /* borrowed descriptor */
/* Packets of a reason since it was loaded, or those that were not told (enum kernel_drop_count). 0
 * or -errno. */
int kernel_drop_program_count(const struct kernel_drop_program *program, uint32_t which,
			      uint64_t *ret);
/* All of them. */
int kernel_drop_program_counts(const struct kernel_drop_program *program,
			       uint64_t ret[KERNEL_DROP_COUNTS]);

/* The kernel's name of a reason without its prefix, such as "NO_SOCKET"; a subsystem's as
 * "SUBSYSTEM_3_2". */
const char *kernel_drop_reason_name(const struct kernel_drop_program *program, uint32_t reason,
				    char buffer[KERNEL_REASON_NAME_MAX]);
/* The number of a name, as kernel_drop_reason_name() has it. 0; -ENOENT: this kernel has none. */
int kernel_drop_reason_find(const struct kernel_drop_program *program, const char *name,
			    uint32_t *ret);
/* Does it say little of its own (not specified, packets for other machines)? */
bool kernel_drop_reason_is_vague(const char *name);
/* Vague ones are told only if they are among these, which are bits by reason. 0 or -errno. */
int kernel_drop_program_want(const struct kernel_drop_program *program,
			     const uint64_t wanted[KERNEL_REASONS / 64]);
