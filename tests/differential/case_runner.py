# SPDX-License-Identifier: Apache-2.0
"""One case: its steps are done by the harness and by the model side by side, and each packet's outcome compared.

A case is JSON: {"name": ..., "story": ..., "steps": [...]}; see README.md. Packets say where they come from and where they go, or which
packet they follow ("of"); what that means in bytes is found when they are sent, since endpoints and ports are the node's choice.
"""

import traceback

import frames
from frames import ECHO, ICMP, ICMPV6, Packet, is_ipv4
from frontends import is_tunnel
from harness import HOOKS, EVALUATED, NEW, OK, REDIRECT, SHOT, XDP_DROP, XDP_PASS, XDP_TX, HarnessError, Refused
from labels import Unreadable, address_text
from model import HOST, NO_ANSWER, POD, WIRE, Choice, Node, reversed_ports, reply_tuple, unseen
from oracle import World
from packets import parse
from tunnel import ROUTER_MAC

OPTIONS = {'node': 'n1', 'pod_ranges': ['10.1.0.0/24', 'fd00:1::/64'],
           'node_addresses': ['192.168.7.1/24', 'fd00:7::1/64'], 'pods': 16, 'masquerade_ports': [10240, 29999]}

UPLINK_MAC = bytes.fromhex('020000000f01')
PATTERN = bytes(range(33, 127)) * 20
NOT_READY = 1  # a pod's rule set, as the harness tells it
COUNTED = ('flows_created', 'rejects', 'fragments_tracked')
TEST_DIRECTION = {'from_pod': 'from_pod', 'to_pod': 'to_pod', 'from_wire': 'from_wire', 'to_wire': 'to_wire',
                  'wire_xdp': 'from_wire', 'from_tunnel': 'from_tunnel', 'to_tunnel': 'to_tunnel'}
MOVING = ('from_pod', 'from_wire', 'from_tunnel')  # hooks that send packets on themselves


class Difference(Exception):
    """Node and model disagree. `step` and `packet` tell where."""

    def __init__(self, what, step=None, packet=None):
        super().__init__(what)
        self.what, self.step, self.packet = what, step, packet


def links_of_stack(spec, links):
    """By which link an answer came that the node's stack forwards; 0: it was the node's own, or came by the wire."""
    return links[spec['stack']] if 'stack' in spec else 0


class Sent:
    """A packet that others can follow."""

    __slots__ = ('key', 'spec', 'backend', 'ingress', 'link')

    def __init__(self, key, spec, ingress, link):
        self.key, self.spec, self.ingress, self.link, self.backend = key, spec, ingress, link, None


class CaseRunner:
    def __init__(self, harness):
        self.harness = harness
        self.cases = 0
        self.transmitted = 0  # by XDP
        self.count_rules = True  # compares packets by rule after each round: takes a while

    def run(self, case):
        """Raises Difference."""
        harness = self.harness
        harness.ask('clear')
        options = harness.options
        self.world = World(options['node'], options['pod_ranges'], [text.split('/')[0] for text in options['node_addresses']],
                           options.get('forwarding', 'snat'))
        self.node = Node(self.world, options, harness.node)
        self.sent, self.rules, self.links = {}, {}, {}
        self.drops, self.counts = {}, dict.fromkeys(COUNTED, 0)
        self.outcomes = []
        self.pending = False
        self.uplink_mac = bytes(int(part, 16) for part in harness.node['uplink_mac'].split(':'))
        for number, step in enumerate(case['steps']):
            try:
                getattr(self, 'do_' + step['op'])(step)
            except Difference as difference:
                difference.step = number
                raise
            except HarnessError as error:
                raise Difference(f'{error}', number) from error
            except (LookupError, TypeError, ValueError, AttributeError) as error:  # this world's fault, not the run's end
                raise Difference(f'the model failed: {traceback.format_exc()}', number) from error
        try:
            self.compare_counters()
        except Difference as difference:
            difference.step = len(case['steps'])
            raise

    # ---------------------------------------------------------------- what changes

    def do_put(self, step):
        refused = None
        try:
            self.harness.put(step['objects'])
        except Refused as error:
            refused = str(error)
        if step.get('refused'):
            if refused is None:
                raise Difference('the node took what the API refuses')
            return
        if refused is not None:
            raise Difference(f'the node refused it: {refused}')
        for obj in step['objects']:
            try:
                self.world.put(obj)
            except (Unreadable, KeyError) as error:
                raise Difference(f'the oracle cannot read {obj["kind"]} {obj["metadata"]["name"]}: {error}') from error
            if obj['kind'] == 'Node':
                self.learn_nodes()
        self.pending = True

    def learn_nodes(self):
        self.node.learn_peers([obj for obj in self.world.of_kind('Node') if obj['metadata']['name'] != self.world.node])

    def do_delete(self, step):
        namespace = step.get('namespace') or ''
        self.harness.ask('delete', kind=step['kind'], namespace=namespace, name=step['name'])
        self.world.delete(step['kind'], namespace, step['name'])
        if step['kind'] == 'Node':
            self.learn_nodes()
        self.pending = True

    def do_attach(self, step):
        container, slot = step['container'], step['slot']
        link = self.harness.node['pod_links'][slot]
        if link in self.node.connected or container in self.links:
            return  # a smaller case may attach twice
        mac = bytes((2, 0, 0, 1, slot, len(self.links) & 0xff))
        self.harness.ask('attach', namespace=step['namespace'], name=step['name'], container=container, link=link,
                         mac=':'.join(f'{part:02x}' for part in mac), addresses=step['addresses'],
                         labels=step.get('labels') or {})
        self.world.attach(container, step['namespace'], step['name'], step.get('labels') or {}, step['addresses'])
        self.node.connect(link, (step['namespace'], step['name']), container, mac, step['addresses'])
        self.links[container] = link
        self.pending = True

    def do_detach(self, step):
        link = self.links.get(step['container'])
        if link is None:
            return
        self.harness.ask('detach', container=step['container'])
        self.node.disconnect(link)
        self.world.detach(step['container'])
        del self.links[step['container']]
        self.pending = True

    def do_reconcile(self, step):
        how = {key: step[key] for key in ('finish',) if key in step}
        answer = self.harness.ask('reconcile', **how)
        for _ in range(4):
            if not answer.get('again'):
                break
            answer = self.harness.ask('reconcile')
        if answer.get('again'):
            raise Difference('the node asks for one pass after the other')
        if answer['problems'] and not step.get('problems'):
            raise Difference(f'the node has a problem: {answer["problems"][0]}')
        self.world.in_force()
        finish = step.get('finish', True)
        if finish:
            self.node.peers_left = []
        self.node.forget_clients(finish)
        for entry in self.node.flows.values():
            entry.looked = True
        if self.pending:
            self.node.epoch += 1
            self.pending = False

    def do_restart(self, _):
        if self.pending:
            self.do_reconcile({})
        self.harness.ask('restart')
        self.node.peers_left = []  # an agent that ends waits for the programs first
        self.rules = {}
        self.world.restart()
        self.node.epoch += 1

    # ---------------------------------------------------------------- packets

    def do_run(self, step):
        todo, records = [], []
        for spec in step['packets']:
            made = self.follower(spec) if 'of' in spec else self.opener(spec)
            if made is None:
                continue
            hook, link, ingress, packet = made
            frame = frames.build(packet)
            if spec.get('broken'):
                shorter = min(spec['broken'], len(frame) - 1)
                if shorter < (34 if is_ipv4(packet.src) else 54):
                    continue
                frame = frame[:shorter]
            sender = self.sender_of(spec) if hook == 'from_tunnel' else 0
            records.append((HOOKS[hook], link, ingress, frame, sender))
            todo.append((spec, hook, link, sender if hook == 'from_tunnel' else ingress, packet, frame))
        if not records:
            return
        before = self.rule_packets() if self.count_rules else None
        self.decided = {}
        answers = self.harness.run(records)
        for item, answer in zip(todo, answers):
            self.cases += 1
            try:
                self.compare(*item, answer)
            except (Difference, Choice) as error:
                spec, hook, link, ingress, packet, frame = item
                raise Difference(f'{error}\n{self.describe(hook, packet)}\n  in  {frame.hex()}\n'
                                 f'  out {answer.frame.hex()}', packet=spec) from error
        if before is not None:
            self.compare_rule_packets(before)

    def describe(self, hook, p):
        sport, dport = p.ports
        text = (f'  {hook}: {address_text(p.src)} > {address_text(p.dst)} protocol {p.proto} {sport} > {dport} flags {p.flags} '
                f'ttl {p.ttl}')
        if p.frag:
            text += f' fragment {p.frag}'
        if p.about is not None:
            text += f' about {address_text(p.about.src)} > {address_text(p.about.dst)} protocol {p.about.proto}'
        return text

    def opener(self, spec):
        hook, dst = spec['hook'], parse(spec['to'])
        v4, proto = is_ipv4(dst), spec['proto']
        ingress = 0
        smac, dmac = ROUTER_MAC, UPLINK_MAC
        if hook == 'from_pod':
            at = self.node.connected.get(self.links.get(spec['from']))
            if at is None:
                if 'slot' not in spec:
                    return None
                link, src, smac = self.harness.node['pod_links'][spec['slot']], parse(spec['src']), ROUTER_MAC
            else:
                own = [number for number in at.addresses if is_ipv4(number) == v4]
                if not own and 'src' not in spec:
                    return None
                link, smac, src = at.link, at.mac, parse(spec['src']) if 'src' in spec else own[0]
            ingress, dmac = link, self.node.gateway_mac
            if 'smac' in spec:
                smac = bytes.fromhex(spec['smac'])
        elif hook == 'to_pod':
            link = self.node.by_address.get(dst)
            if link is None:
                return None
            src = parse(spec['src'])
            smac, dmac = self.node.gateway_mac, self.node.connected[link].mac
            behind = parse(spec.get('behind', spec['src']))  # the pod's address before the node's stack masqueraded
            ingress = {'other': self.harness.node['other'], 'pod': self.node.by_address.get(behind)}.get(spec.get('ingress'), 0)
            if ingress is None:
                return None
        elif hook in ('from_tunnel', 'to_tunnel'):
            src, link = parse(spec['src']), self.harness.node['tunnel']
            ingress, smac, dmac = 0 if hook == 'to_tunnel' else link, self.node.gateway_mac, self.node.gateway_mac
        else:
            src, link = parse(spec['src']), self.harness.node['uplink']
            ingress = 0 if hook == 'to_wire' else link
        if is_ipv4(src) != v4:
            return None
        if hook in ('from_wire', 'wire_xdp') and 'smac' in spec:
            smac = bytes.fromhex(spec['smac'])
        packet = Packet(src, dst, proto, smac=smac, dmac=dmac)
        self.fill(packet, spec, spec.get('sport', 0), spec.get('dport', 0))
        if 'about' in spec:
            packet.about = self.made_up(spec['about'])
        if 'id' in spec:
            zone = POD if hook == 'from_pod' else HOST if hook == 'to_tunnel' or (hook == 'to_pod' and not ingress) else WIRE
            if hook == 'from_tunnel' and not self.node.is_handed_on(packet):
                zone = self.node.zone_of_sender(spec['sender']) or WIRE
            self.sent[spec['id']] = Sent((zone, proto, src, dst) + packet.ports, spec, ingress, link)
        return hook, link, ingress, packet

    def sender_of(self, spec):
        """The end of whose tunnel the packet comes from: the last part of its address."""
        if 'sender' in spec:
            return spec['sender']
        first = self.sent[spec['of']]
        entry = self.node.flows.get(first.key)
        zone = reply_tuple(first.key, entry)[0] if spec['way'] == 'reply' and entry is not None else first.key[0]
        peer = self.node.peer_of_zone(zone)
        return peer.internal[0] & 0xff if peer is not None else 9

    @staticmethod
    def made_up(spec):
        packet = Packet(parse(spec['src']), parse(spec['dst']), spec['proto'], sport=spec.get('sport', 0),
                        dport=spec.get('dport', 0), ttl=60, payload=PATTERN[:16])
        packet.type = spec.get('type', 0)
        return packet

    @staticmethod
    def fill(packet, spec, sport, dport):
        packet.sport, packet.dport = sport, dport
        packet.ttl = spec.get('ttl', 64)
        packet.flags = spec.get('flags', 0)
        packet.seq, packet.ack = spec.get('seq', 1000), spec.get('ack', 0)
        packet.payload = PATTERN[:spec.get('payload', 0)]
        packet.type, packet.code = spec.get('type', 0), spec.get('code', 0)
        packet.no_check = spec.get('no_check', False) and is_ipv4(packet.src)
        packet.dont_fragment = spec.get('df', False)
        if 'frag' in spec:
            packet.frag = tuple(spec['frag'])
        if 'options' in spec:
            packet.options = bytes.fromhex(spec['options'])

    def follower(self, spec):
        """A packet of the same flow as an earlier one, either way, or an ICMP error about it."""
        first = self.sent.get(spec['of'])
        if first is None:
            return None
        key = first.key
        entry = self.node.flows.get(key)
        ingress = first.ingress
        if spec['way'] == 'reply':
            ingress = links_of_stack(spec, self.harness.node)
            if entry is not None:
                key = reply_tuple(key, entry)
            else:
                dst, dport = first.backend or (key[3], key[5])
                sport, dport = reversed_ports(key[1], key[4], dport)
                key = (self.zone_of(dst), key[1], dst, key[2], sport, dport)
        zone, proto, src, dst, sport, dport = key
        if unseen(sport) or unseen(dport) or ('error' in spec and entry is not None and unseen(entry.sport)):
            return None  # of a port that nobody has seen yet
        kind = 0
        if proto in ECHO:
            if dport & NO_ANSWER:
                return None
            kind, dport = dport >> 8, 0
        if 'to' in spec:  # the same words to somebody else
            dst = parse(spec['to'])
            if is_ipv4(dst) != is_ipv4(src):
                return None
        way = self.way(zone, src, dst, ingress)
        if way is None:
            return None
        hook, link, ingress, smac, dmac = way
        if spec.get('xdp') and hook == 'from_wire':
            hook = 'wire_xdp'
        if hook in ('to_wire', 'to_tunnel') and 'error' in spec:
            return None  # what the node's stack says of its own ports
        packet = Packet(src, dst, proto, smac=smac, dmac=dmac)
        self.fill(packet, spec, sport, dport)
        packet.type = kind
        if 'error' in spec:
            back = reversed_ports(proto, *packet.ports)
            about = Packet(dst, src, proto, sport=back[0], dport=back[1], ttl=61, payload=PATTERN[:24], seq=77)
            if proto in ECHO:
                about.type, about.dport = back[1] >> 8, 0
            v4 = is_ipv4(src)
            packet.proto, packet.about = ICMP if v4 else ICMPV6, about
            packet.type, packet.code = ((3, 3), (11, 0), (3, 4))[spec['error']] if v4 else ((1, 4), (3, 0), (2, 0))[spec['error']]
            packet.mtu = 1400 if spec['error'] == 2 else 0
            packet.payload, packet.frag, packet.options = b'', None, b''
            if zone == WIRE and 'router' in spec and is_ipv4(parse(spec['router'])) == v4:
                packet.src = parse(spec['router'])
        return hook, link, ingress, packet

    def zone_of(self, number):
        return POD if number in self.node.by_address else HOST if number in self.node.own else WIRE

    def way(self, zone, src, dst, ingress):
        """(hook, link, ingress, MAC addresses) of a packet of the zone; None: it cannot come about."""
        node, links = self.node, self.harness.node
        if zone == POD:
            link = node.by_address.get(src)
            if link is None:
                return None
            return 'from_pod', link, link, node.connected[link].mac, node.gateway_mac
        if is_tunnel(zone):
            return 'from_tunnel', links['tunnel'], links['tunnel'], node.gateway_mac, node.gateway_mac
        link = node.by_address.get(dst)
        if zone == HOST and link is None and src in node.own and not ingress and node.tunnel_to(dst) is not None:
            return 'to_tunnel', links['tunnel'], 0, node.gateway_mac, node.gateway_mac
        if zone == HOST and link is None and src in node.own and not ingress:
            return 'to_wire', links['uplink'], 0, UPLINK_MAC, ROUTER_MAC
        if zone == HOST or (ingress and ingress != links['uplink']):
            if link is None or (zone == HOST and ingress and ingress not in (links['other'], links['uplink'])):
                return None
            return 'to_pod', link, ingress, node.gateway_mac, node.connected[link].mac
        return 'from_wire', links['uplink'], links['uplink'], ROUTER_MAC, UPLINK_MAC

    # ---------------------------------------------------------------- comparing

    def expect(self, hook, link, ingress, packet, frame, answer):
        node = self.node
        node.outside = hook in ('from_wire', 'to_wire', 'wire_xdp', 'from_tunnel', 'to_tunnel')
        node.unshown = node.by_tunnel = False
        if hook == 'from_pod':
            return node.from_pod(link, packet, frame, answer)
        if hook == 'from_wire':
            return node.from_wire(link, packet, frame, answer)
        if hook == 'to_pod':
            return node.to_pod(link, ingress, packet, frame, answer)
        if hook == 'to_wire':
            return node.to_wire(packet, frame, answer)
        if hook == 'from_tunnel':
            return node.from_tunnel(ingress, packet, frame, answer)
        if hook == 'to_tunnel':
            return node.to_tunnel(packet, frame, answer)
        return node.wire_xdp(link, packet, frame, answer)

    def compare(self, spec, hook, link, ingress, packet, frame, answer):
        if answer.result < 0:
            raise Difference(f'the program did not run: {answer.result}')
        if spec.get('broken'):
            expected = self.cut(hook, link, ingress)
        else:
            closed = hook == 'wire_xdp' and NOT_READY in (answer.egress_ruleset, answer.ingress_ruleset)
            self.node.answered = 'pod_not_ready' if closed else self.harness.reasons[answer.reason]
            expected = self.expect(hook, link, ingress, packet, frame, answer)
        if 'id' in spec and answer.backend:
            self.sent[spec['id']].backend = answer.backend, answer.backend_port
        reason = self.harness.reasons[answer.reason]
        wanted = expected.reason or 'none'
        if expected.maybe and (answer.result == OK and answer.frame == frame if expected.maybe == 'pass' else
                               reason == expected.maybe):
            self.count(reason, hook, frame)
            self.outcomes.append(None)
            return
        if reason != wanted:
            raise Difference(f'reason {reason}, expected {wanted}{self.why(expected)}')
        self.check_result(hook, expected, answer, frame)
        self.count(reason, hook, frame)
        if expected.refused:
            self.counts['rejects'] += 1
        if expected.created:
            self.counts['flows_created'] += 1
        if reason == 'none' and expected.entry is not None and bool(answer.flags & NEW) != expected.created:
            raise Difference(f'a new flow: {bool(answer.flags & NEW)}, expected {expected.created}')
        left_to_tc = hook == 'wire_xdp' and answer.result == XDP_PASS  # which counts it
        if answer.flags & EVALUATED:
            self.check_rule('egress', expected.verdicts[0], answer.egress_rule)
            self.check_rule('ingress', expected.verdicts[1], answer.ingress_rule)
            if not left_to_tc:
                self.decide(answer.egress_rule, answer.ingress_rule)
            if expected.entry is not None:
                expected.entry.verdicts[2:] = answer.egress_rule, answer.ingress_rule
        elif expected.created:
            raise Difference('a new flow was not evaluated')
        elif expected.entry is not None and not left_to_tc:
            self.decide(*expected.entry.verdicts[2:])
        self.outcomes.append(None if packet.about is not None else (reason, expected.refused))

    def cut(self, hook, link, sender):
        """A frame that ends within its headers."""
        from model import Expected
        if hook == 'from_pod' and link not in self.node.connected:
            return Expected('not_a_pod')
        if hook == 'from_tunnel' and self.node.zone_of_sender(sender) is None:
            return Expected('tunnel_unknown_peer')
        return Expected('short_packet')

    @staticmethod
    def why(expected):
        for end, verdict in zip(('egress', 'ingress'), expected.verdicts):
            if verdict is not None:
                return f' ({end}: {verdict})'
        return ''

    def check_result(self, hook, expected, answer, frame):
        if hook == 'wire_xdp':
            self.check_xdp(expected, answer, frame)
            return
        direction = TEST_DIRECTION[hook]
        if expected.reason and self.harness.directions[answer.direction] != direction:
            raise Difference(f'counted as {self.harness.directions[answer.direction]}, expected {direction}')
        if expected.refused:
            wanted = REDIRECT, 2
        elif expected.reason:
            wanted = SHOT, 0
        else:
            moved = hook in MOVING and expected.moved
            wanted = (REDIRECT if moved else OK), 1
        if (answer.result, answer.verdict) != wanted:
            raise Difference(f'result and verdict {answer.result, answer.verdict}, expected {wanted}')
        seen = answer.frame
        if expected.masked is not None and not expected.reason:
            seen = self.node.unmask(expected.masked, seen)
        if expected.next is not None and seen[:12] == expected.next + self.uplink_mac:
            seen = frame[:12] + seen[12:]  # the kernel has told of the neighbour by then
        if (expected.refused or not expected.reason) and expected.frame is not None and seen != expected.frame:
            raise Difference(f'the frame is another one, expected\n      {expected.frame.hex()}')

    def check_xdp(self, expected, answer, frame):
        """What XDP may send it may leave to TC as well: that depends on what the kernel has told of the neighbours by then."""
        if answer.result == XDP_TX and expected.sent is not None:
            self.transmitted += 1
            if answer.frame != (expected.next or b'') + self.uplink_mac + expected.sent[12:]:
                raise Difference(f'the frame that XDP sends is another one, expected\n      {expected.sent.hex()}')
        elif answer.result != (XDP_DROP if expected.reason else XDP_PASS):
            raise Difference(f'result {answer.result}')
        elif answer.result == XDP_PASS and answer.frame != frame:
            raise Difference('XDP has changed what it leaves to TC')

    def count(self, reason, hook, frame):
        if reason != 'none':
            counter = self.drops.setdefault((TEST_DIRECTION[hook], reason), [0, 0])
            counter[0] += 1
            counter[1] += len(frame)

    def check_rule(self, end, verdict, number):
        if verdict is None or not verdict.rules:
            if number and (verdict is None or not verdict.allowed or self.rule(number) not in verdict.passed):
                raise Difference(f'{end} was decided by rule {self.rule(number)}, expected none ({verdict})')
            return
        if not number:
            raise Difference(f'{end} was decided by no rule, expected one of {verdict.rules}')
        if self.rule(number) not in verdict.rules:
            raise Difference(f'{end} was decided by rule {self.rule(number)}, expected one of {verdict.rules}')

    def rule(self, number):
        if number not in self.rules:
            for item in self.harness.ask('rules')['rules']:
                self.rules[item['rule']] = (item['namespace'], item['name'], item['direction'], item['index'])
        return self.rules.get(number, number)

    def decide(self, *numbers):
        for number in numbers:
            if number:
                self.decided[number] = self.decided.get(number, 0) + 1

    def rule_packets(self):
        return dict(self.harness.ask('rule_packets')['packets'])

    def compare_rule_packets(self, before):
        """Each packet counts for the rules that decided it, also as one of a flow that is known."""
        for number, packets in self.rule_packets().items():
            seen = packets - before.get(number, 0)
            if seen != self.decided.get(number, 0):
                raise Difference(f'rule {self.rule(number)} counted {seen} packets, expected {self.decided.get(number, 0)}')

    def compare_counters(self):
        self.counts['fragments_tracked'] = self.node.tracked
        answer = self.harness.ask('counters')
        drops = {(item['direction'], item['reason']): [item['packets'], item['bytes']] for item in answer['drops']}
        if drops != self.drops:
            wrong = {key: (drops.get(key), self.drops.get(key)) for key in set(drops) | set(self.drops)
                     if drops.get(key) != self.drops.get(key)}
            raise Difference(f'drop counters (counted, expected): {wrong}')
        for name in COUNTED:
            if answer['counters'].get(name, 0) != self.counts[name]:
                raise Difference(f'counter {name} is {answer["counters"].get(name, 0)}, expected {self.counts[name]}')
