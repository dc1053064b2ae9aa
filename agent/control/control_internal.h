/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the control socket share. */
#pragma once

#include "agent/control/control.h"
#include "agent/control/control_output.h"
#include "agent/control/control_socket.h"

#define CONNECTIONS_MAX 256
/* Requests other than the plugin's that are answered, or streamed, at the same time: the other half
 * of the connections is the plugin's whatever others do. */
#define ORDINARY_MAX 128

struct operation {
	char *name;
	control_handler handler;
	void *data;
	bool is_plugins; /* cni.*: never refused for what others ask */
	struct operation *next;
};

struct connection {
	struct control_server *server;
	uv_poll_t poll;
	int fd;
	int pid;  /* of the peer */
	char *in; /* what was read and is not a handled request yet */
	size_t in_length, in_size;
	struct output output;
	int passed_fd;			 /* goes with the next request; -1: none */
	struct control_request *request; /* waits for its answer, or streams; NULL: none */
	bool postponed;			 /* its request waits for its turn */
	bool end;			 /* the peer sends no more */
	bool broken;			 /* an answer could not be made: hang up */
	uint64_t progress;		 /* loop time of the last byte */
	struct connection *prev, *next;
};

struct control_list; /* control_list.c */

struct control_request {
	struct control_server *server; /* NULL: it has ended */
	struct connection *connection; /* NULL: the peer has hung up */
	bool ordinary;		       /* counts for ORDINARY_MAX */
	bool stream;
	void (*closed)(struct control_request *request, void *data);
	void *closed_data;
	struct control_list *list; /* its answer is made piece by piece; NULL: it is not */
	struct control_request *prev, *next;
};

struct control_server {
	uv_loop_t *loop;
	struct control_socket socket;
	uv_poll_t poll;
	uv_timer_t idle_timer;
	uv_idle_t fill;	 /* runs while there is a list to go on with */
	uv_idle_t turns; /* runs while requests are postponed */
	size_t postponed;
	bool held;		/* requests of the plugin wait, however long it takes */
	uint64_t turn, turn_ns; /* the loop's time, and what requests have taken of it */
	int handles;		/* open in the loop */
	bool paused;		/* not accepting */
	struct operation *operations;
	struct connection *connections;
	struct control_request *requests; /* not answered, or streaming */
	struct control_stats stats;
};

/* control.c */
/* Takes `line` (NULL: no memory). The loop sends it, so that no answer changes a connection under
 * its caller's feet. */
void connection_send(struct connection *connection, char *line, size_t length);
void connection_hang_up(struct connection *connection);
void request_free(struct control_request *request);

/* Reads no further than the connection may, or hangs up if r < 0 or nothing is left to be done. */
void connection_go_on(struct connection *connection, int r);
/* Handles the lines that have come, until one waits. */
void connection_process(struct connection *connection);

/*
 * control_turns.c: each ADD takes some milliseconds, and a hundred may come at once: between them
 * the loop serves others.
 */
void control_turns_init(struct control_server *server);
/* Does a request of the plugin have to wait for another turn of the loop? Then it is postponed. */
bool control_turns_postpone(struct connection *connection);
/* It took so long. */
void control_turns_count(struct control_server *server, uint64_t ns);
/* The connection ends. */
void control_turns_forget(struct connection *connection);

/* control_limits.c */
/* Has the peer closed the connection, without a word about it yet? */
bool connection_is_gone(const struct connection *connection);
/* Closes the connection that is least missed, if all are taken. False: every one is in use. */
bool control_make_room(struct control_server *server);
/* Has nothing come or gone for too long? */
bool connection_is_stalled(const struct connection *connection, const char **ret_why);
/* The process that has most of the connections: "process 17 (name), which has 250". */
void control_name_busiest(const struct control_server *server, char *text, size_t size);

/* control_list.c */
/* Makes more of every list whose peer has taken what there was. */
void control_lists_fill(struct control_server *server);
/* Ends the list without an answer: the peer, or the server, is gone. */
void control_list_end(struct control_request *request);
