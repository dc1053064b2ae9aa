/* SPDX-License-Identifier: Apache-2.0 */
/* What a node has around the agent: namespaces, links, addresses, a configuration. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/config/config_keys.h"
#include "agent/kernel/datapath.h"
#include "agent/kernel/namespace.h"
#include "tests/differential/harness.h"

#define STATE "/mnt/policy.json"

int harness_fail(struct harness *h, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(h->error, sizeof(h->error), format, args);
	va_end(args);
	return r;
}

/* Namespaces of its own; /mnt is memory that goes with the process. */
static int enter(struct harness *h)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		return harness_fail(h, -errno, "cannot make namespaces: %s; run as root",
				    strerror(errno));
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0700") < 0)
		return harness_fail(h, -errno, "cannot mount /mnt: %s", strerror(errno));
	if (netlink_open(-1, &h->nl) < 0)
		return harness_fail(h, -EIO, "cannot open a netlink socket");
	return 0;
}

/* No pod's. */
static void link_mac(int ifindex, uint8_t mac[6])
{
	memcpy(mac, pods_gateway_mac, 6);
	mac[5] ^= (uint8_t)ifindex;
}

static int add_link(struct harness *h, const char *name, int ifindex, int own_netns)
{
	struct veth_spec spec = {
		.name = name, .ifindex = ifindex, .peer_netns_fd = own_netns, .mtu = h->mtu};
	char peer[IFNAMSIZ];
	int r;

	snprintf(peer, sizeof(peer), "peer%d", ifindex);
	spec.peer_name = peer;
	memcpy(spec.mac, pods_gateway_mac, 6);
	if (ifindex < HARNESS_FIRST_POD)
		link_mac(ifindex, spec.mac);
	memcpy(spec.peer_mac, (uint8_t[6]){2, 0, 0, 1, ifindex >> 8, ifindex}, 6);
	r = netlink_veth_add(h->nl, &spec);
	return r < 0 ? harness_fail(h, r, "link %s: %s", name, netlink_error(h->nl)) : 0;
}

static int add_links(struct harness *h)
{
	CLEANUP(cleanup_close) int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	char name[IFNAMSIZ];
	int i, r;

	if (own < 0)
		return harness_fail(h, -errno, "/proc/self/ns/net: %s", strerror(errno));
	r = add_link(h, "uplink", HARNESS_UPLINK, own);
	if (r == 0)
		r = add_link(h, "other", HARNESS_OTHER, own);
	if (r == 0)
		r = add_link(h, "tunnel", HARNESS_TUNNEL, own);
	for (i = 0; i < h->pods && r == 0; i++) {
		snprintf(name, sizeof(name), "pod%d", i);
		r = add_link(h, name, HARNESS_FIRST_POD + i, own);
	}
	return r;
}

static int add_address(struct harness *h, const char *text)
{
	struct polder_addr address;
	char plain[PREFIX_TEXT_MAX];
	const char *slash = strchr(text, '/');
	struct prefix prefix;
	int r;

	snprintf(plain, sizeof(plain), "%.*s", (int)(slash ? slash - text : 0), text);
	if (addr_parse(plain, &address) < 0 || prefix_parse(text, &prefix) < 0)
		return harness_fail(h, -EINVAL,
				    "node_addresses: %s is no address with its prefix's length",
				    text);
	r = netlink_address_add(h->nl, HARNESS_UPLINK, &address, prefix.length);
	return r < 0 ? harness_fail(h, r, "node_addresses: %s: %s", text, netlink_error(h->nl)) : 0;
}

static int add_addresses(struct harness *h, const json_t *request)
{
	static const char *const usual[] = {"192.168.7.1/24", "fd00:7::1/64"};
	const json_t *given = json_object_get(request, "node_addresses"), *value;
	size_t i;
	int r = 0;

	if (!given) {
		for (i = 0; i < 2 && r == 0; i++)
			r = add_address(h, usual[i]);
		return r;
	}
	json_array_foreach (given, i, value) {
		if (r == 0 && json_is_string(value))
			r = add_address(h, json_string_value(value));
	}
	return r;
}

/* The router, and the other nodes by the number in their addresses. */
static const struct {
	const char *addr;
	uint8_t mac[6];
} neighbours[] = {
	{"192.168.7.254", {2, 0, 0, 0, 0x0f, 0xff}}, {"fd00:7::fe", {2, 0, 0, 0, 0x0f, 0xff}},
	{"192.168.7.2", {2, 0, 0, 0, 0x0e, 2}},	     {"fd00:7::2", {2, 0, 0, 0, 0x0e, 2}},
	{"192.168.7.3", {2, 0, 0, 0, 0x0e, 3}},	     {"fd00:7::3", {2, 0, 0, 0, 0x0e, 3}},
};

/* The kernel then says next hops, and XDP sends by them. */
static int add_neighbours(struct harness *h)
{
	struct polder_addr address;
	int r = 0;

	for (size_t i = 0; i < sizeof(neighbours) / sizeof(neighbours[0]) && r == 0; i++) {
		addr_parse(neighbours[i].addr, &address);
		r = netlink_neighbour_replace(h->nl, HARNESS_UPLINK, &address, neighbours[i].mac);
	}
	if (r < 0)
		return harness_fail(h, r, "neighbours: %s", netlink_error(h->nl));
	r = sysctl_link_set("ipv4", "uplink", "forwarding", "1");
	if (r == 0)
		r = sysctl_link_set("ipv6", "uplink", "forwarding", "1");
	return r < 0 ? harness_fail(h, r, "forwarding of uplink: %s", strerror(-r)) : 0;
}

/* Everything outside is behind the uplink; behind the router, if neighbours are known. */
static int add_route(struct harness *h, enum polder_family family, const char *router)
{
	struct route_spec route = {.family = family, .ifindex = HARNESS_UPLINK};
	int r;

	route.has_gateway = router && addr_parse(router, &route.gateway) == 0;
	r = netlink_route_replace(h->nl, &route);
	return r < 0 ? harness_fail(h, r, "default routes: %s", netlink_error(h->nl)) : 0;
}

static int add_routes(struct harness *h, const json_t *request)
{
	int known = 0, r = netlink_link_set_up(h->nl, HARNESS_UPLINK);

	json_unpack((json_t *)request, "{s?b}", "neighbours", &known);
	if (r < 0)
		return harness_fail(h, r, "uplink: %s", netlink_error(h->nl));
	if (known)
		r = add_neighbours(h);
	if (r == 0)
		r = add_route(h, FAMILY_V4, known ? "192.168.7.254" : NULL);
	return r < 0 ? r : add_route(h, FAMILY_V6, known ? "fd00:7::fe" : NULL);
}

static int set_key(struct harness *h, const char *key, const char *value)
{
	struct config_source source = {.name = "open"};

	if (config_set(&h->config, config_find_key(key), value, &source) < 0)
		return harness_fail(h, -EINVAL, "%s", source.error);
	return 0;
}

/* A list of texts for a key that may be repeated. */
static int set_list(struct harness *h, const char *key, const json_t *list)
{
	const json_t *value;
	size_t i;
	int r = 0;

	json_array_foreach (list, i, value) {
		if (r == 0)
			r = set_key(h, key, json_is_string(value) ? json_string_value(value) : "");
	}
	return r;
}

static int set_ranges(struct harness *h, const json_t *ranges)
{
	char text[2 * PREFIX_TEXT_MAX] = "10.1.0.0/24,fd00:1::/64";
	const json_t *value;
	size_t i;

	if (ranges)
		text[0] = '\0';
	json_array_foreach (ranges, i, value)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? "," : "",
			 json_is_string(value) ? json_string_value(value) : "?");
	return text[0] ? set_key(h, "pod-cidr", text) : 0;
}

static int configure(struct harness *h, const json_t *request)
{
	json_int_t entries = 4096, port_min = 10240, port_max = 29999;
	const char *node = "n1", *tunnel = "none", *forwarding = "snat";
	int masquerade = 1, r;

	json_unpack((json_t *)request, "{s?s, s?s, s?s, s?b, s?[I,I], s?I}", "node", &node,
		    "tunnel", &tunnel, "forwarding", &forwarding, "masquerade", &masquerade,
		    "masquerade_ports", &port_min, &port_max, "max_policy_entries", &entries);
	config_defaults(&h->config);
	h->config = sandbox_config_small(&h->config, entries);
	h->config.masquerade = masquerade;
	h->config.rejects_per_second = 0;
	h->config.max_service_clients = entries; /* none may have to make room for another */
	h->config.masquerade_port_min = port_min;
	h->config.masquerade_port_max = port_max;
	h->config.pod_mtu = h->mtu;
	r = set_key(h, "node-name", node);
	if (r == 0)
		r = set_key(h, "uplink", "uplink");
	if (r == 0)
		r = set_key(h, "tunnel", tunnel);
	if (r == 0)
		r = set_key(h, "forwarding", forwarding);
	if (r == 0) /* many are made */
		r = set_key(h, "maglev-table-size", "251");
	if (r == 0)
		r = set_ranges(h, json_object_get(request, "pod_ranges"));
	if (r == 0)
		r = set_list(h, "no-masquerade", json_object_get(request, "no_masquerade"));
	return r;
}

static json_t *mac_text(const uint8_t mac[6])
{
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return json_string(text);
}

static void describe(const struct harness *h, json_t *reply)
{
	json_t *links = json_array();
	uint8_t uplink[6];
	int i;

	for (i = 0; i < h->pods; i++)
		json_array_append_new(links, json_integer(HARNESS_FIRST_POD + i));
	link_mac(HARNESS_UPLINK, uplink);
	json_object_set_new(reply, "uplink_mac", mac_text(uplink));
	json_object_set_new(reply, "pod_links", links);
	json_object_set_new(reply, "uplink", json_integer(HARNESS_UPLINK));
	json_object_set_new(reply, "other", json_integer(HARNESS_OTHER));
	json_object_set_new(reply, "tunnel", json_integer(HARNESS_TUNNEL));
	json_object_set_new(reply, "gateway_mac", mac_text(pods_gateway_mac));
	json_object_set_new(reply, "gateway_v4", json_string(PODS_GATEWAY_V4));
	json_object_set_new(reply, "gateway_v6", json_string(PODS_GATEWAY_V6));
}

int harness_open(struct harness *h, const json_t *request, json_t *reply)
{
	int mtu = 1500, pods = 16, r;

	if (h->sandbox)
		return harness_fail(h, -EEXIST, "open: once only");
	json_unpack((json_t *)request, "{s?i, s?i}", "mtu", &mtu, "pods", &pods);
	if (mtu < 1280 || mtu > 9000 || pods < 1 || pods > HARNESS_MAX_PODS)
		return harness_fail(h, -ERANGE, "open: mtu is 1280 to 9000, pods 1 to %d",
				    HARNESS_MAX_PODS);
	h->mtu = mtu;
	h->pods = pods;
	r = enter(h);
	if (r == 0)
		r = add_links(h);
	if (r == 0)
		r = add_addresses(h, request);
	if (r == 0)
		r = add_routes(h, request);
	if (r == 0)
		r = configure(h, request);
	if (r == 0)
		r = node_discover(&h->config, h->nl, &h->node, h->error, sizeof(h->error));
	if (r == 0)
		r = sandbox_open(&h->config, &h->node, STATE, &h->sandbox, h->error,
				 sizeof(h->error));
	if (r == 0)
		r = harness_open_peers(h, request);
	if (r == 0) /* no uplink that is attached asks for it */
		r = datapath_need(sandbox_datapath(h->sandbox), DATAPATH_WIRE_XDP, h->error,
				  sizeof(h->error));
	if (r == 0)
		describe(h, reply);
	return r;
}

void harness_close(struct harness *h)
{
	harness_close_tunnel(h);
	sandbox_close(h->sandbox);
	node_clear(&h->node);
	netlink_close(h->nl);
	config_clear(&h->config);
}
