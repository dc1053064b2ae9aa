/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/kernel_drops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <bpf/libbpf.h>

#include "agent/common/log.h"
#include "agent/kernel/cause.h"

#define BATCH	  256 /* packets in one turn of the loop */
#define MISSED_MS 1000
#define WHY_MAX	  512

struct kernel_watch {
	struct kernel_drops *drops; /* NULL: closed */
	struct flow_filter *filter; /* NULL: all */
	struct kernel_watch_calls calls;
	bool answered, began;
	struct kernel_watch *prev, *next;
};

/* What reads the ring of a program that is attached; its handles are the loop's until they are
 * closed. */
struct reader {
	struct kernel_drops *drops;
	struct ring_buffer *ring;
	uint64_t lost, limited; /* as told so far */
	int left;		/* of this turn's batch */
	uv_poll_t poll;
	uv_timer_t timer;
	int handles;
};

enum drops_state { DROPS_OFF, DROPS_LOADING, DROPS_ON };

struct kernel_drops {
	uv_loop_t *loop;
	const struct datapath *datapath;
	const struct event_names *names;
	enum drops_state state;
	struct kernel_watch *watches;
	struct kernel_drop_program *program; /* NULL: not attached */
	struct reader *reader;
	uv_work_t work; /* while it is loaded: */
	struct kernel_drop_program *loaded;
	int result;
	char why[WHY_MAX];
	uv_timer_t begin; /* for those who come when it is attached already */
	bool closed, begin_closed;
};

/* ---------------------------------------------------------------- the ring */

static void take_event(const struct kernel_drop *drop, struct polder_event *ret)
{
	*ret = (struct polder_event){
		.time_ns = drop->time_ns,
		.type = EVENT_DROP,
		.verdict = VERDICT_DROP,
		.family = drop->family,
		.proto = drop->proto,
		.saddr = drop->saddr,
		.daddr = drop->daddr,
		.sport_be = drop->sport_be,
		.dport_be = drop->dport_be,
		.length = drop->length,
	};
}

/* A vague reason is told because somebody has asked for it: to nobody else. */
static bool is_wanted(const struct kernel_watch *watch, const struct flow_subject *subject)
{
	const char *reason = subject->kernel_reason;

	if (!watch->began)
		return false;
	if (kernel_drop_reason_is_vague(reason) &&
	    !flow_filter_names_kernel_reason(watch->filter, reason))
		return false;
	return flow_filter_matches(watch->filter, subject, watch->drops->names);
}

static void tell(struct kernel_drops *drops, const struct kernel_drop_told *told)
{
	struct kernel_watch *watch, *next;
	struct flow_subject subject;

	flow_subject_of_event(&told->event, &subject);
	subject.kernel_reason = told->reason;
	DL_FOREACH_SAFE(drops->watches, watch, next)
	{
		if (is_wanted(watch, &subject))
			watch->calls.drop(told, watch->calls.data);
	}
}

/* A negative result ends the batch; the loop comes back for the rest. */
static int on_drop(void *context, void *data, size_t size)
{
	struct reader *reader = context;
	struct kernel_drops *drops = reader->drops;
	struct kernel_drop_told told = {.drop = data};
	char name[KERNEL_REASON_NAME_MAX];

	if (size >= sizeof(*told.drop) && drops->program) {
		take_event(told.drop, &told.event);
		told.reason = kernel_drop_reason_name(drops->program, told.drop->reason, name);
		tell(drops, &told);
	}
	return --reader->left > 0 ? 0 : -EAGAIN;
}

static void on_readable(uv_poll_t *poll, int status, int mask)
{
	struct reader *reader = poll->data;

	reader->left = BATCH;
	ring_buffer__consume(reader->ring);
}

static uint64_t more_of(struct reader *reader, uint32_t which, uint64_t *told)
{
	uint64_t now = *told, more;

	(void)kernel_drop_program_count(reader->drops->program, which, &now);
	more = now > *told ? now - *told : 0;
	*told = now;
	return more;
}

static void on_missed_time(uv_timer_t *timer)
{
	struct reader *reader = timer->data;
	uint64_t lost = more_of(reader, KERNEL_DROPS_LOST, &reader->lost),
		 limited = more_of(reader, KERNEL_DROPS_LIMITED, &reader->limited);
	struct kernel_watch *watch, *next;

	DL_FOREACH_SAFE(reader->drops->watches, watch, next)
	{
		if (watch->began)
			watch->calls.missed(lost, limited, watch->calls.data);
	}
}

static void on_reader_closed(uv_handle_t *handle)
{
	struct reader *reader = handle->data;

	if (--reader->handles > 0)
		return;
	ring_buffer__free(reader->ring);
	free(reader);
}

static int start_reader(struct kernel_drops *drops)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	int r;

	if (!reader)
		return -ENOMEM;
	reader->drops = drops;
	reader->ring =
		ring_buffer__new(kernel_drop_program_ring(drops->program), on_drop, reader, NULL);
	r = reader->ring
		    ? uv_poll_init(drops->loop, &reader->poll, ring_buffer__epoll_fd(reader->ring))
		    : -errno;
	if (r < 0) {
		ring_buffer__free(reader->ring);
		free(reader);
		return r;
	}
	uv_timer_init(drops->loop, &reader->timer);
	reader->poll.data = reader->timer.data = reader;
	reader->handles = 2;
	uv_poll_start(&reader->poll, UV_READABLE, on_readable);
	uv_timer_start(&reader->timer, on_missed_time, MISSED_MS, MISSED_MS);
	drops->reader = reader;
	return 0;
}

static void detach(struct kernel_drops *drops)
{
	struct reader *reader = drops->reader;

	drops->reader = NULL;
	if (reader) {
		uv_poll_stop(&reader->poll);
		uv_close((uv_handle_t *)&reader->poll, on_reader_closed);
		uv_close((uv_handle_t *)&reader->timer, on_reader_closed);
	}
	kernel_drop_program_free(drops->program);
	drops->program = NULL;
	drops->state = DROPS_OFF;
}

/* ---------------------------------------------------------------- who watches */

/* What one of them has asked for by its name. */
static void set_wanted(struct kernel_drops *drops)
{
	uint64_t wanted[KERNEL_REASONS / 64] = {0};
	const struct kernel_watch *watch;
	uint32_t reason;

	DL_FOREACH(drops->watches, watch)
	{
		for (size_t i = 0; watch->filter && i < watch->filter->kernel_reasons.count; i++)
			if (kernel_drop_reason_find(drops->program,
						    watch->filter->kernel_reasons.items[i],
						    &reason) == 0)
				wanted[reason / 64] |= UINT64_C(1) << reason % 64;
	}
	(void)kernel_drop_program_want(drops->program, wanted);
}

/* A reason that this kernel has not can never match, and silence would look like an answer. */
static bool check_reasons(const struct kernel_watch *watch, char *why, size_t size)
{
	const struct flow_filter_texts *reasons;
	uint32_t reason;

	if (!watch->filter)
		return true;
	reasons = &watch->filter->kernel_reasons;
	for (size_t i = 0; i < reasons->count; i++) {
		if (!*reasons->items[i] ||
		    kernel_drop_reason_find(watch->drops->program, reasons->items[i], &reason) == 0)
			continue;
		snprintf(why, size,
			 "filter reason \"kernel:%s\": this kernel drops no packet for that; its "
			 "reasons stand in enum skb_drop_reason: bpftool btf dump file "
			 "/sys/kernel/btf/vmlinux",
			 reasons->items[i]);
		return false;
	}
	return true;
}

static void begin(struct kernel_watch *watch)
{
	char why[WHY_MAX];
	bool good = watch->drops->program && check_reasons(watch, why, sizeof(why));

	if (!watch->drops->program)
		snprintf(why, sizeof(why), "%s", watch->drops->why);
	watch->answered = true;
	watch->began = good;
	watch->calls.began(good ? NULL : why, watch->calls.data);
}

static void begin_all(struct kernel_drops *drops)
{
	struct kernel_watch *watch, *next;

	if (drops->program)
		set_wanted(drops);
	DL_FOREACH_SAFE(drops->watches, watch, next)
	{
		if (!watch->answered)
			begin(watch);
	}
}

static void on_begin(uv_timer_t *timer)
{
	begin_all(timer->data);
}

static void load_in_thread(uv_work_t *work)
{
	struct kernel_drops *drops = work->data;

	drops->loaded = NULL;
	drops->result = kernel_drop_program_load(drops->datapath, &drops->loaded, drops->why,
						 sizeof(drops->why));
}

static void free_when_closed(struct kernel_drops *drops)
{
	if (drops->begin_closed && drops->state != DROPS_LOADING)
		free(drops);
}

static void on_loaded(uv_work_t *work, int status)
{
	struct kernel_drops *drops = work->data;
	char cause[CAUSE_MAX];
	int r = status < 0 ? status : drops->result;

	drops->state = DROPS_OFF;
	drops->program = r < 0 ? NULL : drops->loaded;
	drops->loaded = NULL;
	if (drops->closed || !drops->watches) {
		detach(drops);
		if (drops->closed)
			free_when_closed(drops);
		return;
	}
	if (r == 0) {
		drops->state = DROPS_ON;
		r = start_reader(drops);
		if (r < 0)
			detach(drops);
	}
	if (r < 0 && !drops->why[0])
		snprintf(drops->why, sizeof(drops->why),
			 "the kernel's own drops cannot be read: %s", cause_of(r, cause));
	if (r < 0)
		log_warning("kernel-drops", "%s", drops->why);
	else
		log_debug("kernel-drops", "the program at skb:kfree_skb is attached");
	begin_all(drops);
}

static void load(struct kernel_drops *drops)
{
	drops->state = DROPS_LOADING;
	drops->why[0] = '\0';
	if (uv_queue_work(drops->loop, &drops->work, load_in_thread, on_loaded) == 0)
		return;
	drops->state = DROPS_OFF;
	snprintf(drops->why, sizeof(drops->why),
		 "the kernel's own drops cannot be told: polderd is out of memory");
	uv_timer_start(&drops->begin, on_begin, 0, 0);
}

struct kernel_watch *kernel_drops_watch(struct kernel_drops *drops, struct flow_filter *filter,
					const struct kernel_watch_calls *calls)
{
	struct kernel_watch *watch = calloc(1, sizeof(*watch));

	if (!watch) {
		flow_filter_free(filter);
		return NULL;
	}
	watch->drops = drops;
	watch->filter = filter;
	watch->calls = *calls;
	DL_APPEND(drops->watches, watch);
	if (drops->state == DROPS_OFF)
		load(drops);
	else if (drops->state == DROPS_ON)
		uv_timer_start(&drops->begin, on_begin, 0, 0);
	return watch;
}

void kernel_drops_unwatch(struct kernel_watch *watch)
{
	struct kernel_drops *drops = watch ? watch->drops : NULL;

	if (drops) {
		DL_DELETE(drops->watches, watch);
		if (drops->state == DROPS_ON && !drops->watches)
			detach(drops);
		else if (drops->state == DROPS_ON)
			set_wanted(drops);
	}
	if (watch)
		flow_filter_free(watch->filter);
	free(watch);
}

size_t kernel_drops_watchers(const struct kernel_drops *drops)
{
	const struct kernel_watch *watch;
	size_t count;

	DL_COUNT(drops->watches, watch, count);
	return count;
}

const struct flow_filter *kernel_drops_filter(const struct kernel_watch *watch)
{
	return watch->filter;
}

int kernel_drops_counts(const struct kernel_watch *watch, uint64_t ret[KERNEL_DROP_COUNTS])
{
	if (!watch->drops || !watch->drops->program)
		return -ENOENT;
	return kernel_drop_program_counts(watch->drops->program, ret);
}

void kernel_drops_flush(struct kernel_watch *watch)
{
	struct reader *reader = watch->drops ? watch->drops->reader : NULL;

	if (!reader)
		return;
	/* No more than fit into the ring. */
	reader->left = KERNEL_DROPS_BYTES / (int)sizeof(struct kernel_drop);
	ring_buffer__consume(reader->ring);
}

const char *kernel_drops_reason(const struct kernel_watch *watch, uint32_t reason,
				char buffer[KERNEL_REASON_NAME_MAX])
{
	if (watch->drops && watch->drops->program)
		return kernel_drop_reason_name(watch->drops->program, reason, buffer);
	snprintf(buffer, KERNEL_REASON_NAME_MAX, "REASON_%u", reason);
	return buffer;
}

/* ---------------------------------------------------------------- open, close */

int kernel_drops_open(uv_loop_t *loop, const struct datapath *datapath,
		      const struct event_names *names, struct kernel_drops **ret)
{
	struct kernel_drops *drops = calloc(1, sizeof(*drops));

	if (!drops)
		return -ENOMEM;
	drops->loop = loop;
	drops->datapath = datapath;
	drops->names = names;
	drops->work.data = drops->begin.data = drops;
	uv_timer_init(loop, &drops->begin);
	*ret = drops;
	return 0;
}

static void on_begin_closed(uv_handle_t *handle)
{
	struct kernel_drops *drops = handle->data;

	drops->begin_closed = true;
	free_when_closed(drops);
}

void kernel_drops_close(struct kernel_drops *drops)
{
	struct kernel_watch *watch, *next;

	if (!drops)
		return;
	DL_FOREACH_SAFE(drops->watches, watch, next)
	{
		DL_DELETE(drops->watches, watch);
		watch->drops = NULL; /* its owner frees it */
	}
	if (drops->state == DROPS_ON)
		detach(drops);
	drops->closed = true;
	uv_close((uv_handle_t *)&drops->begin, on_begin_closed);
}
