/* SPDX-License-Identifier: Apache-2.0 */
/* A frame and where it comes in: run, written down, read again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "frames.h"

static const char *const hook_names[HOOK_COUNT] = {
	[HOOK_FROM_POD] = "from_pod", [HOOK_TO_POD] = "to_pod",	    [HOOK_FROM_WIRE] = "from_wire",
	[HOOK_TO_WIRE] = "to_wire",   [HOOK_WIRE_XDP] = "wire_xdp",
};

struct world_result trial_run(struct world *world, const struct trial *trial)
{
	if (trial->move)
		world_move_generation(world, 2);
	if (trial->gso)
		return world_run_gso(world, trial->hook, trial->link, &trial->frame,
				     trial->gso_segments, trial->gso_size);
	return world_run(world, trial->hook, trial->link, trial->ingress, &trial->frame);
}

enum polder_zone trial_zone(const struct trial *trial)
{
	switch (trial->hook) {
	case HOOK_FROM_POD:
		return ZONE_POD;
	case HOOK_TO_POD:
		return trial->ingress ? ZONE_WIRE : ZONE_HOST;
	default:
		return ZONE_WIRE;
	}
}

void trial_print(const struct trial *trial, void *file)
{
	fprintf(file, "%s %s %u %u ", trial->move ? "move" : "-", hook_names[trial->hook],
		trial->link, trial->ingress);
	if (trial->gso)
		fprintf(file, "%u %u ", trial->gso_segments, trial->gso_size);
	else
		fprintf(file, "- - ");
	for (size_t i = 0; i < trial->frame.length; i++)
		fprintf(file, "%02x", trial->frame.bytes[i]);
	fprintf(file, "\n");
}

static int hook_named(const char *name)
{
	for (int hook = 0; hook < HOOK_COUNT; hook++)
		if (!strcmp(name, hook_names[hook]))
			return hook;
	return -EINVAL;
}

static int frame_read_hex(struct frame *frame, const char *hex)
{
	size_t length = strspn(hex, "0123456789abcdef");

	if (length % 2 || length / 2 > FRAME_ROOM || length / 2 < 14)
		return -EINVAL;
	for (frame->length = 0; frame->length < length / 2; frame->length++)
		if (sscanf(hex + 2 * frame->length, "%2hhx", &frame->bytes[frame->length]) != 1)
			return -EINVAL;
	return 0;
}

int trial_read(struct trial *trial, const char *line)
{
	char move[16], hook[16], segments[16], size[16];
	int at = 0, found;

	memset(trial, 0, sizeof(*trial));
	if (sscanf(line, "%15s %15s %u %u %15s %15s %n", move, hook, &trial->link, &trial->ingress,
		   segments, size, &at) != 6 ||
	    !at)
		return -EINVAL;
	found = hook_named(hook);
	if (found < 0)
		return -EINVAL;
	trial->hook = found;
	trial->move = !strcmp(move, "move");
	trial->gso = segments[0] != '-';
	if (trial->gso && (sscanf(segments, "%u", &trial->gso_segments) != 1 ||
			   sscanf(size, "%u", &trial->gso_size) != 1))
		return -EINVAL;
	return frame_read_hex(&trial->frame, line + at);
}
