/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF file system, on which everything is pinned. */
#pragma once

#include <stddef.h>

/* Is `path` on one? 1, 0, or -errno: nobody knows. */
int bpffs_is(const char *path);
/* Is there one where `directory` is, or would be? The same. */
int bpffs_find(const char *directory);
/* A directory for pins, on a bpffs that is mounted if need be. 0 or -errno with `message`. */
int bpffs_prepare(const char *directory, char *message, size_t size);
