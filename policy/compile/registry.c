/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of identities, rule sets and rules: given once, never again to something else. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/registry.h"

/*
 * So many rule sets or identities may come before the state has to be written again, and a part of
 * what there is: writing costs what there is, so what it costs for each that comes stays the same.
 */
#define NUMBERS_RESERVED 256
#define PART_RESERVED	 4

struct policy_registry *policy_registry_new(void)
{
	struct policy_registry *registry = calloc(1, sizeof(*registry));

	if (registry)
		registry_clear(registry);
	return registry;
}

static void identity_free(struct registry_identity *entry)
{
	free(entry);
}

static void rule_free(struct registry_rule *entry)
{
	free(entry->namespace);
	free(entry->name);
	free(entry->key);
	free(entry);
}

static void drop_identity(struct policy_registry *registry, struct registry_identity *entry)
{
	HASH_DEL(registry->identities, entry);
	hash_table_remove(&registry->identities_by_id, &entry->by_id);
	identity_free(entry);
}

static void drop_ruleset(struct policy_registry *registry, struct registry_ruleset *entry)
{
	HASH_DEL(registry->rulesets, entry);
	HASH_DELETE(hh_id, registry->rulesets_by_id, entry);
	free(entry);
}

static void drop_rule(struct policy_registry *registry, struct registry_rule *entry)
{
	HASH_DEL(registry->rules, entry);
	HASH_DELETE(hh_number, registry->rules_by_number, entry);
	rule_free(entry);
}

/* ---------------------------------------------------------------- who holds what */

static void unlist(struct registry_idle *list, struct registry_use *use)
{
	if (!use->listed)
		return;
	*(use->previous ? &use->previous->next : &list->first) = use->next;
	*(use->next ? &use->next->previous : &list->last) = use->previous;
	use->next = use->previous = NULL;
	use->listed = false;
	list->count--;
}

/* Nobody holds it from now on. */
static void idle(const struct policy_registry *registry, struct registry_idle *list,
		 struct registry_use *use)
{
	use->idle_since = registry->compilation;
	use->previous = list->last;
	*(list->last ? &list->last->next : &list->first) = use;
	list->last = use;
	use->listed = true;
	list->count++;
}

static void hold(struct registry_idle *list, struct registry_use *use)
{
	unlist(list, use);
	use->holders++;
}

static void release(const struct policy_registry *registry, struct registry_idle *list,
		    struct registry_use *use)
{
	if (--use->holders == 0)
		idle(registry, list, use);
}

void registry_hold_identity(struct policy_registry *registry,
			    const struct registry_identity *identity)
{
	hold(&registry->idle_identities, &((struct registry_identity *)identity)->use);
}

void registry_release_identity(struct policy_registry *registry,
			       const struct registry_identity *identity)
{
	release(registry, &registry->idle_identities, &((struct registry_identity *)identity)->use);
}

void registry_release_ruleset(struct policy_registry *registry, uint32_t id)
{
	struct registry_ruleset *entry;

	HASH_FIND(hh_id, registry->rulesets_by_id, &id, sizeof(id), entry);
	if (entry)
		release(registry, &registry->idle_rulesets, &entry->use);
}

void registry_release_rule(struct policy_registry *registry, uint32_t number)
{
	struct registry_rule *entry;

	HASH_FIND(hh_number, registry->rules_by_number, &number, sizeof(number), entry);
	if (entry)
		release(registry, &registry->idle_rules, &entry->use);
}

/* The longest idle one, if it is so since before `compilation`; it leaves the list. */
static void *take_idle(struct registry_idle *list, uint64_t compilation)
{
	struct registry_use *use = list->first;

	if (!use || use->idle_since >= compilation)
		return NULL;
	unlist(list, use);
	return use;
}

/*
 * So many identities that nobody has may wait for their return, and as many as somebody has. A
 * policy that comes and goes with a label that every pod has makes all identities anew each time:
 * without this each time would use up as many numbers, and there are four billion.
 */
#define IDENTITIES_KEPT 4096

static bool may_forget_identities(const struct policy_registry *registry)
{
	size_t idle_count = registry->idle_identities.count;

	return idle_count > IDENTITIES_KEPT &&
	       idle_count > HASH_COUNT(registry->identities) - idle_count;
}

/* Forgets what nobody holds since before `compilation`. */
static void drop_unused(struct policy_registry *registry, uint64_t compilation)
{
	struct registry_identity *identity;
	struct registry_ruleset *ruleset;
	struct registry_rule *rule;

	while (may_forget_identities(registry) &&
	       (identity = take_idle(&registry->idle_identities, compilation)))
		drop_identity(registry, identity);
	while ((ruleset = take_idle(&registry->idle_rulesets, compilation)))
		drop_ruleset(registry, ruleset);
	while ((rule = take_idle(&registry->idle_rules, compilation)))
		drop_rule(registry, rule);
}

static void drop_all(struct policy_registry *registry)
{
	struct registry_identity *identity, *next_identity;
	struct registry_ruleset *ruleset, *next_ruleset;
	struct registry_rule *rule, *next_rule;

	HASH_ITER (hh, registry->identities, identity, next_identity)
		drop_identity(registry, identity);
	hash_table_clear(&registry->identities_by_id);
	HASH_ITER (hh, registry->rulesets, ruleset, next_ruleset)
		drop_ruleset(registry, ruleset);
	HASH_ITER (hh, registry->rules, rule, next_rule)
		drop_rule(registry, rule);
}

void registry_clear(struct policy_registry *registry)
{
	drop_all(registry);
	*registry = (struct policy_registry){
		.next_identity = IDENTITY_FIRST_POD, .next_ruleset = RULESET_FIRST, .next_rule = 1};
}

void policy_registry_free(struct policy_registry *registry)
{
	if (!registry)
		return;
	registry_clear(registry);
	free(registry);
}

uint64_t policy_registry_revision(const struct policy_registry *registry)
{
	return registry->revision;
}

uint64_t policy_registry_changes(const struct policy_registry *registry)
{
	return registry->changes;
}

void policy_registry_collect(struct policy_registry *registry)
{
	if (registry->compilation >= 2)
		drop_unused(registry, registry->compilation - 1);
}

static size_t netstring(FILE *out, const char *text)
{
	return (size_t)fprintf(out, "%zu:%s,", strlen(text), text);
}

static int compare_ports(const void *a, const void *b)
{
	const struct named_port *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	if (order == 0)
		order = (int)x->proto - (int)y->proto;
	return order ? order : (int)x->port - (int)y->port;
}

/* The named ones of `ports`, sorted, none twice; names are borrowed. Free the array. NULL: no
 * memory. */
static struct named_port *sorted_named_ports(const struct named_port *ports, size_t count,
					     size_t *ret_count)
{
	struct named_port *named = calloc(count + 1, sizeof(*named));
	size_t used = 0, kept = 0;

	if (!named)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (ports[i].name)
			named[used++] = ports[i];
	qsort(named, used, sizeof(*named), compare_ports);
	for (size_t i = 0; i < used; i++)
		if (kept == 0 || compare_ports(&named[kept - 1], &named[i]) != 0)
			named[kept++] = named[i];
	*ret_count = kept;
	return named;
}

char *registry_identity_key(const char *namespace, const struct labels *labels,
			    const struct named_port *ports, size_t port_count,
			    size_t *ret_ports_offset)
{
	size_t named_count, offset = 0, size;
	struct named_port *named = sorted_named_ports(ports, port_count, &named_count);
	char *key = NULL;
	FILE *out = named ? open_memstream(&key, &size) : NULL;

	if (!out) {
		free(named);
		return NULL;
	}
	offset += netstring(out, namespace);
	for (size_t i = 0; i < labels->count; i++) {
		offset += netstring(out, labels->items[i].key);
		offset += netstring(out, labels->items[i].value);
	}
	offset += (size_t)fprintf(out, "|");
	for (size_t i = 0; i < named_count; i++) {
		netstring(out, named[i].name);
		fprintf(out, "%u/%u,", named[i].proto, named[i].port);
	}
	free(named);
	if (fclose(out) != 0) {
		free(key);
		return NULL;
	}
	*ret_ports_offset = offset;
	return key;
}

static size_t texts_length(const struct labels *labels, const struct named_port *named,
			   size_t count)
{
	size_t length = 0;

	for (size_t i = 0; i < labels->count; i++)
		length += strlen(labels->items[i].key) + strlen(labels->items[i].value) + 2;
	for (size_t i = 0; i < count; i++)
		length += strlen(named[i].name) + 1;
	return length;
}

static char *copy_text(char **at, const char *text)
{
	char *copy = *at;

	*at = stpcpy(copy, text) + 1;
	return copy;
}

/* In one piece of memory: the entry, its ports and labels, and their texts. There may be 100,000.
 * NULL: no memory. */
static struct registry_identity *pack_identity(const char *namespace, const char *key,
					       const struct labels *labels,
					       const struct named_port *named, size_t count)
{
	size_t size = sizeof(struct registry_identity) + count * sizeof(*named) +
		      labels->count * sizeof(struct label) + strlen(namespace) + strlen(key) + 2 +
		      texts_length(labels, named, count);
	struct registry_identity *entry = calloc(1, size);
	char *at;

	if (!entry)
		return NULL;
	entry->ports = (struct named_port *)(entry + 1);
	entry->port_count = count;
	entry->labels = (struct labels){.items = (struct label *)(entry->ports + count),
					.count = labels->count};
	at = (char *)(entry->labels.items + labels->count);
	entry->namespace = copy_text(&at, namespace);
	entry->key = copy_text(&at, key);
	for (size_t i = 0; i < count; i++) {
		entry->ports[i] = named[i];
		entry->ports[i].name = copy_text(&at, named[i].name);
	}
	for (size_t i = 0; i < labels->count; i++) {
		entry->labels.items[i].key = copy_text(&at, labels->items[i].key);
		entry->labels.items[i].value = copy_text(&at, labels->items[i].value);
	}
	return entry;
}

static struct registry_identity *new_identity(uint32_t id, const char *namespace,
					      const struct labels *labels,
					      const struct named_port *ports, size_t port_count)
{
	size_t count, offset;
	struct named_port *named = sorted_named_ports(ports, port_count, &count);
	char *key = registry_identity_key(namespace, labels, ports, port_count, &offset);
	struct registry_identity *entry =
		named && key ? pack_identity(namespace, key, labels, named, count) : NULL;

	free(named);
	free(key);
	if (!entry)
		return NULL;
	entry->id = id;
	entry->ports_offset = offset;
	return entry;
}

/* The number after `number` if that is the highest one given. */
static void advance(uint32_t *next, uint32_t number)
{
	if (*next != 0 && number >= *next)
		*next = number + 1;
}

/* An export says that all numbers up to some way behind this one are taken. */
static void reserve(struct policy_registry *registry, uint32_t *reserved, uint32_t number,
		    size_t count)
{
	uint64_t end = (uint64_t)number + NUMBERS_RESERVED + count / PART_RESERVED;

	registry->changes++;
	if (number <= *reserved)
		return;
	*reserved = end < UINT32_MAX ? (uint32_t)end : UINT32_MAX;
	registry->revision++;
}

int registry_add_identity(struct policy_registry *registry, uint32_t id, const char *namespace,
			  const struct labels *labels, const struct named_port *ports,
			  size_t port_count)
{
	struct registry_identity *entry, *other;

	if (hash_table_find(&registry->identities_by_id, id))
		return -EEXIST;
	entry = new_identity(id, namespace, labels, ports, port_count);
	if (!entry)
		return -ENOMEM;
	HASH_FIND_STR(registry->identities, entry->key, other);
	if (other) {
		identity_free(entry);
		return -EEXIST;
	}
	HASH_ADD_KEYPTR(hh, registry->identities, entry->key, strlen(entry->key), entry);
	if (!HASH_ADDED(hh, entry)) {
		identity_free(entry);
		return -ENOMEM;
	}
	if (hash_table_add(&registry->identities_by_id, &entry->by_id, id) < 0) {
		HASH_DEL(registry->identities, entry);
		identity_free(entry);
		return -ENOMEM;
	}
	idle(registry, &registry->idle_identities, &entry->use);
	advance(&registry->next_identity, id);
	reserve(registry, &registry->reserved_identities, id, HASH_COUNT(registry->identities));
	return 0;
}

int registry_take_identity(struct policy_registry *registry, const char *namespace,
			   const struct labels *labels, const struct named_port *ports,
			   size_t port_count, const struct registry_identity **ret)
{
	struct registry_identity *entry = NULL;
	size_t ports_offset;
	char *key = registry_identity_key(namespace, labels, ports, port_count, &ports_offset);
	int r = key ? 0 : -ENOMEM;

	if (r == 0)
		HASH_FIND_STR(registry->identities, key, entry);
	if (r == 0 && !entry) {
		r = registry->next_identity == 0
			    ? -ENOSPC
			    : registry_add_identity(registry, registry->next_identity, namespace,
						    labels, ports, port_count);
		if (r == 0)
			HASH_FIND_STR(registry->identities, key, entry);
	}
	free(key);
	if (r < 0)
		return r;
	hold(&registry->idle_identities, &entry->use);
	*ret = entry;
	return 0;
}

static void ruleset_given(struct policy_registry *registry, uint32_t id)
{
	advance(&registry->next_ruleset, id);
	reserve(registry, &registry->reserved_rulesets, id, HASH_COUNT(registry->rulesets));
}

int registry_add_ruleset(struct policy_registry *registry, uint32_t id, const uint64_t digest[2])
{
	struct registry_ruleset *entry, *other;

	HASH_FIND(hh_id, registry->rulesets_by_id, &id, sizeof(id), other);
	if (other)
		return -EEXIST;
	HASH_FIND(hh, registry->rulesets, digest, 2 * sizeof(*digest), other);
	if (other)
		return -EEXIST;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->id = id;
	memcpy(entry->digest, digest, sizeof(entry->digest));
	HASH_ADD(hh, registry->rulesets, digest, sizeof(entry->digest), entry);
	if (!HASH_ADDED(hh, entry)) {
		free(entry);
		return -ENOMEM;
	}
	HASH_ADD(hh_id, registry->rulesets_by_id, id, sizeof(entry->id), entry);
	if (!HASH_ADDED(hh_id, entry)) {
		HASH_DEL(registry->rulesets, entry);
		free(entry);
		return -ENOMEM;
	}
	idle(registry, &registry->idle_rulesets, &entry->use);
	ruleset_given(registry, id);
	return 0;
}

int registry_take_ruleset(struct policy_registry *registry, const uint64_t digest[2], uint32_t *ret)
{
	struct registry_ruleset *entry;
	int r;

	HASH_FIND(hh, registry->rulesets, digest, 2 * sizeof(*digest), entry);
	if (!entry) {
		if (registry->next_ruleset == 0)
			return -ENOSPC;
		r = registry_add_ruleset(registry, registry->next_ruleset, digest);
		if (r < 0)
			return r;
		HASH_FIND(hh, registry->rulesets, digest, 2 * sizeof(*digest), entry);
	}
	hold(&registry->idle_rulesets, &entry->use);
	*ret = entry->id;
	return 0;
}

/*
 * Content that has a number already keeps it: the maps' second copy is then nothing but left over.
 * A number that stands for other content is a contradiction.
 */
int policy_registry_know_ruleset(struct policy_registry *registry, uint32_t id,
				 const uint64_t digest[2])
{
	struct registry_ruleset *entry;
	int r;

	if (id < RULESET_FIRST)
		return -EINVAL;
	HASH_FIND(hh_id, registry->rulesets_by_id, &id, sizeof(id), entry);
	if (entry)
		return memcmp(entry->digest, digest, sizeof(entry->digest)) == 0 ? 0 : -EEXIST;
	r = registry_add_ruleset(registry, id, digest);
	if (r == -EEXIST)
		ruleset_given(registry, id);
	return r;
}

static char *rule_key(const char *namespace, const char *name, bool egress, uint32_t index)
{
	char *key;

	if (asprintf(&key, "%zu:%s,%zu:%s,%c%u", strlen(namespace), namespace, strlen(name), name,
		     egress ? 'e' : 'i', index) < 0)
		return NULL;
	return key;
}

static struct registry_rule *new_rule(uint32_t number, const char *namespace, const char *name,
				      bool egress, uint32_t index)
{
	struct registry_rule *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->number = number;
	entry->egress = egress;
	entry->index = index;
	entry->key = rule_key(namespace, name, egress, index);
	entry->namespace = strdup(namespace);
	entry->name = strdup(name);
	if (entry->key && entry->namespace && entry->name)
		return entry;
	rule_free(entry);
	return NULL;
}

int registry_add_rule(struct policy_registry *registry, uint32_t number, const char *namespace,
		      const char *name, bool egress, uint32_t index)
{
	struct registry_rule *entry, *other;

	HASH_FIND(hh_number, registry->rules_by_number, &number, sizeof(number), other);
	if (other)
		return -EEXIST;
	entry = new_rule(number, namespace, name, egress, index);
	if (!entry)
		return -ENOMEM;
	HASH_FIND_STR(registry->rules, entry->key, other);
	if (other) {
		rule_free(entry);
		return -EEXIST;
	}
	HASH_ADD_KEYPTR(hh, registry->rules, entry->key, strlen(entry->key), entry);
	if (!HASH_ADDED(hh, entry)) {
		rule_free(entry);
		return -ENOMEM;
	}
	HASH_ADD(hh_number, registry->rules_by_number, number, sizeof(entry->number), entry);
	if (!HASH_ADDED(hh_number, entry)) {
		HASH_DEL(registry->rules, entry);
		rule_free(entry);
		return -ENOMEM;
	}
	idle(registry, &registry->idle_rules, &entry->use);
	advance(&registry->next_rule, number);
	registry->changes++;
	registry->revision++;
	return 0;
}

int registry_take_rule(struct policy_registry *registry, const char *namespace, const char *name,
		       bool egress, uint32_t index, uint32_t *ret)
{
	struct registry_rule *entry;
	char *key = rule_key(namespace, name, egress, index);
	int r = 0;

	if (!key)
		return -ENOMEM;
	HASH_FIND_STR(registry->rules, key, entry);
	if (!entry) {
		r = registry->next_rule == 0 ? -ENOSPC
					     : registry_add_rule(registry, registry->next_rule,
								 namespace, name, egress, index);
		if (r == 0)
			HASH_FIND_STR(registry->rules, key, entry);
	}
	free(key);
	if (r < 0)
		return r;
	hold(&registry->idle_rules, &entry->use);
	*ret = entry->number;
	return 0;
}

uint32_t policy_rule_number(const struct policy_registry *registry,
			    const struct rule_origin *origin)
{
	struct registry_rule *entry = NULL;
	char *key = rule_key(origin->namespace, origin->name, origin->egress, origin->index);

	if (key)
		HASH_FIND_STR(registry->rules, key, entry);
	free(key);
	return entry ? entry->number : 0;
}

int policy_rule_origin(const struct policy_registry *registry, uint32_t rule,
		       struct rule_origin *ret)
{
	struct registry_rule *entry;

	HASH_FIND(hh_number, registry->rules_by_number, &rule, sizeof(rule), entry);
	if (!entry)
		return -ENOENT;
	*ret = (struct rule_origin){.namespace = entry->namespace,
				    .name = entry->name,
				    .egress = entry->egress,
				    .index = entry->index};
	return 0;
}

void policy_registry_each_identity(const struct policy_registry *registry,
				   void (*visit)(uint32_t id, void *data), void *data)
{
	const struct registry_identity *entry;

	for (entry = registry->identities; entry; entry = entry->hh.next)
		if (entry->use.holders)
			visit(entry->id, data);
}

int policy_registry_identity(const struct policy_registry *registry, uint32_t id,
			     const char **ret_namespace, const struct labels **ret_labels)
{
	const struct hash_table_item *item = hash_table_find(&registry->identities_by_id, id);
	const struct registry_identity *entry;

	if (!item)
		return -ENOENT;
	entry = (const struct registry_identity *)((const char *)item -
						   offsetof(struct registry_identity, by_id));
	*ret_namespace = entry->namespace;
	*ret_labels = &entry->labels;
	return 0;
}
