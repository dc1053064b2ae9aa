/* SPDX-License-Identifier: Apache-2.0 */
/* How many connections there may be, and who has to go when there are too many. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/control/control_internal.h"

/* A peer that neither ends its request nor reads its answer is let go. */
#define STALL_MS 30000
/* One that asks for nothing. */
#define IDLE_MS 60000
/* Where there is no room for another one, so much patience is left. */
#define CROWDED_STALL_MS 2000

static short events_of(const struct connection *connection)
{
	struct pollfd entry = {.fd = connection->fd, .events = POLLIN};

	return poll(&entry, 1, 0) > 0 ? entry.revents : 0;
}

/* A peer that only stops sending (shutdown) is still there for its answer: no POLLHUP. */
bool connection_is_gone(const struct connection *connection)
{
	return events_of(connection) & (POLLHUP | POLLERR);
}

static uint64_t idle_ms(const struct connection *connection)
{
	return uv_now(connection->server->loop) - connection->progress;
}

bool connection_is_stalled(const struct connection *connection, const char **ret_why)
{
	uint64_t idle = idle_ms(connection);

	if (connection->output.waiting > 0 || connection->broken) {
		*ret_why = "it does not read its answer";
		return idle >= STALL_MS;
	}
	if (connection->request || connection->postponed)
		return false;
	*ret_why = connection->in_length > 0 ? "its request does not end" : "it asks for nothing";
	return idle >= (connection->in_length > 0 ? STALL_MS : IDLE_MS);
}

/* How well it can be missed; 0: not at all. */
static unsigned int rank(const struct connection *connection)
{
	bool waits = connection->output.waiting > 0;

	if (connection->postponed)
		return 0;
	if (!waits && !connection->request && connection->in_length == 0)
		/* What has come and was not read yet is a request. */
		return events_of(connection) & POLLIN ? 0 : 3;
	if (idle_ms(connection) < CROWDED_STALL_MS)
		return 0;
	if (!waits && !connection->request)
		return 2;
	return waits ? 1 : 0;
}

static struct connection *least_missed(struct control_server *server)
{
	struct connection *connection, *found = NULL;
	unsigned int best = 0;

	DL_FOREACH(server->connections, connection)
	{
		unsigned int now = rank(connection);

		if (now == 0 || now < best ||
		    (now == best && found && connection->progress >= found->progress))
			continue;
		best = now;
		found = connection;
	}
	return found;
}

static void read_name(int pid, char name[32])
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file || !fgets(name, 32, file))
		snprintf(name, 32, "gone");
	name[strcspn(name, "\n")] = '\0';
	if (file)
		fclose(file);
}

void control_name_busiest(const struct control_server *server, char *text, size_t size)
{
	const struct connection *connection, *other;
	size_t most = 0;
	int pid = 0;
	char name[32];

	DL_FOREACH(server->connections, connection)
	{
		size_t count = 0;

		DL_FOREACH(server->connections, other)
		count += other->pid == connection->pid;
		if (count > most) {
			most = count;
			pid = connection->pid;
		}
	}
	read_name(pid, name);
	snprintf(text, size, "process %d (%s), which has %zu of them", pid, name, most);
}

bool control_make_room(struct control_server *server)
{
	struct connection *connection;
	char busiest[96];

	if (server->stats.connections < CONNECTIONS_MAX)
		return true;
	connection = least_missed(server);
	if (!connection)
		return false;
	control_name_busiest(server, busiest, sizeof(busiest));
	log_warning("control",
		    "%d connections are open: one of process %d is closed to make room; look at %s",
		    CONNECTIONS_MAX, connection->pid, busiest);
	server->stats.closed_for_room++;
	connection_hang_up(connection);
	return true;
}
