/* SPDX-License-Identifier: Apache-2.0 */
/* The asking end of the control socket, for the CLI and the CNI plugin. See
 * docs/control-protocol.md. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "agent/common/error.h"

#define CONTROL_CLIENT_CONNECT_MS 5000

struct control_client;

/*
 * Waits for room in the agent's queue for at most `timeout_ms`. Answers longer than `answer_max`
 * bytes are refused. 0; -ENOENT, -ECONNREFUSED (nobody listens), -EACCES, -ENAMETOOLONG, -ETIMEDOUT
 * and other -errno.
 */
int control_client_connect(const char *path, size_t answer_max, int timeout_ms,
			   struct control_client **ret);
void control_client_free(struct control_client *client); /* takes NULL */

/* `args` (borrowed) may be NULL for none. `fd` goes along as a descriptor; -1: none. 0 or -errno.
 */
int control_client_send(struct control_client *client, const char *operation, const json_t *args,
			int fd, int timeout_ms);

/*
 * The next answer's `result` (a new reference). `timeout_ms` < 0 waits for ever.
 * 0; -EREMOTEIO: refused, `*ret_failure` filled; -ECONNRESET: the agent hung up; -ETIMEDOUT;
 * -EPROTO: not an answer of this protocol; -EMSGSIZE: longer than allowed; -ENOMEM.
 */
int control_client_receive(struct control_client *client, int timeout_ms, json_t **ret_result,
			   struct error *ret_failure);
