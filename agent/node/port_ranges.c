/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/port_ranges.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"

/* The sysctls' texts are short, but a list of reserved ports may be long. */
#define TEXT_MAX (1u << 20)

static char *read_sysctl(const struct config *config, const char *name)
{
	char path[PATH_MAX], *text = NULL;
	size_t length = 0;

	snprintf(path, sizeof(path), "%s/ipv4/%s", config->sysctl_dir, name);
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || file_read_all(fd, TEXT_MAX, &text, &length) < 0)
		return NULL;
	return text;
}

/* "30000-30100,30105": the first port of the range that is not in the list, which is in order; 0:
 * all are. */
static unsigned int first_missing(const char *list, unsigned int min, unsigned int max)
{
	char *end;

	for (; *list >= '0' && *list <= '9'; list = *end == ',' ? end + 1 : end) {
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (first <= min && last >= min)
			min = (unsigned int)last + 1;
	}
	return min > max ? 0 : min;
}

void port_ranges_note(const struct config *config, char *note, size_t size)
{
	CLEANUP(cleanup_free)
	char *range = read_sysctl(config, "ip_local_port_range"),
	     *reserved = read_sysctl(config, "ip_local_reserved_ports");
	unsigned int min, max, first, last;

	note[0] = '\0';
	if (!range || sscanf(range, "%u %u", &min, &max) != 2)
		return;
	first = min > config->node_port_min ? min : config->node_port_min;
	last = max < config->node_port_max ? max : config->node_port_max;
	if (first > last || !first_missing(reserved ? reserved : "", first, last))
		return;
	snprintf(note, size,
		 "the kernel gives ports %u to %u, which are node ports (--node-port-range %u-%u), "
		 "to the node's own connections (net.ipv4.ip_local_port_range is %u to %u): those "
		 "keep their replies, but nobody can listen on one that a Service has; set "
		 "net.ipv4.ip_local_reserved_ports to %u-%u",
		 first, last, config->node_port_min, config->node_port_max, min, max,
		 config->node_port_min, config->node_port_max);
}
