/* SPDX-License-Identifier: Apache-2.0 */
/* MAC addresses of pods' interfaces, which others may change: a plugin behind ours in the list. */
#include "agent/pods/pods_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "agent/common/mac.h"

static int take_over(struct pods *pods, struct local_pod *pod, const uint8_t mac[6])
{
	char text[POD_TEXT_MAX], was[18], is[18];
	const char *what = "";
	uint8_t before[6];
	int r;

	memcpy(before, pod->mac, sizeof(before));
	memcpy(pod->mac, mac, sizeof(pod->mac));
	r = pods->hooks.mac_changed ? pods->hooks.mac_changed(pod, pods->hooks.data) : 0;
	if (r == 0)
		r = pods_link_host_up(pods, pod, &what);
	if (r < 0) {
		memcpy(pod->mac, before, sizeof(pod->mac));
		log_error("pods", "%s: its new MAC address cannot be put in force: %s %s",
			  local_pod_text(pod, text), what, strerror(-r));
		return r;
	}
	if (pods_record_write(pods, pod) < 0)
		log_warning("pods", "%s: its new MAC address cannot be saved",
			    local_pod_text(pod, text));
	log_info("pods", "%s: the MAC address of its interface is %s now, and was %s",
		 local_pod_text(pod, text), mac_format(mac, is), mac_format(before, was));
	return 0;
}

int pods_mac_follow(struct pods *pods, struct local_pod *pod)
{
	uint8_t mac[6];
	int r;

	if (pod->gone || pod->held_down || pod->adding)
		return 0;
	r = netlink_link_peer_mac(pods->nl, pod->ifindex, mac);
	if (r < 0 || memcmp(mac, pod->mac, sizeof(mac)) == 0)
		return r;
	/* Frames under it could not be told from those that Polder makes for the pod. */
	if (memcmp(mac, pods_gateway_mac, sizeof(mac)) == 0)
		return -EADDRINUSE;
	return take_over(pods, pod, mac);
}

int64_t pods_follow_macs(struct pods *pods, int64_t youngest)
{
	int64_t now = time(NULL), least = -1;

	for (size_t i = 0; i < pods->count; i++) {
		struct local_pod *pod = pods->items[i];
		int64_t age = now > pod->created ? now - pod->created : 0;

		if (youngest && age > youngest)
			continue;
		if (least < 0 || age < least)
			least = age;
		(void)pods_mac_follow(pods, pod);
	}
	return least;
}
