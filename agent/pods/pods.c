/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the node's pods: read from their records, pruned, repaired. */
#include "agent/pods/pods_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"

/* ---------------------------------------------------------------- one pod */

void local_pod_free(struct local_pod *pod)
{
	if (!pod)
		return;
	if (pod->adding)
		pod->adding->pod = NULL;
	free(pod->container_id);
	free(pod->ifname);
	free(pod->network);
	free(pod->namespace);
	free(pod->name);
	free(pod->uid);
	free(pod->held_down);
	labels_clear(&pod->labels);
	port_mappings_clear(&pod->ports);
	free(pod);
}

const char *local_pod_text(const struct local_pod *pod, char *buffer)
{
	snprintf(buffer, POD_TEXT_MAX, "%s/%s (%.12s %s)", pod->namespace, pod->name,
		 pod->container_id, pod->ifname);
	return buffer;
}

/* ------------------------------------------------------------- the table */

static int compare(const struct local_pod *pod, const char *container_id, const char *ifname)
{
	int r = strcmp(pod->container_id, container_id);

	return r ? r : strcmp(pod->ifname, ifname);
}

/* The first place whose pod does not come before these names. */
static size_t place_of(const struct pods *pods, const char *container_id, const char *ifname)
{
	size_t low = 0, high = pods->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(pods->items[middle], container_id, ifname) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct local_pod *pods_find(const struct pods *pods, const char *container_id, const char *ifname)
{
	size_t i = place_of(pods, container_id, ifname);

	if (i < pods->count && compare(pods->items[i], container_id, ifname) == 0)
		return pods->items[i];
	return NULL;
}

int pods_make_room(struct pods *pods)
{
	struct local_pod **items;
	size_t room = pods->room ? pods->room * 2 : 16;

	if (pods->count < pods->room)
		return 0;
	items = reallocarray(pods->items, room, sizeof(*items));
	if (!items)
		return -ENOMEM;
	pods->items = items;
	pods->room = room;
	return 0;
}

void pods_insert(struct pods *pods, struct local_pod *pod)
{
	size_t i = place_of(pods, pod->container_id, pod->ifname);

	memmove(pods->items + i + 1, pods->items + i, (pods->count - i) * sizeof(*pods->items));
	pods->items[i] = pod;
	pods->count++;
}

uint32_t pods_index(const struct pods *pods, int ifindex)
{
	return (uint32_t)ifindex & (pods->config->max_pods - 1);
}

int pods_say_full(const struct pods *pods, int r, int code, struct error *ret_error)
{
	return error_set(
		ret_error, r, code,
		"the node has %zu pods and room for %u: delete some, or restart polderd with a "
		"larger --max-pods (%d at most)",
		pods->count, pods->config->max_pods, POLDER_MAX_PODS);
}

void pods_release(struct pods *pods, const struct local_pod *pod)
{
	uint64_t until = pods_now() + PODS_REST_S;

	if (pods->v4)
		ipam_rest(pods->v4, &pod->ipv4, until);
	if (pods->v6)
		ipam_rest(pods->v6, &pod->ipv6, until);
	if (pod->ifindex)
		pods->slot_used[pods_index(pods, pod->ifindex)] = false;
}

int pods_remove(struct pods *pods, struct local_pod *pod)
{
	size_t i = place_of(pods, pod->container_id, pod->ifname);
	int r;

	/* The link first: a pod is never connected without its programs. */
	pod->gone = true;
	r = pods_link_delete(pods, pod);
	if (r < 0)
		return r;
	pods->hooks.disconnect(pod, pods->hooks.data);
	/* An address is free only when no record says otherwise. */
	r = pods_record_remove(pods, pod);
	if (r < 0)
		return r;
	pods_release(pods, pod);
	pods_pool_save(pods);
	memmove(pods->items + i, pods->items + i + 1, (pods->count - i - 1) * sizeof(*pods->items));
	pods->count--;
	local_pod_free(pod);
	return 0;
}

size_t pods_count(const struct pods *pods)
{
	return pods->count;
}

const struct local_pod *pods_at(const struct pods *pods, size_t index)
{
	return pods->items[index];
}

/* ---------------------------------------------------------------- opening */

static int open_pools(struct pods *pods, const struct config *config)
{
	int r = 0;

	if (config->pod_cidr_v4.length)
		r = ipam_pool_new(&config->pod_cidr_v4, &pods->v4);
	if (r == 0 && config->pod_cidr_v6.length)
		r = ipam_pool_new(&config->pod_cidr_v6, &pods->v6);
	return r;
}

/* An address of another range than today's stays the pod's. */
static bool take_addr(struct ipam_pool *pool, const struct polder_addr *addr)
{
	return !pool || addr_is_zero(addr) || ipam_take(pool, addr) != -EADDRINUSE;
}

/* Two records for one address or one place: the second is not true. */
int pods_adopt(struct pods *pods, struct local_pod *pod)
{
	bool *slot = &pods->slot_used[pods_index(pods, pod->ifindex)];
	int r = pods_make_room(pods);

	if (r < 0)
		return r;
	if (*slot || !take_addr(pods->v4, &pod->ipv4))
		return -EBADMSG;
	if (!take_addr(pods->v6, &pod->ipv6)) {
		if (pods->v4)
			ipam_release(pods->v4, &pod->ipv4);
		return -EBADMSG;
	}
	*slot = true;
	pods_insert(pods, pod);
	return 0;
}

static void put_aside(const struct pods *pods, const char *file, int r)
{
	CLEANUP(cleanup_free) char *from = NULL, *to = NULL;

	if (asprintf(&from, "%s/%s", pods->directory, file) < 0)
		from = NULL;
	if (asprintf(&to, "%s/%s.bad", pods->directory, file) < 0)
		to = NULL;
	if (!from || !to || rename(from, to) < 0)
		log_error("pods", "record %s/%s is damaged and cannot be renamed: %s",
			  pods->directory, file, strerror(errno));
	else
		log_warning("pods",
			    "record %s is damaged (%s) and renamed to %s.bad; without a copy its "
			    "pod has "
			    "no network: restart it",
			    from, strerror(-r), file);
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t a = strlen(text), b = strlen(suffix);

	return a > b && strcmp(text + a - b, suffix) == 0;
}

static int read_record(struct pods *pods, const char *file)
{
	struct local_pod *pod = NULL;
	int r = pods_record_read(pods->directory, file, &pod);

	if (r == 0)
		r = pods_adopt(pods, pod);
	if (r == 0)
		return 0;
	local_pod_free(pod);
	if (r == -EBADMSG || r == -EFBIG) {
		put_aside(pods, file, r);
		return 0;
	}
	if (r == -EPROTONOSUPPORT)
		log_error("pods",
			  "record %s/%s is of a newer polderd: start that one, or delete the pods "
			  "with it first; nothing is changed",
			  pods->directory, file);
	if (r == -EPROTONOSUPPORT || r == -ENOMEM)
		return r;
	/* Its link, if there is one, keeps the programs that it has, and they know no pod. */
	pods->unread = true;
	log_error(
		"pods",
		"record %s/%s cannot be read: %s; without a copy its pod is cut off until polderd "
		"can read it at a start",
		pods->directory, file, strerror(-r));
	return 0;
}

static int read_records(struct pods *pods)
{
	DIR *dir = opendir(pods->directory);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		/* What a write left that did not come to its end. */
		if (entry->d_name[0] == '.' && has_suffix(entry->d_name, ".tmp"))
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
		else if (entry->d_name[0] != '.' && has_suffix(entry->d_name, ".json"))
			r = read_record(pods, entry->d_name);
	}
	closedir(dir);
	return r;
}

/* The search for addresses and numbers goes on after the newest pod's. */
static void continue_after_newest(struct pods *pods)
{
	const struct local_pod *newest = NULL;

	for (size_t i = 0; i < pods->count; i++)
		if (!newest || pods->items[i]->created > newest->created ||
		    (pods->items[i]->created == newest->created &&
		     pods->items[i]->ifindex > newest->ifindex))
			newest = pods->items[i];
	if (!newest)
		return;
	pods->next_number = newest->ifindex - PODS_FIRST_IFINDEX + 1;
	if (pods->v4)
		ipam_continue_after(pods->v4, &newest->ipv4);
	if (pods->v6)
		ipam_continue_after(pods->v6, &newest->ipv6);
}

static bool belongs_to_a_pod(const struct pods *pods, const struct link_info *link)
{
	for (size_t i = 0; i < pods->count; i++)
		if (pods_link_is(pods->items[i], link))
			return true;
	return false;
}

/*
 * Is it what an ADD that the agent's end cut short has left, or the link of a record that is
 * damaged? Another agent's is none of our business, and one without a mark may be; but one that
 * was never set up connects nobody.
 */
static bool may_delete(const struct pods *pods, const struct link_info *link)
{
	switch (pods_link_maker(pods, link)) {
	case LINK_MADE_HERE:
		return !pods->unread;
	case LINK_NOT_MARKED:
		return !link->up;
	default:
		return false;
	}
}

/* Links of Polder that no record knows. Their addresses are free. */
static void delete_orphans(struct pods *pods, const struct link_info *links, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct link_info *link = &links[i];
		int r;

		if (!link->is_veth || !pods_link_name_is_ours(link->name) ||
		    memcmp(link->mac, pods_gateway_mac, 6) != 0 || belongs_to_a_pod(pods, link))
			continue;
		if (!may_delete(pods, link)) {
			log_warning("pods",
				    "link %s has no record here, and another polderd may have made "
				    "it; it is left alone (ip link delete %s removes it)",
				    link->name, link->name);
			continue;
		}
		r = netlink_link_delete(pods->nl, link->ifindex);
		if (r < 0)
			log_error("pods", "link %s has no record and cannot be deleted: %s",
				  link->name, strerror(-r));
		else
			log_warning("pods", "link %s had no record and is deleted", link->name);
	}
}

/* Links of pods bear the agent's number also if it is another one than when they were made: the
 * file that tells it was lost or damaged. */
static void mark_link(struct pods *pods, const struct local_pod *pod, const struct link_info *link)
{
	char alias[POD_ALIAS_MAX], text[POD_TEXT_MAX];
	int r;

	if (!pods->agent_id[0] || pods_link_maker(pods, link) == LINK_MADE_HERE)
		return;
	r = netlink_link_set_alias(pods->nl, link->ifindex, pods_link_alias(pods, pod, alias));
	if (r < 0)
		log_warning("pods", "%s: its link %s cannot be marked as this polderd's: %s",
			    local_pod_text(pod, text), link->name, strerror(-r));
}

static void find_link(struct pods *pods, struct local_pod *pod, const struct link_info *links,
		      size_t count)
{
	char text[POD_TEXT_MAX];

	pod->gone = true;
	for (size_t i = 0; i < count && pod->gone; i++) {
		pod->gone = !pods_link_is(pod, &links[i]);
		if (pod->gone)
			continue;
		if (strcmp(links[i].name, pod->link) != 0)
			log_warning("pods", "%s: its link %s has been renamed to %s",
				    local_pod_text(pod, text), pod->link, links[i].name);
		mark_link(pods, pod, &links[i]);
	}
}

static int compare_with_links(struct pods *pods)
{
	CLEANUP(cleanup_free) struct link_info *links = NULL;
	size_t count;
	int r = netlink_link_list(pods->nl, &links, &count);

	if (r == 0)
		r = pods_copies_read(pods, links, count);
	if (r == 0)
		r = pods_recall(pods, links, count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < pods->count; i++)
		find_link(pods, pods->items[i], links, count);
	delete_orphans(pods, links, count);
	return 0;
}

int pods_open(const struct config *config, struct netlink *nl, const struct pods_hooks *hooks,
	      struct pods **ret)
{
	struct pods *pods = calloc(1, sizeof(*pods));
	int r;

	if (!pods)
		return -ENOMEM;
	pods->config = config;
	pods->nl = nl;
	pods->hooks = *hooks;
	if (asprintf(&pods->directory, "%s/pods", config->run_dir) < 0) {
		pods->directory = NULL;
		r = -ENOMEM;
		goto close;
	}
	snprintf(pods->agent_id, sizeof(pods->agent_id), "%s",
		 hooks->agent_id ? hooks->agent_id : "");
	pods_copies_open(pods, hooks->copies);
	pods->pool_path = hooks->pool ? strdup(hooks->pool) : NULL;
	r = mkdir(pods->directory, 0700) < 0 && errno != EEXIST ? -errno : 0;
	if (r == 0)
		r = open_pools(pods, config);
	if (r == 0)
		r = read_records(pods);
	if (r == 0)
		r = compare_with_links(pods);
	if (r < 0)
		goto close;
	continue_after_newest(pods);
	pods_pool_load(pods);
	*ret = pods;
	return 0;
close:
	pods_close(pods);
	return r;
}

int pods_use_state(struct pods *pods, const char *copies, const char *pool, const char *agent_id)
{
	CLEANUP(cleanup_free) struct link_info *links = NULL;
	char *copies_text = strdup(copies), *pool_text = strdup(pool);
	size_t count = 0;

	if (!copies_text || !pool_text) {
		free(copies_text);
		free(pool_text);
		return -ENOMEM;
	}
	free(pods->copies);
	free(pods->pool_path);
	pods->copies = copies_text;
	pods->pool_path = pool_text;
	snprintf(pods->agent_id, sizeof(pods->agent_id), "%s", agent_id);
	/* What is there is older. */
	pods->copies_failed = pods->pool_failed = true;
	pods_restore_state(pods);
	if (netlink_link_list(pods->nl, &links, &count) == 0)
		for (size_t i = 0; i < count; i++)
			for (size_t j = 0; j < pods->count; j++)
				if (pods_link_is(pods->items[j], &links[i]))
					mark_link(pods, pods->items[j], &links[i]);
	return 0;
}

void pods_restore_state(struct pods *pods)
{
	pods_repair_copies(pods);
	pods_repair_pool(pods);
}

void pods_close(struct pods *pods)
{
	if (!pods)
		return;
	for (size_t i = 0; i < pods->count; i++)
		local_pod_free(pods->items[i]);
	free(pods->items);
	ipam_pool_free(pods->v4);
	ipam_pool_free(pods->v6);
	free(pods->directory);
	free(pods->copies);
	free(pods->pool_path);
	free(pods);
}

/* ----------------------------------------------------------- keeping it true */

void pods_link_gone(struct pods *pods, int ifindex)
{
	for (size_t i = 0; i < pods->count; i++)
		if (pods->items[i]->ifindex == ifindex && !pods_link_exists(pods, pods->items[i]))
			pods->items[i]->gone = true;
}

size_t pods_prune(struct pods *pods)
{
	size_t freed = 0, i = 0;
	char text[POD_TEXT_MAX];

	while (i < pods->count) {
		struct local_pod *pod = pods->items[i];
		int r;

		if (!pod->gone) {
			i++;
			continue;
		}
		local_pod_text(pod, text);
		r = pods_remove(pods, pod);
		if (r < 0) {
			log_error("pods",
				  "%s: its link is gone, but its resources cannot be freed: %s",
				  text, strerror(-r));
			i++;
			continue;
		}
		log_info("pods", "%s: its link is gone; its resources are freed", text);
		freed++;
	}
	return freed;
}

int pods_hold_down(struct pods *pods, size_t index, const char *why)
{
	struct local_pod *pod = pods->items[index];
	char *copy = strdup(why);
	int r;

	/* Down again each time: somebody may have set it up. */
	r = netlink_link_set_down(pods->nl, pod->ifindex);
	if (!copy)
		return r < 0 ? r : -ENOMEM;
	free(pod->held_down);
	pod->held_down = copy;
	return r;
}

void pods_let_up(struct pods *pods, size_t index)
{
	free(pods->items[index]->held_down);
	pods->items[index]->held_down = NULL;
}

size_t pods_held_down(const struct pods *pods)
{
	size_t count = 0;

	for (size_t i = 0; i < pods->count; i++)
		count += pods->items[i]->held_down && !pods->items[i]->gone;
	return count;
}

int pods_repair(struct pods *pods)
{
	char text[POD_TEXT_MAX];
	int result = 0;

	for (size_t i = 0; i < pods->count; i++) {
		struct local_pod *pod = pods->items[i];
		const char *what = "";
		int r;

		if (pod->gone || pod->held_down || pods_adding_waits(pod->adding))
			continue;
		r = pods_link_host_up(pods, pod, &what);
		if (r == -ENODEV) {
			pod->gone = true;
		} else if (r < 0) {
			log_error("pods", "%s: %s cannot be restored: %s %s",
				  local_pod_text(pod, text), what, strerror(-r),
				  netlink_error(pods->nl));
			result = r;
		}
	}
	return result;
}

int pods_keep_labels(struct pods *pods, const char *container_id, const char *ifname,
		     const struct labels *labels)
{
	struct local_pod *pod = pods_find(pods, container_id, ifname);
	struct labels before, now = {};
	bool seen, lost;
	int r;

	if (!pod || pod->gone ||
	    (pod->object_seen && !pod->labels_lost && labels_equal(&pod->labels, labels)))
		return 0;
	if (labels->count > PODS_LABELS_MAX)
		return -E2BIG;
	r = labels_copy(labels, &now);
	if (r < 0)
		return r;
	before = pod->labels;
	seen = pod->object_seen;
	lost = pod->labels_lost;
	pod->labels = now;
	pod->object_seen = true;
	pod->labels_lost = false;
	r = pods_record_write(pods, pod);
	if (r < 0) {
		pod->labels = before;
		pod->object_seen = seen;
		pod->labels_lost = lost;
	}
	labels_clear(r < 0 ? &now : &before);
	return r;
}

void pods_pool_usage(const struct pods *pods, struct pool_usage *ret)
{
	*ret = (struct pool_usage){};
	if (pods->v4)
		ipam_usage(pods->v4, &ret->used_v4, &ret->size_v4);
	if (pods->v6)
		ipam_usage(pods->v6, &ret->used_v6, &ret->size_v6);
}
