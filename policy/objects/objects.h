/* SPDX-License-Identifier: Apache-2.0 */
/* Kubernetes objects as Polder keeps them: only the fields it needs, decoded and checked at the
 * edge. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/common/address.h"
#include "agent/common/error.h"
#include "datapath/abi.h"

enum object_kind {
	OBJECT_NAMESPACE,
	OBJECT_NODE,
	OBJECT_POD,
	OBJECT_SERVICE,
	OBJECT_ENDPOINT_SLICE,
	OBJECT_NETWORK_POLICY,
	OBJECT_CLUSTER_NETWORK_POLICY,
	OBJECT_TRAFFIC_ALERT,
	OBJECT_KIND_COUNT,
};

struct label {
	char *key;
	char *value;
};

/* Sorted by key, no key twice. */
struct labels {
	struct label *items;
	size_t count;
};

enum selector_operator { SELECTOR_IN, SELECTOR_NOT_IN, SELECTOR_EXISTS, SELECTOR_DOES_NOT_EXIST };

struct selector_term {
	char *key;
	enum selector_operator op;
	char **values;
	size_t value_count;
};

/* matchLabels stand as SELECTOR_IN with one value. No term: matches everything. */
struct selector {
	struct selector_term *terms;
	size_t count;
};

/* A port of a container, named or not. */
struct named_port {
	char *name;    /* NULL: unnamed */
	uint16_t port; /* host byte order */
	uint8_t proto; /* IPPROTO_TCP, UDP, SCTP */
};

/* status.hostIP's node is named by node_name. */
struct pod_object {
	struct polder_addr *addresses; /* status.podIPs (podIP), IPv4 as mapped */
	size_t address_count;
	struct named_port
		*ports; /* of containers and sidecars (init containers with restartPolicy Always) */
	size_t port_count;
	char *node_name; /* NULL: none */
	char *phase;	 /* "" if unknown */
	char *mirror_of; /* the uid that the kubelet gives to the static pod that this object
			    mirrors: annotation kubernetes.io/config.mirror; NULL: it mirrors none
			  */
	bool host_network;
	bool ready;	  /* condition Ready is True, or there are no conditions */
	bool terminating; /* metadata.deletionTimestamp */
	bool finished;	  /* phase Succeeded or Failed */
};

struct namespace_object {
	bool terminating; /* metadata.deletionTimestamp */
};

struct node_object {
	struct prefix *pod_ranges; /* spec.podCIDRs (podCIDR) */
	size_t pod_range_count;
	struct polder_addr
		*addresses; /* status.addresses: InternalIP and ExternalIP, InternalIPs first */
	size_t address_count;
	size_t internal_count; /* the first so many of `addresses` */
	int64_t created;       /* metadata.creationTimestamp, seconds since 1970; 0: unknown */
};

struct service_port {
	char *name; /* "" if none */
	uint16_t port;
	uint8_t proto;
	char *target_name;    /* targetPort by name; NULL: by number */
	uint16_t target_port; /* 0 with a name */
	uint16_t node_port;   /* 0: none */
};

/* spec.trafficDistribution; PreferClose is the older name of PreferSameZone. */
enum traffic_distribution { DISTRIBUTION_ANY, DISTRIBUTION_SAME_ZONE, DISTRIBUTION_SAME_NODE };

/* Addresses but clusterIPs are kept whatever they are: which of them is served is for the agent to
 * say. */
struct service_object {
	char *type;			 /* ClusterIP, NodePort, LoadBalancer, ExternalName */
	struct polder_addr *cluster_ips; /* spec.clusterIPs (clusterIP) without "None" */
	size_t cluster_ip_count;
	struct polder_addr *external_ips; /* spec.externalIPs */
	size_t external_ip_count;
	struct polder_addr *balancer_ips; /* status.loadBalancer.ingress: those with an address and
					     ipMode VIP */
	size_t balancer_ip_count;
	bool balancer_elsewhere; /* it has others: names, or addresses with ipMode Proxy */
	struct polder_addr balancer_asked; /* spec.loadBalancerIP; all zero: none */
	struct prefix *source_ranges;	   /* spec.loadBalancerSourceRanges */
	size_t source_range_count;
	char *balancer_class;	   /* spec.loadBalancerClass; NULL: none */
	struct labels annotations; /* those that begin with "polder.dev/" */
	int64_t created;	   /* metadata.creationTimestamp, seconds since 1970; 0: unknown */
	uint32_t affinity_seconds; /* sessionAffinity ClientIP; 0: None */
	uint16_t health_port;	   /* spec.healthCheckNodePort; 0: none */
	uint8_t distribution;	   /* enum traffic_distribution */
	bool wants_v4, wants_v6;   /* spec.ipFamilies; both false: it does not say */
	bool headless;
	struct service_port *ports;
	size_t port_count;
	bool has_selector;
	struct selector selector;
	bool publish_not_ready;
	bool internal_local; /* internalTrafficPolicy: Local */
	bool external_local; /* externalTrafficPolicy: Local */
};

struct slice_endpoint {
	struct polder_addr *addresses;
	size_t address_count;
	bool ready;		/* null counts as true */
	bool serving;		/* null: as ready */
	bool terminating;	/* null counts as false */
	char *node_name;	/* NULL: none */
	char *target_pod;	/* targetRef of kind Pod: its name; NULL: none */
	char *target_namespace; /* of it, if it is not the slice's own; NULL: it is */
	char *zone_hints;	/* hints.forZones: names with commas between them; NULL: none */
	char *node_hints;	/* hints.forNodes, the same way */
};

struct slice_port {
	char *name;    /* "" if none */
	uint16_t port; /* 0: null, every port (not supported, ignored) */
	uint8_t proto;
};

struct slice_object {
	char *service;	/* label kubernetes.io/service-name; NULL: of no Service */
	uint8_t family; /* enum polder_family */
	struct slice_endpoint *endpoints;
	size_t endpoint_count;
	struct slice_port *ports;
	size_t port_count;
};

struct policy_port {
	uint8_t proto;
	bool any_port;
	char *name;	      /* NULL: by number */
	uint16_t first, last; /* host byte order, inclusive; when not any_port and no name */
};

struct policy_peer {
	bool is_block;
	struct prefix block;
	struct prefix *excepts;
	size_t except_count;
	bool has_namespace_selector, has_pod_selector;
	struct selector namespace_selector, pod_selector;
	bool is_nodes; /* the addresses of nodes; only in egress rules of cluster policies */
	struct selector node_selector;
};

/* A NetworkPolicy's rules accept. Pass leaves the tier. */
enum rule_action { RULE_ACCEPT, RULE_DENY, RULE_PASS };

struct policy_rule {
	struct policy_peer *peers; /* none: every peer */
	size_t peer_count;
	struct policy_port *ports; /* none: every port and protocol */
	size_t port_count;
	enum rule_action action;
	char *name;	      /* NULL: none */
	bool matches_nothing; /* accepts a kind of peer or protocol that is not known */
	bool fails_closed;    /* denies everything, for the same reason */
	uint8_t digest[32];   /* of what it says, but for its name */
};

/* Of policy, as the pod sees it. */
enum direction { INGRESS, EGRESS, DIRECTIONS };

/* In the order they are asked. */
enum policy_tier { TIER_ADMIN, TIER_NETWORK_POLICY, TIER_BASELINE };

/* A NetworkPolicy, or a ClusterNetworkPolicy: that one isolates nobody. */
struct network_policy_object {
	enum policy_tier tier;
	int priority; /* of a cluster policy: 0 to 1000, the lower is asked first */
	struct selector
		namespace_selector; /* of a cluster policy: the namespaces of its subjects */
	struct selector pod_selector;
	bool isolates_ingress, isolates_egress;
	struct policy_rule *ingress;
	size_t ingress_count;
	struct policy_rule *egress;
	size_t egress_count;
};

enum alert_severity { ALERT_INFO, ALERT_WARNING, ALERT_CRITICAL, ALERT_SEVERITIES };

/* What a TrafficAlert looks for; see docs/alerts.md. */
enum alert_kind {
	ALERT_PEERS_OUTSIDE,	/* a connection to an address outside of a list */
	ALERT_FOREIGN_RESOLVER, /* DNS to others than those of a list */
	ALERT_SCAN,		/* many denied ports or addresses in a time */
	ALERT_VOLUME,		/* more than so many bytes to the outside in a time */
	ALERT_NEW_PEER,		/* a peer that the workload did not have in a time */
	ALERT_NEW_PROCESS,	/* a program that opens connections and did not in a time */
	ALERT_SHELL,		/* a connection that a shell opens */
	ALERT_NEW_LISTENER, /* a socket that listens at a port outside of a list, or did not in a
			       time */
	ALERT_KINDS,
};

struct alert_ports {
	uint16_t first, last; /* included */
};

/* What does not concern its kind is 0. */
struct traffic_alert_object {
	enum alert_severity severity;
	enum alert_kind alert;
	char *message;	     /* NULL: none */
	uint32_t rate_limit; /* seconds in which alerts of one workload are told as one */
	bool any_subject;    /* whoever it is, or any pod: there are no selectors */
	struct selector namespace_selector, pod_selector;
	struct prefix *networks; /* that are meant to be spoken with */
	size_t network_count;
	char **services; /* "namespace/name" of those that are meant to be asked for names */
	size_t service_count;
	char **programs; /* that count as shells: file names, or paths */
	size_t program_count;
	struct alert_ports *ports; /* that are meant to be listened at */
	size_t port_count;
	bool nodes;	  /* sockets of the node itself as well */
	uint32_t targets; /* so many denied ones are a scan */
	uint64_t bytes;
	uint32_t seconds; /* in which targets or bytes are counted, or peers and the like learnt */
};

struct object {
	unsigned int sharers; /* owners beside the first one, see object_share(); atomic */
	enum object_kind kind : 16;
	unsigned int is_packed : 1; /* all it points to, but for resource_version, is of its own
				       piece of memory */
	unsigned int is_shared : 1; /* a pod: but for what is others' as well, see pod_share() */
	char *namespace;	    /* "" for those without; "default" where it is missing */
	char *name;
	char *uid;		/* "" if unknown */
	char *resource_version; /* metadata.resourceVersion, opaque; no part of the content. NULL:
				   unknown, or nobody needs it: of a pod, node or slice */
	struct labels labels;
	union {
		struct namespace_object space;
		struct pod_object pod;
		struct node_object node;
		struct service_object service;
		struct slice_object slice;
		struct network_policy_object network_policy;
		struct traffic_alert_object traffic_alert;
	};
};

/* What one text held. `skipped` counts objects of kinds Polder has no use for (ConfigMap,
 * Deployment, ...). */
struct object_list {
	struct object **objects;
	size_t count;
	size_t skipped;
};

/* Limits: larger input is refused with an error that names the number. */
#define OBJECT_TEXT_MAX (64u << 20)

/*
 * Decodes one object, a List (any *List kind; items may lack kind and apiVersion), or an array. All
 * or nothing: on error no object is returned and `*ret_error` says where and why. 0, -EINVAL (what
 * the user wrote is wrong), -EFBIG (over a limit), -ENOMEM. Free with object_list_clear().
 */
int objects_decode(const char *text, size_t length, struct object_list *ret,
		   struct error *ret_error);
/*
 * One object of this kind, which its text need not name, as items of lists do not. 0, or as
 * objects_decode(). object_free().
 */
int object_decode(enum object_kind kind, const char *text, size_t length, struct object **ret,
		  struct error *ret_error);
/*
 * The object as compact JSON in one line, of the fields that are kept: object_decode() makes an
 * equal one of it, whose resourceVersion is unknown. In any thread that owns a share. NULL: no
 * memory. free() it.
 */
char *object_encode(const struct object *object);
/* Would the parser's tree of this text be too large, or too deep? As objects_decode(), which asks
 * first. */
int objects_check_size(const char *text, size_t length, struct error *ret_error);

/*
 * One owner more of an object that nobody changes any more: each frees it. In any thread, while
 * another owner keeps it: the last one has to be of the thread that decodes objects.
 */
struct object *object_share(const struct object *object);
/* Takes NULL. */
void object_free(struct object *object);
void object_list_clear(struct object_list *list);
const char *object_kind_name(enum object_kind kind);
/* Is it of a kind whose objects have no namespace? */
bool object_kind_is_global(enum object_kind kind);
const char *alert_severity_name(enum alert_severity severity);
/* As its field of the spec is called. */
const char *alert_kind_name(enum alert_kind kind);

/* Same content in every field that Polder keeps. */
bool object_equal(const struct object *a, const struct object *b);

/* labels_set() adds or replaces; 0 or -ENOMEM. labels_get() returns the value or NULL. */
int labels_set(struct labels *labels, const char *key, const char *value);
const char *labels_get(const struct labels *labels, const char *key);
void labels_clear(struct labels *labels);
/* Into `*ret`, which holds none. 0, or -ENOMEM: then it still holds none. */
int labels_copy(const struct labels *labels, struct labels *ret);
bool labels_equal(const struct labels *a, const struct labels *b);

bool selector_matches(const struct selector *selector, const struct labels *labels);
