/* SPDX-License-Identifier: Apache-2.0 */
/* Staged objects beside those in force: what is compiled is of the moment at which it was taken,
 * whatever the loop does meanwhile. On the kernel's maps, needs root. */
#include "agent/dryrun/dry_run_world.h"

#include <arpa/inet.h>
#include <pthread.h>

#include "tests/unit/agent/policy/sync_world.h"
#include "tests/unit/unit.h"

#define ALLOW(app)                                                                                 \
	"'podSelector':{},'ingress':[{'from':[{'podSelector':{'matchLabels':{'app':'" app "'}}}]}" \
	"]"

struct compiling {
	struct dry_run_world world;
	struct dry_run_changes changes;
	struct dry_run_policy *policy;
	int result;
};

static void *compile(void *data)
{
	struct compiling *c = data;

	c->result = dry_run_policy_new(&c->world, &c->changes, &c->policy);
	return NULL;
}

static void stage(struct compiling *c, const char *text)
{
	struct error error = {};
	char *json = strdup(text);

	for (char *at = json; *at; at++)
		*at = *at == '\'' ? '"' : *at;
	CU_ASSERT_FATAL(objects_decode(json, strlen(json), &c->changes.objects, &error) == 0);
	free(json);
}

static void finish(struct compiling *c, pthread_t thread)
{
	CU_ASSERT_FATAL(pthread_join(thread, NULL) == 0);
	CU_ASSERT_FATAL(c->result == 0);
	dry_run_world_release(&c->world);
}

static void clear(struct compiling *c)
{
	dry_run_policy_free(c->policy);
	dry_run_changes_clear(&c->changes);
}

static struct dry_run_answer ask(const struct compiling *c, bool staged, const char *from,
				 const char *to)
{
	const struct dry_run_question question = {.source = sync_world_addr(from),
						  .destination = sync_world_addr(to),
						  .proto = IPPROTO_TCP,
						  .zone = ZONE_POD,
						  .port = 80};
	struct dry_run_answer answer = {};

	CU_ASSERT_FATAL(dry_run_verdict(c->policy, staged, &question, &answer));
	return answer;
}

static bool allows(const struct compiling *c, bool staged, const char *from, const char *to)
{
	return ask(c, staged, from, to).allowed;
}

/* Of the end it goes to. */
static enum dry_run_basis basis(const struct compiling *c, bool staged, const char *from,
				const char *to)
{
	return ask(c, staged, from, to).ingress.basis;
}

static void put_client(struct sync_world *w, const char *name, const char *app, int number)
{
	char metadata[64], status[64];

	snprintf(metadata, sizeof(metadata), ",'labels':{'app':'%s'}", app);
	snprintf(status, sizeof(status), "'podIPs':[{'ip':'10.2.0.%d'}]", number);
	sync_world_put_pod(w, name, metadata, "'nodeName':'other'", status);
}

static void what_is_compiled_is_of_the_moment_it_was_taken(void)
{
	const struct polder_addr own = sync_world_addr("10.1.0.5");
	struct compiling c = {};
	struct sync_world w = {};
	pthread_t thread;

	sync_world_begin(&w, NULL);
	put_client(&w, "a", "a", 1);
	put_client(&w, "b", "b", 2);
	sync_world_put_policy(&w, "p", ALLOW("a"));
	sync_world_run_and_commit(&w);
	stage(&c, "{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{"
		  "'namespace':'x','name':'p'},'spec':{" ALLOW("b") "}}");
	CU_ASSERT_FATAL(dry_run_world_take(w.policy_sync, &c.world) == 0);
	/* All that it has seen goes, this node's pod too, before it is compiled. */
	sync_world_put(&w, "policy-p", NULL);
	sync_world_put(&w, "a", NULL);
	sync_world_put(&w, "b", NULL);
	policy_sync_remove_pod(w.policy_sync, &w.pod);
	sync_world_run_and_commit(&w);
	CU_ASSERT_FATAL(pthread_create(&thread, NULL, compile, &c) == 0);
	finish(&c, thread);
	CU_ASSERT(allows(&c, false, "10.2.0.1", "10.1.0.5"));
	CU_ASSERT(!allows(&c, false, "10.2.0.2", "10.1.0.5"));
	CU_ASSERT(!allows(&c, true, "10.2.0.1", "10.1.0.5"));
	CU_ASSERT(allows(&c, true, "10.2.0.2", "10.1.0.5"));
	CU_ASSERT_STRING_EQUAL(dry_run_policy_pod(c.policy, &own), "x/own");
	clear(&c);
	sync_world_end(&w);
}

/* The loop takes and gives shares of the same objects all the time. */
static void the_loop_goes_on_while_a_thread_compiles(void)
{
	struct compiling c = {};
	struct sync_world w = {};
	pthread_t thread;

	sync_world_begin(&w, NULL);
	for (int round = 0; round < 20; round++) {
		put_client(&w, "a", "a", 1);
		sync_world_put_policy(&w, "p", ALLOW("a"));
		sync_world_run_and_commit(&w);
		CU_ASSERT_FATAL(dry_run_world_take(w.policy_sync, &c.world) == 0);
		CU_ASSERT_FATAL(pthread_create(&thread, NULL, compile, &c) == 0);
		for (int i = 0; i < 50; i++) {
			struct dry_run_world other = {};

			CU_ASSERT(dry_run_world_take(w.policy_sync, &other) == 0);
			dry_run_world_release(&other);
			put_client(&w, "a", i % 2 ? "a" : "b", 1);
			sync_world_run(&w);
		}
		finish(&c, thread);
		CU_ASSERT(allows(&c, false, "10.2.0.1", "10.1.0.5"));
		dry_run_policy_free(c.policy);
		c.policy = NULL;
	}
	sync_world_end(&w);
}

/* More pods are staged than there are. */
static void staged_pods_have_room(void)
{
	struct compiling c = {};
	struct sync_world w = {};
	char text[8192] = "[";
	size_t at = 1;

	sync_world_begin(&w, NULL);
	for (int i = 1; i <= 40; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "%s{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':"
				       "'x','name':'s%d','labels':{'app':'b'}},'spec':{'nodeName':"
				       "'other'},'status':{'podIPs':[{'ip':'10.2.1.%d'}]}}",
				       i > 1 ? "," : "", i, i);
	snprintf(text + at, sizeof(text) - at, "]");
	stage(&c, text);
	sync_world_put_policy(&w, "p", ALLOW("b"));
	sync_world_run_and_commit(&w);
	CU_ASSERT_FATAL(dry_run_world_take(w.policy_sync, &c.world) == 0);
	compile(&c);
	dry_run_world_release(&c.world);
	CU_ASSERT_FATAL(c.result == 0);
	CU_ASSERT(!allows(&c, false, "10.2.1.40", "10.1.0.5"));
	CU_ASSERT(allows(&c, true, "10.2.1.40", "10.1.0.5"));
	clear(&c);
	sync_world_end(&w);
}

/* One whose object is to come from the API server, and one whose name another pod's object has. */
static void a_pod_that_waits_for_its_object_is_isolated_until_it_is_staged(void)
{
	struct local_pod late = {.container_id = "c-late",
				 .ifname = "eth0",
				 .namespace = "x",
				 .name = "late",
				 .uid = "A",
				 .ifindex = 65540},
			 named = {.container_id = "c-named",
				  .ifname = "eth0",
				  .namespace = "x",
				  .name = "named",
				  .uid = "B",
				  .ifindex = 65541};
	struct compiling c = {};
	struct sync_world w = {};

	sync_world_begin(&w, NULL);
	w.config.kubeconfig = "file";
	late.ipv4 = sync_world_addr("10.1.0.20");
	named.ipv4 = sync_world_addr("10.1.0.21");
	CU_ASSERT_FATAL(policy_sync_add_pod(w.policy_sync, &late) == 0);
	CU_ASSERT_FATAL(policy_sync_add_pod(w.policy_sync, &named) == 0);
	put_client(&w, "a", "a", 1);
	sync_world_put_pod(&w, "named", ",'uid':'C'", "'nodeName':'other'", "");
	sync_world_run_and_commit(&w);
	stage(&c, "[{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'x','name':'late',"
		  "'uid':'A'},'spec':{'nodeName':'here'}},"
		  "{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'x','name':'named',"
		  "'uid':'D'},'spec':{'nodeName':'here'}}]");
	CU_ASSERT_FATAL(dry_run_world_take(w.policy_sync, &c.world) == 0);
	compile(&c);
	dry_run_world_release(&c.world);
	CU_ASSERT_FATAL(c.result == 0);
	CU_ASSERT(basis(&c, false, "10.2.0.1", "10.1.0.20") == DRY_RUN_WAITING);
	CU_ASSERT(!allows(&c, false, "10.2.0.1", "10.1.0.20"));
	CU_ASSERT(allows(&c, true, "10.2.0.1", "10.1.0.20"));
	/* What is staged is a third pod's. */
	CU_ASSERT(basis(&c, false, "10.2.0.1", "10.1.0.21") == DRY_RUN_WAITING);
	CU_ASSERT(basis(&c, true, "10.2.0.1", "10.1.0.21") == DRY_RUN_WAITING);
	clear(&c);
	sync_world_end(&w);
}

static void a_pod_has_its_name_when_the_other_pod_of_it_would_go(void)
{
	struct dry_run_removal *removal = calloc(1, sizeof(*removal));
	struct local_pod pod = {.container_id = "c-1",
				.ifname = "eth0",
				.namespace = "x",
				.name = "named",
				.uid = "B",
				.ifindex = 65540};
	struct compiling c = {};
	struct sync_world w = {};

	sync_world_begin(&w, NULL);
	pod.ipv4 = sync_world_addr("10.1.0.20");
	CU_ASSERT_FATAL(policy_sync_add_pod(w.policy_sync, &pod) == 0);
	put_client(&w, "a", "a", 1);
	sync_world_put_pod(&w, "named", ",'uid':'C'", "'nodeName':'other'", "");
	sync_world_run_and_commit(&w);
	*removal = (struct dry_run_removal){OBJECT_POD, strdup("x"), strdup("named")};
	c.changes.removals = removal;
	c.changes.removal_count = 1;
	CU_ASSERT_FATAL(dry_run_world_take(w.policy_sync, &c.world) == 0);
	compile(&c);
	dry_run_world_release(&c.world);
	CU_ASSERT_FATAL(c.result == 0);
	CU_ASSERT(basis(&c, false, "10.2.0.1", "10.1.0.20") == DRY_RUN_WAITING);
	CU_ASSERT(allows(&c, true, "10.2.0.1", "10.1.0.20"));
	clear(&c);
	sync_world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(what_is_compiled_is_of_the_moment_it_was_taken),
		UNIT_TEST(the_loop_goes_on_while_a_thread_compiles),
		UNIT_TEST(staged_pods_have_room),
		UNIT_TEST(a_pod_that_waits_for_its_object_is_isolated_until_it_is_staged),
		UNIT_TEST(a_pod_has_its_name_when_the_other_pod_of_it_would_go),
	};

	return UNIT_RUN("dry_run_policy", tests);
}
