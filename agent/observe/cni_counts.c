/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/cni_counts.h"

const char *const cni_command_names[CNI_COMMANDS] = {
	[COMMAND_ADD] = "ADD", [COMMAND_DEL] = "DEL",	    [COMMAND_CHECK] = "CHECK",
	[COMMAND_GC] = "GC",   [COMMAND_STATUS] = "STATUS",
};

static struct cni_code_count *find(struct cni_counts *counts, int code)
{
	for (size_t i = 0; i < counts->code_count; i++)
		if (counts->codes[i].code == code)
			return &counts->codes[i];
	if (counts->code_count == CNI_CODES_MAX)
		return &counts->codes[CNI_CODES_MAX - 1];
	counts->codes[counts->code_count].code = code;
	return &counts->codes[counts->code_count++];
}

void cni_counts_add(struct cni_counts *counts, enum cni_command command, int code, uint64_t ns)
{
	find(counts, code)->counts[command]++;
	histogram_add(&counts->durations[command], ns);
}
