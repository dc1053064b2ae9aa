/* SPDX-License-Identifier: Apache-2.0 */
/* The CNI operations: containers connected, disconnected, checked. */
#include "agent/common/mac.h"
#include "agent/pods/pods_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "agent/common/cni_deletion.h"
#include "agent/common/log.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/namespace.h"

/* ------------------------------------------------------------- preparation */

static int check_namespace(int netns_fd, struct error *ret_error)
{
	int r = netns_fd < 0 ? -EBADF : namespace_check(netns_fd);

	switch (r) {
	case 0:
		return 0;
	case -EEXIST:
		return error_set(ret_error, r, CNI_INVALID_ENVIRONMENT,
				 "CNI_NETNS is the node's own network namespace: give the "
				 "container one of its own");
	case -EINVAL:
	case -EBADF:
		return error_set(ret_error, r, CNI_INVALID_ENVIRONMENT,
				 "CNI_NETNS is not a network namespace");
	default:
		return error_set(ret_error, r, CNI_IO_FAILURE, "CNI_NETNS cannot be inspected: %s",
				 strerror(-r));
	}
}

/* Locally administered, unicast. */
static int random_mac(uint8_t mac[6])
{
	ssize_t got;

	do {
		got = getrandom(mac, 6, 0);
	} while (got < 0 && errno == EINTR);
	if (got != 6)
		return got < 0 ? -errno : -EIO;
	mac[0] = (mac[0] & 0xfc) | 0x02;
	return 0;
}

static int take_wanted(struct ipam_pool *pool, const struct prefix *range,
		       const struct polder_addr *wanted, struct polder_addr *ret,
		       struct error *ret_error)
{
	char text[INET6_ADDRSTRLEN], range_text[PREFIX_TEXT_MAX];
	int r = pool ? ipam_take(pool, wanted) : -EAFNOSUPPORT;

	addr_format(wanted, text);
	switch (r) {
	case 0:
		*ret = *wanted;
		return 0;
	case -EAFNOSUPPORT:
		return error_set(ret_error, r, CNI_INVALID_CONFIG,
				 "address %s is requested, but the node has no pod range of its "
				 "family (--pod-cidr)",
				 text);
	case -EADDRINUSE:
		return error_set(ret_error, r, CNI_TRY_AGAIN,
				 "address %s is in use by another pod; request another one or "
				 "delete that pod",
				 text);
	case -EPERM:
		return error_set(ret_error, r, CNI_INVALID_CONFIG,
				 "address %s is reserved; request another one", text);
	default:
		return error_set(ret_error, r, CNI_INVALID_CONFIG,
				 "address %s is not in the node's pod range %s", text,
				 prefix_format(range, range_text));
	}
}

static int take_address(struct ipam_pool *pool, const struct prefix *range,
			const struct polder_addr *node_ip, const struct polder_addr *wanted,
			struct polder_addr *ret, struct error *ret_error)
{
	char text[PREFIX_TEXT_MAX];
	uint64_t used, size;

	if (pool && !addr_is_zero(node_ip))
		ipam_reserve(pool, node_ip);
	if (!addr_is_zero(wanted))
		return take_wanted(pool, range, wanted, ret, ret_error);
	if (!pool || ipam_take_next(pool, pods_now(), ret) == 0)
		return 0;
	ipam_usage(pool, &used, &size);
	return error_set(
		ret_error, -ENOSPC, CNI_TRY_AGAIN,
		"all %llu addresses of the pod range %s are in use: delete pods or give the node "
		"a larger range (--pod-cidr)",
		(unsigned long long)size, prefix_format(range, text));
}

static int take_addresses(struct pods *pods, const struct pod_request *request,
			  struct local_pod *pod, struct error *ret_error)
{
	const struct config *config = pods->config;
	int r;

	if (!pods->v4 && !pods->v6)
		return error_set(
			ret_error, -ENOSPC, CNI_TRY_AGAIN,
			"the node has no range of pod addresses: start polderd with --pod-cidr");
	r = take_address(pods->v4, &config->pod_cidr_v4, &config->node_ip_v4, &request->wanted_v4,
			 &pod->ipv4, ret_error);
	if (r == 0)
		r = take_address(pods->v6, &config->pod_cidr_v6, &config->node_ip_v6,
				 &request->wanted_v6, &pod->ipv6, ret_error);
	if (r < 0)
		pods_release(pods, pod);
	return r;
}

/* --------------------------------------------------------------------- ADD */

static int connect_pod(struct pods *pods, const struct local_pod *pod, struct error *ret_error)
{
	char message[sizeof(ret_error->details)] = "";
	int r = pods->hooks.connect(pod, message, sizeof(message), pods->hooks.data);

	return r < 0 ? pods_say_unconnected(pod, r, message, ret_error) : 0;
}

static int attach(struct pods *pods, struct local_pod *pod, int netns_fd, struct error *ret_error)
{
	int r = pods_link_make(pods, pod, netns_fd, ret_error);

	if (r < 0)
		return r;
	/* Without it its processes are not named. */
	(void)namespace_cookie(netns_fd, &pod->netns_cookie);
	r = connect_pod(pods, pod, ret_error);
	if (r < 0)
		goto disconnect;
	/* From here on a restarted agent knows the pod. */
	r = pods_record_write(pods, pod);
	if (r < 0) {
		error_set(ret_error, r, CNI_IO_FAILURE,
			  "the pod's record in %s cannot be written: %s", pods->directory,
			  strerror(-r));
		(void)pods_record_remove(pods, pod);
		goto disconnect;
	}
	return 0;
disconnect:
	/* The link first, as ever: no link without its programs. */
	(void)pods_link_delete(pods, pod);
	pods->hooks.disconnect(pod, pods->hooks.data);
	return r;
}

/* A second ADD of what exists is an error; what a vanished container left is cleared away. */
static int clear_old(struct pods *pods, const struct local_pod *wanted, struct error *ret_error)
{
	struct local_pod *old = pods_find(pods, wanted->container_id, wanted->ifname);
	int r;

	if (!old)
		return 0;
	if (!old->gone && pods_link_exists(pods, old))
		return error_set(
			ret_error, -EEXIST, CNI_INVALID_ENVIRONMENT,
			"container %.64s already has the interface '%s' of Polder; DEL it first",
			wanted->container_id, wanted->ifname);
	r = pods_remove(pods, old);
	return r < 0 ? error_set(ret_error, r, CNI_IO_FAILURE,
				 "the remains of an earlier attachment cannot be deleted: %s",
				 strerror(-r))
		     : 0;
}

static json_t *result_ip(const struct polder_addr *addr)
{
	char text[INET6_ADDRSTRLEN], cidr[PREFIX_TEXT_MAX];
	bool v4 = addr_is_v4(addr);

	snprintf(cidr, sizeof(cidr), "%s/%d", addr_format(addr, text), v4 ? 32 : 128);
	return json_pack("{s:s, s:s, s:i}", "address", cidr, "gateway",
			 v4 ? PODS_GATEWAY_V4 : PODS_GATEWAY_V6, "interface", 1);
}

static json_t *result_route(const struct polder_addr *addr)
{
	bool v4 = addr_is_v4(addr);

	return json_pack("{s:s, s:s}", "dst", v4 ? "0.0.0.0/0" : "::/0", "gw",
			 v4 ? PODS_GATEWAY_V4 : PODS_GATEWAY_V6);
}

static json_t *make_result(const struct local_pod *pod, const char *netns)
{
	const struct polder_addr *addrs[] = {&pod->ipv4, &pod->ipv6};
	json_t *ips = json_array(), *routes = json_array();
	char here[18], there[18];

	for (size_t i = 0; i < 2; i++) {
		if (addr_is_zero(addrs[i]))
			continue;
		json_array_append_new(ips, result_ip(addrs[i]));
		json_array_append_new(routes, result_route(addrs[i]));
	}
	return json_pack("{s:[{s:s, s:s}, {s:s, s:s, s:s}], s:o, s:o, s:{}}", "interfaces", "name",
			 pod->link, "mac", mac_format(pods_gateway_mac, here), "name", pod->ifname,
			 "mac", mac_format(pod->mac, there), "sandbox", netns, "ips", ips, "routes",
			 routes, "dns");
}

/* The node's, or less: a request for more would only have packets dropped on their way out. */
static int choose_mtu(struct pods *pods, const struct pod_request *request, struct local_pod *pod,
		      struct error *ret_error)
{
	pod->mtu = pods_link_mtu(pods);
	if (request->mtu == 0 || request->mtu >= pod->mtu)
		return 0;
	if (pods->v6 && request->mtu < PODS_MTU_MIN_V6)
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "an MTU of %u is requested: IPv6 needs %d at least", request->mtu,
				 PODS_MTU_MIN_V6);
	pod->mtu = request->mtu;
	return 0;
}

/* Everything of the pod that the request leaves open. */
static int complete(struct pods *pods, const struct pod_request *request, struct local_pod *pod,
		    struct error *ret_error)
{
	int r = choose_mtu(pods, request, pod, ret_error);

	if (r < 0)
		return r;
	pod->created = time(NULL);
	if (request->has_mac)
		memcpy(pod->mac, request->mac, sizeof(pod->mac));
	else
		r = random_mac(pod->mac);
	if (r == 0)
		r = pods_make_room(pods);
	if (r < 0)
		return error_set(ret_error, r, CNI_TRY_AGAIN, "the pod cannot be prepared: %s",
				 strerror(-r));
	return take_addresses(pods, request, pod, ret_error);
}

static int adding_new(struct pods *pods, const struct local_pod *pod, const char *netns,
		      int netns_fd, struct pod_adding **ret)
{
	struct pod_adding *adding = calloc(1, sizeof(*adding));
	int r = 0;

	if (!adding)
		return -ENOMEM;
	adding->pods = pods;
	adding->netns_fd = fcntl(netns_fd, F_DUPFD_CLOEXEC, 0);
	if (adding->netns_fd < 0)
		r = -errno;
	adding->result = make_result(pod, netns);
	if (r == 0 && !adding->result)
		r = -ENOMEM;
	if (r < 0)
		pods_adding_free(adding);
	else
		*ret = adding;
	return r;
}

static int add(struct pods *pods, struct pod_request *request, const char *netns, int netns_fd,
	       struct pod_adding **ret, struct error *ret_error)
{
	struct local_pod *pod = request->pod;
	struct pod_adding *adding = NULL;
	char cause[CAUSE_MAX];
	int r = check_namespace(netns_fd, ret_error);

	if (r == 0)
		r = clear_old(pods, pod, ret_error);
	if (r == 0)
		r = complete(pods, request, pod, ret_error);
	if (r < 0)
		return r;
	r = pods_ports_settle(pods, pod, ret_error);
	if (r < 0) {
		pods_release(pods, pod);
		return r;
	}
	r = adding_new(pods, pod, netns, netns_fd, &adding);
	r = r < 0 ? error_set(ret_error, r, CNI_TRY_AGAIN, "the pod cannot be connected: %s",
			      cause_of(r, cause))
		  : attach(pods, pod, netns_fd, ret_error);
	if (r < 0) {
		pods_adding_free(adding);
		pods_release(pods, pod);
		return r;
	}
	/* The host side's name is known only now. */
	json_object_set_new(json_array_get(json_object_get(adding->result, "interfaces"), 0),
			    "name", json_string(pod->link));
	pods_insert(pods, TAKE_PTR(request->pod));
	pods_pool_save(pods);
	adding->pod = pod;
	pod->adding = adding;
	*ret = adding;
	return 0;
}

int pods_cni_add(struct pods *pods, const json_t *args, int netns_fd, struct pod_adding **ret,
		 struct error *ret_error)
{
	const char *netns = json_string_value(json_object_get(args, "netns"));
	struct pod_request request = {};
	int r = pods_request_decode(args, &request, ret_error);

	if (r < 0)
		return r;
	r = add(pods, &request, netns ? netns : "", netns_fd, ret, ret_error);
	pods_request_clear(&request);
	return r;
}

/* --------------------------------------------------------------------- DEL */

int pods_cni_del(struct pods *pods, const json_t *args, struct error *ret_error)
{
	const char *container_id, *ifname;
	struct local_pod *pod;
	int r = pods_request_names(args, &container_id, &ifname, ret_error);

	if (r < 0)
		return r;
	pod = pods_find(pods, container_id, ifname);
	if (!pod)
		return 0;
	r = pods_remove(pods, pod);
	return r < 0 ? error_set(ret_error, r, CNI_IO_FAILURE,
				 "interface '%s' of container %.64s cannot be deleted: %s", ifname,
				 container_id, strerror(-r))
		     : 0;
}

/* ------------------------------------------------------------------- CHECK */

int pods_cni_check(struct pods *pods, const json_t *args, int netns_fd, struct error *ret_error)
{
	const json_t *prev_result = json_object_get(json_object_get(args, "config"), "prevResult");
	const char *container_id, *ifname;
	struct local_pod *pod;
	int r = pods_request_names(args, &container_id, &ifname, ret_error);

	if (r == 0)
		r = check_namespace(netns_fd, ret_error);
	if (r < 0)
		return r;
	if (!json_is_object(prev_result))
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "CHECK needs $.prevResult");
	pod = pods_find(pods, container_id, ifname);
	if (!pod)
		return error_set(ret_error, -ENOENT, CNI_UNKNOWN_CONTAINER,
				 "container %.64s has no interface '%s' of Polder", container_id,
				 ifname);
	return pods_check_pod(pods, pod, prev_result, netns_fd, ret_error);
}

/* ---------------------------------------------------------------------- GC */

/* An attachment that the runtime names; texts are borrowed. */
struct valid {
	const char *container_id, *ifname;
};

static int compare_valid(const void *left, const void *right)
{
	const struct valid *a = left, *b = right;
	int r = strcmp(a->container_id, b->container_id);

	return r ? r : strcmp(a->ifname, b->ifname);
}

/* Sorted, so that a long list of many pods costs little; free(). NULL: no memory. */
static struct valid *sort_list(const json_t *list, size_t *ret_count)
{
	struct valid *sorted = calloc(json_array_size(list) + 1, sizeof(*sorted));
	json_t *item;
	size_t i;

	if (!sorted)
		return NULL;
	json_array_foreach (list, i, item)
		sorted[i] = (struct valid){
			json_string_value(json_object_get(item, "containerID")),
			json_string_value(json_object_get(item, "ifname")),
		};
	*ret_count = json_array_size(list);
	qsort(sorted, *ret_count, sizeof(*sorted), compare_valid);
	return sorted;
}

/* One whose ADD has no answer yet cannot be in the list. */
static bool is_valid(const struct valid *sorted, size_t count, const struct local_pod *pod)
{
	const struct valid wanted = {pod->container_id, pod->ifname};

	return pod->adding ||
	       bsearch(&wanted, sorted, count, sizeof(*sorted), compare_valid) != NULL;
}

/* One entry that cannot be understood may be the one that keeps a pod: nothing is deleted then. */
static bool list_is_good(const json_t *valid)
{
	json_t *item;
	size_t i;

	if (!json_is_array(valid) && !json_is_null(valid))
		return false;
	json_array_foreach (valid, i, item) {
		if (!json_is_string(json_object_get(item, "containerID")) ||
		    !json_is_string(json_object_get(item, "ifname")))
			return false;
	}
	return true;
}

int pods_cni_gc(struct pods *pods, const json_t *args, struct error *ret_error)
{
	const json_t *valid = json_object_get(args, "valid");
	const char *network = json_string_value(json_object_get(args, "network"));
	CLEANUP(cleanup_free) struct valid *sorted = NULL;
	char text[POD_TEXT_MAX];
	size_t i = 0, count = 0;
	int failed = 0, error = 0;

	if (!network || !list_is_good(valid))
		return 0;
	sorted = sort_list(valid, &count);
	if (!sorted)
		return error_set(ret_error, -ENOMEM, CNI_TRY_AGAIN, "out of memory");
	while (i < pods->count) {
		struct local_pod *pod = pods->items[i];
		int r;

		if (strcmp(pod->network, network) != 0 || is_valid(sorted, count, pod)) {
			i++;
			continue;
		}
		local_pod_text(pod, text);
		r = pods_remove(pods, pod);
		if (r == 0) {
			log_info("pods", "%s: freed, because the runtime does not list it any more",
				 text);
			continue;
		}
		log_error("pods", "%s: cannot be freed: %s", text, strerror(-r));
		error = r;
		failed++;
		i++;
	}
	return error ? error_set(ret_error, error, CNI_IO_FAILURE,
				 "%d attachments cannot be freed: %s", failed, strerror(-error))
		     : 0;
}

/* ------------------------------------------------------------------ STATUS */

static int check_pool(const struct ipam_pool *pool, const struct prefix *range,
		      struct error *ret_error)
{
	char text[PREFIX_TEXT_MAX];
	uint64_t used, size;

	if (!pool)
		return 0;
	ipam_usage(pool, &used, &size);
	if (used < size)
		return 0;
	return error_set(
		ret_error, -ENOSPC, CNI_NOT_AVAILABLE,
		"all %llu addresses of the pod range %s are in use: delete pods or give the node "
		"a larger range (--pod-cidr)",
		(unsigned long long)size, prefix_format(range, text));
}

int pods_cni_status(struct pods *pods, const json_t *args, struct error *ret_error)
{
	int r;

	if (!pods->v4 && !pods->v6)
		return error_set(
			ret_error, -ENOSPC, CNI_NOT_AVAILABLE,
			"the node has no range of pod addresses: start polderd with --pod-cidr");
	if (pods->count >= pods->config->max_pods)
		return pods_say_full(pods, -ENOSPC, CNI_NOT_AVAILABLE, ret_error);
	r = check_pool(pods->v4, &pods->config->pod_cidr_v4, ret_error);
	return r < 0 ? r : check_pool(pods->v6, &pods->config->pod_cidr_v6, ret_error);
}
