/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin's requests: how many ended how, and how long they took. */
#pragma once

#include "agent/observe/histogram.h"

enum cni_command {
	COMMAND_ADD,
	COMMAND_DEL,
	COMMAND_CHECK,
	COMMAND_GC,
	COMMAND_STATUS,
	CNI_COMMANDS
};
extern const char *const cni_command_names[CNI_COMMANDS];

/* More codes than there are: the plugin's, the runtime's and errno's that are in use. */
#define CNI_CODES_MAX 32

struct cni_counts {
	struct histogram durations[CNI_COMMANDS];
	struct cni_code_count {
		int code; /* 0: done */
		uint64_t counts[CNI_COMMANDS];
	} codes[CNI_CODES_MAX];
	size_t code_count;
};

/* `code` 0: it was done. Codes that find no place are counted under the last one. */
void cni_counts_add(struct cni_counts *counts, enum cni_command command, int code, uint64_t ns);
