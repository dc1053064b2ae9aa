/* SPDX-License-Identifier: Apache-2.0 */
/* Services on maps of their own: objects in, entries out. Needs root. */
#pragma once

#include "agent/node/peers.h"
#include "agent/services/services.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

struct world {
	struct config config;
	struct node node;
	struct prefix links[4];
	struct maps *maps;
	struct store *store;
	struct peers *peers; /* of all Nodes */
	struct services *services;
	struct polder_addr more[2];
	size_t more_count;
	char told[1024];
};

#define SERVICE(name, meta, spec, status)                                                          \
	"{'apiVersion':'v1','kind':'Service','metadata':{'name':'" name "'" meta "},'spec':{" spec \
	",'ports':[{'port':80,'targetPort':8080,'nodePort':30080}]},'status':{" status "}}"
#define SLICE(name, endpoints)                                                                     \
	"{'apiVersion':'discovery.k8s.io/v1','kind':'EndpointSlice','metadata':{'name':'" name     \
	"','labels':{'kubernetes.io/service-name':'" name "'}},'addressType':'IPv4','ports':["     \
	"{'port':8080}],'endpoints':[" endpoints "]}"
#define ENDPOINT(addr, more) "{'addresses':['" addr "']" more "}"
#define INGRESS(addr)	     "'loadBalancer':{'ingress':[{'ip':'" addr "'}]}"
#define MADE(time)	     ",'creationTimestamp':'2026-01-01T00:00:" time "Z'"
#define NODE(name, labels, addr, range)                                                            \
	"{'apiVersion':'v1','kind':'Node','metadata':{'name':'" name "','labels':{" labels         \
	"}},'spec':{'podCIDR':'" range "'},'status':{'addresses':[{'type':'InternalIP','address':" \
	"'" addr "'}]}}"

struct polder_addr addr_of(const char *text);
/* "any", "any6": a node port's; port 0: the address itself. */
struct service_key key_of(const char *addr, uint16_t port);
/* Of an uplink: "192.0.2.1/24". */
void link_add(struct world *w, const char *prefix);
void services_start(struct world *w);
/* The node is called "here", has 192.168.7.1/24, and the pod range 10.1.0.0/24. `room`: entries of
 * each map. */
void world_begin(struct world *w, uint32_t room);
void world_end(struct world *w);
/* One object, or an array, of the origin; ' stands for ". An empty text deletes what it had. Then
 * applies. */
void world_put(struct world *w, const char *origin, const char *text);
bool world_find(struct world *w, const char *addr, uint16_t port, struct service_entry *ret);
struct service_entry entry_of(struct world *w, const char *addr, uint16_t port);
bool is_served(struct world *w, const char *addr, uint16_t port);
/* "10.1.0.1 10.2.0.1": what stands in the row, and in the sets of a frontend. */
const char *row_text(struct world *w, uint32_t first, uint32_t count);
const char *cluster_set(struct world *w, const char *addr, uint16_t port);
const char *local_set(struct world *w, const char *addr, uint16_t port);
/* Is there a problem with these words? Prints all if there is none. */
bool is_told(struct world *w, const char *name, const char *words);
/* The same in the words of all nodes; is it this node's alone? */
bool is_told_everywhere(struct world *w, const char *name, const char *words, bool here);
size_t problem_count(struct world *w);
/* How many elements the kernel's map has. */
size_t held(struct world *w, enum map_index index);
