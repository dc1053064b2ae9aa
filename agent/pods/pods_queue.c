/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues that others have put on pods' links, as the plugin bandwidth does: packets that Polder
 * forwards pass by them, so what they were made for does not hold, and that has to be said.
 */
#include "agent/pods/pods_internal.h"

#include <stdio.h>
#include <string.h>

struct search {
	struct pods *pods;
	int ifindex; /* 0: of all */
};

static struct local_pod *find_link(const struct pods *pods, int ifindex)
{
	for (size_t i = 0; i < pods->count; i++)
		if (pods->items[i]->ifindex == ifindex && !pods->items[i]->gone)
			return pods->items[i];
	return NULL;
}

static void note_queue(int ifindex, const char *kind, void *data)
{
	const struct search *search = data;
	struct local_pod *pod = find_link(search->pods, ifindex);
	size_t used;

	/* A list that was interrupted begins anew. */
	if (!pod || (search->ifindex && ifindex != search->ifindex) ||
	    strstr(pod->queues_seen, kind))
		return;
	used = strlen(pod->queues_seen);
	if (used + strlen(kind) + 3 <= sizeof(pod->queues_seen))
		snprintf(pod->queues_seen + used, sizeof(pod->queues_seen) - used, "%s%s",
			 used ? ", " : "", kind);
}

const char *pods_queue_text(const struct local_pod *pod, char text[POD_QUEUE_TEXT])
{
	snprintf(text, POD_QUEUE_TEXT,
		 "its link %s has a queue of another plugin (%s), by which what Polder forwards "
		 "does not pass as that plugin means it; remove it from the list, and give "
		 "polder-cni the capability bandwidth instead (docs/cni.md)",
		 pod->link, pod->queues);
	return text;
}

static void settle(struct local_pod *pod)
{
	char name[POD_TEXT_MAX], text[POD_QUEUE_TEXT];
	bool changed = strcmp(pod->queues, pod->queues_seen) != 0;

	memcpy(pod->queues, pod->queues_seen, sizeof(pod->queues));
	if (changed && pod->queues[0])
		log_warning("pods", "%s: %s", local_pod_text(pod, name),
			    pods_queue_text(pod, text));
}

int pods_look_for_queues(struct pods *pods, const struct local_pod *only)
{
	struct search search = {pods, only ? only->ifindex : 0};
	int r;

	for (size_t i = 0; i < pods->count; i++)
		pods->items[i]->queues_seen[0] = '\0';
	r = netlink_queue_list(pods->nl, search.ifindex, note_queue, &search);
	for (size_t i = 0; i < pods->count && r == 0; i++)
		if (!only || pods->items[i] == only)
			settle(pods->items[i]);
	return r;
}
