/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/capture/capture.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "agent/common/hex.h"
#include "agent/common/log.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/counters.h"

enum session_state {
	SESSION_WAITS,	 /* for the thread to begin it */
	SESSION_RUNS,	 /* its packets come */
	SESSION_ENDS,	 /* likewise to end it */
	SESSION_STOPPED, /* its packets come no more, its reader is there */
};

/* One reader. */
struct session {
	struct capture *capture;
	enum session_state state;
	uint32_t place; /* in the programs' maps */
	uint64_t number;
	struct control_request *request; /* the reader's stream; NULL: it has hung up */
	struct control_request *stop;	 /* wants to know what was lost; NULL: nobody does */
	struct capture_filter filter;
	int ring; /* the reader's map; -1: put in place, or not wanted any more */
	json_t *lost;
	int result;
	char message[512];
	struct session *prev, *next;
};

/* What takes time is done in a thread, one thing after the other: loading, and waiting for programs
 * that run. */
struct capture {
	struct capture_env env;
	struct event_names names;
	struct session *sessions;
	uint64_t last_number;
	struct datapath *programs; /* NULL: not loaded */
	bool in_force;
	uv_work_t work;
	struct session *at_work; /* NULL: the thread is free */
};

static void go_on(struct capture *capture);

static size_t count_sessions(const struct capture *capture)
{
	const struct session *session;
	size_t count;

	DL_COUNT(capture->sessions, session, count);
	return count;
}

static void session_free(struct session *session)
{
	DL_DELETE(session->capture->sessions, session);
	if (session->ring >= 0)
		close(session->ring);
	json_decref(session->lost);
	free(session);
}

static int map_of(const struct capture *capture, enum capture_map map)
{
	return datapath_capture_map(capture->programs, map);
}

static void set_programs(struct capture *capture, bool in_force)
{
	datapath_use_capture(capture->env.sources->datapath, in_force ? capture->programs : NULL);
	capture->in_force = in_force;
	capture->env.attach(capture->env.data);
}

/* ---------------------------------------------------------------- in the thread */

/* Those of an earlier capture in the same place are forgotten. */
static int forget_lost(const struct capture *capture, uint32_t place)
{
	struct capture_place key, next;
	int fd = map_of(capture, CAPTURE_LOST);
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	while (more) {
		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		if (key.capture == place && bpf_map_delete_elem(fd, &key) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int begin_session(struct session *session)
{
	struct capture *capture = session->capture;
	int r = 0;

	if (!capture->programs)
		r = datapath_load_capture(capture->env.sources->datapath, &capture->programs,
					  session->message, sizeof(session->message));
	if (r == 0)
		r = forget_lost(capture, session->place);
	if (r == 0 && bpf_map_update_elem(map_of(capture, CAPTURE_RINGS), &session->place,
					  &session->ring, BPF_ANY) < 0)
		r = -errno;
	if (r == 0 && bpf_map_update_elem(map_of(capture, CAPTURE_FILTERS), &session->place,
					  &session->filter, BPF_ANY) < 0)
		r = -errno;
	return r;
}

static json_t *lost_document(const struct capture_place *key, const uint64_t *counts, int cpus)
{
	uint64_t packets = 0;

	for (int i = 0; i < cpus; i++)
		packets += counts[i];
	return json_pack("{s:I, s:s, s:I}", "link", (json_int_t)key->ifindex, "hook",
			 hook_name(key->hook), "packets", (json_int_t)packets);
}

/* Packets for which the ring had no room: an array; NULL: it cannot be told. */
static json_t *read_lost(const struct capture *capture, uint32_t place)
{
	int fd = map_of(capture, CAPTURE_LOST), cpus = libbpf_num_possible_cpus();
	uint64_t *counts = cpus > 0 ? calloc(cpus, sizeof(*counts)) : NULL;
	json_t *list = counts ? json_array() : NULL;
	struct capture_place key;
	bool more = list && bpf_map_get_next_key(fd, NULL, &key) == 0;

	while (more) {
		if (key.capture == place && bpf_map_lookup_elem(fd, &key, counts) == 0)
			json_array_append_new(list, lost_document(&key, counts, cpus));
		more = bpf_map_get_next_key(fd, &key, &key) == 0;
	}
	free(counts);
	return list;
}

/* That the ring is taken away waits for the programs that have it. */
static void end_session(struct session *session)
{
	struct capture *capture = session->capture;

	if (!capture->programs)
		return;
	(void)bpf_map_delete_elem(map_of(capture, CAPTURE_RINGS), &session->place);
	session->lost = read_lost(capture, session->place);
	if (capture->in_force)
		return;
	datapath_free(capture->programs);
	capture->programs = NULL;
}

static void work_in_thread(uv_work_t *work)
{
	struct capture *capture = work->data;
	struct session *session = capture->at_work;

	if (session->state == SESSION_WAITS)
		session->result = begin_session(session);
	else
		end_session(session);
}

/* ---------------------------------------------------------------- in the loop */

static void answer_stop(struct session *session)
{
	if (session->lost)
		control_reply(session->stop, json_pack("{s:O}", "lost", session->lost));
	else
		control_fail(session->stop, EIO, "capture.stop: what was lost cannot be read",
			     NULL);
	session->stop = NULL;
}

static void on_hang_up(struct control_request *request, void *data)
{
	struct session *session = data;
	struct capture *capture = session->capture;

	session->request = NULL;
	if (session->state == SESSION_STOPPED)
		session_free(session);
	else if (session->state == SESSION_RUNS)
		session->state = SESSION_ENDS;
	go_on(capture);
}

static bool is_last(const struct session *session)
{
	const struct session *other;

	DL_FOREACH(session->capture->sessions, other)
	{
		if (other != session && other->state != SESSION_STOPPED)
			return false;
	}
	return true;
}

/* Nothing is put into its ring by packets that come from now on. */
static void silence(struct session *session)
{
	struct capture *capture = session->capture;
	const struct capture_filter nobodys = {};

	if (capture->programs)
		(void)bpf_map_update_elem(map_of(capture, CAPTURE_FILTERS), &session->place,
					  &nobodys, BPF_ANY);
	if (capture->in_force && is_last(session))
		set_programs(capture, false);
}

static void on_begun(struct session *session)
{
	struct capture *capture = session->capture;
	struct control_request *request = session->request;
	char cause[CAUSE_MAX];

	if (session->result < 0) {
		if (!session->message[0])
			snprintf(session->message, sizeof(session->message),
				 "capture: the maps of its programs cannot be written: %s",
				 cause_of(session->result, cause));
		log_warning("capture", "%s", session->message);
		control_fail(request, -session->result, session->message, NULL);
		session->request = NULL;
		session->state = SESSION_ENDS;
		return;
	}
	close(session->ring);
	session->ring = -1;
	if (!capture->in_force)
		set_programs(capture, true);
	log_info("capture", "capture %llu has begun", (unsigned long long)session->number);
	session->state = SESSION_RUNS;
	control_stream_begin(request, on_hang_up, session);
	if (session->request)
		(void)control_stream_send(request, json_pack("{s:I, s:i}", "capture",
							     (json_int_t)session->number, "record",
							     CAPTURE_VERSION));
}

static void on_ended(struct session *session)
{
	log_info("capture", "capture %llu has ended", (unsigned long long)session->number);
	session->state = SESSION_STOPPED;
	if (session->stop)
		answer_stop(session);
	if (!session->request)
		session_free(session);
}

static void on_worked(uv_work_t *work, int status)
{
	struct capture *capture = work->data;
	struct session *session = capture->at_work;

	capture->at_work = NULL;
	if (status < 0)
		session->result = status;
	if (session->state == SESSION_WAITS)
		on_begun(session);
	else
		on_ended(session);
	go_on(capture);
}

/* The next thing for the thread, if it has time and there is one. */
static void go_on(struct capture *capture)
{
	struct session *session;

	if (capture->at_work)
		return;
	DL_FOREACH(capture->sessions, session)
	{
		if (session->state == SESSION_WAITS || session->state == SESSION_ENDS)
			break;
	}
	if (!session)
		return;
	if (session->state == SESSION_ENDS)
		silence(session);
	capture->at_work = session;
	if (uv_queue_work(capture->env.sources->loop, &capture->work, work_in_thread, on_worked) <
	    0) {
		work_in_thread(&capture->work);
		on_worked(&capture->work, 0);
	}
}

static void on_stop(struct control_request *request, const json_t *args, int fd, void *data)
{
	uint64_t number = (uint64_t)json_integer_value(json_object_get(args, "capture"));
	struct capture *capture = data;
	struct session *session;

	DL_SEARCH_SCALAR(capture->sessions, session, number, number);
	if (!session || session->state == SESSION_WAITS || session->stop) {
		control_fail(request, ENOENT, "capture.stop: there is no capture of this number",
			     NULL);
		return;
	}
	session->stop = request;
	if (session->state == SESSION_STOPPED)
		answer_stop(session);
	else
		session->state = SESSION_ENDS;
	go_on(capture);
}

/* ---------------------------------------------------------------- the beginning */

/* A ring is what the programs can write to. */
static int check_ring(int fd)
{
	struct bpf_map_info info = {};
	uint32_t length = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		return -EBADF;
	return info.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY ? 0 : -EINVAL;
}

/* The first place that no session has. */
static uint32_t free_place(const struct capture *capture)
{
	const struct session *session;
	uint32_t place = 0;

	do {
		DL_SEARCH_SCALAR(capture->sessions, session, place, place);
		place += session != NULL;
	} while (session);
	return place;
}

static int begin(struct capture *capture, struct control_request *request,
		 const struct capture_filter *filter, int ring)
{
	struct session *session = calloc(1, sizeof(*session));
	int r;

	if (!session)
		return -ENOMEM;
	session->ring = fcntl(ring, F_DUPFD_CLOEXEC, 0);
	if (session->ring < 0) {
		r = -errno;
		free(session);
		return r;
	}
	session->capture = capture;
	session->place = free_place(capture);
	session->request = request;
	session->number = ++capture->last_number;
	session->filter = *filter;
	session->filter.active = 1;
	DL_APPEND(capture->sessions, session);
	go_on(capture);
	return 0;
}

static void on_capture(struct control_request *request, const json_t *args, int fd, void *data)
{
	struct capture *capture = data;
	struct capture_filter filter;
	char message[512], cause[CAUSE_MAX];
	int r;

	if (count_sessions(capture) >= CAPTURES_MAX) {
		snprintf(message, sizeof(message),
			 "capture: %d captures are running on this node, each at the cost of every "
			 "packet: end one of them (pgrep -a polderctl), or try again later",
			 CAPTURES_MAX);
		control_fail(request, EBUSY, message, NULL);
		return;
	}
	r = capture_filter_parse(args, capture->env.sources, &filter, message, sizeof(message));
	if (r < 0) {
		control_fail(request, -r, message, NULL);
		return;
	}
	r = check_ring(fd);
	if (r < 0) {
		control_fail(request, -r,
			     "capture: the request needs the descriptor of a map of perf events, "
			     "into which the packets go",
			     NULL);
		return;
	}
	r = begin(capture, request, &filter, fd);
	if (r < 0)
		control_fail(request, -r, "capture: its programs cannot be prepared",
			     cause_of(r, cause));
}

/* ---------------------------------------------------------------- who is who */

/* 0, or -EINVAL: the text is no event, or none that a program could have sent. */
static int read_event(const char *text, struct polder_event *ret)
{
	uint8_t *bytes = (uint8_t *)ret;

	if (!text || strlen(text) != 2 * sizeof(*ret))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(*ret); i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return ret->reason < REASON_COUNT && ret->hook < DROP_HOOKS ? 0 : -EINVAL;
}

static void on_describe(struct control_request *request, const json_t *args, int fd, void *data)
{
	const json_t *list = json_object_get(args, "events");
	const struct capture *capture = data;
	json_t *documents = json_array();
	struct polder_event event;

	if (json_array_size(list) > CAPTURE_DESCRIBE_MAX) {
		control_fail(request, E2BIG, "capture.describe: too many events", NULL);
		json_decref(documents);
		return;
	}
	for (size_t i = 0; documents && i < json_array_size(list); i++) {
		if (read_event(json_string_value(json_array_get(list, i)), &event) < 0) {
			control_fail(request, EINVAL,
				     "capture.describe: events are the bytes of struct "
				     "polder_event, in hexadecimal",
				     NULL);
			json_decref(documents);
			return;
		}
		json_array_append_new(documents, event_document(&event, &capture->names));
	}
	control_reply(request, documents ? json_pack("{s:o}", "events", documents) : NULL);
}

int capture_register(struct control_server *server, const struct capture_env *env,
		     struct capture **ret)
{
	struct capture *capture = calloc(1, sizeof(*capture));
	int r;

	if (!capture)
		return -ENOMEM;
	capture->env = *env;
	capture->work.data = capture;
	show_event_names(env->sources, &capture->names);
	*ret = capture;
	r = control_register(server, "capture", on_capture, capture);
	if (r == 0)
		r = control_register(server, "capture.describe", on_describe, capture);
	return r < 0 ? r : control_register(server, "capture.stop", on_stop, capture);
}

void capture_free(struct capture *capture)
{
	struct session *session, *next;

	if (!capture)
		return;
	DL_FOREACH_SAFE(capture->sessions, session, next)
	session_free(session);
	free(capture);
}
