/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From pods, namespaces, nodes and policies to the maps addresses, pods and rule sets. A run
 * builds what is new beside what is in force, then one word (the slot) switches; what is old goes
 * when no program can still be using it. A run that changes nothing that all flows may depend on
 * leaves the generation where it is, and names the addresses whose flows it concerns.
 */
#pragma once

#include "agent/kernel/maps.h"
#include "agent/node/node.h"
#include "agent/node/peers.h"
#include "agent/pods/pods.h"
#include "agent/services/services.h"
#include "agent/store/store.h"
#include "policy/compile/compile.h"

struct policy_sync;

/* `state` is the file that keeps numbers over restarts (NULL: none). `peers` (borrowed) is followed
 * by the caller; NULL: Nodes are followed here, and their addresses are behind no peer. Reads what
 * the maps hold. 0 or -errno. */
int policy_sync_open(struct maps *maps, const struct store *store, const struct config *config,
		     const struct node *node, struct peers *peers, const char *state,
		     struct policy_sync **ret);
void policy_sync_close(struct policy_sync *sync);

/* A local pod: known from now on; the next run covers it. Copies what it needs. 0 or -ENOMEM. */
int policy_sync_add_pod(struct policy_sync *sync, const struct local_pod *pod);
/* Its MAC address is another one now: its map entry says so at once. 0 or -errno. */
int policy_sync_pod_mac(struct policy_sync *sync, const struct local_pod *pod);
/* Its map entries go at once; its flows are the caller's to forget. */
void policy_sync_remove_pod(struct policy_sync *sync, const struct local_pod *pod);
/*
 * To be called for each change of an object in the store: remembers the labels of a Pod object that
 * goes while its container stays. True: policy may have changed, a run is wanted.
 */
bool policy_sync_object_changed(struct policy_sync *sync, const struct object *object,
				bool deleted);

/* The node's addresses may have changed (`node`), or others may have changed map entries: for the
 * next run. */
void policy_sync_refresh(struct policy_sync *sync, bool node);
/*
 * One run, which writes the slot that is not in force: not before the programs have ended that may
 * still read it. It costs what has changed since the last one. `*ret_switched`: it is in force now,
 * and what was before is in the other one. 0 or -errno: then what was in force before stays, new
 * pods stay closed, and the next run looks at everything.
 */
int policy_sync_run(struct policy_sync *sync, bool *ret_switched);
/*
 * After each run, whatever came of it: addresses of which the maps say something else now, while
 * the generation has not moved. Flows that name one have to be re-evaluated. Told once, valid until
 * the next run.
 */
size_t policy_sync_touched(struct policy_sync *sync, const struct polder_addr **ret);
size_t policy_sync_touched_ranges(struct policy_sync *sync, const struct prefix **ret);
/*
 * Syncs the switched slots and removes old rule sets. To be called some time after a run, when
 * the programs that ran during it have ended (maps_wait_for_programs()). True: what did not fit may
 * fit now, another run is wanted.
 */
bool policy_sync_commit(struct policy_sync *sync);
/* Has the last commit left what it should have deleted or copied? The commit after another run
 * tries again. */
bool policy_sync_owes(const struct policy_sync *sync);

/*
 * Compares what passes have followed step by step with what all objects together say.
 * `*ret_difference` NULL: they agree; else the first difference in words, the caller's. 0, -EAGAIN
 * (a run is due), -ENOMEM.
 */
int policy_sync_audit(struct policy_sync *sync, char **ret_difference);
/*
 * Writes numbers to the state file that it does not have yet. Numbers are taken there before they
 * are used, but what they stand for comes later: without this, identities that came since are
 * numbered anew after a restart, which is safe. 0 or -errno.
 */
int policy_sync_save(struct policy_sync *sync);
/* Writes the state directory's copy of which pods are held, if it is not there or could not be
 * written. */
void policy_sync_repair_copy(struct policy_sync *sync);
/* Trusts nothing: the next run looks at everything. */
void policy_sync_resync(struct policy_sync *sync);

/* Why a pod that was added cannot be served (its addresses found no room); NULL: it can. Valid
 * until the next run. */
const char *policy_sync_pod_refused(struct policy_sync *sync, const struct local_pod *pod);
/* Has a run that succeeded covered the pod? */
bool policy_sync_pod_written(const struct policy_sync *sync, const struct local_pod *pod);
/* Is the pod closed until its own Pod object comes, as its name is another pod's now? */
bool policy_sync_pod_waits(const struct policy_sync *sync, const struct local_pod *pod);
/* Are the pod's map entries what they should be? 0: they are. -ENOENT: not. -errno: the maps could
 * not be read. */
int policy_sync_pod_in_force(const struct policy_sync *sync, const struct local_pod *pod);
size_t policy_sync_pod_count(const struct policy_sync *sync);
/*
 * Tells of each pod that has an object in the store, or had one, what its labels are: if that may
 * be another thing than was told last, or if the visitor gave a negative value then.
 */
typedef int (*policy_sync_labels_visitor)(const char *container_id, const char *ifname,
					  const struct labels *labels, void *data);
void policy_sync_each_labels(struct policy_sync *sync, policy_sync_labels_visitor visit,
			     void *data);
/* For Services with a selector, see service_pods. 0 or -ENOMEM. */
int policy_sync_service_pods(const char *namespace, const struct service_pod **ret,
			     size_t *ret_count, void *sync);

/* The other nodes, as it follows them. */
const struct peers *policy_sync_peers(const struct policy_sync *sync);

/* For showing. */
/* Of the last run. */
size_t policy_sync_identity_count(const struct policy_sync *sync);
size_t policy_sync_ruleset_count(const struct policy_sync *sync);
struct policy_registry *policy_sync_registry(struct policy_sync *sync);
struct rule_counts *policy_sync_rule_counts(struct policy_sync *sync);
/* Elements in use of the arrays rulesets and ruleset_tables. */
size_t policy_sync_rulesets_used(const struct policy_sync *sync);
size_t policy_sync_cells_used(const struct policy_sync *sync);
/* What stands for a local pod: its Pod object, or what its attachment and a Pod object of before
 * said. NULL: not known. */
const struct object *policy_sync_pod_object(const struct policy_sync *sync,
					    const struct local_pod *pod);
/* The NetworkPolicies that isolate the local pod with the address; NULL: none do. Valid until the
 * next run. */
const struct compiled_selection *policy_sync_isolation(const struct policy_sync *sync,
						       const struct polder_addr *addr, bool egress);
/* Policies that were deleted and hold for this pod until it has ended. The array is the caller's
 * (free()), NULL: no memory. */
size_t policy_sync_held_policies(const struct policy_sync *sync, const struct local_pod *pod,
				 const struct object ***ret);
/* The pod with an address, local or not: its namespace and name alone; NULL: unknown. Valid until
 * the next pass. */
const struct object *policy_sync_pod_at(const struct policy_sync *sync,
					const struct polder_addr *addr);
/* What stands for the pod of this node that the programs know by the address, as of
 * policy_sync_pod_object(); NULL: it is none. Valid until the next run. */
const struct object *policy_sync_local_pod_at(const struct policy_sync *sync,
					      const struct polder_addr *addr);
/* Is it a pod's, and found no room in the map? Then the programs do not know whose it is. */
bool policy_sync_pod_without_room(const struct policy_sync *sync, const struct polder_addr *addr);
struct policy_sync_problem {
	char subject[128]; /* "pod ns/name" */
	char reason[192];
	bool pod_closed;  /* the subject is a pod that passes nothing for want of room */
	const char *map;  /* that is full; NULL: none */
	uint64_t missing; /* entries it has too few */
};
size_t policy_sync_problems(struct policy_sync *sync, const struct policy_sync_problem **ret);
