/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow. */
#pragma once

#include <stdlib.h>

/* Room for one more in an array that doubles: the array, perhaps moved, or NULL: no memory (the old
 * one stays). */
static inline void *array_grow(void *items, size_t count, size_t *capacity, size_t size)
{
	size_t larger = *capacity ? *capacity * 2 : 4;
	void *moved;

	if (count < *capacity)
		return items;
	moved = reallocarray(items, larger, size);
	if (moved)
		*capacity = larger;
	return moved;
}
