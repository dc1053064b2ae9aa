/* SPDX-License-Identifier: Apache-2.0 */
/* Policies that go while pods they isolate are on their way out, and what a restart and a disk that
 * fails make of it. On the kernel's maps; needs root. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/agent/policy/sync_world.h"
#include "tests/unit/unit.h"

#define ENDS	",'deletionTimestamp':'2026-01-01T00:00:00Z'"
#define CLOSING "'podSelector':{},'ingress':[]"

static bool is_isolated(const struct sync_world *w, const struct local_pod *pod)
{
	uint32_t rules = sync_world_ingress(w, pod);

	return rules >= RULESET_FIRST || rules == RULESET_CLOSED;
}

static bool is_open(const struct sync_world *w, const struct local_pod *pod)
{
	return sync_world_ingress(w, pod) == RULESET_OPEN;
}

/* x/own and x/other isolated; only own ends, and only if it is told to. */
static struct local_pod begin(struct sync_world *w, const char *state)
{
	struct local_pod other;

	*w = (struct sync_world){};
	sync_world_begin(w, state);
	other = sync_world_add(w, "other", 65537, "10.1.0.6");
	sync_world_put_pod(w, "own", "", "'nodeName':'here'", "");
	sync_world_put_pod(w, "other", "", "'nodeName':'here'", "");
	sync_world_put_policy(w, "p", CLOSING);
	sync_world_run_and_commit(w);
	CU_ASSERT(is_isolated(w, &w->pod) && is_isolated(w, &other));
	return other;
}

static void a_policy_that_goes_holds_the_pods_that_end_alone(void)
{
	struct sync_world w;
	struct local_pod other = begin(&w, NULL);

	sync_world_put_pod(&w, "own", ENDS, "'nodeName':'here'", "");
	sync_world_run_and_commit(&w);
	sync_world_put_policy(&w, "p", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod) && is_open(&w, &other));
	/* Nor does it end anew with what changes of it, nor with a compiler that begins anew. */
	sync_world_put_pod(&w, "own", ENDS ",'labels':{'a':'b'}", "'nodeName':'here'", "");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod));
	policy_sync_resync(w.policy_sync);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod) && is_open(&w, &other));
	/* It goes on after all. */
	sync_world_put_pod(&w, "own", "", "'nodeName':'here'", "");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_open(&w, &w.pod));
	sync_world_end(&w);
}

static void a_policy_that_goes_with_a_pods_end_holds_it(void)
{
	struct sync_world w;
	struct local_pod other = begin(&w, NULL);

	sync_world_put_pod(&w, "own", ENDS, "'nodeName':'here'", "");
	sync_world_put_policy(&w, "p", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod) && is_open(&w, &other));
	sync_world_end(&w);
}

static void a_pod_ends_with_its_object(void)
{
	struct sync_world w;
	struct local_pod other = begin(&w, NULL);

	sync_world_put(&w, "own", NULL);
	sync_world_put_policy(&w, "p", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod) && is_open(&w, &other));
	sync_world_end(&w);
}

static void pods_end_with_their_namespace(void)
{
	struct sync_world w;
	struct local_pod other = begin(&w, NULL);

	sync_world_put(&w, "x",
		       "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'x'" ENDS "}}");
	sync_world_put_policy(&w, "p", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod) && is_isolated(&w, &other));
	sync_world_end(&w);
}

/* The labels of the object that went go on choosing who selects the pod. */
static void the_object_that_went_speaks_for_its_pod(void)
{
	struct sync_world w;
	struct local_pod other = begin(&w, NULL);

	sync_world_put_policy(&w, "p", "'podSelector':{'matchLabels':{'app':'a'}}");
	sync_world_put_pod(&w, "own", ",'labels':{'app':'a'}", "'nodeName':'here'", "");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod) && is_open(&w, &other));
	sync_world_put(&w, "own", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod));
	sync_world_end(&w);
}

static void a_policy_that_is_back_speaks_for_itself(void)
{
	struct sync_world w;
	struct local_pod other = begin(&w, NULL);

	sync_world_put_policy(&w, "p", "'podSelector':{},'ingress':[{'ports':[{'port':81}]}]");
	sync_world_put_pod(&w, "own", ENDS, "'nodeName':'here'", "");
	sync_world_run_and_commit(&w);
	sync_world_put_policy(&w, "p", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod));
	sync_world_put_policy(&w, "p", "'podSelector':{},'ingress':[{'ports':[{'port':80}]}]");
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) == sync_world_ingress(&w, &other));
	CU_ASSERT(is_isolated(&w, &other));
	sync_world_end(&w);
}

/* ---------------------------------------------------------------- over a restart */

struct disk {
	char directory[32], path[64], state[96];
};

static void disk_begin(struct disk *disk)
{
	snprintf(disk->path, sizeof(disk->path), "%s/later", unit_directory(disk->directory));
	snprintf(disk->state, sizeof(disk->state), "%s/policy.json", disk->path);
	CU_ASSERT_FATAL(mkdir(disk->path, 0700) == 0);
}

/* From now on nothing can be written, or again. */
static void disk_breaks(const struct disk *disk)
{
	char gone[80];

	snprintf(gone, sizeof(gone), "%s.gone", disk->path);
	CU_ASSERT_FATAL(rename(disk->path, gone) == 0);
}

static void disk_is_back(const struct disk *disk)
{
	char gone[80];

	snprintf(gone, sizeof(gone), "%s.gone", disk->path);
	CU_ASSERT_FATAL(rename(gone, disk->path) == 0);
}

static void what_holds_a_pod_outlives_the_agent(void)
{
	struct sync_world w;
	struct disk disk;

	disk_begin(&disk);
	begin(&w, disk.state);
	sync_world_put_pod(&w, "own", ENDS, "'nodeName':'here'", "");
	sync_world_run_and_commit(&w);
	sync_world_put_policy(&w, "p", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_isolated(&w, &w.pod));
	sync_world_stop(&w);
	sync_world_start(&w);
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) == RULESET_CLOSED);
	sync_world_end(&w);
	unit_remove_directory(disk.directory);
}

static void a_number_is_used_only_once_it_is_on_disk(void)
{
	struct sync_world w;
	struct disk disk;
	uint32_t before;
	bool switched;

	disk_begin(&disk);
	begin(&w, disk.state);
	before = sync_world_ingress(&w, &w.pod);
	disk_breaks(&disk);
	sync_world_put_policy(&w, "q", "'podSelector':{},'ingress':[{'ports':[{'port':80}]}]");
	for (int i = 0; i < 3; i++) {
		CU_ASSERT(policy_sync_run(w.policy_sync, &switched) == -ENOENT);
		CU_ASSERT(sync_world_ingress(&w, &w.pod) == before);
	}
	disk_is_back(&disk);
	/* What the passes that failed were told is not lost. */
	sync_world_run_and_commit(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) != before);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) >= RULESET_FIRST);
	sync_world_end(&w);
	unit_remove_directory(disk.directory);
}

static size_t size_of(const char *path)
{
	struct stat status = {};

	CU_ASSERT(stat(path, &status) == 0);
	return (size_t)status.st_size;
}

static void an_orderly_end_writes_what_came_within_a_block(void)
{
	struct sync_world w;
	struct disk disk;
	size_t before;

	disk_begin(&disk);
	begin(&w, disk.state);
	sync_world_put_policy(&w, "p", "'podSelector':{'matchLabels':{'app':'a'}},'ingress':[]");
	sync_world_put_pod(&w, "own", ",'labels':{'app':'a'}", "'nodeName':'here'", "");
	sync_world_run_and_commit(&w);
	before = size_of(disk.state);
	sync_world_put_pod(&w, "more", ",'labels':{'app':'b'}", "'nodeName':'there'", "");
	sync_world_run_and_commit(&w);
	CU_ASSERT(size_of(disk.state) == before);
	CU_ASSERT(policy_sync_save(w.policy_sync) == 0);
	CU_ASSERT(size_of(disk.state) > before);
	sync_world_end(&w);
	unit_remove_directory(disk.directory);
}

/* Nothing else changes, so no run comes by: the copy is the only thing that is owed. */
static void a_copy_of_what_is_held_that_is_not_there_is_written_again(void)
{
	char state_directory[96], copy[128];
	struct sync_world w;
	struct disk disk;

	disk_begin(&disk);
	snprintf(state_directory, sizeof(state_directory), "%s/state", disk.directory);
	snprintf(copy, sizeof(copy), "%s/held.json", state_directory);
	begin(&w, disk.state);
	w.config.state_dir = state_directory;
	sync_world_run_and_commit(&w);
	CU_ASSERT(access(copy, F_OK) < 0);
	policy_sync_repair_copy(w.policy_sync);
	CU_ASSERT(access(copy, F_OK) < 0);
	CU_ASSERT_FATAL(mkdir(state_directory, 0700) == 0);
	policy_sync_repair_copy(w.policy_sync);
	CU_ASSERT(access(copy, F_OK) == 0);
	/* And after somebody has removed it. */
	CU_ASSERT(unlink(copy) == 0);
	policy_sync_repair_copy(w.policy_sync);
	CU_ASSERT(access(copy, F_OK) == 0);
	sync_world_end(&w);
	unit_remove_directory(disk.directory);
}

/* Without a state nobody knows what they stood for: they stand in the maps all the same. */
static void numbers_that_the_maps_know_are_not_given_again(void)
{
	struct sync_world w;
	uint32_t before;

	begin(&w, NULL);
	before = sync_world_ingress(&w, &w.pod);
	sync_world_stop(&w);
	sync_world_put_policy(&w, "p", "'podSelector':{},'ingress':[{'ports':[{'port':80}]}]");
	sync_world_start(&w);
	sync_world_run(&w);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) != before);
	CU_ASSERT(sync_world_ingress(&w, &w.pod) >= RULESET_FIRST);
	sync_world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_policy_that_goes_holds_the_pods_that_end_alone),
		UNIT_TEST(a_policy_that_goes_with_a_pods_end_holds_it),
		UNIT_TEST(a_pod_ends_with_its_object),
		UNIT_TEST(pods_end_with_their_namespace),
		UNIT_TEST(the_object_that_went_speaks_for_its_pod),
		UNIT_TEST(a_policy_that_is_back_speaks_for_itself),
		UNIT_TEST(what_holds_a_pod_outlives_the_agent),
		UNIT_TEST(a_number_is_used_only_once_it_is_on_disk),
		UNIT_TEST(an_orderly_end_writes_what_came_within_a_block),
		UNIT_TEST(a_copy_of_what_is_held_that_is_not_there_is_written_again),
		UNIT_TEST(numbers_that_the_maps_know_are_not_given_again),
	};

	return UNIT_RUN("policy sync, held", tests);
}
