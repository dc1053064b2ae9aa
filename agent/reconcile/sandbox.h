/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private world: a store and the reconciler of polderd on maps that nobody else sees, with the
 * programs loaded and attached to nothing. What would be if these objects were in force, tried with
 * real packets. What polderd has around its reconciler is here in small: records of pods, and
 * timers, whose turn comes when the caller says so.
 */
#pragma once

#include "agent/kernel/test_run.h"
#include "agent/node/peers.h"
#include "agent/reconcile/reconciler.h"

struct sandbox;

/*
 * Sizes, ranges and masquerade come from `config`, which is borrowed as `node` is;
 * sandbox_config_small() makes copies of a node's own fit for a world of few pods. `state` keeps
 * numbers over sandbox_restart() (NULL: in memory only, for worlds that never restart). Takes some
 * tenths of a second: the programs are verified. 0 or -errno with `message`.
 */
int sandbox_open(const struct config *config, const struct node *node, const char *state,
		 struct sandbox **ret, char *message, size_t size);
void sandbox_close(struct sandbox *sandbox); /* takes NULL */
/*
 * From now on it knows other nodes as polderd does: by numbers, reached by the node's networks or
 * by this tunnel (zeroed: none). It is empty afterwards. 0 or -errno: then only sandbox_close() is
 * left.
 */
int sandbox_know_peers(struct sandbox *sandbox, const struct peers_tunnel *tunnel);
/* A copy without ownership: maps of `entries` elements at most, small flow tables. What is opened
 * and cleared often should be small. */
struct config sandbox_config_small(const struct config *config, uint32_t entries);

/* Adds, or replaces the one of this kind, namespace and name. Takes the object. 0 or -ENOMEM (the
 * object is freed). */
int sandbox_put(struct sandbox *sandbox, struct object *object);
/* Did it exist? `namespace` "" for kinds without. */
bool sandbox_delete(struct sandbox *sandbox, enum object_kind kind, const char *namespace,
		    const char *name);
/* All that count in another store; shared, not copied. 0 or -ENOMEM. */
int sandbox_put_store(struct sandbox *sandbox, const struct store *store);

/*
 * A pod of this node, at a link of its own: links of the packets that are tried must be there, for
 * the maps alone any number does. Copies. Known to the programs from the next pass on. 0, -EEXIST
 * (container and interface), -EBUSY (the link's number, or its place in the map, is another pod's),
 * -ENOMEM.
 */
int sandbox_attach(struct sandbox *sandbox, const struct local_pod *pod);
/* Its entries go at once, its flows with sandbox_commit() after a run. -ENOENT: no such
 * attachment.
 */
int sandbox_detach(struct sandbox *sandbox, const char *container_id, const char *ifname);

/* Other threads run packets: whoever waits for the programs waits for theirs from now on. Before,
 * there are none to wait for. */
void sandbox_share(struct sandbox *sandbox);
/*
 * A run of the reconciler over what has changed since the last, and the end of its turn; before it
 * what is left of the last one, if the run would have to wait for that. `*ret_again`: another one
 * would bring more in. 0 or -errno.
 */
int sandbox_run(struct sandbox *sandbox, bool *ret_again);
/* A grace period, if one is due, and its commit. True: another run is wanted. */
bool sandbox_commit(struct sandbox *sandbox);
/*
 * The agent ends (`crash`: without finishing anything) and starts again: maps and `state` stay, the
 * rest is opened anew. The first run is the caller's. 0 or -errno: then only sandbox_close() is
 * left.
 */
int sandbox_restart(struct sandbox *sandbox, bool crash);
/* Back to the beginning: no objects, no pods, empty maps, no state. 0 or -errno: then only
 * sandbox_close() is left. */
int sandbox_clear(struct sandbox *sandbox);

/* For looking at. Valid until the next restart or clear. */
const struct store *sandbox_store(const struct sandbox *sandbox);
struct reconciler *sandbox_reconciler(const struct sandbox *sandbox);
struct policy_sync *sandbox_policy_sync(const struct sandbox *sandbox);
struct services *sandbox_services(const struct sandbox *sandbox);
struct maps *sandbox_maps(const struct sandbox *sandbox);
struct datapath *sandbox_datapath(const struct sandbox *sandbox);
struct flows *sandbox_flows(const struct sandbox *sandbox);
/* Of the world's own programs; exact. Valid until sandbox_close(). */
struct test_run *sandbox_test_run(const struct sandbox *sandbox);
