/* SPDX-License-Identifier: Apache-2.0 */
/* One rule set while it is made: allowances, classes of peers and of ports, the cells where they
 * meet. */
#pragma once

#include "policy/compile/classes.h"
#include "policy/compile/view.h"
#include "policy/objects/array.h"

/*
 * The smallest thing that a rule allows: all ports it gives by number (and to everybody it names),
 * or one port that a name stands for on some pods. They are numbered in the order of policies and
 * rules, so the first one of a step decides.
 */
struct atom {
	const struct view_rule *rule;
	bool named; /* a port by name: `proto` and `port` (0: any) */
	uint8_t proto;
	uint16_t port;
};

struct ruleset_rule {
	struct view_rule *rule;
	size_t plain;	    /* its atom of ports by number; NO_ATOM */
	size_t first_named; /* its atoms of ports by name, sorted */
	size_t named_count;
	size_t unknown; /* its atom of ports by name for a pod that nobody knows: any port; NO_ATOM
			 */
};
#define NO_ATOM SIZE_MAX

/* An identity of which some rule says more than what holds for all pods. */
struct ruleset_identity {
	const struct view_identity *identity;
	struct class *class;
};

/*
 * What is asked later, when identities come and go, stays: rules, how many atoms, the classes of
 * peers. See ruleset_update.c.
 */
struct ruleset {
	struct view *view; /* while it is compiled */
	enum direction direction;
	const struct registry_identity *subject;
	struct ruleset_rule *rules;
	size_t rule_count;
	struct atom *atoms;
	size_t atom_count, atom_capacity;
	size_t admin_atoms; /* the first so many are the Admin tier's */
	bool isolates;
	size_t words; /* of a set of atoms */
	uint64_t address_tests;
	struct class_table peers, ports;
	uint64_t *world, *all_pods; /* what everybody, and what every pod, may do */
	uint64_t *scratch;
	struct ruleset_identity *members;
	size_t member_count, member_capacity;
	struct class *world_class, *all_pods_class;
	struct class *unknown_class; /* of pods that no object names; world_class: nothing tells
					them apart */
	bool asks_addresses;	     /* a rule leads to ports by name of pods in blocks */
	bool asks_nodes;	     /* a rule names nodes */
	bool hopeless;		     /* it is over a limit whatever identities there are */
	struct ruleset_prefix *prefixes;
	size_t prefix_count, prefix_capacity;
	struct ruleset_port *port_entries;
	size_t port_count, port_capacity;
};

struct ruleset_prefix {
	struct prefix prefix;
	struct class *class;
};

struct ruleset_port {
	uint8_t length, proto;
	uint16_t port;
	const struct class *class;
};

/*
 * Egress rules with both ipBlocks and ports by name: calls `found` for each address of a pod that
 * lies in a block. These are the only addresses of a block that the names mean anything for. 0,
 * what `found` returned (< 0), or -E2BIG.
 */
typedef int (*block_pod_found)(const struct registry_identity *identity,
			       const struct polder_addr *addr, void *data);
int ruleset_each_block_pod(struct ruleset *set, const struct view_rule *rule, block_pod_found found,
			   void *data);

/* Sets the bits of the atoms that the rule's names stand for on this pod. */
void ruleset_named_atoms(const struct ruleset *set, const struct ruleset_rule *entry,
			 const struct registry_identity *identity, uint64_t *bits);

/* The atoms that the identity may use: what makes its class. `bits`: set->words words. */
void ruleset_collect_atoms(const struct ruleset *set, const struct view_identity *identity,
			   uint64_t *bits);

/* Each returns 0, -ENOMEM or -E2BIG (the set does not fit its limits). */
int ruleset_add_atoms(struct ruleset *set);
int ruleset_classify_prefixes(struct ruleset *set);
int ruleset_classify_ports(struct ruleset *set);

/* ruleset_unknown.c. May the rule choose a pod that no object names, and would the set be stricter
 * for it? */
bool ruleset_rule_may_match(const struct view_rule *rule);
/* After the identities. 0, -ENOMEM, -E2BIG. */
int ruleset_classify_unknown(struct ruleset *set);
/* Fills the Admin step where the unknown pods' class meets the ports. False: no rule decides. */
bool ruleset_unknown_step(const struct ruleset *set, const struct class *port,
			  struct ruleset_cell *cell);

/*
 * Makes the rule set of a subject from the policies that select it, sorted. `ret` has every field
 * but its number; `set` keeps what ruleset_update.c needs. 0, -ENOMEM, -E2BIG (over a limit): then
 * `set` keeps only what it asks of addresses and nodes. Free with compiled_ruleset_clear() and
 * ruleset_clear().
 */
int ruleset_compile(struct ruleset *set, struct view *view, enum direction direction,
		    const struct registry_identity *subject, struct view_policy *const *policies,
		    size_t policy_count, struct compiled_ruleset *ret);
void ruleset_clear(struct ruleset *set);
void compiled_ruleset_clear(struct compiled_ruleset *ruleset);

/* ---------------------------------------------------------------- ruleset_update.c */

/* The class of an identity that came, in a set that is compiled. NULL: the set has none for it. */
struct class *ruleset_find_class(struct ruleset *set, const struct view_identity *identity);
/* Would the set be another one without the identity, or with it, for its ports by name? */
bool ruleset_asks_ports(const struct ruleset *set, const struct view_identity *identity);
