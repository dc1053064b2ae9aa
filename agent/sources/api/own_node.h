/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the cluster has of this node that polderd answers for: the taint that keeps pods away until
 * there is a network, and the condition NetworkUnavailable. What they are, read from the Node
 * object, and the patches that make them what they should be.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OWN_NODE_TAINT	"polder.dev/agent-not-ready"
#define OWN_NODE_REASON "PolderIsUp"
/* The taint with different effects. */
#define OWN_NODE_TAINTS 8

struct own_node {
	uint64_t version;		      /* resourceVersion; 0: unknown */
	unsigned int taints[OWN_NODE_TAINTS]; /* where in spec.taints it stands */
	size_t taint_count;
	bool available; /* NetworkUnavailable is False, by polderd's word */
	char since[40]; /* since when it is False, by anybody's; "": it is not */
};

/* The text of a Node. 0; -EBADMSG: it is no object; -ENOMEM. */
int own_node_read(const char *text, size_t length, struct own_node *ret);
/*
 * A JSON patch of the Node that takes its taints away and no other: each place is tested first, so
 * that it fails as a whole where somebody has changed the list. NULL: no memory. free() it.
 */
char *own_node_taint_patch(const struct own_node *node);
/*
 * A strategic merge patch of the Node's status. `now`: seconds since 1970. The time of the last
 * transition stays where the condition was False before. NULL: no memory. free() it.
 */
char *own_node_condition_patch(const struct own_node *node, int64_t now);
/* As the API writes times: "2026-01-02T03:04:05Z". */
void own_node_time(int64_t seconds, char text[32]);
