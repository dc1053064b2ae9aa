/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Included first by TC programs: the context that functions which are shared with other hooks take.
 */
#pragma once

#include "common.h"

typedef struct __sk_buff packet_context;
