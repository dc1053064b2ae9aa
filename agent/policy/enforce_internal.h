/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of enforce share. */
#pragma once

#include "agent/kernel/shadow.h"
#include "agent/policy/enforce.h"
#include "agent/policy/local_pods.h"
#include "agent/policy/rule_counts.h"
#include "agent/policy/ruleset_slots.h"
#include "agent/common/hash.h"

/* A local pod as the maps know it. */
struct enforced_pod {
	UT_hash_handle hh; /* by `key`; two attachments of one pod have the same */
	char *key;         /* NAMESPACE/NAME */
	char *container_id, *ifname;
	struct polder_addr addresses[2];
	size_t address_count;
	struct object object; /* name and namespace; labels and ports are borrowed, from `attached` or from `gone` */
	struct labels attached;
	struct object *gone; /* the Pod object that went, shared; NULL: none did */
	struct pod_entry entry; /* as written */
	bool written;
	bool fresh; /* by the pass that runs: into both slots at once */
	uint32_t identity, ingress, egress; /* what the present pass asks for */
	uint64_t terminating; /* the pass that first saw it on its way out; 0: it is not */
	bool object_gone;     /* its Pod object was there, and is not */
	bool held[2];         /* enum held: policies that went hold for it still */
	bool held_before[2];  /* the same, of before a restart: closed */
	const struct compiled_selection *isolation[2]; /* e->policy's: of ingress, of egress; NULL: none */
	struct enforced_pod *next;
};

enum held { INGRESS_HELD, EGRESS_HELD };

/* It holds for the pods that were on their way out in the pass it went in. */
struct deleted_policy {
	struct object *policy; /* shared */
	uint64_t pass;
};

/* An address whose other slot has to follow. */
struct pending_address {
	struct address_key key;
};

struct pod_name {
	UT_hash_handle hh;
	struct polder_addr addr;
	char name[]; /* NAMESPACE/NAME */
};

/* What stands under a set's number; its header and table: struct ruleset_slots. */
enum ruleset_map { SHADOW_PEERS, SHADOW_PREFIXES, SHADOW_PORTS, SHADOW_CELLS, RULESET_MAPS };

struct enforce {
	struct maps *maps;
	const struct store *store;
	const struct config *config;
	const struct node *node;
	char *state;
	struct policy_registry *registry;
	struct rule_counts *counts;
	struct compiled_policy *policy;
	char *state_text; /* as last written */
	char *held_text;  /* the part of it that is not the registry's */
	uint64_t state_revision; /* of the registry, then */
	uint64_t pass;
	struct deleted_policy *deleted;
	size_t deleted_count, deleted_room; /* a pass makes room for all policies it puts in force */
	struct json_t *held_before; /* of the state file */
	struct shadow *addresses;
	struct local_pods *local_pods;
	struct shadow *rules[RULESET_MAPS];
	struct ruleset_slots *slots;
	struct enforced_pod *pods, *pods_by_name;
	struct pending_address *pending;
	size_t pending_count;
	struct polder_addr *touched; /* whose elements changed in both slots at once, and nobody has been told yet */
	size_t touched_count, touched_room;
	bool move_owed; /* something else changed in both slots: the generation has to move */
	bool half_written; /* by a pass that failed: not only what `policy` names is in force */
	bool unfinished; /* old rule sets still stand */
	bool *fits;   /* of each set of `policy`: it stands in the maps */
	bool misfit;  /* something did not fit in the last pass */
	struct pod_name *names;
	struct service_pod *service_pods;
	struct polder_addr *service_addrs;
	struct enforce_problem *problems;
	size_t problem_count;
};

/* The slot in force now. */
unsigned int enforce_slot(const struct enforce *e);
/* NULL: no memory. */
struct enforce_problem *enforce_problem_add(struct enforce *e, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* enforce_input.c: everything the compiler reads. Local pods come first, in the order of e->pods. */
struct enforce_input {
	struct policy_input input;
	const struct object **pods, **deleted; /* the other lists are the store's, */
	const struct object **overlaid[OBJECT_KIND_COUNT]; /* unless a dry run has put its own in their place */
	struct pod_addresses *addresses;
	bool *subject;
	uint64_t *terminating, *deleted_in_pass;
};
/* 0 or -ENOMEM; clear it on failure too. Takes a zeroed one. */
int enforce_gather(const struct enforce *e, struct enforce_input *in);
void enforce_input_clear(struct enforce_input *in);
/* The Pod object if it stands for this container, else what the attachment knows. */
const struct object *pod_object_of(const struct enforce *e, const struct enforced_pod *pod);
bool pod_is_local(const struct enforce *e, const struct object *object);
/* Policies that went since the last pass, for the pods that are on their way out: to be called at the start of a pass. 0 or -ENOMEM. */
int deleted_policies_settle(struct enforce *e);
void deleted_policy_keep(struct enforce *e, const struct object *policy);
void deleted_policies_clear(struct enforce *e);
/* For the state file, and from it. */
struct json_t *held_export(const struct enforce *e);
void held_restore(const struct enforce *e, struct enforced_pod *pod);

/* enforce_rules.c */
int rules_open(struct enforce *e);
void rules_close(struct enforce *e);
/*
 * Writes what the compiled rule sets need beside what is there. `ret_fits` tells of each set whether it found room. Sets that are in force
 * under the same number change for the other slot only, where identities change classes (a namespace's labels): then `*ret_switch`.
 * An identity that comes or goes with its pods changes nothing that is in force.
 */
int rules_write(struct enforce *e, const struct compiled_policy *policy, bool *ret_fits, bool *ret_switch);
/* NULL: it is not in the policy. */
const struct compiled_ruleset *ruleset_of_number(const struct compiled_policy *policy, uint32_t id);
/* The peers' classes alike in both slots again. */
void rules_mirror(struct enforce *e);
/* Removes all that the policy in force does not name, and what is left of sets that do not fit. Was there anything? */
bool rules_sweep(struct enforce *e);

/* enforce_addresses.c */
/*
 * Brings `addresses` to what is wanted; identities that change are written to the other slot. `*ret_switch`: there are such;
 * e->touched and e->move_owed tell what else changed. `*ret_again`: something did not fit, but there is room now.
 */
int addresses_write(struct enforce *e, const struct policy_input *input, const struct compiled_policy *policy,
		    bool *ret_switch, bool *ret_again);
/* Flows that name the address have to be judged anew. */
void address_touched(struct enforce *e, const struct polder_addr *addr);
void addresses_mirror(struct enforce *e);
/*
 * Takes pods' addresses out again that a pass which failed has written in both slots at once: the rule sets that stay in force need not
 * know their identities.
 */
void addresses_undo(struct enforce *e);
/* Has the map no entry for just this address? */
bool addresses_lacks(const struct enforce *e, const struct polder_addr *addr);
/* At once, of a pod that goes. */
void addresses_remove(struct enforce *e, const struct polder_addr *addr);
