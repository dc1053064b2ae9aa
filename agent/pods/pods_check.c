/* SPDX-License-Identifier: Apache-2.0 */
/* CHECK: is everything that ADD made still there? */
#include "agent/common/mac.h"
#include "agent/pods/pods_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"

static int missing(struct error *ret_error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int missing(struct error *ret_error, const char *format, ...)
{
	char text[200];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	return error_set(ret_error, -ENOENT, CNI_CHECK_FAILED, "%s: run DEL and ADD again", text);
}

/* Not a reason to make the pod anew. */
static int unknown(struct error *ret_error, int r, const char *what, const char *name)
{
	return error_set(ret_error, r, CNI_TRY_AGAIN, "%s %s cannot be looked at: %s", what, name,
			 strerror(-r));
}

/* The place of our interface in the result: the one with a sandbox and our name. -1: not there. */
static json_int_t find_interface(const json_t *interfaces, const char *ifname, const json_t **ret)
{
	json_t *item;
	size_t i;

	json_array_foreach (interfaces, i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));
		const char *sandbox = json_string_value(json_object_get(item, "sandbox"));

		if (name && sandbox && sandbox[0] && strcmp(name, ifname) == 0) {
			*ret = item;
			return (json_int_t)i;
		}
	}
	return -1;
}

static int parse_cidr(const char *text, struct prefix *ret)
{
	char plain[PREFIX_TEXT_MAX];
	struct prefix prefix;
	struct polder_addr addr;

	if (!text || strlen(text) >= sizeof(plain) || prefix_parse(text, &prefix) < 0)
		return -EINVAL;
	snprintf(plain, sizeof(plain), "%s", text);
	plain[strcspn(plain, "/")] = '\0';
	if (addr_parse(plain, &addr) < 0)
		return -EINVAL;
	*ret = (struct prefix){.addr = addr, .length = prefix.length};
	return 0;
}

static bool has_addr(const struct prefix *list, size_t count, const struct polder_addr *addr,
		     int length)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(&list[i].addr, addr, sizeof(*addr)) == 0 && list[i].length == length)
			return true;
	return false;
}

static int check_own_addr(const struct prefix *list, size_t count, const struct polder_addr *addr,
			  struct error *ret_error)
{
	char text[INET6_ADDRSTRLEN];

	if (addr_is_zero(addr) || has_addr(list, count, addr, 128))
		return 0;
	return missing(ret_error, "the container's address %s is missing", addr_format(addr, text));
}

static int check_result_addrs(const struct prefix *list, size_t count, const json_t *ips,
			      json_int_t index, struct error *ret_error)
{
	json_t *item;
	size_t i;

	json_array_foreach (ips, i, item) {
		const json_t *place = json_object_get(item, "interface");
		const char *text = json_string_value(json_object_get(item, "address"));
		struct prefix wanted;

		if (!json_is_integer(place) || json_integer_value(place) != index)
			continue;
		if (parse_cidr(text, &wanted) < 0)
			return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
					 "$.prevResult.ips[%zu].address is not an address with a "
					 "prefix length",
					 i);
		if (!has_addr(list, count, &wanted.addr, wanted.length))
			return missing(ret_error, "the container's address %s is missing", text);
	}
	return 0;
}

static int check_addrs(struct netlink *inside, const struct local_pod *pod, int ifindex,
		       const json_t *ips, json_int_t index, struct error *ret_error)
{
	CLEANUP(cleanup_free) struct prefix *list = NULL;
	size_t count = 0;
	int r = netlink_address_list(inside, ifindex, &list, &count);

	if (r < 0)
		return error_set(ret_error, r, CNI_IO_FAILURE,
				 "the container's addresses cannot be read: %s", strerror(-r));
	r = check_own_addr(list, count, &pod->ipv4, ret_error);
	if (r == 0)
		r = check_own_addr(list, count, &pod->ipv6, ret_error);
	return r < 0 ? r : check_result_addrs(list, count, ips, index, ret_error);
}

static int check_result_routes(struct netlink *inside, const json_t *routes,
			       struct error *ret_error)
{
	json_t *item;
	size_t i;
	int r;

	json_array_foreach (routes, i, item) {
		const char *text = json_string_value(json_object_get(item, "dst"));
		const char *gateway = json_string_value(json_object_get(item, "gw"));
		struct route_spec route = {};

		if (!text || prefix_parse(text, &route.destination) < 0)
			return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
					 "$.prevResult.routes[%zu].dst is not a range of addresses",
					 i);
		route.family = addr_is_v4(&route.destination.addr) ? FAMILY_V4 : FAMILY_V6;
		if (gateway && gateway[0] && addr_parse(gateway, &route.gateway) == 0)
			route.has_gateway = true;
		r = netlink_route_find(inside, &route);
		if (r < 0 && r != -ENOENT)
			return unknown(ret_error, r, "the container's route to", text);
		if (r < 0)
			return missing(ret_error, "the container's route to %s is missing", text);
	}
	return 0;
}

static int check_default(struct netlink *inside, const struct polder_addr *addr, int ifindex,
			 struct error *ret_error)
{
	uint8_t family = addr_is_v4(addr) ? FAMILY_V4 : FAMILY_V6;
	struct route_spec route;
	int other, r;

	if (addr_is_zero(addr))
		return 0;
	route = pods_default_route(family, ifindex);
	r = netlink_route_find(inside, &route);
	/* Another interface may have it: the first of a container keeps it. */
	if (r == -ENOENT)
		r = netlink_default_route(inside, family, &other);
	if (r == 0)
		return 0;
	if (r != -ENOENT)
		return unknown(ret_error, r, "the container's default route,",
			       addr_is_v4(addr) ? "IPv4," : "IPv6,");
	return missing(ret_error, "the container's %s default route is missing",
		       addr_is_v4(addr) ? "IPv4" : "IPv6");
}

/* A later plugin of the list may have given another MAC address: the result says which one counts.
 */
static int check_interface(struct netlink *inside, const struct local_pod *pod,
			   const json_t *interface, struct link_info *ret, struct error *ret_error)
{
	const char *text = json_string_value(json_object_get(interface, "mac"));
	struct link_info info;
	uint8_t mac[6];
	int r;

	r = netlink_link_get(inside, pod->ifname, &info);
	if (r < 0 && r != -ENODEV)
		return unknown(ret_error, r, "the container's interface", pod->ifname);
	if (r < 0)
		return missing(ret_error, "the container's interface %s is missing", pod->ifname);
	if (!info.up)
		return missing(ret_error, "the container's interface %s is down", pod->ifname);
	if (text && mac_parse(text, mac) == 0 && memcmp(mac, info.mac, 6) != 0)
		return missing(ret_error, "the container's interface %s has another MAC address",
			       pod->ifname);
	*ret = info;
	return 0;
}

static int check_limit(struct netlink *nl, int ifindex, const struct local_pod *pod,
		       const struct bandwidth_limit *limit, const char *what,
		       struct error *ret_error)
{
	int r = pods_limit_find(nl, ifindex, pod, limit);

	if (r == -ENOENT)
		return missing(ret_error, "the limit of what %s is missing or changed", what);
	return r < 0 ? unknown(ret_error, r, "the limit of what", what) : 0;
}

static int check_container(const struct local_pod *pod, struct netlink *inside,
			   const json_t *prev_result, struct error *ret_error)
{
	const json_t *interface = NULL;
	struct link_info info = {};
	json_int_t index;
	int r;

	index = find_interface(json_object_get(prev_result, "interfaces"), pod->ifname, &interface);
	if (index < 0)
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "$.prevResult.interfaces has no interface '%s' with a sandbox",
				 pod->ifname);
	r = check_interface(inside, pod, interface, &info, ret_error);
	if (r == 0)
		r = check_addrs(inside, pod, info.ifindex, json_object_get(prev_result, "ips"),
				index, ret_error);
	if (r == 0)
		r = check_default(inside, &pod->ipv4, info.ifindex, ret_error);
	if (r == 0)
		r = check_default(inside, &pod->ipv6, info.ifindex, ret_error);
	if (r == 0)
		r = check_limit(inside, info.ifindex, pod, &pod->bandwidth.egress,
				"the container sends", ret_error);
	return r < 0 ? r
		     : check_result_routes(inside, json_object_get(prev_result, "routes"),
					   ret_error);
}

static int check_host_route(struct pods *pods, const struct local_pod *pod,
			    const struct polder_addr *addr, struct error *ret_error)
{
	struct route_spec route = pods_host_route(addr, pod->ifindex);
	char text[INET6_ADDRSTRLEN];
	int r;

	if (addr_is_zero(addr))
		return 0;
	r = netlink_route_find(pods->nl, &route);
	if (r == 0)
		return 0;
	if (r != -ENOENT)
		return unknown(ret_error, r, "the node's route to", addr_format(addr, text));
	return missing(ret_error, "the node's route to %s is missing", addr_format(addr, text));
}

static int check_host(struct pods *pods, const struct local_pod *pod, struct error *ret_error)
{
	struct link_info info;
	int r;

	r = netlink_link_get_index(pods->nl, pod->ifindex, &info);
	if (r < 0 && r != -ENODEV)
		return unknown(ret_error, r, "the node's link", pod->link);
	if (r < 0 || !pods_link_is(pod, &info))
		return missing(ret_error, "the node's link %s is missing", pod->link);
	if (strcmp(info.name, pod->link) != 0)
		return missing(ret_error, "the node's link %s has been renamed to %s", pod->link,
			       info.name);
	if (!info.up)
		return missing(ret_error, "the node's link %s is down", pod->link);
	r = check_host_route(pods, pod, &pod->ipv4, ret_error);
	if (r == 0)
		r = check_host_route(pods, pod, &pod->ipv6, ret_error);
	return r < 0 ? r
		     : check_limit(pods->nl, pod->ifindex, pod, &pod->bandwidth.ingress,
				   "goes to the container", ret_error);
}

/* What a later plugin has given to the interface is taken over, if nobody has done so yet. */
static int check_mac(struct pods *pods, struct local_pod *pod, struct error *ret_error)
{
	int r = pods_mac_follow(pods, pod);

	if (r == -EADDRINUSE)
		return missing(ret_error,
			       "the container's interface %s has the gateway's MAC address, so its "
			       "packets are dropped",
			       pod->ifname);
	return r < 0 ? error_set(ret_error, r, CNI_IO_FAILURE,
				 "the MAC address of the container's interface %s cannot be put in "
				 "force: %s",
				 pod->ifname, strerror(-r))
		     : 0;
}

static int check_queues(struct pods *pods, const struct local_pod *pod, struct error *ret_error)
{
	char text[POD_QUEUE_TEXT];
	int r = pods_look_for_queues(pods, pod);

	if (r < 0)
		return unknown(ret_error, r, "the queues of the node's link", pod->link);
	if (!pod->queues[0])
		return 0;
	return error_set(ret_error, -EOPNOTSUPP, CNI_CHECK_FAILED, "%s",
			 pods_queue_text(pod, text));
}

int pods_check_pod(struct pods *pods, struct local_pod *pod, const json_t *prev_result,
		   int netns_fd, struct error *ret_error)
{
	struct netlink *inside = NULL;
	char message[256] = "";
	int r = check_host(pods, pod, ret_error);

	if (r < 0)
		return r;
	r = netlink_open(netns_fd, &inside);
	if (r < 0)
		return error_set(ret_error, r, CNI_IO_FAILURE,
				 "the container's network namespace cannot be entered: %s",
				 strerror(-r));
	r = check_container(pod, inside, prev_result, ret_error);
	netlink_close(inside);
	if (r == 0)
		r = check_mac(pods, pod, ret_error);
	if (r == 0)
		r = check_queues(pods, pod, ret_error);
	if (r < 0)
		return r;
	r = pods->hooks.check(pod, message, sizeof(message), pods->hooks.data);
	return r < 0 ? error_set(ret_error, r, r == -ENOENT ? CNI_CHECK_FAILED : CNI_TRY_AGAIN,
				 "%s", message)
		     : 0;
}
