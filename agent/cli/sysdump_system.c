/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's files say of the machine, for a sysdump: no file that may hold a secret is
 * opened; directories of Polder are listed, not read. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/archive.h"
#include "agent/cli/process.h"
#include "agent/cli/sysdump.h"
#include "agent/cli/table.h"
#include "agent/common/array.h"
#include "agent/common/cleanup.h"

#define VALUE_MAX   512
#define LISTED_MAX  20000 /* names of a directory and what is below it */
#define PROGRAMS_MS 5000
#define PROCESSES   8 /* that are told about */
#define AT_ONCE	    4

/* Up to `most` bytes of a file; NULL and errno. The caller frees. */
static char *read_file(const char *path, size_t most, size_t *ret_length)
{
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char *text = fd < 0 ? NULL : malloc(most + 1);
	size_t length = 0;
	ssize_t n = 1;

	if (!text)
		return NULL;
	while (length < most && (n = read(fd, text + length, most - length)) > 0)
		length += (size_t)n;
	if (n < 0 && !length) {
		free(text);
		return NULL;
	}
	text[length] = '\0';
	*ret_length = length;
	return text;
}

static void add_file(struct sysdump *dump, const char *name, const char *path)
{
	size_t length;
	char *text = read_file(path, SYSDUMP_TEXT_MAX + 1, &length);

	if (text)
		sysdump_add(dump, name, text, length, NULL);
	else
		sysdump_miss(dump, name, strerror(errno));
	free(text);
}

static void add_files(struct sysdump *dump)
{
	static const char *const paths[] = {
		"/proc/version",
		"/proc/cmdline",
		"/proc/uptime",
		"/proc/loadavg",
		"/proc/meminfo",
		"/proc/cpuinfo",
		"/proc/stat",
		"/proc/softirqs",
		"/proc/mounts",
		"/proc/modules",
		"/proc/net/dev",
		"/proc/net/snmp",
		"/proc/net/snmp6",
		"/proc/net/netstat",
		"/proc/net/softnet_stat",
		"/proc/net/sockstat",
		"/proc/net/sockstat6",
		"/proc/net/route",
		"/proc/net/ipv6_route",
		"/proc/net/fib_trie",
		"/proc/net/if_inet6",
		"/proc/net/arp",
		"/proc/net/protocols",
		"/proc/pressure/cpu",
		"/proc/pressure/memory",
		"/etc/os-release",
	};
	char name[ARCHIVE_NAME_MAX];

	for (size_t i = 0; i < COUNT(paths); i++) {
		snprintf(name, sizeof(name), "system%s", paths[i]);
		add_file(dump, name, paths[i]);
	}
}

/* "path value" of all files that the patterns name, one a line. */
static void add_values(struct sysdump *dump, const char *name, const char *const *patterns,
		       size_t count)
{
	char *text = NULL, *value;
	size_t size = 0, length;
	FILE *out = open_memstream(&text, &size);
	glob_t found;

	if (!out)
		return;
	for (size_t i = 0; i < count; i++) {
		if (glob(patterns[i], 0, NULL, &found))
			continue;
		for (size_t k = 0; k < found.gl_pathc && k < LISTED_MAX; k++) {
			value = read_file(found.gl_pathv[k], VALUE_MAX, &length);
			if (!value)
				continue;
			value[strcspn(value, "\n")] = '\0';
			fprintf(out, "%s %s\n", found.gl_pathv[k], value);
			free(value);
		}
		globfree(&found);
	}
	if (!fclose(out))
		sysdump_add(dump, name, text, size, NULL);
	free(text);
}

static void add_sysctls_and_links(struct sysdump *dump)
{
	static const char *const sysctls[] = {
		"/proc/sys/kernel/osrelease",
		"/proc/sys/kernel/*bpf*",
		"/proc/sys/kernel/tainted",
		"/proc/sys/net/core/*",
		"/proc/sys/net/ipv4/ip_*",
		"/proc/sys/net/ipv4/icmp_*",
		"/proc/sys/net/ipv4/tcp_*",
		"/proc/sys/net/ipv4/conf/*/*",
		"/proc/sys/net/ipv4/neigh/default/*",
		"/proc/sys/net/ipv6/conf/*/[adfmrp]*",
		"/proc/sys/net/ipv6/neigh/default/*",
		"/proc/sys/net/ipv6/route/*",
		"/proc/sys/net/netfilter/nf_conntrack_[bcmt]*",
		"/proc/sys/net/bridge/*",
	};
	static const char *const links[] = {
		"/sys/class/net/*/ifindex",
		"/sys/class/net/*/iflink",
		"/sys/class/net/*/type",
		"/sys/class/net/*/flags",
		"/sys/class/net/*/mtu",
		"/sys/class/net/*/address",
		"/sys/class/net/*/operstate",
		"/sys/class/net/*/carrier_changes",
		"/sys/class/net/*/ifalias",
		"/sys/class/net/*/statistics/*_errors",
		"/sys/class/net/*/statistics/*_dropped",
		"/sys/class/net/*/device/uevent",
	};

	add_values(dump, "system/sysctls.txt", sysctls, COUNT(sysctls));
	add_values(dump, "system/links.txt", links, COUNT(links));
}

/* ---------------------------------------------------------------- directories */

/* nftw() has no argument for the caller's own. */
static FILE *listing;
static size_t listed;

static int list_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
	if (listed++ >= LISTED_MAX)
		return 1;
	fprintf(listing, "%06o %u:%u %10lld %lld ", status->st_mode, status->st_uid, status->st_gid,
		(long long)status->st_size, (long long)status->st_mtime);
	text_print(path, NULL, listing);
	fputc('\n', listing);
	return 0;
}

/* Mode, owner, size, time and name of all that is there; no file is opened. */
static void add_listing(struct sysdump *dump, const char *name, const char *directory)
{
	char *text = NULL;
	size_t size = 0;

	listing = open_memstream(&text, &size);
	if (!listing)
		return;
	listed = 0;
	if (nftw(directory, list_one, 16, FTW_PHYS | FTW_MOUNT) < 0)
		fprintf(listing, "%s: %s\n", directory, strerror(errno));
	if (!fclose(listing))
		sysdump_add(dump, name, text, size, listed > LISTED_MAX ? "cut" : NULL);
	free(text);
}

/* ---------------------------------------------------------------- processes */

/* Of this node: others may be seen that belong to nodes which are network namespaces. */
static bool is_polderd(const char *pid)
{
	struct stat ours, theirs;
	char path[64], *name;
	size_t length;
	bool is;

	snprintf(path, sizeof(path), "/proc/%.20s/ns/net", pid);
	if (!stat("/proc/self/ns/net", &ours) && !stat(path, &theirs) &&
	    ours.st_ino != theirs.st_ino)
		return false;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	name = read_file(path, VALUE_MAX, &length);
	is = name && !strcmp(name, "polderd\n");
	free(name);
	return is;
}

/* Never its environment. */
static void add_process(struct sysdump *dump, const char *pid)
{
	static const char *const files[] = {"status",	    "limits",  "cgroup",   "stat",
					    "smaps_rollup", "cmdline", "mountinfo"};
	char path[96], name[ARCHIVE_NAME_MAX], *text;
	size_t length;

	for (size_t i = 0; i < COUNT(files); i++) {
		snprintf(path, sizeof(path), "/proc/%.20s/%s", pid, files[i]);
		snprintf(name, sizeof(name), "process/%.20s/%s", pid, files[i]);
		text = read_file(path, SYSDUMP_TEXT_MAX, &length);
		for (size_t k = 0; text && k < length; k++)
			if (!text[k])
				text[k] = '\n';
		if (text)
			sysdump_add(dump, name, text, length, NULL);
		else
			sysdump_miss(dump, name, strerror(errno));
		free(text);
	}
}

static void add_processes(struct sysdump *dump)
{
	DIR *directory = opendir("/proc");
	const struct dirent *entry;
	size_t found = 0;

	while (directory && found < PROCESSES && (entry = readdir(directory)))
		if (strspn(entry->d_name, "0123456789") == strlen(entry->d_name) &&
		    is_polderd(entry->d_name)) {
			add_process(dump, entry->d_name);
			found++;
		}
	if (directory)
		closedir(directory);
	if (!found)
		sysdump_miss(dump, "process", "no process polderd is seen from here");
}

void sysdump_add_system(struct sysdump *dump)
{
	add_files(dump);
	add_sysctls_and_links(dump);
	add_processes(dump);
	add_listing(dump, "files/pins.txt", dump->bpffs);
	add_listing(dump, "files/run.txt", dump->run_dir);
	add_listing(dump, "files/state.txt", dump->state_dir);
	/* The node's, where the agent's pod has it. */
	add_listing(dump, "files/cni-config.txt",
		    access("/host/etc/cni/net.d", F_OK) ? "/etc/cni/net.d" : "/host/etc/cni/net.d");
	add_listing(dump, "files/cni-plugins.txt", "/opt/cni/bin");
}

/* ---------------------------------------------------------------- programs of the machine */

struct program {
	const char *name;
	char *argv[8];
};

/* What the machine has of these says more; an image without them has the rest. Started without a
 * shell, each with its time and size. */
static const struct program programs[] = {
	{"network/links.json", {"ip", "-j", "-d", "-s", "link", NULL}},
	{"network/addresses.json", {"ip", "-j", "addr", NULL}},
	{"network/routes4.json", {"ip", "-j", "-4", "route", "show", "table", "all", NULL}},
	{"network/routes6.json", {"ip", "-j", "-6", "route", "show", "table", "all", NULL}},
	{"network/rules4.json", {"ip", "-j", "-4", "rule", NULL}},
	{"network/rules6.json", {"ip", "-j", "-6", "rule", NULL}},
	{"network/neighbours.json", {"ip", "-j", "neigh", NULL}},
	{"network/bridge-fdb.json", {"bridge", "-j", "fdb", NULL}},
	{"network/tc-qdiscs.json", {"tc", "-j", "-s", "qdisc", NULL}},
	{"network/sockets.txt", {"ss", "-s", NULL}},
	{"network/nftables.txt", {"nft", "list", "ruleset", NULL}},
	{"network/iptables.txt", {"iptables-save", "-c", NULL}},
	{"bpf/net.json", {"bpftool", "-j", "net", NULL}},
	{"bpf/links.json", {"bpftool", "-j", "link", NULL}},
	{"bpf/programs.json", {"bpftool", "-j", "prog", NULL}},
	{"bpf/maps.json", {"bpftool", "-j", "map", NULL}},
	{"bpf/cgroups.txt", {"bpftool", "cgroup", "tree", NULL}},
	{"log/polderd.txt",
	 {"journalctl", "-u", "polderd", "-n", "5000", "--no-pager", "-oshort-iso", NULL}},
	{"log/kernel.txt", {"journalctl", "-k", "-n", "1000", "--no-pager", NULL}},
};

static void add_output(struct sysdump *dump, const struct program *program, struct process *process)
{
	char note[256];

	if (process->error) {
		snprintf(note, sizeof(note), "%s: %s", program->argv[0],
			 process->error == -ENOENT	? "this machine does not have it"
			 : process->error == -ETIMEDOUT ? "took too long"
							: strerror(-process->error));
		sysdump_miss(dump, program->name, note);
		return;
	}
	snprintf(note, sizeof(note), "%s: status %d: %.150s", program->argv[0], process->status,
		 process->errors);
	note[strcspn(note, "\n")] = '\0';
	sysdump_add(dump, program->name, process->output, process->output_length,
		    process->status ? note
		    : process->cut  ? "cut: there is more"
				    : NULL);
}

void sysdump_add_programs(struct sysdump *dump)
{
	struct process list[COUNT(programs)] = {0};

	for (size_t i = 0; i < COUNT(programs); i++) {
		list[i].argv = programs[i].argv;
		list[i].most = SYSDUMP_TEXT_MAX;
	}
	processes_run(list, COUNT(programs), AT_ONCE, PROGRAMS_MS);
	for (size_t i = 0; i < COUNT(programs); i++) {
		add_output(dump, &programs[i], &list[i]);
		process_clear(&list[i]);
	}
}
