# SPDX-License-Identifier: Apache-2.0
"""Two CPUs with packets of one world at the same time. What they did together must be what the model does with the same packets one after
the other, in one of the orders that keep each CPU's own."""

import copy

import frames
from frames import ACK, FIN, ICMP, ICMPV6, RST, SYN, TCP, UDP, is_ipv4
from harness import HOOKS, EVALUATED, OK, REDIRECT, SHOT
from model import HOST, POD, WIRE, Choice, reply_tuple
from packets import is_syn
from timeline import NODES, Timeline
from case_runner import Difference, CaseRunner
from worlds import OUTSIDE, chance

MOST_STATES = 200  # that are followed at once
BATCHES = 40       # of each world
DELAYS = 1500      # turns of an empty loop: about the time of one packet

# A packet that meets a writer looks some 1,100 times, for about 15 us, and is then dropped as flow_busy. A writer holds an entry for 0.1 us, or 1 us
# while it searches for a source port, with bottom halves off: only an interrupt that lasts longer, or the host, can stop it there. With 1,000
# interrupts a second one writer of 2,000 has one meanwhile, and few last that long: one of 80,000 packets was dropped so.
BUSY_IN = 10000  # of so many packets one may be
BUSY_ALWAYS = 2  # whatever the number of packets
ZONES = {'from_pod': POD, 'from_wire': WIRE, 'to_pod': HOST, 'to_wire': HOST}
TCP_FLAGS = [ACK, ACK, ACK, SYN | ACK, FIN | ACK, FIN | ACK, RST, SYN]
OPEN = ('open', ())  # what a SYN does once the closed connection's entries are free


class Seen:
    """One packet of a race and what became of it. `choices`: the endpoints that it may have been given."""

    def __init__(self, made, frame, cpu, spec):
        self.hook, self.link, self.ingress, self.packet = made
        self.frame, self.cpu, self.spec, self.answer = frame, cpu, spec, None

    def learn(self, answer):
        """The answer's verdict and, of what passed, the endpoint are read from the frame."""
        answer.flags, answer.egress_rule, answer.ingress_rule, answer.reason = EVALUATED, 0, 0, 0
        answer.verdict = 0 if answer.result == SHOT else 2 if self.is_refusal(answer) else 1
        answer.backend = None
        if answer.verdict == 1:
            at, v4 = frames.transport_offset(self.packet), is_ipv4(self.packet.src)
            raw = answer.frame[30:34] if v4 else answer.frame[38:54]
            answer.backend = int.from_bytes(raw, 'big') | (frames.MAPPED if v4 else 0)
            answer.backend_port = int.from_bytes(answer.frame[at + 2:at + 4], 'big')
        self.answer = answer

    def is_refusal(self, answer):
        """Back to the sender, with a hop limit of its own; not the answer to an echo request."""
        ttl = answer.frame[22 if is_ipv4(self.packet.src) else 21]
        return (answer.result == REDIRECT and answer.frame[:6] == self.frame[6:12] and ttl == 64 and
                not (self.packet.is_echo and answer.frame == frames.echo(self.packet)))

    def answers(self, node):
        """The answer, once for each endpoint that may have been chosen where nothing shows which."""
        front = None
        if self.hook in ('from_pod', 'from_wire') and self.packet.about is None:
            front = node.served_at(self.packet.dst, self.packet.proto, self.packet.dport, self.hook == 'from_pod')
        if self.answer.verdict == 1 or front is None or not front.endpoints.active:
            yield self.answer
            return
        # None, at the end: another node handed it on, and nobody is here.
        for backend, port in [*sorted(front.endpoints.active), (0, 0)]:
            answer = copy.copy(self.answer)
            answer.backend, answer.backend_port = backend, port
            yield answer


class Race(CaseRunner):
    """A runner whose packets run on two CPUs. The node's state is every one that an order of the packets may have left."""

    def __init__(self, harness):
        super().__init__(harness)
        self.busy = 0

    def run(self, case):
        self.states = None
        super().run(case)

    def do_race(self, step):
        if self.states is None:
            self.states = [self.node]
        self.node = self.states[0]
        seen = self.make(step)
        if not seen:
            return
        if step.get('move'):
            for state in self.states:
                state.epoch += 1
        before = self.totals()
        answers = self.harness.race([(HOOKS[s.hook], s.link, s.ingress, s.frame, s.cpu) for s in seen], bool(step.get('move')),
                                    step.get('delay', [0, 0]))
        for one, answer in zip(seen, answers):
            one.learn(answer)
        after = self.totals()
        happened = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
        self.busy += happened.get('flow_busy', 0)
        self.cases += len(seen)
        self.batch, self.moving = seen, bool(step.get('move'))
        for state in self.states:
            state.at_start = dict(state.clients)
        chosen_twice = list(self.chosen_twice(seen))
        self.states = self.explain(seen, happened)
        for state in self.states:
            for key, endpoints in chosen_twice:
                if key in state.clients:
                    state.clients[key] |= endpoints
        if not self.states:
            raise Difference('no order of the packets explains what became of them\n' + '\n'.join(map(self.tell, seen)) +
                             f'\n  counted: {happened}')
        if step.get('move'):
            for state in self.states:
                state.epoch += 1
        self.node = self.states[0]

    def chosen_twice(self, seen):
        """(Service's port and client, endpoints): each CPU chooses an endpoint for the first packets of one flow, and notes it for the
        client. The flow has one of the two, and the client keeps the one that was noted last."""
        cpus = {}
        for one in seen:
            if one.hook in ('from_pod', 'from_wire') and one.packet.about is None:
                cpus.setdefault(key_of(one), set()).add(one.cpu)
        for key, both in cpus.items():
            front = self.node.served_at(key[3], key[1], key[5], key[0] == POD)
            if len(both) > 1 and front is not None and front.terms.affinity:
                yield (front.endpoints.key, key[2]), frozenset(front.endpoints.active)

    def make(self, step):
        seen = []
        for spec, cpu in zip(step['packets'], step['cpus']):
            made = self.follower(spec) if 'of' in spec else self.opener(spec)
            if made is not None:
                seen.append(Seen(made, frames.build(made[3]), cpu, spec))
        return seen

    def totals(self):
        """How often something was dropped for each reason, and how many flows there were."""
        answer = self.harness.ask('counters')
        found = {'created': answer['counters'].get('flows_created', 0)}
        for item in answer['drops']:
            found[item['reason']] = found.get(item['reason'], 0) + item['packets']
        return found

    def compare_counters(self):
        """Each race has compared its own."""

    def explain(self, seen, happened):
        """The states behind all orders that explain the answers. What a packet does to entries behind its look-up comes at any time before
        its CPU's next packet: the other CPU's may come in between."""
        queues = [[one for one in seen if one.cpu == cpu] for cpu in (0, 1)]
        ends, visited = {}, set()
        stack = [(state, ((0, ()), (0, ())), ()) for state in self.states]
        while stack:
            state, sides, counted = stack.pop()
            mark = (sides, counted, canonical(state))
            if mark in visited:
                continue
            visited.add(mark)
            if all(at == len(queue) and not later for (at, later), queue in zip(sides, queues)):
                if dict(counted) == happened:
                    ends[mark[2]] = state
                continue
            for cpu, (at, later) in enumerate(sides):
                for new, more, side in self.next(state, queues[cpu], at, later, counted, happened):
                    stack.append((new, (side, sides[1]) if cpu == 0 else (sides[0], side), more))
        return list(ends.values())[:MOST_STATES]

    def next(self, state, queue, at, later, counted, happened):
        """(state, counts, where the CPU is then) for each way in which one CPU may go on."""
        if later and later[0] == OPEN:
            for node, more, rest in self.steps(state, queue[at], counted, happened, True):
                yield node, more, (at + 1, rest)
        elif later:
            node = copy_of(state)
            getattr(node, later[0][0])(*later[0][1])
            yield node, counted, (at, later[1:])
        elif at < len(queue):
            ends = self.reopens(state, queue[at])
            if ends:
                yield state, counted, (at, ends)
                return
            for node, more, rest in self.steps(state, queue[at], counted, happened):
                yield node, more, (at + 1, rest)

    @staticmethod
    def reopens(state, one):
        """A SYN on the ports of a closed connection frees both entries, its own first. Then it is the first packet of a new one."""
        if one.packet.proto != TCP or one.packet.about is not None or not is_syn(one.packet):
            return ()
        key = key_of(one)
        entry = state.flows.get(key)
        if entry is None or not entry.closed:
            return ()
        other = state.flows.get(reply_tuple(key, entry))
        steps = ('free', (key, entry.serial)),
        if other is not None and reply_tuple(reply_tuple(key, entry), other) == key:
            steps += ('free', (reply_tuple(key, entry), other.serial)),
        return steps + (OPEN,)

    def loses_its_flow(self, one):
        """A segment of a closed connection, either way, which a SYN on the other CPU frees between the segment's look-up and its evaluation:
        an answer to the node's own port is refused there as one of no flow, where before and after it goes its way."""
        if one.packet.proto != TCP or one.packet.about is not None or is_syn(one.packet):
            return False
        ends = {key_of(other) for other in self.batch
                if other.cpu != one.cpu and other.packet.proto == TCP and other.packet.about is None and is_syn(other.packet)}
        key = key_of(one)
        found = (state.flows.get(key) for state in self.states)
        return key[2:] in {end[2:] for end in ends} or any(entry and reply_tuple(key, entry) in ends for entry in found)

    def steps(self, state, one, counted, happened, reopens=False):
        """(state, counts, what is left to be done) behind the packet for each way in which the model gives the answer that there was."""
        for answer in one.answers(state):
            node = copy_of(state)
            node.later, node.reopens = [], reopens
            if self.moving and one.packet.about is not None:
                node.epoch += 1  # it may meet a flow that is not re-evaluated yet
            node.answered = 'pod_not_ready' if 'pod_not_ready' in happened else None
            if answer.verdict == 0 and happened.get('flow_busy'):
                yield state, add(counted, 'flow_busy'), ()  # see BUSY_IN
            if answer.verdict == 0 and happened.get('tcp_without_flow') and self.loses_its_flow(one):
                yield state, add(counted, 'tcp_without_flow'), ()
            self.node = node
            try:
                expected = self.expect(one.hook, one.link, one.ingress, one.packet, one.frame, answer)
            except Choice:
                continue
            reason, later = expected.reason, tuple(node.later)
            node.later, node.reopens = None, False
            if expected.maybe and answer.result == SHOT:
                reason = expected.maybe
            elif expected.maybe == 'pass' and answer.result == OK and answer.frame == one.frame:
                yield state, counted, ()
                continue
            elif not self.fits(one, expected, answer):
                continue
            counts = add(add(counted, reason), 'created' if expected.created else None)
            yield node if one.packet.about is None else state, counts, later

    def fits(self, one, expected, answer):
        if expected.refused:
            wanted = REDIRECT, 2
        elif expected.reason:
            wanted = SHOT, 0
        else:
            wanted = (REDIRECT if one.hook in ('from_pod', 'from_wire') and expected.moved else OK), 1
        if (answer.result, answer.verdict) != wanted:
            return False
        return wanted[0] == SHOT or expected.frame is None or answer.frame == expected.frame

    def tell(self, one):
        return (f'  cpu {one.cpu}{self.describe(one.hook, one.packet)}: result {one.answer.result} verdict {one.answer.verdict} '
                f'{one.answer.frame.hex() if one.answer.result != SHOT else ""}')


def key_of(one):
    packet = one.packet
    return (ZONES[one.hook], packet.proto, packet.src, packet.dst) + packet.ports


def add(counted, name):
    if name is None:
        return counted
    counts = dict(counted)
    counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(counts.items()))


def copy_of(node):
    new = copy.copy(node)
    new.clients = dict(node.clients)
    new.flows = {key: copy.copy(entry) for key, entry in node.flows.items()}
    return new


def canonical(node):
    return frozenset((key, e.action, e.link, e.reply, e.service, e.closing, e.src, e.dst, e.sport, e.dport, e.epoch == node.epoch)
                     for key, e in node.flows.items()) | frozenset(node.clients.items())


# ---------------------------------------------------------------- random races

class Races:
    """A random world, then batches that want the same entries, ports and ends at once."""

    def __init__(self, seed):
        self.world = Timeline(seed)
        self.rng, self.maker = self.world.rng, self.world.maker
        self.ids, self.recent = 0, []

    def case(self, name):
        self.world.build()
        steps = self.world.steps
        for _ in range(BATCHES):
            packets = self.rng.choice([self.same_new, self.same_new, self.both_ways, self.one_peer, self.one_peer, self.go_on,
                                       self.go_on, self.go_on])()
            cpus = [self.rng.randint(0, 1) for _ in packets]
            steps.append({'op': 'race', 'packets': packets, 'cpus': cpus, 'move': chance(self.rng, 30),
                          'delay': [self.rng.randint(0, DELAYS), self.rng.randint(0, DELAYS)]})
            if chance(self.rng, 30):
                after = self.go_on()
                steps.append({'op': 'race', 'packets': after, 'cpus': [0] * len(after)})
        return {'name': name, 'steps': steps}

    def number(self):
        self.ids += 1
        self.recent = (self.recent + [self.ids])[-6:]
        return self.ids

    def transport(self, v4):
        rng, kind = self.rng, self.rng.random()
        ports = {'sport': 40000 + self.ids, 'dport': rng.choice([80, 443, 53, 8080])}
        if kind < 0.5:
            return dict(ports, proto=TCP, flags=SYN)
        if kind < 0.85:
            return dict(ports, proto=UDP)
        return {'proto': ICMP if v4 else ICMPV6, 'type': 8 if v4 else 128, 'sport': 40000 + self.ids}

    def opening(self):
        rng, packet = self.rng, {'id': self.number()}
        local = [text for at in self.maker.attached.values() for text in at[3]]
        served = self.world.frontends(True)
        if served and chance(rng, 25):
            to, port, proto = rng.choice(served)
            packet.update(hook='from_wire', to=to, src=rng.choice([text for text in OUTSIDE if (':' in text) == (':' in to)]),
                          proto=proto, sport=40000 + self.ids, dport=port, flags=SYN)
            return packet
        if chance(rng, 75) or not local:
            packet.update(hook='from_pod', to=self.world.destination())
            packet['from'] = rng.choice(sorted(self.maker.attached))
        else:
            to = rng.choice(local)
            sources = OUTSIDE if chance(rng, 60) else NODES[:1] + NODES[4:5]
            packet.update(hook='from_wire' if sources is OUTSIDE else 'to_pod', to=to,
                          src=rng.choice([text for text in sources if (':' in text) == (':' in to)]))
        packet.update(self.transport(':' not in packet['to']))
        return packet

    def same_new(self):
        """The first packets of one flow."""
        packet = self.opening()
        return [packet] + [dict(packet) for _ in range(self.rng.randint(1, 3))] + self.follow(self.rng.randint(0, 2))

    def both_ways(self):
        """Each side takes itself for the one that begins."""
        rng = self.rng
        pods = [(container, text) for container, at in sorted(self.maker.attached.items()) for text in at[3]]
        one = rng.choice(pods)
        others = [pod for pod in pods if pod[0] != one[0] and (':' in pod[1]) == (':' in one[1])]
        if not others:
            return self.same_new()
        other, proto = rng.choice(others), rng.choice([TCP, UDP, UDP])
        first = {'id': self.number(), 'hook': 'from_pod', 'from': one[0], 'to': other[1], 'src': one[1], 'proto': proto}
        first.update(sport=40000 + self.ids, dport=50000, flags=SYN)
        second = dict(first, id=self.number(), to=one[1], src=other[1], sport=50000, dport=first['sport'])
        second['from'] = other[0]
        packets = [rng.choice([first, second]) for _ in range(rng.randint(0, 2))] + [first, second]
        rng.shuffle(packets)
        return packets

    def one_peer(self):
        """Several pods, or one, from the same port to the same peer: source ports of one range."""
        rng, packets = self.rng, []
        peer = rng.choice(OUTSIDE)
        transport = self.transport(':' not in peer)
        for _ in range(rng.randint(2, 5)):
            packet = dict(transport, id=self.number(), hook='from_pod', to=peer)
            packet['from'] = rng.choice(sorted(self.maker.attached))
            packets += [packet] * rng.choice([1, 1, 2])
        return packets[:7]

    def follow(self, count):
        packets = []
        for _ in range(count):
            if self.recent:
                packets.append({'of': self.rng.choice(self.recent), 'way': self.rng.choice(['forward', 'reply']),
                                'flags': self.rng.choice(TCP_FLAGS)})
                if chance(self.rng, 6):
                    packets[-1]['error'] = self.rng.randint(0, 1)
        return packets

    def go_on(self):
        """Answers, ends, and the same ports again."""
        return self.follow(self.rng.randint(2, 6)) or self.same_new()


def race(seed, index):
    return Races(f'race-{seed}:{index}').case(f'race-{seed}-{index}')
