/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of what outlives a reboot, and a lost run directory. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "agent/agent.h"
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

static int new_id(const char *path, char id[AGENT_ID_SIZE])
{
	uint8_t bytes[(AGENT_ID_SIZE - 1) / 2];
	char text[AGENT_ID_SIZE] = "";
	int r;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	r = state_file_write(path, text, strlen(text));
	if (r == 0)
		memcpy(id, text, sizeof(text));
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
		r = new_id(path, id);
	return r;
}

int agent_open_state(struct agent *agent, char *message, size_t size)
{
	const char *directory = agent->config.state_dir;
	int r = make_directory(directory);

	if (r == 0)
		r = lock_directory(directory, &agent->state_lock);
	if (r == -EWOULDBLOCK) {
		snprintf(message, size,
			 "--state-dir %s: another polderd uses it; give each its own", directory);
		return r;
	}
	if (r == 0)
		r = read_id(directory, agent->id);
	if (r == 0)
		return 0;
	/* Pods go on, and are better served without it than not at all. */
	snprintf(agent->state_note, sizeof(agent->state_note),
		 "--state-dir %.120s cannot be used: %s; after a reboot, or without the run "
		 "directory, the last valid versions of files and the pods' records are lost",
		 directory, strerror(-r));
	log_error("agent", "%s", agent->state_note);
	return 0;
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
