/* SPDX-License-Identifier: Apache-2.0 */
/* What only one agent may have: its directories, and the network namespace. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/daemon/agent.h"
#include "agent/common/lock.h"
#include "agent/kernel/bpffs.h"

#define NETNS_LOCK "polder-agent"

static int say_directory(const char *option, const char *path, int r, char *message, size_t size)
{
	if (r == -EWOULDBLOCK)
		snprintf(message, size,
			 "--%s %s: another polderd uses it; stop that one, or give this one, in "
			 "another network namespace, its own --run-dir, --state-dir and --bpffs",
			 option, path);
	else
		snprintf(message, size, "--%s %s: cannot be locked: %s", option, path,
			 strerror(-r));
	return r;
}

static int lock_run_dir(struct agent *agent, char *message, size_t size)
{
	int r;

	if (mkdir(agent->config.run_dir, 0700) < 0 && errno != EEXIST) {
		r = -errno;
		snprintf(message, size, "--run-dir %s: cannot be made: %s", agent->config.run_dir,
			 strerror(-r));
		return r;
	}
	snprintf(agent->run_lock_path, sizeof(agent->run_lock_path), "%s/lock",
		 agent->config.run_dir);
	r = lock_file(agent->run_lock_path, &agent->run_lock);
	return r < 0 ? say_directory("run-dir", agent->config.run_dir, r, message, size) : 0;
}

/* Two agents would take each other's programs, links and routes away. */
static int lock_netns(struct agent *agent, char *message, size_t size)
{
	pid_t other = 0;
	int r = lock_network_namespace(NETNS_LOCK, &agent->netns_lock, &other);

	if (r == -EADDRINUSE && other)
		snprintf(
			message, size,
			"another polderd (process %d) serves this network namespace; stop it first",
			(int)other);
	else if (r == -EADDRINUSE)
		snprintf(message, size,
			 "another polderd serves this network namespace; stop it first");
	if (r == -EADDRINUSE)
		return r;
	/* It keeps mistakes away, not attacks. */
	if (r < 0)
		log_warning("agent",
			    "this network namespace cannot be locked: %s; make sure that no other "
			    "polderd runs in it",
			    r == -EPERM ? "a process of another user has the socket "
					  "@" NETNS_LOCK
					: strerror(-r));
	return 0;
}

static int lock_bpffs(struct agent *agent, char *message, size_t size)
{
	int r = agent_check_bpffs(agent, message, size);

	if (r == 0)
		r = bpffs_prepare(agent->config.bpffs, message, size);
	if (r < 0)
		return r;
	r = lock_directory(agent->config.bpffs, &agent->bpffs_lock);
	return r < 0 ? say_directory("bpffs", agent->config.bpffs, r, message, size) : 0;
}

int agent_lock(struct agent *agent, char *message, size_t size)
{
	int r = lock_run_dir(agent, message, size);

	if (r == 0)
		r = lock_netns(agent, message, size);
	if (r == 0)
		r = lock_bpffs(agent, message, size);
	return r;
}

#define VISITORS_A_TURN 16

/* Who comes to the namespace's lock has seen whose it is. Without a descriptor to take them they
 * wait in the queue, which says as much. */
static void on_visitor(uv_poll_t *poll, int status, int events)
{
	struct agent *agent = poll->data;

	(void)status;
	(void)events;
	for (int i = 0; i < VISITORS_A_TURN; i++) {
		int fd = accept4(agent->netns_lock, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE))
			uv_poll_stop(poll);
		if (fd < 0)
			return;
		close(fd);
	}
}

int agent_watch_lock(struct agent *agent)
{
	int r;

	if (agent->netns_lock <= 0)
		return 0;
	r = uv_poll_init(agent->loop, &agent->netns_poll, agent->netns_lock);
	if (r < 0)
		return r;
	agent->netns_poll.data = agent;
	return uv_poll_start(&agent->netns_poll, UV_READABLE, on_visitor);
}

/* A directory that was made anew has no lock yet. */
static void lock_again(const char *path, int *fd)
{
	int locked = -1;

	if (lock_is_at(path, *fd) || lock_directory(path, &locked) < 0)
		return;
	if (*fd > 0)
		close(*fd);
	*fd = locked;
}

bool agent_relock(struct agent *agent)
{
	char message[256];
	int old = agent->run_lock;

	lock_again(agent->config.bpffs, &agent->bpffs_lock);
	if (lock_is_at(agent->run_lock_path, agent->run_lock))
		return false;
	/* Its directory first: it may be gone as well. */
	if (lock_run_dir(agent, message, sizeof(message)) == 0 && old > 0)
		close(old);
	return true;
}

void agent_unlock(struct agent *agent)
{
	int *const locks[] = {&agent->run_lock, &agent->netns_lock, &agent->bpffs_lock,
			      &agent->state_lock};

	for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++) {
		if (*locks[i] > 0)
			close(*locks[i]);
		*locks[i] = -1;
	}
}
