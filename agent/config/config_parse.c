/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config_parse.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"

int bad(struct config_source *source, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(source->error, sizeof(source->error), format, arguments);
	va_end(arguments);
	return -EINVAL;
}

int replace_text(char **field, const char *text, struct config_source *source)
{
	char *copy = strdup(text);

	if (!copy)
		return bad(source, "out of memory");
	free(*field);
	*field = copy;
	return 0;
}

/* Drops empty parts and "."; in place. -EINVAL: a part is "..", which links make ambiguous. */
static int normalise(char *path)
{
	char *in = path, *out = path;

	while (*in) {
		size_t length;

		in += strspn(in, "/");
		length = strcspn(in, "/");
		if (length == 2 && memcmp(in, "..", 2) == 0)
			return -EINVAL;
		if (length > 0 && !(length == 1 && *in == '.')) {
			*out++ = '/';
			memmove(out, in, length);
			out += length;
		}
		in += length;
	}
	*out = '\0';
	return 0;
}

int set_path(char **field, const char *text, struct config_source *source)
{
	char path[PATH_MAX], directory[PATH_MAX];
	int r;

	if (!text[0])
		return bad(source, "a path is required");
	if (text[0] == '/')
		r = snprintf(path, sizeof(path), "%s", text);
	else if (source->file)
		return bad(source, "an absolute path is required");
	else if (!getcwd(directory, sizeof(directory)))
		return bad(source, "the current directory cannot be determined: %s",
			   strerror(errno));
	else
		r = snprintf(path, sizeof(path), "%s/%s", directory, text);
	if (r < 0 || (size_t)r >= sizeof(path))
		return bad(source, "a path has at most %d bytes", PATH_MAX - 1);
	if (normalise(path) < 0)
		return bad(source, "a path without \"..\" is required");
	if (!path[0])
		return bad(source, "the root directory cannot be used");
	return replace_text(field, path, source);
}

int set_directory(char **field, const char *text, struct config_source *source)
{
	CLEANUP(cleanup_free) char *path = NULL;
	struct stat status;
	int r = set_path(&path, text, source);

	if (r < 0)
		return r;
	if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode))
		return bad(source, "%s is not a directory", path);
	free(*field);
	*field = TAKE_PTR(path);
	return 0;
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret,
		 struct config_source *source)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value < min || value > max)
		return bad(source, "a whole number from %llu to %llu is required",
			   (unsigned long long)min, (unsigned long long)max);
	*ret = value;
	return 0;
}

int set_u32(uint32_t *field, const char *text, uint32_t min, uint32_t max,
	    struct config_source *source)
{
	uint64_t value = 0;
	int r = parse_number(text, min, max, &value, source);

	if (r == 0)
		*field = (uint32_t)value;
	return r;
}

int choose(const struct choice *choices, size_t count, const char *text, int *ret,
	   struct config_source *source)
{
	char names[128] = "";

	for (size_t i = 0; i < count; i++) {
		if (strcmp(choices[i].name, text) == 0) {
			*ret = choices[i].value;
			return 0;
		}
		strcat(names, i == 0 ? "" : i + 1 < count ? ", " : " or ");
		strcat(names, choices[i].name);
	}
	return bad(source, "%s is required", names);
}
