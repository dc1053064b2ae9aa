/* SPDX-License-Identifier: Apache-2.0 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <sys/stat.h>

#include "agent/kernel/cgroup_tree.h"
#include "tests/unit/unit.h"

struct seen {
	const char *root, *wanted;
	size_t count;
	bool found, right;
};

/* Any file system's directories have numbers. */
static void see(uint64_t id, const char *path, void *data)
{
	struct seen *seen = data;
	char whole[PATH_MAX];
	struct stat status;

	seen->count++;
	if (strcmp(path, seen->wanted) != 0)
		return;
	snprintf(whole, sizeof(whole), "%s%s", seen->root, path);
	seen->found = true;
	seen->right = stat(whole, &status) == 0 && status.st_ino == id;
}

static struct seen walk(const char *root, const char *wanted)
{
	struct seen seen = {.root = root, .wanted = wanted};

	CU_ASSERT(cgroup_tree_walk(root, see, &seen) == 0);
	return seen;
}

static void tells_each_directory_by_its_number(void)
{
	char root[32], path[PATH_MAX];
	struct seen seen;

	unit_directory(root);
	snprintf(path, sizeof(path), "%s/a", root);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/a/b", root);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/a/cgroup.procs", root);
	unit_write(path, "1\n", 2);
	/* Nobody is led out of the tree. */
	snprintf(path, sizeof(path), "%s/a/link", root);
	CU_ASSERT(symlink("/", path) == 0);
	seen = walk(root, "/a/b");
	CU_ASSERT(seen.count == 3 && seen.found && seen.right);
	seen = walk(root, "/a");
	CU_ASSERT(seen.found && seen.right);
	CU_ASSERT(walk(root, "/").found);
	unit_remove_directory(root);
}

/* Who fills his own part of the tree hides nothing that stands nearer to the root. */
static void of_too_many_those_nearer_to_the_root_are_told(void)
{
	char root[32], path[PATH_MAX];

	unit_directory(root);
	for (const char *const *part = (const char *const[]){"a", "a/full", "z", "z/near", NULL};
	     *part; part++) {
		snprintf(path, sizeof(path), "%s/%s", root, *part);
		CU_ASSERT_FATAL(mkdir(path, 0700) == 0);
	}
	for (int i = 0; i < CGROUP_TREE_MOST; i++) {
		snprintf(path, sizeof(path), "%s/a/full/%d", root, i);
		CU_ASSERT_FATAL(mkdir(path, 0700) == 0);
	}
	/* And the root. */
	CU_ASSERT(walk(root, "/").count == CGROUP_TREE_MOST + 1);
	CU_ASSERT(walk(root, "/z/near").found);
	unit_remove_directory(root);
}

static void a_root_that_is_not_there_is_an_error(void)
{
	struct seen seen = {.wanted = "/"};

	CU_ASSERT(cgroup_tree_walk("/nonexistent", see, &seen) == -ENOENT && seen.count == 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(tells_each_directory_by_its_number),
		UNIT_TEST(of_too_many_those_nearer_to_the_root_are_told),
		UNIT_TEST(a_root_that_is_not_there_is_an_error),
	};

	return UNIT_RUN("cgroup_tree", tests);
}
