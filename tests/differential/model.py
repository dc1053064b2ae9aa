# SPDX-License-Identifier: Apache-2.0
"""What one node must do with each packet: sources, flows, Services, translation and answers as docs/architecture.md says them,
policy as the oracle says it. What the node may choose freely (an endpoint, a source port) is read from its answer, checked,
and kept."""

import itertools

import frames
from frames import ECHO, FIN, ICMP, MAPPED, RST, SCTP, SYN, TCP, UDP, is_ipv4
from frontends import (HOST, POD, TO_HOST, TO_POD, TO_STACK, TO_TUNNEL, TO_WIRE, TUNNELS, WIRE, WITH_SERVICES, Choice, Frontends,
                       is_tunnel)
from harness import EVALUATED, XDP_PASS
from oracle import CLOSED
from packets import (Range, impossible, is_syn, later_piece, loopback, malformed, multicast, neighbour_message, neighbourly, parse,
                     router_message, source_routed)
from tunnel import Tunnel

NO_ANSWER = 1  # in a reply's key: no packet has it

POLICY_REASONS = ('policy_denied_egress', 'policy_denied_ingress', 'pod_not_ready')
REFUSED_BY_DESTINATION = ('service_without_endpoint', 'service_without_port', 'endpoint_gone', 'tcp_without_flow', 'service_without_flow')


class Unseen:
    """A source port that no frame has shown yet. Each flow has its own: what is named by the opener's key is no other flow's."""

    __slots__ = ('flow',)

    def __init__(self, flow):
        self.flow = flow

    def __eq__(self, other):
        return isinstance(other, Unseen) and self.flow == other.flow

    def __hash__(self):
        return hash(self.flow)


def unseen(port):
    return isinstance(port, Unseen)


class Entry:
    """One direction of a flow: where its packets go, and what they are made into. `verdicts`: of egress and ingress, then the numbers
    of the rules that the node named for them. `serial` tells it from what stood under its key before."""

    __slots__ = ('epoch', 'action', 'link', 'reply', 'service', 'closing', 'src', 'dst', 'sport', 'dport', 'verdicts', 'serial', 'looked',
                 'owner', 'as_it_came')
    serials = itertools.count()

    def __init__(self, epoch, action, link, reply, service, closing, src, dst, sport, dport, verdicts):
        self.epoch, self.action, self.link, self.reply, self.service = epoch, action, link, reply, service
        self.looked = False  # a run or a commit has come since it was evaluated
        self.owner = 0       # the pod of the node that the flow counts for, by its link
        self.as_it_came = False  # handed on to the endpoint's node, which translates (DSR)
        self.closing, self.verdicts = closing, verdicts  # closing: of 'o', 'r' (FIN of a side), 'x' (RST)
        self.src, self.dst, self.sport, self.dport = src, dst, sport, dport
        self.serial = next(self.serials)

    @property
    def closed(self):
        return 'x' in self.closing or ('o' in self.closing and 'r' in self.closing)


class Expected:
    """`reason` None: let through. `frame` None: not told. `maybe`: dropping for this reason is as right. `moved`: redirected."""

    __slots__ = ('reason', 'refused', 'frame', 'verdicts', 'created', 'entry', 'maybe', 'moved', 'masked', 'sent', 'next')

    def __init__(self, reason=None, refused=False, frame=None, verdicts=(None, None)):
        self.reason, self.refused, self.frame, self.verdicts = reason, refused, frame, verdicts
        self.created, self.entry, self.maybe, self.moved = False, None, None, False
        self.sent = None    # the frame, if XDP may send it by itself
        self.next = None    # the MAC address of who gets it on the uplink
        self.masked = None  # a fragment whose id is the node's choice


def reversed_ports(proto, sport, dport):
    if proto in ECHO:
        answer = answering_type(proto, dport >> 8)
        return (sport, dport ^ NO_ANSWER) if answer is None else (sport, answer << 8)
    return dport, sport


def answering_type(proto, kind):
    """RFC 792 and RFC 950: each question's answer has the next number. Of ICMPv6 only echo is known."""
    request, reply = ECHO[proto]
    if kind in (request, reply):
        return reply if kind == request else request
    return None if proto != ICMP or not 13 <= kind <= 18 else kind + 1 if kind & 1 else kind - 1


def reply_tuple(key, entry):
    """The other direction's key."""
    zone = POD if entry.action == TO_POD else HOST if entry.action == TO_HOST else \
        entry.link if entry.action == TO_TUNNEL else WIRE
    return (zone, key[1], entry.dst, entry.src) + reversed_ports(key[1], entry.sport, entry.dport)


class Node(Frontends, Tunnel):
    """The data path of the node. `world` is the oracle's, which the caller changes together with the node."""

    def __init__(self, world, options, links):
        self.world, self.links = world, links
        self.ranges = [Range(text) for text in options['pod_ranges']]
        self.own = {parse(text.split('/')[0]) for text in options['node_addresses']}
        self.address = {is_ipv4(parse(t.split('/')[0])): parse(t.split('/')[0])
                        for t in reversed(options['node_addresses'])}
        self.masquerade = options.get('masquerade', True)
        self.no_masquerade = [Range(text) for text in options.get('no_masquerade', [])]
        self.ports = options.get('masquerade_ports', [10240, 29999])
        self.gateway_mac = bytes(int(part, 16) for part in links['gateway_mac'].split(':'))
        self.gateway = {True: parse(links['gateway_v4']), False: parse(links['gateway_v6'])}
        self.knows_peers = options.get('peers', False)
        self.knows_neighbours = options.get('neighbours', False)
        self.has_tunnel = self.knows_peers and options.get('tunnel', 'none') != 'none'
        self.peers, self.peers_left, self.zones, self.node_ranges = [], [], TUNNELS, []
        self.flows, self.fragments = {}, {}
        self.clients = {}     # (a Service's port, client): the endpoint that it keeps, or of which it keeps one
        self.at_start = None  # `clients` as they were before two CPUs began
        self.node_ports = options.get('node_ports', [30000, 32767])
        self.masks = {}       # (pod, peer): what the ids of its fragments are changed by
        self.connected = {}   # link: Attachment
        self.by_address = {}  # address: link
        self.epoch = 1
        self.tracked = 0      # first fragments
        self.answered = None  # the reason that the node gave for the packet at hand
        self.by_stack = False  # the packet at hand comes from the node's stack
        self.by_tunnel = False  # the packet at hand is a client's that another node has handed on
        self.outside = False  # the packet at hand is seen on an uplink
        self.unshown = False  # what the packet at hand is made into is not to be seen in the answer
        self.reopens = False  # the packet at hand has found a closed connection, and freed its entries
        self.later = None     # where to put what changes entries behind the look-up, (method, arguments), instead of doing it at once

    # ---------------------------------------------------------------- who is connected

    def connect(self, link, pod_key, container, mac, addresses):
        numbers = [parse(text) for text in addresses]
        self.connected[link] = Attachment(link, pod_key, container, mac, numbers)
        for number in numbers:
            self.by_address[number] = link

    def disconnect(self, link):
        gone = self.connected.pop(link).addresses
        for number in gone:
            self.by_address.pop(number, None)
        self.flows = {key: e for key, e in self.flows.items()
                      if not (key[2] in gone or key[3] in gone or e.src in gone or e.dst in gone or e.owner == link)}
        self.epoch += 1

    def pod(self, link):
        return self.world.pod_of(self.connected[link].container)

    # ---------------------------------------------------------------- the slow path

    def route(self, number, service, zone=POD):
        """(action, link, masqueraded) or a reason. `zone`: where it comes from."""
        link = self.by_address.get(number)
        if link is not None:
            return TO_POD, link, False
        if number in self.own:
            return TO_HOST, 0, False
        if any(number in r for r in self.ranges):
            return 'no_such_pod'
        if is_tunnel(zone):
            return 'tunnel_destination'
        known = self.is_known(number)
        if zone == POD and self.tunnel_to(number) is not None:
            return TO_TUNNEL, self.tunnel_to(number), False
        if not service and not known and self.world.service_address(number):
            return 'service_without_port'
        return (TO_WIRE, self.links['uplink'],
                self.masquerade and not known and not any(number in r for r in self.no_masquerade))

    def slow_path(self, p, key, stale, ingress, answer, seen):
        """The entry that applies to the packet, or a reason. `seen` gets the verdicts."""
        zone, proto = key[0], key[1]
        if stale is None and proto == TCP and zone != HOST and not is_syn(p) and not self.may_go_on(p, zone):
            return 'tcp_without_flow'  # the verdict on a first fragment holds for all
        fwd, old, reply = key, stale, False
        if stale is not None and stale.reply:
            reply, fwd = True, reply_tuple(key, stale)
            sport, dport = reversed_ports(proto, key[4], key[5])
            old = Entry(0, 0, stale.link, False, stale.service, stale.closing, key[3], key[2], sport, dport, None)
            old.owner, old.as_it_came = stale.owner, stale.as_it_came
        src, dst, dport = fwd[2], fwd[3], fwd[5]
        if fwd[0] == HOST and self.outside:
            return self.beside(p, fwd, old, reply, answer, seen)
        meeting = self.meeting(fwd, old is not None and old.service)
        if isinstance(meeting, str):
            return meeting
        service = meeting is not None
        if service:
            where = (old.dst, old.dport) if old is not None and old.service else None
            starts = is_syn(p) if proto == TCP else None
            if where is not None and self.stays(meeting, where, starts, reply):
                dst, dport = where
            elif reply or (proto == TCP and old is not None and not is_syn(p)):
                return 'endpoint_gone'
            else:
                old = None
                chosen = self.choose(meeting, src, answer)
                if isinstance(chosen, str):
                    return chosen
                dst, dport = chosen
        from_client = service and fwd[0] != POD
        way = self.way_of_client(meeting, src, dst, old) if from_client else self.route(dst, service, fwd[0])
        if isinstance(way, str):
            return way
        as_it_came = False
        if from_client:
            action, link, new_src, as_it_came = way
            if proto == TCP and stale is None and not is_syn(p) and not as_it_came:
                return 'service_without_flow'
            masquerade = new_src != src
        else:
            action, link, masquerade = way
            if action == TO_TUNNEL and old is not None and old.src != src:  # it left with the node's address before
                action, link = TO_WIRE, self.links['uplink']
            if old is not None:
                masquerade = old.src == self.address[is_ipv4(src)]  # the peer knows the flow by its address
            masquerade = masquerade and action == TO_WIRE and fwd[0] == POD
            new_src = self.address[is_ipv4(src)] if masquerade else src
        if masquerade and not (proto in (TCP, UDP, SCTP) or (proto in ECHO and dport >> 8 in ECHO[proto])):
            return 'nat_unsupported_protocol'
        if reply and ((action == TO_TUNNEL or is_tunnel(zone)) and (action, link) != (TO_TUNNEL, zone)):
            return 'peer_source'  # not the way that the flow goes
        behind = self.masqueraded(action, link, old.owner if reply else ingress if self.by_stack else 0)
        reason, source_link, hairpin = self.policy(fwd, proto, src, dst, dport, action, link, behind, seen)
        if reason:
            return reason
        if as_it_came and action == TO_WIRE and self.knows_neighbours and p.smac == self.next_mac(dst):
            return 'service_handed_on'  # it would go back to whom it came from
        new_src = fwd[3] if hairpin else new_src
        out = Entry(self.epoch, action, link, False, service, old.closing if old is not None else '', new_src, dst,
                    fwd[4], dport, seen)
        out.as_it_came = as_it_came
        if stale is not None and not answer.flags & EVALUATED:
            return self.still(stale, out, seen)
        if masquerade or hairpin or not self.is_free(reply_tuple(fwd, out), fwd):
            if not (proto in (TCP, UDP, SCTP) or (proto in ECHO and dport >> 8 in ECHO[proto])):
                return 'nat_unsupported_protocol'
            out.sport = self.source_port(p, fwd, out, old, reply, masquerade, answer)
        if fwd[0] == POD:
            back = TO_POD, source_link
        elif fwd[0] == HOST:
            back = TO_HOST, 0
        elif is_tunnel(fwd[0]):
            back = TO_TUNNEL, fwd[0]
        elif reply:
            back = stale.action, stale.link
        else:  # through the stack as it came through the stack
            back = (TO_STACK, 0) if self.by_stack else (TO_WIRE, ingress)
        sport, dport = reversed_ports(proto, fwd[4], fwd[5])
        rev = reply_tuple(fwd, out)
        out.owner = source_link or (link if action == TO_POD else 0)
        self.flows[rev] = Entry(self.epoch, back[0], back[1], True, service, out.closing, fwd[3], fwd[2], sport, dport,
                                seen)
        self.flows[rev].owner, self.flows[rev].as_it_came = out.owner, as_it_came
        self.flows[fwd] = out
        return self.flows[rev] if reply else out

    def beside(self, p, fwd, old, reply, answer, seen):
        """A flow of the node itself to the wire: nothing but its port is looked at."""
        out = Entry(self.epoch, TO_STACK, 0, False, False, old.closing if old is not None else '', fwd[2], fwd[3], fwd[4],
                    fwd[5], seen)
        out.sport = self.source_port(p, fwd, out, old, reply, False, answer)
        rev = reply_tuple(fwd, out)
        self.flows[rev] = Entry(self.epoch, TO_HOST, 0, True, False, out.closing, fwd[3], fwd[2],
                                *reversed_ports(fwd[1], fwd[4], fwd[5]), seen)
        self.flows[fwd] = out
        return self.flows[rev] if reply else out

    def still(self, stale, out, seen):
        """The node saw no reason to evaluate the flow anew: then what is found now has to be what was found before."""
        if not stale.reply and ((stale.action, stale.link, stale.src, stale.dst, stale.dport) !=
                                (out.action, out.link, out.src, out.dst, out.dport)):
            raise Choice('the flow should have been re-evaluated')
        stale.epoch, stale.verdicts, stale.looked = self.epoch, seen, False
        return stale

    def masqueraded(self, action, link, behind):
        """The link of the pod behind an address that is no pod's: what the node's stack forwards to another pod came in by it."""
        return behind if action == TO_POD and behind in self.connected and behind != link else 0

    def policy(self, fwd, proto, src, dst, dport, action, link, behind, seen):
        """(reason or None, the source's link, hairpin). Egress is evaluated on the endpoint, ingress on the sender's own address."""
        if fwd[0] == HOST:
            return None, 0, False
        port = 0 if proto in ECHO else dport
        source_link = 0
        if fwd[0] == POD:
            source_link = self.by_address.get(src)
            if source_link is None:
                return 'not_a_pod', 0, False
        elif is_tunnel(fwd[0]) and self.not_behind(fwd[0], src):
            return self.not_behind(fwd[0], src), 0, False
        elif fwd[0] == WIRE and self.poses_as_service(src, proto, fwd[4]):
            return 'martian_source', 0, False
        else:  # what the stack forwards for a pod: the pod's egress holds on that way too
            source_link = self.by_address.get(src) or behind
            if behind and source_link == behind:
                src = next(number for number in self.connected[behind].addresses if is_ipv4(number) == is_ipv4(src))
        to_itself = action == TO_POD and link == source_link
        hairpin = to_itself and fwd[0] == POD
        if to_itself and dst == fwd[3]:
            return None, source_link, hairpin and fwd[4] == fwd[5]  # NP-20: its own address; with one port the answer would be the question
        if source_link:
            seen[0] = self.ask(self.pod(source_link), 'egress', dst, proto, port, hairpin)
            if not seen[0].allowed:
                return 'pod_not_ready' if seen[0].tier == CLOSED else 'policy_denied_egress', 0, False
        if action == TO_POD:
            seen[1] = self.ask(self.pod(link), 'ingress', src, proto, port, hairpin)
            if not seen[1].allowed:
                return 'pod_not_ready' if seen[1].tier == CLOSED else 'policy_denied_ingress', 0, False
        return None, source_link, hairpin

    def ask(self, *question):
        verdict = self.world.verdict(*question)
        if verdict.tier == CLOSED and self.answered != 'pod_not_ready':
            return self.world.if_open(*question) or verdict
        return verdict

    def is_free(self, rev, fwd):
        if rev == fwd:
            return False  # question and answer could not be told apart
        entry = self.flows.get(rev)
        return entry is None or reply_tuple(rev, entry) == fwd  # of a closed one, one side may still speak

    def source_port(self, p, fwd, out, old, reply, masquerade, answer):
        """The port that the node took must be free, in its range, and the old or the sender's own one where that can be."""
        def free(port):
            out.sport = port
            return self.is_free(reply_tuple(fwd, out), fwd)

        translated = old is not None and ((old.sport, old.dport, old.src, old.dst) != (fwd[4], fwd[5], fwd[2], fwd[3]))
        if translated and (reply or free(old.sport)):
            return old.sport
        if not masquerade and free(fwd[4]):
            return fwd[4]
        hidden = reply or self.unshown or out.as_it_came or later_piece(p)
        if hidden or (answer.verdict != 1 and (p.ttl <= 1 or (p.proto == SCTP and p.frag is not None))):
            return Unseen(fwd)  # taken, but not to be seen in this answer
        if answer.verdict != 1:
            raise Choice(f'no source port was found: reason {answer.reason}')
        return self.read_port(p, fwd, answer, free)

    def read_port(self, p, key, answer, free):
        at = frames.transport_offset(p) + (4 if key[1] in ECHO else 0)
        port = int.from_bytes(answer.frame[at:at + 2], 'big')
        if not self.ports[0] <= port <= self.ports[1]:
            raise Choice(f'source port {port} is out of range')
        if not free(port):
            raise Choice(f'source port {port} is in use')
        return port

    def learn_port(self, p, key, entry, answer):
        """The source port of a flow whose first packet did not show it."""
        rev = self.flows.pop(reply_tuple(key, entry))

        def free(port):
            entry.sport = port
            return self.is_free(reply_tuple(key, entry), key)

        entry.sport = self.read_port(p, key, answer, free)
        self.flows[reply_tuple(key, entry)] = rev

    def forget(self, key, stale):
        """What can no more be lets go of both entries; the other direction may belong to a newer flow by now."""
        other = reply_tuple(key, stale)
        self.flows.pop(key, None)
        entry = self.flows.get(other)
        if entry is not None and reply_tuple(other, entry) == key:
            self.flows.pop(other)

    # ---------------------------------------------------------------- flows

    def follow(self, p, frame, key, ingress, answer, hops):
        """A packet whose source has been checked."""
        entry = self.flows.get(key)
        if entry is not None and entry.closed and is_syn(p):
            self.forget(key, entry)
            entry = None
        self.by_stack = not hops
        expected = Expected()
        # The second look marks flows once more that were evaluated right since the first; the way back may be another by now.
        again = entry is not None and entry.looked and answer.flags & EVALUATED
        if entry is None or entry.epoch != self.epoch or again:
            stale = entry
            seen = [None, None] + (stale.verdicts[2:] if stale is not None else [0, 0])
            result = self.slow_path(p, key, stale, ingress, answer, seen)
            expected.verdicts = seen
            if isinstance(result, str):
                stays = result in POLICY_REASONS or result == 'peer_source' or (result == 'martian_source' and key[0] != POD)
                if stale is not None and not stays and not self.unshown:
                    self.forget(key, stale)
                return self.refuse(expected, result, p, frame, key[0], hops)
            expected.created = stale is None
            entry = result
        else:
            expected.verdicts = entry.verdicts
        if unseen(entry.sport) and answer.verdict == 1 and not self.unshown and not entry.as_it_came and not later_piece(p):
            self.learn_port(p, key, entry, answer)
        expected.entry = entry
        self.track(p, key, entry)
        return self.forward(expected, p, frame, key, entry, hops)

    def track(self, p, key, entry):
        if key[1] != TCP:
            return
        flags = 0 if later_piece(p) else p.flags
        bits = ('x' if flags & RST else '') + (('r' if entry.reply else 'o') if flags & FIN else '')
        revived = 'x' in entry.closing and not flags & (RST | SYN)  # who goes on was not reset
        if not revived and all(bit in entry.closing for bit in bits):
            return
        steps = ('mark', (key, entry.serial, bits, revived)), ('mark_other', (reply_tuple(key, entry), key, bits, revived))
        if self.later is not None:
            self.later += steps
            return
        for name, arguments in steps:
            getattr(self, name)(*arguments)

    def mark(self, key, serial, bits, revived):
        """The packet's own entry, if it is still the one that was found."""
        entry = self.flows.get(key)
        if entry is not None and entry.serial == serial:
            entry.closing = ''.join(sorted(set(entry.closing + bits) - set('x' if revived else '')))

    def mark_other(self, key, own, bits, revived):
        """The other direction's, if it is not a newer flow's."""
        entry = self.flows.get(key)
        if entry is not None and reply_tuple(key, entry) == own:
            self.mark(key, entry.serial, bits, revived)

    def free(self, key, serial):
        entry = self.flows.get(key)
        if entry is not None and entry.serial == serial:
            self.flows.pop(key)

    def forward(self, expected, p, frame, key, entry, hops, carried=None, towards=None):
        """`towards`: by whose way it goes, if that is not the entry's destination."""
        towards = towards or entry.dst
        if entry.as_it_came:
            entry = self.untranslated(key, entry)
        hop = hops and entry.action not in (TO_HOST, TO_STACK)
        if hop and p.ttl <= 1:
            return self.refuse(expected, 'ttl_expired', p, frame, key[0], hops)
        expected.moved = hop
        smac = dmac = None
        if entry.action == TO_POD:
            if entry.link not in self.connected:
                return self.refuse(expected, 'pod_not_ready', p, frame, key[0], hops)
            if hops:
                smac, dmac = self.gateway_mac, self.connected[entry.link].mac
        elif entry.action == TO_TUNNEL and hops:
            smac = dmac = self.gateway_mac
        elif entry.action == TO_WIRE and hops and self.knows_neighbours:
            expected.next = self.next_mac(towards)
        if p.proto == SCTP and p.frag is not None and not later_piece(p) and (entry.sport, entry.dport) != p.ports:
            return self.refuse(expected, 'nat_unsupported_protocol', p, frame, key[0], hops)  # its CRC covers the whole
        sport = None if unseen(entry.sport) else entry.sport
        expected.frame = frames.build(p, entry.src, entry.dst, sport, entry.dport, p.ttl - 1 if hop else None, smac,
                                      dmac, carried)
        translated = (entry.src, entry.dst, entry.sport, entry.dport) != key[2:]
        shared = key[0] != HOST and entry.action in (TO_WIRE, TO_TUNNEL) or \
            key[0] not in (POD, HOST) and entry.action == TO_POD and not entry.reply
        if p.frag is not None and shared and translated:
            expected.masked = p
        return expected

    @staticmethod
    def untranslated(key, entry):
        """What the entry does with a packet that is handed on: it names the endpoint, and changes nothing."""
        return Entry(entry.epoch, entry.action, entry.link, entry.reply, entry.service, entry.closing, *key[2:], entry.verdicts)

    @staticmethod
    def expected(reason, frame):
        return Expected(reason, frame=frame)

    def unmask(self, p, frame):
        """The frame with the id that the pod gave its fragments: the node changes it by a number that only the pod and its peer decide."""
        seen = frames.fragment_id(p, frame)
        given = p.frag[3] & 0xffff if is_ipv4(p.src) else p.frag[3]
        mask = self.masks.setdefault((p.src, p.dst), seen ^ given)
        return frames.with_fragment_id(p, frame, given) if seen ^ given == mask else frame

    def refuse(self, expected, reason, p, frame, zone, hops):
        """Dropped; and is the sender told? Only on the two hooks where packets come in (`hops`)."""
        if hops and reason == 'service_without_port' and p.is_echo and p.type == ECHO[p.proto][0] and p.frag is None:
            expected.moved, expected.frame = True, frames.echo(p)  # the address is there, and says so
            return expected
        expected.reason = reason
        if not hops or p.about is not None or later_piece(p):
            return expected
        if reason == 'ttl_expired':
            source = (self.gateway if zone == POD else self.address)[is_ipv4(p.src)]
            kinds = (11, 0), (3, 0)
        elif reason == 'no_such_pod' and zone == POD:
            source = self.gateway[is_ipv4(p.src)]
            kinds = (3, 1), (1, 3)
        elif reason in REFUSED_BY_DESTINATION and (reason != 'tcp_without_flow' or zone == POD):
            if p.proto == TCP:
                if not p.flags & RST:
                    expected.refused, expected.frame = True, frames.reset(p, frame)
                return expected
            source, kinds = p.dst, ((3, 3), (1, 4))
        else:
            return expected
        if len(frame) >= 14 + (28 if is_ipv4(p.src) else 48) and not (is_ipv4(p.src) and p.options):
            expected.refused, expected.frame = True, frames.icmp_about(p, frame, source, *kinds)
        return expected

    def key_of(self, p, zone):
        """The flow's key; for a later piece of a whole by what the first one said. None: no first one."""
        if p.frag is None:
            return (zone, p.proto, p.src, p.dst) + p.ports
        place = (zone, p.src, p.dst, p.frag[3], p.proto if is_ipv4(p.src) else 0)
        if p.frag[0] == 0:
            return (zone, p.proto, p.src, p.dst) + p.ports
        known = self.fragments.get(place)
        return None if known is None else (zone, known[0], p.src, p.dst) + known[1]

    def remember(self, expected, p, zone):
        """A first fragment that passed is remembered for those that follow."""
        if expected.reason is None and p.frag is not None and p.frag[0] == 0 and p.frag[2]:
            self.fragments[(zone, p.src, p.dst, p.frag[3], p.proto if is_ipv4(p.src) else 0)] = (p.proto, p.ports)
            self.tracked += 1
        return expected

    def follow_error(self, p, frame, zone, hops):
        """An ICMP error belongs to the flow of the packet that it carries."""
        about = p.about
        sport, dport = reversed_ports(about.proto, *about.ports)
        key = (zone, about.proto, about.dst, about.src, sport, dport)
        entry = self.flows.get(key)
        if entry is None and zone == WIRE and not hops:  # about what a pod sent to the node, which the node forwarded
            answered = self.flows.get((HOST,) + key[1:])
            if answered is not None and answered.reply:
                key, entry = (HOST,) + key[1:], answered
        expected = Expected()
        if about.proto in ECHO and not about.is_echo:
            entry = None
        if entry is None or about.src != p.dst or (zone == POD and about.dst != p.src):
            return self.refuse(expected, 'icmp_error_without_flow', p, frame, zone, hops)
        if entry.epoch != self.epoch or entry.looked:
            # Not evaluated since the last change, or since its commit has looked through the flows once more. It may be dropped; it may
            # pass only if the flow's next packet would.
            if not self.still_allowed(key, entry):
                return self.refuse(expected, 'icmp_error_without_flow', p, frame, zone, hops)
            expected.maybe = 'icmp_error_without_flow'
        towards = entry.dst
        if entry.as_it_came:
            entry = self.untranslated(key, entry)
        if unseen(entry.sport):
            expected.moved = entry.action not in (TO_HOST, TO_STACK)
            return expected  # what it is made into, nobody can say yet
        sport, dport = reversed_ports(about.proto, entry.sport, entry.dport)
        if about.proto in ECHO:
            dport = 0
        carried = frames.inside(about, entry.dst, entry.src, sport, dport)
        outer = Entry(0, entry.action, entry.link, False, False, '', entry.src if p.src == about.dst else p.src, entry.dst,
                      0, 0, None)
        if (entry.src, entry.dst, entry.sport, entry.dport) == key[2:]:
            outer.src, outer.dst, carried = p.src, p.dst, None
        return self.forward(expected, p, frame, key, outer, hops, carried, towards)

    def still_allowed(self, key, entry):
        fwd = reply_tuple(key, entry) if entry.reply else key
        out = self.flows.get(fwd)
        if out is None or (fwd[0] == POD and fwd[2] not in self.by_address):
            return False
        reason, _, _ = self.policy(fwd, fwd[1], fwd[2], out.dst, out.dport, out.action, out.link,
                                   self.masqueraded(out.action, out.link, out.owner), [None, None])
        return reason is None

    # ---------------------------------------------------------------- hooks

    def from_pod(self, link, p, frame, answer):
        at = self.connected.get(link)
        expected = Expected()
        if at is None:
            expected.reason = 'not_a_pod'
            return expected
        if p.smac != at.mac:
            expected.reason = 'source_mac'
            return expected
        reason = malformed(p, frame)
        if reason is None and neighbourly(p):
            reason = neighbour_message(p)
        reason = reason or self.pod_source(at, p)
        if reason:
            expected.reason = reason
            return expected
        key = self.key_of(p, POD)
        if key is None:
            expected.reason = 'fragment_without_first'
            return expected
        if is_ipv4(p.src) and source_routed(p):
            expected.reason = 'ip_source_route'
            return expected
        if p.about is not None:
            return self.follow_error(p, frame, POD, True)
        return self.remember(self.follow(p, frame, key, link, answer, True), p, POD)

    def pod_source(self, at, p):
        v4 = is_ipv4(p.src)
        if p.src not in at.addresses:
            if not v4 and p.src >> 118 == 0x3fa and p.dst >> 120 == 0xff:
                return 'multicast'
            return 'loopback' if loopback(p.src) else 'source_ip'
        reason = impossible(p)
        if reason:
            return reason
        if v4:
            if router_message(p):
                return 'router_message'
            return 'multicast' if multicast(p.dst) or p.dst == MAPPED else None
        if multicast(p.dst) or p.dst >> 118 == 0x3fa or p.dst == 0:
            return 'multicast'
        return 'router_message' if p.proto == UDP and (p.sport, p.dport) == (547, 546) and not later_piece(p) else None

    def wire_source(self, p):
        reason = impossible(p)
        if reason:
            return reason
        return 'martian_source' if p.src in self.own or any(p.src in r for r in self.ranges) else None

    def from_wire(self, link, p, frame, answer):
        expected = Expected()
        expected.reason = malformed(p, frame) or self.wire_source(p)
        if expected.reason:
            return expected
        expected.frame = frame  # what belongs to the node's own stack passes as it is
        v4 = is_ipv4(p.src)
        if multicast(p.dst) or (p.dst == MAPPED if v4 else p.dst >> 118 == 0x3fa):
            return expected
        if neighbourly(p):
            return expected
        if v4 and source_routed(p):
            expected.reason = 'ip_source_route'
            return expected
        local = self.for_a_pod(p)
        if router_message(p):
            refused = isinstance(local, str) and local != 'service_without_port'  # nobody is told about such a message
            expected.reason = local if refused else 'router_message' if local else None
            return expected
        key = self.key_of(p, WIRE)
        if key is None:
            if local:
                expected.reason = 'fragment_without_first'
            return expected
        if p.about is not None:
            result = self.follow_error(p, frame, WIRE, True)
            if result.reason == 'icmp_error_without_flow' and not local:
                return expected
            if not local and result.maybe:
                result.maybe = 'pass'
            return result
        closed = self.flows.get(key)
        if closed is not None and closed.closed and is_syn(p):
            self.forget(key, closed)
        if key not in self.flows or self.reopens:
            if isinstance(local, str):
                return self.refuse(expected, local, p, frame, WIRE, True)
            if not local:
                return expected
        return self.remember(self.follow(p, frame, key, link, answer, True), p, WIRE)

    def to_pod(self, link, ingress, p, frame, answer):
        expected = Expected()
        zone = WIRE if ingress else HOST
        expected.reason = malformed(p, frame)
        if expected.reason:
            return expected
        if neighbourly(p):
            expected.reason = 'router_message' if p.type in (134, 137) else 'nd_other' if ingress else None
            expected.frame = frame
            return expected
        # The node's own address it may have: the node may translate.
        from_elsewhere = ingress and ingress not in self.connected and p.src != self.address[is_ipv4(p.src)]
        expected.reason = self.wire_source(p) if from_elsewhere else impossible(p)
        if not expected.reason and router_message(p):
            expected.reason = 'router_message'
        if expected.reason:
            return expected
        key = self.key_of(p, zone)
        if key is None:
            expected.reason = 'fragment_without_first'
            return expected
        if p.about is not None:
            return self.follow_error(p, frame, zone, False)
        if ingress and key not in self.flows:  # the answer to what a pod sent to the node, which the node forwarded
            answered = self.flows.get((HOST,) + key[1:])
            if answered is not None and answered.reply:
                key = (HOST,) + key[1:]
        return self.remember(self.follow(p, frame, key, ingress, answer, False), p, zone)

    def to_wire(self, p, frame, answer):
        """The node's own packet: with the port of a masqueraded flow towards the same peer it leaves with another one."""
        expected = Expected(frame=frame)
        key = None if malformed(p, frame) else self.key_of(p, HOST)
        answers = p.proto in WITH_SERVICES and key in self.flows and self.flows[key].reply
        if answers or self.reopens:  # a process answers a Service's client, or has done so
            return self.remember(self.follow(p, frame, key, 0, answer, False), p, HOST)
        has_ports = (p.proto in frames.WITH_PORTS or p.is_echo) and not later_piece(p)
        if malformed(p, frame) or not has_ports or not self.ports[0] <= p.ports[0] <= self.ports[1]:
            return expected
        if key not in self.flows:
            reason = self.begins_beside(p)
            if reason is not True:
                expected.reason = reason
                return expected
        return self.follow(p, frame, key, 0, answer, False)

    def begins_beside(self, p):
        """True: it is entered in the flow table; None: it leaves as it is; or a reason."""
        sport, dport = reversed_ports(p.proto, *p.ports)
        entry = self.flows.get((WIRE, p.proto, p.dst, p.src, sport, dport))
        taken = (entry is not None and entry.reply and entry.action in (TO_POD, TO_WIRE) and
                 (entry.src, entry.dst, entry.sport, entry.dport) != (p.dst, p.src, sport, dport))
        if p.proto in ECHO:  # identifiers have no sockets that they could be found by
            return True if p.type == ECHO[p.proto][0] and p.src in self.own else 'port_collision' if taken else None
        if not taken:
            return None
        return True if p.proto == UDP or is_syn(p) else 'port_collision'

    def wire_xdp(self, link, p, frame, answer):
        """What TC does with the packet, if that is to send it back to the wire; else it is left to TC as it came."""
        expected = Expected(malformed(p, frame) or self.wire_source(p), frame=frame)
        if expected.reason or not self.may_go_back(p):
            return expected
        key = (WIRE, p.proto, p.src, p.dst) + p.ports
        entry = self.flows.get(key)
        if entry is not None and entry.action != TO_WIRE:
            return expected  # by another way
        ours = p.dst not in self.by_address and self.for_a_pod(p) is True
        if entry is not None and entry.closed and is_syn(p) and not ours:
            self.forget(key, entry)  # the answers' ports, and no flow's any more
            return expected
        if entry is None and not ours:
            return expected
        self.unshown = answer.result == XDP_PASS
        result = self.follow(p, frame, key, link, answer, True)
        expected.verdicts, expected.created, expected.entry = result.verdicts, result.created, result.entry
        if result.reason is None and result.entry.action == TO_WIRE:
            expected.sent, expected.next = result.frame, result.next
        return expected


class Attachment:
    def __init__(self, link, pod_key, container, mac, addresses):
        self.link, self.pod_key, self.container, self.mac, self.addresses = link, pod_key, container, mac, addresses
