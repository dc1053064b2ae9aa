/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "May this one reach that one, and who says so?", asked three ways: the objects, the map entries,
 * the loaded program.
 */
#pragma once

#include "agent/show/show.h"

/* The operations "explain" and "policy"; `data` is the struct show_sources. See
 * docs/control-protocol.md. */
void explain_request(struct control_request *request, const json_t *args, int netns_fd, void *data);
void explain_policy_request(struct control_request *request, const json_t *args, int netns_fd,
			    void *data);
