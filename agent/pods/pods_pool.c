/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses rest, over a restart of the agent: a file that is not synced, as a restart of the
 * machine leaves neither pods nor flows. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/common/state_file.h"
#include "agent/pods/pods_internal.h"

#define POOL_MAX     (1u << 20)
#define POOL_VERSION 1

uint64_t pods_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec;
}

/* ---------------------------------------------------------------- writing */

static void add_resting(const struct polder_addr *addr, uint64_t until, void *data)
{
	char text[INET6_ADDRSTRLEN];
	json_t *list = data;

	json_array_append_new(list, json_pack("{s:s, s:I}", "address", addr_format(addr, text),
					      "until", (json_int_t)until));
}

static json_t *encode(const struct ipam_pool *pool)
{
	char text[INET6_ADDRSTRLEN];
	struct polder_addr next;
	json_t *resting;

	if (!pool)
		return json_null();
	resting = json_array();
	ipam_next(pool, &next);
	ipam_each_resting(pool, add_resting, resting);
	return json_pack("{s:s, s:o}", "next", addr_format(&next, text), "resting", resting);
}

void pods_pool_save(struct pods *pods)
{
	CLEANUP(cleanup_json) json_t *state = NULL;
	CLEANUP(cleanup_free) char *text = NULL;
	int r = -ENOMEM;

	if (!pods->pool_path)
		return;
	state = json_pack("{s:i, s:I, s:o, s:o}", "version", POOL_VERSION, "link",
			  (json_int_t)pods->next_number, "ipv4", encode(pods->v4), "ipv6",
			  encode(pods->v6));
	text = state ? json_dumps(state, JSON_COMPACT) : NULL;
	if (text)
		r = state_file_write_unsynced(pods->pool_path, text, strlen(text));
	if (r < 0 && !pods->pool_failed)
		log_error("pods",
			  "%s: cannot be written: %s; after a restart of polderd an address may be "
			  "used again at once",
			  pods->pool_path, strerror(-r));
	pods->pool_failed = r < 0;
}

void pods_repair_pool(struct pods *pods)
{
	if (pods->pool_failed)
		pods_pool_save(pods);
}

/* ---------------------------------------------------------------- reading */

static void load_pool(struct ipam_pool *pool, const json_t *state, uint64_t now)
{
	struct polder_addr addr;
	json_t *item;
	size_t i;

	if (!pool)
		return;
	json_array_foreach (json_object_get(state, "resting"), i, item) {
		const char *text = json_string_value(json_object_get(item, "address"));
		uint64_t until = (uint64_t)json_integer_value(json_object_get(item, "until"));

		/* After the machine's start the clock has begun anew. */
		if (until > now + PODS_REST_S)
			until = now + PODS_REST_S;
		if (text && addr_parse(text, &addr) == 0 && until > now)
			ipam_rest(pool, &addr, until);
	}
	if (json_is_string(json_object_get(state, "next")) &&
	    addr_parse(json_string_value(json_object_get(state, "next")), &addr) == 0)
		ipam_continue_at(pool, &addr);
}

void pods_pool_load(struct pods *pods)
{
	CLEANUP(cleanup_json) json_t *state = NULL;
	const json_t *number;
	int r;

	if (!pods->pool_path)
		return;
	r = state_file_read_json(pods->pool_path, POOL_MAX, &state);
	if (r == 0 && json_integer_value(json_object_get(state, "version")) == POOL_VERSION) {
		uint64_t now = pods_now();

		load_pool(pods->v4, json_object_get(state, "ipv4"), now);
		load_pool(pods->v6, json_object_get(state, "ipv6"), now);
		number = json_object_get(state, "link");
		if (json_is_integer(number))
			pods->next_number = (uint32_t)json_integer_value(number);
	} else if (r < 0 && r != -ENOENT) {
		log_warning("pods", "%s: cannot be used (%s): addresses do not rest from before",
			    pods->pool_path, strerror(-r));
	}
	/* One that cannot be read now may be whole. */
	if (r == 0 || r == -ENOENT || r == -EBADMSG || r == -EFBIG)
		pods_pool_save(pods);
}
