/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every damage of one byte, and every cut, of a file that the agent or the plugin reads, given to
 * the code that reads it:
 *
 *     damaged KIND FILE DIRECTORY STEP
 *
 * DIRECTORY is an empty one for what has to be read from a disk. Each STEPth byte is damaged.
 * Prints one line of JSON: how many cases there were, how many were refused, read as if they were
 * whole, or taken for another document; and, in words, those that broke a rule.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/cni_deletion.h"
#include "agent/common/file.h"
#include "agent/common/log.h"
#include "agent/common/state_file.h"
#include "agent/config/config_keys.h"
#include "agent/sources/last_good.h"
#include "cni/config.h"
#include "plugin/io.h"
#include "policy/objects/objects.h"

#define TOLD_MOST 5

/* What became of a damaged text. */
enum outcome { REFUSED, SAME, OTHER, WRONG };

struct text {
	const char *bytes;
	size_t length;
};

struct kind {
	const char *name;
	/* With a checksum every damage shows: nothing but REFUSED is right. */
	bool sums;
	enum outcome (*read)(const struct text *text, const char *why[]);
};

static const char *directory;
static const char *file_name;
static struct text whole;

static bool is_whole(const char *bytes, size_t length)
{
	return length == whole.length && memcmp(bytes, whole.bytes, length) == 0;
}

static void put(const char *name, const struct text *text)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || file_write_all(fd, text->bytes, text->length) < 0) {
		perror(path);
		exit(2);
	}
	close(fd);
}

/* ---------------------------------------------------------------- with a checksum */

static enum outcome read_state(const struct text *text, const char *why[])
{
	CLEANUP(cleanup_free) char *content = NULL;
	char path[PATH_MAX];
	int r;

	put("state", text);
	snprintf(path, sizeof(path), "%s/state", directory);
	r = state_file_read(path, 64u << 20, &content, NULL);
	if (r == -EBADMSG || r == -EFBIG)
		return REFUSED;
	*why = r == 0 ? "it is believed" : strerror(-r);
	return WRONG;
}

/* Its name is a digest of its origin; each of the three versions that there may be. */
static enum outcome read_copy_as(const struct text *text, const char *ending, const char *why[])
{
	CLEANUP(cleanup_free) char *content = NULL;
	const char *newline = memchr(whole.bytes, '\n', whole.length);
	const char *origin = newline ? newline + 1 : "";
	struct last_good *copies = NULL;
	char name[NAME_MAX + 1];
	size_t length;
	int r;

	snprintf(name, sizeof(name), "%.32s%s", file_name, ending);
	put(name, text);
	r = last_good_open(directory, &copies);
	if (r == 0)
		r = last_good_find(copies, origin, &content, &length);
	if (copies) {
		(void)last_good_delete(copies, origin);
		last_good_close(copies);
	}
	/* One that was never synced stands for nothing when it is damaged. */
	if (r == -EBADMSG || (r == -ENOENT && ending[0]))
		return REFUSED;
	*why = r == 0 ? "it is believed" : strerror(-r);
	return WRONG;
}

static enum outcome read_copy(const struct text *text, const char *why[])
{
	static const char *const endings[] = {"", ".new", ".sync"};
	enum outcome outcome = REFUSED;

	for (size_t i = 0; i < 3 && outcome == REFUSED; i++)
		outcome = read_copy_as(text, endings[i], why);
	return outcome;
}

/* ---------------------------------------------------------------- without one */

/* All that is refused is refused in words. */
static enum outcome refused(int r, const char *words, const char *why[])
{
	if (r < 0 && words[0])
		return REFUSED;
	*why = "it is refused without a word";
	return WRONG;
}

static enum outcome accepted(const struct text *text)
{
	return is_whole(text->bytes, text->length) ? SAME : OTHER;
}

static enum outcome read_objects(const struct text *text, const char *why[])
{
	struct object_list list = {0};
	struct error error = {0};
	int r = objects_decode(text->bytes, text->length, &list, &error);

	object_list_clear(&list);
	return r < 0 ? refused(r, error.text, why) : accepted(text);
}

static enum outcome read_config(const struct text *text, const char *why[])
{
	struct config_source source = {.name = file_name, .file = true};
	struct config config = {0};
	enum outcome outcome;
	int r;

	config_defaults(&config);
	r = config_apply_text(&config, text->bytes, text->length, &source);
	if (r == 0)
		r = config_check(&config, &source);
	outcome = r < 0 ? refused(r, source.error, why) : accepted(text);
	if (outcome == REFUSED && !strstr(source.error, file_name)) {
		*why = "the message does not name the file";
		outcome = WRONG;
	}
	config_clear(&config);
	return outcome;
}

static enum outcome read_network(const struct text *text, const char *why[])
{
	struct cni_config config = {0};
	struct error error = {0};
	json_t *root = NULL;
	int r = input_parse(text->bytes, text->length, CNI_CONFIG_MAX, &root, &error);

	if (r == 0)
		r = cni_config_decode(root, &config, &error);
	else if (root)
		json_decref(root);
	if (r == 0)
		cni_config_clear(&config);
	return r < 0 ? refused(r, error.text, why) : accepted(text);
}

/* Its name says the same as its content: what tells of another attachment is refused. */
static enum outcome read_note(const struct text *text, const char *why[])
{
	struct cni_deletion note;
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	put(file_name, text);
	r = cni_deletion_read(fd, file_name, &note);
	close(fd);
	if (r == -EBADMSG)
		return REFUSED;
	*why = strerror(-r);
	return r < 0 ? WRONG : accepted(text);
}

/* ---------------------------------------------------------------- all damages */

static const struct kind kinds[] = {
	{"state", true, read_state},	  {"copy", true, read_copy},
	{"objects", false, read_objects}, {"config", false, read_config},
	{"network", false, read_network}, {"note", false, read_note},
};

static size_t counts[4];
static json_t *wrong;

static void try_one(const struct kind *kind, const char *bytes, size_t length, const char *damage,
		    size_t at)
{
	/* To its end and not a byte further: AddressSanitizer sees who reads on. */
	char *copy = malloc(length ? length : 1);
	const struct text text = {copy, length};
	const char *why = "";
	enum outcome outcome;

	if (!copy)
		exit(2);
	memcpy(copy, bytes, length);
	outcome = is_whole(bytes, length) ? SAME : kind->read(&text, &why);
	if (outcome == OTHER && kind->sums)
		outcome = WRONG;
	counts[outcome]++;
	if (outcome == WRONG && json_array_size(wrong) < TOLD_MOST)
		json_array_append_new(
			wrong, json_sprintf("%s, byte %zu %s: %s", file_name, at, damage, why));
	free(copy);
}

static void damage_byte(const struct kind *kind, char *bytes, size_t at)
{
	const struct {
		const char *name;
		char value;
	} damages[] = {
		{"with a bit flipped", (char)(bytes[at] ^ (1 << at % 8))},
		{"inverted", (char)~bytes[at]},
		{"zero", 0},
		{"0xff", (char)0xff},
	};
	const char good = bytes[at];

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		bytes[at] = damages[i].value;
		try_one(kind, bytes, whole.length, damages[i].name, at);
	}
	bytes[at] = good;
	try_one(kind, bytes, at, "and what follows cut off", at);
}

/* The file as it is has to be readable, or nothing is tried. */
static bool is_readable(const struct kind *kind)
{
	const char *why = "";

	if (kind->sums)
		return kind->read(&whole, &why) == WRONG && strcmp(why, "it is believed") == 0;
	return kind->read(&whole, &why) == SAME;
}

static char *read_file(const char *path)
{
	char *bytes = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || file_read_all(fd, 64u << 20, &bytes, &whole.length) < 0) {
		perror(path);
		exit(2);
	}
	close(fd);
	return bytes;
}

int main(int argc, char **argv)
{
	const struct kind *kind = NULL;
	char *bytes, *damaged;

	for (size_t i = 0; argc == 5 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].name, argv[1]) == 0)
			kind = &kinds[i];
	if (!kind) {
		fprintf(stderr, "usage: damaged KIND FILE DIRECTORY STEP\n");
		return 2;
	}
	log_set_level(LOG_LEVEL_ERROR);
	directory = argv[3];
	file_name = strrchr(argv[2], '/') ? strrchr(argv[2], '/') + 1 : argv[2];
	bytes = read_file(argv[2]);
	whole.bytes = bytes;
	if (!is_readable(kind)) {
		fprintf(stderr, "%s: is no valid file of kind %s\n", argv[2], kind->name);
		return 2;
	}
	damaged = malloc(whole.length + 1);
	wrong = json_array();
	if (!damaged || !wrong)
		return 2;
	memcpy(damaged, bytes, whole.length);
	for (size_t at = 0; at < whole.length; at += strtoul(argv[4], NULL, 10))
		damage_byte(kind, damaged, at);
	printf("{\"cases\": %zu, \"refused\": %zu, \"same\": %zu, \"other\": %zu, \"wrong\": %zu, "
	       "\"told\": ",
	       counts[REFUSED] + counts[SAME] + counts[OTHER] + counts[WRONG], counts[REFUSED],
	       counts[SAME], counts[OTHER], counts[WRONG]);
	json_dumpf(wrong, stdout, 0);
	printf("}\n");
	json_decref(wrong);
	free(damaged);
	free(bytes);
	return counts[WRONG] ? 1 : 0;
}
