/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/announce/announce.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"

#define PROLONG_MS (CLAIM_PROMISE_MS / 6)

/* An address as it was wanted last. */
struct wanted {
	struct claim_want claim;
	const char *reason;
	char namespace[LIMIT_NAMESPACE + 1], name[LIMIT_NAME + 1];
	bool local;
};

struct announce {
	struct announce_env env;
	struct announce_link links[CONFIG_MAX_UPLINKS];
	char failed[CONFIG_MAX_UPLINKS][IF_NAMESIZE]; /* links without sockets: told */
	struct claims *claims;
	bool begun;	       /* claims know what there is */
	struct wanted *wanted; /* by address */
	size_t wanted_count;
	uint64_t prolong_ms;
	/* Words that wait for claims_*() to return, for one link. */
	struct frame_words words;
	int words_link;
	struct announce_counts counts;
	uint64_t now;
};

static const char no_link[] = "it is in no network of this node's uplinks";
static const char not_well[] =
	"this node has no way out, or has not put all objects in force yet, see polderctl status";
static const char excluded[] = "this node's label " BALANCER_EXCLUDED " keeps it away";
static const char no_endpoint[] =
	"externalTrafficPolicy is Local, and no endpoint of it is on this node";

/* ---------------------------------------------------------------- what is wanted */

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(&((const struct wanted *)a)->claim.addr,
		      &((const struct wanted *)b)->claim.addr, sizeof(struct polder_addr));
}

static const struct wanted *find_wanted(const struct announce *a, const struct polder_addr *addr)
{
	struct wanted key = {.claim.addr = *addr};

	if (!a->wanted_count)
		return NULL;
	return bsearch(&key, a->wanted, a->wanted_count, sizeof(key), compare_addresses);
}

/* ---------------------------------------------------------------- links */

static struct announce_link *link_of(struct announce *a, int ifindex)
{
	for (size_t i = 0; i < CONFIG_MAX_UPLINKS; i++)
		if (ifindex && a->links[i].ifindex == ifindex)
			return &a->links[i];
	return NULL;
}

static void send_frame(struct announce *a, const struct announce_link *link, const uint8_t *frame,
		       size_t length)
{
	int r = announce_link_send(link, frame, length);

	a->counts.frames_sent += r == 0;
	a->counts.frames_failed += r < 0;
	if (r < 0)
		log_debug("announce", "link %d: a frame cannot be sent: %s", link->ifindex,
			  strerror(-r));
}

static void flush_words(struct announce *a)
{
	const struct announce_link *link = link_of(a, a->words_link);
	uint8_t frame[FRAME_MOST];

	if (a->words.count && link)
		send_frame(a, link, frame, frame_words_write(frame, link->mac, &a->words));
	a->words.count = 0;
}

/* ---------------------------------------------------------------- hooks of the claims */

static void probe(const struct polder_addr *addr, int ifindex, void *data)
{
	struct announce *a = data;
	const struct announce_link *link = link_of(a, ifindex);
	uint8_t frame[FRAME_MOST];

	if (link)
		send_frame(a, link, frame, frame_probe(frame, link->mac, addr));
}

static void tell(const struct polder_addr *addr, int ifindex, void *data)
{
	struct announce *a = data;
	const struct announce_link *link = link_of(a, ifindex);
	uint8_t frame[FRAME_MOST];

	if (!link)
		return;
	send_frame(a, link, frame, frame_tell(frame, link->mac, addr, false));
	if (addr_is_v4(addr))
		send_frame(a, link, frame, frame_tell(frame, link->mac, addr, true));
}

static void say(int ifindex, const struct claim_entry *entry, void *data)
{
	struct announce *a = data;

	if (a->words.count == FRAME_WORDS_MOST || a->words_link != ifindex)
		flush_words(a);
	a->words_link = ifindex;
	a->words.entries[a->words.count++] = *entry;
}

/* "192.0.2.1 of Service NAMESPACE/NAME" */
#define NAME_TEXT (INET6_ADDRSTRLEN + LIMIT_NAMESPACE + LIMIT_NAME + 16)

static const char *name_of(const struct announce *a, const struct polder_addr *addr,
			   char text[NAME_TEXT])
{
	const struct wanted *one = find_wanted(a, addr);
	char address[INET6_ADDRSTRLEN];

	addr_format(addr, address);
	if (one)
		snprintf(text, NAME_TEXT, "%s of Service %s/%s", address, one->namespace,
			 one->name);
	else
		snprintf(text, NAME_TEXT, "%s", address);
	return text;
}

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int promise(struct announce *a, const struct polder_addr *addr,
		   const struct announce_link *link, uint64_t term, int64_t since)
{
	struct announced entry = {.until_ns = boot_ns() + CLAIM_PROMISE_MS * 1000000ull,
				  .term = term,
				  .since = since,
				  .ifindex = (uint32_t)link->ifindex};

	memcpy(entry.mac, link->mac, sizeof(entry.mac));
	return maps_put(a->env.maps, MAP_ANNOUNCED, addr, &entry);
}

static int hold(const struct polder_addr *addr, int ifindex, uint64_t term, int64_t since,
		void *data)
{
	struct announce *a = data;
	const struct announce_link *link = link_of(a, ifindex);
	char text[NAME_TEXT];
	int r = link ? promise(a, addr, link, term, since) : -ENETDOWN;

	if (r < 0) {
		log_error("announce", "%s cannot be announced: map announced: %s",
			  name_of(a, addr, text), strerror(-r));
		return r;
	}
	announce_link_join(link, addr);
	log_info("announce", "%s is announced by this node", name_of(a, addr, text));
	return 0;
}

static void release(const struct polder_addr *addr, void *data)
{
	struct announce *a = data;
	const struct announce_link *link = NULL;
	struct announced entry;
	char text[NAME_TEXT];
	int r;

	if (maps_find(a->env.maps, MAP_ANNOUNCED, addr, &entry) == 0)
		link = link_of(a, (int)entry.ifindex);
	r = maps_delete(a->env.maps, MAP_ANNOUNCED, addr);
	if (r < 0)
		log_error("announce",
			  "%s: map announced: the address cannot be deleted: %s; this node answers "
			  "for it for another %d s",
			  name_of(a, addr, text), strerror(-r), CLAIM_PROMISE_MS / 1000);
	else
		log_info("announce", "%s is not announced by this node any more",
			 name_of(a, addr, text));
	if (link)
		announce_link_leave(link, addr);
}

static int64_t wall_time(void *data)
{
	(void)data;
	return (int64_t)time(NULL);
}

/* ---------------------------------------------------------------- life */

/* What the agent before held, as far as it has not been too long ago. */
static int recall(struct announce *a)
{
	CLEANUP(cleanup_free) void *keys = NULL;
	CLEANUP(cleanup_free) void *values = NULL;
	const struct announced *entries;
	const struct polder_addr *addrs;
	size_t count = 0;
	int r = maps_dump(a->env.maps, MAP_ANNOUNCED, &keys, &values, &count);

	addrs = keys;
	entries = values;
	for (size_t i = 0; i < count && r == 0; i++) {
		if (entries[i].until_ns > boot_ns())
			r = announce_claims_recall(a->claims, &addrs[i], (int)entries[i].ifindex,
						   entries[i].term, entries[i].since);
		else
			(void)maps_delete(a->env.maps, MAP_ANNOUNCED, &addrs[i]);
	}
	return r;
}

int announce_new(const struct announce_env *env, uint64_t now, struct announce **ret)
{
	const struct claim_hooks hooks = {probe, hold, release, tell, say, wall_time, NULL};
	struct claim_hooks own = hooks;
	struct announce *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->env = *env;
	snprintf(a->words.node, sizeof(a->words.node), "%s", env->config->node_name);
	own.data = a;
	a->claims = announce_claims_new(env->config->node_name,
					1000ull * env->config->announce_return, &own, now);
	r = a->claims ? recall(a) : -ENOMEM;
	if (r < 0)
		announce_free(a);
	else
		*ret = a;
	return r;
}

static void close_link(struct announce *a, struct announce_link *link)
{
	a->env.closing(link, a->env.data);
	announce_link_close(link);
}

void announce_free(struct announce *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < CONFIG_MAX_UPLINKS; i++)
		if (announce_link_is_open(&a->links[i]))
			close_link(a, &a->links[i]);
	announce_claims_free(a->claims);
	free(a->wanted);
	free(a);
}

/* ---------------------------------------------------------------- the node's network */

static const struct node_uplink *uplink_of(const struct announce *a, int ifindex)
{
	const struct node *node = a->env.node;

	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].ifindex == ifindex && node->uplinks[i].state == UPLINK_READY)
			return &node->uplinks[i];
	return NULL;
}

static bool has_mac(const struct announce *a, const struct announce_link *link)
{
	const struct link_info *info = network_link(&a->env.node->network, link->ifindex);

	return info && memcmp(info->mac, link->mac, sizeof(link->mac)) == 0;
}

static void open_link(struct announce *a, const struct node_uplink *uplink, size_t number)
{
	const struct link_info *info = network_link(&a->env.node->network, uplink->ifindex);
	struct announce_link *room = NULL;
	int r;

	for (size_t i = 0; i < CONFIG_MAX_UPLINKS && !room; i++)
		room = announce_link_is_open(&a->links[i]) ? NULL : &a->links[i];
	if (!info || !room)
		return;
	r = announce_link_open(uplink->ifindex, info->mac, room);
	if (r == 0) {
		a->failed[number][0] = '\0';
		a->prolong_ms = 0;
		a->env.opened(room, a->env.data);
		return;
	}
	if (strcmp(a->failed[number], uplink->name) != 0)
		log_error("announce",
			  "uplink %s: load balancers' addresses cannot be announced there: a "
			  "socket cannot be opened: %s; CAP_NET_RAW and the address family "
			  "AF_PACKET must be allowed to polderd",
			  uplink->name, strerror(-r));
	snprintf(a->failed[number], sizeof(a->failed[number]), "%s", uplink->name);
}

static void follow_links(struct announce *a)
{
	const struct node *node = a->env.node;

	for (size_t i = 0; i < CONFIG_MAX_UPLINKS; i++)
		if (announce_link_is_open(&a->links[i]) &&
		    (!uplink_of(a, a->links[i].ifindex) || !has_mac(a, &a->links[i])))
			close_link(a, &a->links[i]);
	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].state == UPLINK_READY && !link_of(a, node->uplinks[i].ifindex))
			open_link(a, &node->uplinks[i], i);
}

/* The uplink in whose network the address is; 0: none. */
static int find_link(struct announce *a, const struct polder_addr *addr)
{
	const struct network *network = &a->env.node->network;

	for (size_t i = 0; i < network->address_count; i++) {
		struct prefix prefix = network->addresses[i].prefix;

		prefix_clear_host_bits(&prefix);
		if (link_of(a, network->addresses[i].ifindex) &&
		    prefix_is_v4(&prefix) == addr_is_v4(addr) && prefix_contains(&prefix, addr))
			return network->addresses[i].ifindex;
	}
	return 0;
}

/* ---------------------------------------------------------------- what is wanted */

/* NULL: this node may announce it. */
static const char *hindrance(const struct announce *a, const struct wanted *one,
			     const struct balancer_address *address, bool is_excluded)
{
	if (!one->claim.link)
		return no_link;
	if (!a->env.is_well(a->env.data))
		return not_well;
	if (is_excluded)
		return excluded;
	if (one->local && !a->env.is_local(address, a->env.data))
		return no_endpoint;
	return NULL;
}

static struct wanted *read_wanted(struct announce *a, size_t *ret_count)
{
	size_t count;
	const struct balancer_address *all = balancers_addresses(a->env.balancers, &count);
	struct wanted *list = calloc(count ? count : 1, sizeof(*list));
	bool is_excluded = balancers_excluded(a->env.balancers);

	for (size_t i = 0; list && i < count; i++) {
		struct wanted *one = &list[i];

		one->claim.addr = all[i].addr;
		one->claim.link = find_link(a, &all[i].addr);
		one->local = all[i].local;
		snprintf(one->namespace, sizeof(one->namespace), "%s", all[i].namespace);
		snprintf(one->name, sizeof(one->name), "%s", all[i].name);
		one->reason = hindrance(a, one, &all[i], is_excluded);
		one->claim.may = !one->reason;
		one->claim.place = balancers_place(a->env.balancers, &all[i].addr);
	}
	if (list && count)
		qsort(list, count, sizeof(*list), compare_addresses);
	*ret_count = count;
	return list;
}

void announce_refresh(struct announce *a, uint64_t now)
{
	CLEANUP(cleanup_free) struct claim_want *wants = NULL;
	struct wanted *list;
	size_t count;

	/* Until then what the agent before held is held. */
	if (!a->begun && !a->env.is_well(a->env.data))
		return;
	follow_links(a);
	list = read_wanted(a, &count);
	wants = list ? calloc(count ? count : 1, sizeof(*wants)) : NULL;
	if (!wants) {
		free(list);
		return;
	}
	for (size_t i = 0; i < count; i++)
		wants[i] = list[i].claim;
	free(a->wanted);
	a->wanted = list;
	a->wanted_count = count;
	a->begun = announce_claims_set(a->claims, wants, count, now) == 0 || a->begun;
	flush_words(a);
}

/* ---------------------------------------------------------------- what comes in */

static void answered(int link, const struct polder_addr *addr, const uint8_t mac[6], void *data)
{
	struct announce *a = data;

	announce_claims_answered(a->claims, link, addr, mac, a->now);
}

static void heard(int link, const struct frame_words *words, void *data)
{
	struct announce *a = data;

	a->counts.frames_heard++;
	for (size_t i = 0; i < words->count; i++)
		announce_claims_heard(a->claims, link, words->node, &words->entries[i], a->now);
}

static void strange(int link, void *data)
{
	struct announce *a = data;

	(void)link;
	if (!a->counts.frames_strange++)
		log_warning("announce",
			    "another version of polderd announces addresses on link %d, and says "
			    "it in a way that this one does not understand: an address may be "
			    "answered for by two nodes; run one version on all nodes",
			    link);
}

void announce_read(struct announce *a, int ifindex, enum announce_socket which, uint64_t now)
{
	const struct announce_reader reader = {answered, heard, strange, a};
	const struct announce_link *link = link_of(a, ifindex);

	a->now = now;
	if (link)
		announce_link_read(link, which, &reader);
	flush_words(a);
}

/* ---------------------------------------------------------------- what is due */

static void prolong_one(const struct claim_view *view, void *data)
{
	struct announce *a = data;
	const struct announce_link *link = link_of(a, view->link);

	/* The link's sockets may be others than when it was taken over. */
	if (view->state == CLAIM_HELD && link) {
		announce_link_join(link, &view->addr);
		(void)promise(a, &view->addr, link, view->term, view->since);
	}
}

uint64_t announce_run(struct announce *a, uint64_t now)
{
	uint64_t due;

	a->now = now;
	if (!a->begun)
		return UINT64_MAX;
	due = announce_claims_run(a->claims, now);
	flush_words(a);
	if (a->prolong_ms <= now) {
		a->prolong_ms = now + PROLONG_MS;
		announce_claims_each(a->claims, now, prolong_one, a);
	}
	return due < a->prolong_ms ? due : a->prolong_ms;
}

/* ---------------------------------------------------------------- how it stands */

struct visiting {
	const struct announce *a;
	void (*visit)(const struct announce_view *view, void *data);
	void *data;
};

static void visit_one(const struct claim_view *claim, void *data)
{
	const struct visiting *visiting = data;
	const struct wanted *one = find_wanted(visiting->a, &claim->addr);
	const struct node_uplink *uplink = uplink_of(visiting->a, claim->link);
	struct announce_view view = {.claim = *claim,
				     .namespace = one ? one->namespace : "",
				     .name = one ? one->name : "",
				     .link = uplink ? uplink->name : "",
				     .local = one && one->local,
				     .reason = one && one->reason ? one->reason : ""};

	visiting->visit(&view, visiting->data);
}

void announce_each(const struct announce *a, uint64_t now,
		   void (*visit)(const struct announce_view *view, void *data), void *data)
{
	struct visiting visiting = {a, visit, data};

	announce_claims_each(a->claims, now, visit_one, &visiting);
}

static void count_one(const struct claim_view *view, void *data)
{
	struct announce_counts *counts = data;

	if (view->state == CLAIM_HELD)
		counts->held++;
	else if (view->holder[0] && view->silent_ms < CLAIM_LOST_MS)
		counts->watched++;
	else
		counts->nobodys++;
}

struct announce_counts announce_counts(const struct announce *a, uint64_t now)
{
	struct announce_counts counts = a->counts;

	counts.claims = announce_claims_counts(a->claims);
	announce_claims_each(a->claims, now, count_one, &counts);
	return counts;
}
