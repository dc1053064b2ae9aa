/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that the node's own connections get, and those of Services. */
#pragma once

#include "agent/config/config.h"

/*
 * Does the kernel give node ports to the node's own connections? Then says which, and what to do;
 * "": it does not, or does not tell. Reads ip_local_port_range and ip_local_reserved_ports.
 */
void port_ranges_note(const struct config *config, char *note, size_t size);
