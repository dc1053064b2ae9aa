/* SPDX-License-Identifier: Apache-2.0 */
/* polderd: the node agent. Start: what is pinned, then the links, then the sources. End: everything
 * stays as it is. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "agent/agent.h"
#include "agent/observe/notify.h"

static void on_signal(uv_signal_t *signal, int number)
{
	log_info("agent", "received signal %d, exiting; pods and Services keep working", number);
	uv_stop(signal->loop);
}

static int watch_signals(uv_loop_t *loop, uv_signal_t signals[2])
{
	const int numbers[2] = {SIGTERM, SIGINT};
	int i, r = 0;

	for (i = 0; i < 2 && r == 0; i++) {
		r = uv_signal_init(loop, &signals[i]);
		if (r == 0)
			r = uv_signal_start(&signals[i], on_signal, numbers[i]);
	}
	return r;
}

/* Each pod takes some: links of programs are held open. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	struct agent agent = {.run_lock = -1};
	struct notify_watchdog *watchdog = NULL;
	uv_signal_t signals[2];
	uv_loop_t loop;
	bool done = false;
	int r;

	signal(SIGPIPE, SIG_IGN);
	raise_descriptor_limit();
	r = config_load(argc, argv, &agent.config, &done);
	if (r < 0 || done) {
		config_clear(&agent.config);
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	log_set_level(agent.config.log_level);
	uv_loop_init(&loop);
	r = watch_signals(&loop, signals);
	if (r == 0)
		r = agent_start(&agent, &loop);
	if (r == 0) {
		notify_watchdog_start(&loop, &watchdog);
		uv_run(&loop, UV_RUN_DEFAULT);
		notify_stopping();
	}
	notify_watchdog_stop(watchdog);
	agent_stop(&agent);
	uv_loop_close(&loop);
	config_clear(&agent.config);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
