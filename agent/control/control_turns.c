/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that take long are carried out over several turns of the loop, in the order of their
 * arrival. */
#include <utlist.h>

#include "agent/control/control_internal.h"

/* So much of a turn, and others are served. */
#define TURN_NS 10000000ull

static void on_turn(uv_idle_t *idle);

void control_turns_init(struct control_server *server)
{
	uv_idle_init(server->loop, &server->turns);
	server->turns.data = server;
}

/* The loop's time is the same throughout a turn. */
static void begin_turn(struct control_server *server)
{
	if (server->turn == uv_now(server->loop))
		return;
	server->turn = uv_now(server->loop);
	server->turn_ns = 0;
}

bool control_turns_postpone(struct connection *connection)
{
	struct control_server *server = connection->server;

	begin_turn(server);
	if (server->turn_ns < TURN_NS && !server->postponed && !server->held)
		return false;
	connection->postponed = true;
	server->postponed++;
	if (!server->held)
		uv_idle_start(&server->turns, on_turn);
	return true;
}

void control_hold(struct control_server *server, bool held)
{
	server->held = held;
	if (!held && server->postponed)
		uv_idle_start(&server->turns, on_turn);
}

bool control_waiting(const struct control_server *server)
{
	return server->postponed;
}

void control_turns_count(struct control_server *server, uint64_t ns)
{
	server->turn_ns += ns;
}

void control_turns_forget(struct connection *connection)
{
	connection->server->postponed -= connection->postponed;
	connection->postponed = false;
}

/* Whose bytes came first. */
static struct connection *first(const struct control_server *server)
{
	struct connection *connection, *found = NULL;

	DL_FOREACH(server->connections, connection)
	{
		if (connection->postponed && (!found || connection->progress < found->progress))
			found = connection;
	}
	return found;
}

static void on_turn(uv_idle_t *idle)
{
	struct control_server *server = idle->data;
	struct connection *connection = NULL;

	server->turn = uv_now(server->loop);
	server->turn_ns = 0;
	while (server->turn_ns < TURN_NS && !server->held && (connection = first(server))) {
		size_t others = server->postponed - 1;

		/* No other one is before it. */
		control_turns_forget(connection);
		server->postponed = 0;
		connection_process(connection);
		server->postponed += others;
		connection_go_on(connection, 0);
	}
	if (!server->postponed || server->held)
		uv_idle_stop(idle);
}
