/* SPDX-License-Identifier: Apache-2.0 */
/* The programs that note processes, at a control group and in a network namespace of the test's
 * own. */
#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "agent/kernel/program_object.h"
#include "datapath/processes.h"
#include "tests/unit/unit.h"

#define SILENT 1500 /* sockets, of which a map of ROOM has no notes */
#define ROOM   128
#define V4     "192.0.2.1"
#define V6     "2001:db8::1"

static struct bpf_object *object;
static char directory[32];
static int group = -1; /* the control group */

/* ---------------------------------------------------------------- the world */

static void write_pid(const char *path)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	unit_write(path, pid, strlen(pid));
}

static void enter_group(void)
{
	char path[128];

	CU_ASSERT_FATAL(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	unit_directory(directory);
	CU_ASSERT_FATAL(mount("none", directory, "cgroup2", 0, NULL) == 0);
	snprintf(path, sizeof(path), "%s/polder-unit-%d", directory, (int)getpid());
	CU_ASSERT_FATAL(mkdir(path, 0700) == 0);
	group = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	CU_ASSERT_FATAL(group >= 0);
	strcat(path, "/cgroup.procs");
	write_pid(path);
}

static void leave_group(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	write_pid(path);
	close(group);
	snprintf(path, sizeof(path), "%s/polder-unit-%d", directory, (int)getpid());
	CU_ASSERT(rmdir(path) == 0);
	CU_ASSERT(umount(directory) == 0);
	CU_ASSERT(rmdir(directory) == 0);
}

static void add_addresses(void)
{
	struct ifreq v4 = {.ifr_name = "lo"};
	struct in6_ifreq v6 = {.ifr6_prefixlen = 128, .ifr6_ifindex = 1};
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
	    sock6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	v4.ifr_flags = IFF_UP;
	CU_ASSERT_FATAL(ioctl(sock, SIOCSIFFLAGS, &v4) == 0);
	v4.ifr_addr.sa_family = AF_INET;
	inet_pton(AF_INET, V4, &((struct sockaddr_in *)&v4.ifr_addr)->sin_addr);
	CU_ASSERT_FATAL(ioctl(sock, SIOCSIFADDR, &v4) == 0);
	inet_pton(AF_INET6, V6, &v6.ifr6_addr);
	CU_ASSERT_FATAL(ioctl(sock6, SIOCSIFADDR, &v6) == 0);
	close(sock);
	close(sock6);
}

static void attach(void)
{
	struct bpf_program *program;
	struct bpf_map *sockets;

	CU_ASSERT_FATAL(program_object_open(DATAPATH_PROCESSES, &object) == 0);
	sockets = bpf_object__find_map_by_name(object, "process_sockets");
	CU_ASSERT_FATAL(bpf_map__set_max_entries(sockets, ROOM) == 0);
	CU_ASSERT_FATAL(bpf_object__load(object) == 0);
	bpf_object__for_each_program(program, object)
	{
		CU_ASSERT_FATAL(bpf_link_create(bpf_program__fd(program), group,
						bpf_program__expected_attach_type(program),
						NULL) >= 0);
	}
}

/* ---------------------------------------------------------------- sockets */

static int silent_socket(int family)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	int sock = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, V4, &v4.sin_addr);
	inet_pton(AF_INET6, V6, &v6.sin6_addr);
	CU_ASSERT_FATAL(sock >= 0);
	CU_ASSERT_FATAL(connect(sock, family == AF_INET ? (void *)&v4 : (void *)&v6,
				family == AF_INET ? sizeof(v4) : sizeof(v6)) == 0);
	return sock;
}

static void speak(int sock)
{
	/* Nobody listens there: an earlier datagram's error may be told first. */
	if (send(sock, "x", 1, 0) < 0)
		CU_ASSERT(errno == ECONNREFUSED);
}

/* Is the process of this socket told at its port? */
static bool is_noted(int sock)
{
	uint64_t cookie;
	struct process_key key = {.proto = IPPROTO_UDP};
	struct process_note note;
	struct sockaddr_in6 own;
	socklen_t length = sizeof(own);

	CU_ASSERT_FATAL(getsockname(sock, (struct sockaddr *)&own, &length) == 0);
	key.local_port_be = own.sin6_port;
	length = sizeof(key.netns);
	CU_ASSERT_FATAL(getsockopt(sock, SOL_SOCKET, SO_NETNS_COOKIE, &key.netns, &length) == 0);
	length = sizeof(cookie);
	CU_ASSERT_FATAL(getsockopt(sock, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0);
	return bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, "process_flows"), &key,
				   &note) == 0 &&
	       note.socket == cookie;
}

/* Does something wait for its first datagram? */
static bool is_waited_for(int sock)
{
	struct process_note note;

	return bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, "process_silent"), &sock,
				   &note) == 0;
}

/* ---------------------------------------------------------------- tests */

static const int families[] = {AF_INET, AF_INET6};

static void a_note_waits_with_its_socket_until_it_speaks(void)
{
	for (size_t i = 0; i < 2; i++) {
		int sock = silent_socket(families[i]);

		CU_ASSERT(is_waited_for(sock));
		CU_ASSERT(!is_noted(sock));
		speak(sock);
		CU_ASSERT(!is_waited_for(sock));
		CU_ASSERT(is_noted(sock));
		speak(sock);
		CU_ASSERT(is_noted(sock));
		close(sock);
	}
}

static void silent_sockets_of_others_push_no_note_out(void)
{
	static int others[SILENT];

	for (size_t i = 0; i < 2; i++) {
		int first = silent_socket(families[i]);

		for (int j = 0; j < SILENT; j++)
			others[j] = silent_socket(families[i]);
		speak(first);
		CU_ASSERT(is_noted(first));
		speak(others[0]);
		CU_ASSERT(is_noted(others[0]));
		for (int j = 0; j < SILENT; j++)
			close(others[j]);
		close(first);
	}
}

static void a_socket_that_connects_again_waits_once(void)
{
	int sock = silent_socket(AF_INET);
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(10)};

	inet_pton(AF_INET, V4, &to.sin_addr);
	CU_ASSERT(connect(sock, &none, sizeof(none)) == 0);
	CU_ASSERT(connect(sock, (struct sockaddr *)&to, sizeof(to)) == 0);
	speak(sock);
	CU_ASSERT(!is_waited_for(sock));
	CU_ASSERT(is_noted(sock));
	close(sock);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(enter_group),
		UNIT_TEST(add_addresses),
		UNIT_TEST(attach),
		UNIT_TEST(a_note_waits_with_its_socket_until_it_speaks),
		UNIT_TEST(silent_sockets_of_others_push_no_note_out),
		UNIT_TEST(a_socket_that_connects_again_waits_once),
		UNIT_TEST(leave_group),
	};
	const struct rlimit files = {4096, 4096};

	/* What it mounts and the addresses that it takes are its own. */
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0) {
		perror("test_processes");
		return 1;
	}
	return UNIT_RUN("processes", tests);
}
