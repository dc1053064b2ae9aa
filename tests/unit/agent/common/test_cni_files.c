/* SPDX-License-Identifier: Apache-2.0 */
/* What runtimes find of Polder: replaced as a whole, told from what is others'. */
#include "agent/common/cni_files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/unit.h"

#define OURS                                                                                       \
	"{\"name\": \"polder\", \"plugins\": [{\"type\": \"polder-cni\"}, {\"type\": "             \
	"\"portmap\"}]}"
#define THEIRS "{\"name\": \"x\", \"plugins\": [{\"type\": \"bridge\"}]}"

static char directory[32], source_directory[32], source[96];
static struct error error;

static const char *in(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	CU_ASSERT_FATAL(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static bool holds(const char *path, const char *expected)
{
	char text[4096] = "";
	FILE *file = fopen(path, "re");
	size_t length = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (file)
		fclose(file);
	return file && length == strlen(expected) && strcmp(text, expected) == 0;
}

static void begin(void)
{
	unit_directory(directory);
	unit_directory(source_directory);
	snprintf(source, sizeof(source), "%s/10-polder.conflist", source_directory);
	write_file(source, OURS);
	error = (struct error){0};
}

static void end(void)
{
	unit_remove_directory(directory);
	unit_remove_directory(source_directory);
}

static void configuration_is_put_there_once(void)
{
	struct stat first, second;

	begin();
	CU_ASSERT(cni_files_put_config(source, directory, &error) == 1);
	CU_ASSERT(holds(in("10-polder.conflist"), OURS));
	CU_ASSERT(stat(in("10-polder.conflist"), &first) == 0 && (first.st_mode & 07777) == 0644);
	CU_ASSERT(cni_files_put_config(source, directory, &error) == 0);
	CU_ASSERT(stat(in("10-polder.conflist"), &second) == 0 && first.st_ino == second.st_ino);
	end();
}

static void damaged_configuration_is_replaced(void)
{
	static const char *const damaged[] = {"", "{\"name\": \"pol", OURS "x", THEIRS};

	begin();
	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		write_file(in("10-polder.conflist"), damaged[i]);
		CU_ASSERT(cni_files_put_config(source, directory, &error) == 1);
		CU_ASSERT(holds(in("10-polder.conflist"), OURS));
	}
	/* Nothing else is in the directory. */
	CU_ASSERT(access(in(".10-polder.conflist.tmp"), F_OK) < 0);
	end();
}

/* A mounted ConfigMap's files are symbolic links. */
static void source_may_be_a_link_and_the_target_becomes_a_file(void)
{
	struct stat status;
	char link[128];

	begin();
	snprintf(link, sizeof(link), "%s/20-polder.conflist", source_directory);
	CU_ASSERT_FATAL(symlink("10-polder.conflist", link) == 0);
	CU_ASSERT_FATAL(symlink("/nowhere", in("20-polder.conflist")) == 0);
	CU_ASSERT(cni_files_put_config(link, directory, &error) == 1);
	CU_ASSERT(lstat(in("20-polder.conflist"), &status) == 0 && S_ISREG(status.st_mode));
	end();
}

static void source_that_is_no_configuration_of_ours_is_refused(void)
{
	begin();
	write_file(source, THEIRS);
	CU_ASSERT(cni_files_put_config(source, directory, &error) == -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "polder-cni"));
	write_file(source, "{\"name\": ");
	CU_ASSERT(cni_files_put_config(source, directory, &error) == -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "line 1"));
	CU_ASSERT(cni_files_put_config("/nowhere/x.conflist", directory, &error) == -ENOENT);
	snprintf(source, sizeof(source), "%s/polder.yaml", source_directory);
	write_file(source, OURS);
	CU_ASSERT(cni_files_put_config(source, directory, &error) == -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, ".conflist"));
	CU_ASSERT(access(in("10-polder.conflist"), F_OK) < 0);
	end();
}

static void directory_that_is_missing_is_told(void)
{
	begin();
	CU_ASSERT(cni_files_put_config(source, "/nowhere/net.d", &error) == -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "/nowhere/net.d/10-polder.conflist"));
	end();
}

static void rivals_are_named(void)
{
	char note[600];

	begin();
	write_file(in("05-other.conflist"), THEIRS);
	write_file(in("08-single.conf"), "{\"type\": \"bridge\"}");
	write_file(in("09-cut.json"), "");
	write_file(in("87-later.conflist"), THEIRS);
	write_file(in("00-note.txt"), "nothing");
	cni_files_find_rivals(directory, "10-polder.conflist", note, sizeof(note));
	CU_ASSERT_PTR_NOT_NULL(strstr(note, "05-other.conflist (another network"));
	CU_ASSERT_PTR_NOT_NULL(strstr(note, "08-single.conf (another network"));
	CU_ASSERT_PTR_NOT_NULL(strstr(note, "09-cut.json (no configuration"));
	CU_ASSERT_PTR_NULL(strstr(note, "87-later"));
	CU_ASSERT_PTR_NULL(strstr(note, "00-note"));
	end();
}

static void own_files_and_callers_of_ours_are_no_rivals(void)
{
	char note[600] = "x";

	begin();
	write_file(in("05-own.conflist"), OURS);
	write_file(in("00-multus.conf"), "{\"type\": \"multus\", \"clusterNetwork\": \"polder\"}");
	cni_files_find_rivals(directory, "10-polder.conflist", note, sizeof(note));
	CU_ASSERT_STRING_EQUAL(note, "");
	strcpy(note, "x");
	cni_files_find_rivals("/nowhere", "10-polder.conflist", note, sizeof(note));
	CU_ASSERT_STRING_EQUAL(note, "");
	end();
}

static void plugins_that_do_the_same_twice_or_nothing_are_named(void)
{
	static const struct {
		const char *ours, *follower, *word;
	} cases[] = {
		{"\"portMappings\":true", "\"portmap\",\"capabilities\":{\"portMappings\":true}",
		 "portMappings"},
		{"\"portMappings\":false", "\"portmap\",\"capabilities\":{\"portMappings\":true}",
		 NULL},
		{"\"portMappings\":true", "\"tuning\"", NULL},
		{"\"bandwidth\":true", "\"bandwidth\"", "plugin bandwidth limits nothing"},
		{"\"ips\":true", "\"bandwidth\",\"capabilities\":{\"bandwidth\":true}",
		 "plugin bandwidth limits nothing"},
	};
	char text[512], note[600];
	const char *path;

	begin();
	path = in("10-polder.conflist");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text),
			 "{\"plugins\":[{\"type\":\"polder-cni\",\"capabilities\":{%s}},{\"type\":%"
			 "s}]}",
			 cases[i].ours, cases[i].follower);
		write_file(path, text);
		cni_files_find_doubled(path, note, sizeof(note));
		if (cases[i].word) {
			CU_ASSERT(strstr(note, cases[i].word) && strstr(note, path));
		} else {
			CU_ASSERT_STRING_EQUAL(note, "");
		}
	}
	cni_files_find_doubled("/nowhere/x.conflist", note, sizeof(note));
	CU_ASSERT_STRING_EQUAL(note, "");
	end();
}

static void many_rivals_fit_into_the_note(void)
{
	char note[600], name[64];

	begin();
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "00-%02d-a-name-that-is-rather-long.conflist", i);
		write_file(in(name), THEIRS);
	}
	cni_files_find_rivals(directory, "10-polder.conflist", note, sizeof(note));
	CU_ASSERT(strlen(note) < sizeof(note));
	CU_ASSERT_PTR_NOT_NULL(strstr(note, "and more"));
	CU_ASSERT_PTR_NOT_NULL(strstr(note, "delete or rename"));
	cni_files_find_rivals(directory, "10-polder.conflist", note, 40);
	CU_ASSERT(strlen(note) < 40);
	end();
}

static void plugin_is_known_by_its_content(void)
{
	struct stat status;
	char path[128];

	begin();
	snprintf(path, sizeof(path), "%s/built", source_directory);
	write_file(path, "ELF... " CNI_PLUGIN_MARK " ...");
	CU_ASSERT(cni_files_put_plugin(path, directory, &error) == 1);
	CU_ASSERT(cni_files_put_plugin(path, directory, &error) == 0);
	CU_ASSERT(stat(in("polder-cni"), &status) == 0 && (status.st_mode & 07777) == 0755);
	CU_ASSERT_TRUE(cni_files_is_our_plugin(in("polder-cni")));
	write_file(in("polder-cni"), "somebody's script");
	CU_ASSERT_FALSE(cni_files_is_our_plugin(in("polder-cni")));
	CU_ASSERT_FATAL(unlink(in("polder-cni")) == 0 && symlink(path, in("polder-cni")) == 0);
	CU_ASSERT_FALSE(cni_files_is_our_plugin(in("polder-cni")));
	end();
}

static const struct unit_test tests[] = {
	UNIT_TEST(configuration_is_put_there_once),
	UNIT_TEST(damaged_configuration_is_replaced),
	UNIT_TEST(source_may_be_a_link_and_the_target_becomes_a_file),
	UNIT_TEST(source_that_is_no_configuration_of_ours_is_refused),
	UNIT_TEST(directory_that_is_missing_is_told),
	UNIT_TEST(rivals_are_named),
	UNIT_TEST(plugins_that_do_the_same_twice_or_nothing_are_named),
	UNIT_TEST(own_files_and_callers_of_ours_are_no_rivals),
	UNIT_TEST(many_rivals_fit_into_the_note),
	UNIT_TEST(plugin_is_known_by_its_content),
};

int main(void)
{
	return UNIT_RUN("cni files", tests);
}
