/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes that must leave: worked out from the frame that came and from the flow, never from the
 * programs. */
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <string.h>

#include "frames_model.h"

/* A frame to be expected, and which of its bytes are not compared: sums are held against the frame
 * that came instead. */
struct expected {
	struct frame frame;
	uint8_t free[FRAME_ROOM];
};

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value & 0xff;
}

static uint16_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static void set_free(struct expected *e, size_t at, size_t length)
{
	if (at + length <= sizeof(e->free))
		memset(e->free + at, 1, length);
}

static bool as_expected(const struct expected *e, const struct frame *frame)
{
	if (e->frame.length != frame->length)
		return false;
	for (size_t i = 0; i < frame->length; i++)
		if (!e->free[i] && e->frame.bytes[i] != frame->bytes[i])
			return false;
	return true;
}

static void put_address(struct frame *frame, size_t ip, bool v4, bool source,
			const struct polder_addr *address)
{
	if (v4)
		memcpy(frame->bytes + ip + (source ? 12 : 16), address->bytes + 12, 4);
	else
		memcpy(frame->bytes + ip + (source ? 8 : 24), address->bytes, 16);
}

/* One hop less, and for a pod's namespace its address. What the node's stack sends has had that
 * done. */
static void put_hop(struct expected *e, const struct model *model, const struct probe *probe,
		    const struct view *view, enum way_out way, bool hop)
{
	uint8_t *bytes = e->frame.bytes;

	if (hop)
		bytes[view->ip + (view->flags & VIEW_V4 ? 8 : 7)]--;
	if (way <= OUT_POD2 && probe->hook != HOOK_TO_POD) {
		memcpy(bytes, model->world->pods[way - OUT_POD0].mac, 6);
		memcpy(bytes + 6, world_gateway_mac, 6);
	}
	if (way == OUT_WIRE || (way == OUT_BACK && hop))
		set_free(e, 0, 12); /* who the next hop is, is not the frame's matter */
	if (view->flags & VIEW_V4)
		set_free(e, view->ip + 10, 2);
}

/* What the verdict says of the way: 1: sent on, one hop less; 0: as the node's own or for its
 * stack; -1: not this way. */
static int hop_of(const struct probe *probe, enum way_out way, int verdict)
{
	bool direct = probe->hook != HOOK_TO_POD && probe->hook != HOOK_TO_WIRE && way != OUT_HOST;

	if (verdict == TC_ACT_REDIRECT)
		return direct ? 1 : -1;
	if (verdict == TC_ACT_OK)
		return !direct || way == OUT_BACK ? 0 : -1;
	return -1;
}

static bool sums_kept(const struct frame *in, const struct view *was, const struct frame *out,
		      const struct view *is)
{
	size_t check = view_check(was);
	bool udp = was->ends.proto == IPPROTO_UDP;

	if (view_header_error(in, was) != view_header_error(out, is))
		return false;
	if (!check)
		return true;
	/* No sum at all (RFC 768) stays none, and no sum becomes that. */
	if (udp && (!get16(in->bytes + check) || !get16(out->bytes + check)))
		return get16(in->bytes + check) == get16(out->bytes + check);
	return view_transport_error(in, was) == view_transport_error(out, is);
}

/* ------------------------------------------------------------------ ids of fragments */

/* Does the node change the fragment's id? Several pods' fragments leave with one address. What is
 * whole behind its fragment header (RFC 6946) has nothing to be merged with. */
static bool id_is_changed(const struct view *view, const struct known_flow *flow)
{
	bool to_wire = flow->way == OUT_WIRE || flow->way == OUT_BACK,
	     to_pod = flow->way <= OUT_POD2 && view->ends.zone == ZONE_WIRE && !flow->reply;

	return view->flags & (VIEW_FIRST | VIEW_LATER) && view->ends.zone != ZONE_HOST &&
	       (to_wire || to_pod) &&
	       (!addr_same(&flow->in.source, &flow->out.source) ||
		!addr_same(&flow->in.destination, &flow->out.destination) ||
		flow->in.sport != flow->out.sport || flow->in.dport != flow->out.dport);
}

static uint32_t id_at(const struct frame *frame, const struct view *view)
{
	uint32_t id = 0;

	memcpy(&id, frame->bytes + view->fragment_id, view->flags & VIEW_V4 ? 2 : 4);
	return id;
}

static const struct known_mask *mask_find(const struct model *model, const struct view *view)
{
	for (size_t i = 0; i < model->mask_count; i++)
		if (addr_same(&model->masks[i].source, &view->ends.source) &&
		    addr_same(&model->masks[i].destination, &view->ends.destination))
			return &model->masks[i];
	return NULL;
}

/* All fragments of a pod to a peer are changed alike: then the id is foretold; the first one shows
 * by what. */
static void put_id(struct expected *e, const struct model *model, const struct view *view,
		   const struct known_flow *flow)
{
	const struct known_mask *known;
	uint32_t id;

	if (!id_is_changed(view, flow))
		return;
	known = mask_find(model, view);
	if (!known) {
		set_free(e, view->fragment_id, view->flags & VIEW_V4 ? 2 : 4);
		return;
	}
	id = id_at(&e->frame, view) ^ known->mask;
	memcpy(e->frame.bytes + view->fragment_id, &id, view->flags & VIEW_V4 ? 2 : 4);
}

/* Learns from what left; IPv6 ids are long enough for no two pods to have the same change by
 * chance. */
static const char *note_id(struct model *model, const struct probe *probe, const struct view *view,
			   const struct known_flow *flow, const struct world_result *result)
{
	uint32_t mask = id_at(&probe->frame, view) ^ id_at(&result->out, view);

	if (!id_is_changed(view, flow) || mask_find(model, view))
		return NULL;
	for (size_t i = 0; i < model->mask_count && !(view->flags & VIEW_V4); i++)
		if (addr_same(&model->masks[i].destination, &view->ends.destination) &&
		    model->masks[i].mask == mask)
			return "two pods' fragments to one peer have their ids changed alike";
	if (model->mask_count < MASKS_MAX)
		model->masks[model->mask_count++] =
			(struct known_mask){view->ends.source, view->ends.destination, mask};
	return NULL;
}

/* ------------------------------------------------------------------ packets of flows */

const char *flow_explains(struct model *model, const struct probe *probe, const struct view *view,
			  const struct known_flow *flow, const struct world_result *result)
{
	struct expected e = {.frame = probe->frame};
	bool v4 = view->flags & VIEW_V4,
	     icmp = view->ends.proto == IPPROTO_ICMP || view->ends.proto == IPPROTO_ICMPV6;
	int hop = hop_of(probe, flow->way, result->verdict);
	struct view left;

	if (hop < 0)
		return "a packet goes another way than its flow";
	if (hop && view->ttl <= 1)
		return "a packet without a hop left is forwarded";
	put_hop(&e, model, probe, view, flow->way, hop);
	put_address(&e.frame, view->ip, v4, true, &flow->out.source);
	put_address(&e.frame, view->ip, v4, false, &flow->out.destination);
	if (view->flags & VIEW_PORTS) {
		put16(e.frame.bytes + view->l4 + (icmp ? 4 : 0), flow->out.sport);
		if (!icmp)
			put16(e.frame.bytes + view->l4 + 2, flow->out.dport);
	}
	if (view_check(view))
		set_free(&e, view_check(view), 2);
	/* The program's own sum is tried by tests/bpf; here the rest of the frame counts. */
	if (view->ends.proto == IPPROTO_SCTP && view->flags & VIEW_PORTS)
		set_free(&e, view->l4 + 8, 4);
	put_id(&e, model, view, flow);
	if (!as_expected(&e, &result->out))
		return "a packet leaves changed otherwise than by its flow's translation";
	if (view_read(&result->out, view->ends.zone, &left) < 0)
		return "what leaves cannot be read";
	return sums_kept(&probe->frame, view, &result->out, &left)
		       ? note_id(model, probe, view, flow, result)
		       : "a checksum is not what it was";
}

/* ------------------------------------------------------------------ ICMP errors */

/* The packet that an error is about, as far as it is quoted. */
struct inner {
	size_t ip, l4, check; /* check 0: none */
	struct ends reversed; /* of its flow's packets that go the error's way */
};

static struct polder_addr address_at(const struct frame *frame, size_t ip, bool v4, bool source)
{
	struct polder_addr a = {0};

	if (!v4) {
		memcpy(a.bytes, frame->bytes + ip + (source ? 8 : 24), 16);
		return a;
	}
	a.bytes[10] = a.bytes[11] = 0xff;
	memcpy(a.bytes + 12, frame->bytes + ip + (source ? 12 : 16), 4);
	return a;
}

static void inner_ports(const struct frame *frame, struct inner *inner, bool v4)
{
	const uint8_t *l4 = frame->bytes + inner->l4;
	uint16_t sport = 0, dport = 0;

	switch (inner->reversed.proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		sport = get16(l4);
		dport = get16(l4 + 2);
		inner->check = inner->reversed.proto == IPPROTO_TCP   ? inner->l4 + 16
			       : inner->reversed.proto == IPPROTO_UDP ? inner->l4 + 6
								      : 0;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		/* The other family's is no echo here. */
		if (v4 == (inner->reversed.proto == IPPROTO_ICMP))
			sport = get16(l4 + 4);
		dport = l4[0] << 8;
		inner->check = inner->l4 + 2;
		break;
	default:
		break;
	}
	ends_reverse_ports(inner->reversed.proto, sport, dport, &inner->reversed.sport,
			   &inner->reversed.dport);
}

static bool inner_read(const struct frame *frame, const struct view *view, struct inner *inner)
{
	bool v4 = view->flags & VIEW_V4;
	size_t header = v4 ? 20 : 40;

	memset(inner, 0, sizeof(*inner));
	inner->ip = view->l4 + 8;
	if (inner->ip + header > view->end || frame->bytes[inner->ip] >> 4 != (v4 ? 4 : 6))
		return false;
	if (v4) {
		header = (frame->bytes[inner->ip] & 15) * 4;
		if (header < 20 || get16(frame->bytes + inner->ip + 6) & 0x1fff)
			return false;
	}
	inner->l4 = inner->ip + header;
	if (inner->l4 + 8 > view->end)
		return false;
	inner->reversed.zone = view->ends.zone;
	inner->reversed.proto = frame->bytes[inner->ip + (v4 ? 9 : 6)];
	inner->reversed.source = address_at(frame, inner->ip, v4, false);
	inner->reversed.destination = address_at(frame, inner->ip, v4, true);
	inner_ports(frame, inner, v4);
	return true;
}

static void put_inner(struct expected *e, const struct inner *inner, bool v4,
		      const struct known_flow *flow)
{
	bool icmp =
		inner->reversed.proto == IPPROTO_ICMP || inner->reversed.proto == IPPROTO_ICMPV6;
	uint8_t *l4 = e->frame.bytes + inner->l4;
	uint16_t sport, dport;

	put_address(&e->frame, inner->ip, v4, true, &flow->out.destination);
	put_address(&e->frame, inner->ip, v4, false, &flow->out.source);
	if (v4)
		set_free(e, inner->ip + 10, 2);
	if (inner->check)
		set_free(e, inner->check, 2);
	ends_reverse_ports(flow->out.proto, flow->out.sport, flow->out.dport, &sport, &dport);
	if (icmp && v4 == (inner->reversed.proto == IPPROTO_ICMP))
		put16(l4 + 4, sport);
	if (inner->reversed.proto != IPPROTO_TCP && inner->reversed.proto != IPPROTO_UDP &&
	    inner->reversed.proto != IPPROTO_SCTP)
		return;
	put16(l4, sport);
	put16(l4 + 2, dport);
}

/* By how much the quoted packet's sums are off, counted over what is quoted: no absolute meaning,
 * but it must stay. */
static uint32_t inner_error(const struct frame *frame, const struct inner *inner, bool v4)
{
	bool icmp4 = inner->reversed.proto == IPPROTO_ICMP;
	size_t skip = v4 ? 12 : 8, length = v4 ? 8 : 32;
	uint32_t sum = icmp4 ? 0 : frame_sum(frame->bytes + inner->ip + skip, length, 0);

	return frame_sum(frame->bytes + inner->l4, frame->length - inner->l4, sum) % 0xffff;
}

static bool inner_sums_kept(const struct frame *in, const struct frame *out,
			    const struct inner *inner, bool v4)
{
	uint16_t was = inner->check + 2 <= in->length ? get16(in->bytes + inner->check) : 0;
	size_t header = inner->l4 - inner->ip;

	if (v4 && inner->l4 <= in->length &&
	    frame_sum(in->bytes + inner->ip, header, 0) % 0xffff !=
		    frame_sum(out->bytes + inner->ip, header, 0) % 0xffff)
		return false;
	/* TCP's sum is seldom quoted; who gets the error does not look at it. */
	if (!inner->check || inner->reversed.proto == IPPROTO_TCP)
		return true;
	if (inner->reversed.proto == IPPROTO_UDP && !was)
		return !get16(out->bytes + inner->check);
	return inner_error(in, inner, v4) == inner_error(out, inner, v4);
}

static const char *error_explains(struct model *model, const struct probe *probe,
				  const struct view *view, const struct inner *inner,
				  const struct known_flow *flow, const struct world_result *result)
{
	bool v4 = view->flags & VIEW_V4, speaks = addr_same(&view->ends.source, &flow->in.source);
	int hop = hop_of(probe, flow->way, result->verdict);
	struct expected e = {.frame = probe->frame};
	struct view left;

	if (!addr_same(&view->ends.destination, &flow->in.destination))
		return "an ICMP error goes to another address than the packet that it is about "
		       "came from";
	if (view->ends.zone == ZONE_POD && !speaks)
		return "a pod speaks of another one's flow";
	if (hop < 0)
		return "an ICMP error goes another way than its flow";
	put_hop(&e, model, probe, view, flow->way, hop);
	put_address(&e.frame, view->ip, v4, true, speaks ? &flow->out.source : &view->ends.source);
	put_address(&e.frame, view->ip, v4, false, &flow->out.destination);
	put_inner(&e, inner, v4, flow);
	put_id(&e, model, view, flow);
	set_free(&e, view->l4 + 2, 2);
	if (!as_expected(&e, &result->out))
		return "an ICMP error leaves changed otherwise than by its flow's translation";
	if (view_read(&result->out, view->ends.zone, &left) < 0)
		return "what leaves cannot be read";
	if (!sums_kept(&probe->frame, view, &result->out, &left))
		return "an ICMP error's checksum is not what it was";
	return inner_sums_kept(&probe->frame, &result->out, inner, v4)
		       ? note_id(model, probe, view, flow, result)
		       : "a checksum in an ICMP error is not what it was";
}

const char *check_icmp_error(struct model *model, const struct probe *probe,
			     const struct view *view, const struct world_result *result)
{
	const char *wrong = "an ICMP error about no known flow leaves";
	struct known_flow *flow;
	struct inner inner;
	size_t at = 0;

	if (!inner_read(&probe->frame, view, &inner))
		return "an ICMP error whose packet cannot be read leaves";
	while ((flow = model_find(model, &inner.reversed, &at))) {
		wrong = error_explains(model, probe, view, &inner, flow, result);
		if (!wrong)
			return NULL;
	}
	/* About what a pod sent to the node: see check_from_stack(). */
	if (probe->hook == HOOK_TO_POD && inner.reversed.zone == ZONE_WIRE) {
		inner.reversed.zone = ZONE_HOST;
		at = 0;
		while ((flow = model_find(model, &inner.reversed, &at)))
			if (flow->reply &&
			    !error_explains(model, probe, view, &inner, flow, result))
				return NULL;
		inner.reversed.zone = ZONE_WIRE;
	}
	return opened_in_vain(model, &inner.reversed) || given_up_answered(model, &inner.reversed)
		       ? NULL
		       : wrong;
}

/* ------------------------------------------------------------------ what is made for the sender */

static bool may_be_told(uint32_t reason)
{
	return reason == REASON_NO_ENDPOINT || reason == REASON_NO_SERVICE_PORT ||
	       reason == REASON_ENDPOINT_GONE || reason == REASON_NO_FLOW ||
	       reason == REASON_TTL_EXPIRED || reason == REASON_TOO_BIG ||
	       reason == REASON_SERVICE_NO_FLOW || reason == REASON_NO_ROUTE ||
	       reason == REASON_ROUTE_UNREACHABLE || reason == REASON_ROUTE_PROHIBITED ||
	       reason == REASON_UNKNOWN_POD;
}

static bool is_reset(const struct view *view, const struct view *answer)
{
	return view->ends.proto == IPPROTO_TCP && answer->ends.proto == IPPROTO_TCP &&
	       answer->tcp_flags & 0x04 && !(view->tcp_flags & 0x04) &&
	       answer->ends.sport == view->ends.dport && answer->ends.dport == view->ends.sport &&
	       addr_same(&answer->ends.source, &view->ends.destination);
}

/* An ICMP error that quotes the packet as it came: the IP header and 8 bytes, of TCP its header
 * where it follows. */
static bool is_error_about(const struct frame *in, const struct view *view, const struct frame *out,
			   const struct view *answer)
{
	size_t header = view->flags & VIEW_V4 ? 20 : 40;
	bool tcp = view->ends.proto == IPPROTO_TCP && view->l4 == view->ip + header;
	size_t quoted = header + (tcp ? 20 : 8);

	return answer->flags & VIEW_ERROR && answer->l4 + 8 + quoted == out->length &&
	       view->ip + quoted <= in->length &&
	       !memcmp(out->bytes + answer->l4 + 8, in->bytes + view->ip, quoted);
}

const char *check_refusal(const struct probe *probe, const struct view *view,
			  const struct world_result *result)
{
	const struct frame *in = &probe->frame, *out = &result->out;
	struct view answer;

	if (!may_be_told(result->reason) || view->flags & (VIEW_ERROR | VIEW_LATER))
		return "a refusal is sent that must not be";
	if ((result->reason == REASON_NO_FLOW || result->reason == REASON_UNKNOWN_POD) &&
	    view->ends.zone != ZONE_POD)
		return "the outside is told about the node's connections";
	if (memcmp(out->bytes, in->bytes + 6, 6) != 0 || memcmp(out->bytes + 6, in->bytes, 6) != 0)
		return "a refusal goes to another than the sender";
	if (view_read(out, view->ends.zone, &answer) < 0 ||
	    !addr_same(&answer.ends.destination, &view->ends.source))
		return "a refusal has another's address";
	if (!frame_sums_right(out))
		return "a refusal's checksum is wrong";
	return is_reset(view, &answer) || is_error_about(in, view, out, &answer)
		       ? NULL
		       : "a refusal that says something else";
}

/* An echo request to a Service's address, whole: behind a fragment header as well (RFC 6946). */
bool is_service_echo(const struct view *view)
{
	return (is_service(&view->ends.destination) || is_external(&view->ends.destination)) &&
	       !(view->flags & (VIEW_FIRST | VIEW_LATER)) &&
	       view->icmp_type == (view->flags & VIEW_V4 ? 8 : 128) &&
	       view->ends.proto == (view->flags & VIEW_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* The program answers it itself: the ends change places, nothing else but type, hops and sums. */
const char *check_echo(const struct probe *probe, const struct view *view,
		       const struct world_result *result)
{
	struct expected e = {.frame = probe->frame};
	bool v4 = view->flags & VIEW_V4;

	memcpy(e.frame.bytes, probe->frame.bytes + 6, 6);
	memcpy(e.frame.bytes + 6, probe->frame.bytes, 6);
	put_address(&e.frame, view->ip, v4, true, &view->ends.destination);
	put_address(&e.frame, view->ip, v4, false, &view->ends.source);
	e.frame.bytes[view->ip + (v4 ? 8 : 7)] = 64;
	e.frame.bytes[view->l4] = v4 ? 0 : 129;
	set_free(&e, view->l4 + 2, 2);
	if (v4)
		set_free(&e, view->ip + 10, 2);
	return as_expected(&e, &result->out) ? NULL : "a wrong answer to an echo request";
}

static const char *check_arp(const struct model *model, const struct probe *probe,
			     const struct world_result *result)
{
	const uint8_t *in = probe->frame.bytes, *out = result->out.bytes;
	struct polder_addr gateway = host_address(HOST_GATEWAY, true);
	const struct world_pod *pod =
		&model->world->pods[(probe->link - model->world->pods[0].link) % WORLD_PODS];

	if (probe->frame.length < 42 || result->out.length != probe->frame.length)
		return "a broken ARP packet is answered";
	if (in[21] != 1 || memcmp(in + 38, gateway.bytes + 12, 4) != 0)
		return "ARP for another than the gateway is answered";
	if (out[21] != 2 || memcmp(out + 28, gateway.bytes + 12, 4) != 0 ||
	    memcmp(out + 22, world_gateway_mac, 6) != 0 || memcmp(out, pod->mac, 6) != 0)
		return "a wrong ARP answer";
	return NULL;
}

const char *check_neighbour(const struct model *model, const struct probe *probe,
			    const struct view *view, const struct world_result *result)
{
	const struct world_pod *pod =
		&model->world->pods[(probe->link - model->world->pods[0].link) % WORLD_PODS];
	struct polder_addr gateway = host_address(HOST_GATEWAY, false);
	struct view answer;

	if (result->verdict != TC_ACT_REDIRECT)
		return "neighbour discovery of a pod is left to the node's stack";
	if (view->ethertype == 0x0806)
		return check_arp(model, probe, result);
	if (view->icmp_type != 135 ||
	    memcmp(probe->frame.bytes + view->l4 + 8, gateway.bytes, 16) != 0)
		return "neighbour discovery that asks for another than the gateway is answered";
	if (view_read(&result->out, ZONE_POD, &answer) < 0 || answer.icmp_type != 136 ||
	    !addr_same(&answer.ends.source, &gateway) ||
	    !addr_same(&answer.ends.destination, &view->ends.source) ||
	    memcmp(result->out.bytes, pod->mac, 6) != 0 || !frame_sums_right(&result->out))
		return "a wrong neighbour advertisement";
	return NULL;
}
