/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel drops, counted for as long as somebody asks for it. */
#include <errno.h>
#include <stdlib.h>

#include "agent/common/cleanup.h"
#include "agent/observe/kernel_drop_tally.h"
#include "agent/show/show_internal.h"

#define SECONDS_DEFAULT 10
#define SECONDS_MAX	86400
#define WATCHERS_MAX	8

/* One question, from its first line to its last. */
struct count {
	struct control_request *request;
	struct kernel_watch *watch; /* NULL: it cannot be told */
	struct kernel_tally *tally;
	json_int_t seconds;
	uv_timer_t timer;
};

static unsigned int running;

static void on_timer_closed(uv_handle_t *handle)
{
	struct count *count = handle->data;

	kernel_tally_free(count->tally);
	free(count);
	running--;
}

static void on_hang_up(struct control_request *request, void *data)
{
	struct count *count = data;

	kernel_drops_unwatch(count->watch);
	count->watch = NULL;
	uv_close((uv_handle_t *)&count->timer, on_timer_closed);
}

static void send_failure(struct count *count, const char *why)
{
	(void)control_stream_send(count->request,
				  json_pack("{s:s, s:s}", "type", "failed", "reason", why));
}

static const char *name_of(uint32_t reason, char buffer[KERNEL_REASON_NAME_MAX], const void *data)
{
	return kernel_drops_reason(data, reason, buffer);
}

static void on_time(uv_timer_t *timer)
{
	struct count *count = timer->data;
	uint64_t counts[KERNEL_DROP_COUNTS];
	json_t *document = NULL;

	/* In this order: what is counted is told, too. */
	if (kernel_drops_counts(count->watch, counts) == 0) {
		kernel_drops_flush(count->watch);
		document = kernel_tally_document(count->tally, counts,
						 kernel_drops_filter(count->watch), name_of,
						 count->watch);
	}
	kernel_drops_unwatch(count->watch);
	count->watch = NULL;
	if (document)
		(void)control_stream_send(
			count->request, json_pack("{s:s, s:o}", "type", "end", "answer", document));
	else
		send_failure(count, "polderd is out of memory");
}

static void on_begun(const char *why, void *data)
{
	struct count *count = data;
	uint64_t counts[KERNEL_DROP_COUNTS];

	if (!why && kernel_drops_counts(count->watch, counts) == 0) {
		kernel_tally_begin(count->tally, counts);
		uv_timer_start(&count->timer, on_time, (uint64_t)count->seconds * 1000, 0);
		return;
	}
	kernel_drops_unwatch(count->watch);
	count->watch = NULL;
	send_failure(count, why ? why : "the kernel's own drops cannot be read");
}

static void on_drop(const struct kernel_drop_told *told, void *data)
{
	struct count *count = data;

	kernel_tally_add(count->tally, told);
}

static void on_missed(uint64_t lost, uint64_t limited, void *data)
{
	struct count *count = data;

	kernel_tally_missed(count->tally, lost, limited);
}

/* 0 with `*ret_filter`, or -errno with `error`. */
static int read_question(const struct show_sources *sources, const json_t *args,
			 json_int_t *ret_seconds, struct flow_filter **ret_filter,
			 struct error *error)
{
	const json_t *value = json_object_get(args, "seconds");
	json_int_t seconds = value ? json_integer_value(value) : SECONDS_DEFAULT;
	int r;

	if ((value && !json_is_integer(value)) || seconds < 1 || seconds > SECONDS_MAX)
		return error_set(error, -EINVAL, EINVAL,
				 "drops.kernel: seconds: expected a number from 1 to %d",
				 SECONDS_MAX);
	if (running >= WATCHERS_MAX)
		return error_set(
			error, -EBUSY, EBUSY,
			"drops.kernel: %d counts are running, which is the limit; wait for "
			"one to end",
			WATCHERS_MAX);
	r = show_filter_parse(sources, json_object_get(args, "filter"), ret_filter, error);
	if (r == 0 && !flow_filter_wants_kernel(*ret_filter)) {
		flow_filter_free(*ret_filter);
		return error_set(error, -EINVAL, EINVAL,
				 "drops.kernel: the filter lets none of the kernel's drops "
				 "through: they have no policy, and reasons such as "
				 "kernel:NO_SOCKET");
	}
	*ret_seconds = seconds;
	return r;
}

/* Takes `filter`. */
static int begin(const struct show_sources *sources, struct control_request *request,
		 json_int_t seconds, struct flow_filter *filter)
{
	CLEANUP(cleanup_free) struct count *count = calloc(1, sizeof(*count));
	const struct kernel_watch_calls calls = {on_begun, on_drop, on_missed, count};
	struct count *started;

	if (count)
		count->tally = kernel_tally_new(sources->event_names);
	if (!count || !count->tally) {
		flow_filter_free(filter);
		return -ENOMEM;
	}
	count->watch = kernel_drops_watch(sources->kernel_drops, filter, &calls);
	if (!count->watch) {
		kernel_tally_free(count->tally);
		return -ENOMEM;
	}
	started = TAKE_PTR(count);
	started->request = request;
	started->seconds = seconds;
	uv_timer_init(sources->loop, &started->timer);
	started->timer.data = started;
	running++;
	control_stream_begin(request, on_hang_up, started);
	return 0;
}

void show_kernel_drops(struct control_request *request, const json_t *args, int netns_fd,
		       void *data)
{
	struct flow_filter *filter = NULL;
	json_int_t seconds = 0;
	struct error error;

	if (read_question(data, args, &seconds, &filter, &error) < 0)
		control_fail(request, error.code, error.text, NULL);
	else if (begin(data, request, seconds, filter) < 0)
		show_reply(request, NULL);
}
