/* SPDX-License-Identifier: Apache-2.0 */
/* A frame and where it comes in: run, written down, read again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "frames.h"

static const char *const hook_names[HOOK_COUNT] = {
	[HOOK_FROM_POD] = "from_pod",	[HOOK_TO_POD] = "to_pod",
	[HOOK_FROM_WIRE] = "from_wire", [HOOK_TO_WIRE] = "to_wire",
	[HOOK_WIRE_XDP] = "wire_xdp",	[HOOK_FROM_TUNNEL] = "from_tunnel",
	[HOOK_TO_TUNNEL] = "to_tunnel",
};

struct world_result probe_run(struct world *world, const struct probe *probe)
{
	if (probe->move)
		world_move_generation(world, 2);
	if (probe->gso)
		return world_run_gso(world, probe->hook, probe->link, &probe->frame,
				     probe->gso_segments, probe->gso_size);
	return world_run(world, probe->hook, probe->link, probe->ingress, &probe->frame);
}

enum polder_zone probe_zone(const struct probe *probe)
{
	switch (probe->hook) {
	case HOOK_FROM_POD:
		return ZONE_POD;
	case HOOK_TO_POD:
		return probe->ingress ? ZONE_WIRE : ZONE_HOST;
	case HOOK_TO_WIRE:
		return ZONE_HOST;
	default:
		return ZONE_WIRE;
	}
}

void probe_print(const struct probe *probe, void *file)
{
	fprintf(file, "%s %s %u %u ", probe->move ? "move" : "-", hook_names[probe->hook],
		probe->link, probe->ingress);
	if (probe->gso)
		fprintf(file, "%u %u ", probe->gso_segments, probe->gso_size);
	else
		fprintf(file, "- - ");
	for (size_t i = 0; i < probe->frame.length; i++)
		fprintf(file, "%02x", probe->frame.bytes[i]);
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

int probe_read(struct probe *probe, const char *line)
{
	char move[16], hook[16], segments[16], size[16];
	int at = 0, found;

	memset(probe, 0, sizeof(*probe));
	if (sscanf(line, "%15s %15s %u %u %15s %15s %n", move, hook, &probe->link, &probe->ingress,
		   segments, size, &at) != 6 ||
	    !at)
		return -EINVAL;
	found = hook_named(hook);
	if (found < 0)
		return -EINVAL;
	probe->hook = found;
	probe->move = !strcmp(move, "move");
	probe->gso = segments[0] != '-';
	if (probe->gso && (sscanf(segments, "%u", &probe->gso_segments) != 1 ||
			   sscanf(size, "%u", &probe->gso_size) != 1))
		return -EINVAL;
	return frame_read_hex(&probe->frame, line + at);
}
