/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one that brings the maps to what objects and pods ask for. Changes mark what is dirty; a run
 * applies it: Services and policy; a commit, after the programs that ran during
 * the run have ended, takes away what nobody needs any more. No loop, no sockets, no threads, and
 * time is the environment's: polderd (daemon/reconcile.c) drives it by timers, a private world
 * (sandbox.h) and the differential harness by calling the same functions in the same order.
 *
 *     store changes, attach, detach  ──> wanted()      reconciler_due() tells what, and when:
 *     reconciler_run()      writes beside what is in force, switches; never waits
 *     reconciler_end_turn() after runs: flows that name a changed address are re-evaluated, who
 *                           waits for a change is told
 *     reconciler_begin()    a grace period begins; the caller waits for the programs, in a thread
 *     reconciler_commit()   it is over: both slots alike, what is not named any more is removed
 */
#pragma once

#include "agent/policy/policy_sync.h"
#include "agent/kernel/flows.h"
#include "agent/reconcile/slots.h"

#define RECONCILER_NEVER SLOTS_NEVER
/* Until a run that failed is tried again. */
#define RECONCILER_RETRY_NS 5000000000ull

struct reconciler;

/* What is around it. Borrowed, as is all that it points to. */
struct reconciler_env {
	struct maps *maps;
	struct store *store; /* it listens to it */
	const struct config *config;
	const struct node *node;
	struct peers *peers; /* NULL: other nodes have no numbers, their addresses no peer */
	const char *state;   /* file that keeps numbers over restarts; NULL: none */
	/* ns; never goes back. */
	uint64_t (*now_ns)(void *data);
	/* Returns when no program runs any more that ran at the call; 0 or -errno. For
	 * reconciler_finish() alone: nothing else waits. */
	int (*wait_for_programs)(void *data);
	/* reconciler_due() has changed: something is dirty. NULL: nobody wants to know. */
	void (*wanted)(void *data);
	/* The labels of a local pod's object when they may have changed: they stand for it when the
	 * object has gone, over a restart too. -errno: to be told again with the next commit. */
	policy_sync_labels_visitor keep_labels;
	void *data;
};

/* Opens policy, Services and the flow table on what the maps hold. 0 or -errno. */
int reconciler_open(const struct reconciler_env *env, struct reconciler **ret);
/* Leaves the maps as they are. Takes NULL. Not before the handles of flows_stop() are closed. */
void reconciler_close(struct reconciler *reconciler);
/*
 * Before an orderly end: waits for the programs and commits, so that the next one finds both slots
 * alike. 0 or -errno: then it finds them as a crash leaves them, which is safe.
 */
int reconciler_finish(struct reconciler *reconciler);

/* All objects of all sources are in the store. Before that runs change nothing. */
void reconciler_synced(struct reconciler *reconciler);
/*
 * A pod of this node, before its link is up; the next run covers it. Copies. 0 or -ENOMEM.
 * reconciler_detach() is safe after either; its map entries go at once, its flows with a commit.
 */
int reconciler_attach(struct reconciler *reconciler, const struct local_pod *pod);
void reconciler_detach(struct reconciler *reconciler, const struct local_pod *pod);
/* Map entries may have been changed by others, or (`node`) the node's addresses have changed. */
void reconciler_refresh(struct reconciler *reconciler, bool node);

/* What Services have beside their objects is another: a run is due. */
void reconciler_services_changed(struct reconciler *reconciler);

/*
 * Applies what is dirty. 0, -EAGAIN (not synced) or -errno: what was in force stays, and another
 * run is due. One part that fails keeps the others from nothing. Policy waits for a commit where
 * the slot that would be written may still be read.
 */
int reconciler_run(struct reconciler *reconciler);
/*
 * A look through the flow table comes at once, as long as looks take less than a tenth of the time;
 * as much as LOOK_CREDIT of it may be saved. In a stream of changes with a large table they share
 * looks, which then wait, but never longer than LOOK_MAX.
 */
#define RECONCILER_LOOK_PARTS	  10
#define RECONCILER_LOOK_CREDIT_NS 20000000ll
#define RECONCILER_LOOK_MAX_NS	  80000000ll
/*
 * To be called at the end of the turn, so that many runs share one look through the flow table.
 * Calls whoever waits for changes that are in force now.
 */
void reconciler_end_turn(struct reconciler *reconciler);
/* When nothing happens: what the state file does not have yet. 0 or -errno. */
int reconciler_save(struct reconciler *reconciler);
/* False: there is nothing to wait for, or a grace period is running. Else one begins. */
bool reconciler_begin(struct reconciler *reconciler);
/* The grace period that began is over. `waited`: what wait_for_programs() said. */
void reconciler_commit(struct reconciler *reconciler, int waited);
/* The last one could not delete all that nobody uses any more; a run is due for it. */
bool reconciler_owes(const struct reconciler *reconciler);

/*
 * Compares what runs have followed step by step with what all objects together say, and what the
 * maps should hold with what was written. `*ret_difference` NULL: they agree; else the first
 * difference in words, the caller's: then a run that looks at everything is due. 0, -EAGAIN (a run
 * or a commit is due, so there is nothing to compare), -ENOMEM. Costs what the whole world costs.
 */
int reconciler_audit(struct reconciler *reconciler, char **ret_difference);

struct reconciler_due {
	uint64_t run_ns, begin_ns; /* times of the environment's clock; RECONCILER_NEVER */
	uint64_t turn_ns;	   /* reconciler_end_turn() has something to do; RECONCILER_NEVER */
};
struct reconciler_due reconciler_due(const struct reconciler *reconciler);

/*
 * Called once, when all changes up to the number `change` are in force: from reconciler_end_turn(),
 * or from within reconciler_after() if they are already. The caller's memory, until the call or
 * reconciler_cancel().
 */
struct reconciler_wait {
	uint64_t change;
	void (*call)(void *data);
	void *data;
	struct reconciler_wait *next; /* the reconciler's */
};
void reconciler_after(struct reconciler *reconciler, struct reconciler_wait *wait);
/* It may be over already. */
void reconciler_cancel(struct reconciler *reconciler, const struct reconciler_wait *wait);
/* The number of the last change; the next one has the next number. */
uint64_t reconciler_change(const struct reconciler *reconciler);

struct reconciler_progress {
	bool synced;
	bool reconciled; /* a run has succeeded since */
	bool pending;	 /* a change is not in force yet */
	uint64_t runs, failures;
	uint64_t switches;	      /* runs that put the other slot in force */
	uint64_t last_ns;	      /* how long the last run took */
	uint64_t audits, differences; /* of reconciler_audit() */
};
void reconciler_progress(const struct reconciler *reconciler, struct reconciler_progress *ret);

/* Its parts, for showing and asking. They live as long as it does. */
struct policy_sync *reconciler_policy(const struct reconciler *reconciler);
struct services *reconciler_services(const struct reconciler *reconciler);
struct flows *reconciler_flows(const struct reconciler *reconciler);
