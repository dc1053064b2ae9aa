/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of the records, where the run directory may be lost or a record damaged while the pods go
 * on. They are worth something as long as the links are there, so not longer than the machine runs,
 * and nothing is synced.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/common/state_file.h"
#include "agent/pods/pods_internal.h"

static int path_of(const struct pods *pods, const struct local_pod *pod, char path[PATH_MAX])
{
	int length = snprintf(path, PATH_MAX, "%s/%s:%s.json", pods->copies, pod->container_id,
			      pod->ifname);

	return length < PATH_MAX ? 0 : -ENAMETOOLONG;
}

void pods_copy_write(struct pods *pods, const struct local_pod *pod, const char *text)
{
	char path[PATH_MAX];
	int r;

	if (!pods->copies)
		return;
	r = path_of(pods, pod, path);
	if (r == 0)
		r = state_file_write_unsynced(path, text, strlen(text));
	if (r < 0 && !pods->copies_failed)
		log_error(
			"pods",
			"%s: copies of pods' records cannot be written: %s; pods are forgotten if "
			"the run directory is lost; retried every 5 s",
			pods->copies, strerror(-r));
	/* Until all have been written: this one may be the only one that cannot. */
	pods->copies_failed |= r < 0;
}

static void write_anew(struct pods *pods, const struct local_pod *pod)
{
	CLEANUP(cleanup_json) json_t *record = pods_record_encode(pod);
	CLEANUP(cleanup_free) char *text = record ? json_dumps(record, JSON_INDENT(1)) : NULL;

	if (text)
		pods_copy_write(pods, pod, text);
}

/* After a failure nobody knows which of them are old. */
static void write_all_anew(struct pods *pods)
{
	pods->copies_failed = false;
	for (size_t i = 0; i < pods->count && !pods->copies_failed; i++)
		if (!pods->items[i]->gone)
			write_anew(pods, pods->items[i]);
	if (!pods->copies_failed)
		log_info("pods", "%s: copies of pods' records are written again", pods->copies);
}

/* "CONTAINERID:IFNAME.json" of a pod that is in the table? */
static bool is_of_a_pod(const struct pods *pods, const char *file)
{
	for (size_t i = 0; i < pods->count; i++) {
		const struct local_pod *pod = pods->items[i];
		size_t length = strlen(pod->container_id);

		if (strncmp(file, pod->container_id, length) == 0 && file[length] == ':' &&
		    strncmp(file + length + 1, pod->ifname, strlen(pod->ifname)) == 0 &&
		    strcmp(file + length + 1 + strlen(pod->ifname), ".json") == 0)
			return true;
	}
	return false;
}

/* Those that could not be removed with their pods. */
static void remove_others(struct pods *pods)
{
	DIR *directory = opendir(pods->copies);
	struct dirent *entry;

	if (!directory)
		return;
	pods->copies_stay = false;
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.' && !is_of_a_pod(pods, entry->d_name) &&
		    unlinkat(dirfd(directory), entry->d_name, 0) < 0)
			pods->copies_stay = true;
	closedir(directory);
}

void pods_repair_copies(struct pods *pods)
{
	if (!pods->copies)
		return;
	if (mkdir(pods->copies, 0700) < 0 && errno != EEXIST)
		return;
	if (pods->copies_stay && !pods->unread)
		remove_others(pods);
	if (pods->copies_failed) {
		/* Told already. */
		write_all_anew(pods);
		return;
	}
	for (size_t i = 0; i < pods->count; i++)
		if (!pods->items[i]->gone)
			pods_copy_ensure(pods, pods->items[i]);
}

void pods_copy_remove(struct pods *pods, const struct local_pod *pod)
{
	char path[PATH_MAX];

	if (pods->copies && path_of(pods, pod, path) == 0 && unlink(path) < 0 && errno != ENOENT)
		pods->copies_stay = true;
}

/* The link tells whether the pod is still there. */
static bool has_link(const struct local_pod *pod, const struct link_info *links, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (pods_link_is(pod, &links[i]))
			return true;
	return false;
}

/* Whoever it is of may be connected, so no link is an orphan. */
static void unreadable(struct pods *pods, const char *file, int r)
{
	pods->unread = true;
	log_error("pods",
		  "%s%s%s: copies of records cannot be read: %s; a pod whose record is lost is cut "
		  "off until polderd can read its copy at a start",
		  pods->copies, file ? "/" : "", file ? file : "", strerror(-r));
}

/* The file stays only if it is a pod's that is there. */
static int adopt_copy(struct pods *pods, int dir_fd, const char *file,
		      const struct link_info *links, size_t count)
{
	char text[POD_TEXT_MAX];
	struct local_pod *pod = NULL;
	int r = pods_record_read(pods->copies, file, &pod);

	if (r == -EPROTONOSUPPORT || r == -ENOMEM)
		return r;
	if (r == 0 && pods_find(pods, pod->container_id, pod->ifname)) {
		local_pod_free(pod);
		return 0;
	}
	if (r == 0)
		r = has_link(pod, links, count) ? pods_adopt(pods, pod) : -EBADMSG;
	if (r < 0) {
		local_pod_free(pod);
		/* What cannot be read now may be whole. */
		if (r == -EBADMSG || r == -EFBIG)
			(void)unlinkat(dir_fd, file, 0);
		else
			unreadable(pods, file, r);
		return r == -ENOMEM ? r : 0;
	}
	log_warning("pods", "%s: its record was lost or damaged, and is restored from its copy",
		    local_pod_text(pod, text));
	r = pods_record_write(pods, pod);
	if (r < 0)
		log_error("pods", "%s: its record cannot be written: %s", text, strerror(-r));
	return 0;
}

int pods_copies_read(struct pods *pods, const struct link_info *links, size_t count)
{
	DIR *directory;
	struct dirent *entry;
	int r = 0;

	if (!pods->copies)
		return 0;
	directory = opendir(pods->copies);
	if (!directory) {
		if (errno != ENOENT)
			unreadable(pods, NULL, -errno);
		return 0;
	}
	while (r == 0 && (entry = readdir(directory))) {
		size_t length = strlen(entry->d_name);

		if (entry->d_name[0] == '.')
			(void)(length > 4 && strcmp(entry->d_name + length - 4, ".tmp") == 0 &&
			       unlinkat(dirfd(directory), entry->d_name, 0));
		else if (length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0)
			r = adopt_copy(pods, dirfd(directory), entry->d_name, links, count);
	}
	closedir(directory);
	/* Records of before there were copies. */
	for (size_t i = 0; i < pods->count && r == 0; i++)
		pods_copy_ensure(pods, pods->items[i]);
	return r;
}

void pods_copy_ensure(struct pods *pods, const struct local_pod *pod)
{
	char path[PATH_MAX];

	if (pods->copies && path_of(pods, pod, path) == 0 && access(path, F_OK) < 0 &&
	    errno == ENOENT)
		write_anew(pods, pod);
}

void pods_copies_open(struct pods *pods, const char *directory)
{
	if (!directory)
		return;
	if (mkdir(directory, 0700) < 0 && errno != EEXIST) {
		log_error("pods",
			  "%s: cannot be made: %s; pods are forgotten if the run directory "
			  "is lost",
			  directory, strerror(errno));
		return;
	}
	pods->copies = strdup(directory);
}
