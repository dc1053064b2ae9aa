/* SPDX-License-Identifier: Apache-2.0 */
/* Contiguous ranges of the numbers 0 to size - 1: which elements of an array belong to whom. */
#pragma once

#include <stdint.h>

struct ranges;

/* 0 or -ENOMEM. */
int ranges_new(uint32_t size, struct ranges **ret);
void ranges_free(struct ranges *ranges); /* takes NULL */

/*
 * The lowest free range of `count` numbers. 0; -E2BIG: none is that long; -ENOMEM. A count of 0
 * takes nothing and gives 0.
 */
int ranges_take(struct ranges *ranges, uint32_t count, uint32_t *ret_first);
/* A certain range, as a restarted agent finds it. 0; -EEXIST: part of it is taken; -ERANGE: beyond
 * the size; -ENOMEM. */
int ranges_take_at(struct ranges *ranges, uint32_t first, uint32_t count);
/* Gives back a whole range that was taken. Cannot fail. */
void ranges_give(struct ranges *ranges, uint32_t first, uint32_t count);

uint32_t ranges_used(const struct ranges *ranges);
uint32_t ranges_longest_free(const struct ranges *ranges);
