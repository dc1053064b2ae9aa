/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an ADD: the kernel brings links up, and addresses into force, a moment after they are
 * set. Nobody waits for it here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/pods/pods_internal.h"

void pods_adding_free(struct pod_adding *adding)
{
	if (!adding)
		return;
	if (adding->pod)
		adding->pod->adding = NULL;
	netlink_close(adding->inside);
	json_decref(adding->result);
	free(adding);
}

/* A step of the pod's way into the network; `words`: what the kernel says if asking fails. */
struct step {
	const char *what, *words;
};

/* 0; -EAGAIN: not yet; -errno. */
static int link_runs(struct netlink *nl, int ifindex, const char *what, struct step *ret)
{
	bool running = false;
	int r = netlink_link_is_running(nl, ifindex, &running);

	*ret = (struct step){what, r < 0 ? netlink_error(nl) : "it did not come up in time"};
	return r < 0 ? r : running ? 0 : -EAGAIN;
}

static int pod_is_reachable(const struct pod_adding *adding, struct step *ret)
{
	const struct local_pod *pod = adding->pod;
	int r = link_runs(adding->inside, adding->ifindex, "the container's interface", ret);

	if (r < 0)
		return r;
	if (!addr_is_zero(&pod->ipv6) && !netlink_address_is_local(adding->inside, &pod->ipv6)) {
		*ret = (struct step){"the container's IPv6 address",
				     "the kernel did not put its local route in place in time"};
		return -EAGAIN;
	}
	/* The node's probes come at once. */
	return link_runs(adding->pods->nl, pod->ifindex, "the host's side of the pair", ret);
}

static int fail(struct pod_adding *adding, int r, const struct step *step, struct error *ret_error)
{
	struct local_pod *pod = adding->pod;

	error_set(ret_error, r, CNI_IO_FAILURE, "%s cannot be set: %s", step->what, strerror(-r));
	error_details(ret_error, "%s", step->words);
	/* What cannot be taken away counts as gone, and is tried again. */
	(void)pods_remove(adding->pods, pod);
	pods_adding_free(adding);
	return r;
}

int pods_adding_poll(struct pod_adding *adding, bool last, json_t **ret_result,
		     struct error *ret_error)
{
	struct step step;
	int r;

	if (!adding->pod) {
		pods_adding_free(adding);
		return error_set(ret_error, -ECANCELED, CNI_TRY_AGAIN,
				 "the pod was deleted while it was being connected");
	}
	r = pod_is_reachable(adding, &step);
	if (r == -EAGAIN && !last)
		return r;
	if (r < 0)
		return fail(adding, r == -EAGAIN ? -ETIMEDOUT : r, &step, ret_error);
	*ret_result = TAKE_PTR(adding->result);
	pods_adding_free(adding);
	return 0;
}

void pods_adding_cancel(struct pod_adding *adding)
{
	if (adding->pod)
		(void)pods_remove(adding->pods, adding->pod);
	pods_adding_free(adding);
}
