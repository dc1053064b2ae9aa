/* SPDX-License-Identifier: Apache-2.0 */
/* Node ports that the kernel gives to the node's own connections. */
#include "agent/node/port_ranges.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static char directory[] = "/tmp/polder-port-ranges-XXXXXX";
static char note[512];

static void write_sysctl(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/ipv4/%s", directory, name);
	unlink(path);
	if (!text)
		return;
	file = fopen(path, "w");
	CU_ASSERT_FATAL(file != NULL);
	fputs(text, file);
	fclose(file);
}

/* What is told of these sysctls (NULL: there is none) and node ports 30000-32767. */
static const char *told(const char *range, const char *reserved)
{
	struct config config = {
		.sysctl_dir = directory, .node_port_min = 30000, .node_port_max = 32767};

	write_sysctl("ip_local_port_range", range);
	write_sysctl("ip_local_reserved_ports", reserved);
	port_ranges_note(&config, note, sizeof(note));
	return note;
}

static void ranges_that_do_not_meet_are_well(void)
{
	CU_ASSERT_STRING_EQUAL(told("32768\t60999\n", "\n"), "");
	CU_ASSERT_STRING_EQUAL(told("1024\t29999\n", "\n"), "");
}

static void ports_of_both_are_told_with_what_to_do(void)
{
	CU_ASSERT(strstr(told("30000\t60999\n", "\n"), "ports 30000 to 32767, which are") != NULL);
	CU_ASSERT(strstr(note, "set net.ipv4.ip_local_reserved_ports to 30000-32767") != NULL);
	CU_ASSERT(strstr(told("1024\t30000\n", "\n"), "ports 30000 to 30000,") != NULL);
	CU_ASSERT(strstr(told("32767\t60999\n", NULL), "ports 32767 to 32767,") != NULL);
}

static void ports_that_are_reserved_are_nobodys(void)
{
	CU_ASSERT_STRING_EQUAL(told("30000\t60999\n", "30000-32767\n"), "");
	CU_ASSERT_STRING_EQUAL(told("30000\t60999\n", "8080,29000-31000,31001-40000\n"), "");
	CU_ASSERT_STRING_EQUAL(told("32767\t60999\n", "32767\n"), "");
	CU_ASSERT(*told("30000\t60999\n", "30000-31000,31002-32767\n"));
	CU_ASSERT(*told("30000\t60999\n", "30001-32767\n"));
	CU_ASSERT(*told("30000\t60999\n", "30000-32766\n"));
}

static void sysctls_that_cannot_be_read_tell_nothing(void)
{
	CU_ASSERT_STRING_EQUAL(told(NULL, NULL), "");
	CU_ASSERT_STRING_EQUAL(told("x\n", NULL), "");
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(ranges_that_do_not_meet_are_well),
		UNIT_TEST(ports_of_both_are_told_with_what_to_do),
		UNIT_TEST(ports_that_are_reserved_are_nobodys),
		UNIT_TEST(sysctls_that_cannot_be_read_tell_nothing),
	};
	char path[256];
	int r;

	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/ipv4", directory);
	mkdir(path, 0700);
	r = UNIT_RUN("port ranges", tests);
	write_sysctl("ip_local_port_range", NULL);
	write_sysctl("ip_local_reserved_ports", NULL);
	rmdir(path);
	rmdir(directory);
	return r;
}
