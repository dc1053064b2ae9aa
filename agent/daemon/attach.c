/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of pods that are being connected. The kernel takes each tcx link behind a grace
 * period, some ten milliseconds each, under the lock that all who change links share: a thread
 * waits for it, one pod after the other. Meanwhile the loop answers, and begins nothing that needs
 * that lock for another pod's links.
 *
 * Of many pods at once each is connected with the two programs that evaluate. The two that close
 * its link where somebody takes those away follow when no other pod waits, or after ten seconds;
 * they would double the time of all. A pod that comes alone has them from the beginning.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "agent/daemon/agent.h"

#define GUARDS_LATE_NS 10000000000ull
/* So long after an ADD the next one is not expected any more. */
#define QUIET_MS 50

enum attach_state {
	ATTACH_WAITS,
	ATTACH_RUNS,
	ATTACH_DONE,	    /* with the first two; nobody has asked yet how it went */
	ATTACH_GUARDS_WAIT, /* the pod is connected */
	ATTACH_GUARDS_RUN,
};

struct agent_attach {
	struct agent *agent;
	int ifindex;
	enum attach_state state;
	uint64_t began_ns;
	bool cancelled; /* while it runs: the pod is being taken away */
	struct pod_attachment *attachment;
	int result;
	char message[256];
	struct agent_attach *prev, *next;
};

static struct agent_attach *find(const struct agent *agent, int ifindex)
{
	struct agent_attach *attach;

	DL_FOREACH(agent->attaches, attach)
	{
		if (attach->ifindex == ifindex && !attach->cancelled)
			return attach;
	}
	return NULL;
}

static void forget(struct agent_attach *attach)
{
	DL_DELETE(attach->agent->attaches, attach);
	pod_attachment_free(attach->attachment);
	free(attach);
}

static void run_in_thread(uv_work_t *work)
{
	const struct agent_attach *attach = work->data;

	pod_attachment_run(attach->attachment);
}

/* The plugin's requests would wait for the lock, and all others for them. */
static void set_attaching(struct agent *agent, bool attaching)
{
	agent->attaching = attaching;
	if (agent->control)
		control_hold(agent->control, attaching);
}

static void on_ran(uv_work_t *work, int status);

static bool is_quiet(const struct agent *agent)
{
	return !agent->adds && !uv_is_active((const uv_handle_t *)&agent->quiet_timer) &&
	       !(agent->control && control_waiting(agent->control));
}

/* No other pod waits. */
static bool is_alone(const struct agent_attach *attach)
{
	const struct agent *agent = attach->agent;
	const struct agent_attach *other;

	DL_FOREACH(agent->attaches, other)
	{
		if (other != attach && other->state <= ATTACH_DONE)
			return false;
	}
	return !(agent->control && control_waiting(agent->control));
}

/* NULL: none waits. */
static struct agent_attach *next(const struct agent *agent)
{
	struct agent_attach *attach, *waits = NULL, *guards = NULL;

	DL_FOREACH(agent->attaches, attach)
	{
		if (attach->state == ATTACH_WAITS && !waits)
			waits = attach;
		if (attach->state == ATTACH_GUARDS_WAIT && !guards)
			guards = attach;
	}
	if (guards && uv_hrtime() - guards->began_ns > GUARDS_LATE_NS)
		return guards;
	return waits || !is_quiet(agent) ? waits : guards;
}

static void go_on(struct agent *agent)
{
	struct agent_attach *attach = agent->attaching ? NULL : next(agent);
	int r;

	if (!attach)
		return;
	attach->state = attach->state == ATTACH_WAITS ? ATTACH_RUNS : ATTACH_GUARDS_RUN;
	set_attaching(agent, true);
	agent->attach_work.data = attach;
	r = uv_queue_work(agent->loop, &agent->attach_work, run_in_thread, on_ran);
	if (r < 0)
		on_ran(&agent->attach_work, r);
}

/* What is missing, agent_repair() finds and attaches. */
static void guards_ran(struct agent_attach *attach)
{
	attach->state = ATTACH_GUARDS_WAIT;
	if (attach->result < 0)
		log_warning("links", "%s; retried within 5 s", attach->message);
	if (attach->result < 0 || !pod_attachment_has_more(attach->attachment))
		forget(attach);
}

static void on_ran(uv_work_t *work, int status)
{
	struct agent_attach *attach = work->data;
	struct agent *agent = attach->agent;

	set_attaching(agent, false);
	attach->result = status;
	if (status == 0 && !attach->cancelled)
		attach->result = datapath_finish_pod(agent->datapath, attach->attachment,
						     attach->message, sizeof(attach->message));
	if (attach->cancelled)
		forget(attach);
	else if (attach->state == ATTACH_RUNS)
		attach->state = attach->result == 0 &&
						pod_attachment_has_more(attach->attachment) &&
						is_alone(attach)
					? ATTACH_WAITS
					: ATTACH_DONE;
	else
		guards_ran(attach);
	/* Whoever has its programs now is set up before the lock is taken for the next. */
	agent_poll_adds(agent);
	go_on(agent);
}

static void on_quiet(uv_timer_t *timer)
{
	go_on(timer->data);
}

void agent_attach_settle(struct agent *agent)
{
	if (agent->attaches)
		uv_timer_start(&agent->quiet_timer, on_quiet, QUIET_MS, 0);
}

int agent_attach_begin(struct agent *agent, int ifindex, char *message, size_t size)
{
	struct agent_attach *attach = calloc(1, sizeof(*attach));
	int r = attach ? datapath_prepare_pod(agent->datapath, ifindex, &attach->attachment)
		       : -ENOMEM;

	if (r < 0)
		free(attach);
	/* Filters come without a grace period, and what is there already is only given its program.
	 */
	if (r == -EOPNOTSUPP || r == -EEXIST)
		return datapath_attach_pod(agent->datapath, ifindex, message, size);
	if (r < 0) {
		snprintf(message, size, "link %d: its programs cannot be attached: %s", ifindex,
			 strerror(-r));
		return r;
	}
	attach->agent = agent;
	attach->ifindex = ifindex;
	attach->began_ns = uv_hrtime();
	DL_APPEND(agent->attaches, attach);
	go_on(agent);
	return 0;
}

int agent_attach_result(struct agent *agent, int ifindex, char *message, size_t size)
{
	struct agent_attach *attach = find(agent, ifindex);
	int r;

	if (!attach || attach->state > ATTACH_DONE)
		return 0;
	if (attach->state != ATTACH_DONE)
		return -EINPROGRESS;
	r = attach->result;
	snprintf(message, size, "%s", attach->message);
	attach->state = ATTACH_GUARDS_WAIT;
	if (r < 0 || !pod_attachment_has_more(attach->attachment))
		forget(attach);
	return r;
}

bool agent_is_attaching(const struct agent *agent, int ifindex)
{
	return find(agent, ifindex);
}

/* The thread may have it. */
static void drop(struct agent_attach *attach)
{
	if (attach->state == ATTACH_RUNS || attach->state == ATTACH_GUARDS_RUN)
		attach->cancelled = true;
	else
		forget(attach);
}

void agent_attach_cancel(struct agent *agent, int ifindex)
{
	struct agent_attach *attach = find(agent, ifindex);

	if (attach)
		drop(attach);
}

void agent_attach_finish(struct agent *agent)
{
	struct agent_attach *attach, *after;
	char message[256];

	DL_FOREACH_SAFE(agent->attaches, attach, after)
	{
		if (attach->cancelled)
			continue;
		if (datapath_attach_pod(agent->datapath, attach->ifindex, message,
					sizeof(message)) < 0)
			log_warning("links", "%s; the next polderd attaches it", message);
		drop(attach);
	}
}
