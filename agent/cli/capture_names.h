/* SPDX-License-Identifier: Apache-2.0 */
/* Who is who, asked of the agent and remembered: packets of one flow are asked about once. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "agent/cli/cli.h"
#include "datapath/abi.h"

struct capture_names;

/* 0 or -ENOMEM. */
int capture_names_new(const struct cli *cli, struct capture_names **ret);
void capture_names_free(struct capture_names *names); /* takes NULL */

/*
 * Notes that the event's names will be wanted, unless they are known, or too many are wanted
 * already: who floods the node with new flows makes the agent no more work than a fixed share.
 */
void capture_names_want(struct capture_names *names, const struct polder_event *event);
/* Asks for what is wanted. An agent that does not answer leaves names out. */
void capture_names_ask(struct capture_names *names);
/* The agent's document of the event (docs/control-protocol.md, monitor); NULL: not known. Valid
 * until the next capture_names_want(). */
const json_t *capture_names_of(struct capture_names *names, const struct polder_event *event);
