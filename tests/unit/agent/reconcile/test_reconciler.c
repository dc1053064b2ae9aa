/* SPDX-License-Identifier: Apache-2.0 */
/* When the reconciler runs, waits and tries again. */
#include <errno.h>
#include <sys/stat.h>

#include "tests/unit/agent/reconcile/reconciler_world.h"
#include "tests/unit/unit.h"

/* ---------------------------------------------------------------- runs */

static void nothing_is_changed_before_all_objects_are_read(void)
{
	struct reconciler_progress progress;
	uint32_t before;
	struct world w = {};

	world_open(&w, NULL);
	before = maps_control(w.maps)->generation;
	world_put_policy(&w, 0);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	CU_ASSERT(reconciler_run(w.reconciler) == -EAGAIN);
	CU_ASSERT(maps_control(w.maps)->generation == before);
	CU_ASSERT(world_rules(&w, false) == 0);
	reconciler_synced(w.reconciler);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) >= RULESET_FIRST);
	reconciler_progress(w.reconciler, &progress);
	CU_ASSERT(progress.synced && progress.reconciled && !progress.pending);
	world_end(&w);
}

static void a_change_is_due_at_once_and_in_force_after_its_run(void)
{
	uint32_t before;
	struct world w;

	world_begin(&w);
	before = world_rules(&w, false);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	world_put_policy(&w, 1);
	CU_ASSERT(w.wanted == 1 && world_is_pending(&w));
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) != before && world_rules(&w, true) == before);
	CU_ASSERT(!world_is_pending(&w));
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == w.now + SLOTS_DELAY_NS);
	world_commit(&w);
	CU_ASSERT(world_rules(&w, false) == world_rules(&w, true));
	CU_ASSERT(w.waits == 0);
	world_end(&w);
}

static void a_run_leaves_policy_for_later_while_the_other_slot_may_be_read(void)
{
	uint32_t first;
	struct world w;

	world_begin(&w);
	world_put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	first = world_rules(&w, false);
	world_put_policy(&w, 2);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) == first && world_is_pending(&w));
	/* It wants its grace period now, and another run when that has ended. */
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == 0);
	CU_ASSERT(reconciler_begin(w.reconciler));
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) == first);
	reconciler_commit(w.reconciler, 0);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) != first && !world_is_pending(&w));
	CU_ASSERT(w.waits == 0);
	world_end(&w);
}

/* As a container that is connected: its ADD is answered later, and nothing else waits for it. */
static void a_pod_waits_outside_of_the_run_while_the_other_slot_may_be_read(void)
{
	struct local_pod more = {.container_id = "c2",
				 .ifname = "eth0",
				 .namespace = "x",
				 .name = "more",
				 .ifindex = 65537};
	struct policy_sync *policy;
	struct world w;

	world_begin(&w);
	policy = reconciler_policy(w.reconciler);
	CU_ASSERT_FATAL(addr_parse("10.1.0.6", &more.ipv4) == 0);
	world_put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_attach(w.reconciler, &more) == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(!policy_sync_pod_written(policy, &more) && world_is_pending(&w));
	/* A Service that comes meanwhile is in force at once. */
	world_put(&w, "service",
		  "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','namespace':'x'},"
		  "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}]}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(services_frontend_count(reconciler_services(w.reconciler)) == 2);
	CU_ASSERT(!policy_sync_pod_written(policy, &more));
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == 0);
	world_commit(&w);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(policy_sync_pod_written(policy, &more) &&
		  !policy_sync_pod_refused(policy, &more));
	CU_ASSERT(w.waits == 0 && !world_is_pending(&w));
	world_end(&w);
}

static void a_grace_period_that_began_before_a_switch_says_nothing_of_it(void)
{
	uint32_t first;
	struct world w;

	world_begin(&w);
	first = world_rules(&w, false);
	world_put(&w, "service",
		  "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','namespace':'x'},"
		  "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}]}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_begin(w.reconciler));
	world_put_policy(&w, 2);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) != first);
	reconciler_commit(w.reconciler, 0);
	CU_ASSERT(world_rules(&w, true) == first);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == 0);
	world_commit(&w);
	CU_ASSERT(world_rules(&w, true) == world_rules(&w, false));
	world_end(&w);
}

/* ---------------------------------------------------------------- failures */

static void a_wait_that_fails_leaves_what_is_in_force(void)
{
	uint32_t first;
	struct world w;

	world_begin(&w);
	world_put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	first = world_rules(&w, false);
	CU_ASSERT(reconciler_begin(w.reconciler));
	reconciler_commit(w.reconciler, -EPERM);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == w.now + SLOTS_RETRY_NS);
	world_put_policy(&w, 2);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) == first && world_is_pending(&w));
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == 0);
	world_commit(&w);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) != first && !world_is_pending(&w));
	world_end(&w);
}

static void numbers_that_are_not_on_disk_are_not_used(void)
{
	char directory[32], path[64], state[96];
	uint32_t before;
	struct world w = {};

	snprintf(path, sizeof(path), "%s/later", unit_directory(directory));
	snprintf(state, sizeof(state), "%s/policy.json", path);
	world_open(&w, state);
	before = maps_control(w.maps)->generation;
	world_put_policy(&w, 0);
	reconciler_synced(w.reconciler);
	CU_ASSERT(reconciler_run(w.reconciler) == -ENOENT);
	CU_ASSERT(world_rules(&w, false) == 0 && world_is_pending(&w));
	CU_ASSERT(maps_control(w.maps)->generation == before);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == w.now + RECONCILER_RETRY_NS);
	CU_ASSERT(mkdir(path, 0700) == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) >= RULESET_FIRST && !world_is_pending(&w));
	CU_ASSERT(access(state, R_OK) == 0);
	world_end(&w);
	unit_remove_directory(directory);
}

/* ---------------------------------------------------------------- who waits for a change */

static void who_waits_is_called_after_the_run_that_holds_the_change(void)
{
	struct reconciler_wait wait = {.call = world_on_held}, later = {.call = world_on_held};
	struct world w;

	world_begin(&w);
	wait.data = later.data = &w;
	wait.change = reconciler_change(w.reconciler);
	reconciler_after(w.reconciler, &wait);
	CU_ASSERT(w.called == 1); /* it is in force already */
	world_put_policy(&w, 1);
	wait.change = reconciler_change(w.reconciler);
	later.change = wait.change + 1;
	reconciler_after(w.reconciler, &wait);
	reconciler_after(w.reconciler, &later);
	CU_ASSERT(reconciler_due(w.reconciler).turn_ns == RECONCILER_NEVER);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_due(w.reconciler).turn_ns <= w.now);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 2);
	CU_ASSERT(reconciler_due(w.reconciler).turn_ns == RECONCILER_NEVER);
	/* The next change is in the store, but its run has to wait. */
	world_put_policy(&w, 2);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 2);
	world_commit(&w);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 3);
	world_end(&w);
}

static void who_does_not_wait_any_more_is_not_called(void)
{
	struct reconciler_wait waits[3];
	struct world w;
	int i;

	world_begin(&w);
	world_put_policy(&w, 1);
	for (i = 0; i < 3; i++) {
		waits[i] = (struct reconciler_wait){.change = reconciler_change(w.reconciler),
						    .call = world_on_held,
						    .data = &w};
		reconciler_after(w.reconciler, &waits[i]);
	}
	reconciler_cancel(w.reconciler, &waits[1]);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 2);
	reconciler_cancel(w.reconciler, &waits[0]);
	world_end(&w);
}

/* ---------------------------------------------------------------- pods, ends */

static void a_pod_is_covered_by_the_next_run_and_gone_at_once(void)
{
	uint32_t index;
	struct pod_entry entry;
	struct world w;

	world_begin(&w);
	index = maps_pod_index(w.maps, w.pod.ifindex);
	reconciler_detach(w.reconciler, &w.pod);
	CU_ASSERT(maps_find(w.maps, MAP_PODS, &index, &entry) == 0 && entry.ifindex == 0);
	CU_ASSERT(world_is_pending(&w) && w.wanted == 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_attach(w.reconciler, &w.pod) == 0);
	CU_ASSERT(maps_find(w.maps, MAP_PODS, &index, &entry) == 0 && entry.ifindex == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) >= RULESET_FIRST);
	world_end(&w);
}

static void labels_of_a_pods_object_are_told_to_be_kept(void)
{
	struct world w;

	world_begin(&w);
	CU_ASSERT_STRING_EQUAL(w.kept, "");
	world_put(&w, "own",
		  "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'own','namespace':'x',"
		  "'labels':{'app':'a'}}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	world_commit(&w);
	CU_ASSERT_STRING_EQUAL(w.kept, "c1 eth0 a");
	world_end(&w);
}

/* Commits of what concerns others do not ask for them. */
static void labels_are_told_once_unless_they_could_not_be_kept(void)
{
	struct world w;

	world_begin(&w);
	world_put(&w, "own",
		  "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'own','namespace':'x',"
		  "'labels':{'app':'a'}}}");
	w.keep_result = -EIO;
	for (int i = 1; i <= 5; i++) {
		world_put_pod(&w, i);
		CU_ASSERT(reconciler_run(w.reconciler) == 0);
		world_commit(&w);
		CU_ASSERT_EQUAL(w.keeps, i < 3 ? i : 3);
		w.keep_result = i < 2 ? -EIO : 0;
	}
	world_put(&w, "own", NULL);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	world_commit(&w);
	CU_ASSERT_EQUAL(w.keeps, 4);
	world_end(&w);
}

static void an_orderly_end_leaves_both_slots_alike(void)
{
	struct world w;

	world_begin(&w);
	world_put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) != world_rules(&w, true));
	CU_ASSERT(reconciler_finish(w.reconciler) == 0);
	CU_ASSERT(w.waits == 1);
	CU_ASSERT(world_rules(&w, false) == world_rules(&w, true));
	world_end(&w);
}

static bool audit_agrees(struct world *w)
{
	char *difference = NULL;
	bool agrees = reconciler_audit(w->reconciler, &difference) == 0 && !difference;

	free(difference);
	return agrees;
}

/* An object that is another one although nobody has heard of it. */
static void an_audit_finds_what_was_not_followed_and_the_next_run_mends_it(void)
{
	struct reconciler_progress progress;
	const struct object *policy;
	uint32_t before;
	struct world w;

	world_begin(&w);
	CU_ASSERT(audit_agrees(&w));
	before = world_rules(&w, false);
	policy = store_get(w.store, OBJECT_NETWORK_POLICY, "x", "p");
	policy->network_policy.ingress[0].ports[0].first = 7;
	policy->network_policy.ingress[0].ports[0].last = 7;
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) == before);
	CU_ASSERT(!audit_agrees(&w));
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0 && world_is_pending(&w));
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) != before && !world_is_pending(&w));
	CU_ASSERT(audit_agrees(&w));
	world_commit(&w);
	CU_ASSERT(audit_agrees(&w));
	reconciler_progress(w.reconciler, &progress);
	CU_ASSERT(progress.audits == 4 && progress.differences == 1);
	world_end(&w);
}

/* ---------------------------------------------------------------- what else a run has to do */

static void a_service_that_changes_hides_no_policy_that_did(void)
{
	uint32_t before;
	struct world w;

	world_begin(&w);
	before = world_rules(&w, false);
	world_put_policy(&w, 1);
	world_put(&w, "service",
		  "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','namespace':'x'},"
		  "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}]}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) != before && !world_is_pending(&w));
	world_end(&w);
}

/* What it has left behind goes with one. */
static void a_run_without_a_switch_wants_its_grace_period_too(void)
{
	struct world w;

	world_begin(&w);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == SLOTS_NEVER);
	world_put(&w, "service",
		  "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','namespace':'x'},"
		  "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}]}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == w.now + SLOTS_DELAY_NS);
	world_end(&w);
}

static void put_ports(struct world *w, const char *namespace, int first)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'name':"
		 "'p','namespace':'%s'},'spec':{'podSelector':{},'ingress':[{'ports':[{'port':%d},"
		 "{'port':%d},{'port':%d},{'port':%d},{'port':%d}]}]}}",
		 namespace, first, first + 2, first + 4, first + 6, first + 8);
	world_put(w, namespace, text);
}

static void room_that_a_sweep_makes_is_used_by_a_run_of_its_own(void)
{
	struct local_pod more = {.container_id = "c2",
				 .ifname = "eth0",
				 .namespace = "y",
				 .name = "more",
				 .ifindex = 65537};
	struct world w = {.config = {.max_policy_entries = 8}};

	world_open(&w, NULL);
	CU_ASSERT_FATAL(addr_parse("10.1.0.6", &more.ipv4) == 0);
	CU_ASSERT(reconciler_attach(w.reconciler, &more) == 0);
	put_ports(&w, "y", 1001);
	reconciler_synced(w.reconciler);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	world_commit(&w);
	put_ports(&w, "x", 2001);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	world_commit(&w);
	CU_ASSERT(world_rules(&w, false) == RULESET_CAPACITY && !world_is_pending(&w));
	world_put(&w, "y", NULL);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(!world_is_pending(&w));
	world_commit(&w);
	CU_ASSERT(world_is_pending(&w) && reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(world_rules(&w, false) >= RULESET_FIRST && !world_is_pending(&w));
	world_end(&w);
}

static size_t backends(const struct world *w)
{
	return services_backends_used(reconciler_services(w->reconciler));
}

static void services_follow_the_pods_of_this_node(void)
{
	struct world w;

	world_begin(&w);
	world_put(&w, "service",
		  "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','namespace':'x'},"
		  "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}],'selector':{'app':'a'}}}");
	world_put(&w, "own",
		  "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'own','namespace':'x',"
		  "'labels':{'app':'a'}},'spec':{'nodeName':'here'},'status':{'conditions':["
		  "{'type':'Ready','status':'True'}]}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	world_commit(&w);
	CU_ASSERT(backends(&w) == 1);
	reconciler_detach(w.reconciler, &w.pod);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT(reconciler_run(w.reconciler) == 0);
		world_commit(&w);
	}
	CU_ASSERT(backends(&w) == 0);
	CU_ASSERT(reconciler_attach(w.reconciler, &w.pod) == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(backends(&w) == 1);
	world_end(&w);
}

static void an_orderly_end_writes_the_numbers_that_were_given(void)
{
	struct stat before = {}, after = {};
	char directory[32], state[64];
	struct world w = {};

	snprintf(state, sizeof(state), "%s/policy.json", unit_directory(directory));
	world_open(&w, state);
	world_put_policy(&w, 0);
	reconciler_synced(w.reconciler);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	world_commit(&w);
	world_put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(stat(state, &before) == 0);
	CU_ASSERT(reconciler_finish(w.reconciler) == 0);
	CU_ASSERT(stat(state, &after) == 0);
	CU_ASSERT(after.st_size > before.st_size);
	world_end(&w);
	unit_remove_directory(directory);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(nothing_is_changed_before_all_objects_are_read),
		UNIT_TEST(a_change_is_due_at_once_and_in_force_after_its_run),
		UNIT_TEST(a_run_leaves_policy_for_later_while_the_other_slot_may_be_read),
		UNIT_TEST(a_pod_waits_outside_of_the_run_while_the_other_slot_may_be_read),
		UNIT_TEST(a_grace_period_that_began_before_a_switch_says_nothing_of_it),
		UNIT_TEST(a_wait_that_fails_leaves_what_is_in_force),
		UNIT_TEST(numbers_that_are_not_on_disk_are_not_used),
		UNIT_TEST(an_audit_finds_what_was_not_followed_and_the_next_run_mends_it),
		UNIT_TEST(who_waits_is_called_after_the_run_that_holds_the_change),
		UNIT_TEST(who_does_not_wait_any_more_is_not_called),
		UNIT_TEST(a_pod_is_covered_by_the_next_run_and_gone_at_once),
		UNIT_TEST(labels_of_a_pods_object_are_told_to_be_kept),
		UNIT_TEST(labels_are_told_once_unless_they_could_not_be_kept),
		UNIT_TEST(an_orderly_end_leaves_both_slots_alike),
		UNIT_TEST(a_service_that_changes_hides_no_policy_that_did),
		UNIT_TEST(a_run_without_a_switch_wants_its_grace_period_too),
		UNIT_TEST(room_that_a_sweep_makes_is_used_by_a_run_of_its_own),
		UNIT_TEST(services_follow_the_pods_of_this_node),
		UNIT_TEST(an_orderly_end_writes_the_numbers_that_were_given),
	};

	return UNIT_RUN("reconciler", tests);
}
