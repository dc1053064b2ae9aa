/* SPDX-License-Identifier: Apache-2.0 */
/* What every fuzz target is made of. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* libFuzzer calls it with every input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input; also when assert() is off. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)
