/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock: goes forward only, and stands while the machine is suspended. */
#pragma once

#include <stdint.h>

uint64_t clock_monotonic_ns(void);
int64_t clock_monotonic_ms(void);
