/* SPDX-License-Identifier: Apache-2.0 */
/* The connectivity test's table: which questions it makes of what there is, and what is good. */
#include <stdlib.h>
#include <string.h>

#include "agent/cli/connectivity_cases.h"
#include "agent/cli/format.h"
#include "tests/unit/unit.h"

static json_t *targets(const char *far_ips)
{
	char *text = NULL;
	json_t *value;

	CU_ASSERT_FATAL(
		asprintf(
			&text,
			"{\"pods\": {\"items\": ["
			"{\"metadata\": {\"name\": \"client\"}, \"status\": {\"podIPs\": [{\"ip\": "
			"\"10.0.0.1\"}, {\"ip\": \"fd00::1\"}]}},"
			"{\"metadata\": {\"name\": \"far\"}, \"status\": {\"podIPs\": %s}}]},"
			"\"services\": {\"items\": []}, \"dns\": {\"items\": [{\"spec\": "
			"{\"clusterIPs\": [\"10.96.0.10\"]}}]},"
			"\"nodes\": {\"items\": [{\"metadata\": {\"name\": \"n1\"}, \"status\": "
			"{\"addresses\": [{\"type\": \"Hostname\", \"address\": \"abc\"}, "
			"{\"address\": \"192.0.2.1\"}]}}]}}",
			far_ips) > 0);
	value = json_loads(text, 0, NULL);
	free(text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(value);
	return value;
}

static size_t count_of(const struct connectivity_cases *cases, const char *to, const char *family)
{
	size_t found = 0;

	for (size_t i = 0; i < cases->count; i++)
		found += !strcmp(cases->items[i].to, to) && !strcmp(cases->items[i].family, family);
	return found;
}

static void questions_are_made_of_what_there_is(void)
{
	static const char *const nodes[2] = {"n1", "n2"};
	json_t *value = targets("[{\"ip\": \"10.0.1.1\"}]");
	struct connectivity_cases cases;

	connectivity_cases_make(value, nodes, "[2001:db8::1]:80", &cases);
	CU_ASSERT_EQUAL(count_of(&cases, "far", "IPv4"), 2 + 2 + 2 + 2);
	CU_ASSERT_EQUAL(count_of(&cases, "far", "IPv6"), 0);
	CU_ASSERT_EQUAL(count_of(&cases, "client", "IPv4"), 2);
	CU_ASSERT_EQUAL(count_of(&cases, "near", "IPv4"), 0);
	CU_ASSERT_EQUAL(count_of(&cases, "cluster DNS", "IPv4"), 1);
	CU_ASSERT_EQUAL(count_of(&cases, "cluster DNS", "IPv6"), 0);
	CU_ASSERT_EQUAL(count_of(&cases, "node n1", "IPv4"), 1);
	CU_ASSERT_EQUAL(count_of(&cases, "node n1", "IPv6"), 0);
	CU_ASSERT_EQUAL(count_of(&cases, "[2001:db8::1]:80", "IPv6"), 1);
	connectivity_cases_clear(&cases);
	json_decref(value);
	value = json_object();
	connectivity_cases_make(value, nodes, NULL, &cases);
	CU_ASSERT_EQUAL(cases.count, 0);
	connectivity_cases_clear(&cases);
	json_decref(value);
}

static void addresses_outside_are_read_in_all_forms(void)
{
	static const struct {
		const char *text, *host, *port;
	} good[] = {{"192.0.2.1", "192.0.2.1", "443"},
		    {"192.0.2.1:80", "192.0.2.1", "80"},
		    {"2001:db8::1", "2001:db8::1", "443"},
		    {"[2001:db8::1]", "2001:db8::1", "443"},
		    {"[2001:db8::1]:80", "2001:db8::1", "80"}};
	static const char *const bad[] = {"",
					  "name",
					  "192.0.2.1:",
					  "192.0.2.1:0",
					  "192.0.2.1:70000",
					  "[2001:db8::1",
					  "[::1]x",
					  "192.0.2.1:8a",
					  "-1"};
	char host[CONNECTIVITY_HOST_MAX], port[CONNECTIVITY_PORT_MAX];
	bool six;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		CU_ASSERT(connectivity_outside(good[i].text, host, port, &six));
		CU_ASSERT_STRING_EQUAL(host, good[i].host);
		CU_ASSERT_STRING_EQUAL(port, good[i].port);
		CU_ASSERT_EQUAL(six, strchr(host, ':') != NULL);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CU_ASSERT_FALSE(connectivity_outside(bad[i], host, port, &six));
}

static bool is_good(enum connectivity_expected expected, const char *got)
{
	struct connectivity_case item = {.expected = expected};

	snprintf(item.got, sizeof(item.got), "%s", got);
	return connectivity_case_good(&item);
}

static void what_is_no_answer_of_the_network_is_neither(void)
{
	CU_ASSERT(is_good(EXPECT_ANSWER, "answered"));
	CU_ASSERT_FALSE(is_good(EXPECT_ANSWER, "refused"));
	CU_ASSERT(is_good(EXPECT_REACHED, "refused"));
	CU_ASSERT_FALSE(is_good(EXPECT_REACHED, "no answer"));
	CU_ASSERT(is_good(EXPECT_DENIED, "no answer"));
	CU_ASSERT(is_good(EXPECT_DENIED, "reset"));
	for (enum connectivity_expected i = EXPECT_ANSWER; i <= EXPECT_DENIED; i++) {
		CU_ASSERT_FALSE(is_good(i, ""));
		CU_ASSERT_FALSE(is_good(i, "damaged"));
		CU_ASSERT_FALSE(is_good(i, "kubectl: interrupted"));
	}
	CU_ASSERT_FALSE(is_good(EXPECT_DENIED, "answered"));
}

static void objects_have_no_rights_and_stand_on_their_nodes(void)
{
	static const char *const nodes[2] = {"n1", NULL};
	json_t *list = connectivity_objects(nodes, "polder:1");
	const json_t *item;
	size_t index, pods = 0;

	json_array_foreach (field(list, "items"), index, item) {
		const json_t *container = json_array_get(field(item, "spec.containers"), 0);

		CU_ASSERT_STRING_EQUAL(field_text(item, "metadata.namespace"),
				       CONNECTIVITY_NAMESPACE);
		if (strcmp(field_text(item, "kind"), "Pod"))
			continue;
		pods++;
		CU_ASSERT_STRING_EQUAL(field_text(item, "spec.nodeName"), "n1");
		CU_ASSERT_STRING_EQUAL(field_text(container, "image"), "polder:1");
		CU_ASSERT(json_is_false(field(item, "spec.automountServiceAccountToken")));
		CU_ASSERT(json_is_true(field(container, "securityContext.runAsNonRoot")));
	}
	CU_ASSERT_EQUAL(pods, CONNECTIVITY_PODS - 1);
	json_decref(list);
	for (int phase = 0; phase < CONNECTIVITY_PHASES; phase++) {
		list = connectivity_policies(phase);
		CU_ASSERT_EQUAL(json_array_size(field(list, "items")), phase == PHASE_OPEN ? 0
								       : phase == PHASE_INGRESS
									       ? 2
									       : 1);
		json_decref(list);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(questions_are_made_of_what_there_is),
		UNIT_TEST(addresses_outside_are_read_in_all_forms),
		UNIT_TEST(what_is_no_answer_of_the_network_is_neither),
		UNIT_TEST(objects_have_no_rights_and_stand_on_their_nodes),
	};

	return unit_run("connectivity", tests, sizeof(tests) / sizeof(*tests));
}
