/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "agent/daemon/agent.h"
#include "agent/common/cni_code.h"
#include "agent/kernel/cause.h"

/* A request of the plugin that is at work. */
struct call {
	struct agent *agent;
	struct control_request *request;
	enum cni_command command;
	uint64_t began_ns;
};

static struct call begin(struct agent *agent, struct control_request *request,
			 enum cni_command command)
{
	return (struct call){agent, request, command, uv_hrtime()};
}

static void count(const struct call *call, int code)
{
	cni_counts_add(&call->agent->cni, call->command, code, uv_hrtime() - call->began_ns);
}

static void fail(const struct call *call, int code, const char *message, const char *details)
{
	count(call, code);
	control_fail(call->request, code, message, details);
}

static void answer(const struct call *call, int r, json_t *result, const struct error *error)
{
	int code = r == 0 ? 0 : error->code ? error->code : CNI_IO_FAILURE;
	const char *details = error->details[0] ? error->details : NULL;
	char cause[CAUSE_MAX];

	if (!details && (r == -EMFILE || r == -ENFILE || r == -ENOMEM))
		details = cause_of(r, cause);
	count(call, code);
	if (r == 0)
		control_reply(call->request, result ? result : json_object());
	else
		control_fail(call->request, code,
			     error->text[0] ? error->text : strerror(r < 0 ? -r : EIO), details);
}

/* The kernel needs some milliseconds to bring a pod's links up, and seconds where many containers
 * come and go: all wait for one lock of its own. It is asked less often then. */
#define ADD_POLL_MS	 1
#define ADD_POLL_LATE_MS 20
#define ADD_LATE_NS	 100000000ull
#define ADD_LIMIT_NS	 10000000000ull
/* And the loop so much for all that wait. */
#define ADD_TURN_NS 10000000ull

#define WAITS_FOR_MAX 512

/* A pod whose policies are not in force yet, or whose links are not all up. */
struct agent_add {
	struct call call;
	struct pod_adding *adding;
	struct agent_add *prev, *next;
};

/* Answers if it is done, and frees it: then true. */
static bool poll_add(struct agent *agent, struct agent_add *add)
{
	struct error error = {};
	json_t *result = NULL;
	int r = pods_adding_poll(add->adding, uv_hrtime() - add->call.began_ns > ADD_LIMIT_NS,
				 &result, &error);

	if (r == -EAGAIN)
		return false;
	if (r == 0)
		agent_watch_macs(agent);
	answer(&add->call, r, result, &error);
	DL_DELETE(agent->adds, add);
	free(add);
	agent_attach_settle(agent);
	return true;
}

static bool all_are_late(const struct agent *agent)
{
	const struct agent_add *add;
	uint64_t now = uv_hrtime();

	DL_FOREACH(agent->adds, add)
	{
		if (now - add->call.began_ns < ADD_LATE_NS)
			return false;
	}
	return true;
}

/* A hundred may be set up at the same moment: who had no turn is the first of the next. */
void agent_poll_adds(struct agent *agent)
{
	struct agent_add *add, *last = agent->adds ? agent->adds->prev : NULL;
	const uint64_t began = uv_hrtime();
	bool more = last;

	while (more && uv_hrtime() - began < ADD_TURN_NS) {
		add = agent->adds;
		more = add != last;
		if (poll_add(agent, add))
			continue;
		DL_DELETE(agent->adds, add);
		DL_APPEND(agent->adds, add);
	}
}

/* While a thread attaches programs it has the kernel's lock, for which all that is done here would
 * wait; then it calls agent_poll_adds(). */
static void on_add_timer(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	if (!agent->attaching)
		agent_poll_adds(agent);
	if (!agent->adds)
		uv_timer_stop(timer);
	else
		uv_timer_set_repeat(timer, all_are_late(agent) ? ADD_POLL_LATE_MS : ADD_POLL_MS);
}

void agent_cancel_adds(struct agent *agent)
{
	struct agent_add *add, *next;

	DL_FOREACH_SAFE(agent->adds, add, next)
	{
		pods_adding_cancel(add->adding);
		fail(&add->call, CNI_TRY_AGAIN, "polderd is shutting down",
		     "try again when polderd runs");
		DL_DELETE(agent->adds, add);
		free(add);
	}
}

static void keep_first(const char *origin, const struct error *error, void *data)
{
	char *text = data;

	if (!text[0])
		snprintf(text, WAITS_FOR_MAX, "%.200s: %.200s", origin, error->text);
}

/* What keeps the objects from being read; "" if nothing does, but time. */
static const char *waits_for(const struct agent *agent, char text[WAITS_FOR_MAX])
{
	text[0] = '\0';
	store_problems(agent->store, keep_first, text);
	return text;
}

static void on_add(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct agent *agent = data;
	struct call call = begin(agent, request, COMMAND_ADD);
	struct error error = {};
	char text[WAITS_FOR_MAX];
	struct agent_add *add;
	int r;

	if (!agent_is_synced(agent)) {
		fail(&call, CNI_TRY_AGAIN, "polderd has not read all objects yet",
		     waits_for(agent, text)[0]
			     ? text
			     : "try again in a moment; polderctl status shows what it waits "
			       "for");
		return;
	}
	/* A deletion noted while the agent was away comes before a new attachment of the same name.
	 */
	cni_queue_run(agent->cni_queue);
	add = calloc(1, sizeof(*add));
	r = add ? pods_cni_add(agent->pods, args, netns_fd, &add->adding, &error) : -ENOMEM;
	if (r < 0) {
		free(add);
		answer(&call, r, NULL, &error);
		return;
	}
	add->call = call;
	DL_APPEND(agent->adds, add);
	/* Unless its programs are being attached its policies are in force by now, as a rule, and
	 * its links set up by the first call. */
	if (!agent->attaching && !poll_add(agent, add))
		poll_add(agent, add);
	if (agent->adds)
		uv_timer_start(&agent->add_timer, on_add_timer, ADD_POLL_MS, ADD_POLL_MS);
}

static void on_del(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct agent *agent = data;
	struct call call = begin(agent, request, COMMAND_DEL);
	struct error error = {};

	(void)netns_fd;
	answer(&call, pods_cni_del(agent->pods, args, &error), NULL, &error);
}

static void on_check(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct agent *agent = data;
	struct call call = begin(agent, request, COMMAND_CHECK);
	struct error error = {};

	answer(&call, pods_cni_check(agent->pods, args, netns_fd, &error), NULL, &error);
}

static void on_gc(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct agent *agent = data;
	struct call call = begin(agent, request, COMMAND_GC);
	struct error error = {};

	(void)netns_fd;
	answer(&call, pods_cni_gc(agent->pods, args, &error), NULL, &error);
}

static void on_status(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct agent *agent = data;
	struct call call = begin(agent, request, COMMAND_STATUS);
	struct error error = {};
	char text[WAITS_FOR_MAX];

	(void)netns_fd;
	if (!agent_ready(agent)) {
		fail(&call, CNI_NOT_AVAILABLE,
		     "polderd is not ready: its objects have not been read yet",
		     waits_for(agent, text)[0] ? text : NULL);
		return;
	}
	if (node_misses(&agent->node)) {
		fail(&call, CNI_LIMITED, "pods of this node are cut off from the outside",
		     node_misses(&agent->node));
		return;
	}
	if (!agent_well(agent)) {
		fail(&call, CNI_LIMITED,
		     "polderd cannot put changes in force, or pods of this node are cut off",
		     "polderctl status and the log of polderd say why");
		return;
	}
	answer(&call, pods_cni_status(agent->pods, args, &error), NULL, &error);
}

static void on_log_level(struct control_request *request, const json_t *args, int netns_fd,
			 void *data)
{
	const char *text = json_string_value(json_object_get(args, "level"));
	enum log_level level;

	(void)netns_fd;
	(void)data;
	if (!text || log_level_parse(text, &level) < 0) {
		control_fail(request, EINVAL, "level must be error, warning, info or debug", NULL);
		return;
	}
	log_set_level(level);
	control_reply(request, json_object());
}

int agent_cni_finish(const char *container_id, const char *ifname, void *data)
{
	struct agent *agent = data;
	struct error error = {};
	json_t *args = json_pack("{s:s, s:s}", "container_id", container_id, "ifname", ifname);
	int r;

	if (!args)
		return -ENOMEM;
	r = pods_cni_del(agent->pods, args, &error);
	json_decref(args);
	if (r)
		log_error("cni", "%s %s: a queued deletion failed: %s", container_id, ifname,
			  error.text);
	return r ? -EIO : 0;
}

int agent_register_requests(struct agent *agent)
{
	static const struct {
		const char *operation;
		control_handler handler;
	} handlers[] = {
		{"cni.add", on_add}, {"cni.del", on_del},	{"cni.check", on_check},
		{"cni.gc", on_gc},   {"cni.status", on_status}, {"log.level", on_log_level},
	};
	size_t i;
	int r = 0;

	uv_timer_init(agent->loop, &agent->add_timer);
	agent->add_timer.data = agent;
	uv_timer_init(agent->loop, &agent->quiet_timer);
	agent->quiet_timer.data = agent;
	uv_timer_init(agent->loop, &agent->mac_timer);
	agent->mac_timer.data = agent;
	for (i = 0; i < sizeof(handlers) / sizeof(handlers[0]) && r == 0; i++)
		r = control_register(agent->control, handlers[i].operation, handlers[i].handler,
				     agent);
	return r;
}

void agent_progress(struct show_progress *ret, void *data)
{
	const struct agent *agent = data;
	struct reconciler_progress progress;

	reconciler_progress(agent->reconciler, &progress);
	*ret = (struct show_progress){
		.ready = agent_well(agent),
		.rules_note = agent->rules_note,
		.state_note = agent->state_note,
		.families_note = agent->families_note,
		.node_ports_note = agent->node_ports_note,
		.pins_note = agent->pins_note,
		.passed_note = agent->passed_note,
		.cni_note = agent->cni_note,
		.sockets_note = agent->sockets_note,
		.sockets_full_note = agent->sockets_full_note,
		.latency_note = agent->latency_note,
		.synced = progress.synced,
		.pending = progress.pending,
		.reconciles = progress.runs,
		.reconcile_errors = progress.failures,
		.policy_switches = progress.switches,
		.last_reconcile_seconds = progress.last_ns / 1e9,
		.audits = progress.audits,
		.audit_differences = progress.differences,
	};
}
