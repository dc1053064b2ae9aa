/* SPDX-License-Identifier: Apache-2.0 */
/* One file of the resources directory: from its bytes to the store. */
#pragma once

#include "agent/store/store.h"

enum file_state {
	FILE_GOOD,	 /* its objects are in the store */
	FILE_BAD,	 /* what is in it cannot be used: wait for a change */
	FILE_UNREADABLE, /* it could not be opened or read: worth another try */
	FILE_GONE,	 /* no such file */
};

struct last_good;

/*
 * Reads `name` in the directory `dir_fd`, and on FILE_GOOD replaces what `origin` gave to the
 * store; otherwise the store is left alone and `*ret_error` says why.
 * A good text is also kept in `copies` (NULL: nowhere); `*ret_kept` is then 0 or what
 * last_good_keep() says.
 */
enum file_state source_file_load(int dir_fd, const char *name, const char *origin,
				 struct store *store, struct last_good *copies, int *ret_kept,
				 struct error *ret_error);

/*
 * What the file held when it was good last. 0; -ENOENT: no copy; -EBADMSG: it is damaged and was
 * put aside; -EINVAL: it cannot be used any more, `*ret_error` says why; other -errno.
 */
int source_file_restore(const char *origin, struct store *store, struct last_good *copies,
			struct error *ret_error);
