/* SPDX-License-Identifier: Apache-2.0 */
/* Which terms of a pcap expression the programs can test before anything is copied. */
#pragma once

#include <jansson.h>

/*
 * Adds to the request `capture` what certainly holds for every packet that the expression matches:
 * plain terms (ip, ip6, tcp, udp, sctp, icmp, icmp6, host, net, port, portrange, with src or dst)
 * joined by `and`. Anything else adds nothing: libpcap has the last word. 0 or -ENOMEM.
 */
int capture_terms_add(const char *expression, json_t *args);
