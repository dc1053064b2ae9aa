/* SPDX-License-Identifier: Apache-2.0 */
/* Standard streams that a caller closed. */
#pragma once

/*
 * Fills the places of closed standard descriptors with one that cannot be written to: otherwise the
 * next socket would take the place, and output would go into it. Ends the process, with a message,
 * if that cannot be. Call it first.
 */
void streams_fill(void);
