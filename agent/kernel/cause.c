/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/cause.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the limits of a group are, of version 2 and of version 1. */
static const struct {
	const char *root, *file;
	int version;
} places[] = {
	{"/sys/fs/cgroup", "memory.max", 2},
	{"/sys/fs/cgroup/unified", "memory.max", 2},
	{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", 1},
};

/* "max", and numbers beyond any memory, are no limit. */
static uint64_t read_limit(const char *path)
{
	unsigned long long value = 0;
	FILE *file = fopen(path, "re");
	int got = file ? fscanf(file, "%llu", &value) : 0;

	if (file)
		fclose(file);
	return got == 1 && value < 1ull << 50 ? value : UINT64_MAX;
}

/* Of the group and all above it. */
static uint64_t limit_of_group(int version, char *group)
{
	uint64_t limit = UINT64_MAX, found;
	char path[PATH_MAX + 64];

	for (;;) {
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			if (places[i].version != version)
				continue;
			snprintf(path, sizeof(path), "%s%s/%s", places[i].root, group,
				 places[i].file);
			found = read_limit(path);
			limit = found < limit ? found : limit;
		}
		if (!strrchr(group, '/'))
			return limit;
		*strrchr(group, '/') = '\0';
	}
}

uint64_t cause_memory_limit(void)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	uint64_t limit = UINT64_MAX, found;
	char line[PATH_MAX];

	while (file && fgets(line, sizeof(line), file)) {
		char *controllers = strchr(line, ':'), *group;

		group = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!group)
			continue;
		*group++ = '\0';
		group[strcspn(group, "\n")] = '\0';
		if (controllers[1] && strcmp(controllers + 1, "memory") != 0)
			continue;
		found = limit_of_group(controllers[1] ? 1 : 2, group);
		limit = found < limit ? found : limit;
	}
	if (file)
		fclose(file);
	return limit;
}

static void explain_memory(char *text, size_t size)
{
	uint64_t limit = cause_memory_limit();

	if (limit == UINT64_MAX)
		snprintf(text, size,
			 "the machine has not enough free memory; smaller sizes need less, see "
			 "Sizes "
			 "in docs/operations.md");
	else
		snprintf(text, size,
			 "polderd's memory limit is %" PRIu64
			 " MiB (MemoryMax of its unit); raise it, "
			 "or choose smaller sizes, see Sizes in docs/operations.md",
			 limit >> 20);
}

bool cause_may_pass(int error)
{
	int code = error < 0 ? -error : error;

	return code == EINTR || code == EAGAIN || code == ENOMEM || code == ENOBUFS;
}

const char *cause_of(int error, char text[CAUSE_MAX])
{
	int code = error < 0 ? -error : error;
	char more[CAUSE_MAX - 64] = "";

	switch (code) {
	case ENOMEM:
		explain_memory(more, sizeof(more));
		break;
	case EPERM:
	case EACCES:
		snprintf(more, sizeof(more),
			 "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are required, and a kernel that "
			 "is not "
			 "locked down");
		break;
	case EMFILE:
		snprintf(
			more, sizeof(more),
			"all descriptors that polderd may have are open (LimitNOFILE of its unit)");
		break;
	case ENFILE:
		snprintf(more, sizeof(more), "the machine's limit of open files (fs.file-max)");
		break;
	case E2BIG:
		snprintf(more, sizeof(more), "a smaller size is required");
		break;
	case EINVAL:
	case ENOSYS:
	case EOPNOTSUPP:
		snprintf(more, sizeof(more), "Linux 6.1 or newer is required");
		break;
	default:
		break;
	}
	snprintf(text, CAUSE_MAX, "%s%s%s", strerror(code), *more ? ": " : "", more);
	return text;
}
