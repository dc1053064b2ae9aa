/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an ADD: its policies come in force when no program reads the slot any more that they
 * are written to; the kernel brings links up, and addresses into force, a moment after they are
 * set. Nobody waits for it here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/cause.h"
#include "agent/pods/pods_internal.h"

void pods_adding_free(struct pod_adding *adding)
{
	if (!adding)
		return;
	if (adding->pod)
		adding->pod->adding = NULL;
	if (adding->netns_fd >= 0)
		close(adding->netns_fd);
	netlink_close(adding->inside);
	json_decref(adding->result);
	free(adding);
}

bool pods_adding_waits(const struct pod_adding *adding)
{
	return adding && !adding->inside;
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

static int say_step(struct error *ret_error, int r, const struct step *step)
{
	error_set(ret_error, r, r == -EAGAIN || r == -ETIMEDOUT ? CNI_TRY_AGAIN : CNI_IO_FAILURE,
		  "%s cannot be set: %s", step->what, strerror(-r));
	error_details(ret_error, "%s", step->words);
	return r;
}

int pods_say_unconnected(const struct local_pod *pod, int r, const char *message,
			 struct error *ret_error)
{
	char text[POD_TEXT_MAX], cause[CAUSE_MAX];

	error_set(ret_error, r,
		  r == -EAGAIN || r == -EBUSY || r == -ENOSPC || r == -EADDRINUSE ? CNI_TRY_AGAIN
										  : CNI_IO_FAILURE,
		  "pod %.180s cannot be connected: %s", local_pod_text(pod, text),
		  r == -EMFILE || r == -ENOMEM ? cause_of(r, cause) : strerror(-r));
	error_details(ret_error, "%s", message);
	return r;
}

/* Both sides of the pair: up, with addresses and routes. */
static int set_up(struct pod_adding *adding, struct error *ret_error)
{
	struct pods *pods = adding->pods;
	struct step step = {};
	int r = pods_link_host_up(pods, adding->pod, &step.what);

	step.words = netlink_error(pods->nl);
	if (r < 0)
		return say_step(ret_error, r, &step);
	r = netlink_open(adding->netns_fd, &adding->inside);
	if (r < 0)
		return error_set(ret_error, r, CNI_IO_FAILURE,
				 "the container's network namespace cannot be entered: %s",
				 strerror(-r));
	r = pods_link_container_up(adding->inside, adding->netns_fd, adding->pod, &adding->ifindex,
				   &step.what);
	step.words = netlink_error(adding->inside);
	if (r < 0)
		return say_step(ret_error, r, &step);
	close(adding->netns_fd);
	adding->netns_fd = -1;
	return 0;
}

/* The links are set up once no packet can pass that its policies have not evaluated. */
static int begin(struct pod_adding *adding, bool last, struct error *ret_error)
{
	char message[sizeof(ret_error->details)] = "";
	const struct pods_hooks *hooks = &adding->pods->hooks;
	int r = hooks->in_force(adding->pod, message, sizeof(message), hooks->data);

	if (r == -EAGAIN && !last)
		return r;
	if (r < 0)
		return pods_say_unconnected(adding->pod, r, message, ret_error);
	r = set_up(adding, ret_error);
	/* What is half set up has failed: it is not polled for. */
	return r == -EAGAIN ? -EBUSY : r;
}

static int follow(struct pod_adding *adding, bool last, struct error *ret_error)
{
	struct step step;
	int r = pod_is_reachable(adding, &step);

	if (r == 0 || (r == -EAGAIN && !last))
		return r;
	return say_step(ret_error, r == -EAGAIN ? -ETIMEDOUT : r, &step);
}

int pods_adding_poll(struct pod_adding *adding, bool last, json_t **ret_result,
		     struct error *ret_error)
{
	int r = 0;

	if (!adding->pod) {
		pods_adding_free(adding);
		return error_set(ret_error, -ECANCELED, CNI_TRY_AGAIN,
				 "the pod was deleted while it was being connected");
	}
	if (!adding->inside) {
		r = begin(adding, last, ret_error);
		if (r == 0 && !last)
			return -EAGAIN;
	}
	if (r == 0)
		r = follow(adding, last, ret_error);
	if (r == -EAGAIN && !last)
		return r;
	if (r == 0)
		*ret_result = TAKE_PTR(adding->result);
	else /* What cannot be taken away counts as gone, and is tried again. */
		(void)pods_remove(adding->pods, adding->pod);
	pods_adding_free(adding);
	/* It is over, whatever it was that would have to be tried again. */
	return r == -EAGAIN ? -ETIMEDOUT : r;
}

void pods_adding_cancel(struct pod_adding *adding)
{
	if (adding->pod)
		(void)pods_remove(adding->pods, adding->pod);
	pods_adding_free(adding);
}
