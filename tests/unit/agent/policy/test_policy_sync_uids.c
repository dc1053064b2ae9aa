/* SPDX-License-Identifier: Apache-2.0 */
/* One name, several uids: each container has its own pod's object. On the kernel's maps; needs
 * root. */
#include <errno.h>

#include "tests/unit/agent/policy/sync_world.h"
#include "tests/unit/unit.h"

#define HERE "'nodeName':'here'"

/* Only the old ones get anything: their egress is isolated, the new ones' ingress. */
static void begin(struct sync_world *w)
{
	*w = (struct sync_world){};
	sync_world_begin(w, NULL);
	sync_world_put_policy(w, "old",
			      "'podSelector':{'matchLabels':{'is':'old'}},'policyTypes':"
			      "['Egress'],'egress':[]");
	sync_world_put_policy(w, "new", "'podSelector':{'matchLabels':{'is':'new'}},'ingress':[]");
}

static struct local_pod add(struct sync_world *w, const char *container, const char *uid,
			    uint32_t ifindex, const char *ipv4)
{
	struct local_pod pod = {.container_id = (char *)container,
				.ifname = "eth0",
				.namespace = "x",
				.name = "web-0",
				.uid = (char *)uid,
				.ifindex = ifindex,
				.ipv4 = sync_world_addr(ipv4)};

	CU_ASSERT_FATAL(policy_sync_add_pod(w->policy_sync, &pod) == 0);
	return pod;
}

static void put(struct sync_world *w, const char *uid, const char *is, const char *node)
{
	char metadata[256], spec[64];

	snprintf(metadata, sizeof(metadata), ",'uid':'%s','labels':{'is':'%s'}", uid, is);
	snprintf(spec, sizeof(spec), "'nodeName':'%s'", node);
	sync_world_put_pod(w, "web-0", metadata, spec,
			   strcmp(node, "here") == 0 ? "" : "'podIP':'10.2.0.9'");
}

static uint32_t egress(const struct sync_world *w, const struct local_pod *pod)
{
	return sync_world_word(w, pod, WORD_EGRESS, false);
}

static bool is_old(const struct sync_world *w, const struct local_pod *pod)
{
	return egress(w, pod) >= RULESET_FIRST && sync_world_ingress(w, pod) == RULESET_OPEN;
}

static bool is_new(const struct sync_world *w, const struct local_pod *pod)
{
	return egress(w, pod) == RULESET_OPEN && sync_world_ingress(w, pod) >= RULESET_FIRST;
}

static bool is_closed(const struct sync_world *w, const struct local_pod *pod)
{
	return egress(w, pod) == RULESET_CLOSED && sync_world_ingress(w, pod) == RULESET_CLOSED;
}

static size_t endpoints(struct sync_world *w)
{
	const struct service_pod *list;
	size_t count = 0, serving = 0;

	CU_ASSERT(policy_sync_service_pods("x", &list, &count, w->policy_sync) == 0);
	for (size_t i = 0; i < count; i++)
		serving += strcmp(list[i].object->name, "web-0") == 0 && list[i].address_count &&
			   list[i].object->pod.ready && !list[i].object->pod.terminating;
	return serving;
}

static void the_old_container_keeps_the_old_pods_labels(void)
{
	struct sync_world w;
	struct local_pod old, new;

	begin(&w);
	put(&w, "A", "old", "here");
	old = add(&w, "c-old", "A", 65540, "10.1.0.20");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &old));
	/* The object is replaced before the container goes. */
	put(&w, "B", "new", "here");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &old));
	new = add(&w, "c-new", "B", 65541, "10.1.0.21");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &old) && is_new(&w, &new));
	CU_ASSERT(endpoints(&w) == 1);
	policy_sync_remove_pod(w.policy_sync, &old);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_new(&w, &new));
	sync_world_end(&w);
}

static void a_container_whose_object_is_late_gets_nothing_of_the_old_one(void)
{
	struct sync_world w;
	struct local_pod new;

	begin(&w);
	put(&w, "A", "old", "here");
	new = add(&w, "c-new", "B", 65541, "10.1.0.21");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_closed(&w, &new));
	CU_ASSERT(endpoints(&w) == 0);
	put(&w, "B", "new", "here");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_new(&w, &new));
	CU_ASSERT(endpoints(&w) == 1);
	sync_world_end(&w);
}

static void the_next_pod_on_another_node_is_that_nodes(void)
{
	struct sync_world w;
	struct local_pod old;

	begin(&w);
	put(&w, "A", "old", "here");
	old = add(&w, "c-old", "A", 65540, "10.1.0.20");
	sync_world_run_and_commit(&w);
	put(&w, "B", "new", "elsewhere");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &old));
	CU_ASSERT(sync_world_identity(&w, "10.2.0.9", false) != 0);
	CU_ASSERT(sync_world_identity(&w, "10.1.0.20", false) != 0);
	CU_ASSERT(sync_world_identity(&w, "10.1.0.20", false) !=
		  sync_world_identity(&w, "10.2.0.9", false));
	sync_world_end(&w);
}

static void a_static_pod_has_the_object_that_mirrors_it(void)
{
	struct sync_world w;
	struct local_pod pod;

	begin(&w);
	sync_world_put_pod(&w, "web-0",
			   ",'uid':'A','labels':{'is':'old'},'annotations':{"
			   "'kubernetes.io/config.mirror':'0123abcd','x':'y'}",
			   HERE, "");
	pod = add(&w, "c", "0123abcd", 65540, "10.1.0.20");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &pod));
	/* Its manifest changes, and with it the hash. */
	sync_world_put_pod(&w, "web-0",
			   ",'uid':'B','labels':{'is':'new'},'annotations':{"
			   "'kubernetes.io/config.mirror':'4567'}",
			   HERE, "");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &pod));
	sync_world_end(&w);
}

static void where_one_side_knows_no_uid_the_name_decides(void)
{
	struct sync_world w;
	struct local_pod pod, other;

	begin(&w);
	sync_world_put_pod(&w, "web-0", ",'labels':{'is':'old'}", HERE, "");
	pod = add(&w, "c-1", "A", 65540, "10.1.0.20");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &pod));
	put(&w, "B", "new", "here");
	other = add(&w, "c-2", "", 65541, "10.1.0.21");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_new(&w, &other));
	sync_world_end(&w);
}

/* The record says that it had an object, and which labels. */
static void after_a_restart_the_old_container_is_still_the_old_pods(void)
{
	struct label label = {.key = "is", .value = "old"};
	struct local_pod old = {.container_id = "c-old",
				.ifname = "eth0",
				.namespace = "x",
				.name = "web-0",
				.uid = "A",
				.labels = {&label, 1},
				.object_seen = true,
				.ifindex = 65540,
				.ipv4 = sync_world_addr("10.1.0.20")};
	struct sync_world w;

	begin(&w);
	put(&w, "B", "new", "here");
	CU_ASSERT_FATAL(policy_sync_add_pod(w.policy_sync, &old) == 0);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &old));
	CU_ASSERT(endpoints(&w) == 0);
	sync_world_end(&w);
}

static void finish(struct sync_world *w, const char *uid)
{
	char metadata[256];

	snprintf(metadata, sizeof(metadata), ",'uid':'%s','labels':{'is':'old'}", uid);
	sync_world_put_pod(w, "web-0", metadata, HERE, "'phase':'Failed','podIP':'10.1.0.20'");
	sync_world_run_and_commit(w);
}

/* By its name alone the object might be the last pod's. */
static void a_finished_pods_own_container_keeps_its_labels(void)
{
	struct sync_world w;
	struct local_pod old, unsure;

	begin(&w);
	put(&w, "A", "old", "here");
	old = add(&w, "c-old", "A", 65540, "10.1.0.20");
	sync_world_run_and_commit(&w);
	finish(&w, "A");
	CU_ASSERT(is_old(&w, &old));
	sync_world_put(&w, "old", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(egress(&w, &old) != RULESET_OPEN);
	sync_world_end(&w);

	begin(&w);
	put(&w, "A", "old", "here");
	unsure = add(&w, "c-old", "", 65540, "10.1.0.20");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &unsure));
	finish(&w, "A");
	CU_ASSERT(egress(&w, &unsure) == RULESET_OPEN);
	sync_world_end(&w);
}

static void a_pod_waits_for_its_object_where_a_server_has_it(void)
{
	struct label label = {"is", "old"};
	struct local_pod pod, labelled, container;
	struct sync_world w;

	begin(&w);
	w.config.kubeconfig = "file";
	pod = add(&w, "c-1", "", 65540, "10.1.0.20");
	labelled = (struct local_pod){.container_id = "c-2",
				      .ifname = "eth0",
				      .namespace = "x",
				      .name = "other",
				      .uid = "",
				      .labels = {&label, 1},
				      .ifindex = 65541,
				      .ipv4 = sync_world_addr("10.1.0.21")};
	container = labelled;
	container.container_id = container.name = "c-3"; /* no pod's at all */
	container.labels.count = 0;
	container.ifindex = 65542;
	container.ipv4 = sync_world_addr("10.1.0.22");
	CU_ASSERT_FATAL(policy_sync_add_pod(w.policy_sync, &labelled) == 0);
	CU_ASSERT_FATAL(policy_sync_add_pod(w.policy_sync, &container) == 0);
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_closed(&w, &pod) && policy_sync_pod_waits(w.policy_sync, &pod));
	CU_ASSERT(is_old(&w, &labelled) && egress(&w, &container) == RULESET_OPEN);
	put(&w, "A", "old", "here");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_old(&w, &pod));
	/* Whose name it was: the next one's object has not come. */
	finish(&w, "A");
	CU_ASSERT(is_closed(&w, &pod));
	put(&w, "B", "new", "here");
	sync_world_run_and_commit(&w);
	CU_ASSERT(is_new(&w, &pod));
	sync_world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(the_old_container_keeps_the_old_pods_labels),
		UNIT_TEST(a_container_whose_object_is_late_gets_nothing_of_the_old_one),
		UNIT_TEST(the_next_pod_on_another_node_is_that_nodes),
		UNIT_TEST(a_static_pod_has_the_object_that_mirrors_it),
		UNIT_TEST(where_one_side_knows_no_uid_the_name_decides),
		UNIT_TEST(a_finished_pods_own_container_keeps_its_labels),
		UNIT_TEST(a_pod_waits_for_its_object_where_a_server_has_it),
		UNIT_TEST(after_a_restart_the_old_container_is_still_the_old_pods),
	};

	return UNIT_RUN("policy_sync_uids", tests);
}
