/* SPDX-License-Identifier: Apache-2.0 */
/* Short work inside another network namespace, and the sysctls of links. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Runs `function` in a thread of its own that has entered the network namespace, and waits for it:
 * the caller's thread never leaves its namespace, whatever happens. Returns what `function`
 * returns, or -errno if it could not be entered.
 */
int namespace_run(int netns_fd, int (*function)(void *data), void *data);

/* 0: a network namespace other than the caller's. -EINVAL: no network namespace. -EEXIST: the
 * caller's own. Else -errno. */
int namespace_check(int netns_fd);

/* The number by which programs know a network namespace, and that no other one of the machine ever
 * has. 0 or -errno. */
int namespace_cookie(int netns_fd, uint64_t *ret);
/* Of the caller's own. */
int namespace_own_cookie(uint64_t *ret);

/* Where sysctl_link_set() writes: /proc/sys/net, or the same mounted elsewhere, where it can be
 * written. `directory` is kept. */
void sysctl_use_directory(const char *directory);
/*
 * Writes /proc/sys/net/`family`/conf/`link`/`key` of the calling thread's namespace unless it holds
 * `value` already. 0 or -errno (-EROFS where /proc/sys is not writable).
 */
int sysctl_link_set(const char *family, const char *link, const char *key, const char *value);
