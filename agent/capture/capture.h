/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captures: whoever asks gets packets with their verdicts in a ring of its own, for as long as the
 * connection lasts. Packets do not pass through the agent: it puts the programs that capture on the
 * links, says who is who, and puts the ordinary ones back when the last reader has gone. See
 * docs/capture.md.
 */
#pragma once

#include "agent/show/show.h"
#include "datapath/capture_abi.h"

/* Events in one question for names. */
#define CAPTURE_DESCRIBE_MAX 64

struct capture;

/* What is around captures. */
struct capture_env {
	const struct show_sources *sources; /* kept */
	/* Puts the programs in force (datapath_use_capture()) on all links. */
	void (*attach)(void *data);
	void *data;
};

/* Registers capture, capture.describe and capture.stop, see docs/control-protocol.md. 0 or
 * -errno. */
int capture_register(struct control_server *server, const struct capture_env *env,
		     struct capture **ret);
/* When the control server is gone and the loop has run to its end. Takes NULL. */
void capture_free(struct capture *capture);

/* capture_request.c: what a request wants. 0, or -EINVAL or -ENOENT with `message`. */
int capture_filter_parse(const json_t *args, const struct show_sources *sources,
			 struct capture_filter *ret, char *message, size_t size);
