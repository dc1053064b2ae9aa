/* SPDX-License-Identifier: Apache-2.0 */
/* polderd: the node agent. Start: what is pinned, then the links, then the sources. End: everything
 * stays as it is. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/daemon/agent.h"
#include "agent/common/streams.h"
#include "agent/kernel/cause.h"
#include "agent/observe/notify.h"

static void on_signal(uv_signal_t *signal, int number)
{
	struct agent *agent = signal->data;

	switch (number) {
	case SIGHUP:
		agent_reload(agent);
		break;
	case SIGUSR1:
		agent_tell_state(agent);
		break;
	case SIGUSR2:
		/* Has no meaning, and must not end what it was sent to by mistake. */
		break;
	default:
		log_info("agent", "received signal %d, exiting; pods and Services keep working",
			 number);
		agent->stopping = true;
		uv_stop(signal->loop);
	}
}

static const int signal_numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
#define SIGNAL_COUNT (sizeof(signal_numbers) / sizeof(signal_numbers[0]))

static int watch_signals(uv_loop_t *loop, struct agent *agent, uv_signal_t signals[SIGNAL_COUNT])
{
	int r = 0;

	for (size_t i = 0; i < SIGNAL_COUNT && r == 0; i++) {
		r = uv_signal_init(loop, &signals[i]);
		signals[i].data = agent;
		if (r == 0)
			r = uv_signal_start(&signals[i], on_signal, signal_numbers[i]);
	}
	return r;
}

/* Maps, programs and what they are made of, before the first pod. */
#define DESCRIPTORS_LEAST 384

/* Each pod takes some: links of programs are held open. 0 or -EMFILE. */
static int raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_max < DESCRIPTORS_LEAST) {
		log_error("agent",
			  "cannot start: %llu descriptors are allowed, and %d are needed, and some "
			  "for each pod: raise LimitNOFILE of its unit",
			  (unsigned long long)limit.rlim_max, DESCRIPTORS_LEAST);
		return -EMFILE;
	}
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	return 0;
}

static int open_loop(uv_loop_t *loop)
{
	char cause[CAUSE_MAX];
	int r = uv_loop_init(loop);

	if (r < 0)
		log_error("agent", "cannot start: there is no event loop: %s", cause_of(r, cause));
	return r;
}

/* Larger pieces are asked of the kernel, and given back when they are freed. Unless it is told, the
 * C library takes the largest that was freed for what is usual, and keeps such room. */
#define LARGE_PIECE (128 * 1024)

/* Freed pieces join their neighbours at once: kept apart for a while, they are walked whenever a
 * large piece is asked for, as each object that is read does. */
static void set_up_memory(void)
{
	(void)mallopt(M_MXFAST, 0);
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_PIECE);
}

int main(int argc, char **argv)
{
	struct agent agent = {.run_lock = -1, .argc = argc, .argv = argv};
	struct notify_watchdog *watchdog = NULL;
	uv_signal_t signals[SIGNAL_COUNT];
	uv_loop_t loop;
	bool done = false;
	int r;

	set_up_memory();
	streams_fill();
	signal(SIGPIPE, SIG_IGN);
	/* Until there is a loop that takes them: none of these may end what starts. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	r = config_load(argc, argv, &agent.config, &done);
	if (r < 0 || done) {
		config_clear(&agent.config);
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	log_set_level(agent.config.log_level);
	r = raise_descriptor_limit();
	if (r == 0)
		r = open_loop(&loop);
	if (r < 0) {
		log_tick();
		config_clear(&agent.config);
		return EXIT_FAILURE;
	}
	r = watch_signals(&loop, &agent, signals);
	if (r < 0)
		log_error("agent", "cannot start: signals cannot be watched: %s", strerror(-r));
	else
		r = agent_start(&agent, &loop);
	if (r == 0) {
		notify_watchdog_start(&loop, &watchdog);
		uv_run(&loop, UV_RUN_DEFAULT);
		notify_stopping();
	}
	notify_watchdog_stop(watchdog);
	agent_stop(&agent);
	uv_loop_close(&loop);
	log_tick();
	config_clear(&agent.config);
	return r < 0 && !agent.stopping ? EXIT_FAILURE : EXIT_SUCCESS;
}
