# SPDX-License-Identifier: Apache-2.0
"""How packets meet Services, as docs/services.md tells it: who may use what, which endpoints there are to choose from, with whose
address a packet goes on."""

from frames import SCTP, TCP, UDP, is_ipv4
from labels import address_text
from packets import is_syn, later_piece

POD, HOST, WIRE = 0, 1, 2
TUNNELS = 10  # zones from here on: each peer's
TO_POD, TO_WIRE, TO_HOST, TO_STACK, TO_TUNNEL = 1, 2, 3, 4, 5
WITH_SERVICES = (TCP, UDP, SCTP)
INSIDE, CLUSTER, OUTSIDE = 'inside', 'cluster', 'outside'  # who asks: a pod of this node, another node or its pods, anybody else


def is_tunnel(zone):
    return zone >= TUNNELS


def answer_names(answer, choices):
    return (answer.backend, answer.backend_port) in choices


class Choice(Exception):
    """The node chose what it may not."""


class Meeting:
    """A Service that a flow goes to, and what that means for it. `handed_on`: another node has sent it here for an endpoint of this
    one (DSR)."""

    def __init__(self, front, caller, handed_on=False):
        terms, self.endpoints = front.terms, front.endpoints
        self.front, self.handed_on = front, handed_on
        self.local = terms.internal_local and front.kind == 'ClusterIP' if caller == INSIDE else \
            terms.external_local and caller == OUTSIDE
        # With Local the client keeps its address; else this node answers for the endpoint, or its own node does (SV-09, DSR).
        self.hands_on = caller == OUTSIDE and not self.local and terms.handed_on
        self.node_answers = caller == CLUSTER or (caller == OUTSIDE and not self.local and not terms.handed_on)
        self.choices = self.endpoints.local if self.local or handed_on else self.endpoints.cluster
        self.others = self.endpoints.local if self.local else self.endpoints.cluster  # that datagrams may move to


class Frontends:
    """A part of Node."""

    def served_at(self, number, proto, port, inside):
        """The frontend. A pod's packets to another node's ports are that node's to translate."""
        if proto not in WITH_SERVICES:
            return None
        front = self.world.frontend(number, proto, port)
        if front is not None:
            return front
        if number in self.own:
            return self.world.node_port(is_ipv4(number), proto, port)
        if inside or not self.world.nodes_at(number):
            return None
        front = self.world.node_port(is_ipv4(number), proto, port)  # which that node may have handed on
        return front if front is not None and front.terms.handed_on else None

    def is_known(self, number):
        """An address of the cluster's: a pod's, a node's, one of another node's pod range."""
        return (self.world.pod_at(number) is not None or bool(self.world.nodes_at(number)) or
                any(number in r for r in self.node_ranges))

    def is_local(self, number):
        return number in self.by_address or number in self.own or any(number in r for r in self.ranges)

    # ---------------------------------------------------------------- from outside

    def for_a_pod(self, p):
        """What comes from outside, of no known flow. True: it is for a local pod or a Service; False: the node's own stack's; or a
        reason."""
        if p.dst in self.by_address:
            return True
        own = p.dst in self.own
        front = None if later_piece(p) else self.served_at(p.dst, p.proto, p.dport, False)
        if front is not None and front.external:
            if p.proto == TCP and not is_syn(p):
                if own:
                    return False  # an answer to what the node sent from there
                if not front.terms.handed_on:
                    return 'service_without_flow'
            return True
        if own:
            return False
        if any(p.dst in r for r in self.ranges):
            return 'no_such_pod'
        if self.is_known(p.dst) or not self.world.service_address(p.dst):
            return False
        return 'cluster_ip_from_outside' if self.world.cluster_ip(p.dst) else 'service_without_port'

    def may_go_on(self, p, zone):
        """A segment in mid-stream, of no known flow, may have been another node's to hand on before."""
        front = self.served_at(p.dst, p.proto, p.dport, False) if zone == WIRE and self.outside and not later_piece(p) else None
        return front is not None and front.external and front.terms.handed_on

    def poses_as_service(self, src, proto, sport):
        """What a pod asks the Service would be the answer to what came from there. An external address may be a machine's, too."""
        if self.world.cluster_ip(src):
            return True
        return proto in WITH_SERVICES and self.world.frontend(src, proto, sport) is not None

    # ---------------------------------------------------------------- which endpoint

    def meeting(self, fwd, known):
        """The Service that the flow goes to, a Meeting; None: to none; or a reason. `known`: it has gone to one."""
        if fwd[0] == HOST or fwd[1] not in WITH_SERVICES or (fwd[0] != POD and not known and not self.outside):
            return None
        front = self.served_at(fwd[3], fwd[1], fwd[5], fwd[0] == POD)
        if front is None or (fwd[0] != POD and fwd[3] in self.by_address):
            return 'endpoint_gone' if known else None
        if fwd[0] == POD:
            return Meeting(front, INSIDE)
        if not front.external:
            return 'cluster_ip_from_outside'
        caller = CLUSTER if self.is_known(fwd[2]) else OUTSIDE
        if caller == OUTSIDE and not front.admits(fwd[2]):
            return 'service_source_ranges'
        handed_on = self.is_known(fwd[3]) and fwd[0] == WIRE and fwd[3] not in self.own
        by_tunnel = self.by_tunnel and caller == OUTSIDE and not front.terms.external_local
        return Meeting(front, caller, handed_on or by_tunnel)

    def choose(self, meeting, client, answer):
        """(address, port) of an endpoint for a new flow, or a reason. A client that is known keeps its endpoint (SV-12)."""
        endpoints, choices = meeting.endpoints, meeting.choices
        key, kept = (endpoints.key, client), frozenset()
        if meeting.front.terms.affinity:
            kept = self.clients.get(key, kept)
        usable = {where for where in kept if where in endpoints.active and
                  (not (meeting.local or meeting.handed_on) or self.is_local(where[0]))}
        at_once = self.at_start is not None and self.at_start.get(key, frozenset()) != kept  # by another CPU, just now
        if meeting.handed_on:  # the one that the other node's table said, if that is here
            choices = choices | {where for where in endpoints.cluster if self.is_local(where[0])}
        if usable:
            choices = usable | (choices if at_once or usable != kept else set())
        elif meeting.handed_on and endpoints.cluster and not (endpoints.local or answer_names(answer, choices)):
            return 'service_handed_on'
        elif not choices:
            elsewhere = meeting.local and endpoints.cluster
            return 'service_without_local_endpoint' if elsewhere else 'service_without_endpoint'
        chosen = answer.backend, answer.backend_port
        if chosen not in choices:
            raise Choice(f'endpoint {address_text(chosen[0])}:{chosen[1]} (reason {answer.reason}) is none of '
                         f'{[(address_text(a), n) for a, n in sorted(choices)]}')
        if meeting.front.terms.affinity:
            self.clients[key] = kept | {chosen} if at_once else frozenset([chosen])
        return chosen

    def forget_clients(self, finish):
        """A port that is gone and comes again is another one; of one without affinity the clients are known until the programs that
        may still write them have ended."""
        keeps = self.world.affinity()
        self.clients = {(key, client): kept for (key, client), kept in self.clients.items()
                        if key in keeps and (keeps[key] or not finish)}

    def stays(self, meeting, where, starts, reply):
        """May the flow stay with the endpoint that it has? With one that is terminating what has begun may: a SYN that is sent again
        has not, and datagrams go to another one if there is one."""
        if where in meeting.endpoints.active:
            return True
        if where not in meeting.endpoints.leaving:
            return False
        return not meeting.others if starts is None else reply or not starts

    # ---------------------------------------------------------------- which way

    def way_of_client(self, meeting, src, dst, old):
        """(action, link, source, is it handed on as it came) of what comes from outside to its endpoint, or a reason."""
        link, peer = self.by_address.get(dst), self.peer_behind(dst)
        if link is None and dst in self.own:
            return TO_HOST, 0, src, False  # the stack takes nothing from its own address
        if link is None and any(dst in r for r in self.ranges):
            return 'no_such_pod'
        hands_on = (meeting.hands_on if old is None else old.as_it_came) and link is None and peer is not None
        tunnelled = link is None and self.has_tunnel and peer is not None and (hands_on or dst not in peer.addresses)
        if old is not None:
            source = old.src  # decided by the flow's first packet
        else:  # without a node there that could answer in this one's place, this one does
            answers = meeting.node_answers or (meeting.hands_on and link is None and not hands_on)
            source = self.address[is_ipv4(src)] if answers else src
        if tunnelled:
            return TO_TUNNEL, peer.zone, source, hands_on
        return (TO_POD, link, source, False) if link is not None else (TO_WIRE, self.links['uplink'], source, hands_on)

    # ---------------------------------------------------------------- XDP

    def may_go_back(self, p):
        """Does XDP look for a flow that goes from the wire to the wire? Plain packets for a Service's address, or for the node's own
        and a port that Services or translated flows have there."""
        if p.proto not in (TCP, UDP) or p.frag is not None or p.options:
            return False
        if p.dst in self.own:
            return self.ports[0] <= p.dport <= self.ports[1] or self.node_ports[0] <= p.dport <= self.node_ports[1]
        return not any(p.dst in r for r in self.ranges) and self.world.service_address(p.dst)
