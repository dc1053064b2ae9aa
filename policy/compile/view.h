/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world as the compiler sees it: namespaces, identities, pods, policies and their rules. Kept
 * up to date by one change after the other; what changed since the last run stands in lists. A
 * function that fails (no memory, no number left) leaves a view that nobody may compile: it is
 * thrown away.
 */
#pragma once

#include "agent/common/hash_table.h"
#include "policy/compile/registry.h"

struct live_ruleset;

/* How long, and how many, words count that no policy names any more: a minute at least where 200
 * changes come a second. */
#define VIEW_WORD_RUNS	16384
#define VIEW_WORDS_KEPT 32

/* A key of labels, or a name of ports. */
struct view_word {
	size_t policies;  /* uses of policies that name it */
	bool kept;	  /* none does, but it counts still, */
	uint64_t kept_in; /* since this run */
	bool counts;	  /* it is part of identities */
	bool flipped;	  /* it was not, before the last view_update_words(), or was */
	UT_hash_handle hh;
	char text[];
};

/* Distinct (namespace, labels and named ports as far as policies name them), of one pod or many. */
struct view_identity {
	struct hash_table_item by_id; /* first: the table gives it back; its hash is the number */
	const struct registry_identity *registered;
	struct view_namespace *namespace;
	size_t index;		     /* its bit in a set of identities */
	size_t pods;		     /* 0: it goes with the next run */
	size_t subjects;	     /* how many of them are this node's */
	struct live_ruleset *set[2]; /* what holds for its pods; NULL: they are open */
	bool listed;		     /* in view->changed */
	bool in_last_run;	     /* it was there in the last run: rule sets know it */
	bool in_force;	      /* addresses may have it: policy_compiler_confirm() has seen it */
	uint64_t selected_in; /* the run that last selected its policies */
	struct view_identity *next, *previous; /* of the namespace */
};

/* The identities that have a label. */
struct view_label {
	struct hash_table_item by_text; /* first: the table gives it back */
	struct view_identity **identities;
	size_t count, capacity;
	size_t length;
	char text[]; /* key, NUL, value */
};

struct view_namespace {
	char *name;
	struct labels labels; /* with kubernetes.io/metadata.name as it must be */
	bool has_object;
	bool listed;	 /* in view->dirty */
	bool relabelled; /* its labels are not those of the last run */
	struct view_identity *identities;
	size_t identity_count;
	struct view_policy **policies; /* its NetworkPolicies, by name */
	size_t policy_count, policy_capacity;
	UT_hash_handle hh; /* by name */
};

struct view_rule {
	const struct policy_rule *source;
	const struct view_namespace *namespace; /* of a NetworkPolicy; NULL: of a cluster policy */
	enum policy_tier tier;
	uint32_t number;
	bool any_peer;	   /* no peers: every address */
	bool all_pods;	   /* every pod, whatever its labels */
	uint64_t *matches; /* of identities; while sets are compiled, see view_prepare_rule() */
	struct view_rule *next_prepared;
};

struct view_policy {
	struct object *object; /* a share */
	uint64_t serial;       /* no other policy has it, nor another version of this one */
	struct view_namespace *namespace; /* of a NetworkPolicy; NULL: of a cluster policy */
	uint64_t deleted_at;		  /* 0: it is there */
	struct view_rule *rules[2];	  /* ingress, egress */
	size_t rule_count[2];
	bool named_ports[2];
	struct view_policy *next; /* of view->trash */
};

/* A pod. Its memory is the view's. */
struct policy_pod {
	struct view_identity *identity;	     /* NULL: none */
	const struct polder_addr *addresses; /* borrowed */
	uint32_t address_count;
	bool subject; /* of this node */
	bool host_network;
	bool apart;			    /* policies that went hold for it */
	struct policy_pod *next, *previous; /* of view->pods, or view->subjects */

	/* Of this node's alone: the many others have no memory for these. */
	uint64_t terminating;		 /* since when it is on its way out; 0: it is not */
	struct live_ruleset *own_set[2]; /* with `apart`: instead of its identity's */
};

/* In the order they came. */
struct policy_pods {
	struct policy_pod *first, *last;
};

struct view {
	struct policy_registry *registry;
	struct view_namespace *namespaces; /* by name; not only those with pods */
	struct hash_table by_id;	   /* struct view_identity, by registered->id */
	struct view_identity **identities; /* by index; NULL: a bit that is free */
	size_t identity_slots, identity_capacity;
	size_t free_from;	      /* no bit below is free */
	struct hash_table labels;     /* struct view_label: of identities */
	struct view_policy **cluster; /* by tier, priority, name */
	size_t cluster_count, cluster_capacity;
	size_t deleted_count; /* of the policies: went, and hold for some pods */
	uint64_t next_serial;
	struct view_word *label_keys, *port_names;
	bool words_changed; /* what policies name is not what identities are made of */
	uint64_t word_runs; /* VIEW_WORD_RUNS */
	size_t words_kept;
	uint64_t words_due;		   /* the run from which on one of those counts no more */
	const struct object *const *nodes; /* borrowed, for the run */
	size_t node_count;
	struct policy_pods pods, subjects; /* of other nodes, of this node */
	struct view_rule *prepared;
	uint64_t run; /* that is running, or comes next */

	/* Since the last run. */
	struct view_identity **changed; /* new, gone, or another pod of this node has it */
	size_t changed_count, changed_capacity;
	struct view_namespace **dirty;
	size_t dirty_count, dirty_capacity;
	bool cluster_changed;
	bool nodes_changed;	   /* labels or addresses of Node objects */
	bool addresses_changed;	   /* some pod's, or whose they are */
	struct view_policy *trash; /* what rule sets may name until the run is over */
};

void view_clear(struct view *view);
/* Ends the run: the lists are empty, what has gone is freed. */
void view_end_run(struct view *view);

/* The identity with the number; NULL: there is none. */
static inline struct view_identity *view_identity_of(const struct view *view, uint32_t id)
{
	return (struct view_identity *)hash_table_find(&view->by_id, id);
}

/* 0, -ENOMEM. `object` NULL: there is none, the namespace has but its name. */
int view_set_namespace(struct view *view, const char *name, const struct object *object);
/* 0, -ENOMEM, -ENOSPC. Takes a share. A policy of that kind, namespace and name gives way. */
int view_set_policy(struct view *view, const struct object *object);
int view_remove_policy(struct view *view, enum object_kind kind, const char *namespace,
		       const char *name);
/* Policies that went, each with when; in the place of those that were given before. */
int view_set_deleted(struct view *view, const struct object *const *objects, const uint64_t *when,
		     size_t count);

/* 0, -ENOMEM, -ENOSPC. See policy_compiler_set_pod(). */
int view_set_pod(struct view *view, struct policy_pod **pod, const struct object *object,
		 const struct pod_addresses *addresses, bool subject, uint64_t terminating);
int view_remove_pod(struct view *view, struct policy_pod *pod);

/*
 * Identities are made of what policies name now, from here on. True: that is another thing than
 * before, and each pod has to be set again that view_words_concern() says yes to.
 */
bool view_update_words(struct view *view);
/* Before any policy: those that count in `from` count here too, named or not. 0 or -ENOMEM. */
int view_keep_words(struct view *view, const struct view *from);
bool view_words_concern(const struct view *view, const struct object *pod);

/* Words of a set of identities. */
size_t view_identity_words(const struct view *view);
bool view_rule_matches(const struct view_rule *rule, const struct view_identity *identity);
/* Finds out whom the rule names, once in a run. 0 or -ENOMEM. */
int view_prepare_rule(struct view *view, struct view_rule *rule);
