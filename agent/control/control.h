/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: requests as lines of JSON, root only. See docs/control-protocol.md. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define CONTROL_PROTOCOL_VERSION 1

struct control_server;
struct control_request; /* one request; lives until it is answered */

/*
 * `args` is borrowed until the handler returns (an object, never NULL). `netns_fd` is a descriptor
 * that the peer sent along, -1 for none; it is closed after the handler returns, dup() to keep. The
 * handler answers now or later, exactly once, or streams.
 */
typedef void (*control_handler)(struct control_request *request, const json_t *args, int netns_fd,
				void *data);

/*
 * 0600; the directory is made (0700) if it is missing. Peers other than uid 0 are refused
 * (SO_PEERCRED). 0 or -errno: -EADDRINUSE (a live agent holds the socket), -EPERM (others may write
 * to the directory), -EEXIST (a file that is no socket is in the way).
 */
int control_server_new(uv_loop_t *loop, const char *path, struct control_server **ret);
/* Takes NULL; removes the socket and ends the streams. Requests that wait for their answer must
 * still get it, which goes nowhere. */
/* Makes the socket anew if somebody has removed it, and the directory; connections stay. 0: it is
 * there; 1: it was made; -errno. */
int control_server_repair(struct control_server *server);
void control_server_free(struct control_server *server);
/*
 * A connection of the agent's own, as if a client had connected: what it sends and is sent is the
 * same, and so are its limits. `*ret_fd` is the client's end, non-blocking. 0 or -errno (-EBUSY:
 * all connections are in use).
 */
int control_connect(struct control_server *server, int *ret_fd);
/* 0, -EEXIST or -ENOMEM. */
int control_register(struct control_server *server, const char *operation, control_handler handler,
		     void *data);

/* Each takes the reference of `result`. Code: errno-like or a CNI code; `details` may be NULL. */
void control_reply(struct control_request *request, json_t *result);
void control_fail(struct control_request *request, int code, const char *message,
		  const char *details);

/*
 * A stream: any number of lines, until the peer hangs up or the server ends. `closed` runs exactly
 * once. control_stream_send() takes the reference of `line`; it drops the line and returns -ENOBUFS
 * when the peer does not read (1 MiB waiting). The request ends after `closed`.
 */
void control_stream_begin(struct control_request *request,
			  void (*closed)(struct control_request *request, void *data), void *data);
int control_stream_send(struct control_request *request, json_t *line);

/*
 * An answer that is a list, made item by item while the peer takes it: at most some hundred KiB are
 * in memory. `fill` is called by the loop again and again, adds some items, takes a millisecond at
 * most, and returns true when there are no more. `done` runs exactly once: then, or when the peer
 * hangs up.
 */
struct control_list;
typedef bool (*control_fill)(struct control_list *list, void *data);
void control_reply_list(struct control_request *request, control_fill fill,
			void (*done)(void *data), void *data);
/* Takes the reference of `item`. False: no more is wanted. */
bool control_list_add(struct control_list *list, json_t *item);

/* Requests of the plugin ("cni.") wait, in the order of their arrival, until they are let go;
 * others do not. */
void control_hold(struct control_server *server, bool held);
/* Does one of them wait? */
bool control_waiting(const struct control_server *server);

/* Counted since the start, but for the first two. */
struct control_stats {
	uint64_t connections; /* open now */
	uint64_t ordinary;    /* requests and streams now, without the plugin's */
	uint64_t requests;
	uint64_t not_root;	  /* peers that were refused */
	uint64_t refused;	  /* requests for which there was no room */
	uint64_t abandoned;	  /* requests whose peer had hung up: not carried out */
	uint64_t closed_idle;	  /* connections that asked, or took, nothing */
	uint64_t closed_for_room; /* closed for another one's sake */
	uint64_t paused;	  /* times that no connection was accepted for a while */
};
void control_read_stats(const struct control_server *server, struct control_stats *ret);
