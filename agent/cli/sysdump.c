/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl sysdump: what somebody needs who looks for a fault from elsewhere, in one archive. */
#include "agent/cli/sysdump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/cli/archive.h"
#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/redact.h"
#include "agent/cli/table.h"
#include "agent/common/array.h"
#include "agent/common/cleanup.h"

#define PATIENCE_MS 10000
#define FLOWS_MAX   5000

/* ---------------------------------------------------------------- the archive */

/* polder-sysdump-WHAT-20261128T020000Z: of the host, or of a cluster. */
static char *own_name(const char *what)
{
	char when[32], *name = NULL;
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &utc);
	if (asprintf(&name, "polder-sysdump-%s-%s", what, when) < 0)
		abort();
	return name;
}

static int open_file(const char *path)
{
	if (strcmp(path, "-") == 0)
		return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	/* Never over a file that is there, nor through a link: it may be written to /tmp as root.
	 */
	return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

int sysdump_open(const struct cli *cli, const char *what, struct sysdump *ret, char **ret_path)
{
	CLEANUP(cleanup_free) char *name = own_name(what), *path = NULL;
	CLEANUP(cleanup_close) int fd = -1;
	struct archive *archive;

	if (cli->argument)
		path = strdup(cli->argument);
	else if (asprintf(&path, "%s.tar.gz", name) < 0)
		path = NULL;
	if (!path)
		abort();
	if (strcmp(path, "-") == 0 && isatty(STDOUT_FILENO)) {
		cli_error("the archive is not for a terminal: give a file, or a pipe behind -");
		return -1;
	}
	fd = open_file(path);
	if (fd < 0 || archive_open(fd, name, &archive) < 0) {
		cli_error("%s cannot be written: %s", path, strerror(errno));
		return -1;
	}
	TAKE_FD(fd);
	*ret = (struct sysdump){.cli = cli,
				.archive = archive,
				.files = json_array(),
				.bpffs = "/sys/fs/bpf/polder",
				.run_dir = "/run/polder",
				.state_dir = "/var/lib/polder"};
	*ret_path = TAKE_PTR(path);
	return 0;
}

static void note_file(struct sysdump *dump, const char *name, size_t length, const char *note)
{
	json_array_append_new(dump->files, json_pack("{s:s, s:I, s:s*}", "name", name, "bytes",
						     (json_int_t)length, "note", note));
}

void sysdump_add(struct sysdump *dump, const char *name, char *text, size_t length,
		 const char *note)
{
	if (length > SYSDUMP_TEXT_MAX) {
		length = SYSDUMP_TEXT_MAX;
		note = note ? note : "cut: there is more";
	}
	redact(text, length);
	archive_add(dump->archive, name, text, length);
	note_file(dump, name, length, note);
}

void sysdump_add_binary(struct sysdump *dump, const char *name, const void *data, size_t length)
{
	archive_add(dump->archive, name, data, length);
	note_file(dump, name, length, NULL);
}

void sysdump_add_json(struct sysdump *dump, const char *name, const json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(1) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);

	if (text)
		sysdump_add(dump, name, text, strlen(text), NULL);
	free(text);
}

void sysdump_miss(struct sysdump *dump, const char *name, const char *note)
{
	note_file(dump, name, 0, note);
}

int sysdump_close(struct sysdump *dump, char *path)
{
	CLEANUP(cleanup_free) char *owned = path;
	json_t *index = json_pack("{s:s, s:I, s:o}", "version", POLDER_VERSION, "time",
				  (json_int_t)time(NULL), "files", dump->files);
	size_t count = json_array_size(dump->files);
	bool to_output = strcmp(path, "-") == 0;
	int r;

	dump->files = json_incref(dump->files);
	sysdump_add_json(dump, "index.json", index);
	r = archive_close(dump->archive);
	json_decref(dump->config);
	if (r < 0) {
		cli_error("%s cannot be written: %s", path, strerror(-r));
		if (!to_output)
			unlink(path);
	} else if (!to_output && dump->cli->json) {
		json_object_set_new(index, "archive", json_string(path));
		cli_print_json(index);
	} else if (!to_output) {
		text_print(path, NULL, stdout);
		printf(": %zu files; secrets that look like some have been taken out: read it "
		       "before you pass it on\n",
		       count);
	}
	json_decref(dump->files);
	json_decref(index);
	return r < 0 ? CLI_FAILED : CLI_OK;
}

/* ---------------------------------------------------------------- what the agent says */

/* The directories that are in force, of `config`. */
static void take_directories(struct sysdump *dump, const json_t *config)
{
	struct {
		const char *key, **ret;
	} wanted[] = {{"bpffs", &dump->bpffs},
		      {"run-dir", &dump->run_dir},
		      {"state-dir", &dump->state_dir}};
	const json_t *key;
	size_t index;

	json_array_foreach (field(config, "keys"), index, key) {
		for (size_t i = 0; i < COUNT(wanted); i++)
			if (!strcmp(field_text(key, "key"), wanted[i].key) &&
			    *field_text(key, "value"))
				*wanted[i].ret = field_text(key, "value");
	}
}

void sysdump_add_agent(struct sysdump *dump)
{
	static const char *const operations[] = {"config",   "status", "pods",	     "services",
						 "policies", "maps",   "flows",	     "drops",
						 "metrics",  "nodes",  "identities", "rulesets"};
	struct cli cli = *dump->cli;
	CLEANUP(cleanup_json) json_t *limit = json_pack("{s:i}", "limit", FLOWS_MAX);
	char message[1536], name[64];
	json_t *result;
	int r = 0;

	cli.patience_ms = PATIENCE_MS;
	for (size_t i = 0; i < COUNT(operations); i++) {
		snprintf(name, sizeof(name), "agent/%s.json", operations[i]);
		if (r != -ENOENT && r != -ECONNREFUSED && r != -EACCES && r != -ETIMEDOUT)
			r = cli_ask_quietly(&cli, operations[i],
					    strcmp(operations[i], "flows") ? NULL : limit, &result,
					    message, sizeof(message));
		if (r < 0) {
			sysdump_miss(dump, name, message);
			continue;
		}
		sysdump_add_json(dump, name, result);
		if (i == 0) {
			dump->config = json_incref(result);
			take_directories(dump, result);
		}
		json_decref(result);
	}
}

int cli_run_sysdump(struct cli *cli)
{
	char host[128] = "node", *path;
	struct sysdump dump;

	gethostname(host, sizeof(host) - 1);
	if (sysdump_open(cli, host, &dump, &path) < 0)
		return CLI_FAILED;
	sysdump_add_agent(&dump);
	sysdump_add_system(&dump);
	sysdump_add_programs(&dump);
	return sysdump_close(&dump, path);
}
