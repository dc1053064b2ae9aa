/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page in the browser that shows what polderctl shows: flows, drops, policies, pods. It changes
 * nothing. Every question is one of the control socket's, from a list of those that only read.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct control_server;
struct ui;

struct ui_options {
	const char *address; /* "ADDR:PORT" or "unix:PATH" */
	char *const *hosts;  /* names by which browsers may ask for it, beside this machine's */
	size_t host_count;
	struct control_server *control; /* answers the questions */
};

/* The options' pointers are borrowed. 0 or -errno, as http_server_new(). */
int ui_new(uv_loop_t *loop, const struct ui_options *options, struct ui **ret);
/* Takes NULL. Before the control server's. */
void ui_free(struct ui *ui);
uint16_t ui_port(const struct ui *ui);
