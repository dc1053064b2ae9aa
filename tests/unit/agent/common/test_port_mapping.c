/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports as runtimes ask for them. */
#include "agent/common/port_mapping.h"

#include <errno.h>
#include <netinet/in.h>

#include "agent/common/address.h"
#include "agent/common/cni_code.h"
#include "tests/faults.h"
#include "tests/unit/unit.h"

static struct port_mappings ports;
static struct error error;

static int decode(const char *text)
{
	json_t *list = json_loads(text, JSON_DECODE_ANY, NULL);
	int r;

	CU_ASSERT_FATAL(list != NULL);
	port_mappings_clear(&ports);
	error = (struct error){};
	r = port_mappings_decode(list, "$.ports", &ports, &error);
	json_decref(list);
	return r;
}

static bool refused(const char *text, const char *word)
{
	bool was = decode(text) == -EINVAL && error.code == CNI_INVALID_CONFIG &&
		   strstr(error.text, "$.ports") && strstr(error.text, word) && !ports.items;

	if (!was)
		fprintf(stderr, "%s: '%s' is not in \"%s\"\n", text, word, error.text);
	return was;
}

static void takes_what_runtimes_send_in_any_spelling(void)
{
	CU_ASSERT_FATAL(decode("[{\"HostPort\":8080,\"ContainerPort\":80,\"Protocol\":\"tcp\","
			       "\"HostIP\":\"\"},"
			       "{\"hostPort\":53,\"containerPort\":5353,\"protocol\":\"UDP\","
			       "\"hostIP\":\"192.0.2.1\"},"
			       "{\"hostPort\":1,\"containerPort\":65535,\"protocol\":\"sctp\","
			       "\"hostIP\":\"fd00::1\",\"more\":1}]") == 0);
	CU_ASSERT_FATAL(ports.count == 3);
	CU_ASSERT(ports.items[0].every_family && ports.items[0].proto == IPPROTO_TCP &&
		  ports.items[0].host_port == 8080 && ports.items[0].container_port == 80);
	CU_ASSERT(!ports.items[1].every_family && ports.items[1].proto == IPPROTO_UDP &&
		  addr_is_v4(&ports.items[1].host_ip));
	CU_ASSERT(ports.items[2].proto == IPPROTO_SCTP && !addr_is_v4(&ports.items[2].host_ip) &&
		  ports.items[2].container_port == 65535);
	/* Without a protocol it is TCP, as in Kubernetes. */
	CU_ASSERT_FATAL(decode("[{\"hostPort\":1,\"containerPort\":2}]") == 0);
	CU_ASSERT(ports.items[0].proto == IPPROTO_TCP && ports.items[0].every_family);
	CU_ASSERT(decode("[{\"hostPort\":1,\"containerPort\":2,\"protocol\":\"\",\"hostIP\":null}"
			 "]") == 0);
	CU_ASSERT(decode("[]") == 0 && ports.count == 0);
	CU_ASSERT(decode("null") == 0 && ports.count == 0);
	CU_ASSERT(port_mappings_decode(NULL, "", &ports, &error) == 0 && ports.count == 0);
}

static void refuses_what_is_no_mapping_and_names_the_key(void)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
		{"{}", "list"},
		{"\"x\"", "list"},
		{"[5]", "[0]"},
		{"[null]", "[0]"},
		{"[{\"containerPort\":2}]", "hostPort"},
		{"[{\"hostPort\":1}]", "containerPort"},
		{"[{\"hostPort\":0,\"containerPort\":2}]", "[0].hostPort 0"},
		{"[{\"hostPort\":65536,\"containerPort\":2}]", "65536"},
		{"[{\"hostPort\":-1,\"containerPort\":2}]", "-1"},
		{"[{\"hostPort\":\"80-90\",\"containerPort\":2}]", "80-90"},
		{"[{\"hostPort\":80.5,\"containerPort\":2}]", "hostPort"},
		{"[{\"hostPort\":1,\"containerPort\":0}]", "containerPort"},
		{"[{\"hostPort\":1,\"containerPort\":2,\"protocol\":\"icmp\"}]", "icmp"},
		{"[{\"hostPort\":1,\"containerPort\":2,\"protocol\":6}]", "protocol"},
		{"[{\"hostPort\":1,\"containerPort\":2,\"hostIP\":\"host\"}]", "hostIP"},
		{"[{\"hostPort\":1,\"containerPort\":2,\"hostIP\":\"10.0.0.0/8\"}]", "hostIP"},
		{"[{\"hostPort\":1,\"containerPort\":2,\"hostIP\":4}]", "hostIP"},
		{"[{\"hostPort\":1,\"containerPort\":2},{\"hostPort\":1,\"containerPort\":3}]",
		 "[1]"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT(refused(bad[i].text, bad[i].word));
}

static void one_list_has_a_limit(void)
{
	json_t *list = json_array();

	for (int i = 0; i <= PORT_MAPPINGS_MAX; i++)
		json_array_append_new(
			list, json_pack("{s:i, s:i}", "hostPort", i + 1, "containerPort", 1));
	port_mappings_clear(&ports);
	CU_ASSERT(port_mappings_decode(list, "p", &ports, &error) == -EINVAL);
	json_array_remove(list, 0);
	CU_ASSERT(port_mappings_decode(list, "p", &ports, &error) == 0 &&
		  ports.count == PORT_MAPPINGS_MAX);
	json_decref(list);
}

static void same_mapping_twice_counts_once(void)
{
	CU_ASSERT(decode("[{\"hostPort\":1,\"containerPort\":2},"
			 "{\"hostPort\":1,\"containerPort\":2}]") == 0 &&
		  ports.count == 1);
	/* One port of the container at several addresses, and beside it another protocol. */
	CU_ASSERT(decode("[{\"hostPort\":1,\"containerPort\":2},"
			 "{\"hostPort\":1,\"containerPort\":2,\"hostIP\":\"10.0.0.1\"},"
			 "{\"hostPort\":1,\"containerPort\":9,\"protocol\":\"udp\"}]") == 0 &&
		  ports.count == 3);
}

static bool overlap(const char *a, const char *b)
{
	struct port_mapping first;
	char text[128];

	snprintf(text, sizeof(text), "[{%s,\"containerPort\":1}]", a);
	CU_ASSERT_FATAL(decode(text) == 0);
	first = ports.items[0];
	snprintf(text, sizeof(text), "[{%s,\"containerPort\":1}]", b);
	CU_ASSERT_FATAL(decode(text) == 0);
	CU_ASSERT(port_mapping_overlaps(&first, &ports.items[0]) ==
		  port_mapping_overlaps(&ports.items[0], &first));
	return port_mapping_overlaps(&first, &ports.items[0]);
}

static void mappings_meet_where_one_packet_would_be_of_both(void)
{
#define AT(address) "\"hostPort\":80,\"hostIP\":\"" address "\""
	CU_ASSERT(overlap(AT(""), AT("")) && overlap(AT(""), AT("10.0.0.1")));
	CU_ASSERT(overlap(AT(""), AT("fd00::1")) && overlap(AT("0.0.0.0"), AT("10.0.0.1")));
	CU_ASSERT(overlap(AT("::"), AT("fd00::1")) && overlap(AT("10.0.0.1"), AT("10.0.0.1")));
	CU_ASSERT(!overlap(AT("0.0.0.0"), AT("::")) && !overlap(AT("0.0.0.0"), AT("fd00::1")));
	CU_ASSERT(!overlap(AT("10.0.0.1"), AT("10.0.0.2")));
	CU_ASSERT(!overlap(AT(""), "\"hostPort\":81"));
	CU_ASSERT(!overlap(AT(""), "\"hostPort\":80,\"protocol\":\"udp\""));
#undef AT
}

static void what_is_written_is_read_back(void)
{
	static const char text[] =
		"[{\"hostIP\": \"0.0.0.0\", \"hostPort\": 80, \"containerPort\": 8080, "
		"\"protocol\": \"TCP\"}, {\"hostIP\": \"\", \"hostPort\": 53, "
		"\"containerPort\": 54, \"protocol\": \"SCTP\"}]";
	json_t *first = json_loads(text, 0, NULL), *again;

	CU_ASSERT_FATAL(decode(text) == 0);
	again = port_mappings_encode(&ports);
	CU_ASSERT(json_equal(first, again));
	json_decref(again);
	json_decref(first);
}

static void memory_that_is_refused_is_an_error_and_leaves_nothing(void)
{
	json_t *list = json_loads("[{\"hostPort\":1,\"containerPort\":2}]", 0, NULL);
	bool failed = true;

	for (size_t number = 1; failed; number++) {
		int r;

		port_mappings_clear(&ports);
		faults_begin(number);
		r = port_mappings_decode(list, "p", &ports, &error);
		failed = faults_end();
		CU_ASSERT_EQUAL(r, failed ? -ENOMEM : 0);
	}
	json_decref(list);
	port_mappings_clear(&ports);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(takes_what_runtimes_send_in_any_spelling),
		UNIT_TEST(refuses_what_is_no_mapping_and_names_the_key),
		UNIT_TEST(one_list_has_a_limit),
		UNIT_TEST(same_mapping_twice_counts_once),
		UNIT_TEST(mappings_meet_where_one_packet_would_be_of_both),
		UNIT_TEST(what_is_written_is_read_back),
		UNIT_TEST(memory_that_is_refused_is_an_error_and_leaves_nothing),
	};

	return UNIT_RUN("port_mapping", tests);
}
