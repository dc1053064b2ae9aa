/* SPDX-License-Identifier: Apache-2.0 */
/* The operation "explain": on what is in force, or on a private world in which more objects are. */
#include "agent/explain/explain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/explain/explain_flows.h"
#include "agent/kernel/flows_scan.h"
#include "agent/reconcile/sandbox.h"

/* A private world for one question at a time: it takes memory and a CPU for some tenths of a
 * second. */
#define WORLD_ENTRIES_MIN 4096
/* What is read is in force at once, as a rule. A question does not wait longer. */
#define PENDING_MS 1000

static bool busy;
static int run_error =
	-ENOEXEC; /* why the programs that live questions are put to are not loaded */

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

static void reply(struct control_request *request, int r, struct explain *explain)
{
	json_t *document = r == 0 ? explain_document(explain) : NULL;

	if (document)
		json_object_set_new(document, "hypothetical", json_boolean(explain->run != NULL));
	if (r < 0 && explain->error[0])
		control_fail(request, -r, explain->error, NULL);
	else
		show_reply(request, document);
}

/* ---------------------------------------------------------------- the flows that there are */

/* Between two looks at the flows a name may become another pod's; then it is looked again. */
#define LOOKS_MAX 3

/* A question whose flows are looked for beside the loop. */
struct asking {
	struct flows_scan scan; /* first: on_looked() is given it */
	struct explain_flows flows;
	struct control_request *request;
	json_t *args;
	struct show_sources sources; /* a private world's, or what is in force */
	struct maps *live_maps;
	struct test_run *run; /* NULL: the node's programs are run, apart from its traffic */
	unsigned int looks;
	void (*ended)(void *data); /* NULL: nobody wants to know */
	void *data;
};

static void asking_end(struct asking *asking)
{
	void (*ended)(void *data) = asking->ended;
	void *data = asking->data;

	json_decref(asking->args);
	free(asking);
	if (ended)
		ended(data);
}

static struct explain question_of(struct asking *asking)
{
	return (struct explain){.sources = &asking->sources,
				.found = &asking->flows,
				.run = asking->run,
				.run_error = run_error,
				.live_generation = maps_control(asking->live_maps)->generation};
}

static int look(struct asking *asking, const struct explain *explain)
{
	explain_flows_ask(&asking->flows, explain);
	asking->looks++;
	return flows_scan_start(asking->sources.loop, &asking->scan);
}

/* All objects may be others than when the look began: the question is parsed again. */
static void on_looked(struct flows_scan *scan, int r)
{
	struct asking *asking = (struct asking *)scan;
	struct explain explain = question_of(asking);

	if (r == 0)
		r = explain_parse(&explain, asking->args);
	if (r == 0 && !explain_flows_are_of(&asking->flows, &explain) &&
	    asking->looks < LOOKS_MAX && look(asking, &explain) == 0) {
		explain_clear(&explain);
		return;
	}
	if (r == 0)
		r = ask_methods(&explain);
	reply(asking->request, r, &explain);
	explain_clear(&explain);
	asking_end(asking);
}

/* Takes nothing. NULL: no memory. */
static struct asking *asking_new(struct control_request *request, const json_t *args,
				 const struct show_sources *live)
{
	struct asking *asking = calloc(1, sizeof(*asking));

	if (!asking)
		return NULL;
	asking->request = request;
	asking->args = json_deep_copy(args);
	asking->sources = *live;
	asking->live_maps = live->maps;
	asking->scan = (struct flows_scan){.maps = flows_maps_of(live->maps),
					   .visit = explain_flows_look,
					   .done = on_looked,
					   .data = &asking->flows};
	return asking;
}

/* Answers, and frees it. */
static void ask(struct asking *asking)
{
	struct explain explain = question_of(asking);
	int r = explain_parse(&explain, asking->args);

	if (r == 0)
		r = look(asking, &explain);
	if (r < 0) {
		reply(asking->request, r, &explain);
		asking_end(asking);
	}
	explain_clear(&explain);
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
	struct asking *asking = asking_new(request, args, sources);

	if (asking)
		ask(asking);
	else
		show_reply(request, NULL);
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
	struct object_list objects; /* staged, */
	struct object **shares;	    /* and those of the store at one moment */
	size_t share_count;
	struct config config;
	struct node node;
	struct sandbox *sandbox;
	int result;
	char message[512];
};

/* In the loop: who gives the last share of an object back may be its thread alone. */
static void hypothesis_free(void *data)
{
	struct hypothesis *h = data;

	sandbox_close(h->sandbox);
	for (size_t i = 0; i < h->share_count; i++)
		object_free(h->shares[i]);
	free(h->shares);
	node_clear(&h->node);
	object_list_clear(&h->objects);
	json_decref(h->args);
	free(h);
	busy = false;
}

static void fail(struct hypothesis *h, int r)
{
	control_fail(h->request, -r, h->message[0] ? h->message : strerror(-r), NULL);
	hypothesis_free(h);
}

static void answer_hypothesis(struct hypothesis *h)
{
	struct asking *asking = asking_new(h->request, h->args, h->live);

	if (!asking) {
		fail(h, -ENOMEM);
		return;
	}
	asking->run = sandbox_test_run(h->sandbox);
	asking->sources.config = &h->config;
	asking->sources.node = &h->node;
	asking->sources.store = sandbox_store(h->sandbox);
	asking->sources.services = sandbox_services(h->sandbox);
	asking->sources.policy_sync = sandbox_policy_sync(h->sandbox);
	asking->sources.maps = sandbox_maps(h->sandbox);
	asking->sources.datapath = sandbox_datapath(h->sandbox);
	asking->sources.flows = sandbox_flows(h->sandbox);
	asking->sources.events = NULL;
	asking->ended = hypothesis_free;
	asking->data = h;
	ask(asking);
}

/* Shares of its own: the loop's keep all objects until hypothesis_free(). */
static int put_objects(struct hypothesis *h)
{
	int r = 0;

	for (size_t i = 0; i < h->share_count && r == 0; i++)
		r = sandbox_put(h->sandbox, object_share(h->shares[i]));
	for (size_t i = 0; i < h->objects.count && r == 0; i++)
		r = sandbox_put(h->sandbox, object_share(h->objects.objects[i]));
	return r;
}

/* Beside the loop: all objects are compiled. */
static void bring_in_force(uv_work_t *work)
{
	struct hypothesis *h = work->data;
	bool again = false;
	int r = put_objects(h);

	if (r == 0)
		r = sandbox_run(h->sandbox, &again);
	sandbox_commit(h->sandbox);
	if (r == 0 && again)
		r = sandbox_run(h->sandbox, &again);
	if (r < 0)
		snprintf(h->message, sizeof(h->message), "the objects cannot be tried: %s",
			 strerror(-r));
	h->result = r;
}

static void on_in_force(uv_work_t *work, int status)
{
	struct hypothesis *h = work->data;
	int r = status < 0 ? status : h->result;

	if (r == 0)
		answer_hypothesis(h);
	else
		fail(h, r);
}

static int attach_pods(struct hypothesis *h)
{
	int r = 0;

	for (size_t i = 0; i < pods_count(h->live->pods) && r == 0; i++) {
		const struct local_pod *pod = pods_at(h->live->pods, i);

		if (!pod->gone)
			r = sandbox_attach(h->sandbox, pod);
	}
	return r;
}

static int share_objects(struct hypothesis *h)
{
	enum object_kind kind;
	size_t room = 0, count, i;

	for (kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		room += store_count(h->live->store, kind);
	h->shares = calloc(room + 1, sizeof(struct object *));
	if (!h->shares)
		return -ENOMEM;
	for (kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
		const struct object *const *objects = store_objects(h->live->store, kind, &count);

		for (i = 0; i < count; i++)
			h->shares[h->share_count++] = object_share(objects[i]);
	}
	return 0;
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
		r = attach_pods(h);
	if (r == 0)
		r = share_objects(h);
	if (r == 0)
		r = uv_queue_work(h->live->loop, &h->work, bring_in_force, on_in_force);
	if (r < 0)
		fail(h, r);
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
		r = node_copy(sources->node, &h->node);
	if (r == 0)
		r = uv_queue_work(sources->loop, &h->work, make_world, on_world);
	if (r < 0)
		fail(h, r);
}

static void explain_request(struct control_request *request, const json_t *args, int netns_fd,
			    void *data)
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

int explain_register(struct control_server *server, const struct show_sources *sources)
{
	int r = control_register(server, "explain", explain_request, (void *)sources);

	return r < 0 ? r
		     : control_register(server, "policy", explain_policy_request, (void *)sources);
}
