/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv starts its threads when it is first given work for one, and aborts the process where it
 * cannot. So they are started with the agent: as many are tried before, and if there cannot be
 * that many it is said, and ends the start.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/daemon/agent.h"

/* As libuv reads UV_THREADPOOL_SIZE. */
#define THREADS_DEFAULT 4
#define THREADS_MOST	1024

static int thread_count(void)
{
	const char *text = getenv("UV_THREADPOOL_SIZE");
	int count = text ? atoi(text) : THREADS_DEFAULT;

	if (count < 1)
		return 1;
	return count > THREADS_MOST ? THREADS_MOST : count;
}

static void wait_for_end(void *data)
{
	uv_sem_wait(data);
}

/* All at one time. 0 or -errno. */
static int try_threads(int count)
{
	uv_thread_t threads[THREADS_MOST];
	int started = 0, r;
	uv_sem_t end;

	r = uv_sem_init(&end, 0);
	if (r < 0)
		return r;
	while (r == 0 && started < count) {
		r = uv_thread_create(&threads[started], wait_for_end, &end);
		started += r == 0;
	}
	for (int i = 0; i < started; i++)
		uv_sem_post(&end);
	for (int i = 0; i < started; i++)
		uv_thread_join(&threads[i]);
	uv_sem_destroy(&end);
	return r;
}

static void nothing(uv_work_t *work)
{
	(void)work;
}

static void done(uv_work_t *work, int status)
{
	(void)work;
	(void)status;
}

int agent_start_threads(struct agent *agent, char *message, size_t size)
{
	int count = thread_count(), r = try_threads(count);

	if (r == 0)
		r = uv_queue_work(agent->loop, &agent->first_work, nothing, done);
	if (r < 0)
		snprintf(message, size,
			 "%d threads cannot be started: %s; the unit's limit of tasks (TasksMax) "
			 "or of memory is too small",
			 count, strerror(-r));
	return r;
}
