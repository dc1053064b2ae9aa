/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says of a process. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The program file of the process that had this number at that time (since boot) and has it still.
 * False: it has ended, it may not be asked, or /proc is of another PID namespace than the node's.
 */
bool process_file_read(uint32_t pid, uint64_t since_ns, char *path, size_t size);
