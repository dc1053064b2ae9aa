/* SPDX-License-Identifier: Apache-2.0 */
/* Other nodes for the tests of the programs: two behind the tunnel, one on the uplink's network. */
#pragma once

#include "tests/bpf/suite.h"

enum peer_number { PEER_FIRST = 1, PEER_SECOND = 2, PEER_NATIVE = 3 };

extern const char *const peer_end[3];	  /* by number: the end of its tunnel */
extern const char *const peer_node[4][2]; /* its own addresses */
extern const char *const peer_pod[4][2];  /* one of its pods, of identity 300 + number */
extern const uint8_t peer_mac[6];	  /* of the native one */

/* Writes them all, as the agent would; `mtu` of the tunnel. Undoes what a test has changed. */
void peers_fill(uint16_t mtu);
/* One of them with other flags. */
void peer_set_flags(uint32_t number, uint32_t flags);
/* Whose a range is (24 bits, of IPv6 64): 10.NET.0.0 and fd00:NET::. */
void peer_set_range(int net, uint32_t number);

struct world_result send_of_peer(uint32_t number, const struct frame_spec *spec);
/* From a pod of a peer, or its node, to here. */
struct frame_spec spec_of_peer(const char *from, const char *to, uint8_t proto, uint16_t sport,
			       uint16_t dport);
/* Does the frame have this source? */
bool seen_from(const struct world_result *result, const char *source);
