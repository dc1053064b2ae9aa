/* SPDX-License-Identifier: Apache-2.0 */
/* The decoders of each kind of object, and what they share. */
#pragma once

#include "policy/objects/json.h"
#include "policy/objects/json_kept.h"
#include "policy/objects/objects.h"

/* Each decodes the whole object at `at` into its part of `object`, which is zeroed and freed by the
 * caller, on failure too. */
int decode_namespace(const struct json_at *at, struct object *object);
int decode_pod(const struct json_at *at, struct object *object);
int decode_node(const struct json_at *at, struct object *object);
int decode_service(const struct json_at *at, struct object *object);
int decode_slice(const struct json_at *at, struct object *object);
int decode_network_policy(const struct json_at *at, struct object *object);
int decode_cluster_network_policy(const struct json_at *at, struct object *object);
int decode_traffic_alert(const struct json_at *at, struct object *object);

/*
 * What they read of kinds that may have members that nobody knows: the rest of an API server's
 * object is not parsed. A field that a decoder is to read has to stand here as well.
 */
extern const struct json_kept metadata_kept[];
extern const struct json_kept namespace_kept[], pod_kept[], node_kept[], service_kept[],
	slice_kept[];

/* metadata: name, namespace (for kinds that have one), uid, resourceVersion, labels. */
int decode_metadata(const struct json_at *at, bool namespaced, struct object *object);

/* For tables: struct labels; struct selector of a map (matchLabels); of a whole label selector;
 * struct polder_addr; struct prefix. */
int decode_labels(const struct json_at *at, void *target);
int decode_match_labels(const struct json_at *at, void *target);
int decode_selector(const struct json_at *at, void *target);
int decode_addr(const struct json_at *at, void *target);
int decode_prefix(const struct json_at *at, void *target);
/* Pods by their namespaces and by themselves: a subject's `namespaces` or `pods`, filled on failure
 * too. */
struct namespaced_pods {
	struct selector namespaces, pods;
};
int decode_subject(const struct json_at *at, struct namespaced_pods *ret);
/* An address that a pod, an endpoint or a Service may have. */
int decode_usable_addr(const struct json_at *at, void *target);
/* A port's name of at most LIMIT_PORT_NAME bytes; char *. */
int decode_port_name(const struct json_at *at, void *target);
/* Take zeroed or half-filled ones. */
void selector_clear(struct selector *selector);
void policy_rule_clear(struct policy_rule *rule);
/* Fills in rule->digest; when all else is decoded. */
void policy_rule_digest(struct policy_rule *rule);
/*
 * Namespace, labels, ports and phase of a pod with labels in memory that all pods share which say
 * the same, not to be changed; pod_unshare() gives it back and leaves the pod without them. 0,
 * -ENOMEM: they stay as they are.
 */
int pod_share(struct object *pod);
void pod_unshare(struct object *pod);
/*
 * Pods, nodes, Services and slices, of which there are many: the same object in one piece of
 * memory. Takes it whole, nobody else has it; where there is no memory it comes back as it is.
 */
struct object *object_pack(struct object *object);
/* metadata.creationTimestamp of an object in seconds since 1970; 0: it has none. */
int64_t decode_created(const struct json_at *at);
/* metadata.annotations whose keys begin with "polder.dev/". */
int decode_own_annotations(const struct json_at *at, struct labels *ret);
/* A text that is NULL becomes `value`. 0 or -ENOMEM. */
int decode_default_text(char **text, const char *value);
