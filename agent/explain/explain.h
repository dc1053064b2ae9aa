/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "May this one reach that one, and who says so?", asked three ways: the objects, the map entries,
 * the loaded program.
 */
#pragma once

#include "agent/show/show.h"

/* Registers explain and policy, see docs/control-protocol.md. `sources` is kept. 0 or -errno. */
int explain_register(struct control_server *server, const struct show_sources *sources);
