/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of attachments to be deleted: how they are named, written whole and read back. */
#include "agent/common/cni_deletion.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/file.h"
#include "agent/common/json_text.h"

#define NOTE_VERSION  1
#define NOTE_SIZE_MAX 4096
#define FILE_NAME_MAX (NAME_MAX + 1)

static bool ascii_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool cni_container_id_valid(const char *text)
{
	size_t length = strlen(text);

	if (!length || length > CNI_CONTAINER_ID_MAX || !ascii_alnum(text[0]))
		return false;
	for (const char *p = text; *p; p++)
		if (!ascii_alnum(*p) && !strchr("_.-", *p))
			return false;
	return true;
}

bool cni_ifname_valid(const char *text)
{
	size_t length = strlen(text);

	if (!length || length > CNI_IFNAME_MAX || !strcmp(text, ".") || !strcmp(text, ".."))
		return false;
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '/' || *p == ':')
			return false;
	return true;
}

/* A colon stands in neither name, so no two attachments share a file. */
static void file_name(const char *container_id, const char *ifname, char *ret)
{
	snprintf(ret, FILE_NAME_MAX, "%s:%s" CNI_DELETION_SUFFIX, container_id, ifname);
}

int cni_deletion_open_directory(const char *socket, int *ret_fd)
{
	char parent[PATH_MAX], path[PATH_MAX + sizeof(CNI_DELETION_DIRECTORY)];
	struct stat status;
	int fd, r = 0;

	if (strlen(socket) >= sizeof(parent))
		return -ENAMETOOLONG;
	strcpy(parent, socket);
	snprintf(path, sizeof(path), "%s/" CNI_DELETION_DIRECTORY, dirname(parent));
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0)
		r = -errno;
	else if (status.st_uid != geteuid() || status.st_mode & 0022)
		r = -EPERM;
	if (r < 0)
		close(fd);
	else
		*ret_fd = fd;
	return r;
}

static int write_file(int directory_fd, const char *file, const char *text)
{
	int fd = openat(directory_fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			0600);
	int r;

	if (fd < 0)
		return -errno;
	r = file_write_all(fd, text, strlen(text));
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

int cni_deletion_write(int directory_fd, const char *container_id, const char *ifname)
{
	char file[FILE_NAME_MAX], temporary[FILE_NAME_MAX];
	json_t *note = json_pack("{s:i, s:s, s:s}", "version", NOTE_VERSION, "container_id",
				 container_id, "ifname", ifname);
	char *text = note ? json_dumps(note, JSON_COMPACT) : NULL;
	int r = -ENOMEM;

	json_decref(note);
	if (!text)
		return r;
	file_name(container_id, ifname, file);
	snprintf(temporary, sizeof(temporary), ".%d.tmp", (int)getpid());
	r = write_file(directory_fd, temporary, text);
	free(text);
	if (!r && renameat(directory_fd, temporary, directory_fd, file) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(directory_fd, temporary, 0);
		return r;
	}
	return fsync(directory_fd) < 0 ? -errno : 0;
}

int cni_deletion_exists(int directory_fd, const char *container_id, const char *ifname)
{
	char file[FILE_NAME_MAX];

	file_name(container_id, ifname, file);
	if (!faccessat(directory_fd, file, F_OK, AT_SYMLINK_NOFOLLOW))
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int cni_deletion_remove(int directory_fd, const char *container_id, const char *ifname)
{
	char file[FILE_NAME_MAX];

	file_name(container_id, ifname, file);
	return unlinkat(directory_fd, file, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int cni_deletion_decode(const char *text, size_t length, struct cni_deletion *ret)
{
	const char *container_id, *ifname;
	json_t *note = NULL;
	int r = json_text_load(text, length, JSON_REJECT_DUPLICATES, NULL, &note);

	if (r < 0)
		return r;
	container_id = json_string_value(json_object_get(note, "container_id"));
	ifname = json_string_value(json_object_get(note, "ifname"));
	r = -EBADMSG;
	if (json_integer_value(json_object_get(note, "version")) == NOTE_VERSION && container_id &&
	    ifname && cni_container_id_valid(container_id) && cni_ifname_valid(ifname)) {
		strcpy(ret->container_id, container_id);
		strcpy(ret->ifname, ifname);
		r = 0;
	}
	json_decref(note);
	return r;
}

/* One read suffices: what is longer than the buffer is no note. */
static int read_file(int directory_fd, const char *file, char *buffer, size_t *ret_length)
{
	int fd = openat(directory_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status;
	ssize_t n;
	int r = 0;

	if (fd < 0)
		return errno == ELOOP ? -EBADMSG : -errno;
	if (fstat(fd, &status) < 0) {
		r = -errno;
	} else if (!S_ISREG(status.st_mode) || status.st_size > NOTE_SIZE_MAX) {
		r = -EBADMSG;
	} else {
		n = read(fd, buffer, NOTE_SIZE_MAX);
		if (n < 0)
			r = -errno;
		else
			*ret_length = (size_t)n;
	}
	close(fd);
	return r;
}

int cni_deletion_read(int directory_fd, const char *file, struct cni_deletion *ret)
{
	char buffer[NOTE_SIZE_MAX], expected[FILE_NAME_MAX];
	struct cni_deletion note;
	size_t length = 0;
	int r = read_file(directory_fd, file, buffer, &length);

	if (!r)
		r = cni_deletion_decode(buffer, length, &note);
	if (r < 0)
		return r;
	file_name(note.container_id, note.ifname, expected);
	if (strcmp(file, expected))
		return -EBADMSG;
	*ret = note;
	return 0;
}
