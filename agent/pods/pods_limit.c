/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's bandwidth, by the kernel's token bucket on each end of its pair: what goes to the pod
 * waits on the host's side (the programs send it by there, see POD_LIMITED), what the pod sends in
 * its own interface, where its sockets feel that it waits.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <string.h>

#include "agent/kernel/netlink_limit.h"
#include "agent/pods/pods_internal.h"

/* What a rate gives in a tenth of a second may go at once, if nobody says otherwise, and as much
 * may wait; with less than some packets of the largest kind TCP does not get on. */
#define DEFAULT_PARTS 10
#define BYTES_MIN     65536u
#define BURST_MAX     (1u << 30)

static uint32_t bytes_of(uint64_t bits, uint32_t least)
{
	uint64_t bytes = bits / 8;

	return bytes < least ? least : bytes > BURST_MAX ? BURST_MAX : (uint32_t)bytes;
}

static struct link_limit limit_of(const struct local_pod *pod, const struct bandwidth_limit *wanted)
{
	/* A burst that no packet fits in would let none pass. */
	uint32_t least = pod->mtu + ETH_HLEN;

	return (struct link_limit){
		.rate = wanted->rate / 8,
		.burst = wanted->burst ? bytes_of(wanted->burst, least)
				       : bytes_of(wanted->rate / DEFAULT_PARTS, BYTES_MIN),
		.queue = bytes_of(wanted->rate / DEFAULT_PARTS, BYTES_MIN),
	};
}

/* One that is as it should be keeps what waits in it. */
static int set(struct netlink *nl, int ifindex, const struct local_pod *pod,
	       const struct bandwidth_limit *wanted)
{
	const struct link_limit limit = limit_of(pod, wanted);

	if (!wanted->rate || netlink_limit_find(nl, ifindex, &limit) == 0)
		return 0;
	return netlink_limit_set(nl, ifindex, &limit);
}

int pods_limit_host(struct pods *pods, const struct local_pod *pod)
{
	return set(pods->nl, pod->ifindex, pod, &pod->bandwidth.ingress);
}

int pods_limit_container(struct netlink *inside, int ifindex, const struct local_pod *pod)
{
	return set(inside, ifindex, pod, &pod->bandwidth.egress);
}

int pods_limit_find(struct netlink *nl, int ifindex, const struct local_pod *pod,
		    const struct bandwidth_limit *wanted)
{
	const struct link_limit limit = limit_of(pod, wanted);

	return wanted->rate ? netlink_limit_find(nl, ifindex, &limit) : 0;
}
