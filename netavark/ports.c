/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports (podman run -p), in the form of CNI's portMappings. */
#include "netavark/ports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cni_code.h"
#include "agent/common/port_mapping.h"

static int no_memory(struct error *ret_failure)
{
	return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
}

/* How many ports from the first on; podman says 1 for one, older versions 0. */
static int range_of(const json_t *item, json_int_t *ret, struct error *ret_failure)
{
	const json_t *range = json_object_get(item, "range");
	json_int_t count = range && !json_is_null(range) ? json_integer_value(range) : 1;

	if ((range && !json_is_null(range) && !json_is_integer(range)) || count < 0 ||
	    count > PORT_MAPPINGS_MAX)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "port_mappings: a range is not a number of ports of at most %d",
				 PORT_MAPPINGS_MAX);
	*ret = count ? count : 1;
	return 0;
}

/* What is no number stays what it is, for the message. */
static json_t *port_at(const json_t *port, json_int_t offset)
{
	return json_is_integer(port) ? json_integer(json_integer_value(port) + offset)
				     : json_deep_copy(port);
}

static int append_range(json_t *list, const json_t *item, const char *protocol, json_int_t count,
			struct error *ret_failure)
{
	const json_t *host = json_object_get(item, "host_port");
	const json_t *container = json_object_get(item, "container_port");

	for (json_int_t i = 0; i < count; i++) {
		if (json_array_size(list) >= PORT_MAPPINGS_MAX)
			return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
					 "port_mappings: more than %d ports are to be published "
					 "for one container",
					 PORT_MAPPINGS_MAX);
		if (json_array_append_new(
			    list, json_pack("{s:o*, s:o*, s:s, s:O*}", "hostPort", port_at(host, i),
					    "containerPort", port_at(container, i), "protocol",
					    protocol, "hostIP", json_object_get(item, "host_ip"))))
			return no_memory(ret_failure);
	}
	return 0;
}

/* "tcp", or several: "tcp,udp". */
static int append(json_t *list, const json_t *item, struct error *ret_failure)
{
	const json_t *protocol = json_object_get(item, "protocol");
	const char *text = protocol ? json_string_value(protocol) : "";
	char *copy, *rest, *one;
	json_int_t count = 0;
	int r = range_of(item, &count, ret_failure);

	if (r == 0 && (!json_is_object(item) || !text))
		r = error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
			      "port_mappings holds something other than a mapping with a protocol");
	if (r < 0)
		return r;
	copy = rest = strdup(text);
	if (!copy)
		return no_memory(ret_failure);
	while (r == 0 && (one = strsep(&rest, ",")))
		r = append_range(list, item, one, count, ret_failure);
	free(copy);
	return r;
}

/* By the rules of polderd, before it is asked. */
static int check(const json_t *list, struct error *ret_failure)
{
	struct port_mappings mappings = {};
	int r = port_mappings_decode(list, "port_mappings", &mappings, ret_failure);

	port_mappings_clear(&mappings);
	return r < 0 ? -EINVAL : 0;
}

int ports_convert(const json_t *mappings, json_t **ret, struct error *ret_failure)
{
	json_t *list, *item;
	size_t index;
	int r = 0;

	if (mappings && !json_is_array(mappings) && !json_is_null(mappings))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "port_mappings is not a list");
	list = json_array();
	if (!list)
		return no_memory(ret_failure);
	json_array_foreach (mappings, index, item) {
		r = append(list, item, ret_failure);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = check(list, ret_failure);
	if (r < 0)
		json_decref(list);
	else
		*ret = list;
	return r;
}
