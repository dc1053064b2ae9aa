/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster written as JSON, compiled, and asked who may reach whom. Every pod is a subject. */
#pragma once

#include "policy/compile/compile.h"

struct world {
	struct object_list list;
	struct policy_registry *registry;
	const struct object **by_kind[OBJECT_KIND_COUNT];
	size_t count[OBJECT_KIND_COUNT];
	bool *subject;
	struct compiled_policy *policy;
};

/*
 * `items` is the inside of a List's items, with ' for ". Ends the program with a message when it
 * cannot be read. The registry is made if it is NULL, and then freed with the world.
 */
struct world *world_new(const char *items, struct policy_registry *registry);
/* The same objects in another order: rotated by `turn`, reversed if it is odd. */
struct world *world_new_turned(const char *items, struct policy_registry *registry, size_t turn);
/* Does not free a registry that was given. */
void world_free(struct world *world);

/* "namespace/name" of a pod. */
const struct compiled_pod *world_pod(const struct world *world, const char *name);
const struct object *world_pod_object(const struct world *world, const char *name);
const struct compiled_ruleset *world_ruleset(const struct world *world, uint32_t id);

/* Source's egress and destination's ingress, each with the first address of the other's `family`
 * (4, 6). */
bool world_reaches_family(const struct world *world, const char *from, const char *to,
			  uint8_t proto, uint16_t port, int family);
bool world_reaches(const struct world *world, const char *from, const char *to, uint8_t proto,
		   uint16_t port);
/* One direction only, for a peer of any identity: what `pod` may send to `address`, or take from
 * it. */
struct policy_verdict world_verdict(const struct world *world, const char *pod, bool egress,
				    uint32_t identity, const char *address, uint8_t proto,
				    uint16_t port);
bool world_sends(const struct world *world, const char *pod, const char *address, uint8_t proto,
		 uint16_t port);
bool world_takes(const struct world *world, const char *pod, const char *address, uint8_t proto,
		 uint16_t port);

/* Texts of objects, to be joined by the preprocessor. A pod's `spec` holds containers. */
#define NAMESPACE(name, labels)                                                                    \
	"{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'" name "','labels':{" labels    \
	"}}}"
#define POD_SPEC(ns, name, labels, ip, spec)                                                       \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'" ns "','name':'" name           \
	"','labels':{" labels "}},'spec':{" spec "},'status':{'phase':'Running','podIPs':[" ip     \
	"]}}"
#define IP(address)		  "{'ip':'" address "'}"
#define POD(ns, name, labels, ip) POD_SPEC(ns, name, labels, IP(ip), "'containers':[{'name':'c'}]")
#define PORTS(ports)		  "'containers':[{'name':'c','ports':[" ports "]}]"
#define PORT(name, number, proto)                                                                  \
	"{'name':'" name "','containerPort':" #number ",'protocol':'" proto "'}"
#define NETPOL(ns, name, spec)                                                                     \
	"{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'namespace':'" ns \
	"','name':'" name "'},'spec':{" spec "}}"
