/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/cni_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"
#include "agent/common/json_text.h"

#define CONFIG_MOST (64u << 10)
#define PLUGIN_MOST (32u << 20)
#define NAMED_MOST  3

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The type of the first plugin, of a list or of a single configuration. NULL: it has none. */
static const char *first_type(const json_t *root)
{
	const json_t *plugins = json_object_get(root, "plugins");
	const json_t *first = plugins ? json_array_get(plugins, 0) : root;

	return json_string_value(json_object_get(first, "type"));
}

/* 0 with the first plugin's type in `type`; -EBADMSG: it is no network configuration; -errno. */
static int read_type(const char *path, char type[NAME_MAX])
{
	CLEANUP(cleanup_free) char *text = NULL;
	CLEANUP(cleanup_json) json_t *root = NULL;
	size_t length = 0;
	int r = file_read(path, 0, CONFIG_MOST, &text, &length);

	if (r == 0)
		r = json_text_load(text, length, 0, NULL, &root);
	if (r < 0)
		return r;
	if (!first_type(root))
		return -EBADMSG;
	snprintf(type, NAME_MAX, "%s", first_type(root));
	return 0;
}

bool cni_files_is_our_config(const char *path)
{
	char type[NAME_MAX];

	return read_type(path, type) == 0 && strcmp(type, CNI_PLUGIN_NAME) == 0;
}

bool cni_files_is_config_name(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && (strcmp(dot, ".conflist") == 0 || strcmp(dot, ".conf") == 0 ||
		       strcmp(dot, ".json") == 0);
}

bool cni_files_is_our_plugin(const char *path)
{
	CLEANUP(cleanup_free) char *content = NULL;
	size_t length = 0;

	return strcmp(base_name(path), CNI_PLUGIN_NAME) == 0 &&
	       file_read(path, O_NOFOLLOW, PLUGIN_MOST, &content, &length) == 0 &&
	       memmem(content, length, CNI_PLUGIN_MARK, strlen(CNI_PLUGIN_MARK));
}

/* ---------------------------------------------------------------- what is put there */

static bool has_content(const char *path, const char *content, size_t length)
{
	CLEANUP(cleanup_free) char *found = NULL;
	size_t found_length = 0;

	return file_read(path, O_NOFOLLOW, length, &found, &found_length) == 0 &&
	       found_length == length && memcmp(found, content, length) == 0;
}

static int put(const char *directory, const char *name, const char *content, size_t length,
	       mode_t mode, struct error *error)
{
	const struct iovec part = {.iov_base = (void *)content, .iov_len = length};
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return error_set(error, -ENAMETOOLONG, ENAMETOOLONG, "%s: the path is too long",
				 directory);
	if (has_content(path, content, length))
		return 0;
	r = file_replace(path, &part, 1, mode, true);
	if (r < 0)
		return error_set(error, r, -r, "%s: cannot be written: %s", path, strerror(-r));
	return 1;
}

int cni_files_put_config(const char *source, const char *directory, struct error *error)
{
	CLEANUP(cleanup_free) char *text = NULL;
	CLEANUP(cleanup_json) json_t *root = NULL;
	json_error_t wrong = {.line = -1};
	const char *type;
	size_t length = 0;
	int r = file_read(source, 0, CONFIG_MOST, &text, &length);

	if (r < 0)
		return error_set(error, r, -r, "%s: cannot be read: %s", source, strerror(-r));
	r = json_text_load(text, length, 0, &wrong, &root);
	if (r < 0)
		return error_set(error, r, -r, "%s: %s (line %d, column %d)", source, wrong.text,
				 wrong.line, wrong.column);
	type = first_type(root);
	if (!type || strcmp(type, CNI_PLUGIN_NAME) != 0)
		return error_set(error, -EINVAL, EINVAL,
				 "%s: its first plugin is not " CNI_PLUGIN_NAME
				 "; take 10-polder.conflist, and put others behind it",
				 source);
	if (!cni_files_is_config_name(base_name(source)))
		return error_set(error, -EINVAL, EINVAL,
				 "%s: runtimes read names that end in .conflist, .conf or .json",
				 source);
	return put(directory, base_name(source), text, length, 0644, error);
}

int cni_files_put_plugin(const char *source, const char *directory, struct error *error)
{
	CLEANUP(cleanup_free) char *content = NULL;
	size_t length = 0;
	int r = file_read(source, 0, PLUGIN_MOST, &content, &length);

	if (r < 0)
		return error_set(error, r, -r, "%s: cannot be read: %s", source, strerror(-r));
	return put(directory, CNI_PLUGIN_NAME, content, length, 0755, error);
}

/* ---------------------------------------------------------------- rivals */

static int is_config(const struct dirent *entry)
{
	return cni_files_is_config_name(entry->d_name);
}

/* Byte by byte, as runtimes sort. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* What a runtime makes of a file that it reads before ours; NULL: nothing that matters. */
static const char *judge(const char *directory, const char *name)
{
	static const char *const known[] = {CNI_PLUGIN_NAME, "multus", "multus-shim"};
	char path[PATH_MAX], type[NAME_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return NULL;
	r = read_type(path, type);
	if (r < 0)
		return r == -ENOENT ? NULL : "no configuration: containerd reads no other then";
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(type, known[i]) == 0)
			return NULL;
	return "another network: pods are connected by it, not by Polder";
}

void cni_files_find_rivals(const char *directory, const char *name, char *note, size_t size)
{
	struct dirent **entries = NULL;
	int count = scandir(directory, &entries, is_config, by_name), rivals = 0;
	size_t length = 0;

	note[0] = '\0';
	for (int i = 0; i < count; i++) {
		const char *rival = entries[i]->d_name;
		const char *what = strcmp(rival, name) < 0 ? judge(directory, rival) : NULL;

		if (what && rivals++ < NAMED_MOST && length < size)
			length += (size_t)snprintf(note + length, size - length, "%s%s (%s)",
						   rivals > 1 ? ", " : "", rival, what);
		free(entries[i]);
	}
	free(entries);
	if (rivals && length < size)
		snprintf(note + length, size - length,
			 "%s in %s: runtimes read what comes before %s by name; delete or rename",
			 rivals > NAMED_MOST ? " and more" : "", directory, name);
}

/* ---------------------------------------------------------------- what follows in the list */

static bool declares(const json_t *plugin, const char *capability)
{
	return json_is_true(json_object_get(json_object_get(plugin, "capabilities"), capability));
}

/* NULL: nothing that matters. */
static const char *judge_follower(const json_t *ours, const json_t *plugin)
{
	const char *type = json_string_value(json_object_get(plugin, "type"));

	if (type && strcmp(type, "bandwidth") == 0)
		return "plugin bandwidth limits nothing behind " CNI_PLUGIN_NAME
		       ": what Polder forwards passes by its queues; delete it, and give "
		       "\"bandwidth\": true to the capabilities of " CNI_PLUGIN_NAME;
	if (declares(ours, "portMappings") && declares(plugin, "portMappings"))
		return "two plugins publish the same ports, as both declare portMappings; take the "
		       "capability from one of them: from " CNI_PLUGIN_NAME
		       " if portmap is preferred";
	return NULL;
}

void cni_files_find_doubled(const char *path, char *note, size_t size)
{
	CLEANUP(cleanup_free) char *text = NULL;
	CLEANUP(cleanup_json) json_t *root = NULL;
	const json_t *plugins;
	size_t length = 0;

	note[0] = '\0';
	if (file_read(path, 0, CONFIG_MOST, &text, &length) < 0 ||
	    json_text_load(text, length, 0, NULL, &root) < 0)
		return;
	plugins = json_object_get(root, "plugins");
	for (size_t i = 1; i < json_array_size(plugins); i++) {
		const char *what =
			judge_follower(json_array_get(plugins, 0), json_array_get(plugins, i));

		if (what) {
			snprintf(note, size, "%s: %s", path, what);
			return;
		}
	}
}
