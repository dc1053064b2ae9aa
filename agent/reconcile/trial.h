/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private world: a store and the reconciler of polderd on maps that nobody else sees, with the
 * programs loaded and attached to nothing. What would be if these objects were in force, tried with
 * real packets. What polderd has around its reconciler is here in small: records of pods, and
 * timers, whose turn comes when the caller says so.
 */
#pragma once

#include "agent/kernel/test_run.h"
#include "agent/reconcile/reconciler.h"

struct trial;

/*
 * Sizes, ranges and masquerade come from `config`, which is borrowed as `node` is;
 * trial_config_small() makes copies of a node's own fit for a world of few pods. `state` keeps
 * numbers over trial_restart() (NULL: in memory only, for worlds that never restart). Takes some
 * tenths of a second: the programs are verified. 0 or -errno with `message`.
 */
int trial_open(const struct config *config, const struct node *node, const char *state,
	       struct trial **ret, char *message, size_t size);
void trial_close(struct trial *trial); /* takes NULL */
/* A copy without ownership: maps of `entries` elements at most, small flow tables. What is opened
 * and cleared often should be small. */
struct config trial_config_small(const struct config *config, uint32_t entries);

/* Adds, or replaces the one of this kind, namespace and name. Takes the object. 0 or -ENOMEM (the
 * object is freed). */
int trial_put(struct trial *trial, struct object *object);
/* Did it exist? `namespace` "" for kinds without. */
bool trial_delete(struct trial *trial, enum object_kind kind, const char *namespace,
		  const char *name);
/* All that count in another store; shared, not copied. 0 or -ENOMEM. */
int trial_put_store(struct trial *trial, const struct store *store);

/*
 * A pod of this node, at a link of its own: links of the packets that are tried must be there, for
 * the maps alone any number does. Copies. Known to the programs from the next pass on. 0, -EEXIST
 * (container and interface), -EBUSY (the link's number, or its place in the map, is another pod's),
 * -ENOMEM.
 */
int trial_attach(struct trial *trial, const struct local_pod *pod);
/* Its entries go at once, its flows with trial_finish() after a pass. -ENOENT: no such attachment.
 */
int trial_detach(struct trial *trial, const char *container_id, const char *ifname);

/* Other threads run packets: whoever waits for the programs waits for theirs from now on. Before,
 * there are none to wait for. */
void trial_share(struct trial *trial);
/*
 * A run of the reconciler over what has changed since the last, and the end of its turn; before it
 * what is left of the last one, if the run would have to wait for that. `*ret_again`: another one
 * would bring more in. 0 or -errno.
 */
int trial_pass(struct trial *trial, bool *ret_again);
/* The same as for a pod that is connected: the run itself waits for the programs if it must. */
int trial_pass_now(struct trial *trial, bool *ret_again);
/* A grace period, if one is due, and its commit. True: another pass is wanted. */
bool trial_finish(struct trial *trial);
/*
 * The agent ends (`crash`: without finishing anything) and starts again: maps and `state` stay, the
 * rest is opened anew. The first pass is the caller's. 0 or -errno: then only trial_close() is
 * left.
 */
int trial_restart(struct trial *trial, bool crash);
/* Back to the beginning: no objects, no pods, empty maps, no state. 0 or -errno: then only
 * trial_close() is left. */
int trial_clear(struct trial *trial);

/* For looking at. Valid until the next restart or clear. */
const struct store *trial_store(const struct trial *trial);
struct reconciler *trial_reconciler(const struct trial *trial);
struct enforce *trial_enforce(const struct trial *trial);
struct services *trial_services(const struct trial *trial);
struct maps *trial_maps(const struct trial *trial);
struct datapath *trial_datapath(const struct trial *trial);
struct flows *trial_flows(const struct trial *trial);
/* Of the world's own programs; exact. Valid until trial_close(). */
struct test_run *trial_run(const struct trial *trial);
