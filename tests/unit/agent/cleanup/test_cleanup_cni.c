/* SPDX-License-Identifier: Apache-2.0 */
/* cleanup takes Polder's files out of the runtimes' directories, and no others. */
#include "agent/cleanup/cleanup.h"

#include <sys/stat.h>

#include "agent/common/cni_files.h"
#include "tests/unit/unit.h"

static char directory[32];
static size_t told;

static const char *in(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(in(name), "we");

	CU_ASSERT_FATAL(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void on_cleaned(const char *kind, const char *name, int result, void *data)
{
	(void)data;
	told += strcmp(kind, "file") == 0 && strncmp(name, directory, strlen(directory)) == 0 &&
		result == 0;
}

static void run(bool dry_run)
{
	const struct cleanup_options options = {
		.run_dir = "/nowhere",
		.state_dir = "/nowhere",
		.bpffs = "/nowhere",
		.cni_config_dir = directory,
		.cni_bin_dir = directory,
		.dry_run = dry_run,
	};
	char message[256] = "";

	told = 0;
	CU_ASSERT(cleanup_run(&options, on_cleaned, NULL, message, sizeof(message)) == 0);
	CU_ASSERT_STRING_EQUAL(message, "");
}

static void takes_its_own_files_and_leaves_those_of_others(void)
{
	static const char *const own[] = {"20-more.conflist", "10-polder.conflist",
					  ".10-polder.conflist.tmp", "polder-cni"};
	static const char *const others[] = {"05-bridge.conflist", "bridge", "30-cut.conflist"};

	unit_directory(directory);
	write_file(own[0], "{\"plugins\": [{\"type\": \"polder-cni\"}]}");
	write_file(own[1], ""); /* cut off */
	write_file(own[2], "{");
	write_file(own[3], CNI_PLUGIN_MARK);
	write_file(others[0], "{\"plugins\": [{\"type\": \"bridge\"}]}");
	write_file(others[1], CNI_PLUGIN_MARK);
	write_file(others[2], "");
	run(true);
	CU_ASSERT(told == 4);
	for (size_t i = 0; i < 4; i++)
		CU_ASSERT(access(in(own[i]), F_OK) == 0);
	run(false);
	CU_ASSERT(told == 4);
	for (size_t i = 0; i < 4; i++)
		CU_ASSERT(access(in(own[i]), F_OK) < 0);
	for (size_t i = 0; i < 3; i++)
		CU_ASSERT(access(in(others[i]), F_OK) == 0);
	run(false);
	CU_ASSERT(told == 0);
	unit_remove_directory(directory);
}

static void plugin_of_somebody_else_stays(void)
{
	unit_directory(directory);
	write_file("polder-cni", "#!/bin/sh\n");
	run(false);
	CU_ASSERT(access(in("polder-cni"), F_OK) == 0);
	unit_remove_directory(directory);
}

static const struct unit_test tests[] = {
	UNIT_TEST(takes_its_own_files_and_leaves_those_of_others),
	UNIT_TEST(plugin_of_somebody_else_stays),
};

int main(void)
{
	return UNIT_RUN("cleanup of runtimes' files", tests);
}
