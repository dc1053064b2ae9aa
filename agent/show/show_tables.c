/* SPDX-License-Identifier: Apache-2.0 */
/* The lists of identities, rule sets and addresses: what the programs' tables have in force. Made
 * in slices, as all lists that may be long. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include <bpf/bpf.h>

#include "agent/show/show_internal.h"
#include "policy/objects/json.h"

#define SLICE_NS 1000000

/* ---------------------------------------------------------------- identities */

/* Those that there were at the beginning. */
struct identity_listing {
	const struct show_sources *sources;
	uint32_t *ids;
	size_t count, room, next;
	bool failed;
};

static void note_identity(uint32_t id, void *data)
{
	struct identity_listing *listing = data;
	size_t room = listing->room ? listing->room * 2 : 256;
	uint32_t *ids;

	if (listing->count == listing->room) {
		ids = reallocarray(listing->ids, room, sizeof(*ids));
		listing->failed |= !ids;
		if (!ids)
			return;
		listing->ids = ids;
		listing->room = room;
	}
	listing->ids[listing->count++] = id;
}

static int by_number(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* False: no more is wanted. One that went meanwhile is left out. */
static bool add_identity(struct control_list *list, const struct identity_listing *listing,
			 uint32_t id)
{
	const struct policy_registry *registry =
		policy_sync_registry(listing->sources->policy_sync);
	const struct labels *labels;
	const char *namespace;

	if (policy_registry_identity(registry, id, &namespace, &labels) < 0)
		return true;
	return control_list_add(list, json_pack("{s:I, s:s, s:o}", "identity", (json_int_t)id,
						"namespace", namespace, "labels",
						json_of_labels(labels)));
}

static bool fill_identities(struct control_list *list, void *data)
{
	struct identity_listing *listing = data;
	const uint64_t end = uv_hrtime() + SLICE_NS;

	while (listing->next < listing->count && uv_hrtime() < end)
		if (!add_identity(list, listing, listing->ids[listing->next++]))
			return true;
	return listing->next >= listing->count;
}

static void end_identities(void *data)
{
	struct identity_listing *listing = data;

	free(listing->ids);
	free(listing);
}

void show_identities(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct identity_listing *listing = calloc(1, sizeof(*listing));

	if (listing) {
		listing->sources = data;
		policy_registry_each_identity(policy_sync_registry(listing->sources->policy_sync),
					      note_identity, listing);
	}
	if (!listing || listing->failed) {
		if (listing)
			end_identities(listing);
		show_reply(request, NULL);
		return;
	}
	if (listing->count)
		qsort(listing->ids, listing->count, sizeof(*listing->ids), by_number);
	control_reply_list(request, fill_identities, end_identities, listing);
}

/* ---------------------------------------------------------------- rule sets */

struct ruleset_listing {
	const struct show_sources *sources;
	uint32_t *used; /* numbers of pods' sets, ingress and egress of each */
	size_t used_count;
	uint32_t next;
};

static json_int_t count_uses(const struct ruleset_listing *listing, uint32_t number, size_t which)
{
	json_int_t count = 0;

	for (size_t i = which; i < listing->used_count; i += 2)
		count += listing->used[i] == number;
	return count;
}

static json_t *ruleset_document(const struct ruleset_listing *listing,
				const struct ruleset_entry *entry, uint32_t place)
{
	return json_pack("{s:I, s:I, s:b, s:b, s:b, s:I, s:I, s:I, s:I}", "ruleset",
			 (json_int_t)entry->number, "place", (json_int_t)place, "isolates",
			 !!(entry->flags & RULESET_ISOLATES), "has_prefixes",
			 !!(entry->flags & RULESET_HAS_PREFIXES), "has_ports",
			 !!(entry->flags & RULESET_HAS_PORTS), "cells",
			 (json_int_t)entry->cell_count, "port_classes",
			 (json_int_t)entry->port_classes, "ingress_pods",
			 count_uses(listing, entry->number, 0), "egress_pods",
			 count_uses(listing, entry->number, 1));
}

static bool fill_rulesets(struct control_list *list, void *data)
{
	struct ruleset_listing *listing = data;
	struct maps *maps = listing->sources->maps;
	const uint32_t count = maps_get(maps, MAP_RULESETS)->max_entries;
	const uint64_t end = uv_hrtime() + SLICE_NS;

	while (listing->next < count && uv_hrtime() < end) {
		uint32_t place = listing->next++;
		const struct ruleset_entry *entry = maps_element(maps, MAP_RULESETS, place);

		if (entry && entry->number &&
		    !control_list_add(list, ruleset_document(listing, entry, place)))
			return true;
	}
	return listing->next >= count;
}

static void end_rulesets(void *data)
{
	struct ruleset_listing *listing = data;

	free(listing->used);
	free(listing);
}

void show_rulesets(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	size_t pods = pods_count(sources->pods);
	struct ruleset_listing *listing = calloc(1, sizeof(*listing));
	struct show_pod pod;

	if (listing)
		listing->used = calloc(2 * pods + 1, sizeof(*listing->used));
	if (!listing || !listing->used) {
		free(listing);
		show_reply(request, NULL);
		return;
	}
	for (size_t i = 0; i < pods; i++) {
		show_pod_lookup(sources, pods_at(sources->pods, i), &pod);
		listing->used[listing->used_count++] = pod.ingress_ruleset;
		listing->used[listing->used_count++] = pod.egress_ruleset;
	}
	listing->sources = sources;
	listing->next = RULESET_FIRST;
	control_reply_list(request, fill_rulesets, end_rulesets, listing);
}

/* ---------------------------------------------------------------- addresses */

struct address_listing {
	const struct show_sources *sources;
	struct event_names names;
	json_t **nodes; /* NULL: no memory */
	struct address_key key;
	bool begun;
	/* A key that is deleted while it is the last one begins the walk anew: so many and no more.
	 */
	uint64_t left;
};

static json_t *flag_names(uint32_t flags)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = {
		{ADDRESS_POD, "pod"},
		{ADDRESS_POD_RANGE, "pod_range"},
		{ADDRESS_LOCAL, "local"},
		{ADDRESS_NODE, "node"},
		{ADDRESS_NO_MASQ, "no_masquerade"},
		{ADDRESS_NODE_PORTS, "node_ports"},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (flags & names[i].flag)
			json_array_append_new(list, json_string(names[i].name));
	return list;
}

static json_t *address_document(const struct address_listing *listing,
				const struct address_entry *entry)
{
	const struct prefix prefix = {listing->key.addr, (uint8_t)listing->key.prefixlen};
	uint32_t peer = entry->flags & ADDRESS_LOCAL ? 0 : entry->peer;
	char text[PREFIX_TEXT_MAX], pod[EVENT_NAME_MAX];

	if (!(entry->flags & ADDRESS_POD) ||
	    listing->names.pod(&prefix.addr, pod, sizeof(pod), listing->names.data) < 0)
		pod[0] = '\0';
	return json_pack("{s:s, s:I, s:s, s:o, s:o}", "prefix", prefix_format(&prefix, text),
			 "identity", (json_int_t)entry->identity[maps_slot(listing->sources->maps)],
			 "pod", pod, "flags", flag_names(entry->flags), "node",
			 listing->nodes && peer && peer < POLDER_MAX_PEERS && listing->nodes[peer]
				 ? json_incref(listing->nodes[peer])
				 : json_null());
}

/* False: there are no more. */
static bool next_address(struct address_listing *listing)
{
	int fd = maps_fd(listing->sources->maps, MAP_ADDRESSES);
	struct address_key key;

	if (!listing->left ||
	    bpf_map_get_next_key(fd, listing->begun ? &listing->key : NULL, &key) < 0)
		return false;
	listing->key = key;
	listing->begun = true;
	listing->left--;
	return true;
}

static bool fill_addresses(struct control_list *list, void *data)
{
	struct address_listing *listing = data;
	const uint64_t end = uv_hrtime() + SLICE_NS;
	struct address_entry entry;

	while (uv_hrtime() < end) {
		if (!next_address(listing))
			return true;
		if (maps_find(listing->sources->maps, MAP_ADDRESSES, &listing->key, &entry) == 0 &&
		    !control_list_add(list, address_document(listing, &entry)))
			return true;
	}
	return false;
}

static void end_addresses(void *data)
{
	struct address_listing *listing = data;

	show_free_node_names(listing->nodes);
	free(listing);
}

void show_addresses(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct address_listing *listing = calloc(1, sizeof(*listing));

	if (!listing) {
		show_reply(request, NULL);
		return;
	}
	listing->sources = data;
	show_event_names(listing->sources, &listing->names);
	listing->nodes = show_node_names(listing->sources->peers);
	listing->left = maps_get(listing->sources->maps, MAP_ADDRESSES)->max_entries;
	control_reply_list(request, fill_addresses, end_addresses, listing);
}
