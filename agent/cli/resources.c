/* SPDX-License-Identifier: Apache-2.0 */
/* Resource files as polderctl's commands take them: JSON or YAML. */
#include "agent/cli/resources.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "agent/yaml/yaml_text.h"
#include "agent/common/cleanup.h"
#include "agent/common/file.h"

/* ---------------------------------------------------------------- bytes */

static int read_all(int fd, char **ret, size_t *ret_length, struct error *error)
{
	int r = file_read_all(fd, OBJECT_TEXT_MAX, ret, ret_length);

	if (r == -EFBIG)
		return error_at(error, r, "$", "has more than the limit of %u bytes",
				OBJECT_TEXT_MAX);
	if (r == -ENOMEM)
		return error_at(error, r, "$", "out of memory");
	return r < 0 ? error_at(error, -EIO, "$", "cannot be read: %s", strerror(-r)) : 0;
}

static int read_path(const char *path, char **ret, size_t *ret_length, struct error *error)
{
	CLEANUP(cleanup_close) int fd = -1;

	if (strcmp(path, "-") == 0)
		return read_all(STDIN_FILENO, ret, ret_length, error);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_at(error, -EIO, "$", "cannot be opened: %s", strerror(errno));
	return read_all(fd, ret, ret_length, error);
}

/* ---------------------------------------------------------------- one file */

static bool ends_in(const char *name, const char *ending)
{
	size_t length = strlen(name), end = strlen(ending);

	return length > end && strcmp(name + length - end, ending) == 0;
}

static bool begins_as_json(const char *text)
{
	text += strspn(text, " \t\r\n");
	return *text == '{' || *text == '[';
}

/* The limits of polderd apply before anything is built from the text. */
static int read_json(const char *text, size_t length, struct resource_file *file,
		     struct error *error)
{
	json_error_t problem;
	int r = objects_check_size(text, length, error);

	if (r < 0)
		return r;
	file->json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &problem);
	if (!file->json) {
		r = error_at(error, -EINVAL, "$", "not JSON: %s", problem.text);
		error->line = problem.line > 0 ? problem.line : 0;
		error->column = problem.column > 0 ? problem.column : 0;
		return r;
	}
	file->documents = calloc(1, sizeof(*file->documents));
	if (!file->documents)
		return error_at(error, -ENOMEM, "$", "out of memory");
	file->documents[file->count++] = (struct resource_document){file->json, 1};
	return 0;
}

static int read_yaml(const char *text, size_t length, struct resource_file *file,
		     struct error *error)
{
	int r = yaml_text_read(text, length, &file->yaml, error);
	size_t count;

	if (r < 0)
		return r;
	file->is_yaml = true;
	count = yaml_text_count(file->yaml);
	file->documents = calloc(count + 1, sizeof(*file->documents));
	if (!file->documents)
		return error_at(error, -ENOMEM, "$", "out of memory");
	for (size_t i = 0; i < count; i++) {
		const json_t *value = yaml_text_value(file->yaml, i);

		if (!json_is_null(value))
			file->documents[file->count++] = (struct resource_document){value, i + 1};
	}
	return 0;
}

/* Names say what a file is; a name that says YAML may hold JSON, which YAML does not take in every
 * form. */
static int read_text(const char *path, const char *text, size_t length, struct resource_file *file,
		     struct error *error)
{
	bool named_yaml = ends_in(path, ".yaml") || ends_in(path, ".yml");
	int r;

	if (ends_in(path, ".json") || (begins_as_json(text) && !named_yaml))
		return read_json(text, length, file, error);
	if (begins_as_json(text)) {
		r = read_json(text, length, file, error);
		if (r != -EINVAL)
			return r;
	}
	return read_yaml(text, length, file, error);
}

int resource_file_read(const char *path, struct resource_file *ret, struct error *ret_error)
{
	CLEANUP(cleanup_free) char *text = NULL;
	struct resource_file file = {0};
	struct error error;
	size_t length = 0;
	int r = 0;

	file.name = strdup(strcmp(path, "-") == 0 ? "standard input" : path);
	if (!file.name)
		r = error_at(&error, -ENOMEM, "$", "out of memory");
	if (r == 0)
		r = read_path(path, &text, &length, &error);
	if (r == 0)
		r = read_text(path, text, length, &file, &error);
	if (r < 0) {
		resource_file_clear(&file);
		*ret_error = error;
		return r;
	}
	*ret = file;
	return 0;
}

void resource_file_clear(struct resource_file *file)
{
	yaml_text_free(file->yaml);
	json_decref(file->json);
	free(file->documents);
	free(file->name);
	*file = (struct resource_file){0};
}

void resource_file_location(const struct resource_file *file, size_t document, const char *path,
			    int *ret_line, int *ret_column)
{
	*ret_line = *ret_column = 0;
	if (file->yaml)
		yaml_text_location(file->yaml, file->documents[document].number - 1, path, ret_line,
				   ret_column);
}

/* ---------------------------------------------------------------- many */

static int add_path(struct resource_paths *paths, char *path)
{
	char **items = reallocarray(paths->items, paths->count + 1, sizeof(*items));

	if (items)
		paths->items = items;
	if (!items || !path) {
		free(path);
		return -ENOMEM;
	}
	items[paths->count++] = path;
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_directory(struct resource_paths *paths, const char *word, DIR *directory)
{
	size_t first = paths->count;
	struct dirent *item;
	int r = 0;

	while (r == 0 && (errno = 0, item = readdir(directory))) {
		const char *name = item->d_name;
		char *path = NULL;

		if (name[0] == '.' ||
		    !(ends_in(name, ".json") || ends_in(name, ".yaml") || ends_in(name, ".yml")))
			continue;
		r = asprintf(&path, "%s%s%s", word, ends_in(word, "/") ? "" : "/", name) < 0
			    ? -ENOMEM
			    : add_path(paths, path);
	}
	if (r == 0 && errno)
		r = -errno;
	if (paths->count > first)
		qsort(paths->items + first, paths->count - first, sizeof(*paths->items),
		      compare_paths);
	return r;
}

int resource_paths_add(struct resource_paths *paths, const char *word)
{
	struct stat status;
	DIR *directory;
	int r;

	if (strcmp(word, "-") == 0 || stat(word, &status) < 0 || !S_ISDIR(status.st_mode))
		return add_path(paths, strdup(word));
	directory = opendir(word);
	if (!directory)
		return -errno;
	r = add_directory(paths, word, directory);
	closedir(directory);
	return r;
}

void resource_paths_clear(struct resource_paths *paths)
{
	for (size_t i = 0; i < paths->count; i++)
		free(paths->items[i]);
	free(paths->items);
	*paths = (struct resource_paths){0};
}

static int append_file(const char *path, json_t *list)
{
	struct resource_file file = {0};
	struct error error;
	int r = resource_file_read(path, &file, &error);

	if (r < 0 && error.line) {
		cli_error("%s: line %d: %s", path, error.line, error.text);
		return -1;
	}
	if (r < 0) {
		cli_error("%s: %s", path, error.text);
		return -1;
	}
	for (size_t i = 0; r == 0 && i < file.count; i++)
		r = json_array_append(list, (json_t *)file.documents[i].value);
	resource_file_clear(&file);
	if (r < 0)
		cli_error("%s: out of memory", path);
	return r;
}

int resources_read(char *const *words, size_t count, json_t **ret)
{
	CLEANUP(cleanup_json) json_t *list = json_array();
	struct resource_paths paths = {0};
	int r = list ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < count; i++) {
		r = resource_paths_add(&paths, words[i]);
		if (r < 0)
			cli_error("%s: cannot be read: %s", words[i], strerror(-r));
	}
	for (size_t i = 0; r == 0 && i < paths.count; i++)
		r = append_file(paths.items[i], list);
	resource_paths_clear(&paths);
	if (r < 0)
		return -1;
	*ret = TAKE_PTR(list);
	return 0;
}
