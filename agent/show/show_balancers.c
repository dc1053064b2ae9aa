/* SPDX-License-Identifier: Apache-2.0 */
/* Load balancers' addresses: which there are, and which node announces each. */
#include <string.h>

#include "agent/common/mac.h"
#include "agent/show/show_internal.h"

static const char *state_of(const struct claim_view *claim)
{
	if (claim->state == CLAIM_HELD)
		return "announced";
	if (claim->holder[0] && claim->silent_ms < CLAIM_LOST_MS)
		return "elsewhere";
	return claim->answered ? "answered" : "nowhere";
}

static json_t *since_of(const struct claim_view *claim)
{
	return claim->since ? show_rfc3339(claim->since) : json_string("");
}

/* Somebody answers for it who says nothing to the other nodes. */
static json_t *answer_of(const struct claim_view *claim)
{
	char text[MAC_TEXT_MAX];

	return json_string(claim->answered ? mac_format(claim->answer, text) : "");
}

static void add_view(const struct announce_view *view, void *data)
{
	char text[INET6_ADDRSTRLEN];

	json_array_append_new(
		data, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:b, s:s, s:o}", "address",
				addr_format(&view->claim.addr, text), "namespace", view->namespace,
				"name", view->name, "link", view->link, "state",
				state_of(&view->claim), "node", view->claim.holder, "since",
				since_of(&view->claim), "local", view->local, "reason",
				view->reason, "answered_by", answer_of(&view->claim)));
}

/* Not announced by Polder: who has the address is all there is to say. */
static void add_address(const struct balancer_address *one, json_t *list)
{
	char text[INET6_ADDRSTRLEN];

	json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:s}",
					      "address", addr_format(&one->addr, text), "namespace",
					      one->namespace, "name", one->name, "link", "",
					      "state", "given", "node", "", "since", "", "local",
					      one->local, "reason", "", "answered_by", ""));
}

void show_load_balancers(struct control_request *request, const json_t *args, int netns_fd,
			 void *data)
{
	const struct show_sources *sources = data;
	const struct announce *announce = *sources->announce;
	const struct balancer_address *all = NULL;
	json_t *list = json_array();
	size_t count = 0;

	(void)args;
	(void)netns_fd;
	if (announce)
		announce_each(announce, uv_now(sources->loop), add_view, list);
	else if (*sources->balancers)
		all = balancers_addresses(*sources->balancers, &count);
	for (size_t i = 0; i < count; i++)
		add_address(&all[i], list);
	show_reply(request, list);
}

static json_t *pools_of(const struct config *config)
{
	char text[ADDRESS_RANGE_TEXT_MAX];
	json_t *list = json_array();

	for (size_t i = 0; i < config->pool_count; i++)
		json_array_append_new(list,
				      json_string(address_range_format(&config->pools[i], text)));
	return list;
}

json_t *show_balancers(const struct show_sources *sources)
{
	const struct balancers *balancers = *sources->balancers;
	struct announce_counts counts = {};
	struct api_status api = {.holder = ""};
	size_t addresses = 0;

	if (!balancers)
		return NULL;
	balancers_addresses(balancers, &addresses);
	if (*sources->announce)
		counts = announce_counts(*sources->announce, uv_now(sources->loop));
	if (*sources->api_source)
		api_source_status(*sources->api_source, &api);
	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "pools",
			 pools_of(sources->config), "announce",
			 sources->config->announce ? "l2" : "none", "services",
			 show_u64(balancers_count(balancers)), "refused",
			 show_u64(balancers_refused(balancers)), "addresses", show_u64(addresses),
			 "announced", show_u64(counts.held), "elsewhere", show_u64(counts.watched),
			 "nowhere", show_u64(counts.nobodys), "lease", api.holder);
}

/* An address that a host has which is none of the nodes' is nobody's to announce. */
static void add_stranger(const struct announce_view *view, void *data)
{
	char text[INET6_ADDRSTRLEN], mac[MAC_TEXT_MAX];

	if (!view->claim.answered || view->claim.holder[0])
		return;
	json_array_append_new(
		data,
		json_pack("{s:s, s:s, s:o*}", "source", "load balancers", "path", "", "reason",
			  json_sprintf("%s of Service %s/%s: a host that is no node with "
				       "Polder answers for the address, with MAC address %s: "
				       "it is not announced; take the address from that "
				       "host, or out of load-balancer-pools",
				       addr_format(&view->claim.addr, text), view->namespace,
				       view->name, mac_format(view->claim.answer, mac))));
}

void show_balancer_problems(const struct show_sources *sources, json_t *list)
{
	if (*sources->announce)
		announce_each(*sources->announce, uv_now(sources->loop), add_stranger, list);
}
