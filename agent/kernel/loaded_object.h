/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors of an object's programs and of the maps that it has for itself: what is left to
 * keep of libbpf's object once it is loaded, which would hold some hundred kilobytes of
 * instructions, types and relocations.
 */
#pragma once

#include <bpf/libbpf.h>
#include <stdbool.h>

struct loaded_object;

/*
 * Of what the kernel has loaded of it, on descriptors of its own: the object may be closed then.
 * `is_own` says which maps are the object's own; others are not kept. 0 or -errno.
 */
int loaded_object_new(const struct bpf_object *object,
		      bool (*is_own)(const struct bpf_map *map, const void *data), const void *data,
		      struct loaded_object **ret);
void loaded_object_free(struct loaded_object *object); /* takes NULL */

/* Borrowed. -ENOENT: it has none of that name, or that one was left out. */
int loaded_object_program(const struct loaded_object *object, const char *name);
int loaded_object_map(const struct loaded_object *object, const char *name);
/* All programs in their order: name and descriptor of number `i`; NULL behind the last. */
const char *loaded_object_each(const struct loaded_object *object, size_t i, int *ret_fd);
