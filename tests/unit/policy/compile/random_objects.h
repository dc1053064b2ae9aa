/* SPDX-License-Identifier: Apache-2.0 */
/* What tests make random objects of: numbers from a seed, and texts in JSON with ' for ". */
#pragma once

#include "policy/objects/objects.h"

/* 0 to count - 1. */
uint32_t random_pick(uint64_t *random, uint32_t count);
/* Text of its own for each of a few calls. */
char *random_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Of a pod, without braces: 'app' a0 to a2 and 'tier' t0 or t1, or none. */
const char *random_labels(uint64_t *random);
/* By the label 'team', m0 or m1, or {}. */
const char *random_namespace_selector(uint64_t *random);
/* The one object that the text holds, the caller's. Ends the test if it is none. */
struct object *random_decode(const char *format, ...) __attribute__((format(printf, 1, 2)));
