/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket's file: one owner, mode 0600, remains of a dead agent replaced. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct control_socket {
	char *path;
	int listen_fd;
	int lock_fd; /* PATH.lock, held while the socket is ours */
	dev_t device;
	ino_t inode;
};

/*
 * Makes the directory (0700) if it is missing. -EADDRINUSE: a live agent holds the socket. -EPERM:
 * the directory belongs to somebody else or others may write to it. -EEXIST: a file that is no
 * socket is in the way. Other -errno. Ends with control_socket_close().
 */
int control_socket_open(const char *path, struct control_socket *ret);
/* Does the path still lead to it? */
bool control_socket_is_there(const struct control_socket *socket);
/* Removes the socket and its lock. Takes what control_socket_open() filled, once. */
void control_socket_close(struct control_socket *socket);
