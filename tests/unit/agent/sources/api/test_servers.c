/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of the API server, and in which order they are tried. */
#include "agent/sources/api/servers.h"

#include <errno.h>

#include "tests/unit/unit.h"

#define NAMES(...) ((const char *const[]){__VA_ARGS__})

static struct error error;

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void order_is_configured_then_named_then_remembered(void)
{
	struct servers servers = {};
	const char *const *configured = NAMES("https://192.0.2.5:6443");
	const char *const *remembered =
		NAMES("192.0.2.7:6443", "[2001:db8::7]:6443", "192.0.2.5:6443");

	CU_ASSERT_FATAL(servers_set(&servers, configured, 1, "https://10.96.0.1", NULL, remembered,
				    3, &error) == 0);
	CU_ASSERT_EQUAL(servers.count, 4);
	CU_ASSERT(same(servers.list[0].base, "https://192.0.2.5:6443"));
	CU_ASSERT(same(servers.list[1].name, "https://10.96.0.1:443"));
	CU_ASSERT(!servers.list[1].connect_to && !servers.list[1].host);
	/* The certificate has to be that of the server that was named. */
	CU_ASSERT(same(servers.list[2].base, "https://10.96.0.1:443"));
	CU_ASSERT(same(servers.list[2].connect_to, "::192.0.2.7:6443"));
	CU_ASSERT(same(servers.list[3].connect_to, "::[2001:db8::7]:6443"));
	for (int i = 0; i < 4; i++)
		servers_next(&servers);
	CU_ASSERT(servers.current == 0);
	servers_clear(&servers);
	CU_ASSERT(!servers_current(&servers));
}

static void current_one_stays_when_others_come(void)
{
	struct servers servers = {};

	CU_ASSERT(servers_set(&servers, NULL, 0, "https://10.96.0.1", NULL, NAMES("192.0.2.7:6443"),
			      1, &error) == 0);
	servers_next(&servers);
	CU_ASSERT(servers_set(&servers, NULL, 0, "https://10.96.0.1", NULL,
			      NAMES("192.0.2.6:6443", "192.0.2.7:6443"), 2, &error) == 0);
	CU_ASSERT(same(servers_current(&servers)->name, "https://192.0.2.7:6443"));
	CU_ASSERT(servers_set(&servers, NULL, 0, "https://10.96.0.1", NULL, NULL, 0, &error) == 0);
	CU_ASSERT(same(servers_current(&servers)->name, "https://10.96.0.1:443"));
	servers_clear(&servers);
}

static void another_tls_name_leads_to_the_same_place(void)
{
	struct servers servers = {};

	CU_ASSERT(servers_set(&servers, NULL, 0, "https://192.0.2.1:6443/prefix/", "kubernetes",
			      NULL, 0, &error) == 0);
	CU_ASSERT(same(servers.list[0].base, "https://kubernetes:6443/prefix"));
	CU_ASSERT(same(servers.list[0].connect_to, "::192.0.2.1:6443"));
	CU_ASSERT(same(servers.list[0].host, "192.0.2.1:6443"));
	servers_clear(&servers);
}

static void hosts_without_a_scheme_are_https(void)
{
	struct servers servers = {};

	CU_ASSERT(servers_set(&servers, NULL, 0, "api.example:6443", NULL, NULL, 0, &error) == 0);
	CU_ASSERT(same(servers.list[0].base, "https://api.example:6443"));
	servers_clear(&servers);
}

static void what_is_no_address_is_refused_and_changes_nothing(void)
{
	static const char *const wrong[] = {"ftp://h",	"https://u:p@h",   "https://h?x=1",
					    "https://", "https://h:99999", "https://h#f"};
	struct servers servers = {};

	CU_ASSERT(servers_set(&servers, NULL, 0, "https://h", NULL, NULL, 0, &error) == 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		CU_ASSERT(servers_set(&servers, NULL, 0, wrong[i], NULL, NULL, 0, &error) ==
			  -EINVAL);
		CU_ASSERT(same(error.path, wrong[i]) && error.text[0]);
		CU_ASSERT(same(servers_current(&servers)->base, "https://h:443"));
	}
	servers_clear(&servers);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(order_is_configured_then_named_then_remembered),
		UNIT_TEST(current_one_stays_when_others_come),
		UNIT_TEST(another_tls_name_leads_to_the_same_place),
		UNIT_TEST(hosts_without_a_scheme_are_https),
		UNIT_TEST(what_is_no_address_is_refused_and_changes_nothing),
	};

	return UNIT_RUN("sources/api/servers", tests);
}
