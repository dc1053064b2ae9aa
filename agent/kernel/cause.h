/* SPDX-License-Identifier: Apache-2.0 */
/* Why the kernel refused something, in words that lead to what has to be changed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAUSE_MAX 320

/*
 * For an -errno of bpf(): the error's text, and what is most probably behind it: the memory limit
 * of polderd's control group with its number, LimitNOFILE, a capability, the kernel's age. Returns
 * `text`.
 */
const char *cause_of(int error, char text[CAUSE_MAX]);
/* A signal, or memory that may be there a moment later: says nothing of what was asked for. Takes
 * errno or -errno. */
bool cause_may_pass(int error);
/* The smallest memory limit of this process's control groups in bytes; UINT64_MAX: none. */
uint64_t cause_memory_limit(void);
