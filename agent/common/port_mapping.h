/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of the node that lead to a port of a container: CNI's capability portMappings. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/common/error.h"
#include "datapath/abi.h"

#define PORT_MAPPINGS_MAX 1024 /* of one container */

struct port_mapping {
	struct polder_addr host_ip; /* a family's unspecified address: all of the node's */
	bool every_family;	    /* no address was given: the node's of both families */
	uint8_t proto;		    /* IPPROTO_* */
	uint16_t host_port, container_port;
};

struct port_mappings {
	struct port_mapping *items;
	size_t count;
};

/*
 * The list of a runtime, its keys in whatever case; NULL and null are an empty one. The same
 * mapping twice counts once. 0; -EINVAL with code 7 and `path` in the text, the list's place in the
 * configuration; -ENOMEM. Free with port_mappings_clear().
 */
int port_mappings_decode(const json_t *list, const char *path, struct port_mappings *ret,
			 struct error *ret_error);
void port_mappings_clear(struct port_mappings *mappings);
/* As port_mappings_decode() takes it. NULL: no memory. */
json_t *port_mappings_encode(const struct port_mappings *mappings);

/* Would one packet of the node belong to both? */
bool port_mapping_overlaps(const struct port_mapping *a, const struct port_mapping *b);
/* "10.0.0.1:80/TCP", "[fd00::1]:80/TCP", "port 80/TCP of all addresses", into a buffer. */
#define PORT_MAPPING_TEXT_MAX 80
const char *port_mapping_text(const struct port_mapping *mapping, char *buffer);
/* "TCP"; NULL: none of those that have ports. */
const char *port_protocol_name(uint8_t proto);
/* In whatever case; "" is TCP. 0: none of those that have ports. */
uint8_t port_protocol_parse(const char *text);
