/* SPDX-License-Identifier: Apache-2.0 */
/* The operation "explain": on what is in force, or on a private world in which more objects are. */
#include "agent/explain/explain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/explain/explain_internal.h"
#include "agent/reconcile/sandbox.h"

/* A private world for one question at a time: it takes memory and a CPU for some tenths of a
 * second. */
#define WORLD_ENTRIES_MIN 4096
/* What is read is in force at once, as a rule. A question does not wait longer. */
#define PENDING_MS 1000

static bool busy;
static int run_error =
	-ENOEXEC; /* why the programs that live questions are put to are not loaded */

static struct explain live_question(const struct show_sources *sources)
{
	return (struct explain){.sources = sources,
				.live_flows = sources->flows,
				.run_error = run_error,
				.live_generation = maps_control(sources->maps)->generation};
}

static void explain_clear(struct explain *explain)
{
	for (size_t i = 0; i < explain->path_count; i++) {
		evaluate_answer_clear(&explain->paths[i].answer);
		free(explain->paths[i].held[EGRESS]);
		free(explain->paths[i].held[INGRESS]);
	}
	free(explain->paths);
	free(explain->policies);
	json_decref(explain->flows);
}

/* The three ways, one after the other. 0, -ENOMEM. */
static int ask_methods(struct explain *explain)
{
	int r = explain_gather(explain);

	if (r == 0)
		r = explain_find_paths(explain);
	for (size_t i = 0; r == 0 && i < explain->path_count; i++) {
		r = explain_ask_objects(explain, &explain->paths[i]);
		if (r == 0)
			explain_ask_maps(explain, &explain->paths[i]);
	}
	if (r == 0)
		explain_ask_program(explain);
	return r;
}

static void answer(struct control_request *request, const json_t *args, struct explain *explain)
{
	int r = explain_parse(explain, args);
	json_t *document = NULL;

	if (r == 0)
		r = ask_methods(explain);
	if (r == 0)
		document = explain_document(explain);
	if (document)
		json_object_set_new(document, "hypothetical", json_boolean(explain->run != NULL));
	if (r < 0 && explain->error[0])
		control_fail(request, -r, explain->error, NULL);
	else
		show_reply(request, document);
	explain_clear(explain);
}

/* ---------------------------------------------------------------- what is in force */

/* A question that came between a change's reading and the run that puts it in force. */
struct deferred {
	struct reconciler_wait wait;
	uv_timer_t timer;
	struct control_request *request;
	const struct show_sources *sources;
	explain_answer *answer;
	json_t *args;
};

static bool is_pending(const struct show_sources *sources)
{
	struct reconciler_progress progress;

	reconciler_progress(sources->reconciler, &progress);
	return progress.synced && progress.pending;
}

static void answer_live(struct control_request *request, const json_t *args,
			const struct show_sources *sources)
{
	struct explain explain = live_question(sources);

	answer(request, args, &explain);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void answer_deferred(struct deferred *d)
{
	d->answer(d->request, d->args, d->sources);
	json_decref(d->args);
	uv_close((uv_handle_t *)&d->timer, on_closed);
}

static void on_held(void *data)
{
	answer_deferred(data);
}

static void on_late(uv_timer_t *timer)
{
	struct deferred *d = timer->data;

	reconciler_cancel(d->sources->reconciler, &d->wait);
	answer_deferred(d);
}

void explain_when_in_force(struct control_request *request, const json_t *args,
			   const struct show_sources *sources, explain_answer *answer)
{
	struct deferred *d = is_pending(sources) ? calloc(1, sizeof(*d)) : NULL;

	if (!d || uv_timer_init(sources->loop, &d->timer) < 0) {
		free(d);
		answer(request, args, sources);
		return;
	}
	d->request = request;
	d->answer = answer;
	d->sources = sources;
	d->args = json_deep_copy(args);
	d->timer.data = d;
	d->wait = (struct reconciler_wait){
		.change = reconciler_change(sources->reconciler), .call = on_held, .data = d};
	uv_timer_start(&d->timer, on_late, PENDING_MS, 0);
	reconciler_after(sources->reconciler, &d->wait);
}

/* Loads the programs that live questions are put to, beside the loop: the kernel verifies them.
 * Once; two questions at once may do it twice. */
struct loading {
	uv_work_t work;
	struct control_request *request;
	const struct show_sources *sources;
	json_t *args;
	struct datapath *apart;
	int result;
	char message[512];
};

static void load(uv_work_t *work)
{
	struct loading *l = work->data;

	l->result = datapath_load_apart(l->sources->datapath, &l->apart, l->message,
					sizeof(l->message));
}

static void on_loaded(uv_work_t *work, int status)
{
	struct loading *l = work->data;

	run_error = status < 0 ? status : l->result;
	if (l->apart)
		datapath_keep_apart(l->sources->datapath, l->apart);
	else
		log_warning("explain", "the loaded program cannot be run: %s",
			    l->message[0] ? l->message : strerror(-run_error));
	explain_when_in_force(l->request, l->args, l->sources, answer_live);
	json_decref(l->args);
	free(l);
}

static void explain_live(struct control_request *request, const json_t *args,
			 const struct show_sources *sources)
{
	struct loading *l = datapath_apart(sources->datapath) ? NULL : calloc(1, sizeof(*l));

	if (l) {
		*l = (struct loading){
			.request = request, .sources = sources, .args = json_deep_copy(args)};
		l->work.data = l;
		if (uv_queue_work(sources->loop, &l->work, load, on_loaded) == 0)
			return;
		json_decref(l->args);
		free(l);
	}
	explain_when_in_force(request, args, sources, answer_live);
}

/* ---------------------------------------------------------------- as if these objects were there
 */

struct hypothesis {
	uv_work_t work;
	struct control_request *request;
	const struct show_sources *live;
	json_t *args;
	struct object_list objects;
	struct config config;
	struct node node;
	struct sandbox *sandbox;
	int result;
	char message[512];
};

static void hypothesis_free(struct hypothesis *h)
{
	sandbox_close(h->sandbox);
	free(h->node.addresses);
	object_list_clear(&h->objects);
	json_decref(h->args);
	free(h);
	busy = false;
}

static int overlay(struct hypothesis *h)
{
	int r = sandbox_put_store(h->sandbox, h->live->store);

	for (size_t i = 0; i < h->objects.count && r == 0; i++)
		r = sandbox_put(h->sandbox, TAKE_PTR(h->objects.objects[i]));
	h->objects.count = 0;
	for (size_t i = 0; i < pods_count(h->live->pods) && r == 0; i++) {
		const struct local_pod *pod = pods_at(h->live->pods, i);

		if (!pod->gone)
			r = sandbox_attach(h->sandbox, pod);
	}
	return r;
}

static int bring_in_force(struct hypothesis *h)
{
	bool again = false;
	int r = overlay(h);

	if (r == 0)
		r = sandbox_run(h->sandbox, &again);
	sandbox_commit(h->sandbox);
	if (r == 0 && again)
		r = sandbox_run(h->sandbox, &again);
	if (r < 0)
		snprintf(h->message, sizeof(h->message), "the objects cannot be tried: %s",
			 strerror(-r));
	return r;
}

static void answer_hypothesis(struct hypothesis *h)
{
	struct show_sources sources = *h->live;
	struct explain explain = live_question(h->live);

	explain.sources = &sources;
	explain.run = sandbox_test_run(h->sandbox);
	sources.config = &h->config;
	sources.node = &h->node;
	sources.store = sandbox_store(h->sandbox);
	sources.services = sandbox_services(h->sandbox);
	sources.policy_sync = sandbox_policy_sync(h->sandbox);
	sources.maps = sandbox_maps(h->sandbox);
	sources.datapath = sandbox_datapath(h->sandbox);
	sources.flows = sandbox_flows(h->sandbox);
	sources.events = NULL;
	answer(h->request, h->args, &explain);
}

/* Beside the loop: the kernel verifies the programs. */
static void make_world(uv_work_t *work)
{
	struct hypothesis *h = work->data;

	h->result = sandbox_open(&h->config, &h->node, NULL, &h->sandbox, h->message,
				 sizeof(h->message));
}

static void on_world(uv_work_t *work, int status)
{
	struct hypothesis *h = work->data;
	int r = status < 0 ? status : h->result;

	if (r == 0)
		r = bring_in_force(h);
	if (r == 0)
		answer_hypothesis(h);
	else
		control_fail(h->request, -r, h->message, NULL);
	hypothesis_free(h);
}

/* What the world of another thread may not share with the loop. */
static int copy_node(const struct node *from, struct node *to)
{
	*to = *from;
	to->addresses = calloc(from->address_count + 1, sizeof(*to->addresses));
	if (!to->addresses)
		return -ENOMEM;
	memcpy(to->addresses, from->addresses, from->address_count * sizeof(*to->addresses));
	return 0;
}

/* 0, -EINVAL with h->message, -ENOMEM. */
static int decode_objects(struct hypothesis *h, const json_t *objects)
{
	struct error error = {};
	char *text = json_dumps(objects, JSON_COMPACT);
	int r = text ? objects_decode(text, strlen(text), &h->objects, &error) : -ENOMEM;

	if (r == -EINVAL || r == -EFBIG)
		snprintf(h->message, sizeof(h->message), "%.200s: %.300s", error.path, error.text);
	free(text);
	return r;
}

static uint32_t world_entries(const struct show_sources *sources)
{
	uint32_t entries = WORLD_ENTRIES_MIN;
	size_t count =
		store_count(sources->store, OBJECT_POD) + store_count(sources->store, OBJECT_NODE);

	while (entries < 8 * count || entries < sources->config->max_policy_entries)
		entries *= 2;
	return entries;
}

static void begin_hypothesis(struct control_request *request, const json_t *args,
			     const struct show_sources *sources)
{
	struct hypothesis *h = busy ? NULL : calloc(1, sizeof(*h));
	int r;

	if (busy || !h) {
		control_fail(request, busy ? EBUSY : ENOMEM,
			     busy ? "another question with --with is being answered; try again in "
				    "a moment"
				  : "no memory",
			     NULL);
		return;
	}
	busy = true;
	h->request = request;
	h->live = sources;
	h->work.data = h;
	h->config = sandbox_config_small(sources->config, world_entries(sources));
	h->args = json_deep_copy(args);
	r = decode_objects(h, json_object_get(args, "objects"));
	if (r == 0)
		r = copy_node(sources->node, &h->node);
	if (r == 0)
		r = uv_queue_work(sources->loop, &h->work, make_world, on_world);
	if (r < 0) {
		control_fail(request, -r, h->message[0] ? h->message : strerror(-r), NULL);
		hypothesis_free(h);
	}
}

void explain_request(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	const json_t *objects = json_object_get(args, "objects");

	if (!objects || json_is_null(objects))
		explain_live(request, args, sources);
	else if (!json_is_array(objects) && !json_is_object(objects))
		control_fail(request, EINVAL, "objects: expected an array of Kubernetes objects",
			     NULL);
	else
		begin_hypothesis(request, args, sources);
}
