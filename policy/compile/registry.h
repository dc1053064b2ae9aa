/* SPDX-License-Identifier: Apache-2.0 */
/* The registry from within: entries and how the compiler finds or makes them. */
#pragma once

#include "policy/compile/compile.h"
#include "agent/common/hash.h"
#include "agent/common/hash_table.h"

/*
 * Who holds a number, and who does not any more: those stand in a list, the longest idle first,
 * until policy_registry_collect().
 */
struct registry_use {
	uint32_t holders;
	uint64_t idle_since;		      /* the compilation in which the last holder let go */
	struct registry_use *next, *previous; /* of the list */
	bool listed;
};

struct registry_identity {
	struct registry_use use; /* first: a use is its entry */
	uint32_t id;
	char *key;
	size_t ports_offset; /* of the ports in `key` */
	char *namespace;
	struct labels labels;
	struct named_port *ports; /* named ones only; sorted, none twice */
	size_t port_count;
	UT_hash_handle hh;
	struct hash_table_item by_id; /* its hash is the number */
};

struct registry_ruleset {
	struct registry_use use; /* first */
	uint32_t id;
	uint64_t digest[2];
	UT_hash_handle hh;
	UT_hash_handle hh_id;
};

struct registry_rule {
	struct registry_use use; /* first */
	uint32_t number;
	char *key;
	char *namespace;
	char *name;
	bool egress;
	uint32_t index;
	UT_hash_handle hh;
	UT_hash_handle hh_number;
};

struct registry_idle {
	struct registry_use *first, *last;
	size_t count;
};

struct policy_registry {
	uint64_t compilation;
	uint64_t revision;
	uint64_t changes;
	/* An export says that all numbers up to here are taken: most new ones need no new export.
	 */
	uint32_t reserved_rulesets, reserved_identities;
	uint32_t next_identity, next_ruleset, next_rule; /* 0: all numbers have been given */
	struct registry_identity *identities;
	struct hash_table identities_by_id;
	struct registry_ruleset *rulesets, *rulesets_by_id;
	struct registry_rule *rules, *rules_by_number;
	struct registry_idle idle_identities, idle_rulesets, idle_rules;
};

/*
 * What makes a pod's identity, as one text: namespace, labels and named ports, each with its
 * length, so that no label can look like something else. The caller owns it. NULL: no memory.
 */
char *registry_identity_key(const char *namespace, const struct labels *labels,
			    const struct named_port *ports, size_t port_count,
			    size_t *ret_ports_offset);

/*
 * Find or make, and hold: what nobody holds is forgotten some time after. 0, -ENOMEM, -ENOSPC (no
 * number left). `ret` belongs to the registry.
 */
int registry_take_identity(struct policy_registry *registry, const char *namespace,
			   const struct labels *labels, const struct named_port *ports,
			   size_t port_count, const struct registry_identity **ret);
int registry_take_ruleset(struct policy_registry *registry, const uint64_t digest[2],
			  uint32_t *ret);
int registry_take_rule(struct policy_registry *registry, const char *namespace, const char *name,
		       bool egress, uint32_t index, uint32_t *ret);
/* Once more. */
void registry_hold_identity(struct policy_registry *registry,
			    const struct registry_identity *identity);
/* Let go of what was taken. */
void registry_release_identity(struct policy_registry *registry,
			       const struct registry_identity *identity);
void registry_release_ruleset(struct policy_registry *registry, uint32_t id);
void registry_release_rule(struct policy_registry *registry, uint32_t number);

/* With a number given from outside. 0, -ENOMEM, -EEXIST (the number or the content is there
 * already). */
int registry_add_identity(struct policy_registry *registry, uint32_t id, const char *namespace,
			  const struct labels *labels, const struct named_port *ports,
			  size_t port_count);
int registry_add_ruleset(struct policy_registry *registry, uint32_t id, const uint64_t digest[2]);
int registry_add_rule(struct policy_registry *registry, uint32_t number, const char *namespace,
		      const char *name, bool egress, uint32_t index);
/* Forgets everything and begins anew. */
void registry_clear(struct policy_registry *registry);
