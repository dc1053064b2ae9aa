/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of explain share: a question, its ends, and the answers of the three ways. */
#pragma once

#include "agent/explain/explain.h"
#include "agent/show/show_internal.h"
#include "policy/objects/evaluate.h"

#define EXPLAIN_NAME_MAX 512 /* NAMESPACE/NAME */
#define EXPLAIN_BACKENDS 256 /* of one Service, at most */

enum explain_kind { EXPLAIN_POD, EXPLAIN_THIS_NODE, EXPLAIN_ADDRESS, EXPLAIN_SERVICE };

/* One end as it was named. Objects are the store's, pods the agent's. */
struct explain_end {
	enum explain_kind kind;
	char name[EXPLAIN_NAME_MAX];   /* of a pod or a Service; "" */
	const struct object *pod;      /* as policy sees it; NULL: no pod */
	const struct local_pod *local; /* connected to this node; NULL */
	const char *node;	       /* its node's name; NULL: this one, or none */
	struct polder_addr addr[2];    /* IPv4, IPv6; all zero: none */
};

/* Which way a packet takes here. */
enum explain_vantage {
	EXPLAIN_FROM_POD,  /* sent by a pod of this node */
	EXPLAIN_FROM_NODE, /* sent by this node's own stack */
	EXPLAIN_FROM_WIRE, /* comes in by the uplink, for a pod of this node */
	EXPLAIN_ELSEWHERE, /* this node's programs evaluate nothing of it */
};

/* The rule that decides in one direction. */
struct explain_rule {
	bool set;
	char policy[EXPLAIN_NAME_MAX]; /* NAMESPACE/NAME, or the name alone: a ClusterNetworkPolicy
					*/
	uint32_t index;
};

struct explain_flows; /* explain_flows.h */

/* What one way says of one endpoint. */
struct explain_method {
	bool asked;
	char note[256]; /* why it was not asked */
	bool allowed;
	unsigned int reason; /* enum polder_reason */
	bool evaluated[DIRECTIONS];
	struct explain_rule rule[DIRECTIONS];
	uint32_t ruleset[DIRECTIONS];
	uint32_t identity[2]; /* source, destination; 0: not found out */
};
enum explain_methods { METHOD_OBJECTS, METHOD_MAPS, METHOD_PROGRAM, EXPLAIN_METHODS };

/* One destination: the one that was asked for, or one endpoint of a Service. */
struct explain_path {
	struct explain_end to;
	struct polder_addr addr;
	uint16_t port;
	enum explain_vantage vantage;
	struct evaluate_answer answer;
	const struct object **held[DIRECTIONS]; /* arrays that `answer` was made from */
	struct evaluate_end
		peer[DIRECTIONS]; /* the other end of each direction, as it was asked about */
	struct explain_method methods[EXPLAIN_METHODS];
	bool itself; /* the pod's own address: the packet does not leave the pod */
};

struct explain_frontend {
	bool found;
	bool external_address; /* also who is outside may ask for it */
	bool local;	       /* the endpoints are this node's set */
	const char *port_name;
	enum service_kind kind;
	uint32_t flags;
	uint32_t count; /* of endpoints, also those that are not shown */
};

struct explain {
	const struct show_sources *sources;
	struct explain_end from, to;
	uint8_t proto;
	uint8_t family; /* enum polder_family */
	uint16_t port;
	struct explain_frontend frontend;
	struct explain_path *paths;
	size_t path_count;
	size_t chosen;	     /* the path that stands for all */
	bool tried;	     /* the program was run with the Service's address */
	unsigned int reason; /* enum polder_reason: the Service has nothing to lead to; 0: it has,
				or it is none */
	const struct object **policies; /* the array is owned */
	struct evaluate_objects objects;
	struct test_run *run; /* borrowed: a private world's; NULL: the node's programs are run,
				 apart from its traffic */
	int run_error;	      /* -errno: those are not loaded */
	struct explain_flows *found; /* borrowed: flows of the node, whatever the world */
	uint32_t live_generation;
	json_t *flows; /* that exist already; NULL: not looked for */
	char error[2048];
};

/* explain.c: answers when all that was read is in force: at once, as a rule. */
typedef void explain_answer(struct control_request *request, const json_t *args,
			    const struct show_sources *sources);
void explain_when_in_force(struct control_request *request, const json_t *args,
			   const struct show_sources *sources, explain_answer *answer);

/* explain_question.c. -EINVAL with `error`, -ENOMEM. */
int explain_parse(struct explain *explain, const json_t *args);
/* Does the sender choose an endpoint itself: a pod or the node here, pods and nodes elsewhere? */
bool explain_is_inside(const struct explain *explain);
/* The end that has the address. */
void explain_find_address(const struct explain *explain, const struct polder_addr *addr,
			  struct explain_end *ret);
const struct polder_addr *explain_addr(const struct explain *explain,
				       const struct explain_end *end);
bool explain_in_own_range(const struct explain *explain, const struct polder_addr *addr);
enum explain_vantage explain_vantage(const struct explain *explain, const struct explain_end *to);

/* explain_objects.c: the other node behind the address, or with it, if it is reached through the
 * tunnel or natively; NULL: none, or by the network's own routing. */
const struct peer *explain_peer(const struct explain *explain, const struct polder_addr *addr);
/* 0 or -ENOMEM. */
int explain_gather(struct explain *explain);
/* One path, or one for each endpoint of the Service. 0, -ENOMEM. */
int explain_find_paths(struct explain *explain);
int explain_ask_objects(struct explain *explain, struct explain_path *path);
/* NAMESPACE/NAME; a ClusterNetworkPolicy's name alone. */
void explain_policy_name(const struct object *policy, char *buffer, size_t size);

/* explain_maps.c */
void explain_ask_maps(struct explain *explain, struct explain_path *path);

/* explain_program.c: runs made packets through the loaded programs and takes their traces away
 * again. */
void explain_ask_program(struct explain *explain);
/* The rule behind a number; it may be forgotten already. */
void explain_name_rule(const struct explain *explain, uint32_t rule, struct explain_rule *ret);

/* explain_document.c. NULL: no memory. */
json_t *explain_document(const struct explain *explain);
/* "spec.ingress[0]". */
json_t *explain_rule_path(bool egress, size_t index);
const char *explain_action_name(const struct object *policy, const struct policy_rule *rule);
const char *explain_tier_name(const struct object *policy);

/* explain_policy.c: the operation "policy"; `data` is the struct show_sources. */
void explain_policy_request(struct control_request *request, const json_t *args, int netns_fd,
			    void *data);
