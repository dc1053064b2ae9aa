/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>

struct bpf_object;

/*
 * Each line of the loaded programs of an object: [address, file, line]. Addresses are of the
 * kernel, as perf tells them; 0 where it hides them (kernel.kptr_restrict). The caller's reference.
 */
json_t *lines_of(const struct bpf_object *object);
