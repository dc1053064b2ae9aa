/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of attachments to be deleted, left by the CNI plugin while the agent is away; also the
 * rules for their names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Below the control socket's directory; mode 0700. Holds CONTAINERID:IFNAME.json, nothing else that
 * counts. */
#define CNI_DELETION_DIRECTORY "cni-del"
#define CNI_DELETION_SUFFIX    ".json"

/* Leaves room for the interface's name and suffixes in one file name (255 bytes). */
#define CNI_CONTAINER_ID_MAX 200
#define CNI_IFNAME_MAX	     15

struct cni_deletion {
	char container_id[CNI_CONTAINER_ID_MAX + 1];
	char ifname[CNI_IFNAME_MAX + 1];
};

/* Alphanumeric first, then alphanumeric, '_', '.', '-'; at most CNI_CONTAINER_ID_MAX characters. */
bool cni_container_id_valid(const char *text);
/* Printable ASCII without '/', ':' and blanks, not "." or ".."; at most CNI_IFNAME_MAX characters.
 */
bool cni_ifname_valid(const char *text);

/*
 * Makes (if need be) and opens the directory of notes beside the socket. 0; -ENOENT: the socket's
 * own directory is not there; -EPERM: somebody else owns it or may write to it; other -errno.
 */
int cni_deletion_open_directory(const char *socket, int *ret_fd);

/* The names must be valid. Whole and on disk, or not there. Writing again what is there is fine. 0
 * or -errno. */
int cni_deletion_write(int directory_fd, const char *container_id, const char *ifname);
/* 1: it is there; 0: it is not; -errno: nobody knows. */
int cni_deletion_exists(int directory_fd, const char *container_id, const char *ifname);
/* A note that is not there is removed. 0 or -errno. */
int cni_deletion_remove(int directory_fd, const char *container_id, const char *ifname);

/* Reads a file of the directory. 0; -EBADMSG: damaged, or named otherwise than its content says;
 * other -errno. */
int cni_deletion_read(int directory_fd, const char *file, struct cni_deletion *ret);
/* For cni_deletion_read() and its fuzzing. 0 or -EBADMSG. */
int cni_deletion_decode(const char *text, size_t length, struct cni_deletion *ret);
