/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/control/control_output.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct output_part {
	struct output_part *next;
	char *text;
	size_t length, sent;
};

int output_put(struct output *output, char *text, size_t length)
{
	struct output_part *part = calloc(1, sizeof(*part));

	if (!part) {
		free(text);
		return -ENOMEM;
	}
	*part = (struct output_part){.text = text, .length = length};
	if (output->last)
		output->last->next = part;
	else
		output->first = part;
	output->last = part;
	output->waiting += length;
	return 0;
}

static void drop_first(struct output *output)
{
	struct output_part *part = output->first;

	output->first = part->next;
	if (!output->first)
		output->last = NULL;
	output->waiting -= part->length - part->sent;
	free(part->text);
	free(part);
}

int output_send(struct output *output, int fd)
{
	struct output_part *part;

	while ((part = output->first)) {
		ssize_t sent = 0;

		if (part->sent < part->length)
			sent = send(fd, part->text + part->sent, part->length - part->sent,
				    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN ? 0 : -errno;
		part->sent += (size_t)sent;
		output->waiting -= (size_t)sent;
		if (part->sent == part->length)
			drop_first(output);
	}
	return 0;
}

void output_clear(struct output *output)
{
	while (output->first)
		drop_first(output);
}
