/* SPDX-License-Identifier: Apache-2.0 */
/* What the cases need and tests/bpf/world.h does not give: implemented for each layout of the maps.
 */
#pragma once

#include "tests/bpf/world.h"

/*
 * Isolates the first pod in egress and the second in ingress, and allows TCP from the one to the
 * other: by an identity, a protocol and a cell on each side, beside prefixes that do not match.
 */
void layout_isolate(struct world *world);
