/* SPDX-License-Identifier: Apache-2.0 */
/* Each key's meaning: from a text to a field, with a reason when it makes no sense. */
#include "agent/config/config_keys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/listen_address.h"
#include "agent/config/config_balancers.h"
#include "agent/config/config_parse.h"
#include "agent/config/config_sizes.h"
#include "agent/config/config_ui.h"

/* ---------------------------------------------------------------- addresses */

static bool zero_prefix(const struct prefix *prefix)
{
	return prefix->length == 0;
}

/* Loopback, link-local, multicast and this-network addresses belong to no pod and no node. */
static const char *reserved(const struct polder_addr *addr)
{
	static const struct {
		const char *prefix, *what;
	} ranges[] = {
		{"0.0.0.0/8", "the range \"this network\""},
		{"127.0.0.0/8", "loopback"},
		{"169.254.0.0/16", "link-local"},
		{"224.0.0.0/3", "multicast or reserved"},
		{"::/128", "unspecified"},
		{"::1/128", "loopback"},
		{"fe80::/10", "link-local"},
		{"ff00::/8", "multicast"},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct prefix range;

		if (prefix_parse(ranges[i].prefix, &range) == 0 && prefix_contains(&range, addr))
			return ranges[i].what;
	}
	return NULL;
}

static int set_pod_cidr(struct config *config, const char *text, struct config_source *source)
{
	struct prefix prefix, *field;
	const char *what;
	bool v4;

	if (prefix_parse(text, &prefix) < 0)
		return bad(source,
			   "a range such as 10.244.1.0/24 or fd00:10:244:1::/64 is required");
	v4 = addr_is_v4(&prefix.addr) && prefix.length >= POLDER_V4_MAPPED_BITS;
	what = reserved(&prefix.addr);
	if (what)
		return bad(source, "%s is %s, which pods cannot use", text, what);
	if (v4 && (prefix.length < 96 + 8 || prefix.length > 96 + 30))
		return bad(source, "an IPv4 range from /8 to /30 is required");
	if (!v4 && (prefix.length < 16 || prefix.length > 126))
		return bad(source, "an IPv6 range from /16 to /126 is required");
	field = v4 ? &config->pod_cidr_v4 : &config->pod_cidr_v6;
	if (!zero_prefix(field))
		return bad(source, "a second range of IPv%d; one of each family is allowed",
			   v4 ? 4 : 6);
	*field = prefix;
	return 0;
}

static void clear_pod_cidr(struct config *config)
{
	config->pod_cidr_v4 = config->pod_cidr_v6 = (struct prefix){0};
}

static int set_node_ip(struct config *config, const char *text, struct config_source *source)
{
	struct polder_addr addr, *field;
	const char *what;
	bool v4;

	if (addr_parse(text, &addr) < 0)
		return bad(source, "an address such as 192.0.2.1 or 2001:db8::1 is required");
	what = reserved(&addr);
	if (what)
		return bad(source, "%s is %s, which no node can have", text, what);
	v4 = addr_is_v4(&addr);
	field = v4 ? &config->node_ip_v4 : &config->node_ip_v6;
	if (!addr_is_zero(field))
		return bad(source, "a second address of IPv%d; one of each family is allowed",
			   v4 ? 4 : 6);
	*field = addr;
	return 0;
}

static void clear_node_ip(struct config *config)
{
	config->node_ip_v4 = config->node_ip_v6 = (struct polder_addr){0};
}

static int add_range(struct prefix *ranges, size_t *count, const char *text,
		     struct config_source *source)
{
	struct prefix prefix;

	if (prefix_parse(text, &prefix) < 0)
		return bad(source, "a range such as 10.0.0.0/8 or 2001:db8::/32 is required");
	if (*count == CONFIG_MAX_RANGES)
		return bad(source, "at most %d ranges are allowed", CONFIG_MAX_RANGES);
	ranges[(*count)++] = prefix;
	return 0;
}

static int set_no_masquerade(struct config *config, const char *text, struct config_source *source)
{
	return add_range(config->no_masquerade, &config->no_masquerade_count, text, source);
}

static int set_node_port_addresses(struct config *config, const char *text,
				   struct config_source *source)
{
	return add_range(config->node_port_addresses, &config->node_port_address_count, text,
			 source);
}

static void clear_node_port_addresses(struct config *config)
{
	config->node_port_address_count = 0;
}

static void clear_no_masquerade(struct config *config)
{
	config->no_masquerade_count = 0;
}

/* ---------------------------------------------------------------- one function for each key */

/* A DNS subdomain, as Kubernetes names its nodes (RFC 1123). */
bool config_is_node_name(const char *text)
{
	size_t length = strlen(text);

	return length > 0 && length <= 253 &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-") == length && text[0] != '-' &&
	       text[0] != '.' && text[length - 1] != '-' && text[length - 1] != '.';
}

static int set_node_name(struct config *config, const char *text, struct config_source *source)
{
	if (!config_is_node_name(text))
		return bad(source,
			   "a name of 1 to 253 characters a-z, 0-9, '-' and '.' is required, "
			   "which begins and ends with a letter or digit");
	return replace_text(&config->node_name, text, source);
}

static int set_resources(struct config *config, const char *text, struct config_source *source)
{
	return set_directory(&config->resources, text, source);
}

static int set_run_dir(struct config *config, const char *text, struct config_source *source)
{
	return set_directory(&config->run_dir, text, source);
}

static int set_state_dir(struct config *config, const char *text, struct config_source *source)
{
	return set_directory(&config->state_dir, text, source);
}

static int set_bpffs(struct config *config, const char *text, struct config_source *source)
{
	return set_directory(&config->bpffs, text, source);
}

static int set_cgroup(struct config *config, const char *text, struct config_source *source)
{
	struct stat status;

	if (strcmp(text, "none") == 0) {
		free(TAKE_PTR(config->cgroup));
		return 0;
	}
	if (set_directory(&config->cgroup, text, source) < 0)
		return -EINVAL;
	if (stat(config->cgroup, &status) < 0)
		return bad(source,
			   "%s: %s; a directory of a cgroup2 mount, or \"none\", is required",
			   config->cgroup, strerror(errno));
	return 0;
}

static int set_sysctl_dir(struct config *config, const char *text, struct config_source *source)
{
	return set_directory(&config->sysctl_dir, text, source);
}

static int set_cni_config(struct config *config, const char *text, struct config_source *source)
{
	return set_path(&config->cni_config, text, source);
}

static int set_cni_config_dir(struct config *config, const char *text, struct config_source *source)
{
	return set_directory(&config->cni_config_dir, text, source);
}

static int set_uplink(struct config *config, const char *text, struct config_source *source)
{
	size_t length = strlen(text);

	if (length == 0 || length >= IFNAMSIZ || strpbrk(text, "/: \t\n") ||
	    strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
		return bad(source, "the name of a link, 1 to %d characters, is required",
			   IFNAMSIZ - 1);
	for (size_t i = 0; i < config->uplink_count; i++) {
		if (strcmp(config->uplinks[i], text) == 0)
			return bad(source, "the link is given twice");
	}
	if (config->uplink_count == CONFIG_MAX_UPLINKS)
		return bad(source, "at most %d uplinks are allowed", CONFIG_MAX_UPLINKS);
	if (replace_text(&config->uplinks[config->uplink_count], text, source) < 0)
		return -EINVAL;
	config->uplink_count++;
	return 0;
}

static void clear_uplinks(struct config *config)
{
	while (config->uplink_count > 0) {
		config->uplink_count--;
		free(TAKE_PTR(config->uplinks[config->uplink_count]));
	}
}

static int set_yes_no(bool *ret, const char *text, struct config_source *source)
{
	static const struct choice choices[] = {{"yes", true}, {"no", false}};
	int value = 0;

	if (CHOOSE(choices, text, &value, source) < 0)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int set_masquerade(struct config *config, const char *text, struct config_source *source)
{
	return set_yes_no(&config->masquerade, text, source);
}

static int set_latency(struct config *config, const char *text, struct config_source *source)
{
	return set_yes_no(&config->latency, text, source);
}

static int set_processes(struct config *config, const char *text, struct config_source *source)
{
	return set_yes_no(&config->processes, text, source);
}

static int set_peer_mac_check(struct config *config, const char *text, struct config_source *source)
{
	return set_yes_no(&config->peer_mac_check, text, source);
}

static int set_ports(uint16_t *ret_min, uint16_t *ret_max, unsigned int least, const char *text,
		     struct config_source *source)
{
	unsigned int min, max;
	char rest;

	if (strspn(text, "0123456789-") != strlen(text) || strlen(text) > 11 ||
	    sscanf(text, "%5u-%5u%c", &min, &max, &rest) != 2 || min < least || max > UINT16_MAX ||
	    min > max)
		return bad(source,
			   "a range of ports from %u to 65535, the lower one first, such "
			   "as 10240-29999, is required",
			   least);
	*ret_min = (uint16_t)min;
	*ret_max = (uint16_t)max;
	return 0;
}

static int set_masquerade_ports(struct config *config, const char *text,
				struct config_source *source)
{
	return set_ports(&config->masquerade_port_min, &config->masquerade_port_max, 1024, text,
			 source);
}

static int set_balancing(struct config *config, const char *text, struct config_source *source)
{
	static const struct choice choices[] = {{"random", BALANCING_RANDOM},
						{"maglev", BALANCING_MAGLEV}};
	int value = 0;

	if (CHOOSE(choices, text, &value, source) < 0)
		return -EINVAL;
	config->balancing = value;
	return 0;
}

static int set_node_port_range(struct config *config, const char *text,
			       struct config_source *source)
{
	return set_ports(&config->node_port_min, &config->node_port_max, 1, text, source);
}

static int set_forwarding(struct config *config, const char *text, struct config_source *source)
{
	static const struct choice choices[] = {{"snat", FORWARDING_SNAT}, {"dsr", FORWARDING_DSR}};
	int value = 0;

	if (CHOOSE(choices, text, &value, source) < 0)
		return -EINVAL;
	config->forwarding = value;
	return 0;
}

static int set_stack_mark(struct config *config, const char *text, struct config_source *source)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 0);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value == 0 || value > UINT32_MAX ||
	    (value & (value - 1)))
		return bad(source, "a number with one bit set, such as 0x00400000, is required");
	config->stack_mark = (uint32_t)value;
	return 0;
}

static int set_listen(char **field, const char *text, struct config_source *source)
{
	struct sockaddr_in6 address;

	if (listen_address_parse(text, &address) < 0 || address.sin6_port == 0)
		return bad(source, "an address with port such as 127.0.0.1:9100, [::1]:9100 or "
				   ":9100 is required");
	return replace_text(field, text, source);
}

static int set_metrics_listen(struct config *config, const char *text, struct config_source *source)
{
	return set_listen(&config->metrics_listen, text, source);
}

static int set_health_listen(struct config *config, const char *text, struct config_source *source)
{
	return set_listen(&config->health_listen, text, source);
}

static int set_attach(struct config *config, const char *text, struct config_source *source)
{
	static const struct choice choices[] = {
		{"auto", ATTACH_AUTO}, {"tcx", ATTACH_TCX}, {"clsact", ATTACH_CLSACT}};
	int value = 0;

	if (CHOOSE(choices, text, &value, source) < 0)
		return -EINVAL;
	config->attach = (enum attach_mode)value;
	return 0;
}

static int set_xdp(struct config *config, const char *text, struct config_source *source)
{
	static const struct choice choices[] = {{"auto", XDP_AUTO},
						{"native", XDP_NATIVE},
						{"generic", XDP_GENERIC},
						{"off", XDP_OFF}};
	int value = 0;

	if (CHOOSE(choices, text, &value, source) < 0)
		return -EINVAL;
	config->xdp = (enum xdp_mode)value;
	return 0;
}

static int set_pod_mtu(struct config *config, const char *text, struct config_source *source)
{
	uint32_t value = 0;

	if (set_u32(&value, text, 0, UINT16_MAX, source) < 0 || (value > 0 && value < 1280))
		return bad(source, "0 (the uplink's) or a number from 1280 to 65535 is required");
	config->pod_mtu = (uint16_t)value;
	return 0;
}

static int set_rejects_per_second(struct config *config, const char *text,
				  struct config_source *source)
{
	return set_u32(&config->rejects_per_second, text, 0, 10000000, source);
}

static int set_events_per_second(struct config *config, const char *text,
				 struct config_source *source)
{
	return set_u32(&config->events_per_second, text, 0, 10000000, source);
}

/* A socket's path has a shorter limit, and is not made. */
static int set_flow_export(struct config *config, const char *text, struct config_source *source)
{
	CLEANUP(cleanup_free) char *path = NULL;
	bool is_socket = strncmp(text, "unix:", strlen("unix:")) == 0;
	char *target = NULL;

	if (strcmp(text, "none") == 0) {
		free(TAKE_PTR(config->flow_export));
		return 0;
	}
	if (set_path(&path, is_socket ? text + strlen("unix:") : text, source) < 0)
		return -EINVAL;
	if (is_socket && strlen(path) > 107)
		return bad(source, "the path of a socket has at most 107 bytes");
	if (asprintf(&target, "%s%s", is_socket ? "unix:" : "", path) < 0)
		return bad(source, "out of memory");
	free(config->flow_export);
	config->flow_export = target;
	return 0;
}

static int set_flow_export_events(struct config *config, const char *text,
				  struct config_source *source)
{
	static const struct choice choices[] = {
		{"all", EXPORT_ALL}, {"drops", EXPORT_DROPS}, {"flows", EXPORT_FLOWS}};
	int value = 0;

	if (CHOOSE(choices, text, &value, source) < 0)
		return -EINVAL;
	config->flow_export_events = value;
	return 0;
}

static int set_flow_export_rate(struct config *config, const char *text,
				struct config_source *source)
{
	return set_u32(&config->flow_export_rate, text, 0, 1000000, source);
}

static int set_flow_export_size(struct config *config, const char *text,
				struct config_source *source)
{
	return set_u32(&config->flow_export_size, text, 0, 1048576, source);
}

static int set_flow_history(struct config *config, const char *text, struct config_source *source)
{
	return set_u32(&config->flow_history, text, 0, 4096, source);
}

static int set_flow_history_file(struct config *config, const char *text,
				 struct config_source *source)
{
	if (strcmp(text, "none") != 0)
		return set_path(&config->flow_history_file, text, source);
	free(TAKE_PTR(config->flow_history_file));
	return 0;
}

static int set_flow_history_age(struct config *config, const char *text,
				struct config_source *source)
{
	return set_u32(&config->flow_history_age, text, 1, 525600, source);
}

static int set_log_level(struct config *config, const char *text, struct config_source *source)
{
	if (log_level_parse(text, &config->log_level) < 0)
		return bad(source, "error, warning, info or debug is required");
	return 0;
}

static int set_tunnel(struct config *config, const char *text, struct config_source *source)
{
	static const struct choice choices[] = {
		{"none", TUNNEL_NONE}, {"vxlan", TUNNEL_VXLAN}, {"auto", TUNNEL_AUTO}};
	int value = 0;
	int r = CHOOSE(choices, text, &value, source);

	if (r == 0)
		config->tunnel = (enum tunnel_mode)value;
	return r;
}

static int set_tunnel_port(struct config *config, const char *text, struct config_source *source)
{
	uint32_t value = 0;
	int r = set_u32(&value, text, 1, 65535, source);

	if (r == 0)
		config->tunnel_port = (uint16_t)value;
	return r;
}

static int set_tunnel_vni(struct config *config, const char *text, struct config_source *source)
{
	return set_u32(&config->tunnel_vni, text, 0, 0xffffff, source);
}

/* ---------------------------------------------------------------- the API server */

static int set_kubeconfig(struct config *config, const char *text, struct config_source *source)
{
	struct stat status;

	if (set_path(&config->kubeconfig, text, source) < 0)
		return -EINVAL;
	if (stat(config->kubeconfig, &status) == 0 && S_ISDIR(status.st_mode))
		return bad(source, "%s is a directory; a kubeconfig file is required",
			   config->kubeconfig);
	return 0;
}

static int set_context(struct config *config, const char *text, struct config_source *source)
{
	if (!text[0])
		return bad(source, "the name of a context in the kubeconfig is required");
	return replace_text(&config->context, text, source);
}

static int set_in_cluster(struct config *config, const char *text, struct config_source *source)
{
	return set_yes_no(&config->in_cluster, text, source);
}

/* What else is wrong with it is told where it is taken apart. */
static int set_api_server(struct config *config, const char *text, struct config_source *source)
{
	if (strncmp(text, "https://", 8) != 0 || !text[8] || strpbrk(text, " \t\n@?#"))
		return bad(source, "a URL such as https://192.0.2.1:6443 is required");
	for (size_t i = 0; i < config->api_server_count; i++) {
		if (strcmp(config->api_servers[i], text) == 0)
			return bad(source, "the server is given twice");
	}
	if (config->api_server_count == CONFIG_MAX_API_SERVERS)
		return bad(source, "at most %d servers are allowed", CONFIG_MAX_API_SERVERS);
	if (replace_text(&config->api_servers[config->api_server_count], text, source) < 0)
		return -EINVAL;
	config->api_server_count++;
	return 0;
}

static void clear_api_servers(struct config *config)
{
	while (config->api_server_count > 0) {
		config->api_server_count--;
		free(TAKE_PTR(config->api_servers[config->api_server_count]));
	}
}

static int set_api_silence(struct config *config, const char *text, struct config_source *source)
{
	return set_u32(&config->api_silence, text, 2, 60, source);
}

/* Sorted by subject: the help prints it in this order. */
const struct config_key config_keys[] = {
	{"node-name", FORM_TEXT, "NAME", "this node's name (default: the host's name)",
	 set_node_name, NULL},
	{"resources", FORM_TEXT, "DIR", "directory of *.json files with Kubernetes objects",
	 set_resources, NULL},
	{"kubeconfig", FORM_TEXT, "FILE", "read objects from this file's API server",
	 set_kubeconfig, NULL},
	{"context", FORM_TEXT, "NAME", "context of the kubeconfig (default: its current one)",
	 set_context, NULL},
	{"in-cluster", FORM_FLAG, NULL, "read objects from the API server of polderd's own pod",
	 set_in_cluster, NULL},
	{"api-server", FORM_LIST, "URL", "another address of the API server, repeatable",
	 set_api_server, clear_api_servers},
	{"api-silence", FORM_NUMBER, "SECONDS",
	 "ask whether the API server is there after so long a silence (default 20)",
	 set_api_silence, NULL},
	{"run-dir", FORM_TEXT, "DIR",
	 "directory of the control socket and of state that a reboot ends (default /run/polder)",
	 set_run_dir, NULL},
	{"state-dir", FORM_TEXT, "DIR",
	 "directory of what outlives a reboot (default /var/lib/polder)", set_state_dir, NULL},
	{"bpffs", FORM_TEXT, "DIR",
	 "directory of pinned maps and links (default /sys/fs/bpf/polder)", set_bpffs, NULL},
	{"cgroup", FORM_TEXT, "DIR|none",
	 "cgroup2 directory for socket programs (default: its mount)", set_cgroup, NULL},
	{"sysctl-dir", FORM_TEXT, "DIR",
	 "where the network's sysctls can be written (default /proc/sys/net)", set_sysctl_dir,
	 NULL},
	{"cni-config", FORM_TEXT, "FILE",
	 "network configuration for container runtimes, installed once ready", set_cni_config,
	 NULL},
	{"cni-config-dir", FORM_TEXT, "DIR", "where --cni-config is installed", set_cni_config_dir,
	 NULL},
	{"pod-cidr", FORM_PAIR, "V4,V6", "ranges of this node's pods, one or both families",
	 set_pod_cidr, clear_pod_cidr},
	{"node-ip", FORM_PAIR, "V4,V6", "this node's addresses (default: the first uplink's)",
	 set_node_ip, clear_node_ip},
	{"uplink", FORM_LIST, "IF", "uplink, repeatable (default: the link of the default route)",
	 set_uplink, clear_uplinks},
	{"tunnel", FORM_TEXT, "none|vxlan|auto",
	 "how other nodes' pods are reached (default none: by routes)", set_tunnel, NULL},
	{"tunnel-port", FORM_NUMBER, "PORT", "UDP port of the tunnel (default 4789)",
	 set_tunnel_port, NULL},
	{"tunnel-vni", FORM_NUMBER, "N", "number of the tunnel's network (default 1)",
	 set_tunnel_vni, NULL},
	{"peer-mac-check", FORM_YES_NO, "yes|no",
	 "check the MAC address of other nodes' packets (default yes)", set_peer_mac_check, NULL},
	{"load-balancer-pools", FORM_LIST, "RANGE",
	 "addresses for Services of type LoadBalancer, repeatable", config_set_pool,
	 config_clear_pools},
	{"load-balancer-announce", FORM_TEXT, "l2|none",
	 "answer ARP and neighbour discovery for them (default none)", config_set_announce, NULL},
	{"load-balancer-return", FORM_NUMBER, "SECONDS",
	 "an address goes back to its first node after so long; 0: never (default 300)",
	 config_set_return, NULL},
	{"masquerade", FORM_YES_NO, "yes|no", "masquerade pod traffic to the outside (default yes)",
	 set_masquerade, NULL},
	{"no-masquerade", FORM_LIST, "CIDR", "do not masquerade traffic to this range, repeatable",
	 set_no_masquerade, clear_no_masquerade},
	{"masquerade-ports", FORM_TEXT, "MIN-MAX",
	 "source ports for masquerading (default 10240-29999)", set_masquerade_ports, NULL},
	{"forwarding", FORM_TEXT, "snat|dsr",
	 "how Services are forwarded from outside to other nodes (default snat)", set_forwarding,
	 NULL},
	{"balancing", FORM_TEXT, "random|maglev",
	 "how endpoints of Services are chosen (default random)", set_balancing, NULL},
	{"maglev-table-size", FORM_NUMBER, "N",
	 "cells of each Maglev table, a prime (default 16381)", config_set_maglev_table_size, NULL},
	{"node-port-addresses", FORM_LIST, "CIDR",
	 "addresses of nodes that serve node ports, repeatable; default: all of the uplinks",
	 set_node_port_addresses, clear_node_port_addresses},
	{"node-port-range", FORM_TEXT, "MIN-MAX", "ports of node ports (default 30000-32767)",
	 set_node_port_range, NULL},
	{"stack-mark", FORM_TEXT, "BIT",
	 "mark of packets that the stack may forward (default 0x00400000)", set_stack_mark, NULL},
	{"metrics-listen", FORM_TEXT, "ADDR:PORT",
	 "serve /metrics, /healthz and /readyz at this address", set_metrics_listen, NULL},
	{"health-listen", FORM_TEXT, "ADDR:PORT", "serve /healthz and /readyz at this address, too",
	 set_health_listen, NULL},
	{"ui-listen", FORM_TEXT, "ADDR:PORT|unix:PATH|none",
	 "serve a page for browsers at this address (default none)", config_set_ui_listen, NULL},
	{"ui-host", FORM_LIST, "NAME",
	 "name by which browsers ask for the page, beside localhost, repeatable",
	 config_set_ui_host, config_clear_ui_hosts},
	{"attach", FORM_TEXT, "auto|tcx|clsact",
	 "how programs are attached to links (default auto)", set_attach, NULL},
	{"xdp", FORM_TEXT, "auto|native|generic|off", "XDP on the uplinks (default auto)", set_xdp,
	 NULL},
	{"flows-v4", FORM_NUMBER, "N", "IPv4 flow entries, a power of two (default 131072)",
	 config_set_flows_v4, NULL},
	{"flows-v6", FORM_NUMBER, "N", "IPv6 flow entries, a power of two (default 65536)",
	 config_set_flows_v6, NULL},
	{"max-services", FORM_NUMBER, "N", "ports of Services (default 65536)",
	 config_set_max_services, NULL},
	{"max-backends", FORM_NUMBER, "N", "endpoints of Services (default 262144)",
	 config_set_max_backends, NULL},
	{"max-service-cells", FORM_NUMBER, "N", "cells of Services' tables (default 1048576)",
	 config_set_max_service_cells, NULL},
	{"max-service-sources", FORM_NUMBER, "N",
	 "ranges in loadBalancerSourceRanges (default 65536)", config_set_max_service_sources,
	 NULL},
	{"max-service-clients", FORM_NUMBER, "N",
	 "clients of Services with session affinity (default 65536)",
	 config_set_max_service_clients, NULL},
	{"max-addresses", FORM_NUMBER, "N", "known addresses and ranges (default 131072)",
	 config_set_max_addresses, NULL},
	{"max-policy-entries", FORM_NUMBER, "N", "entries of each policy map (default 262144)",
	 config_set_max_policy_entries, NULL},
	{"max-pods", FORM_NUMBER, "N", "pods of this node, a power of two (default 4096)",
	 config_set_max_pods, NULL},
	{"max-rule-counters", FORM_NUMBER, "N", "rules whose packets are counted (default 32768)",
	 config_set_max_rule_counters, NULL},
	{"max-fragments", FORM_NUMBER, "N",
	 "concurrent fragmented datagrams, a power of two (default 8192)", config_set_max_fragments,
	 NULL},
	{"max-socket-origins", FORM_NUMBER, "N",
	 "node sockets connected to Services (default 65536)", config_set_max_socket_origins, NULL},
	{"pod-mtu", FORM_NUMBER, "N", "MTU of pods' links; 0: the uplink's (default 0)",
	 set_pod_mtu, NULL},
	{"events-per-second", FORM_NUMBER, "N", "events for each CPU; 0: no limit (default 10000)",
	 set_events_per_second, NULL},
	{"flow-export", FORM_TEXT, "FILE|unix:PATH|none",
	 "write events as JSON lines to a file or a Unix socket (default none)", set_flow_export,
	 NULL},
	{"flow-export-events", FORM_TEXT, "all|drops|flows", "which events (default all)",
	 set_flow_export_events, NULL},
	{"flow-export-rate", FORM_NUMBER, "N", "lines a second; 0: no limit (default 1000)",
	 set_flow_export_rate, NULL},
	{"flow-export-size", FORM_NUMBER, "MIB",
	 "a larger file becomes FILE.1; 0: no limit (default 64)", set_flow_export_size, NULL},
	{"flow-history", FORM_NUMBER, "MIB",
	 "memory for who spoke with whom, for policy suggest; 0: none (default 0)",
	 set_flow_history, NULL},
	{"flow-history-age", FORM_NUMBER, "MINUTES",
	 "what was seen last before that is forgotten (default 1440)", set_flow_history_age, NULL},
	{"flow-history-file", FORM_TEXT, "FILE|none",
	 "keep the history in this file, too, over restarts (default none)", set_flow_history_file,
	 NULL},
	{"rejects-per-second", FORM_NUMBER, "N",
	 "RST and ICMP sent by each link; 0: no limit (default 1000)", set_rejects_per_second,
	 NULL},
	{"latency", FORM_YES_NO, "yes|no",
	 "measure connections of pods, Services and the node (default no)", set_latency, NULL},
	{"processes", FORM_YES_NO, "yes|no",
	 "note which process opens a connection, for flows and events (default no)", set_processes,
	 NULL},
	{"log-level", FORM_TEXT, "error|warning|info|debug", "log level (default info)",
	 set_log_level, NULL},
};
_Static_assert(sizeof(config_keys) / sizeof(config_keys[0]) <= CONFIG_KEYS_MAX,
	       "struct config has a place for each key's origin");
const size_t config_key_count = sizeof(config_keys) / sizeof(config_keys[0]);

const struct config_key *config_find_key(const char *name)
{
	for (size_t i = 0; i < config_key_count; i++) {
		if (strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	}
	return NULL;
}
