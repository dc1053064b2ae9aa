# SPDX-License-Identifier: Apache-2.0
"""Other nodes: who is behind which, what comes from them through the tunnel, and what goes there, as docs/architecture.md tells it
("Pod to a pod of another node")."""

from frames import SCTP, TCP, UDP, is_ipv4
from frontends import HOST, WIRE
from packets import Range, is_syn, later_piece, malformed, multicast, neighbourly, parse, router_message, source_routed


ROUTER_MAC = bytes.fromhex('020000000fff')
# Of the other nodes on the uplink's network.
NEIGHBOURS = {text: bytes((2, 0, 0, 0, 0x0e, host)) for host in (2, 3) for text in (f'192.168.7.{host}', f'fd00:7::{host}')}


class Peer:
    """A Node object of another node, as long as it is there. `zone`: of what comes from it through the tunnel."""

    def __init__(self, obj, zone):
        self.name, self.zone = obj['metadata']['name'], zone
        self.ranges = [Range(text) for text in (obj.get('spec') or {}).get('podCIDRs') or []]
        found = [item for item in (obj.get('status') or {}).get('addresses') or [] if item['type'] in ('InternalIP', 'ExternalIP')]
        self.addresses = [parse(item['address']) for item in found]
        self.internal = [parse(item['address']) for item in found if item['type'] == 'InternalIP']

    def has(self, number):
        return number in self.addresses or any(number in r for r in self.ranges)


class Tunnel:
    """A part of Node."""

    def learn_peers(self, objects):
        """The Node objects as they are. One that comes again is another peer: flows of before are not its own."""
        old = {peer.name: peer for peer in self.peers}
        self.peers = []
        for obj in objects:
            known = old.get(obj['metadata']['name'])
            if known is None:
                self.zones += 1
            self.peers.append(Peer(obj, known.zone if known else self.zones))
        self.peers_left += [peer for name, peer in old.items() if name not in {one.name for one in self.peers}]
        self.node_ranges = [r for peer in self.peers for r in peer.ranges]

    def peer_behind(self, number):
        """The peer that packets for the address go to; None: they go by the routes, as those for a node's own do without a tunnel."""
        if not self.knows_peers:
            return None
        return next((peer for peer in self.peers if any(number in r for r in peer.ranges) or
                     (self.has_tunnel and number in peer.addresses)), None)

    def next_mac(self, number):
        """Of who gets on the uplink what is for the address, by its route or its peer."""
        peer = None if self.has_tunnel else self.peer_behind(number)
        if peer is not None:
            number = next((own for own in peer.internal if is_ipv4(own) == is_ipv4(number)), number)
        for text, mac in NEIGHBOURS.items():
            if parse(text) == number:
                return mac
        return ROUTER_MAC

    def peer_of_zone(self, zone):
        return next((peer for peer in self.peers if peer.zone == zone), None)

    def zone_of_sender(self, sender):
        peer = next((one for one in self.peers if parse(f'192.168.7.{sender}') in one.internal), None)
        return peer.zone if peer is not None else None

    def is_handed_on(self, p):
        """A client's packet for no address of this node, which has one flow, whichever way it comes."""
        return not self.is_local(p.dst) and not self.is_known(p.src)

    def tunnel_to(self, number):
        """The zone behind the tunnel that the address is in; None: it is not reached by the tunnel."""
        peer = self.peer_behind(number) if self.has_tunnel else None
        return peer.zone if peer is not None else None

    def not_behind(self, zone, src):
        """Why what has this source does not come through the tunnel from there; None: it does."""
        if self.is_local(src):
            return 'martian_source'
        peer = self.peer_of_zone(zone)
        if peer is not None:
            return None if peer.has(src) else 'peer_source'
        # Until the programs that may know it have ended, what one that went has opened with its own address goes on.
        left = next((one for one in self.peers_left if one.zone == zone), None)
        return None if left is not None and src in left.internal else 'peer_source'

    # ---------------------------------------------------------------- in

    def for_this_node(self, zone, p):
        """Of no known flow. True: to be evaluated; WIRE: as what a client sends, handed on (DSR); False: the node's own; or a reason."""
        if p.dst in self.by_address:
            return True
        if p.dst in self.own:
            return self.not_behind(zone, p.src) or self.for_a_pod(p)
        if any(p.dst in r for r in self.ranges):
            return 'no_such_pod'
        front = None if later_piece(p) else self.served_at(p.dst, p.proto, p.dport, False)
        if front is None or not front.external or not front.terms.handed_on:
            return 'tunnel_destination'
        return 'peer_source' if self.is_known(p.src) or self.is_local(p.src) else WIRE

    def inner_source(self, p, frame):
        """What crosses no tunnel. A reason, or None."""
        reason = malformed(p, frame) or self.wire_source(p)
        if reason:
            return reason
        v4 = is_ipv4(p.src)
        if multicast(p.dst) or (not v4 and p.dst >> 118 == 0x3fa):
            return 'multicast'
        if router_message(p):
            return 'router_message'
        if neighbourly(p):
            return 'nd_other'
        return 'ip_source_route' if v4 and source_routed(p) else None

    def from_tunnel(self, sender, p, frame, answer):
        zone = self.zone_of_sender(sender)
        expected = self.expected('tunnel_unknown_peer' if zone is None else self.inner_source(p, frame), frame)
        if expected.reason:
            return expected
        here = self.for_this_node(zone, p)
        key = self.key_of(p, zone)
        if key is None:
            expected.reason = ('fragment_without_first' if here is True or here == WIRE else here) or None
            return expected
        if p.about is not None:
            return self.error_from_tunnel(zone, p, frame, expected, here)
        closed = self.flows.get(key)
        if closed is not None and closed.closed and is_syn(p):
            self.forget(key, closed)
        seen_as = zone
        if key not in self.flows or self.reopens:
            if here is False:
                return expected
            if isinstance(here, str):
                return self.refuse(expected, here, p, frame, zone, True)
            if here == WIRE and here is not True:
                seen_as, key = WIRE, (WIRE,) + key[1:]
                if key not in self.flows and p.proto == TCP and not is_syn(p):
                    expected.reason = 'service_without_flow'  # the client is not where it came from
                    return expected
        self.by_tunnel = seen_as == WIRE
        result = self.follow(p, frame, key, self.links['uplink'], answer, True)
        if seen_as == WIRE and result.reason:
            result.refused, result.frame = False, frame
        return self.remember(result, p, zone)

    def error_from_tunnel(self, zone, p, frame, expected, here):
        client = p.dst not in self.own and p.dst not in self.by_address and not self.is_known(p.src) and (
            self.world.service_address(p.dst) or bool(self.world.nodes_at(p.dst)))
        result = self.follow_error(p, frame, WIRE if client else zone, True)
        if result.reason == 'icmp_error_without_flow':
            if here is False:
                return expected
            if isinstance(here, str):
                return self.refuse(expected, here, p, frame, zone, True)
        elif result.maybe and here is not True and here != WIRE:
            result.maybe = here or 'pass'
        return result

    # ---------------------------------------------------------------- out

    def to_tunnel(self, p, frame, answer):
        """What the node's own stack sends to other nodes' pods."""
        expected = self.expected(None, frame)
        reason = malformed(p, frame)
        if reason is None and (multicast(p.dst) or (not is_ipv4(p.dst) and p.dst >> 118 == 0x3fa)):
            reason = 'multicast'
        if reason is None and p.src not in self.own:
            reason = 'peer_source'
        if reason is None and self.tunnel_to(p.dst) is None:
            reason = 'tunnel_unknown_peer'
        expected.reason = reason
        if reason is None:
            key = self.key_of(p, HOST)
            if p.proto in (TCP, UDP, SCTP) and key in self.flows and self.flows[key].reply:
                expected = self.remember(self.follow(p, frame, key, 0, answer, False), p, HOST)
            if expected.reason is None:
                expected.frame = self.gateway_mac * 2 + expected.frame[12:]
        return expected
