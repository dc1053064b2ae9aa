/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may become of a frame. The model keeps the flows that the frames which left have shown, so
 * that each later frame's bytes can be foretold; a frame of no known flow must be one that policy
 * allows, translated as Services and masquerade say.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "frames_model.h"

struct model *model_new(const struct world *world)
{
	struct model *model = calloc(1, sizeof(*model));

	if (!model)
		abort();
	model->world = world;
	return model;
}

void model_free(struct model *model)
{
	free(model);
}

void model_forget(struct model *model)
{
	model->flow_count = model->fragment_count = model->given_up_count = model->mask_count = 0;
}

const struct known_flow *model_any_flow(const struct model *model, struct dice *dice)
{
	/* The newest are the ones that something is left to be done with. */
	uint32_t among = dice_percent(dice, 50) && model->flow_count > 16 ? 16 : model->flow_count;

	return among ? &model->flows[model->flow_count - 1 - dice_roll(dice, among)] : NULL;
}

static bool same_ends(const struct ends *a, const struct ends *b)
{
	return !memcmp(a, b, sizeof(*a));
}

struct known_flow *model_find(struct model *model, const struct ends *ends, size_t *from)
{
	for (; *from < model->flow_count; ++*from)
		if (same_ends(&model->flows[*from].in, ends))
			return &model->flows[(*from)++];
	return NULL;
}

/* ------------------------------------------------------------------ fragments */

static void note_fragment(struct model *model, const struct view *view)
{
	struct known_fragment *at = &model->fragments[model->fragment_count % FRAGMENTS_MAX];

	if (!(view->flags & VIEW_FIRST))
		return;
	*at = (struct known_fragment){.id = view->id, .ends = view->ends};
	model->fragment_count++;
}

/* Is `ends`, of a first fragment, what this later one may belong to? */
static bool belongs(const struct known_fragment *first, const struct view *view)
{
	const struct ends *a = &first->ends, *b = &view->ends;

	return first->id == view->id && a->zone == b->zone && addr_same(&a->source, &b->source) &&
	       addr_same(&a->destination, &b->destination) &&
	       (!(view->flags & VIEW_V4) || a->proto == b->proto);
}

/* The ends that the frame may be of, one after the other: a later fragment's are those of a first
 * one. */
static bool next_ends(const struct model *model, const struct view *view, size_t *at,
		      struct ends *ret)
{
	size_t count =
		model->fragment_count < FRAGMENTS_MAX ? model->fragment_count : FRAGMENTS_MAX;

	if (!(view->flags & VIEW_LATER)) {
		*ret = view->ends;
		return (*at)++ == 0;
	}
	for (; *at < count; ++*at) {
		if (!belongs(&model->fragments[*at], view))
			continue;
		*ret = model->fragments[(*at)++].ends;
		return true;
	}
	return false;
}

/* ------------------------------------------------------------------ flows */

static enum way_out way_of(const struct model *model, const struct ends *in,
			   const struct polder_addr *destination)
{
	struct polder_addr node = host_address(HOST_NODE, addr_is_v4(destination));
	int pod = pod_of_address(destination);

	(void)model;
	if (pod >= 0)
		return OUT_POD0 + pod;
	return (in->zone == ZONE_POD || is_served(in)) && addr_same(destination, &node) ? OUT_HOST
											: OUT_WIRE;
}

static bool prefix(const struct polder_addr *address, const char *text, int bits)
{
	struct polder_addr range = addr(text);

	return !memcmp(address, &range, bits / 8 + (addr_is_v4(&range) ? 12 : 0));
}

static bool is_node(const struct polder_addr *a)
{
	struct polder_addr node = host_address(HOST_NODE, addr_is_v4(a));
	struct polder_addr other = host_address(HOST_OTHER_NODE, addr_is_v4(a));

	return addr_same(a, &node) || addr_same(a, &other);
}

bool own_range(const struct polder_addr *a)
{
	return prefix(a, "10.1.0.0", 24) || prefix(a, "fd00:1::", 64);
}

static bool outside(const struct polder_addr *a)
{
	return !own_range(a) && !prefix(a, "10.2.0.0", 16) && !prefix(a, "fd00:2::", 64) &&
	       !is_node(a);
}

static bool in_range(uint16_t port)
{
	return port >= PORT_MIN && port <= PORT_MAX;
}

/* The ends of the answers, as they come in. */
static struct ends answers_of(const struct ends *out, uint8_t zone)
{
	struct ends answer = {.source = out->destination,
			      .destination = out->source,
			      .zone = zone,
			      .proto = out->proto};

	ends_reverse_ports(out->proto, out->sport, out->dport, &answer.sport, &answer.dport);
	return answer;
}

static uint8_t zone_behind(enum way_out way)
{
	return way <= OUT_POD2 ? ZONE_POD : way == OUT_HOST ? ZONE_HOST : ZONE_WIRE;
}

/* Another flow whose answers have these ends. One of which a FIN or RST was seen may be over, or
 * hold its ports still: it counts only if `closed` says so. */
static bool answers_taken(struct model *model, const struct ends *answer, const struct ends *in,
			  bool closed)
{
	struct known_flow *flow;
	size_t at = 0;

	while ((flow = model_find(model, answer, &at)))
		if (closed || !flow->closed) {
			struct ends opener = answers_of(&flow->out, zone_behind(flow->way));

			if (!same_ends(&opener, in))
				return true;
		}
	return false;
}

/* Has a Service, or the endpoint itself, been asked from this port by what was too big or on its
 * last hop? The Service's flow may have any endpoint. */
static bool asked_in_vain(const struct model *model, const struct ends *in, const struct ends *out)
{
	for (size_t i = 0; i < model->given_up_count && i < GIVEN_UP_MAX; i++) {
		const struct ends *opener = &model->given_up[i];

		if (opener->zone == in->zone && opener->proto == in->proto &&
		    opener->sport == in->sport && addr_same(&opener->source, &in->source) &&
		    (is_service(&opener->destination) || is_served(opener) ||
		     (opener->dport == out->dport &&
		      addr_same(&opener->destination, &out->destination))))
			return true;
	}
	return false;
}

/* May a new flow of `in` leave with the source of `out`? */
static const char *check_source(struct model *model, const struct ends *in, const struct ends *out,
				enum way_out way)
{
	struct polder_addr node = host_address(HOST_NODE, addr_is_v4(&in->source));
	struct ends plain = *out, answer;

	if (service_hides_client(in, out)) {
		if (!addr_same(&out->source, &node))
			return "a client's address goes where another node would answer it";
		return in_range(out->sport) ? NULL : "a masquerade port that is not in the range";
	}
	if (in->zone == ZONE_POD && way == OUT_WIRE && outside(&out->destination)) {
		if (!addr_same(&out->source, &node))
			return "a pod's own address goes outside";
		return in_range(out->sport) ? NULL : "a masquerade port that is not in the range";
	}
	if (in->zone == ZONE_POD && addr_same(&in->source, &out->destination)) {
		/* To itself by way of a Service: as if the Service had sent it. */
		if (!addr_same(&out->source, &in->destination))
			return "a wrong source for a pod that reaches itself";
	} else if (!addr_same(&out->source, &in->source)) {
		return "a source that is translated without need";
	}
	if (out->sport == in->sport)
		return NULL;
	plain.sport = in->sport;
	answer = answers_of(&plain, zone_behind(way));
	/* From a pod's port to the same port of its own: question and answer could not be told
	 * apart. */
	if (same_ends(&answer, in))
		return in_range(out->sport) ? NULL : "a source port that is not in the range";
	return in_range(out->sport) && (answers_taken(model, &answer, in, true) ||
					asked_in_vain(model, in, out))
		       ? NULL
		       : "a source port that is translated without need";
}

static const char *check_destination(const struct ends *in, const struct ends *out)
{
	if (is_served(in) || (in->zone == ZONE_POD && is_service(&in->destination)) ||
	    is_external(&in->destination))
		return service_allows(in, out);
	if (!addr_same(&in->destination, &out->destination) || in->dport != out->dport)
		return "a destination that is translated without need";
	if (own_range(&out->destination) && pod_of_address(&out->destination) < 0)
		return "to an address of the node's range that no pod has";
	return NULL;
}

/* By the rules alone. */
static const char *check_policy(const struct ends *in, const struct ends *out, enum way_out way)
{
	bool icmp = in->proto == IPPROTO_ICMP || in->proto == IPPROTO_ICMPV6;
	bool itself = addr_same(&in->source, &out->destination) && in->zone == ZONE_POD;
	uint16_t port = icmp ? 0 : out->dport;
	int pod = pod_of_address(&in->source);

	if (in->zone == ZONE_HOST || itself)
		return NULL; /* NP-18, NP-20 */
	if (in->zone == ZONE_POD && !policy_allows(pod, false, &out->destination, in->proto, port))
		return "a frame that no rule allows to leave its pod";
	if (way <= OUT_POD2 && !policy_allows(way - OUT_POD0, true, &in->source, in->proto, port))
		return "a frame that no rule allows to reach the pod";
	return NULL;
}

static void remember(struct model *model, const struct known_flow *flow)
{
	struct known_flow *reply;
	size_t at = 0;

	if (model->flow_count + 2 > FLOWS_MAX)
		abort(); /* a story is too short for that */
	while ((reply = model_find(model, &flow->in, &at)))
		reply->closed = true; /* it is over: this one has taken its place */
	model->flows[model->flow_count++] = *flow;
	reply = &model->flows[model->flow_count++];
	*reply = (struct known_flow){
		.in = answers_of(&flow->out, zone_behind(flow->way)),
		.way = flow->in.zone == ZONE_POD    ? way_of(model, &flow->out, &flow->in.source)
		       : flow->in.zone == ZONE_HOST ? OUT_HOST
						    : OUT_BACK,
		.reply = true,
	};
	reply->out = answers_of(&flow->in, flow->in.zone);
}

static void mark(struct model *model, const struct view *view, struct known_flow *flow)
{
	struct ends answer = answers_of(&flow->out, zone_behind(flow->way));
	struct known_flow *reply;
	size_t at = 0;

	if (view->ends.proto != IPPROTO_TCP || !(view->tcp_flags & 0x05))
		return;
	flow->closed = true;
	while ((reply = model_find(model, &answer, &at)))
		reply->closed = true;
}

/* Policy has allowed it, but it was too big or on its last hop. */
static void note_given_up(struct model *model, const struct view *view, uint32_t reason)
{
	if (reason == REASON_TTL_EXPIRED || reason == REASON_TOO_BIG)
		model->given_up[model->given_up_count++ % GIVEN_UP_MAX] = view->ends;
}

bool opened_in_vain(const struct model *model, const struct ends *in)
{
	for (size_t i = 0; i < model->given_up_count && i < GIVEN_UP_MAX; i++)
		if (same_ends(&model->given_up[i], in))
			return true;
	return false;
}

/* What a Service's client was made into is not known. */
static bool may_be_answer_to_client(const struct ends *opener, const struct ends *in,
				    const struct polder_addr *node)
{
	return opener->zone == ZONE_WIRE && is_served(opener) &&
	       (addr_same(&in->destination, &opener->source) || addr_same(&in->destination, node));
}

/* To the pod's own address, the node's, or a Service's: what it was made into is not known. */
const struct ends *given_up_answered(const struct model *model, const struct ends *in)
{
	struct polder_addr node = host_address(HOST_NODE, addr_is_v4(&in->source));

	for (size_t i = 0; i < model->given_up_count && i < GIVEN_UP_MAX; i++) {
		const struct ends *opener = &model->given_up[i];

		if (opener->proto == in->proto && may_be_answer_to_client(opener, in, &node))
			return opener;
		if (opener->proto == in->proto &&
		    (addr_same(&opener->destination, &in->source) ||
		     is_service(&opener->destination)) &&
		    (addr_same(&opener->source, &in->destination) ||
		     (addr_same(&node, &in->destination) && opener->zone == ZONE_POD) ||
		     is_service(&in->destination)))
			return opener;
	}
	return NULL;
}

/*
 * A later fragment whose first was given up opens the flow, translated: its port will be seen with
 * a packet that carries it. What has no port cannot be told apart when it is answered.
 */
static const char *check_blind(const struct ends *in, const struct known_flow *flow)
{
	bool echo =
		(in->proto == IPPROTO_ICMP && (in->dport == 8 << 8 || !in->dport)) ||
		(in->proto == IPPROTO_ICMPV6 && (in->dport == 128 << 8 || in->dport == 129 << 8));

	if (in->proto != IPPROTO_UDP && !echo)
		return "a later fragment without a port is masqueraded";
	return check_policy(in, &flow->out, flow->way);
}

/* An external address may be a machine's own, too: only what is served there is the Service's. */
static bool poses_as_service(const struct ends *in)
{
	const struct ends asked = {.destination = in->source,
				   .dport = in->sport,
				   .zone = in->zone,
				   .proto = in->proto};

	return is_service(&in->source) || (is_external(&in->source) && is_served(&asked));
}

/* The frame belongs to no flow that is known, and left: it must be one that may open one. */
static const char *learn(struct model *model, const struct probe *probe, const struct view *view,
			 const struct ends *in, const struct world_result *result)
{
	struct known_flow flow = {.in = *in};
	struct ends answer;
	struct view left;
	const char *wrong;

	if (in->proto == IPPROTO_TCP && in->zone != ZONE_HOST &&
	    (view->flags & VIEW_LATER || (view->tcp_flags & 0x16) != 0x02) &&
	    !opened_in_vain(model, in))
		return "a TCP segment that is no SYN opens a flow";
	if (view_read(&result->out, in->zone, &left) < 0)
		return "what leaves cannot be read";
	flow.out = left.ends;
	if (view->flags & VIEW_LATER) {
		flow.out.sport = in->sport;
		flow.out.dport = in->dport;
		flow.out.proto = in->proto;
	}
	flow.way = way_of(model, in, &flow.out.destination);
	if (view->flags & VIEW_LATER && !addr_same(&in->source, &flow.out.source))
		return check_blind(in, &flow);
	if (in->zone == ZONE_WIRE && flow.way == OUT_WIRE && !is_served(in))
		return "from the wire to the wire";
	if (in->zone == ZONE_WIRE && poses_as_service(in))
		return "a packet from outside has a Service's address";
	if ((wrong = check_destination(in, &flow.out)) ||
	    (wrong = check_source(model, in, &flow.out, flow.way)) ||
	    (wrong = check_policy(in, &flow.out, flow.way)))
		return wrong;
	answer = answers_of(&flow.out, zone_behind(flow.way));
	if (answers_taken(model, &answer, in, false))
		return "two live flows whose answers cannot be told apart";
	wrong = flow_explains(model, probe, view, &flow, result);
	if (wrong)
		return wrong;
	remember(model, &flow);
	mark(model, view, &model->flows[model->flow_count - 2]);
	return NULL;
}

/* It may be a new flow all the same, whose answers go another way; or the old one, if that was
 * revived. */
static void learn_perhaps(struct model *model, const struct probe *probe, const struct view *view,
			  const struct ends *in, const struct world_result *result)
{
	size_t before = model->flow_count;

	learn(model, probe, view, in, result);
	for (size_t i = before; i < model->flow_count; i++)
		model->flows[i].closed = true;
}

/* An answer in a flow that no frame has shown: unchanged, where its opener is not translated. */
static bool answer_explained(struct model *model, const struct probe *probe,
			     const struct view *view, const struct ends *in,
			     const struct world_result *result)
{
	const struct ends *opener = given_up_answered(model, in);
	struct known_flow flow = {.in = *in, .out = *in};

	if (!opener)
		return false;
	if (is_service(&opener->destination) || is_served(opener) ||
	    (opener->zone == ZONE_POD && outside(&opener->destination)))
		return true;
	flow.way = opener->zone == ZONE_POD    ? way_of(model, in, &in->destination)
		   : opener->zone == ZONE_HOST ? OUT_HOST
					       : OUT_BACK;
	return !flow_explains(model, probe, view, &flow, result);
}

/* What left, of the ends `in`: is it as a flow that is known says? `ret_wrong`: why it is not as
 * the first one says; `ret_closed`: one of them may be over. */
static bool known_explains(struct model *model, const struct probe *probe, const struct view *view,
			   const struct ends *in, const struct world_result *result,
			   const char **ret_wrong, bool *ret_closed)
{
	struct known_flow *flow;
	const char *wrong;
	size_t at = 0;

	*ret_wrong = NULL;
	*ret_closed = false;
	while ((flow = model_find(model, in, &at))) {
		wrong = flow_explains(model, probe, view, flow, result);
		if (!wrong) {
			bool again = flow->closed && (view->tcp_flags & 0x16) == 0x02;

			mark(model, view, flow);
			if (again)
				learn_perhaps(model, probe, view, in, result);
			return true;
		}
		*ret_closed |= flow->closed;
		if (!*ret_wrong)
			*ret_wrong = wrong;
	}
	return false;
}

/* As a flow that is known says, or as the first of a new one. */
static const char *check_ends(struct model *model, const struct probe *probe,
			      const struct view *view, const struct ends *in,
			      const struct world_result *result)
{
	const char *wrong;
	bool closed, again;

	if (known_explains(model, probe, view, in, result, &wrong, &closed))
		return NULL;
	/* A new connection on the ports of a closed one is a new flow, also if its SYN was on its
	 * last hop. What the node's stack sends needs no SYN: the other side may have begun one
	 * meanwhile. */
	again = in->zone == ZONE_HOST || (view->tcp_flags & 0x16) == 0x02 ||
		opened_in_vain(model, in);
	if (wrong && !(closed && again))
		return wrong;
	wrong = learn(model, probe, view, in, result);
	return wrong && answer_explained(model, probe, view, in, result) ? NULL : wrong;
}

/* The answer to what a pod sent to the node, which the node translated and sent on: it comes by a
 * link, and belongs to the flow to the node. NULL: it explains the frame. */
static const char *check_from_stack(struct model *model, const struct probe *probe,
				    const struct view *view, const struct ends *in,
				    const struct world_result *result)
{
	const char *wrong = "no flow to the node";
	struct known_flow *flow;
	struct ends host = *in;
	size_t at = 0;

	if (probe->hook != HOOK_TO_POD || in->zone != ZONE_WIRE)
		return wrong;
	host.zone = ZONE_HOST;
	while ((flow = model_find(model, &host, &at))) {
		if (!flow->reply)
			continue;
		wrong = flow_explains(model, probe, view, flow, result);
		if (wrong)
			continue;
		mark(model, view, flow);
		return NULL;
	}
	return wrong;
}

const char *check_flow(struct model *model, const struct probe *probe, const struct view *view,
		       const struct world_result *result)
{
	const char *wrong = "a later fragment whose first was not seen leaves";
	struct ends in;
	size_t at = 0;
	bool closed;

	/* Of which first one it is, is not known if several had its id: a flow that is known goes
	 * before a new one. */
	while (view->flags & VIEW_LATER && next_ends(model, view, &at, &in))
		if (known_explains(model, probe, view, &in, result, &wrong, &closed))
			return NULL;
	wrong = "a later fragment whose first was not seen leaves";
	at = 0;
	while (next_ends(model, view, &at, &in)) {
		const char *other;

		wrong = check_ends(model, probe, view, &in, result);
		if (!wrong)
			return NULL;
		other = check_from_stack(model, probe, view, &in, result);
		if (!other)
			return NULL;
	}
	return wrong;
}

/* ------------------------------------------------------------------ what is not forwarded */

static bool denies_a_flow(uint32_t reason)
{
	return reason == REASON_NO_FLOW || reason == REASON_POLICY_EGRESS ||
	       reason == REASON_POLICY_INGRESS || reason == REASON_FLOW_TABLE_FULL ||
	       reason == REASON_NAT_PORTS || reason == REASON_NAT_PROTOCOL ||
	       reason == REASON_NO_ENDPOINT || reason == REASON_NO_SERVICE_PORT ||
	       reason == REASON_ENDPOINT_GONE || reason == REASON_UNKNOWN_POD ||
	       reason == REASON_SERVICE_FROM_OUTSIDE;
}

static const char *check_dropped(struct model *model, const struct view *view,
				 const struct world_result *result)
{
	struct known_flow *flow;
	bool closed = false, known = false;
	size_t at = 0;

	/* What is given up on its last hop has been seen by its flow all the same. */
	for (at = 0; (flow = model_find(model, &view->ends, &at));)
		mark(model, view, flow);
	note_given_up(model, view, result->reason);
	at = 0;
	if (result->reason == REASON_INTERNAL)
		return "dropped for a reason that must not be: internal";
	if (view->flags & (VIEW_LATER | VIEW_ERROR) || !denies_a_flow(result->reason))
		return NULL;
	/* Its CRC covers what other fragments hold. */
	if (view->ends.proto == IPPROTO_SCTP && view->fragment_id &&
	    result->reason == REASON_NAT_PROTOCOL)
		return NULL;
	while ((flow = model_find(model, &view->ends, &at))) {
		known = true;
		closed |= flow->closed;
	}
	return known && !closed ? "a packet of a known flow is denied" : NULL;
}

static bool hook_is_right(enum world_hook hook, uint32_t counted)
{
	static const uint32_t hooks[HOOK_COUNT] = {
		[HOOK_FROM_POD] = DROP_FROM_POD,   [HOOK_TO_POD] = DROP_TO_POD,
		[HOOK_FROM_WIRE] = DROP_FROM_WIRE, [HOOK_TO_WIRE] = DROP_TO_WIRE,
		[HOOK_WIRE_XDP] = DROP_FROM_WIRE,
	};

	return counted == hooks[hook];
}

static bool unchanged(const struct probe *probe, const struct world_result *result)
{
	return probe->frame.length == result->out.length &&
	       !memcmp(probe->frame.bytes, result->out.bytes, result->out.length);
}

/* Does the frame show the ports of its packet? What lies behind the packet's end are none; those
 * behind many extension headers are not looked for. */
static bool has_ports(const struct view *view)
{
	return (view->flags & (VIEW_PORTS | VIEW_BEHIND_END | VIEW_LONG_CHAIN)) == VIEW_PORTS;
}

/* Does the node's own flow leave with another port? */
static bool has_other_port(struct model *model, const struct ends *in)
{
	struct known_flow *flow;
	size_t at = 0;

	while ((flow = model_find(model, in, &at)))
		if (!flow->closed && flow->out.sport != in->sport)
			return true;
	return false;
}

/* The node's own packet on a port that a pod's flow has towards the same peer leaves with another
 * one; answers and errors about it are turned back. */
static const char *check_other_port(struct model *model, const struct probe *probe,
				    const struct view *view, const struct world_result *result)
{
	struct known_flow *flow;
	size_t at = 0;

	if (view->flags & VIEW_ERROR)
		return check_icmp_error(model, probe, view, result);
	if (probe->hook == HOOK_TO_WIRE)
		return check_ends(model, probe, view, &view->ends, result);
	while ((flow = model_find(model, &view->ends, &at)))
		if (flow->way == OUT_HOST && !flow_explains(model, probe, view, flow, result)) {
			mark(model, view, flow);
			return NULL;
		}
	/* A process of the node is a Service's endpoint. */
	if (probe->hook == HOOK_FROM_WIRE && is_external(&view->ends.destination))
		return check_flow(model, probe, view, result);
	return "what is left to the node's stack was changed";
}

/* May a flow from outside begin with it? */
static bool begins(const struct view *view)
{
	return !(view->flags & VIEW_LATER) &&
	       (view->ends.proto != IPPROTO_TCP || (view->tcp_flags & 0x16) == 0x02);
}

/* Left to the node's stack. */
static const char *check_stack(struct model *model, const struct probe *probe,
			       const struct view *view, bool readable,
			       const struct world_result *result)
{
	bool ip = view->ethertype == 0x0800 || view->ethertype == 0x86dd;

	if (!unchanged(probe, result))
		return readable && probe->hook != HOOK_WIRE_XDP
			       ? check_other_port(model, probe, view, result)
			       : "what is left to the node's stack was changed";
	if (!ip)
		return NULL;
	if (probe->hook == HOOK_TO_WIRE)
		return readable && has_ports(view) && has_other_port(model, &view->ends)
			       ? "a packet leaves with the port that its flow has not"
			       : NULL;
	if (!readable)
		return "a broken packet is left to the node's stack";
	if (own_range(&view->ends.source))
		return "a packet of the node's own pods from the wire is left to the node's stack";
	if (probe->hook == HOOK_WIRE_XDP)
		return NULL;
	if (pod_of_address(&view->ends.destination) >= 0 && !(view->flags & VIEW_ND))
		return "a packet for a pod goes round its policy by the node's stack";
	if ((is_service(&view->ends.destination) || is_external(&view->ends.destination)) &&
	    !(view->flags & VIEW_ND))
		return "a packet for a Service from the wire is left to the node's stack";
	if (is_served(&view->ends) && has_ports(view) && begins(view))
		return "a packet for a node port is left to the node's stack";
	return NULL;
}

/* ------------------------------------------------------------------ everything */

static bool verdict_is_drop(const struct probe *probe, int verdict)
{
	return probe->hook == HOOK_WIRE_XDP ? verdict == XDP_DROP : verdict == TC_ACT_SHOT;
}

static bool verdict_is_pass(const struct probe *probe, int verdict)
{
	return probe->hook == HOOK_WIRE_XDP ? verdict == XDP_PASS : verdict == TC_ACT_OK;
}

/* One outcome, and one counter if it is a drop. */
static const char *check_counted(const struct probe *probe, const struct world_result *result)
{
	bool drop = verdict_is_drop(probe, result->verdict),
	     pass = verdict_is_pass(probe, result->verdict);

	if (!drop && !pass &&
	    result->verdict != (probe->hook == HOOK_WIRE_XDP ? XDP_TX : TC_ACT_REDIRECT))
		return "a verdict that does not exist";
	if (drop && !result->drops)
		return "dropped without being counted";
	if (result->drops > 1)
		return "counted more than once";
	if (pass && result->drops)
		return "passed, but counted as dropped";
	if (result->drops && !hook_is_right(probe->hook, result->hook))
		return "counted for another hook";
	return NULL;
}

/* XDP sends what TC would, or leaves it as it came; the flow may have begun here all the same. */
static const char *check_xdp(struct model *model, const struct probe *probe,
			     const struct view *view, bool readable,
			     const struct world_result *result)
{
	struct world_result sent = *result;

	if (result->verdict != XDP_TX) {
		if (readable && is_served(&view->ends) && begins(view))
			model->given_up[model->given_up_count++ % GIVEN_UP_MAX] = view->ends;
		return check_stack(model, probe, view, readable, result);
	}
	if (!readable || !has_ports(view) || view->fragment_id)
		return "XDP sends what is not plain";
	sent.verdict = TC_ACT_REDIRECT;
	return check_flow(model, probe, view, &sent);
}

static const char *check_left(struct model *model, const struct probe *probe,
			      const struct view *view, bool readable,
			      const struct world_result *result)
{
	if (probe->hook == HOOK_WIRE_XDP)
		return check_xdp(model, probe, view, readable, result);
	if (probe->hook == HOOK_TO_WIRE ||
	    (probe->hook == HOOK_FROM_WIRE && result->verdict == TC_ACT_OK))
		return check_stack(model, probe, view, readable, result);
	if (probe->hook == HOOK_FROM_POD && (view->ethertype == 0x0806 || view->flags & VIEW_ND))
		return check_neighbour(model, probe, view, result);
	if (probe->hook == HOOK_TO_POD && (view->ethertype == 0x0806 || view->flags & VIEW_ND))
		return unchanged(probe, result) ? NULL : "neighbour discovery to a pod was changed";
	if (!readable)
		return "a broken packet is forwarded";
	if (view->flags & VIEW_BEHIND_END)
		return "a transport header behind the packet's end is believed";
	if (view->flags & VIEW_ROUTED)
		return "a packet that its routing header leads elsewhere is forwarded";
	if ((probe->hook == HOOK_FROM_POD || probe->hook == HOOK_FROM_WIRE) &&
	    is_service_echo(view)) {
		const char *wrong = check_echo(probe, view, result);

		/* Or the answer to an echo of who has the address outside. */
		return wrong && is_external(&view->ends.destination) &&
				       !check_flow(model, probe, view, result)
			       ? NULL
			       : wrong;
	}
	return view->flags & VIEW_ERROR ? check_icmp_error(model, probe, view, result)
					: check_flow(model, probe, view, result);
}

/* The node's own routing sends to a pod's link what is for that pod. */
static bool misrouted(const struct model *model, const struct probe *probe, const struct view *view)
{
	int pod = pod_of_address(&view->ends.destination);

	return probe->hook == HOOK_TO_POD &&
	       (pod < 0 || model->world->pods[pod].link != probe->link);
}

const char *model_check(struct model *model, const struct probe *probe,
			const struct world_result *result)
{
	const char *wrong = check_counted(probe, result);
	struct view view;
	bool readable = view_read(&probe->frame, probe_zone(probe), &view) == 0;

	if (wrong)
		return wrong;
	if (readable && probe->hook != HOOK_TO_WIRE && probe->hook != HOOK_WIRE_XDP)
		note_fragment(model, &view);
	if (readable && misrouted(model, probe, &view))
		return NULL;
	if (result->drops) {
		if (!readable)
			return result->verdict == TC_ACT_REDIRECT && probe->hook != HOOK_WIRE_XDP
				       ? "a refusal of a broken packet is sent"
				       : NULL;
		wrong = check_dropped(model, &view, result);
		if (wrong || verdict_is_drop(probe, result->verdict))
			return wrong;
		return check_refusal(probe, &view, result);
	}
	return check_left(model, probe, &view, readable, result);
}
