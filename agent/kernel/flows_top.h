/* SPDX-License-Identifier: Apache-2.0 */
/* The flows that have most of something, out of any number, in bounded memory. */
#pragma once

#include "agent/kernel/flows.h"

enum flows_order { FLOWS_BY_BYTES, FLOWS_BY_PACKETS, FLOWS_BY_USE, FLOWS_ORDERS };

struct flows_top {
	struct flow_record *items; /* a heap: the first one is the least of them */
	size_t count, most;
	enum flows_order order;
};

/* 0 or -ENOMEM. */
int flows_top_init(struct flows_top *top, enum flows_order order, size_t most);
void flows_top_clear(struct flows_top *top); /* takes a zeroed one */
void flows_top_offer(struct flows_top *top, const struct flow_record *record);
/* Sorts what was kept, the most first. Nothing can be offered after this. */
void flows_top_sort(struct flows_top *top);
