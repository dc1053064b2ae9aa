/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection has to send: a queue of texts that are sent from where they lie. */
#pragma once

#include <stddef.h>

struct output_part;
struct output {
	struct output_part *first, *last;
	size_t waiting; /* bytes that have not been sent */
};

/* Takes `text` (malloc()ed), on failure too. 0 or -ENOMEM. */
int output_put(struct output *output, char *text, size_t length);
/* Sends what the socket takes now. 0, or -EPIPE and the like: the peer is gone. */
int output_send(struct output *output, int fd);
void output_clear(struct output *output); /* takes a zeroed one */
