/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are long lists: made item by item, as fast as the peer takes them, so that the whole
 * is never in memory. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "agent/common/cleanup.h"
#include "agent/control/control_internal.h"

/* More is made while less than this waits for the peer. */
#define WAITING_LOW (256u << 10)
#define PART_BYTES  (64u << 10)

struct control_list {
	struct control_request *request;
	control_fill fill;
	void (*done)(void *data);
	void *data;
	char *text; /* made, and not yet handed to the connection */
	size_t length, size, count;
	bool broken;
};

/* False: no memory. */
static bool reserve(struct control_list *list, size_t more)
{
	size_t size = list->size ? list->size : PART_BYTES;
	char *larger;

	while (size < list->length + more)
		size *= 2;
	if (size == list->size)
		return true;
	larger = realloc(list->text, size);
	if (!larger)
		return false;
	list->text = larger;
	list->size = size;
	return true;
}

static void put(struct control_list *list, const char *text)
{
	size_t length = strlen(text);

	if (!reserve(list, length)) {
		list->broken = true;
		return;
	}
	memcpy(list->text + list->length, text, length);
	list->length += length;
}

/* To the connection. Without memory that ends: half a list is no answer. */
static void hand_over(struct control_list *list)
{
	size_t length = list->length;

	if (list->broken) {
		free(TAKE_PTR(list->text));
		length = 0;
	}
	if (length > 0 || list->broken)
		connection_send(list->request->connection, TAKE_PTR(list->text), length);
	list->length = list->size = 0;
}

bool control_list_add(struct control_list *list, json_t *item)
{
	CLEANUP(cleanup_json) json_t *owned = item;
	size_t length;

	if (list->broken || !owned) {
		list->broken = true;
		return false;
	}
	if (list->count++)
		put(list, ",");
	length = json_dumpb(owned, list->text ? list->text + list->length : NULL,
			    list->size - list->length, JSON_COMPACT | JSON_ENCODE_ANY);
	if (length > list->size - list->length) {
		list->broken |= !reserve(list, length);
		if (!list->broken)
			json_dumpb(owned, list->text + list->length, length,
				   JSON_COMPACT | JSON_ENCODE_ANY);
	}
	list->broken |= length == 0;
	if (!list->broken)
		list->length += length;
	return !list->broken;
}

void control_list_end(struct control_request *request)
{
	struct control_list *list = TAKE_PTR(request->list);

	list->done(list->data);
	free(list->text);
	free(list);
	request_free(request);
}

static void fill_one(struct control_request *request)
{
	struct control_list *list = request->list;
	bool ended = list->fill(list, list->data);

	if (ended)
		put(list, "]}\n");
	hand_over(list);
	if (ended || list->broken)
		control_list_end(request);
}

static bool wants_more(const struct control_request *request)
{
	return request->list && request->connection &&
	       request->connection->output.waiting < WAITING_LOW;
}

static void on_fill(uv_idle_t *idle)
{
	struct control_server *server = idle->data;
	struct control_request *request, *next;
	bool again = false;

	DL_FOREACH_SAFE(server->requests, request, next)
	{
		if (!wants_more(request))
			continue;
		fill_one(request);
		again = true;
	}
	/* Those whose peer has to read first come back by control_lists_fill(). */
	if (!again)
		uv_idle_stop(idle);
}

void control_lists_fill(struct control_server *server)
{
	uv_idle_start(&server->fill, on_fill);
}

void control_reply_list(struct control_request *request, control_fill fill,
			void (*done)(void *data), void *data)
{
	struct control_list *list = calloc(1, sizeof(*list));

	assert(!request->stream && !request->list);
	if (!list || !request->connection) {
		free(list);
		done(data);
		control_reply(request, NULL);
		return;
	}
	*list = (struct control_list){.request = request, .fill = fill, .done = done, .data = data};
	request->list = list;
	put(list, "{\"version\":1,\"ok\":true,\"result\":[");
	control_lists_fill(request->server);
}
