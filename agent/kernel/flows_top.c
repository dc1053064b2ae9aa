/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/flows_top.h"

#include <errno.h>
#include <stdlib.h>

/* Flows that were used last have the greatest value. */
static uint64_t value_of(enum flows_order order, const struct flow_record *record)
{
	switch (order) {
	case FLOWS_BY_BYTES:
		return record->flow.bytes;
	case FLOWS_BY_PACKETS:
		return record->flow.packets;
	default:
		return UINT32_MAX - record->idle;
	}
}

static bool is_less(const struct flows_top *top, size_t a, size_t b)
{
	return value_of(top->order, &top->items[a]) < value_of(top->order, &top->items[b]);
}

static void swap(struct flows_top *top, size_t a, size_t b)
{
	struct flow_record record = top->items[a];

	top->items[a] = top->items[b];
	top->items[b] = record;
}

static void rise(struct flows_top *top, size_t i)
{
	for (; i > 0 && is_less(top, i, (i - 1) / 2); i = (i - 1) / 2)
		swap(top, i, (i - 1) / 2);
}

static void sink(struct flows_top *top, size_t i, size_t count)
{
	for (;;) {
		size_t least = i;

		for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++)
			if (child < count && is_less(top, child, least))
				least = child;
		if (least == i)
			return;
		swap(top, i, least);
		i = least;
	}
}

int flows_top_init(struct flows_top *top, enum flows_order order, size_t most)
{
	struct flow_record *items = calloc(most, sizeof(*items));

	if (!items)
		return -ENOMEM;
	*top = (struct flows_top){.items = items, .most = most, .order = order};
	return 0;
}

void flows_top_clear(struct flows_top *top)
{
	free(top->items);
	*top = (struct flows_top){0};
}

void flows_top_offer(struct flows_top *top, const struct flow_record *record)
{
	if (top->count < top->most) {
		top->items[top->count++] = *record;
		rise(top, top->count - 1);
	} else if (value_of(top->order, record) > value_of(top->order, &top->items[0])) {
		top->items[0] = *record;
		sink(top, 0, top->count);
	}
}

/* The least one goes to the end, again and again. */
void flows_top_sort(struct flows_top *top)
{
	for (size_t left = top->count; left > 1; left--) {
		swap(top, 0, left - 1);
		sink(top, 0, left - 1);
	}
}
