/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of what outlives a reboot, and a lost run directory. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/daemon/agent.h"
#include "agent/common/cleanup.h"
#include "agent/common/lock.h"
#include "agent/common/state_file.h"

/* Nobody else's, parents that are missing as well: one may be another agent's. */
static int make_directory(const char *directory)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", directory);
	for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* The number that the agent has had since its start, or a new one. */
static int write_id(const char *path, char id[AGENT_ID_SIZE])
{
	uint8_t bytes[(AGENT_ID_SIZE - 1) / 2];
	char text[AGENT_ID_SIZE];
	int r;

	memcpy(text, id, sizeof(text));
	if (!text[0]) {
		if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
			return -EIO;
		for (size_t i = 0; i < sizeof(bytes); i++)
			snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	}
	r = state_file_write(path, text, strlen(text));
	if (r == 0)
		memcpy(id, text, sizeof(text));
	return r;
}

static int replace_id(const char *path, char id[AGENT_ID_SIZE])
{
	int r = write_id(path, id);

	if (r == 0)
		log_warning("agent",
			    "%s: is damaged; this polderd has a new number, and links of connected "
			    "pods are marked with it. A link without a record that bears the old "
			    "one is left alone",
			    path);
	return r;
}

/* Which links this agent has made, and no other, is told by a number that stays. */
static int read_id(const char *directory, char id[AGENT_ID_SIZE])
{
	CLEANUP(cleanup_free) char *text = NULL;
	char path[PATH_MAX];
	size_t length = 0;
	int r;

	if (snprintf(path, sizeof(path), "%s/agent-id", directory) >= PATH_MAX)
		return -ENAMETOOLONG;
	r = state_file_read(path, AGENT_ID_SIZE, &text, &length);
	if (r == 0 &&
	    (length != AGENT_ID_SIZE - 1 || strspn(text, "0123456789abcdef") != AGENT_ID_SIZE - 1))
		r = -EBADMSG;
	if (r == 0)
		memcpy(id, text, AGENT_ID_SIZE);
	else if (r == -ENOENT || r == -EBADMSG || r == -EFBIG)
		r = r == -ENOENT ? write_id(path, id) : replace_id(path, id);
	return r;
}

/* -EBUSY: it is another agent's. */
static int open_state(struct agent *agent)
{
	const char *directory = agent->config.state_dir;
	int r = make_directory(directory);

	if (agent->state_lock > 0)
		close(agent->state_lock);
	agent->state_lock = -1;
	if (r == 0)
		r = lock_directory(directory, &agent->state_lock);
	if (r < 0)
		return r == -EWOULDBLOCK ? -EBUSY : r;
	return read_id(directory, agent->id);
}

/* Pods go on, and are better served without it than not at all. */
static void do_without_state(struct agent *agent, int r)
{
	const bool told = agent->state_note[0];

	snprintf(agent->state_note, sizeof(agent->state_note),
		 "--state-dir %.120s cannot be used: %s; after a reboot, or without the run "
		 "directory, the last valid versions of files and the pods' records are lost; "
		 "retried every 5 s",
		 agent->config.state_dir, strerror(-r));
	if (!told)
		log_error("agent", "%s", agent->state_note);
}

int agent_open_state(struct agent *agent, char *message, size_t size)
{
	int r = open_state(agent);

	if (r == -EBUSY) {
		snprintf(message, size,
			 "--state-dir %s: another polderd uses it; give each its own",
			 agent->config.state_dir);
		return r;
	}
	if (r < 0)
		do_without_state(agent, r);
	return 0;
}

/* What is known goes there: it was not there yet, or is another directory now. */
static void use_state(struct agent *agent)
{
	char copies[PATH_MAX], pool[PATH_MAX], last_good[PATH_MAX];
	int r = 0;

	agent->state_note[0] = '\0';
	if (!agent_state_path(agent, "pods", copies) ||
	    !agent_state_path(agent, "pool.json", pool) ||
	    !agent_state_path(agent, "last-good", last_good))
		r = -ENAMETOOLONG;
	if (r == 0)
		r = pods_use_state(agent->pods, copies, pool, agent->id);
	if (r == 0 && agent->source)
		r = source_dir_keep_in(agent->source, last_good);
	if (r < 0)
		do_without_state(agent, r);
	else
		log_warning("agent", "--state-dir %s: is used from now on",
			    agent->config.state_dir);
}

void agent_repair_state(struct agent *agent)
{
	const char *directory = agent->config.state_dir;
	int r;

	policy_sync_repair_copy(reconciler_policy(agent->reconciler));
	if (!agent->state_note[0] && lock_is_at(directory, agent->state_lock)) {
		pods_restore_state(agent->pods);
		return;
	}
	if (!agent->state_note[0])
		log_warning("agent", "--state-dir %s: somebody has removed it; it is made again",
			    directory);
	r = open_state(agent);
	if (r == 0)
		use_state(agent);
	else
		do_without_state(agent, r);
}

void agent_repair_run_dir(struct agent *agent)
{
	bool lost = agent_relock(agent);
	size_t records = pods_restore_records(agent->pods);
	int r = agent->control ? control_server_repair(agent->control) : 0;

	if (r < 0 && r != agent->socket_failed)
		log_error("agent",
			  "control socket %s: is gone, and cannot be made again: %s; "
			  "retried every 5 s",
			  agent->config.socket, strerror(-r));
	agent->socket_failed = r < 0 ? r : 0;
	if (lost || records || r > 0)
		log_warning("agent",
			    "--run-dir %s: somebody has removed the socket or state in it; made "
			    "again, with %zu records of pods",
			    agent->config.run_dir, records);
	if (lost)
		(void)reconciler_save(agent->reconciler);
}

const char *agent_state_path(const struct agent *agent, const char *name, char path[PATH_MAX])
{
	if (agent->state_note[0] ||
	    snprintf(path, PATH_MAX, "%s/%s", agent->config.state_dir, name) >= PATH_MAX)
		return NULL;
	return path;
}
