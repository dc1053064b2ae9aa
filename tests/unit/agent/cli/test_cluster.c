/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl as kubectl's plugin: agents out of kubectl's lists, kubectl's own words, halves of
 * explanations joined, programs run side by side. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/cluster.h"
#include "agent/cli/explain_join.h"
#include "agent/cli/format.h"
#include "agent/cli/kubectl.h"
#include "agent/cli/process.h"
#include "tests/unit/unit.h"

/* ---------------------------------------------------------------- agents */

#define POD(node, name, meta, status)                                                              \
	"{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"" name             \
	"\", \"namespace\": \"polder-system\"" meta "}, \"spec\": {" node                          \
	"\"containers\": [{\"name\": \"other\", \"image\": \"x\"}, {\"name\": \"polderd\", "       \
	"\"image\": \"polder:1\"}]}, \"status\": " status "}"
#define ON(node) "\"nodeName\": \"" node "\", "
#define RUNNING                                                                                    \
	"{\"phase\": \"Running\", \"containerStatuses\": [{\"name\": \"other\", \"state\": {}}, "  \
	"{\"name\": \"polderd\", \"state\": {\"running\": {\"startedAt\": \"x\"}}}]}"
#define WAITING                                                                                    \
	"{\"phase\": \"Pending\", \"containerStatuses\": [{\"name\": \"polderd\", \"state\": "     \
	"{\"waiting\": {\"reason\": \"ImagePullBackOff\"}}}]}"
#define ENDING ", \"deletionTimestamp\": \"2026-01-01T00:00:00Z\""

static void read_pods(const char *items, struct cluster *ret)
{
	char *text = NULL;
	json_t *document;

	CU_ASSERT(asprintf(&text, "{\"apiVersion\": \"v1\", \"items\": [%s], \"kind\": \"List\"}",
			   items) > 0);
	document = json_loads(text, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(document);
	cluster_of_pods(document, ret);
	free(text);
}

static void agents_are_found_by_their_container_and_node(void)
{
	struct cluster cluster;

	read_pods(POD(ON("n2"), "polder-b", "", RUNNING) "," POD(
			  ON("n1"), "polder-a", "", WAITING) "," POD("", "polder-c", "", WAITING),
		  &cluster);
	CU_ASSERT_EQUAL_FATAL(cluster.count, 2);
	CU_ASSERT_STRING_EQUAL(cluster.agents[0].node, "n1");
	CU_ASSERT_PTR_NOT_NULL(strstr(cluster.agents[0].why_not, "Pending, ImagePullBackOff"));
	CU_ASSERT_STRING_EQUAL(cluster.agents[1].pod, "polder-b");
	CU_ASSERT_STRING_EQUAL(cluster.agents[1].image, "polder:1");
	CU_ASSERT_STRING_EQUAL(cluster.agents[1].why_not, "");
	CU_ASSERT_PTR_NULL(cluster_agent_of(&cluster, "n3"));
	cluster_clear(&cluster);
}

static void of_a_nodes_pods_the_one_that_stays_is_taken(void)
{
	static const char *const lists[] = {
		POD(ON("n"), "old", ENDING, RUNNING) "," POD(ON("n"), "new", "", RUNNING),
		POD(ON("n"), "new", "", RUNNING) "," POD(ON("n"), "old", ENDING, RUNNING),
		POD(ON("n"), "old", "", WAITING) "," POD(ON("n"), "new", "", RUNNING),
		POD(ON("n"), "new", ENDING, RUNNING) "," POD(ON("n"), "old", "", WAITING),
	};
	struct cluster cluster;

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		read_pods(lists[i], &cluster);
		CU_ASSERT_EQUAL_FATAL(cluster.count, 1);
		CU_ASSERT_STRING_EQUAL(cluster.agents[0].pod, "new");
		cluster_clear(&cluster);
	}
}

static void lists_that_make_no_sense_have_no_agents(void)
{
	static const char *const lists[] = {"", "1, null, []", "{\"spec\": 1}",
					    POD(ON("n"), "--help", "", RUNNING)};
	struct cluster cluster;

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		read_pods(lists[i], &cluster);
		CU_ASSERT_EQUAL(cluster.count, 0);
		cluster_clear(&cluster);
	}
}

/* ---------------------------------------------------------------- kubectl's words */

static struct process ended(int status, const char *errors)
{
	return (struct process){
		.status = status, .errors = strdup(errors), .errors_length = strlen(errors)};
}

/* Lines as kubectl 1.20 and 1.32 have printed them. */
static void the_status_of_the_program_is_told_from_kubectls(void)
{
	struct process process =
		ended(3, "polderctl: something\ncommand terminated with exit code 3\n");
	int status = 0;

	CU_ASSERT(kubectl_remote_status(&process, &status));
	CU_ASSERT_EQUAL(status, 3);
	CU_ASSERT_STRING_EQUAL(process.errors, "polderctl: something\n");
	free(process.errors);
	process = ended(1, "Error from server (NotFound): pods \"x\" not found\n");
	CU_ASSERT_FALSE(kubectl_remote_status(&process, &status));
	free(process.errors);
	process = ended(1, "he said: command terminated with exit code 3\n");
	CU_ASSERT_FALSE(kubectl_remote_status(&process, &status));
	free(process.errors);
}

static void kubectls_words_are_passed_on_with_what_to_do(void)
{
	static const struct {
		const char *errors, *expected;
	} cases[] = {
		{"Error from server (Forbidden): pods is forbidden: User \"jane\" cannot list "
		 "resource \"pods\" in API group \"\" at the cluster scope\n",
		 "operations.md"},
		{"E1128 02:00:00.000000  123 memcache.go:265] couldn't get current server API "
		 "group list\nThe connection to the server 127.0.0.1:1 was refused - did you "
		 "specify the right host or port?\n",
		 "--context"},
		{"error: unable to upgrade connection: container not found (\"polderd\")\n",
		 "just ended"},
		{"error: context \"x\" does not exist\n", "get-contexts"},
		{"Error from server: error dialing backend: dial tcp 192.0.2.1:10250: connect: "
		 "connection refused\n",
		 "kubelet"},
		{"error: You must be logged in to the server (Unauthorized)\n", "credentials"},
		{"", "without saying why"},
	};
	char message[1536];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct process process = ended(1, cases[i].errors);

		kubectl_explain(&process, message, sizeof(message));
		CU_ASSERT_PTR_NOT_NULL(strstr(message, cases[i].expected));
		CU_ASSERT_PTR_NULL(strstr(message, "memcache.go"));
		free(process.errors);
	}
}

/* ---------------------------------------------------------------- programs */

static void programs_run_side_by_side_and_keep_their_places(void)
{
	char *const cat[] = {"cat", NULL}, *const no[] = {"false", NULL};
	char *const none[] = {"/no/such/program", NULL}, *const slow[] = {"sleep", "60", NULL};
	struct process list[] = {
		{.argv = cat, .input = "hello", .input_length = 5, .most = 100},
		{.argv = no, .most = 100},
		{.argv = none, .most = 100},
		{.argv = slow, .most = 100},
		{.argv = cat, .input = "hello", .input_length = 5, .most = 3},
		{.argv = cat, .most = 100},
	};
	const size_t count = sizeof(list) / sizeof(*list);

	processes_run(list, count, 2, 1000);
	CU_ASSERT_STRING_EQUAL(list[0].output, "hello");
	CU_ASSERT(list[0].error == 0 && list[0].status == 0 && !list[0].cut);
	CU_ASSERT_EQUAL(list[1].status, 1);
	CU_ASSERT_EQUAL(list[2].error, -ENOENT);
	CU_ASSERT_EQUAL(list[3].error, -ETIMEDOUT);
	CU_ASSERT_STRING_EQUAL(list[4].output, "hel");
	CU_ASSERT(list[4].cut);
	CU_ASSERT_STRING_EQUAL(list[5].output, "");
	for (size_t i = 0; i < count; i++)
		process_clear(&list[i]);
}

/* ---------------------------------------------------------------- halves */

/* An answer to one question, as a node gives it that evaluates `here`. */
static json_t *answer(const char *verdict, const char *direction, bool egress_here,
		      bool ingress_allowed, const char *policy)
{
	return json_pack("{s:s, s:s, s:s?, s:s?, s:n, s:o, s:n, s:[], s:{s:b, s:s}, s:{s:b, s:s}, "
			 "s:{s:b, s:b}, s:{s:b, s:b}, s:{s:{s:b, s:s}}, s:b, s:[], s:[]}",
			 "verdict", verdict, "reason",
			 strcmp(verdict, "denied") == 0 ? "policy_denied" : "none", "direction",
			 direction, "policy", policy, "rule", "isolated_by", json_array(),
			 "service", "backends", "from", "local", egress_here, "node", "n1", "to",
			 "local", !egress_here, "node", "n2", "egress", "here", egress_here,
			 "allowed", true, "ingress", "here", !egress_here, "allowed",
			 ingress_allowed, "methods", "maps", "asked", true, "verdict", verdict,
			 "agree", true, "differences", "flows");
}

static void check_join(json_t *ours, json_t *theirs, const char *verdict, const char *policy,
		       bool agree)
{
	struct explain_half source = {.node = "n1", .answer = ours, .why_not = "gone"};
	struct explain_half target = {.node = "n2",
				      .pod = "a/b",
				      .endpoint = EXPLAIN_NO_ENDPOINT,
				      .answer = theirs,
				      .why_not = "gone"};
	json_t *base = ours ? ours : theirs;
	json_t *joined = explain_join(base, &source, &target, 1);

	CU_ASSERT_STRING_EQUAL(field_text(joined, "verdict"), verdict);
	CU_ASSERT_STRING_EQUAL(field_text(joined, "policy"), policy);
	CU_ASSERT_EQUAL(json_is_true(field(joined, "agree")), agree);
	CU_ASSERT_EQUAL(json_array_size(field(joined, "halves")), 2);
	CU_ASSERT_FALSE(json_is_true(field(joined, "from.local")));
	json_decref(joined);
	json_decref(ours);
	json_decref(theirs);
}

static void each_node_is_believed_of_its_own_end(void)
{
	/* Both allow: the ingress rule is told. */
	check_join(answer("allowed", "egress", true, true, "out"),
		   answer("allowed", "ingress", false, true, "in"), "allowed", "in", true);
	check_join(answer("allowed", "egress", true, true, "out"),
		   answer("allowed", NULL, false, true, NULL), "allowed", "out", true);
	/* Either denies. */
	check_join(answer("denied", "egress", true, true, "out"),
		   answer("allowed", "ingress", false, true, "in"), "denied", "out", true);
	check_join(answer("allowed", "egress", true, false, "out"),
		   answer("denied", "ingress", false, false, "in"), "denied", "in", true);
	/* For a reason that is no policy's. */
	check_join(answer("denied", NULL, true, true, NULL),
		   answer("allowed", "ingress", false, true, "in"), "denied", "", true);
	/* What a node says of the other's end does not count, and that they differ is told. */
	check_join(answer("denied", "ingress", true, false, "old"),
		   answer("allowed", "ingress", false, true, "in"), "allowed", "in", false);
	check_join(answer("allowed", "egress", true, true, "out"),
		   answer("denied", "egress", false, true, "old"), "allowed", "out", true);
}

static void an_end_that_was_not_asked_is_unknown(void)
{
	check_join(answer("allowed", "egress", true, true, "out"), NULL, "unknown", "out", true);
	check_join(answer("denied", "egress", true, true, "out"), NULL, "denied", "out", true);
	check_join(NULL, answer("allowed", "ingress", false, true, "in"), "unknown", "in", true);
	check_join(NULL, answer("denied", "ingress", false, false, "in"), "denied", "in", true);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(agents_are_found_by_their_container_and_node),
		UNIT_TEST(of_a_nodes_pods_the_one_that_stays_is_taken),
		UNIT_TEST(lists_that_make_no_sense_have_no_agents),
		UNIT_TEST(the_status_of_the_program_is_told_from_kubectls),
		UNIT_TEST(kubectls_words_are_passed_on_with_what_to_do),
		UNIT_TEST(programs_run_side_by_side_and_keep_their_places),
		UNIT_TEST(each_node_is_believed_of_its_own_end),
		UNIT_TEST(an_end_that_was_not_asked_is_unknown),
	};

	return unit_run("cluster", tests, sizeof(tests) / sizeof(*tests));
}
