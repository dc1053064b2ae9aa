/* SPDX-License-Identifier: Apache-2.0 */
/* A request's filter: read strictly, for what it leaves out nobody sees. */
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "agent/capture/capture.h"
#include "agent/common/address.h"

#define REFUSE(...)                                                                                \
	({                                                                                         \
		snprintf(message, size, "capture: " __VA_ARGS__);                                  \
		-EINVAL;                                                                           \
	})

/* A whole number in a range; not there: as it was. */
static int read_number(const json_t *object, const char *key, json_int_t least, json_int_t most,
		       json_int_t *number, char *message, size_t size)
{
	const json_t *value = json_object_get(object, key);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < least ||
	    json_integer_value(value) > most)
		return REFUSE("%s: expected a number from %" JSON_INTEGER_FORMAT
			      " to %" JSON_INTEGER_FORMAT,
			      key, least, most);
	*number = json_integer_value(value);
	return 0;
}

/* ---------------------------------------------------------------- terms */

static int read_sides(const json_t *term, uint32_t *ret, char *message, size_t size)
{
	const json_t *value = json_object_get(term, "side");
	const char *side = value ? json_string_value(value) : "either";

	if (side && strcmp(side, "source") == 0)
		*ret = CAPTURE_SOURCE;
	else if (side && strcmp(side, "destination") == 0)
		*ret = CAPTURE_DESTINATION;
	else if (side && strcmp(side, "either") == 0)
		*ret = CAPTURE_SOURCE | CAPTURE_DESTINATION;
	else
		return REFUSE("side: expected source, destination or either");
	return 0;
}

static int read_net(const json_t *term, struct capture_net *ret, char *message, size_t size)
{
	const char *text = json_string_value(json_object_get(term, "net"));
	struct prefix prefix;

	if (!text || prefix_parse(text, &prefix) < 0)
		return REFUSE("nets: \"%s\" is not a prefix (10.0.0.0/8, 2001:db8::/32)",
			      text ? text : "");
	prefix_clear_host_bits(&prefix);
	ret->addr = prefix.addr;
	for (unsigned int bit = 0; bit < prefix.length; bit++)
		ret->mask.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	return read_sides(term, &ret->sides, message, size);
}

static int read_ports(const json_t *term, struct capture_ports *ret, char *message, size_t size)
{
	json_int_t first = 0, last = 65535;
	int r = read_number(term, "first", 0, 65535, &first, message, size);

	if (r == 0)
		r = read_number(term, "last", first, 65535, &last, message, size);
	if (r < 0)
		return r;
	ret->first = (uint16_t)first;
	ret->last = (uint16_t)last;
	return read_sides(term, &ret->sides, message, size);
}

/* The array of this name; NULL: there is none. -EINVAL: it is none, or too long. */
static int read_array(const json_t *args, const char *key, size_t most, const json_t **ret,
		      char *message, size_t size)
{
	*ret = json_object_get(args, key);
	if (*ret && (!json_is_array(*ret) || json_array_size(*ret) > most))
		return REFUSE("%s: expected an array of at most %zu terms", key, most);
	return 0;
}

static int read_terms(const json_t *args, struct capture_filter *filter, char *message, size_t size)
{
	const json_t *nets, *ports;
	int r = read_array(args, "nets", CAPTURE_NETS, &nets, message, size);

	if (r == 0)
		r = read_array(args, "ports", CAPTURE_PORTS, &ports, message, size);
	for (size_t i = 0; r == 0 && i < json_array_size(nets); i++)
		r = read_net(json_array_get(nets, i), &filter->nets[filter->net_count++], message,
			     size);
	for (size_t i = 0; r == 0 && i < json_array_size(ports); i++)
		r = read_ports(json_array_get(ports, i), &filter->ports[filter->port_count++],
			       message, size);
	return r;
}

/* ---------------------------------------------------------------- who and where */

static int read_pod(const json_t *args, const struct show_sources *sources,
		    struct capture_filter *filter, char *message, size_t size)
{
	const json_t *value = json_object_get(args, "pod");
	const char *name = json_string_value(value), *slash = name ? strchr(name, '/') : NULL;
	const struct local_pod *found = NULL;

	if (!value)
		return 0;
	if (!slash)
		return REFUSE("pod: expected NAMESPACE/NAME");
	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		const struct local_pod *pod = pods_at(sources->pods, i);

		if (!pod->gone && strlen(pod->namespace) == (size_t)(slash - name) &&
		    strncmp(pod->namespace, name, slash - name) == 0 &&
		    strcmp(pod->name, slash + 1) == 0 && (!found || pod->created > found->created))
			found = pod;
	}
	if (!found) {
		snprintf(message, size,
			 "capture: pod %s is not on this node: polderctl pod list shows those that "
			 "are",
			 name);
		return -ENOENT;
	}
	filter->pod_ifindex = (uint32_t)found->ifindex;
	if (!addr_is_zero(&found->ipv4))
		filter->pods[filter->pod_count++] = found->ipv4;
	if (!addr_is_zero(&found->ipv6))
		filter->pods[filter->pod_count++] = found->ipv6;
	return 0;
}

/* Does a program of Polder see the link's packets? */
static bool has_programs(const struct show_sources *sources, int ifindex)
{
	for (size_t i = 0; i < pods_count(sources->pods); i++)
		if (pods_at(sources->pods, i)->ifindex == ifindex)
			return true;
	for (size_t i = 0; i < sources->node->uplink_count; i++)
		if (sources->node->uplinks[i].ifindex == ifindex)
			return true;
	return ifindex == sources->tunnel->ifindex;
}

static int read_link(const json_t *args, const struct show_sources *sources,
		     struct capture_filter *filter, char *message, size_t size)
{
	const json_t *value = json_object_get(args, "link");
	const char *name = json_string_value(value);

	if (!value)
		return 0;
	if (!name)
		return REFUSE("link: expected a name");
	filter->ifindex = if_nametoindex(name);
	if (!filter->ifindex || !has_programs(sources, (int)filter->ifindex)) {
		snprintf(message, size,
			 "capture: link %s is neither a pod's (polderctl pod list), nor an uplink, "
			 "nor the tunnel's device (polderctl status)",
			 name);
		return -ENOENT;
	}
	return 0;
}

/* "any" pod, protocol and so on is what is not in the request. */
static int check_keys(const json_t *args, char *message, size_t size)
{
	static const char *const known[] = {"record", "snaplen", "drops", "family", "proto",
					    "nets",   "ports",	 "pod",	  "link",   NULL};
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)args, key, value) {
		size_t i = 0;

		while (known[i] && strcmp(known[i], key) != 0)
			i++;
		if (!known[i])
			return REFUSE("unknown argument \"%s\"", key);
	}
	return 0;
}

int capture_filter_parse(const json_t *args, const struct show_sources *sources,
			 struct capture_filter *ret, char *message, size_t size)
{
	json_int_t version = 0, snaplen = CAPTURE_SNAPLEN, family = 0, proto = 0;
	const json_t *drops = json_object_get(args, "drops");
	struct capture_filter filter = {};
	int r = check_keys(args, message, size);

	if (r == 0)
		r = read_number(args, "record", 0, UINT32_MAX, &version, message, size);
	if (r == 0 && version != CAPTURE_VERSION)
		r = REFUSE("this polderd writes records of version %d: use the polderctl of its "
			   "release",
			   CAPTURE_VERSION);
	if (r == 0)
		r = read_number(args, "snaplen", 1, CAPTURE_SNAPLEN, &snaplen, message, size);
	if (r == 0)
		r = read_number(args, "family", FAMILY_V4, FAMILY_V6, &family, message, size);
	if (r == 0 && family && family != FAMILY_V4 && family != FAMILY_V6)
		r = REFUSE("family: expected 4 or 6");
	if (r == 0)
		r = read_number(args, "proto", 0, 255, &proto, message, size);
	if (r == 0 && drops && !json_is_boolean(drops))
		r = REFUSE("drops: expected true or false");
	if (r < 0)
		return r;
	filter.snaplen = (uint32_t)snaplen;
	filter.family = (uint8_t)family;
	filter.proto = (uint8_t)proto;
	filter.drops = json_is_true(drops);
	r = read_terms(args, &filter, message, size);
	if (r == 0)
		r = read_pod(args, sources, &filter, message, size);
	if (r == 0)
		r = read_link(args, sources, &filter, message, size);
	if (r == 0)
		*ret = filter;
	return r;
}
