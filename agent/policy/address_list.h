/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses that a write has to come back to. */
#pragma once

#include <errno.h>
#include <stdlib.h>

#include "policy/objects/array.h"

/* Room for so many is kept. */
#define ADDRESS_LIST_KEPT 1024

struct address;

/* Zeroed: empty. The items are not its own. */
struct address_list {
	struct address **items;
	size_t count, capacity;
};

/* 0 or -ENOMEM: the list is as it was. */
static inline int address_list_append(struct address_list *list, struct address *address)
{
	struct address **grown =
		array_grow(list->items, list->count, &list->capacity, sizeof(struct address *));

	if (!grown)
		return -ENOMEM;
	list->items = grown;
	grown[list->count++] = address;
	return 0;
}

/* One that all addresses have grown, as at the start, is given back. It is empty. */
static inline void address_list_settle(struct address_list *list)
{
	if (list->capacity <= ADDRESS_LIST_KEPT)
		return;
	free(list->items);
	*list = (struct address_list){};
}
