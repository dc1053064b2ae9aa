/* SPDX-License-Identifier: Apache-2.0 */
/* What the service manager is told: sd_notify(3) without libsystemd. Nothing happens where nobody
 * listens. */
#pragma once

#include <uv.h>

/* One datagram of "KEY=value" lines. 0 (also without NOTIFY_SOCKET) or -errno. */
int notify_send(const char *text);
int notify_ready(void);
int notify_stopping(void);

/*
 * WATCHDOG=1 from the loop, at half the time that the service manager asks for: a loop that hangs
 * is noticed. 0 also if it asks for none (`*ret` is NULL then), or -errno.
 */
struct notify_watchdog;
int notify_watchdog_start(uv_loop_t *loop, struct notify_watchdog **ret);
/* Takes NULL. The memory is released by the loop's next turn. */
void notify_watchdog_stop(struct notify_watchdog *watchdog);
