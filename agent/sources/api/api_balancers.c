/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/api_balancers.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/sources/api/api_internal.h"
#include "agent/sources/api/backoff.h"
#include "agent/sources/api/json_span.h"
#include "agent/sources/api/lease.h"

#define REQUEST_MS   5000
#define BODY_MAX     (1u << 20)
#define FORBIDDEN_MS 60000
/* The Lease lasts so long, and is renewed at half of it while there is work. */
#define LEASE_SECONDS 15
#define RENEW_MS      (LEASE_SECONDS * 500)
/* For each agent that is to try before this one. */
#define PLACE_MS 500
/* Another one holds it: looked at again. */
#define HELD_MS 2000
/* Nothing can be written at the moment: what was written has to come back by the watch. */
#define LATER_MS 100
/* After the last write, should more come. */
#define IDLE_MS	 3000
#define SERVICES 3 /* of the resources */
#define NEVER	 UINT64_MAX

enum step { STEP_READ, STEP_TAKE, STEP_RELEASE, STEP_WRITE };

struct api_balancers {
	struct api_source *source;
	struct balancer_hooks hooks;
	char node[LIMIT_NAME + 1], namespace[LIMIT_NAMESPACE + 1];
	struct backoff backoff;
	uint64_t due_ms;
	uint64_t work_ms; /* since when there is something to write; 0: there is not */
	char told[WRITE_KINDS][400];
	uint64_t results[WRITE_KINDS][WRITE_RESULTS];

	bool known; /* the Lease has been read lately */
	bool exists;
	struct lease lease;
	uint64_t seen_ms; /* when it was seen first as it is */
	bool held;
	uint64_t held_ms; /* since its last renewal */
	uint64_t idle_ms; /* the last write */

	struct http_request *request; /* NULL: none is on its way */
	enum step step;
	struct lease wanted;
	struct balancer_write write;
	uint64_t asked_ms;
	int status;
	uint64_t retry_after_ms;
	char *body;
	size_t length;
};

/* ---------------------------------------------------------------- life */

int api_balancers_new(struct api_source *source, const char *node, const char *namespace,
		      const struct balancer_hooks *hooks, struct api_balancers **ret)
{
	struct api_balancers *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->source = source;
	b->hooks = *hooks;
	snprintf(b->node, sizeof(b->node), "%s", node);
	snprintf(b->namespace, sizeof(b->namespace), "%s", namespace);
	*ret = b;
	return 0;
}

static void forget_answer(struct api_balancers *b)
{
	b->request = NULL;
	free(TAKE_PTR(b->body));
	b->length = 0;
	b->status = 0;
	b->retry_after_ms = 0;
}

void api_balancers_free(struct api_balancers *b)
{
	if (!b)
		return;
	http_request_cancel(b->request);
	forget_answer(b);
	free(b);
}

/* ---------------------------------------------------------------- what is wrong */

static enum write_kind kind_of(const struct api_balancers *b)
{
	return b->step == STEP_WRITE ? WRITE_ADDRESS : WRITE_LEASE;
}

static void tell(struct api_balancers *b, enum write_kind kind, const char *text)
{
	char origin[32];
	struct error error;

	if (strcmp(b->told[kind], text) == 0)
		return;
	snprintf(b->told[kind], sizeof(b->told[kind]), "%s", text);
	snprintf(origin, sizeof(origin), "api:write/%s", write_kind_names[kind]);
	if (text[0]) {
		log_error("api", "%s", text);
		error_at(&error, -EIO, "", "%s", text);
	} else {
		log_info("api", "the %s can be written again", write_kind_names[kind]);
	}
	store_set_problem(b->source->store, origin, text[0] ? &error : NULL);
}

static void tell_refusal(struct api_balancers *b)
{
	enum write_kind kind = kind_of(b);
	char text[400], words[160] = "";
	struct span body = {b->body ? b->body : "", b->length, true};

	span_text(body, "message", words, sizeof(words));
	snprintf(text, sizeof(text),
		 "addresses of load balancers cannot be given: %s of %s is refused with status "
		 "%d%s: %.100s",
		 kind == WRITE_LEASE ? "\"get\", \"create\" or \"update\"" : "\"patch\"",
		 kind == WRITE_LEASE ? "the Lease " BALANCER_LEASE : "\"services/status\"",
		 b->status,
		 b->status == 403 ? "; grant it, see deploy/kubernetes/rbac-load-balancer.yaml"
				  : "",
		 words);
	tell(b, kind, text);
}

/* ---------------------------------------------------------------- the Lease */

static void see_lease(struct api_balancers *b, const struct lease *lease, uint64_t now)
{
	bool same = b->exists && strcmp(b->lease.version, lease->version) == 0;

	b->lease = *lease;
	b->exists = b->known = true;
	if (!same)
		b->seen_ms = now;
}

/* By this clock alone: others' may be wrong. */
static bool is_free(const struct api_balancers *b, uint64_t now)
{
	return !b->exists || !b->lease.holder[0] || strcmp(b->lease.holder, b->node) == 0 ||
	       now - b->seen_ms >= 1000ull * b->lease.seconds;
}

static bool is_valid(const struct api_balancers *b, uint64_t now)
{
	return b->held && now - b->held_ms < 1000ull * LEASE_SECONDS;
}

/* Has the watch come to what the holder before wrote? Only then is it known which addresses are
 * given. */
static bool is_current(const struct api_balancers *b)
{
	struct watch_state state;

	watch_read_state(b->source->resources[SERVICES].watch, &state);
	return state.current && state.version >= b->lease.written;
}

/* ---------------------------------------------------------------- answers */

static void wait_for(struct api_balancers *b, uint64_t ms)
{
	if (b->retry_after_ms > ms)
		ms = b->retry_after_ms;
	b->due_ms = api_now(b->source) + ms;
}

static void wait_backoff(struct api_balancers *b)
{
	wait_for(b, backoff_next(&b->backoff, api_random(b->source)));
}

static enum write_result result_of(const struct api_balancers *b, const char *failure)
{
	int status = b->status;

	if (failure || !status || status == 401 || status == 408 || status == 429 || status >= 500)
		return WRITE_FAILED;
	if (status < 300)
		return WRITE_DONE;
	return status == 409 ? WRITE_CONFLICT : WRITE_REFUSED;
}

/* The answer is the Lease as it is now. */
static bool take_lease(struct api_balancers *b, uint64_t now)
{
	struct lease lease;

	if (!b->body || lease_read(b->body, b->length, &lease) < 0)
		return false;
	see_lease(b, &lease, now);
	return true;
}

static void lease_answered(struct api_balancers *b, enum write_result result, uint64_t now)
{
	if (b->step == STEP_READ && b->status == 404) {
		b->known = true;
		b->exists = false;
		return;
	}
	if (result == WRITE_CONFLICT || (result == WRITE_REFUSED && b->status == 404)) {
		b->held = b->known = false;
		wait_for(b, LATER_MS);
		return;
	}
	if (result != WRITE_DONE || !take_lease(b, now)) {
		b->held = b->known = false;
		tell_refusal(b);
		wait_for(b, FORBIDDEN_MS);
		return;
	}
	if (b->step == STEP_READ)
		return;
	if (b->step == STEP_TAKE && !b->held)
		log_debug("api", "the Lease %s is taken", BALANCER_LEASE);
	b->held = b->step == STEP_TAKE;
	b->held_ms = b->asked_ms;
	if (b->step == STEP_TAKE && !b->idle_ms)
		b->idle_ms = now;
}

static uint64_t version_of_answer(const struct api_balancers *b)
{
	struct span body = {b->body ? b->body : "", b->length, true}, meta;
	char version[LIMIT_VERSION + 1];

	if (!span_member(body, "metadata", &meta) ||
	    !span_text(meta, "resourceVersion", version, sizeof(version)))
		return 0;
	return strtoull(version, NULL, 10);
}

static void write_answered(struct api_balancers *b, enum write_result result, uint64_t now)
{
	uint64_t version = result == WRITE_DONE ? version_of_answer(b) : 0;

	b->idle_ms = now;
	/* It has gone, or its namespace goes: the watch tells. */
	if (result == WRITE_REFUSED && b->status != 404) {
		tell_refusal(b);
		wait_for(b, FORBIDDEN_MS);
		return;
	}
	if (version > b->lease.written)
		b->lease.written = version;
	b->hooks.written(&b->write, version, b->hooks.data);
	if (result == WRITE_DONE)
		log_info("api", "Service %s/%s: its load balancer's addresses are written",
			 b->write.namespace, b->write.name);
	else
		wait_for(b, LATER_MS);
}

static void finish(struct api_balancers *b, const char *failure)
{
	enum write_result result = result_of(b, failure);
	uint64_t now = api_now(b->source);

	b->results[kind_of(b)][result]++;
	if (b->status == 401)
		b->source->credentials_due_ms = 0;
	if (result == WRITE_FAILED) {
		log_debug("api", "write of %s: status %d: %s", write_kind_names[kind_of(b)],
			  b->status, failure ? failure : "failed");
		/* Whether it was carried out nobody knows. */
		b->known = false;
		wait_backoff(b);
		return;
	}
	backoff_reset(&b->backoff);
	if (result == WRITE_DONE)
		tell(b, kind_of(b), "");
	if (b->step == STEP_WRITE)
		write_answered(b, result, now);
	else
		lease_answered(b, result, now);
}

static void on_head(int status, const char *type, unsigned int retry_after, void *data)
{
	struct api_balancers *b = data;

	(void)type;
	b->status = status;
	b->retry_after_ms = 1000ull * (retry_after > 30 ? 30 : retry_after);
	api_heard(b->source);
}

static int on_body(const char *bytes, size_t length, void *data)
{
	struct api_balancers *b = data;
	char *longer;

	if (length > BODY_MAX - b->length)
		return -EFBIG;
	longer = realloc(b->body, b->length + length + 1);
	if (!longer)
		return -ENOMEM;
	b->body = longer;
	memcpy(longer + b->length, bytes, length);
	b->length += length;
	longer[b->length] = '\0';
	return 0;
}

static void on_end(const char *failure, void *data)
{
	struct api_balancers *b = data;

	finish(b, failure);
	forget_answer(b);
	api_schedule(b->source);
}

static const struct http_handlers handlers = {on_head, on_body, on_end};

/* ---------------------------------------------------------------- requests */

static void send_to(struct api_balancers *b, enum step step, const struct api_question *what)
{
	int r;

	b->step = step;
	b->asked_ms = api_now(b->source);
	r = api_ask(b->source, what, &handlers, b, &b->request);
	if (r == 0)
		return;
	b->request = NULL;
	finish(b, strerror(-r));
}

static void read_lease(struct api_balancers *b)
{
	char query[512];

	snprintf(query, sizeof(query), "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s",
		 b->namespace, BALANCER_LEASE);
	send_to(b, STEP_READ, &(struct api_question){.query = query, .timeout_ms = REQUEST_MS});
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Taken, renewed, or let go. */
static void put_lease(struct api_balancers *b, enum step step)
{
	struct lease wanted = b->exists ? b->lease : (struct lease){};
	CLEANUP(cleanup_free) char *body = NULL;
	char query[512];

	if (step == STEP_TAKE && strcmp(wanted.holder, b->node) != 0)
		wanted.transitions++;
	snprintf(wanted.holder, sizeof(wanted.holder), "%s", step == STEP_TAKE ? b->node : "");
	wanted.seconds = LEASE_SECONDS;
	body = lease_text(&wanted, b->namespace, BALANCER_LEASE, now_us());
	if (!body) {
		wait_backoff(b);
		return;
	}
	snprintf(query, sizeof(query), "/apis/coordination.k8s.io/v1/namespaces/%s/leases%s%s",
		 b->namespace, b->exists ? "/" : "", b->exists ? BALANCER_LEASE : "");
	send_to(b, step,
		&(struct api_question){.method = b->exists ? "PUT" : "POST",
				       .query = query,
				       .body = body,
				       .type = "application/json",
				       .timeout_ms = REQUEST_MS});
}

/* A merge patch that the server refuses if the Service has been changed since. */
static char *patch_of(const struct balancer_write *write)
{
	CLEANUP(cleanup_json) json_t *patch = NULL;
	json_t *list = json_array();
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < write->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "ip",
						      addr_format(&write->addrs[i], text), "ipMode",
						      "VIP"));
	patch = json_pack("{s:{s:s}, s:{s:{s:o}}}", "metadata", "resourceVersion", write->version,
			  "status", "loadBalancer", "ingress", list);
	return patch ? json_dumps(patch, JSON_COMPACT) : NULL;
}

static void patch_service(struct api_balancers *b)
{
	CLEANUP(cleanup_free) char *body = patch_of(&b->write);
	char query[LIMIT_NAMESPACE + LIMIT_NAME + 64];

	if (!body) {
		wait_backoff(b);
		return;
	}
	snprintf(query, sizeof(query), "/api/v1/namespaces/%s/services/%s/status",
		 b->write.namespace, b->write.name);
	send_to(b, STEP_WRITE,
		&(struct api_question){.method = "PATCH",
				       .query = query,
				       .body = body,
				       .type = "application/merge-patch+json",
				       .timeout_ms = REQUEST_MS});
}

/* ---------------------------------------------------------------- what is due */

/* The Lease is ours: something to write, or it is let go. */
static void work(struct api_balancers *b, uint64_t now)
{
	if (now - b->held_ms >= RENEW_MS)
		put_lease(b, STEP_TAKE);
	else if (is_current(b) && b->hooks.next(&b->write, b->hooks.data))
		patch_service(b);
	else if (!b->work_ms && now - b->idle_ms >= IDLE_MS)
		put_lease(b, STEP_RELEASE);
	else
		b->due_ms = now + LATER_MS;
}

static void seek(struct api_balancers *b, uint64_t now)
{
	b->held = false;
	b->idle_ms = 0;
	if (!b->known) {
		read_lease(b);
	} else if (is_free(b, now)) {
		put_lease(b, STEP_TAKE);
	} else {
		b->known = false;
		b->due_ms = now + HELD_MS;
	}
}

/* Since when there is something, and when this one is to try. */
static void note_work(struct api_balancers *b, uint64_t now)
{
	if (!b->hooks.wants(b->hooks.data)) {
		b->work_ms = 0;
	} else if (!b->work_ms) {
		b->work_ms = now ? now : 1;
		if (!b->held && b->due_ms <= now)
			b->due_ms = now + PLACE_MS * (uint64_t)b->hooks.place(b->hooks.data);
	}
}

void api_balancers_run(struct api_balancers *b, uint64_t now)
{
	if (!b || b->request || !b->source->connected)
		return;
	note_work(b, now);
	if (b->due_ms > now || (!b->work_ms && !b->held))
		return;
	if (is_valid(b, now))
		work(b, now);
	else if (b->work_ms)
		seek(b, now);
	else
		b->held = false;
}

uint64_t api_balancers_due(struct api_balancers *b, uint64_t now)
{
	if (!b || b->request || !b->source->connected)
		return NEVER;
	note_work(b, now);
	return b->work_ms || b->held ? b->due_ms : NEVER;
}

void api_balancers_cut(struct api_balancers *b)
{
	if (!b || !b->request)
		return;
	http_request_cancel(b->request);
	finish(b, "the connection is closed");
	forget_answer(b);
}

void api_balancers_hurry(struct api_balancers *b)
{
	if (!b)
		return;
	backoff_reset(&b->backoff);
	b->due_ms = 0;
}

void api_balancers_status(const struct api_balancers *b, struct write_status ret[WRITE_KINDS])
{
	for (enum write_kind kind = WRITE_LANES; kind < WRITE_KINDS; kind++) {
		ret[kind].error = b ? b->told[kind] : "";
		if (b)
			memcpy(ret[kind].results, b->results[kind], sizeof(b->results[kind]));
		else
			memset(ret[kind].results, 0, sizeof(ret[kind].results));
	}
}

const char *api_balancers_holder(const struct api_balancers *b)
{
	return b && b->exists ? b->lease.holder : "";
}
