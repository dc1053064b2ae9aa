/* SPDX-License-Identifier: Apache-2.0 */
/* Is what was followed step by step what all objects together say? Costs what the whole world
 * costs. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/policy/policy_sync_internal.h"

/* Who should have an address. */
struct expected {
	struct polder_addr addr;
	uint32_t identity, ifindex;
	UT_hash_handle hh;
};

struct audit {
	struct policy_sync *sync;
	struct policy_sync_input in;
	struct policy_pod **pods; /* of the input, in its order */
	struct expected *expected;
	size_t elements[RULESET_MAPS];
	char *difference; /* the first one */
	int result;
};

static void differ(struct audit *audit, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void differ(struct audit *audit, const char *format, ...)
{
	va_list args;

	if (audit->difference || audit->result < 0)
		return;
	va_start(args, format);
	if (vasprintf(&audit->difference, format, args) < 0) {
		audit->difference = NULL;
		audit->result = -ENOMEM;
	}
	va_end(args);
}

/* ---------------------------------------------------------------- the compiler */

static int list_pods(struct audit *audit)
{
	const struct policy_input *input = &audit->in.input;
	const struct synced_pod *pod;
	size_t i = 0;

	audit->pods = calloc(input->pod_count + 1, sizeof(struct policy_pod *));
	if (!audit->pods)
		return -ENOMEM;
	for (pod = audit->sync->pods; pod; pod = pod->next)
		audit->pods[i++] = pod->compiled;
	for (; i < input->pod_count; i++)
		audit->pods[i] = policy_sync_known_pod(audit->sync, input->pods[i]);
	return 0;
}

static int compare_compiled(struct audit *audit)
{
	int r = policy_sync_gather(audit->sync, &audit->in);

	if (r == 0)
		r = list_pods(audit);
	return r < 0 ? r
		     : policy_compiler_audit(audit->sync->compiler, &audit->in.input, audit->pods,
					     &audit->difference);
}

/* ---------------------------------------------------------------- rule sets in the maps */

static const char *map_name(const struct audit *audit, enum ruleset_map map)
{
	return maps_get(audit->sync->maps, ruleset_map_index(map))->name;
}

static int check_element(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct audit *audit = data;
	const void *present = map_cache_find(audit->sync->rules[map], key);
	unsigned int slot = policy_sync_slot(audit->sync);

	audit->elements[map]++;
	if (!present) {
		differ(audit, "map %s: an element of a rule set is missing", map_name(audit, map));
	} else if (map == CACHE_PEERS) {
		const struct ruleset_peer *peer = present;

		if (peer->peer_class[slot] != *(const uint32_t *)value)
			differ(audit, "map %s: rule set %u, identity %u: class %u, not %u",
			       map_name(audit, map),
			       ((const struct ruleset_peer_key *)key)->ruleset,
			       ((const struct ruleset_peer_key *)key)->identity,
			       peer->peer_class[slot], *(const uint32_t *)value);
	}
	return 0;
}

static int check_ruleset(const struct compiled_ruleset *set, void *data)
{
	struct audit *audit = data;

	if (!ruleset_fits(audit->sync, set->id))
		return 0;
	if (!ruleset_slots_find(audit->sync->slots, set->id))
		differ(audit, "rule set %u has no slot", set->id);
	ruleset_each_element(audit->sync, set, check_element, audit);
	return 0;
}

static void check_rulesets(struct audit *audit)
{
	policy_compiler_each_ruleset(audit->sync->compiler, check_ruleset, audit);
	if (audit->sync->unfinished)
		return; /* what is left over goes with the commit */
	for (int map = 0; map < RULESET_MAPS; map++)
		if (map_cache_count(audit->sync->rules[map]) != audit->elements[map])
			differ(audit, "map %s: %zu elements, not %zu", map_name(audit, map),
			       map_cache_count(audit->sync->rules[map]), audit->elements[map]);
}

/* ---------------------------------------------------------------- addresses */

static bool is_nodes(const struct audit *audit, const struct polder_addr *addr)
{
	const struct policy_input *input = &audit->in.input;

	for (size_t i = 0; i < input->node_count; i++)
		for (size_t j = 0; j < input->nodes[i]->node.address_count; j++)
			if (strcmp(input->nodes[i]->name, audit->sync->config->node_name) != 0 &&
			    memcmp(&input->nodes[i]->node.addresses[j], addr, sizeof(*addr)) == 0)
				return true;
	return false;
}

/* The first one keeps it. */
static void expect(struct audit *audit, const struct polder_addr *addr, uint32_t identity,
		   uint32_t ifindex)
{
	struct expected *expected;

	HASH_FIND(hh, audit->expected, addr, sizeof(*addr), expected);
	if (expected)
		return;
	expected = calloc(1, sizeof(*expected));
	if (!expected) {
		audit->result = -ENOMEM;
		return;
	}
	*expected = (struct expected){.addr = *addr, .identity = identity, .ifindex = ifindex};
	HASH_ADD(hh, audit->expected, addr, sizeof(expected->addr), expected);
	if (HASH_ADDED(hh, expected))
		return;
	free(expected);
	audit->result = -ENOMEM;
}

static void expect_pods(struct audit *audit)
{
	const struct policy_input *input = &audit->in.input;
	const struct policy_sync *sync = audit->sync;
	const struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next)
		for (size_t i = 0; i < pod->address_count; i++)
			expect(audit, &pod->addresses[i], pod->identity, pod->entry.ifindex);
	for (size_t i = input->local_count; i < input->pod_count; i++) {
		const struct pod_object *object = &input->pods[i]->pod;
		const struct policy_pod *compiled = audit->pods[i];
		uint32_t identity =
			compiled ? policy_compiler_pod(sync->compiler, compiled).identity : 0;

		if (!identity ||
		    (object->node_name && strcmp(object->node_name, sync->config->node_name) == 0))
			continue;
		for (size_t j = 0; j < object->address_count; j++)
			if (!address_is_own(&object->addresses[j], sync) &&
			    !is_nodes(audit, &object->addresses[j]))
				expect(audit, &object->addresses[j], identity,
				       peer_of_address(&object->addresses[j], object->node_name,
						       sync));
	}
}

struct finding {
	struct audit *audit;
	size_t pods, missing;
};

static void check_address(const struct address_key *key, const struct address_entry *entry,
			  void *data)
{
	struct finding *finding = data;
	unsigned int slot = policy_sync_slot(finding->audit->sync);
	struct expected *expected;
	char text[INET6_ADDRSTRLEN];

	if (key->prefixlen != 128 || !(entry->flags & ADDRESS_POD))
		return;
	finding->pods++;
	HASH_FIND(hh, finding->audit->expected, &key->addr, sizeof(key->addr), expected);
	if (!expected || expected->identity != entry->identity[slot] ||
	    expected->ifindex != entry->ifindex)
		differ(finding->audit, "address %s: identity %u on link or peer %u, not %u on %u",
		       addr_format(&key->addr, text), entry->identity[slot], entry->ifindex,
		       expected ? expected->identity : 0, expected ? expected->ifindex : 0);
}

static void check_addresses(struct audit *audit)
{
	struct finding finding = {.audit = audit};
	const struct policy_sync *sync = audit->sync;
	size_t expected;

	expect_pods(audit);
	addresses_each(sync->addresses, check_address, &finding);
	expected = HASH_COUNT(audit->expected);
	if (finding.pods + addresses_without_room(sync->addresses) < expected ||
	    finding.pods > expected)
		differ(audit, "%zu addresses of pods, not %zu", finding.pods, expected);
}

/* ---------------------------------------------------------------- words */

static void check_words(struct audit *audit)
{
	const struct policy_sync *sync = audit->sync;
	unsigned int slot = policy_sync_slot(sync);
	const struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next)
		if (!pod->written || pod->entry.identity[slot] != pod->identity ||
		    pod->entry.ingress_rules[slot] != pod->ingress ||
		    pod->entry.egress_rules[slot] != pod->egress)
			differ(audit, "pod %s: its entry in map pods is not what it should be",
			       pod->key);
}

static void audit_clear(struct audit *audit)
{
	struct expected *expected, *next;

	HASH_ITER (hh, audit->expected, expected, next) {
		HASH_DEL(audit->expected, expected);
		free(expected);
	}
	policy_sync_input_clear(&audit->in);
	free(audit->pods);
}

int policy_sync_audit(struct policy_sync *sync, char **ret_difference)
{
	struct audit audit = {.sync = sync};

	*ret_difference = NULL;
	if (!sync->in_force || sync->half_written || sync->resync || sync->dirty_count ||
	    sync->nodes_dirty || sync->own_dirty || sync->node_objects_changed ||
	    sync->changed_count)
		return -EAGAIN;
	audit.result = compare_compiled(&audit);
	if (audit.result == 0) {
		check_rulesets(&audit);
		check_addresses(&audit);
		check_words(&audit);
	}
	audit_clear(&audit);
	if (audit.result < 0) {
		free(audit.difference);
		return audit.result;
	}
	*ret_difference = audit.difference;
	return 0;
}
