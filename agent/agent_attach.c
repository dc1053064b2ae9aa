/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of pods that are being connected. The kernel takes each tcx link behind a grace
 * period, some ten milliseconds each, under the lock that all who change links share: a thread
 * waits for it, one pod after the other. Meanwhile the loop answers, and begins nothing that needs
 * that lock for another pod's links.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "agent/agent.h"

enum attach_state { ATTACH_WAITS, ATTACH_RUNS, ATTACH_DONE };

struct agent_attach {
	struct agent *agent;
	int ifindex;
	enum attach_state state;
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

/* The next one that waits. */
static void start_next(struct agent *agent)
{
	struct agent_attach *attach;
	int r;

	if (agent->attaching)
		return;
	DL_FOREACH(agent->attaches, attach)
	{
		if (attach->state == ATTACH_WAITS)
			break;
	}
	if (!attach)
		return;
	attach->state = ATTACH_RUNS;
	set_attaching(agent, true);
	agent->attach_work.data = attach;
	r = uv_queue_work(agent->loop, &agent->attach_work, run_in_thread, on_ran);
	if (r < 0)
		on_ran(&agent->attach_work, r);
}

static void on_ran(uv_work_t *work, int status)
{
	struct agent_attach *attach = work->data;
	struct agent *agent = attach->agent;

	set_attaching(agent, false);
	if (attach->cancelled) {
		forget(attach);
	} else {
		attach->result = status;
		if (status == 0)
			attach->result =
				datapath_finish_pod(agent->datapath, attach->attachment,
						    attach->message, sizeof(attach->message));
		attach->state = ATTACH_DONE;
	}
	/* Whoever has its programs now is set up before the lock is taken for the next. */
	agent_poll_adds(agent);
	start_next(agent);
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
	DL_APPEND(agent->attaches, attach);
	start_next(agent);
	return 0;
}

int agent_attach_result(struct agent *agent, int ifindex, char *message, size_t size)
{
	struct agent_attach *attach = find(agent, ifindex);
	int r;

	if (!attach)
		return 0;
	if (attach->state != ATTACH_DONE)
		return -EINPROGRESS;
	r = attach->result;
	snprintf(message, size, "%s", attach->message);
	forget(attach);
	return r;
}

bool agent_is_attaching(const struct agent *agent, int ifindex)
{
	return find(agent, ifindex);
}

void agent_attach_cancel(struct agent *agent, int ifindex)
{
	struct agent_attach *attach = find(agent, ifindex);

	if (!attach)
		return;
	if (attach->state == ATTACH_RUNS)
		attach->cancelled = true;
	else
		forget(attach);
}
