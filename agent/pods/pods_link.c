/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's pair of links: made, configured on both sides, deleted. */
#include "agent/pods/pods_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/cni_deletion.h"
#include "agent/kernel/namespace.h"

/* Numbers and names that others have are passed over, so many. */
#define LINK_TRIES	 64
#define MTU_DEFAULT	 1500
#define LOOPBACK_IFINDEX 1

const uint8_t pods_gateway_mac[6] = {0x02, 0x70, 0x6f, 0x6c, 0x64, 0x72};

bool pods_link_name_is_ours(const char *name)
{
	size_t prefix = strlen(PODS_LINK_PREFIX);

	if (strncmp(name, PODS_LINK_PREFIX, prefix) != 0 ||
	    strlen(name) != prefix + PODS_LINK_DIGITS)
		return false;
	for (const char *p = name + prefix; *p; p++)
		if (!isdigit((unsigned char)*p) && (*p < 'a' || *p > 'f'))
			return false;
	return true;
}

/* ---------------------------------------------------------------- whose a link is */

#define ALIAS_WORD  "polder"
#define ALIAS_EMPTY "-"

static const char *word_of(const char *text)
{
	return text && text[0] ? text : ALIAS_EMPTY;
}

const char *pods_link_alias(const struct pods *pods, const struct local_pod *pod,
			    char alias[POD_ALIAS_MAX])
{
	int length, more;

	alias[0] = '\0';
	if (!pods->agent_id[0])
		return alias;
	length = snprintf(alias, POD_ALIAS_MAX, ALIAS_WORD " %s %s %s", pods->agent_id,
			  pod->container_id, pod->ifname);
	more = snprintf(alias + length, (size_t)(POD_ALIAS_MAX - length), " %s %s %s %s %zu",
			pod->namespace, pod->name, word_of(pod->uid), word_of(pod->network),
			pod->labels_lost ? 1 : pod->labels.count);
	if (length + more >= POD_ALIAS_MAX)
		alias[length] = '\0';
	return alias;
}

static void take_empty(char *word)
{
	if (strcmp(word, ALIAS_EMPTY) == 0)
		word[0] = '\0';
}

bool pods_link_read_mark(const struct link_info *link, struct link_mark *ret)
{
	int words, labels = -1, end = 0;

	*ret = (struct link_mark){};
	words = sscanf(link->alias, ALIAS_WORD " %19s %200s %15s %63s %253s %253s %253s %9d%n",
		       ret->agent, ret->container_id, ret->ifname, ret->namespace, ret->name,
		       ret->uid, ret->network, &labels, &end);
	/* A mark that is not whole says of the pod only whose link it is. */
	if (words < 8 || link->alias[end])
		ret->namespace[0] = ret->name[0] = ret->uid[0] = ret->network[0] = '\0';
	take_empty(ret->uid);
	take_empty(ret->network);
	ret->no_labels = labels == 0;
	return words >= 3;
}

bool pods_link_is(const struct local_pod *pod, const struct link_info *link)
{
	struct link_mark mark;

	if (!link->is_veth || link->ifindex != pod->ifindex)
		return false;
	if (pods_link_read_mark(link, &mark))
		return strcmp(mark.container_id, pod->container_id) == 0 &&
		       strcmp(mark.ifname, pod->ifname) == 0;
	/* Of an agent that did not mark its links. */
	return strcmp(link->name, pod->link) == 0 || memcmp(link->mac, pods_gateway_mac, 6) == 0;
}

enum link_maker pods_link_maker(const struct pods *pods, const struct link_info *link)
{
	struct link_mark mark;

	if (!pods_link_read_mark(link, &mark))
		return LINK_NOT_MARKED;
	return pods->agent_id[0] && strcmp(mark.agent, pods->agent_id) == 0 ? LINK_MADE_HERE
									    : LINK_MADE_ELSEWHERE;
}

/* FNV-1a. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3;
	return hash;
}

static void choose_name(struct local_pod *pod, unsigned int salt)
{
	uint64_t hash = hash_text(0xcbf29ce484222325, pod->container_id);

	hash = (hash ^ (':' + salt)) * 0x100000001b3;
	hash = hash_text(hash, pod->ifname);
	hash ^= hash >> 32;
	snprintf(pod->link, sizeof(pod->link), PODS_LINK_PREFIX "%011llx",
		 (unsigned long long)(hash & 0xfffffffffff));
}

/* The next number whose place in the map is free. */
static int choose_number(struct pods *pods, int *ret)
{
	for (uint32_t i = 0; i < pods->config->max_pods; i++) {
		int ifindex = PODS_FIRST_IFINDEX + (int)(pods->next_number % PODS_IFINDEX_COUNT);

		pods->next_number++;
		if (!pods->slot_used[pods_index(pods, ifindex)]) {
			*ret = ifindex;
			return 0;
		}
	}
	return -ENOSPC;
}

static int say_interface_exists(const struct local_pod *pod, struct error *ret_error)
{
	return error_set(
		ret_error, -EEXIST, CNI_INVALID_ENVIRONMENT,
		"the container already has an interface '%s'; choose another name, or DEL the "
		"attachment first",
		pod->ifname);
}

static int say_link_failed(struct pods *pods, const struct local_pod *pod, int r,
			   struct error *ret_error)
{
	error_set(ret_error, r, CNI_IO_FAILURE, "veth pair '%s' and '%s' could not be made: %s",
		  pod->link, pod->ifname, strerror(-r));
	error_details(ret_error, "%s", netlink_error(pods->nl));
	return r;
}

int pods_link_make(struct pods *pods, struct local_pod *pod, int netns_fd, struct error *ret_error)
{
	struct veth_spec spec = {.name = pod->link,
				 .peer_name = pod->ifname,
				 .peer_netns_fd = netns_fd,
				 .mtu = pod->mtu};
	char alias[POD_ALIAS_MAX];
	struct link_info taken;
	unsigned int salt = 0;
	int r;

	spec.alias = pods_link_alias(pods, pod, alias);

	memcpy(spec.mac, pods_gateway_mac, sizeof(spec.mac));
	memcpy(spec.peer_mac, pod->mac, sizeof(spec.peer_mac));
	for (int i = 0; i < LINK_TRIES; i++) {
		choose_name(pod, salt);
		r = choose_number(pods, &spec.ifindex);
		if (r < 0)
			return pods_say_full(pods, r, CNI_TRY_AGAIN, ret_error);
		r = netlink_veth_add(pods->nl, &spec);
		if (r == 0) {
			pod->ifindex = spec.ifindex;
			pods->slot_used[pods_index(pods, pod->ifindex)] = true;
			return 0;
		}
		if (r != -EEXIST)
			return say_link_failed(pods, pod, r, ret_error);
		if (netlink_link_get_index(pods->nl, spec.ifindex, &taken) == 0)
			continue;
		if (netlink_link_get(pods->nl, pod->link, &taken) < 0)
			return say_interface_exists(pod, ret_error);
		salt++;
	}
	return say_link_failed(pods, pod, r, ret_error);
}

bool pods_link_exists(struct pods *pods, const struct local_pod *pod)
{
	struct link_info info;

	return netlink_link_get_index(pods->nl, pod->ifindex, &info) == 0 &&
	       pods_link_is(pod, &info);
}

int pods_link_delete(struct pods *pods, const struct local_pod *pod)
{
	struct link_info info;
	int r = netlink_link_get_index(pods->nl, pod->ifindex, &info);

	if (r == -ENODEV || (r == 0 && !pods_link_is(pod, &info)))
		return 0;
	return r < 0 ? r : netlink_link_delete(pods->nl, pod->ifindex);
}

/* ---------------------------------------------------------------- host side */

struct route_spec pods_host_route(const struct polder_addr *addr, int ifindex)
{
	return (struct route_spec){
		.destination = {.addr = *addr, .length = 128},
		.family = addr_is_v4(addr) ? FAMILY_V4 : FAMILY_V6,
		.ifindex = ifindex,
	};
}

static int put_host_route(struct pods *pods, const struct local_pod *pod,
			  const struct polder_addr *addr)
{
	const struct config *config = pods->config;
	struct route_spec route = pods_host_route(addr, pod->ifindex);
	const struct polder_addr *node =
		addr_is_v4(addr) ? &config->node_ip_v4 : &config->node_ip_v6;
	int r;

	if (netlink_route_find(pods->nl, &route) == 0)
		return 0;
	route.has_source = !addr_is_zero(node);
	route.source = *node;
	r = netlink_route_replace(pods->nl, &route);
	/* The node's address need not be on a link yet; the kernel chooses a source then. */
	if (r == -EINVAL && route.has_source) {
		route.has_source = false;
		r = netlink_route_replace(pods->nl, &route);
	}
	return r;
}

static int put_host_addr(struct pods *pods, const struct local_pod *pod,
			 const struct polder_addr *addr, const char **ret_what)
{
	int r;

	if (addr_is_zero(addr))
		return 0;
	r = netlink_neighbour_replace(pods->nl, pod->ifindex, addr, pod->mac);
	if (r < 0) {
		*ret_what = "the node's neighbour entry for the pod";
		return r;
	}
	r = put_host_route(pods, pod, addr);
	if (r < 0)
		*ret_what = "the node's route to the pod";
	return r;
}

int pods_link_host_up(struct pods *pods, const struct local_pod *pod, const char **ret_what)
{
	int r;

	/* Failure is ignored where /proc/sys is read-only: the pod's programs drop router
	 * advertisements anyway. */
	(void)sysctl_link_set("ipv6", pod->link, "accept_ra", "0");
	(void)sysctl_link_set("ipv6", pod->link, "accept_redirects", "0");
	(void)sysctl_link_set("ipv4", pod->link, "accept_redirects", "0");
	if (!addr_is_zero(&pod->ipv6))
		(void)sysctl_link_set("ipv6", pod->link, "disable_ipv6", "0");
	r = netlink_link_set_up(pods->nl, pod->ifindex);
	if (r < 0) {
		*ret_what = "the host's side of the pair";
		return r;
	}
	r = put_host_addr(pods, pod, &pod->ipv4, ret_what);
	if (r == 0)
		r = put_host_addr(pods, pod, &pod->ipv6, ret_what);
	if (r < 0)
		return r;
	*ret_what = "the limit of what goes to the pod (bandwidth, needs CONFIG_NET_SCH_TBF)";
	return pods_limit_host(pods, pod);
}

/* ----------------------------------------------------------- container side */

static struct polder_addr gateway(uint8_t family)
{
	struct polder_addr addr = {};

	(void)addr_parse(family == FAMILY_V4 ? PODS_GATEWAY_V4 : PODS_GATEWAY_V6, &addr);
	return addr;
}

struct route_spec pods_default_route(uint8_t family, int ifindex)
{
	return (struct route_spec){
		.family = family,
		.ifindex = ifindex,
		.has_gateway = true,
		.gateway = gateway(family),
	};
}

static int enable_ipv6(void *data)
{
	return sysctl_link_set("ipv6", data, "disable_ipv6", "0");
}

/*
 * The gateway is the only next hop there is, so whoever tells of a better one is wrong. IPv4
 * listens where either the link or all links are told to.
 */
static int ignore_redirects(void *data)
{
	(void)sysctl_link_set("ipv4", "all", "accept_redirects", "0");
	(void)sysctl_link_set("ipv4", data, "accept_redirects", "0");
	(void)sysctl_link_set("ipv6", data, "accept_redirects", "0");
	return 0;
}

static int put_address(struct netlink *inside, int netns_fd, int ifindex,
		       const struct local_pod *pod, const struct polder_addr *addr)
{
	int r = netlink_address_add(inside, ifindex, addr, 128);

	/* Some runtimes turn IPv6 off in the containers that they make. */
	if (r != -EACCES || addr_is_v4(addr))
		return r;
	r = namespace_run(netns_fd, enable_ipv6, pod->ifname);
	return r < 0 ? r : netlink_address_add(inside, ifindex, addr, 128);
}

static int put_gateway(struct netlink *inside, int ifindex, uint8_t family, const char **ret_what)
{
	struct polder_addr addr = gateway(family);
	struct route_spec link = pods_host_route(&addr, ifindex);
	struct route_spec route = pods_default_route(family, ifindex);
	int other, r;

	*ret_what = "the container's neighbour entry for the gateway";
	r = netlink_neighbour_replace(inside, ifindex, &addr, pods_gateway_mac);
	if (r < 0)
		return r;
	*ret_what = "the container's default route";
	if (family == FAMILY_V4)
		r = netlink_route_replace(inside, &link);
	if (r < 0)
		return r;
	/* A second interface leaves the first one's default route alone. */
	if (netlink_default_route(inside, family, &other) == 0 && other != ifindex)
		return 0;
	return netlink_route_replace(inside, &route);
}

static int put_family(struct netlink *inside, int netns_fd, int ifindex,
		      const struct local_pod *pod, const struct polder_addr *addr,
		      const char **ret_what)
{
	int r;

	if (addr_is_zero(addr))
		return 0;
	*ret_what =
		addr_is_v4(addr) ? "the container's IPv4 address" : "the container's IPv6 address";
	r = put_address(inside, netns_fd, ifindex, pod, addr);
	if (r < 0)
		return r;
	return put_gateway(inside, ifindex, addr_is_v4(addr) ? FAMILY_V4 : FAMILY_V6, ret_what);
}

int pods_link_container_up(struct netlink *inside, int netns_fd, const struct local_pod *pod,
			   int *ret_ifindex, const char **ret_what)
{
	struct link_info info;
	int r;

	*ret_what = "the container's loopback interface";
	r = netlink_link_set_up(inside, LOOPBACK_IFINDEX);
	if (r < 0)
		return r;
	*ret_what = "the container's interface";
	/* Failure is ignored where /proc/sys is read-only: the programs drop redirects to pods. */
	(void)namespace_run(netns_fd, ignore_redirects, (char *)pod->ifname);
	r = netlink_link_get(inside, pod->ifname, &info);
	if (r == 0)
		r = netlink_link_set_up(inside, info.ifindex);
	if (r == 0)
		r = put_family(inside, netns_fd, info.ifindex, pod, &pod->ipv4, ret_what);
	if (r == 0)
		r = put_family(inside, netns_fd, info.ifindex, pod, &pod->ipv6, ret_what);
	if (r < 0)
		return r;
	*ret_what = "the limit of what the container sends (bandwidth, needs CONFIG_NET_SCH_TBF)";
	r = pods_limit_container(inside, info.ifindex, pod);
	if (r < 0)
		return r;
	*ret_ifindex = info.ifindex;
	return 0;
}

/* ------------------------------------------------------------------------ MTU */

static uint32_t uplink_mtu(struct pods *pods)
{
	static const uint8_t families[] = {FAMILY_V4, FAMILY_V6};
	struct link_info info;
	uint32_t mtu = 0;
	int ifindex;

	for (size_t i = 0; i < pods->config->uplink_count; i++)
		if (netlink_link_get(pods->nl, pods->config->uplinks[i], &info) == 0 &&
		    (mtu == 0 || info.mtu < mtu))
			mtu = info.mtu;
	for (size_t i = 0; i < 2 && mtu == 0; i++)
		if (netlink_default_route(pods->nl, families[i], &ifindex) == 0 &&
		    netlink_link_get_index(pods->nl, ifindex, &info) == 0)
			mtu = info.mtu;
	return mtu;
}

void pods_limit_mtu(struct pods *pods, uint32_t most)
{
	pods->mtu_most = most;
}

uint32_t pods_link_mtu(struct pods *pods)
{
	uint32_t mtu = pods->config->pod_mtu;

	if (mtu == 0) {
		mtu = uplink_mtu(pods);
		if (pods->mtu_most && mtu > pods->mtu_most)
			mtu = pods->mtu_most;
	}
	if (mtu == 0)
		mtu = MTU_DEFAULT;
	/* A loopback or tunnel uplink may have more than a veth pair takes. */
	if (mtu > 65535)
		mtu = 65535;
	return pods->v6 && mtu < PODS_MTU_MIN_V6 ? PODS_MTU_MIN_V6 : mtu;
}
