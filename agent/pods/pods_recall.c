/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods whose record is lost with its copy: their links are marked with their names, and the pinned
 * map still says what addresses each has. Another agent's links are not in our map.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "agent/common/cni_deletion.h"
#include "agent/common/log.h"
#include "agent/pods/pods_internal.h"

static bool keep_names(struct local_pod *pod, const struct link_mark *mark)
{
	pod->container_id = strdup(mark->container_id);
	pod->ifname = strdup(mark->ifname);
	pod->namespace = strdup(mark->namespace);
	pod->name = strdup(mark->name);
	pod->uid = strdup(mark->uid);
	pod->network = strdup(mark->network);
	return pod->container_id && pod->ifname && pod->namespace && pod->name && pod->uid &&
	       pod->network;
}

/* NULL: no memory. Labels that came from somewhere are not known any more. */
static struct local_pod *recalled(const struct link_info *link, const struct link_mark *mark,
				  const struct pods_addresses *addresses)
{
	struct local_pod *pod = calloc(1, sizeof(*pod));

	if (!pod)
		return NULL;
	if (!keep_names(pod, mark)) {
		local_pod_free(pod);
		return NULL;
	}
	snprintf(pod->link, sizeof(pod->link), "%s", link->name);
	memcpy(pod->mac, addresses->mac, sizeof(pod->mac));
	pod->ipv4 = addresses->ipv4;
	pod->ipv6 = addresses->ipv6;
	pod->mtu = addresses->mtu;
	pod->ifindex = link->ifindex;
	pod->created = time(NULL);
	pod->labels_lost = !mark->no_labels || mark->uid[0];
	return pod;
}

/* Does the mark say all that policy has to know? A name that is cut off is another pod's. */
static bool may_recall(const struct pods *pods, const struct link_info *link,
		       const struct link_mark *mark)
{
	return mark->name[0] && pods_link_name_is_ours(link->name) &&
	       link->ifindex >= PODS_FIRST_IFINDEX &&
	       link->ifindex < PODS_FIRST_IFINDEX + PODS_IFINDEX_COUNT &&
	       cni_container_id_valid(mark->container_id) && cni_ifname_valid(mark->ifname) &&
	       !pods_find(pods, mark->container_id, mark->ifname);
}

static int recall(struct pods *pods, const struct link_info *link)
{
	struct pods_addresses addresses = {};
	char text[POD_TEXT_MAX];
	struct local_pod *pod;
	struct link_mark mark;
	int r;

	if (!pods_link_read_mark(link, &mark) || !may_recall(pods, link, &mark))
		return 0;
	r = pods->hooks.recall(link->ifindex, &addresses, pods->hooks.data);
	/* A pod may be behind it: no link is an orphan as long as that is not known. */
	if (r < 0 && r != -ENOENT) {
		pods->unread = true;
		log_error(
			"pods",
			"link %s: its record is lost, and map pods cannot be read: %s; its pod is "
			"cut off until polderd can read it at a start",
			link->name, strerror(-r));
	}
	if (r < 0)
		return 0;
	pod = recalled(link, &mark, &addresses);
	r = pod ? pods_adopt(pods, pod) : -ENOMEM;
	if (r < 0) {
		local_pod_free(pod);
		return r == -ENOMEM ? r : 0;
	}
	log_warning("pods",
		    "%s: its record was lost, and is made again from link %s and map pods%s",
		    local_pod_text(pod, text), link->name,
		    pod->labels_lost ? "; its labels are lost: it is isolated until its Pod object "
				       "comes"
				     : "");
	r = pods_record_write(pods, pod);
	if (r < 0)
		log_error("pods", "%s: its record cannot be written: %s", text, strerror(-r));
	return 0;
}

int pods_recall(struct pods *pods, const struct link_info *links, size_t count)
{
	int r = 0;

	/* A record that is there, and cannot be read now, may be read at another start. */
	if (!pods->hooks.recall || pods->unread)
		return 0;
	for (size_t i = 0; i < count && r == 0; i++)
		if (links[i].is_veth && memcmp(links[i].mac, pods_gateway_mac, 6) == 0)
			r = recall(pods, &links[i]);
	return r;
}
