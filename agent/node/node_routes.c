/* SPDX-License-Identifier: Apache-2.0 */
/* What is wanted against what is there: one slice after the other. */
#include "agent/node/node_routes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/node/node_routes_internal.h"
#include "agent/common/address.h"

/* Lines in the log for ranges that are refused, in one slice. */
#define LOG_MAX 8

static uint64_t now(const struct node_routes *r)
{
	return r->env.now_ns(r->env.data);
}

static void wanted(const struct node_routes *r)
{
	if (r->env.wanted)
		r->env.wanted(r->env.data);
}

/* ---------------------------------------------------------------- lists */

static void list_leave(struct pod_range *range)
{
	struct range_list *list = range->list;

	if (!list)
		return;
	if (range->prev)
		range->prev->next = range->next;
	else
		list->first = range->next;
	if (range->next)
		range->next->prev = range->prev;
	else
		list->last = range->prev;
	range->next = range->prev = NULL;
	range->list = NULL;
}

static void list_append(struct range_list *list, struct pod_range *range)
{
	list_leave(range);
	range->list = list;
	range->prev = list->last;
	if (list->last)
		list->last->next = range;
	else
		list->first = range;
	list->last = range;
}

void routes_ready(struct node_routes *r, struct pod_range *range)
{
	range->level = 0;
	list_append(&r->ready, range);
}

/* Those that failed, at once: what kept them from succeeding may be over. */
static void failed_ready(struct node_routes *r)
{
	for (unsigned int level = 0; level < NODE_ROUTES_LEVELS; level++)
		while (r->failed[level].first)
			routes_ready(r, r->failed[level].first);
}

/* ---------------------------------------------------------------- from outside */

int node_routes_new(const struct node_routes_env *env, struct node_routes **ret)
{
	struct node_routes *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->env = *env;
	*ret = r;
	return 0;
}

void node_routes_free(struct node_routes *r)
{
	if (!r)
		return;
	ranges_clear(r);
	free(r);
}

void node_routes_changed(struct node_routes *r, const struct prefix *range)
{
	struct pod_range *entry;

	if (!r->synced || r->claims_dirty)
		return;
	/* A node's own address, or one that was never heard of. */
	if (range && !ranges_find(r, range) && !peers_claims_range(r->env.peers, range))
		return;
	entry = range ? ranges_get(r, range) : NULL;
	if (entry)
		routes_ready(r, entry);
	else
		r->claims_dirty = true;
	wanted(r);
}

void node_routes_synced(struct node_routes *r)
{
	r->synced = r->claims_dirty = true;
	r->rescan = RESCAN_ALL;
	wanted(r);
}

void node_routes_distrust(struct node_routes *r)
{
	r->rescan = RESCAN_ALL;
	failed_ready(r);
	wanted(r);
}

/* Now, or when routes were last looked at. */
static bool is_uplink(const struct node_routes *r, int ifindex)
{
	const struct node *node = r->env.node;

	for (size_t i = 0; i < CONFIG_MAX_UPLINKS; i++)
		if (r->uplinks[i] == ifindex ||
		    (i < node->uplink_count && node->uplinks[i].ifindex == ifindex))
			return true;
	return false;
}

static void address_changed(struct node_routes *r, int ifindex)
{
	/* With a link's last address its IPv4 routes go, and those whose source it was; the kernel
	 * does not tell of them. */
	if (is_uplink(r, ifindex))
		node_routes_distrust(r);
}

static void link_changed(struct node_routes *r, int ifindex)
{
	/* The same with a link that is set down. */
	if (is_uplink(r, ifindex))
		node_routes_distrust(r);
}

static bool same_stop(const struct next_stop *a, const struct next_stop *b)
{
	return a->ifindex == b->ifindex &&
	       memcmp(&a->gateway, &b->gateway, sizeof(a->gateway)) == 0 &&
	       memcmp(&a->source, &b->source, sizeof(a->source)) == 0;
}

static struct next_stop stop_of(const struct kernel_route *route)
{
	return (struct next_stop){
		.ifindex = route->ifindex, .gateway = route->gateway, .source = route->source};
}

/* Routes without gateway are pods', but those by the tunnel. */
static bool is_to_a_node(const struct node_routes *r, const struct kernel_route *route)
{
	return route->has_gateway ||
	       (route->ifindex && route->ifindex == peers_get_tunnel(r->env.peers)->ifindex);
}

static void route_changed(struct node_routes *r, const struct kernel_route *route, bool deleted)
{
	const struct next_stop stop = stop_of(route);
	struct pod_range *range;

	if (!r->synced || r->rescan & RESCAN(route->family))
		return; /* it is seen then */
	range = ranges_find(r, &route->destination);
	if (!route->is_ours) {
		/* It may have taken the place of ours, or left it. */
		if (!range || !range->is_claimed)
			return;
		range->is_foreign = range->is_there = false;
	} else if (!is_to_a_node(r, route)) {
		return;
	} else if (deleted) {
		if (!range || !range->is_there || !same_stop(&range->there, &stop))
			return;
		range->is_there = false;
		r->removed += range->want == WANT_ROUTE;
	} else {
		if (range && range->is_there && same_stop(&range->there, &stop))
			return;
		range = ranges_get(r, &route->destination);
		if (!range) {
			node_routes_distrust(r);
			return;
		}
		range->is_there = true;
		range->there = stop;
	}
	routes_ready(r, range);
	wanted(r);
}

void node_routes_heard(struct node_routes *r, const struct netlink_event *event)
{
	switch (event->change) {
	case NETLINK_LINK_GONE:
	case NETLINK_LINK_NEW:
		link_changed(r, event->link.ifindex);
		break;
	case NETLINK_ADDRESS:
		address_changed(r, event->link.ifindex);
		break;
	case NETLINK_ROUTES:
		if (event->kernel_route)
			route_changed(r, event->kernel_route, event->deleted);
		break;
	case NETLINK_NEIGHBOUR_GONE:
		break;
	}
}

/* ---------------------------------------------------------------- reading */

/* The uplinks' numbers are others than when routes were read. */
static bool uplinks_differ(const struct node_routes *r)
{
	const struct node *node = r->env.node;

	for (size_t i = 0; i < CONFIG_MAX_UPLINKS; i++)
		if (r->uplinks[i] != (i < node->uplink_count ? node->uplinks[i].ifindex : 0))
			return true;
	return false;
}

static void keep_uplinks(struct node_routes *r)
{
	const struct node *node = r->env.node;

	for (size_t i = 0; i < CONFIG_MAX_UPLINKS; i++)
		r->uplinks[i] = i < node->uplink_count ? node->uplinks[i].ifindex : 0;
}

/* Entries for all that are there, before anything is changed. 0 or -ENOMEM. */
static int make_entries(struct node_routes *r, const struct kernel_route *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_to_a_node(r, &list[i]) && !ranges_get(r, &list[i].destination))
			return -ENOMEM;
	return 0;
}

static void take_there(struct node_routes *r, const struct kernel_route *route)
{
	const struct next_stop stop = stop_of(route);
	struct pod_range *range = ranges_find(r, &route->destination);

	/* Of several the one that is wanted: the others go. */
	if (range->is_there && range->want == WANT_ROUTE &&
	    same_stop(&range->there, &range->wanted))
		return;
	range->is_there = true;
	range->there = stop;
}

static uint8_t family_of(const struct pod_range *range)
{
	return prefix_is_v4(&range->range) ? FAMILY_V4 : FAMILY_V6;
}

/* Of a family: how many of the routes that are wanted are there. */
static size_t there_and_wanted(const struct node_routes *r, uint8_t family)
{
	size_t count = 0;

	for (size_t i = 0; i < r->ranges.count; i++) {
		const struct pod_range *range = (const struct pod_range *)r->ranges.items[i];

		count += family_of(range) == family && range->is_there && range->want == WANT_ROUTE;
	}
	return count;
}

static void take_all(struct node_routes *r, uint8_t family, const struct kernel_route *list,
		     size_t count)
{
	size_t before = there_and_wanted(r, family), after, i;

	for (i = 0; i < r->ranges.count; i++) {
		struct pod_range *range = (struct pod_range *)r->ranges.items[i];

		if (family_of(range) != family)
			continue;
		range->is_there = false;
		list_append(&r->ready, range);
	}
	for (i = 0; i < count; i++)
		if (is_to_a_node(r, &list[i]))
			take_there(r, &list[i]);
	after = there_and_wanted(r, family);
	r->removed += before > after ? before - after : 0;
}

/* One family in a turn. */
static int rescan(struct node_routes *r)
{
	uint8_t family = r->rescan & RESCAN(FAMILY_V4) ? FAMILY_V4 : FAMILY_V6;
	struct kernel_route *list = NULL;
	size_t count = 0;
	int result = netlink_own_routes(r->env.nl, family, &list, &count);

	if (result == 0)
		result = make_entries(r, list, count);
	if (result == 0) {
		take_all(r, family, list, count);
		r->rescan &= ~RESCAN(family);
	}
	free(list);
	if (result == 0 && !r->rescan) {
		r->rescan_ns = now(r) + NODE_ROUTES_RESCAN_NS;
		r->audit_ns = now(r) + NODE_ROUTES_AUDIT_NS;
	}
	return result;
}

/* What has to be read before anything is decided; each by one dump. 0 or -errno. */
static int read_what_is_due(struct node_routes *r)
{
	int result = 0;

	if (peers_incomplete(r->env.peers)) {
		result = peers_read(r->env.peers, r->env.store);
		r->claims_dirty = true;
	}
	if (result == 0 && r->claims_dirty) {
		result = ranges_read(r);
		r->claims_dirty = result < 0;
	}
	if (result == 0 && r->rescan && now(r) >= r->rescan_ns)
		result = rescan(r);
	if (result < 0) {
		r->retry_ns = now(r) + NODE_ROUTES_RETRY_NS;
		log_error("routes",
			  "routes to other nodes: the node's state cannot be read: %s%s%s; tried "
			  "again in 1 s",
			  strerror(-result), *netlink_error(r->env.nl) ? ": " : "",
			  netlink_error(r->env.nl));
	}
	return result;
}

/* ---------------------------------------------------------------- one range */

/* Of an IPv4 route; 0: universe. By the range: neighbouring ones differ. */
static uint8_t scope_of(const struct node_routes *r, const struct pod_range *range)
{
	const uint8_t *bytes = range->range.addr.bytes + 12;
	uint32_t network = (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];

	if (r->ranges.count <= NODE_ROUTES_CHAIN)
		return 0;
	return (uint8_t)(1 + (network * 2654435761u >> 8) % NODE_ROUTES_SCOPES);
}

static struct route_spec route_by(const struct node_routes *r, const struct pod_range *range,
				  const struct next_stop *stop)
{
	return (struct route_spec){
		.destination = range->range,
		.family = prefix_is_v4(&range->range) ? FAMILY_V4 : FAMILY_V6,
		.ifindex = stop->ifindex,
		.has_gateway = !addr_is_zero(&stop->gateway),
		.gateway = stop->gateway,
		.has_source = !addr_is_zero(&stop->source),
		.source = stop->source,
		.scope = scope_of(r, range),
	};
}

/* A route to the range is there already, which the record does not know. 0, or -EEXIST: it leads
 * elsewhere and is somebody else's. */
static int meet(struct node_routes *r, struct pod_range *range)
{
	struct kernel_route found;
	struct next_stop stop;
	int result = netlink_route_to(r->env.nl, &range->range, &found);

	if (result < 0 || prefix_compare(&found.destination, &range->range) != 0)
		return -EEXIST;
	stop = stop_of(&found);
	if (found.is_ours && is_to_a_node(r, &found)) {
		range->is_there = true;
		range->there = stop;
		return 0;
	}
	/* With what source the node's own packets leave by it is its maker's business. */
	stop.source = range->wanted.source;
	range->is_foreign = is_to_a_node(r, &found) && same_stop(&stop, &range->wanted);
	return range->is_foreign ? 0 : -EEXIST;
}

static int install(struct node_routes *r, struct pod_range *range)
{
	const struct route_spec route = route_by(r, range, &range->wanted);
	int result;

	range->is_foreign = false;
	if (!range->is_there) {
		result = netlink_route_add(r->env.nl, &route);
		if (result == 0) {
			range->is_there = true;
			range->there = range->wanted;
			return 0;
		}
		if (result == -EEXIST)
			result = meet(r, range);
		if (result < 0 || range->is_foreign)
			return result;
	}
	if (same_stop(&range->there, &range->wanted))
		return 0;
	result = netlink_route_replace(r->env.nl, &route);
	if (result == 0)
		range->there = range->wanted;
	return result;
}

static int remove_route(struct node_routes *r, struct pod_range *range)
{
	const struct route_spec route = route_by(r, range, &range->there);
	int result;

	if (!range->is_there)
		return 0;
	result = netlink_route_delete(r->env.nl, &route);
	if (result == 0)
		range->is_there = false;
	return result;
}

static void failed(struct node_routes *r, struct pod_range *range, int error)
{
	const char *words = netlink_error(r->env.nl);

	if (!range->error) {
		range->failed_ns = now(r);
		r->failing++;
	}
	range->error = error;
	free(range->why);
	range->why = *words && error != -EEXIST ? strdup(words) : NULL;
	range->due_ns = now(r) + (NODE_ROUTES_RETRY_NS << range->level);
	list_append(&r->failed[range->level], range);
	if (range->level + 1 < NODE_ROUTES_LEVELS)
		range->level++;
}

static void succeeded(struct node_routes *r, struct pod_range *range)
{
	r->failing -= range->error != 0;
	range->error = 0;
	range->level = 0;
	free(range->why);
	range->why = NULL;
}

static void log_refused(const struct node_routes *r, struct pod_range *range, unsigned int *logged)
{
	const char *node;
	char text[320];

	if (!peers_refused(r->env.peers, &range->range, text, sizeof(text), &node)) {
		range->is_told = false;
		return;
	}
	if (range->is_told || *logged >= LOG_MAX)
		return;
	range->is_told = true;
	log_warning("routes", "Node %s: %s", node, text);
	++*logged;
}

static void apply_range(struct node_routes *r, struct pod_range *range, unsigned int *logged)
{
	int result = 0;

	list_leave(range);
	ranges_evaluate(r, range);
	log_refused(r, range, logged);
	if (range->want == WANT_ROUTE)
		result = install(r, range);
	else if (range->want == WANT_NONE)
		result = remove_route(r, range);
	if (result < 0) {
		failed(r, range, result);
		return;
	}
	succeeded(r, range);
	if (!range->is_claimed && !range->is_there)
		ranges_forget(r, range);
}

/* ---------------------------------------------------------------- a run */

/* The lists are in the order of time: each has one delay. */
static void move_due(struct node_routes *r)
{
	uint64_t time = now(r);

	for (unsigned int level = 0; level < NODE_ROUTES_LEVELS; level++)
		while (r->failed[level].first && r->failed[level].first->due_ns <= time)
			list_append(&r->ready, r->failed[level].first);
}

static void log_changes(struct node_routes *r)
{
	struct node_routes_state state;

	if (r->removed)
		log_warning("routes",
			    "%zu routes to other nodes' pods were removed by others; put back",
			    r->removed);
	r->removed = 0;
	if (!r->failing == !r->logged_failing)
		return;
	r->logged_failing = r->failing;
	node_routes_state(r, &state);
	if (r->failing)
		log_error("routes", "%s; %zu of %zu routes to other nodes' pods are missing",
			  state.error, state.wanted - state.installed, state.wanted);
	else
		log_info("routes", "all %zu routes to other nodes' pods are there",
			 state.installed);
}

void node_routes_run(struct node_routes *r)
{
	unsigned int logged = 0;
	uint64_t begin;

	if (!r->synced || now(r) < r->retry_ns)
		return;
	r->look_ns = now(r) + NODE_ROUTES_LOOK_NS;
	if (uplinks_differ(r)) {
		keep_uplinks(r);
		node_routes_distrust(r);
	}
	if (r->audit_ns && now(r) >= r->audit_ns) {
		r->rescan = RESCAN_ALL;
		r->audit_ns = now(r) + NODE_ROUTES_AUDIT_NS;
	}
	if (read_what_is_due(r) < 0 || (r->rescan && now(r) >= r->rescan_ns))
		return; /* the rest is read in the next turn */
	move_due(r);
	begin = now(r);
	while (r->ready.first && now(r) - begin < NODE_ROUTES_SLICE_NS)
		apply_range(r, r->ready.first, &logged);
	if (r->ready.first)
		r->pause_ns = now(r) + NODE_ROUTES_PAUSE_NS;
	else
		log_changes(r);
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t node_routes_due(const struct node_routes *r)
{
	uint64_t due = r->look_ns;

	if (!r->synced)
		return NODE_ROUTES_NEVER;
	if (r->claims_dirty || peers_incomplete(r->env.peers))
		due = 0;
	if (r->rescan)
		due = sooner(due, r->rescan_ns);
	if (r->ready.first)
		due = sooner(due, r->pause_ns);
	for (unsigned int level = 0; level < NODE_ROUTES_LEVELS; level++)
		if (r->failed[level].first)
			due = sooner(due, r->failed[level].first->due_ns);
	return later(due, r->retry_ns);
}

/* ---------------------------------------------------------------- for showing */

static void describe_failure(const struct pod_range *range, char *text, size_t size)
{
	char name[PREFIX_TEXT_MAX];

	prefix_format(&range->range, name);
	if (range->error == -EEXIST)
		snprintf(text, size,
			 "route to pod range %s: there is another route to it, which Polder did "
			 "not make; delete that one",
			 name);
	else
		snprintf(text, size, "route to pod range %s: %s%s%s", name, strerror(-range->error),
			 range->why ? ": " : "", range->why ? range->why : "");
}

static void add_to_state(const struct node_routes *r, struct node_routes_state *state,
			 const struct pod_range *range)
{
	bool there =
		range->is_foreign || (range->is_there && same_stop(&range->there, &range->wanted));
	const char *node;
	char text[320];

	if (!range->is_claimed) {
		state->stale += range->is_there;
		return;
	}
	state->refused += peers_refused(r->env.peers, &range->range, text, sizeof(text), &node);
	if (range->want == WANT_ROUTE) {
		state->wanted++;
		state->installed += there;
		state->failed += range->error != 0;
	} else if (peers_owner(r->env.peers, &range->range)) {
		state->elsewhere++;
	}
}

void node_routes_state(const struct node_routes *r, struct node_routes_state *ret)
{
	struct node_routes_state state = {.complete = r->synced && !r->claims_dirty &&
						      !peers_incomplete(r->env.peers) &&
						      !r->rescan};
	const struct pod_range *oldest = NULL;

	for (size_t i = 0; i < r->ranges.count; i++) {
		const struct pod_range *range = (const struct pod_range *)r->ranges.items[i];

		add_to_state(r, &state, range);
		if (range->error && (!oldest || range->failed_ns < oldest->failed_ns))
			oldest = range;
	}
	if (oldest) {
		char text[256];

		describe_failure(oldest, text, sizeof(text));
		snprintf(state.error, sizeof(state.error), "Node %s: %s", ranges_node(r, oldest),
			 text);
		state.failed_since_ns = oldest->failed_ns;
	}
	*ret = state;
}

size_t node_routes_problems(const struct node_routes *r, size_t max,
			    void (*visit)(const char *node, const char *reason, void *data),
			    void *data)
{
	size_t found = peers_problems(r->env.peers, max, visit, data);
	char text[256];

	for (size_t i = 0; i < r->ranges.count; i++) {
		const struct pod_range *range = (const struct pod_range *)r->ranges.items[i];

		if (!range->error || found++ >= max)
			continue;
		describe_failure(range, text, sizeof(text));
		visit(ranges_node(r, range), text, data);
	}
	return found;
}
