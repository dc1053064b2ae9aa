/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of enforce share. */
#pragma once

#include <uthash.h>

#include "agent/enforce.h"
#include "agent/shadow.h"

/* A local pod as the maps know it. */
struct enforced_pod {
	char *container_id, *ifname;
	struct polder_addr addresses[2];
	size_t address_count;
	struct object object; /* name and namespace; labels and ports: from the attachment, or of a Pod object that went */
	struct pod_entry entry; /* as written */
	bool written;
	uint32_t identity, ingress, egress; /* what the present pass asks for */
	struct enforced_pod *next;
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

enum ruleset_map { SHADOW_RULESETS, SHADOW_PEERS, SHADOW_PREFIXES, SHADOW_PORTS, SHADOW_CELLS, RULESET_MAPS };

struct enforce {
	struct maps *maps;
	const struct store *store;
	const struct config *config;
	const struct node *node;
	char *state;
	struct policy_registry *registry;
	struct compiled_policy *policy;
	char *state_text; /* as last written */
	struct shadow *addresses;
	struct shadow *rules[RULESET_MAPS];
	struct enforced_pod *pods;
	struct pending_address *pending;
	size_t pending_count;
	bool unfinished; /* old rule sets still stand */
	uint64_t switches;
	bool switched;   /* the slots differ: to be mirrored before the next pass */
	bool *fits;   /* of each set of `policy`: it stands in the maps */
	bool misfit;  /* something did not fit in the last pass */
	struct pod_name *names;
	struct service_pod *service_pods;
	struct polder_addr *service_addrs;
	struct enforce_problem *problems;
	size_t problem_count;
};

/* Everything the compiler reads. Local pods come first, in the order of e->pods. */
struct enforce_input {
	struct policy_input input;
	const struct object **namespaces, **nodes, **policies, **cluster_policies, **objects, **pods;
	bool *subject;
};
/* 0 or -ENOMEM; clear it on failure too. Takes a zeroed one. */
int enforce_gather(const struct enforce *e, struct enforce_input *in);
void enforce_input_clear(struct enforce_input *in);

/* The slot in force now. */
unsigned int enforce_slot(const struct enforce *e);
void enforce_problem_add(struct enforce *e, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* enforce_rules.c */
int rules_open(struct enforce *e);
void rules_close(struct enforce *e);
/*
 * Writes what the compiled rule sets need beside what is there. `ret_fits` tells of each set whether it found room. Sets that are in force
 * under the same number change for the other slot only, where identities change classes (a namespace's labels): then `*ret_switch`.
 */
int rules_write(struct enforce *e, const struct compiled_policy *policy, bool *ret_fits, bool *ret_switch);
/* The peers' classes alike in both slots again. */
void rules_mirror(struct enforce *e);
/* Removes all that the policy in force does not name, and what is left of sets that do not fit. Was there anything? */
bool rules_sweep(struct enforce *e);

/* enforce_addresses.c */
/*
 * Brings `addresses` to what is wanted; identities that change are written to the other slot. `*ret_switch`: there are such;
 * `*ret_changed`: anything else changed. `*ret_again`: something did not fit, but there is room now.
 */
int addresses_write(struct enforce *e, const struct policy_input *input, const struct compiled_policy *policy,
		    bool *ret_switch, bool *ret_changed, bool *ret_again);
void addresses_mirror(struct enforce *e);
