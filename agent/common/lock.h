/* SPDX-License-Identifier: Apache-2.0 */
/* Locks that end with the process that has them. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * Locks a directory, or a file (made 0600 if it is missing). `*ret_fd`, to be closed, has the lock.
 * 0, -EWOULDBLOCK: another process has it, other -errno.
 */
int lock_directory(const char *path, int *ret_fd);
int lock_file(const char *path, int *ret_fd);
/* Does the path still lead to what the descriptor has locked? */
bool lock_is_at(const char *path, int fd);

/*
 * One for each network namespace and `name`: an abstract unix socket that listens; what connects to
 * it is to be accepted and closed. A process without root's rights may have taken the name: then
 * another one is used, which all who ask for this lock look at. 0; -EADDRINUSE: a process of root
 * has it, `*ret_pid` is its number (0: unknown); -EPERM: other users have all its names; other
 * -errno.
 */
int lock_network_namespace(const char *name, int *ret_fd, pid_t *ret_pid);
