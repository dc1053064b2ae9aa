/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From pods, namespaces, nodes and policies to the maps addresses, pods and rule sets. A pass
 * builds what is new beside what is in force, then one word (the slot) switches; what is old goes
 * when no program can still be using it. A pass that changes nothing that all flows may depend on
 * leaves the generation where it is, and names the addresses whose flows it concerns.
 */
#pragma once

#include "agent/kernel/maps.h"
#include "agent/node/node.h"
#include "agent/pods/pods.h"
#include "agent/services/services.h"
#include "agent/store/store.h"
#include "policy/compile/compile.h"

struct enforce;

/* `state` is the file that keeps numbers over restarts (NULL: none). Reads what the maps hold. 0 or
 * -errno. */
int enforce_open(struct maps *maps, const struct store *store, const struct config *config,
		 const struct node *node, const char *state, struct enforce **ret);
void enforce_close(struct enforce *enforce);

/* A local pod: known from now on; the next pass covers it. Copies what it needs. 0 or -ENOMEM. */
int enforce_add_pod(struct enforce *enforce, const struct local_pod *pod);
/* Its map entries go at once; its flows are the caller's to forget. */
void enforce_remove_pod(struct enforce *enforce, const struct local_pod *pod);
/*
 * To be called for each change of an object in the store: remembers the labels of a Pod object that
 * goes while its container stays. True: policy may have changed, a pass is wanted.
 */
bool enforce_object_changed(struct enforce *enforce, const struct object *object, bool deleted);

/* The node's addresses may have changed (`node`), or others may have changed map entries: for the
 * next pass. */
void enforce_refresh(struct enforce *enforce, bool node);
/*
 * One pass, which writes the slot that is not in force: not before the programs have ended that may
 * still read it. It costs what has changed since the last one. `*ret_switched`: it is in force now,
 * and what was before is in the other one. 0 or -errno: then what was in force before stays, new
 * pods stay closed, and the next pass looks at everything.
 */
int enforce_apply(struct enforce *enforce, bool *ret_switched);
/*
 * After each pass, whatever came of it: addresses of which the maps say something else now, while
 * the generation has not moved. Flows that name one have to be judged anew. Told once, valid until
 * the next pass.
 */
size_t enforce_touched(struct enforce *enforce, const struct polder_addr **ret);
/*
 * Mirrors the switched slots and removes old rule sets. To be called some time after a pass, when
 * the programs that ran during it have ended (maps_wait_for_programs()). True: what did not fit may
 * fit now, another pass is wanted.
 */
bool enforce_finish(struct enforce *enforce);

/*
 * Compares what passes have followed step by step with what all objects together say.
 * `*ret_difference` NULL: they agree; else the first difference in words, the caller's. 0, -EAGAIN
 * (a pass is due), -ENOMEM.
 */
int enforce_audit(struct enforce *enforce, char **ret_difference);
/*
 * Writes numbers to the state file that it does not have yet. Numbers are taken there before they
 * are used, but what they stand for comes later: without this, identities that came since are
 * numbered anew after a restart, which is safe. 0 or -errno.
 */
int enforce_save(struct enforce *enforce);
/* Trusts nothing: the next pass looks at everything. */
void enforce_distrust(struct enforce *enforce);

/* Why a pod that was added cannot be served (its addresses found no room); NULL: it can. Valid
 * until the next pass. */
const char *enforce_pod_refused(struct enforce *enforce, const struct local_pod *pod);
/* Are the pod's map entries what they should be? */
bool enforce_pod_in_force(const struct enforce *enforce, const struct local_pod *pod);
size_t enforce_pod_count(const struct enforce *enforce);
/* Tells of each pod that has an object in the store, or had one, what its labels are. */
void enforce_each_labels(const struct enforce *enforce,
			 void (*visit)(const char *container_id, const char *ifname,
				       const struct labels *labels, void *data),
			 void *data);
/* For Services with a selector, see service_pods. 0 or -ENOMEM. */
int enforce_service_pods(const char *namespace, const struct service_pod **ret, size_t *ret_count,
			 void *enforce);

/* For showing. */
/* Of the last pass. */
size_t enforce_identity_count(const struct enforce *enforce);
size_t enforce_ruleset_count(const struct enforce *enforce);
struct policy_registry *enforce_registry(struct enforce *enforce);
struct rule_counts *enforce_rule_counts(struct enforce *enforce);
/* Elements in use of the arrays rulesets and ruleset_tables. */
size_t enforce_rulesets_used(const struct enforce *enforce);
size_t enforce_cells_used(const struct enforce *enforce);
/* What stands for a local pod: its Pod object, or what its attachment and a Pod object of before
 * said. NULL: not known. */
const struct object *enforce_pod_object(const struct enforce *enforce, const struct local_pod *pod);
/* The NetworkPolicies that isolate the local pod with the address; NULL: none do. Valid until the
 * next pass. */
const struct compiled_selection *enforce_isolation(const struct enforce *enforce,
						   const struct polder_addr *addr, bool egress);
/* Policies that were deleted and hold for this pod until it has ended. The array is the caller's
 * (free()), NULL: no memory. */
size_t enforce_held_policies(const struct enforce *enforce, const struct local_pod *pod,
			     const struct object ***ret);
/* "namespace/name" of the pod with an address, local or not; NULL: unknown. Valid until the next
 * pass. */
const char *enforce_pod_name(const struct enforce *enforce, const struct polder_addr *addr);
/* Is it a pod's, and found no room in the map? Then the programs do not know whose it is. */
bool enforce_pod_without_room(const struct enforce *enforce, const struct polder_addr *addr);
struct enforce_problem {
	char subject[128]; /* "pod ns/name" */
	char reason[192];
	bool pod_closed;  /* the subject is a pod that passes nothing for want of room */
	const char *map;  /* that is full; NULL: none */
	uint64_t missing; /* entries it has too few */
};
size_t enforce_problems(struct enforce *enforce, const struct enforce_problem **ret);
