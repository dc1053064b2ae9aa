/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of policy sync share. */
#pragma once

#include "agent/common/hash.h"
#include "agent/common/hash_table.h"
#include "agent/kernel/map_cache.h"
#include "agent/node/peers.h"
#include "agent/policy/addresses.h"
#include "agent/policy/policy_sync.h"
#include "agent/policy/local_pods.h"
#include "agent/policy/rule_counts.h"
#include "agent/policy/ruleset_slots.h"
#include "policy/compile/compiler.h"

/* A local pod as the maps know it. */
struct synced_pod {
	UT_hash_handle hh; /* by `key`; two attachments of one pod have the same */
	char *key;	   /* NAMESPACE/NAME */
	char *container_id, *ifname;
	struct polder_addr addresses[2];
	size_t address_count;
	struct address_claim claims[2];
	struct object object; /* name and namespace; labels and ports are borrowed, from `attached`
				 or from `gone` */
	struct labels attached;
	struct object *gone;	/* the Pod object that went, shared; NULL: none did */
	struct pod_entry entry; /* as written */
	bool limited;		/* what it gets waits in a queue */
	bool written;
	bool fresh;			    /* by the current run: into both slots at once */
	bool dirty;			    /* what the compiler knows of it is out of date */
	bool labels_due;		    /* they have not been told since its object changed */
	bool closed;			    /* its rule sets found no room */
	struct policy_pod *compiled;	    /* NULL: the compiler does not know it yet */
	uint32_t identity, ingress, egress; /* what the present run asks for */
	uint64_t terminating; /* the run that first saw it on its way out; 0: it is not */
	bool object_gone;     /* its Pod object was there, and is not */
	bool waits;	      /* for its Pod object, while another pod's has its name: closed */
	bool is_late;	      /* its object is to come from the API server: it waits for that */
	bool labels_lost;     /* `attached` is not what the attachment had: likewise */
	bool held[2];	      /* by enum direction: policies that went hold for it still */
	bool held_before[2];  /* the same, of before a restart: closed */
	const struct compiled_selection *isolation[2]; /* of ingress, of egress; NULL: none */
	struct synced_pod *next;
};

/* A pod that is not this node's, by its object. */
struct remote_pod {
	struct hash_table_item by_key; /* first: the table gives it back */
	struct policy_pod *compiled;
	struct object *object;	    /* a share: the compiler borrows its addresses */
	struct address_claim first; /* to its first address, */
	struct address_claim *more; /* and to each of the others; NULL: there are none */
};

/* It holds for the pods that were on their way out in the pass it went in. */
struct deleted_policy {
	struct object *policy; /* shared */
	uint64_t run;
};

/* What stands under a set's number; its header and table: struct ruleset_slots. */
enum ruleset_map { CACHE_PEERS, CACHE_PREFIXES, CACHE_PORTS, CACHE_CELLS, RULESET_MAPS };

/* A rule set that found no room: its pods are closed. */
struct misfit {
	uint32_t ruleset;
	bool told;    /* `problem` is of when it was tried last, and in the log */
	bool deleted; /* nothing of it is left in the maps */
	struct policy_sync_problem problem; /* without a reason: nothing is to be told */
	UT_hash_handle hh;
};

/* A peer's element whose slots differ, or that nobody may name any more. */
struct peer_list {
	struct ruleset_peer_key *keys;
	size_t count, capacity;
};

struct policy_sync {
	struct maps *maps;
	const struct store *store;
	const struct config *config;
	const struct node *node;
	char *state;
	struct policy_registry *registry;
	struct policy_compiler *compiler;  /* NULL: one has to be made and be given everything */
	struct policy_compiler *successor; /* that one, if it has been made already */
	struct rule_counts *counts;
	char *state_text; /* as found at the start; NULL: there was none, or it was written since */
	char *held_text;  /* the part of it that is not the registry's */
	char *held_copied;			/* as its copy has it; NULL: nobody knows */
	uint64_t state_revision, state_changes; /* of the registry, then */
	uint64_t run;
	struct deleted_policy *deleted;
	size_t deleted_count,
		deleted_room;	    /* a pass makes room for all policies it puts in force */
	bool deleted_changed;	    /* the compiler knows others */
	struct json_t *held_before; /* of the state file */
	struct addresses *addresses;
	struct local_pods *local_pods;
	struct map_cache *rules[RULESET_MAPS];
	struct ruleset_slots *slots;
	struct synced_pod *pods, *pods_by_name;
	struct hash_table known; /* struct remote_pod, by key */

	struct object **dirty; /* shares of objects that came, changed or went */
	size_t dirty_count, dirty_capacity;
	bool resync;	  /* the list does not hold all that changed: everything is looked at */
	bool labels_due;  /* some pod's are */
	bool nodes_dirty; /* what all Nodes and this one say has to be looked at */
	bool node_objects_changed; /* which the compiler does not know yet */
	bool own_dirty;		   /* this node's addresses are others than `own` */
	struct polder_addr *own;   /* of this node, as `addresses` knows them */
	size_t own_count;

	struct peers *peers;	/* of all Nodes */
	bool owns_peers;	/* nobody else follows them */
	struct prefix *changed; /* of which they say something else than `addresses` */
	size_t changed_count, changed_room;

	struct prefix *touched_ranges; /* as `touched`: of ranges */
	size_t touched_range_count;
	struct polder_addr *touched; /* of which the maps say something else now, and nobody has
					been told yet */
	size_t touched_count, touched_room;
	bool move_owed; /* something else changed, which any flow may depend on: the generation has
			   to move */
	bool in_force;	/* a run has succeeded: what the compiler says is what the maps say */
	bool half_written; /* by a run that failed: not only what was in force before is in the
			      maps */
	bool unfinished;   /* old rule sets still stand */
	bool write_all; /* rule sets are compared with the maps one by one, not by what changed */
	bool prune_all; /* and what nobody names is looked for */
	bool sync_all_slots; /* peers whose slots differ may stand outside of the list */
	struct misfit *misfits;
	bool room;		    /* elements have been deleted since misfits were tried last */
	struct peer_list differing; /* peers whose slots differ */
	struct peer_list leaving;   /* peers that may have to go */
	struct service_pod *service_pods;
	struct policy_sync_problem *problems, *rule_problems;
	size_t problem_count, rule_problem_count;
	bool problems_known; /* `problems` is of this moment */
};

/* The slot in force now. */
unsigned int policy_sync_slot(const struct policy_sync *sync);
/* Appends to an array of problems. NULL: no memory. */
struct policy_sync_problem *policy_sync_problem_add(struct policy_sync_problem **list,
						    size_t *count, const char *subject,
						    const char *format, ...)
	__attribute__((format(printf, 4, 5)));

void policy_sync_problem_copy(struct policy_sync_problem **list, size_t *count,
			      const struct policy_sync_problem *problem);

/* sync_input.c: everything the compiler reads, as a whole. Local pods come first, in the order
 * of sync->pods. */
/* Why a pod of this node is isolated whatever policies say. */
enum pod_wait {
	POD_WAITS_NOT,
	POD_WAITS_FOR_NAME, /* another pod's object has its name */
	POD_WAITS_FOR_OBJECT,
};

struct policy_sync_input {
	struct policy_input input;
	const struct object **pods, **deleted; /* the other lists are the store's, */
	const struct object *
		*overlaid[OBJECT_KIND_COUNT]; /* unless a dry run has put its own in their place */
	struct pod_addresses *addresses;
	bool *subject;
	enum pod_wait *waits; /* of the pods of this node, which come first */
	uint64_t *terminating, *deleted_in_run;
};
/* 0 or -ENOMEM; clear it on failure too. Takes a zeroed one. */
int policy_sync_gather(const struct policy_sync *sync, struct policy_sync_input *in);
int policy_sync_gather_deleted(const struct policy_sync *sync, struct policy_sync_input *in);
void policy_sync_input_clear(struct policy_sync_input *in);
/* May the object of its name be its own? By their uids, where both are known. */
bool pod_is_of(const struct synced_pod *pod, const struct object *object);
/* The same, and not by its name alone. */
bool pod_is_surely_of(const struct synced_pod *pod, const struct object *object);
/* The Pod object that is its own; NULL: there is none. */
const struct object *pod_own_object(const struct policy_sync *sync, const struct synced_pod *pod);
/* The Pod object if it stands for this container, else what the attachment knows. */
const struct object *pod_object_of(const struct policy_sync *sync, const struct synced_pod *pod);
/* Is it the object of a pod of this node? Has a pod of this node its name? */
bool pod_is_local(const struct policy_sync *sync, const struct object *object);
bool pod_is_named(const struct policy_sync *sync, const struct object *object);

/* sync_follow.c: what changed, into the compiler and the claims to addresses. 0, -ENOMEM,
 * -ENOSPC. */
int policy_sync_follow(struct policy_sync *sync);
/* An object came, changed or went. */
void policy_sync_mark(struct policy_sync *sync, const struct object *object);
/* A pod that becomes local, or is no more: its object stands for another thing from now on. */
void policy_sync_mark_pod(struct policy_sync *sync, const char *namespace, const char *name);
void policy_sync_clear_known(struct policy_sync *sync);
/* What the compiler knows of an object that is no local pod's; NULL: nothing. */
struct policy_pod *policy_sync_known_pod(const struct policy_sync *sync,
					 const struct object *object);

/* held_policies.c. Policies that went since the last run, for the pods that are on their way out:
 * to be called at the start of a run. 0 or -ENOMEM. */
int deleted_policies_update(struct policy_sync *sync);
void deleted_policy_keep(struct policy_sync *sync, const struct object *policy);
void deleted_policies_clear(struct policy_sync *sync);
/* For the state file, and from it. */
struct json_t *held_export(const struct policy_sync *sync);
void held_restore(const struct policy_sync *sync, struct synced_pod *pod);

/* sync_state.c. Numbers of before a restart; and, before one is used in a map, to the disk. 0 or
 * -errno. */
int state_load(struct policy_sync *sync);
int state_save(struct policy_sync *sync);

/* sync_pods.c: the local pods' words in the map `pods`. */
void pods_resolve(struct policy_sync *sync);
int pods_write(struct policy_sync *sync, bool *ret_switch);
void pods_sync_slots(struct policy_sync *sync);
/* Entries of before the start whose pods have no record any more. */
int pods_prune_unknown(struct policy_sync *sync);
/* New pods' entries out again. */
void pods_undo(struct policy_sync *sync);

/* sync_rulesets.c */
int rulesets_open(struct policy_sync *sync);
void rulesets_close(struct policy_sync *sync);
/*
 * Writes what the compiled rule sets need beside what is there. Sets that are in force under the
 * same number change for the other slot only, where identities change classes (a namespace's
 * labels): then `*ret_switch`. An identity that comes or goes with its pods changes nothing that is
 * in force. 0 or -errno.
 */
int rulesets_write(struct policy_sync *sync, bool *ret_switch);
enum map_index ruleset_map_index(enum ruleset_map map);
bool ruleset_fits(const struct policy_sync *sync, uint32_t id);
/* Calls for every element that stands under the set's number, but for its header and table. Stops
 * at a value other than 0. */
int ruleset_each_element(const struct policy_sync *sync, const struct compiled_ruleset *set,
			 int (*visit)(enum ruleset_map map, const void *key, const void *value,
				      void *data),
			 void *data);
/* The peers' classes alike in both slots again. */
void rulesets_sync_slots(struct policy_sync *sync);
/*
 * After rulesets_write(): of each slot of map `rulesets`, whether a peer changes its class there.
 * Sets
 * `*ret` to NULL if none does, else to an array that is the caller's to free. 0 or -ENOMEM.
 */
int rules_differing(const struct policy_sync *sync, bool **ret);
/* Removes all that the policy in force does not name, and what is left of sets that do not fit. Was
 * there anything? */
bool rulesets_prune(struct policy_sync *sync);

/* sync_nodes.c: nodes' addresses and ranges, into the claims. 0 or -ENOMEM. */
int nodes_write(struct policy_sync *sync);
bool address_is_own(const struct polder_addr *addr, const void *sync);
/* Flows that name the address, or one in the range, have to be re-evaluated. */
void address_touched(const struct prefix *prefix, void *sync);
/* The number of the peer that the address of a pod on the node is behind; 0: none. */
uint32_t peer_of_address(const struct polder_addr *addr, const char *node, const void *sync);
/* What peers tell. */
void nodes_changed(const struct prefix *prefix, enum peers_change change, void *sync);
void touched_settle(struct policy_sync *sync);
/* Brings `problems` up to date. */
void policy_sync_list_problems(struct policy_sync *sync);
