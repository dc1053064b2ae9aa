/* SPDX-License-Identifier: Apache-2.0 */
/* uthash for the whole tree: an addition that finds no memory is an error of its caller, not the
 * end of the process. */
#pragma once

#define HASH_NONFATAL_OOM 1
#include <uthash.h> /* nothing else may include it: its default is exit(-1) */

/*
 * To be asked after each HASH_ADD*(): is the entry in its table? If not (there was no memory), the
 * table is what it was before and the entry is the caller's to free. `handle` is the member that
 * the table uses, mostly hh.
 */
#define HASH_ADDED(handle, entry) ((entry)->handle.tbl != NULL)
