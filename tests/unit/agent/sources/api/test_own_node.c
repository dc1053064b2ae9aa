/* SPDX-License-Identifier: Apache-2.0 */
/* What a Node object says of its network, and the patches that mend it. */
#include "agent/sources/api/own_node.h"

#include <errno.h>

#include "tests/unit/unit.h"

static struct own_node read_node(const char *text)
{
	struct own_node node = {};

	CU_ASSERT_FATAL(own_node_read(text, strlen(text), &node) == 0);
	return node;
}

static void expect_text(char *text, const char *expected)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_STRING_EQUAL(text, expected);
	free(text);
}

static void taints_are_removed_where_they_stand_and_tested_before(void)
{
	struct own_node node =
		read_node("{\"metadata\":{\"resourceVersion\":\"17\"},\"spec\":{\"taints\":["
			  "{\"key\":\"polder.dev/agent-not-ready\",\"effect\":\"NoExecute\"},"
			  "{\"key\":\"polder.dev/agent-not-ready.x\",\"effect\":\"NoExecute\"},"
			  "{\"key\":\"polder.dev/agent-not-ready\",\"effect\":\"NoSchedule\"}]}}");

	CU_ASSERT(node.version == 17 && node.taint_count == 2 && !node.available);
	expect_text(own_node_taint_patch(&node),
		    "[{\"op\":\"test\",\"path\":\"/spec/taints/0/key\","
		    "\"value\":\"polder.dev/agent-not-ready\"},"
		    "{\"op\":\"test\",\"path\":\"/spec/taints/2/key\","
		    "\"value\":\"polder.dev/agent-not-ready\"},"
		    "{\"op\":\"remove\",\"path\":\"/spec/taints/2\"},"
		    "{\"op\":\"remove\",\"path\":\"/spec/taints/0\"}]");
}

#define CONDITION(status, reason)                                                                  \
	"{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\"},"                  \
	"{\"type\":\"NetworkUnavailable\",\"status\":\"" status "\",\"reason\":\"" reason          \
	"\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}]}}"
#define PATCH(since)                                                                               \
	"{\"status\":{\"conditions\":[{\"type\":\"NetworkUnavailable\",\"status\":\"False\","      \
	"\"reason\":\"PolderIsUp\",\"message\":\"Polder serves the pods of this node\","           \
	"\"lastHeartbeatTime\":\"2033-05-18T03:33:20Z\",\"lastTransitionTime\":\"" since "\"}]}}"

static void time_of_the_transition_changes_only_with_the_status(void)
{
	struct own_node node = read_node("{}");

	expect_text(own_node_condition_patch(&node, 2000000000), PATCH("2033-05-18T03:33:20Z"));
	node = read_node(CONDITION("True", "NoRouteCreated"));
	CU_ASSERT(!node.available);
	expect_text(own_node_condition_patch(&node, 2000000000), PATCH("2033-05-18T03:33:20Z"));
	node = read_node(CONDITION("False", "CalicoIsUp"));
	CU_ASSERT(!node.available);
	expect_text(own_node_condition_patch(&node, 2000000000), PATCH("2026-01-01T00:00:00Z"));
	CU_ASSERT(read_node(CONDITION("False", "PolderIsUp")).available);
	CU_ASSERT(!read_node(CONDITION("True", "PolderIsUp")).available);
}

static void what_is_no_node_is_told(void)
{
	static const char *const odd[] = {
		"{\"spec\":3,\"status\":[]}", "{\"spec\":{\"taints\":{\"key\":1}}}",
		"{\"spec\":{\"taints\":[null,{\"key\":7},\"x\"]},\"metadata\":[]}"};
	struct own_node node;

	CU_ASSERT(own_node_read("", 0, &node) == -EBADMSG);
	CU_ASSERT(own_node_read("[1]", 3, &node) == -EBADMSG);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		CU_ASSERT(read_node(odd[i]).taint_count == 0);
}

static void more_taints_than_there_is_room_for_are_removed_in_turn(void)
{
	char text[4096] = "{\"spec\":{\"taints\":[{}";

	for (int i = 0; i < OWN_NODE_TAINTS + 3; i++)
		strcat(text, ",{\"key\":\"" OWN_NODE_TAINT "\"}");
	strcat(text, "]}}");
	CU_ASSERT(read_node(text).taint_count == OWN_NODE_TAINTS);
	CU_ASSERT(read_node(text).taints[0] == 1);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(taints_are_removed_where_they_stand_and_tested_before),
		UNIT_TEST(time_of_the_transition_changes_only_with_the_status),
		UNIT_TEST(what_is_no_node_is_told),
		UNIT_TEST(more_taints_than_there_is_room_for_are_removed_in_turn),
	};

	return UNIT_RUN("sources/api/own_node", tests);
}
