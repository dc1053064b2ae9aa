/* SPDX-License-Identifier: Apache-2.0 */
/* What the answers' files share. */
#pragma once

#include "agent/observe/flow_filter.h"
#include "agent/show/show.h"

/* Operations; `data` is the struct show_sources. */
void show_pods(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_services(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_policies(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_flows(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_maps(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_config(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_drops(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_kernel_drops(struct control_request *request, const json_t *args, int netns_fd,
		       void *data);
void show_monitor(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_alerts(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_suggest(struct control_request *request, const json_t *args, int netns_fd, void *data);

void show_latency(struct control_request *request, const json_t *args, int netns_fd, void *data);

/* Answers with `result`, or with an error if it is NULL. Takes the reference. */
void show_reply(struct control_request *request, json_t *result);
/* The status's "routes", and the problems of Nodes that have none, into `list`. */
json_t *show_routes(const struct show_sources *sources);
void show_route_problems(const struct show_sources *sources, json_t *list);
/* The status's "api": the API server and its resources. NULL: there is none. */
json_t *show_api(const struct show_sources *sources);
/* An integer, or a real number beyond what JSON's integers hold. */
json_t *show_u64(uint64_t value);
/* The address, or "" if it is all zero. */
json_t *show_addr(const struct polder_addr *addr);
/* The labels policy sees: those of the Pod object, else what the configuration gave. */
const struct labels *show_pod_labels(const struct show_sources *sources,
				     const struct local_pod *pod);

/* show_processes.c: flow_filter_parse(), where the filter can be answered: one by processes is
 * refused while they are not noted. */
int show_filter_parse(const struct show_sources *sources, const json_t *filter,
		      struct flow_filter **ret, struct error *ret_error);
/* show_suggest.c: the status's "flow_history", where one is configured. */
json_t *show_flow_history(const struct show_sources *sources);
/* show_workloads.c: the labels, and the keys of labels that are absent, by which a policy chooses
 * the pods of the workload `name` (flow_workload()), and how many others it cannot tell from them.
 * NULL: no memory. */
json_t *show_workload(const struct show_sources *sources, const struct flow_name *name);

/* Names of other nodes by their numbers, POLDER_MAX_PEERS; NULL: no memory. */
json_t **show_node_names(const struct peers *peers);
void show_free_node_names(json_t **nodes); /* takes NULL */

enum show_pod_state {
	SHOW_POD_READY,
	SHOW_POD_WAITING,
	SHOW_POD_CLOSED,
	SHOW_POD_GONE,
	SHOW_POD_STATES
};
extern const char *const show_pod_state_names[SHOW_POD_STATES];
struct show_pod {
	enum show_pod_state state;
	uint32_t identity, ingress_ruleset, egress_ruleset;
};
/* What the maps say of a pod, under the present generation. */
void show_pod_lookup(const struct show_sources *sources, const struct local_pod *pod,
		     struct show_pod *ret);
/* The number by which the maps know rule `index` of a direction; 0: no pod here has it. */
uint32_t show_rule_number(const struct show_sources *sources, const struct object *policy,
			  bool egress, size_t index);

struct show_map {
	bool counted;
	bool fills; /* the number says how full it is: not of arrays that are written in place */
	uint64_t entries;
	uint64_t max_entries;
	uint32_t value_bytes;
	uint64_t memory_bytes; /* 0: unknown */
};
/*
 * `exactly`: elements are counted in the kernel's map, which takes ms where it is large; else as
 * the agent knows them, if it does. `counted` false: neither was possible in the time there is.
 */
void show_map_lookup(const struct show_sources *sources, enum map_index index, bool exactly,
		     struct show_map *ret);

/* show_peers.c */
json_t *show_rfc3339(time_t when); /* UTC */
json_t *show_peers(const struct show_sources *sources);
json_t *show_tunnel(const struct show_sources *sources);
void show_tunnel_problems(const struct show_sources *sources, json_t *list);
void show_nodes(struct control_request *request, const json_t *args, int netns_fd, void *data);

/* show_balancers.c. NULL: there are no pools. */
json_t *show_balancers(const struct show_sources *sources);
void show_balancer_problems(const struct show_sources *sources, json_t *list);
void show_load_balancers(struct control_request *request, const json_t *args, int netns_fd,
			 void *data);

/* show_network.c */
json_t *show_uplinks(const struct node *node);
json_t *show_egress(const struct node *node);
/* Pods that the node itself does not answer. */
void show_unanswered(const struct show_sources *sources, json_t *list);
/* Of others, at the hooks of uplinks and of the cgroup. */
json_t *show_other_programs(const struct show_sources *sources);
/* What is wrong with them is added to a list of problems. */
void show_network_problems(const struct node *node, json_t *list);

/* show_tables.c: what the programs' tables stand for. */
void show_identities(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_rulesets(struct control_request *request, const json_t *args, int netns_fd, void *data);
void show_addresses(struct control_request *request, const json_t *args, int netns_fd, void *data);
