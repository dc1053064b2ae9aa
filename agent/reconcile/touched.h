/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses whose map entries changed while all else stays: the flows that name them are evaluated
 * anew or forgotten, and no others. The generation, which has every flow of the node re-evaluated,
 * stays where it is.
 *
 * A look through the flow table finds what stands there. What a program writes afterwards, by what
 * it read before the change, is found by a second look, when the programs have ended that ran
 * during the change. Flows of a pod that left lead nowhere, and nobody can send by them: for them
 * the second look is enough.
 */
#pragma once

#include "agent/kernel/flows.h"
#include "agent/kernel/maps.h"
#include "agent/pods/pods.h"

struct touched;

struct touched *touched_new(struct maps *maps, struct flows *flows); /* NULL: no memory */
void touched_free(struct touched *t);				     /* takes NULL */

/* What the maps say of the address has changed. */
void touched_change(struct touched *t, const struct polder_addr *addr);
/* The same of all addresses in a range. */
void touched_change_range(struct touched *t, const struct prefix *range);
/* The pod's programs and map entries are gone: its flows are forgotten. */
void touched_leave(struct touched *t, const struct local_pod *pod);
/* To be called before a pod's map entries are written: it inherits nothing of one that had its
 * addresses or place just now. */
void touched_enter(struct touched *t, const struct local_pod *pod);

/* Is the first look owed? To be taken at the end of the turn, so that many changes share one. */
bool touched_owes_look(const struct touched *t);
void touched_look(struct touched *t);
/* Before the wait for running programs, and after it: the second look, at what had had its first
 * one when the wait began. */
void touched_mark(struct touched *t);
void touched_second_look(struct touched *t);
/* Nobody can say when the programs have ended: every flow is re-evaluated instead. */
void touched_give_up(struct touched *t);
