# SPDX-License-Identifier: Apache-2.0
"""A random case: objects, pods, packets in rounds, changes between them, packets again."""

import random

from frames import ACK, FIN, ICMP, ICMPV6, RST, SCTP, SYN, TCP, UDP
from rules import cluster_policy, network_policy, refused_policy, service, slices, terms
from worlds import OUTSIDE, PORTS, Maker, chance, pick_labels

NODES = ['192.168.7.1', '192.168.7.2', '192.168.7.3', '203.0.113.3', 'fd00:7::1', 'fd00:7::2', 'fd00:7::3']
NUMBERS = {'TCP': TCP, 'UDP': UDP, 'SCTP': SCTP}
NOWHERE = ['10.1.0.200', 'fd00:1::200', '10.1.1.200', 'fd00:1:0:1::200']
SCRIPT = {TCP: [('reply', SYN | ACK), ('forward', ACK), ('reply', ACK), ('forward', ACK), ('forward', FIN | ACK),
                ('reply', FIN | ACK), ('forward', SYN)]}
PHASES, ROUNDS = 4, 3


class Timeline:
    """`plain`: without Services, pods that end, and packets that no honest sender makes, so that two tellings of the same world can be
    compared packet by packet."""

    def __init__(self, seed, openers=55, plain=False, tunnel=False):
        self.rng = random.Random(seed)
        self.plain, self.tunnel = plain, tunnel
        self.maker = Maker(self.rng)
        self.openers = openers
        self.steps = []
        self.flows = []      # [id, protocol, how far its script is, did the node's stack masquerade a pod]
        self.ids = 0
        self.terminating = set()
        self.services = []

    def case(self, name):
        self.build()
        for phase in range(PHASES):
            if phase:
                self.change()
            for number in range(ROUNDS):
                self.steps.append({'op': 'run', 'packets': self.round(number)})
        return {'name': name, 'steps': self.steps}

    def put(self, *objects):
        if objects:
            self.steps.append({'op': 'put', 'objects': list(objects)})

    # ---------------------------------------------------------------- the world

    def build(self):
        rng, maker = self.rng, self.maker
        objects = [maker.namespace(name) for name in maker.namespaces if chance(rng, 75)] + list(maker.nodes())
        local = [maker.local_pod() for _ in range(rng.randint(3, 7))]
        objects += [maker.remote_pod() for _ in range(rng.randint(1, 5))]
        objects += [maker.host_pod() for _ in range(rng.randint(0, 2))]
        objects += [maker.finished_pod() for _ in range(rng.randint(0, 2))]
        objects += [network_policy(maker) for _ in range(rng.choice([0, 1, 2, 3, 5, 8]))]
        objects += [cluster_policy(maker) for _ in range(rng.choice([0, 0, 1, 2, 4]))]
        for number in range(1, 1 if self.plain else rng.randint(2, 5)):
            self.services.append(number)
            objects += service(maker, number)
        rng.shuffle(objects)
        cut = rng.randint(0, len(objects))
        self.put(*objects[:cut])
        for steps in local:
            self.steps += steps
        self.put(*objects[cut:])
        self.steps.append({'op': 'reconcile'})

    def do_reconcile(self, before):
        """Whole, or with what comes after the grace period left for the next one: packets come before it. (Until it is
        over, flows of a pod that has gone lead to its link; here that link is still there.)"""
        gone = any(step['op'] == 'detach' for step in self.steps[before:])
        whole = gone or self.rng.choice([True, True, True, False, False])
        self.steps.append({'op': 'reconcile'} if whole else {'op': 'reconcile', 'finish': False})

    def change(self):
        before = len(self.steps)
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            if self.plain:
                self.rng.choice([self.change_policy, self.change_policy, self.change_cluster_policy, self.change_pod,
                                 self.change_namespace, self.change_node])()
                continue
            self.rng.choice([self.change_policy, self.change_policy, self.change_policy, self.change_cluster_policy,
                             self.change_pod, self.change_pod, self.change_namespace, self.change_node, self.change_service,
                             self.change_service, self.end_pod, self.hand_over, self.drop_pod])()
        if not self.plain and chance(self.rng, 25):
            self.steps.append({'op': 'put', 'objects': [refused_policy(self.maker)], 'refused': True})
        self.do_reconcile(before)
        if not self.plain and chance(self.rng, 4):
            self.steps.append({'op': 'restart'})

    def delete(self, obj):
        meta = obj['metadata']
        namespace = meta.get('namespace', '' if obj['kind'] in ('Namespace', 'Node', 'ClusterNetworkPolicy') else 'default')
        self.maker.objects.pop((obj['kind'], namespace, meta['name']), None)
        self.steps.append({'op': 'delete', 'kind': obj['kind'], 'namespace': namespace, 'name': meta['name']})

    def change_policies(self, kind, make):
        present = self.maker.of_kind(kind)
        choice = self.rng.random()
        if choice < 0.35 or not present:
            self.put(make(self.maker))
            return
        obj = self.rng.choice(present)
        if choice < 0.6:
            self.delete(obj)
        elif kind == 'NetworkPolicy':
            namespace = obj['metadata'].get('namespace', 'default')
            if namespace in self.maker.namespaces:
                self.put(make(self.maker, obj['metadata']['name'], namespace))
        else:
            self.put(make(self.maker, obj['metadata']['name']))

    def change_policy(self):
        self.change_policies('NetworkPolicy', network_policy)

    def change_cluster_policy(self):
        self.change_policies('ClusterNetworkPolicy', cluster_policy)

    def change_pod(self):
        pods = self.maker.of_kind('Pod')
        if not pods:
            return
        pod = dict(self.rng.choice(pods))
        pod['metadata'] = dict(pod['metadata'], labels=pick_labels(self.rng))
        if chance(self.rng, 30):
            pod['spec'] = dict(pod['spec'], containers=list(self.maker.containers()) or pod['spec']['containers'])
        self.put(self.maker.keep(pod))

    def change_namespace(self):
        name = self.rng.choice(self.maker.namespaces)
        present = self.maker.objects.get(('Namespace', '', name))
        if present is not None and chance(self.rng, 20):
            self.delete(present)
        elif present is not None and not self.plain and chance(self.rng, 15):
            ending = dict(present['metadata'], deletionTimestamp='2026-01-01T00:00:00Z')
            self.put(self.maker.keep(dict(present, metadata=ending)))
        else:
            self.put(self.maker.namespace(name))

    def change_node(self):
        last = self.maker.objects.get(('Node', '', 'n3'))
        if not self.plain and chance(self.rng, 20):
            if last is not None:
                self.delete(last)
            else:
                self.put(list(self.maker.nodes())[2])
            return
        node = dict(self.rng.choice(self.maker.of_kind('Node')))
        node['metadata'] = dict(node['metadata'], labels=pick_labels(self.rng))
        self.put(self.maker.keep(node))

    def change_service(self):
        present = self.maker.of_kind('Service')
        if not present:
            return
        obj = self.rng.choice(present)
        old = [item for item in self.maker.of_kind('EndpointSlice')
               if item['metadata']['labels']['kubernetes.io/service-name'] == obj['metadata']['name']]
        choice = self.rng.random()
        if choice < 0.15:
            for item in old:
                self.delete(item)
            self.delete(obj)
        elif choice < 0.3 and old:
            self.delete(self.rng.choice(old))
        elif choice < 0.5:
            obj = dict(obj, metadata=dict(obj['metadata']), spec=dict(obj['spec']))
            terms(self.rng, obj)
            self.put(self.maker.keep(obj))
        elif old or not obj['spec'].get('selector'):
            self.put(*slices(self.maker, obj))

    def some_container(self):
        return self.rng.choice(sorted(self.maker.attached)) if len(self.maker.attached) > 2 else None

    def end_pod(self):
        """Terminating, then gone, or gone at once."""
        container = self.some_container()
        if container is None:
            return
        namespace, name, slot, _ = self.maker.attached[container]
        obj = self.maker.objects.get(('Pod', namespace, name))
        if obj is not None and chance(self.rng, 40):
            obj = dict(obj, metadata=dict(obj['metadata'], deletionTimestamp='2026-01-01T00:00:00Z'))
            self.terminating.add((namespace, name))
            self.put(self.maker.keep(obj))
            return
        del self.maker.attached[container]
        self.terminating.discard((namespace, name))
        self.steps.append({'op': 'detach', 'container': container})
        self.maker.free_slots.append(slot)
        if obj is not None:
            self.delete(obj)

    def hand_over(self):
        """A pod ends, another one gets its address."""
        container = self.some_container()
        if container is None:
            return
        namespace, name, slot, addresses = self.maker.attached.pop(container)
        self.terminating.discard((namespace, name))
        self.steps.append({'op': 'detach', 'container': container})
        self.maker.free_slots.insert(0, slot) if chance(self.rng, 50) else self.maker.free_slots.append(slot)
        obj = self.maker.objects.get(('Pod', namespace, name))
        if obj is not None:
            if chance(self.rng, 50):
                self.put(self.maker.keep(dict(obj, status=dict(obj['status'], phase='Succeeded'))))
            else:
                self.delete(obj)
        self.steps += self.maker.local_pod(addresses)

    def drop_pod(self):
        """The object goes, the container stays."""
        container = self.some_container()
        if container is None:
            return
        obj = self.maker.objects.get(('Pod',) + self.maker.attached[container][:2])
        if obj is not None:
            self.delete(obj)

    # ---------------------------------------------------------------- packets

    def round(self, number):
        packets = []
        if number == 0:
            packets = [self.opening() for _ in range(self.openers)]
        recent, older = self.flows[-self.openers:], self.flows[:-self.openers]
        follow = list(recent) if number else []
        if older:
            follow += self.rng.sample(older, min(len(older), self.openers // (1 if number == 0 else 3)))
        for flow in follow:
            packets.append(self.following(flow))
        if number == 0:
            self.rng.shuffle(packets)
            packets.sort(key=lambda packet: 'of' in packet)
        return [packet for one in packets for packet in self.by_both(one)]

    @staticmethod
    def by_both(packet):
        """What XDP has seen comes to TC at once."""
        if packet.get('hook') == 'wire_xdp':
            return [packet, dict(packet, hook='from_wire')]
        if 'xdp' in packet:
            return [packet, {key: value for key, value in packet.items() if key != 'xdp'}]
        return [packet]

    def frontends(self, external):
        """(address, port, protocol) of Services: those that are external, or all of them."""
        found = []
        for obj in self.maker.of_kind('Service'):
            spec = obj['spec']
            texts = list(spec.get('externalIPs', [])) if external else spec['clusterIPs'] + spec.get('externalIPs', [])
            texts += [item['ip'] for item in obj.get('status', {}).get('loadBalancer', {}).get('ingress', []) if 'ip' in item]
            for port in spec['ports']:
                proto = NUMBERS[port.get('protocol', 'TCP')]
                found += [(text, port['port'], proto) for text in texts]
                if 'nodePort' in port:
                    found += [(text, port['nodePort'], proto) for text in NODES[:1] * 3 + NODES[4:5] * 3 + NODES[1:2]
                              if any((':' in text) == (':' in ip) for ip in spec['clusterIPs'])]
        return found

    def destination(self):
        rng, maker = self.rng, self.maker
        kind = rng.random()
        local = [text for at in maker.attached.values() for text in at[3]]
        if kind < 0.42 and local:
            return rng.choice(local)
        if kind < 0.62:
            texts = [text for obj in maker.of_kind('Service') for text in obj['spec']['clusterIPs']]
            if texts:
                return rng.choice(texts)
        if kind < 0.80:
            texts = [item['ip'] for obj in maker.of_kind('Pod') if obj['spec'].get('nodeName') != 'n1'
                     for item in obj['status']['podIPs']]
            if texts:
                return rng.choice(texts)
        if kind < 0.9:
            return rng.choice(OUTSIDE)
        return rng.choice(NODES if kind < 0.97 else NOWHERE)

    def protocol(self, packet, v4):
        rng, kind = self.rng, self.rng.random()
        packet['dport'] = rng.choice(PORTS) if chance(rng, 70) else rng.choice([80, 443, 53, 8080, 22])
        packet['sport'] = 40000 + self.ids % 20000 if chance(rng, 93) else rng.choice([40000, 53, 12000])
        if kind < 0.5:
            packet.update(proto=TCP, flags=SYN)
            if chance(rng, 6):
                packet['flags'] = rng.choice([ACK, SYN | ACK, RST, FIN | ACK, 0, SYN | RST])
        elif kind < 0.76:
            packet.update(proto=UDP)
            if chance(rng, 10):
                packet['no_check'] = True
        elif kind < 0.83:
            packet.update(proto=SCTP)
        elif kind < 0.93:
            packet.update(proto=ICMP if v4 else ICMPV6, type=8 if v4 else 128)
            if chance(rng, 15):
                packet['type'] = 0 if v4 else 129
        elif kind < 0.96:
            packet.update(proto=ICMP if v4 else ICMPV6, type=rng.choice([5, 10, 13, 14, 17, 18, 40] if v4 else [127, 144, 200]))
        else:
            packet.update(proto=rng.choice([47, 50, 4 if v4 else 41, 253]))
        packet['payload'] = rng.choice([0, 0, 1, 12, 33, 200])

    def opening(self):
        rng = self.rng
        self.ids += 1
        packet = {'id': self.ids}
        if self.tunnel and chance(rng, 30):
            return self.tunnelled(packet)
        if not self.plain and chance(rng, 30):
            asked = self.asking(packet, chance(rng, 65))
            if asked is not None:
                return asked
        to = self.destination()
        kind = rng.random()
        if kind < 0.68 and self.maker.attached:
            packet.update(hook='from_pod', to=to)
            packet['from'] = rng.choice(sorted(self.maker.attached))
            own = self.maker.attached[packet['from']][3]
            if to in own or not any((':' in text) == (':' in to) for text in own):
                to = packet['to'] = rng.choice([text for text in OUTSIDE if (':' in text) == (':' in own[0])])
        else:
            local = [text for at in self.maker.attached.values() for text in at[3]]
            if kind < 0.97 and local:
                to = rng.choice(local)
            v4 = ':' not in to
            if kind < 0.80:
                source = [text for text in NODES[:1] + NODES[4:5] if (':' not in text) == v4]
                packet.update(hook='to_pod', to=to, src=source[0])
            else:
                packet.update(hook='from_wire' if kind < 0.93 or kind >= 0.97 else 'to_pod', to=to,
                              src=self.outside_source(v4))
                if packet['hook'] == 'to_pod':
                    packet['ingress'] = 'other'
                    own = [text for text in local if (':' not in text) == v4]
                    if not self.plain and own and chance(rng, 30):  # a pod's, that the node's stack has sent on
                        packet.update(ingress='pod', src=rng.choice(own))
                        if chance(rng, 50):  # under the node's address, or another
                            packet['behind'] = packet['src']
                            packet['src'] = rng.choice([NODES[0] if v4 else NODES[4], self.outside_source(v4)])
        self.protocol(packet, ':' not in to)
        self.flows.append([self.ids, packet['proto'], 0, 'behind' in packet])
        self.oddities(packet, ':' not in to)
        return packet

    def asking(self, packet, outside):
        """The first packet to a Service's frontend: from outside to an external one, or from a pod. None: there is none."""
        rng, found = self.rng, self.frontends(outside)
        if not found:
            return None
        to, port, proto = rng.choice(found)
        v4 = ':' not in to
        if outside:
            if chance(rng, 6):  # another node hands it on
                packet['smac'] = rng.choice(['020000000e02', '020000000e03'])
            packet.update(hook='wire_xdp' if chance(rng, 35) else 'from_wire', to=to,
                          src=self.rng.choice([text for text in OUTSIDE if (':' in text) != v4]) if chance(rng, 70) else
                          self.outside_source(v4))
        else:
            able = [name for name, at in sorted(self.maker.attached.items()) if any((':' in text) != v4 for text in at[3])]
            if not able:
                return None
            packet.update(hook='from_pod', to=to)
            packet['from'] = rng.choice(able)
        self.protocol(packet, v4)
        if chance(rng, 90):
            packet.pop('flags', None)
            packet.pop('type', None)
            packet.update(proto=proto, dport=port)
            if proto == TCP:
                packet['flags'] = SYN if chance(rng, 94) else rng.choice([ACK, RST, FIN | ACK, SYN | ACK])
        self.flows.append([self.ids, packet['proto'], 0, False])
        self.oddities(packet, v4)
        return packet

    def tunnelled(self, packet):
        """Through the tunnel: from another node's pods to this node's, to its node ports, of clients that another node hands on; and
        what this node itself sends there."""
        rng, kind = self.rng, self.rng.random()
        sender = rng.choice([2, 2, 2, 3, 3, 3, 9])
        remote = [item['ip'] for obj in self.maker.of_kind('Pod') if obj['spec'].get('nodeName') == f'n{sender}'
                  for item in obj['status']['podIPs']] * 2
        remote += [f'192.168.7.{sender}', f'fd00:7::{sender}', f'10.1.{sender - 1}.250', f'fd00:1:0:{sender - 1}::250']
        local = [text for at in self.maker.attached.values() for text in at[3]]
        served = self.frontends(True)
        number, proto = None, None
        if kind < 0.55 and local:
            to = rng.choice(local)
        elif kind < 0.8 and served:
            to, number, proto = rng.choice(served)
        else:
            to = rng.choice(NODES[:1] + NODES[4:5] + OUTSIDE + NOWHERE + remote)
        v4 = ':' not in to
        if chance(rng, 15):
            packet.update(hook='to_tunnel', to=rng.choice([text for text in remote if (':' in text) != v4]),
                          src=NODES[0 if v4 else 4] if chance(rng, 85) else self.outside_source(v4))
        else:
            clients = number is not None and chance(rng, 70)
            sources = OUTSIDE[:5] + OUTSIDE[5:9] if clients else remote
            packet.update(hook='from_tunnel', sender=sender, to=to, src=rng.choice([text for text in sources if (':' in text) != v4])
                          if chance(rng, 88) else self.outside_source(v4))
        self.protocol(packet, v4)
        if proto is not None and packet['hook'] == 'from_tunnel':
            packet.pop('type', None)
            packet.update(proto=proto, dport=number, flags=SYN if chance(rng, 92) else ACK)
        self.flows.append([self.ids, packet['proto'], 0, False])
        self.oddities(packet, v4)
        return packet

    def outside_source(self, v4):
        texts = [item['ip'] for obj in self.maker.of_kind('Pod') if obj['spec'].get('nodeName') != 'n1'
                 for item in obj['status']['podIPs']]
        virtual = [text for obj in self.maker.of_kind('Service') for text in obj['spec']['clusterIPs']]
        pool = texts * 2 + OUTSIDE + NODES[1:4] + NODES[5:] + NOWHERE[2:] + virtual
        return self.rng.choice([text for text in pool if (':' not in text) == v4])

    def oddities(self, packet, v4):
        rng, kind = self.rng, self.rng.random()
        hook = packet['hook']
        if self.plain and kind >= 0.05:
            return
        if kind < 0.02:
            packet['ttl'] = rng.choice([0, 1, 2, 255])
        elif kind < 0.05:
            self.fragment(packet)
        elif kind < 0.065 and hook != 'to_pod':
            packet['src'] = rng.choice(['10.1.0.5', '10.1.0.6', '127.0.0.1', '192.168.7.1', '224.0.0.1', '8.8.4.4', '192.168.7.2']
                                       if v4 else ['fd00:1::5', 'fd00:1::6', '::1', 'fd00:7::1', 'ff02::1', '2001:db8::5', 'fe80::9'])
        elif kind < 0.07 and hook == 'from_pod':
            packet['smac'] = '020000000abc'
        elif kind < 0.08 and hook != 'to_pod':
            packet['to'] = rng.choice(['127.0.0.1', '224.0.0.5', '255.255.255.255'] if v4 else ['::1', 'ff02::5', 'fe80::1'])
        elif kind < 0.085:
            packet['options'] = rng.choice(['01010101', '83030400', '89030400', '94040000'] if v4 else ['0000010400000000'])
        elif kind < 0.09:
            packet['broken'] = rng.choice([34, 36, 41] if v4 else [54, 56, 61])
        elif kind < 0.1:
            packet.update(proto=ICMP if v4 else ICMPV6, type=3 if v4 else 1, code=1, payload=0)
            packet['about'] = {'src': packet['to'], 'dst': packet.get('src') or packet['to'], 'proto': rng.choice([TCP, UDP]),
                               'sport': packet['dport'], 'dport': packet['sport']}
            packet.pop('flags', None)
            packet.pop('id')
            self.flows.pop()
        elif kind < 0.103 and hook == 'from_pod' and not v4:
            packet.update(proto=ICMPV6, type=rng.choice([130, 133, 134, 136, 137, 143]))
        elif kind < 0.106 and hook == 'from_pod' and v4:
            packet.update(proto=ICMP, type=rng.choice([5, 9]))
        elif kind < 0.109 and hook == 'from_pod' and not v4:
            packet.update(proto=UDP, sport=547, dport=546)
        elif kind < 0.114 and hook == 'from_wire':
            packet['hook'] = rng.choice(['wire_xdp', 'to_wire'])

    def fragment(self, packet):
        """A piece of a larger packet: the first, a later one, one that is too small, one that begins too early."""
        rng = self.rng
        packet['payload'] = 400
        ident = self.ids if chance(rng, 90) else 7
        packet['frag'] = rng.choice([[0, 64, True, ident], [0, 64, True, ident], [0, 64, True, ident], [64, 64, True, ident],
                                     [128, 40, False, ident], [0, 8, True, ident], [8, 32, True, ident]])
        if packet['proto'] not in (TCP, UDP):
            packet.update(proto=UDP)

    def following(self, flow):
        """The next packet of an earlier flow, or one that does not belong."""
        rng = self.rng
        number, proto, at, masqueraded = flow
        packet = {'of': number, 'way': rng.choice(['forward', 'reply'])}
        kind = rng.random()
        if kind < 0.1 and not masqueraded:  # of those the node's stack makes something else first
            packet['error'] = rng.randint(0, 2)
            if chance(rng, 50):
                packet['router'] = rng.choice(OUTSIDE)
            return packet
        if proto == TCP:
            script = SCRIPT[TCP]
            if kind < 0.85:
                packet['way'], packet['flags'] = script[at % len(script)]
                flow[2] += 1
            else:
                packet['flags'] = rng.choice([SYN, ACK, RST, FIN | ACK, SYN | ACK])
        elif kind < 0.7:
            packet['way'] = ('reply', 'forward', 'forward', 'reply')[at % 4]
            flow[2] += 1
        packet['payload'] = rng.choice([0, 5, 100])
        if packet['way'] == 'reply' and not self.plain and chance(rng, 4):
            packet['stack'] = 'other'
        if not self.plain and chance(rng, 30):
            packet['xdp'] = True
        if kind > 0.97 and proto in (TCP, UDP):
            packet['payload'] = 400
            packet['frag'] = rng.choice([[0, 64, True, number], [64, 64, True, number], [128, 40, False, number]])
        if kind > 0.96 and chance(rng, 30):
            packet['ttl'] = rng.choice([0, 1])
        return packet
