/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations policy.try and policy.commit: which flows would be evaluated otherwise if these
 * objects were applied, and putting them into the resources directory.
 */
#pragma once

#include "agent/show/show.h"

/* `sources` is kept. 0 or -errno. */
int dry_run_register(struct control_server *server, const struct show_sources *sources);
