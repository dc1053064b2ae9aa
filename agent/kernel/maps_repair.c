/* SPDX-License-Identifier: Apache-2.0 */
/* Maps whose pins somebody has removed. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/bpffs.h"
#include "agent/kernel/maps_internal.h"

/* 0: it is no map's. */
static uint32_t map_id(int fd)
{
	struct bpf_map_info info = {};
	uint32_t length = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 ? info.id : 0;
}

/* 0; 1: it had no pin, and has one; -errno. */
static int pin_again(const struct maps *maps, const struct map_info *info)
{
	CLEANUP(cleanup_close) int pinned = -1;
	char path[320];

	maps_path(maps, NULL, info->name, path, sizeof(path));
	pinned = bpf_obj_get(path);
	if (pinned < 0 && errno != ENOENT)
		return -errno; /* the pin is there, whatever it is */
	if (pinned >= 0 && map_id(pinned) == map_id(info->fd))
		return 0;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	return bpf_obj_pin(info->fd, path) < 0 ? -errno : 1;
}

int maps_repair(struct maps *maps, size_t *ret_repaired, char *message, size_t size)
{
	size_t repaired = 0;
	int r;

	/* A move knows what is pinned where. */
	if (!maps->directory[0] || maps_is_moving(maps)) {
		*ret_repaired = 0;
		return 0;
	}
	r = bpffs_prepare(maps->directory, message, size);
	if (r < 0)
		return r;
	for (int i = 0; i < MAP_COUNT; i++) {
		r = pin_again(maps, &maps->info[i]);
		if (r < 0) {
			snprintf(message, size, "map %s: cannot be pinned in %s: %s",
				 maps->info[i].name, maps->directory, strerror(-r));
			return r;
		}
		repaired += r > 0;
	}
	*ret_repaired = repaired;
	return 0;
}
