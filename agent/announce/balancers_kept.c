/* SPDX-License-Identifier: Apache-2.0 */
/* What Services from files have, over a restart: {"NAMESPACE/NAME": ["ADDRESS", ...]}. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/announce/balancers_internal.h"
#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/common/state_file.h"

#define FILE_MOST (16u << 20)

const struct balancer_kept *balancers_kept_find(const struct balancers *b, const char *key)
{
	const struct balancer_kept *kept;

	HASH_FIND_STR(b->kept, key, kept);
	return kept;
}

static struct balancer_kept *need(struct balancers *b, const char *key)
{
	struct balancer_kept *kept;

	HASH_FIND_STR(b->kept, key, kept);
	if (kept)
		return kept;
	kept = calloc(1, sizeof(*kept));
	if (!kept)
		return NULL;
	snprintf(kept->key, sizeof(kept->key), "%s", key);
	HASH_ADD_STR(b->kept, key, kept);
	if (HASH_ADDED(hh, kept))
		return kept;
	free(kept);
	return NULL;
}

void balancers_kept_clear(struct balancers *b)
{
	struct balancer_kept *kept, *next;

	HASH_ITER (hh, b->kept, kept, next) {
		HASH_DEL(b->kept, kept);
		free(kept);
	}
}

/* ---------------------------------------------------------------- the file */

void balancers_kept_read(struct balancers *b)
{
	CLEANUP(cleanup_json) json_t *file = NULL;
	const char *key;
	json_t *list, *item;
	size_t i;
	int r = b->env.kept ? state_file_read_json(b->env.kept, FILE_MOST, &file) : -ENOENT;

	if (r < 0 && r != -ENOENT)
		log_warning("balancer",
			    "%s: cannot be used: %s; Services from files may get other addresses",
			    b->env.kept, strerror(-r));
	json_object_foreach (file, key, list) {
		struct balancer_kept *kept = strlen(key) < BALANCER_KEY_MAX ? need(b, key) : NULL;

		json_array_foreach (list, i, item) {
			const char *text = json_string_value(item);
			struct polder_addr addr;

			if (kept && text && addr_parse(text, &addr) == 0)
				kept->has[addr_is_v4(&addr) ? BALANCER_V4 : BALANCER_V6] = addr;
		}
	}
}

static json_t *file_of(const struct balancers *b)
{
	json_t *file = json_object();
	char text[INET6_ADDRSTRLEN];

	for (const struct balancer_kept *kept = b->kept; kept; kept = kept->hh.next) {
		json_t *list = json_array();

		for (int i = 0; i < BALANCER_FAMILIES; i++)
			if (!addr_is_zero(&kept->has[i]))
				json_array_append_new(
					list, json_string(addr_format(&kept->has[i], text)));
		json_object_set_new(file, kept->key, list);
	}
	return file;
}

static void write_file(struct balancers *b)
{
	CLEANUP(cleanup_json) json_t *file = file_of(b);
	int r = b->env.kept ? state_file_write_json(b->env.kept, file) : 0;

	if (r < 0 && !b->keep_failed)
		log_warning("balancer",
			    "%s: cannot be written: %s; Services from files may get other "
			    "addresses when polderd is started again",
			    b->env.kept, strerror(-r));
	b->keep_failed = r < 0;
}

/* ---------------------------------------------------------------- what they have now */

/* False: as before. */
static bool take(struct balancers *b, const struct balancer_item *item)
{
	struct polder_addr has[BALANCER_FAMILIES];
	struct balancer_kept *kept;
	bool any = false;

	memcpy(has, item->balancer.gets, sizeof(has));
	for (size_t i = 0; i < item->foreign_count; i++)
		has[addr_is_v4(&item->foreign[i]) ? BALANCER_V4 : BALANCER_V6] = item->foreign[i];
	for (int i = 0; i < BALANCER_FAMILIES; i++)
		any |= !addr_is_zero(&has[i]);
	kept = any ? need(b, item->key) : NULL;
	if (!kept)
		return false;
	kept->marked = true;
	if (memcmp(kept->has, has, sizeof(has)) == 0)
		return false;
	memcpy(kept->has, has, sizeof(has));
	b->env.changed(item->namespace, item->name, b->env.data);
	return true;
}

static void tell_gone(struct balancers *b, const char *key)
{
	char namespace[LIMIT_NAMESPACE + 1];
	const char *slash = strchr(key, '/');

	if (!slash || (size_t)(slash - key) >= sizeof(namespace))
		return;
	snprintf(namespace, sizeof(namespace), "%.*s", (int)(slash - key), key);
	b->env.changed(namespace, slash + 1, b->env.data);
}

void balancers_kept_take(struct balancers *b)
{
	struct balancer_kept *kept, *next;
	bool differs = b->keep_failed;

	for (kept = b->kept; kept; kept = kept->hh.next)
		kept->marked = false;
	for (size_t i = 0; i < b->count; i++)
		if (!b->items[i].from_api)
			differs |= take(b, &b->items[i]);
	HASH_ITER (hh, b->kept, kept, next) {
		char key[BALANCER_KEY_MAX];

		if (kept->marked)
			continue;
		memcpy(key, kept->key, sizeof(key));
		HASH_DEL(b->kept, kept);
		free(kept);
		tell_gone(b, key);
		differs = true;
	}
	if (differs)
		write_file(b);
}

static bool is_in_status(const struct object *service, const struct polder_addr *addr)
{
	for (size_t i = 0; i < service->service.balancer_ip_count; i++)
		if (memcmp(&service->service.balancer_ips[i], addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

size_t balancers_more(struct balancers *b, const struct object *service,
		      const struct polder_addr **ret)
{
	char key[BALANCER_KEY_MAX];
	const struct balancer_kept *kept;
	size_t count = 0;

	snprintf(key, sizeof(key), "%s/%s", service->namespace, service->name);
	kept = balancers_kept_find(b, key);
	for (int i = 0; i < BALANCER_FAMILIES && kept; i++)
		if (!addr_is_zero(&kept->has[i]) && !is_in_status(service, &kept->has[i]))
			b->more[count++] = kept->has[i];
	*ret = b->more;
	return count;
}
