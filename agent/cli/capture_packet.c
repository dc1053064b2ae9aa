/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cli/capture_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/cli/format.h"
#include "agent/common/address.h"
#include "agent/kernel/counters.h"

#define NS_PER_S UINT64_C(1000000000)

/* ---------------------------------------------------------------- headers */

struct headers {
	struct polder_addr source, destination;
	uint16_t ethertype;
	uint16_t sport, dport; /* as struct polder_event has them */
	uint16_t l4;	       /* 0: not in what was captured */
	uint8_t family;	       /* 0: not IP */
	uint8_t proto;
	uint8_t tcp_flags;
	bool ports;
};

static uint16_t be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void read_l4(const struct capture_image *image, size_t at, struct headers *h)
{
	const uint8_t *l4 = image->bytes + at;

	if (image->captured < at + 8)
		return;
	h->l4 = (uint16_t)at;
	switch (h->proto) {
	case IPPROTO_TCP:
		h->tcp_flags = image->captured >= at + 14 ? l4[13] : 0;
		/* fall through */
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		h->sport = be16(l4);
		h->dport = be16(l4 + 2);
		h->ports = true;
		break;
	default:
		break;
	}
}

/* The transport header of IPv6 behind what may stand before it. */
static void read_ip6(const struct capture_image *image, struct headers *h)
{
	size_t at = ETH_HLEN + 40;
	uint8_t next = image->bytes[ETH_HLEN + 6];

	while (at + 8 <= image->captured && (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING ||
					     next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT)) {
		const uint8_t *header = image->bytes + at;

		if (next == IPPROTO_FRAGMENT && be16(header + 2) & 0xfff8) {
			h->proto = header[0];
			return;
		}
		at += next == IPPROTO_FRAGMENT ? 8 : ((size_t)header[1] + 1) * 8;
		next = header[0];
	}
	h->proto = next;
	read_l4(image, at, h);
}

static void read_headers(const struct capture_image *image, struct headers *ret)
{
	const uint8_t *ip = image->bytes + ETH_HLEN;

	*ret = (struct headers){};
	if (image->captured < ETH_HLEN)
		return;
	ret->ethertype = be16(image->bytes + 12);
	if (ret->ethertype == ETHERTYPE_IP && image->captured >= ETH_HLEN + 20) {
		ret->family = FAMILY_V4;
		ret->proto = ip[9];
		ret->source.words_be[2] = ret->destination.words_be[2] = htonl(0xffff);
		memcpy(&ret->source.words_be[3], ip + 12, 4);
		memcpy(&ret->destination.words_be[3], ip + 16, 4);
		if (!(be16(ip + 6) & 0x1fff))
			read_l4(image, ETH_HLEN + (size_t)(ip[0] & 15) * 4, ret);
	} else if (ret->ethertype == ETHERTYPE_IPV6 && image->captured >= ETH_HLEN + 40) {
		ret->family = FAMILY_V6;
		memcpy(&ret->source, ip + 8, 16);
		memcpy(&ret->destination, ip + 24, 16);
		read_ip6(image, ret);
	}
}

/* ---------------------------------------------------------------- images */

/* Bytes that change on every hop: MAC addresses, IPv4's time to live and sum, IPv6's hop limit. */
static bool is_of_the_hop(const uint8_t *frame, size_t at)
{
	uint16_t ethertype = be16(frame + 12);

	if (at < 2 * ETH_ALEN)
		return true;
	if (ethertype == ETHERTYPE_IP)
		return at == ETH_HLEN + 8 || at == ETH_HLEN + 10 || at == ETH_HLEN + 11;
	return ethertype == ETHERTYPE_IPV6 && at == ETH_HLEN + 7;
}

static bool has_changed(const struct capture_record *record, const uint8_t *after)
{
	size_t most = record->before < record->captured ? record->before : record->captured;

	if (record->length != record->length_after)
		return true;
	for (size_t i = 0; most >= ETH_HLEN && i < most; i++)
		if (record->head[i] != after[i] && !is_of_the_hop(record->head, i))
			return true;
	return false;
}

/* What lies behind the first bytes is as it was, unless the packet was made anew. */
static void image_before(const struct capture_record *record, const uint8_t *after,
			 uint32_t snaplen, uint8_t *room, struct capture_image *ret)
{
	uint32_t captured = record->before;

	memcpy(room, record->head, record->before);
	if (record->length == record->length_after && record->captured > captured) {
		memcpy(room + captured, after + captured, record->captured - captured);
		captured = record->captured;
	}
	*ret = (struct capture_image){room, captured < snaplen ? captured : snaplen,
				      record->length};
}

int capture_packet_read(const void *data, size_t size, uint32_t snaplen, uint8_t *room,
			struct capture_packet *ret)
{
	const uint8_t *after = (const uint8_t *)data + sizeof(ret->record);

	if (size < sizeof(ret->record))
		return -EBADMSG;
	memcpy(&ret->record, data, sizeof(ret->record));
	if (ret->record.captured > size - sizeof(ret->record) ||
	    ret->record.captured > CAPTURE_SNAPLEN || ret->record.before > CAPTURE_HEAD ||
	    ret->record.hook >= DROP_HOOKS)
		return -EBADMSG;
	image_before(&ret->record, after, snaplen, room, &ret->before);
	ret->after = (struct capture_image){after, 0, ret->record.length_after};
	if (ret->record.verdict != VERDICT_DROP && has_changed(&ret->record, after))
		ret->after.captured = ret->record.captured;
	return 0;
}

void capture_packet_event(const struct capture_packet *packet, struct polder_event *ret)
{
	const struct capture_record *record = &packet->record;
	struct headers before, after;

	read_headers(&packet->before, &before);
	*ret = (struct polder_event){
		.type = record->verdict == VERDICT_ALLOW ? EVENT_FLOW : EVENT_DROP,
		.verdict = record->verdict,
		.reason = record->reason,
		.hook = record->hook,
		.family = before.family,
		.proto = before.proto,
		.saddr = before.source,
		.daddr = before.destination,
		.sport_be = htons(before.sport),
		.dport_be = htons(before.dport),
		.ifindex = record->ifindex,
		.source_identity = record->source_identity,
		.destination_identity = record->destination_identity,
		.egress_rule = record->egress_rule,
		.ingress_rule = record->ingress_rule,
		.egress_ruleset = record->egress_ruleset,
		.ingress_ruleset = record->ingress_ruleset,
	};
	/* Who it went to, or would have gone to, behind a Service's address. */
	if (!addr_is_zero(&record->backend)) {
		ret->daddr = record->backend;
		ret->dport_be = record->backend_port_be;
	} else if (record->verdict == VERDICT_ALLOW && packet->after.captured) {
		read_headers(&packet->after, &after);
		ret->daddr = after.destination;
		ret->dport_be = htons(after.dport);
	}
}

void capture_interface_name(const struct capture_record *record, const char *link, bool after,
			    char *ret, size_t size)
{
	snprintf(ret, size, "%s %s%s", link,
		 record->flags & CAPTURE_XDP ? "xdp" : hook_name(record->hook),
		 after ? " translated" : "");
}

/* ---------------------------------------------------------------- words */

/* A text that grows in a buffer, and is cut where that ends. */
struct text {
	char *at;
	size_t left;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *format, ...)
{
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(text->at, text->left, format, list);
	va_end(list);
	if (n < 0 || (size_t)n >= text->left) {
		text->left = 0; /* what does not fit whole is left out */
		*text->at = '\0';
		return;
	}
	text->at += n;
	text->left -= (size_t)n;
}

/* A name of others: nothing in it ends the line, or the term that it stands in. */
static void add_name(struct text *text, const char *name)
{
	for (; *name && text->left > 1; name++) {
		unsigned char c = (unsigned char)*name;

		if (c < 0x20 || c == 0x7f || c == ';' || c == '\\')
			add(text, "\\x%02x", c);
		else
			add(text, "%c", c);
	}
}

static void add_term(struct text *text, const char *key, const char *name)
{
	if (!*name || !text->left)
		return;
	add(text, "; %s: ", key);
	if (text->left)
		add_name(text, name);
}

static void add_policy(struct text *text, const char *key, const json_t *policy, uint32_t rule)
{
	const json_t *value;
	size_t i;

	if (!json_is_object(policy)) {
		if (rule && text->left)
			add(text, "; %s: rule number %u", key, rule);
		return;
	}
	if (json_is_true(field(policy, "default_deny"))) {
		add_term(text, key, "default deny");
		json_array_foreach (field(policy, "isolated_by"), i, value) {
			if (text->left)
				add(text, i ? ", " : " of ");
			if (text->left)
				add_name(text,
					 json_string_value(value) ? json_string_value(value) : "");
		}
		return;
	}
	add_term(text, key, field_text(policy, "policy"));
	if (text->left)
		add(text, " rule %lld", (long long)field_number(policy, "rule"));
	if (*field_text(policy, "rule_name") && text->left) {
		add(text, " ");
		if (text->left)
			add_name(text, field_text(policy, "rule_name"));
	}
}

static const char *const verdicts[] = {
	[VERDICT_DROP] = "drop", [VERDICT_ALLOW] = "allow", [VERDICT_REJECT] = "reject"};

void capture_comment(const struct capture_record *record, const json_t *names, char *ret,
		     size_t size)
{
	struct text text = {ret, size};

	add(&text, "verdict: %s",
	    record->verdict <= VERDICT_REJECT ? verdicts[record->verdict] : "unknown");
	if (record->reason)
		add_term(&text, "reason", reason_name(record->reason));
	add_term(&text, "hook", record->flags & CAPTURE_XDP ? "xdp" : hook_name(record->hook));
	add_term(&text, "from", field_text(names, "source.pod"));
	add_term(&text, "to", field_text(names, "destination.pod"));
	add_policy(&text, "egress", field(names, "egress_policy"), record->egress_rule);
	add_policy(&text, "ingress", field(names, "ingress_policy"), record->ingress_rule);
}

static void add_end(struct text *text, const struct polder_addr *addr, const struct headers *h,
		    uint16_t port)
{
	char buffer[INET6_ADDRSTRLEN];

	add(text, "%s", addr_format(addr, buffer));
	if (h->ports && text->left)
		add(text, ".%u", port);
}

static void add_flags(struct text *text, uint8_t flags)
{
	static const char letters[] = "FSRP.UEW";
	char set[sizeof(letters)] = "";
	size_t count = 0;

	for (size_t i = 0; i < 8; i++)
		if (flags & 1 << i)
			set[count++] = letters[i];
	add(text, " [%s]", count ? set : "none");
}

static void add_protocol(struct text *text, const struct headers *h)
{
	char proto[PROTO_NAME_MAX];

	add(text, ": %s", proto_name(h->proto, proto));
	if (h->proto == IPPROTO_TCP && h->l4 && text->left)
		add_flags(text, h->tcp_flags);
}

void capture_line(const struct capture_image *image, char *ret, size_t size)
{
	struct text text = {ret, size};
	struct headers h;

	read_headers(image, &h);
	if (h.family) {
		add(&text, h.family == FAMILY_V4 ? "IP " : "IP6 ");
		add_end(&text, &h.source, &h, h.sport);
		add(&text, " > ");
		add_end(&text, &h.destination, &h, h.dport);
		add_protocol(&text, &h);
	} else if (h.ethertype == ETHERTYPE_ARP) {
		add(&text, "ARP");
	} else {
		add(&text, "ethertype 0x%04x", h.ethertype);
	}
	if (text.left)
		add(&text, ", length %u", image->length);
}

void capture_time(uint64_t time_ns, char *ret, size_t size)
{
	time_t seconds = (time_t)(time_ns / NS_PER_S);
	char text[16];
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%H:%M:%S", &tm);
	snprintf(ret, size, "%s.%06u", text, (unsigned int)(time_ns % NS_PER_S / 1000));
}
