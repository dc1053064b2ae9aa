# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy and ClusterNetworkPolicy: whom they select, and which packets their rules match.

Written from the text of the APIs networking.k8s.io/v1 and policy.networking.k8s.io/v1alpha2.
"""

from labels import PROTOCOLS, Block, Selector, Unreadable

ADMIN, NETWORK_POLICY, BASELINE = 'Admin', 'NetworkPolicy', 'Baseline'
ALLOW, DENY, PASS = 'Accept', 'Deny', 'Pass'


class Port:
    """One element of ports or protocols. `proto` None: of any protocol (only by name)."""

    def __init__(self, proto, first=None, last=None, name=None):
        self.proto, self.first, self.last, self.name = proto, first, last, name

    def matches(self, proto, port, target):
        """`target`: the pod that the packet goes to, if it is one."""
        if self.name is not None:
            return (target is not None and (self.proto is None or self.proto == proto) and
                    (self.name, proto, port) in target.named_ports)
        if self.proto != proto:
            return False
        return self.first is None or self.first <= port <= self.last

    def may_match(self, proto, port, target):
        """Of a pod that no object names, a port may have any name."""
        if self.name is not None and target is None:
            return proto in PROTOCOLS.values() if self.proto is None else self.proto == proto
        return self.matches(proto, port, target)


class Peer:
    """Who is at the other end: a pod by selectors, a node by its labels, or an address by a block."""

    def __init__(self, namespace=None, namespaces=None, pods=None, block=None, excepts=(), nodes=None):
        self.namespace, self.namespaces, self.pods = namespace, namespaces, pods
        self.block, self.excepts, self.nodes = block, excepts, nodes
        self.by_address = block is not None or nodes is not None

    def matches(self, world, number):
        if self.block is not None:
            return number in self.block and not any(number in part for part in self.excepts)
        if self.nodes is not None:
            return any(self.nodes.matches(labels) for labels in world.nodes_at(number))
        pod = world.pod_at(number)
        if pod is None:
            return False
        if self.namespaces is None:
            if pod.namespace != self.namespace:
                return False
        elif not self.namespaces.matches(world.namespace_labels(pod.namespace)):
            return False
        return self.pods is None or self.pods.matches(pod.labels)


class Rule:
    """`peers` None: everybody. `ports` None: every port and protocol."""

    def __init__(self, policy, direction, index, action, peers, ports):
        self.policy, self.direction, self.index, self.action = policy, direction, index, action
        self.peers, self.ports = peers, ports
        self.name = (policy.namespace, policy.name, direction, index)

    def may_match(self, proto, port, target):
        """Asked for a pod that no object names: does some choice of labels, and of names for its ports, make the rule match?"""
        if self.peers is None or all(p.by_address for p in self.peers):
            return False
        return self.ports is None or any(p.may_match(proto, port, target) for p in self.ports)

    def accepts_by_address(self, proto, port, target):
        return (self.action == ALLOW and self.peers is not None and any(p.by_address for p in self.peers) and
                (self.ports is None or any(p.matches(proto, port, target) for p in self.ports)))

    def may_deny(self, proto, port, target):
        return self.action == DENY and (self.ports is None or any(p.may_match(proto, port, target) for p in self.ports))

    def matches(self, world, number, proto, port, target):
        if self.ports is not None and not any(p.matches(proto, port, target) for p in self.ports):
            return False
        return self.peers is None or world.peer_of(self, number)


def network_policy_port(item):
    proto = item.get('protocol') or 'TCP'
    if proto not in PROTOCOLS:
        raise Unreadable(f'protocol {proto}')
    port, end = item.get('port'), item.get('endPort')
    if isinstance(port, str):
        if end is not None:
            raise Unreadable('endPort needs a number')
        return Port(PROTOCOLS[proto], name=port)
    if port is None:
        if end is not None:
            raise Unreadable('endPort needs a port')
        return Port(PROTOCOLS[proto])
    if end is not None and end < port:
        raise Unreadable('endPort below port')
    return Port(PROTOCOLS[proto], port, port if end is None else end)


def network_policy_peer(namespace, item):
    block = item.get('ipBlock')
    if block is not None:
        if item.get('podSelector') is not None or item.get('namespaceSelector') is not None:
            raise Unreadable('ipBlock beside a selector')
        whole = Block(block['cidr'])
        excepts = [Block(text) for text in block.get('except') or []]
        if not all(part.inside(whole) for part in excepts):
            raise Unreadable('except outside of its block')
        return Peer(block=whole, excepts=excepts)
    namespaces, pods = item.get('namespaceSelector'), item.get('podSelector')
    if namespaces is None and pods is None:
        raise Unreadable('an element that names no peer')
    return Peer(namespace=namespace, namespaces=None if namespaces is None else Selector(namespaces),
                pods=None if pods is None else Selector(pods))


class NetworkPolicy:
    tier = NETWORK_POLICY

    def __init__(self, obj):
        meta, spec = obj['metadata'], obj.get('spec') or {}
        self.namespace, self.name = meta.get('namespace') or 'default', meta['name']
        self.selector = Selector(spec.get('podSelector'))
        self.rules = {'ingress': self.section(spec, 'ingress', 'from'), 'egress': self.section(spec, 'egress', 'to')}
        types = spec.get('policyTypes') or ['Ingress'] + (['Egress'] if spec.get('egress') else [])
        self.isolates = {'ingress': 'Ingress' in types, 'egress': 'Egress' in types}

    def section(self, spec, direction, peers):
        rules = []
        for index, item in enumerate(spec.get(direction) or []):
            who = [network_policy_peer(self.namespace, peer) for peer in item.get(peers) or []] or None
            ports = [network_policy_port(port) for port in item.get('ports') or []] or None
            rules.append(Rule(self, direction, index, ALLOW, who, ports))
        return rules

    def selects(self, world, pod):
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)


def cluster_peers(item, egress):
    """The peers of one element (`networks` gives several); None: of a kind that is not known."""
    if len(item) != 1:
        return None
    kind, value = next(iter(item.items()))
    if kind == 'namespaces':
        return [Peer(namespaces=Selector(value))]
    if kind == 'pods':
        return [Peer(namespaces=Selector(value.get('namespaceSelector')), pods=Selector(value.get('podSelector')))]
    if egress and kind == 'nodes':
        return [Peer(nodes=Selector(value))]
    if egress and kind == 'networks':
        return [Peer(block=Block(text)) for text in value]
    return None


def cluster_port(item):
    """None: of a kind that is not known."""
    if len(item) != 1:
        return None
    kind, value = next(iter(item.items()))
    if kind == 'destinationNamedPort':
        return Port(None, name=value)
    if kind not in ('tcp', 'udp', 'sctp'):
        return None
    if set(value) != {'destinationPort'} or set(value['destinationPort']) not in ({'number'}, {'range'}):
        return None
    proto, port = PROTOCOLS[kind.upper()], value['destinationPort']
    if 'number' in port:
        return Port(proto, port['number'], port['number'])
    first, last = port['range']['start'], port['range']['end']
    if first >= last:
        raise Unreadable('a range whose start is not below its end')
    return Port(proto, first, last)


class ClusterNetworkPolicy:
    namespace = ''

    def __init__(self, obj):
        spec = obj['spec']
        self.name, self.tier, self.priority = obj['metadata']['name'], spec['tier'], spec['priority']
        if self.tier not in (ADMIN, BASELINE) or not 0 <= self.priority <= 1000:
            raise Unreadable('tier or priority')
        subject = spec['subject']
        pods = subject.get('pods')
        self.namespaces = Selector(pods.get('namespaceSelector') if pods is not None else subject['namespaces'])
        self.pods = Selector(pods.get('podSelector')) if pods is not None else None
        self.rules = {'ingress': self.section(spec, 'ingress', 'from'), 'egress': self.section(spec, 'egress', 'to')}

    def section(self, spec, direction, peers):
        items = spec.get(direction) or []
        if len(items) > 25:
            raise Unreadable('more than 25 rules')
        return [rule for rule in (self.rule(direction, index, item, item[peers]) for index, item in enumerate(items))
                if rule is not None]

    def rule(self, direction, index, item, who):
        action = item['action']
        peers = [cluster_peers(peer, direction == 'egress') for peer in who]
        ports = [cluster_port(port) for port in item.get('protocols') or []]
        if None in peers or None in ports:
            # Of a newer API: fail closed. An Accept matches nothing, the others are "deny all".
            return None if action == ALLOW else Rule(self, direction, index, DENY, None, None)
        return Rule(self, direction, index, action, sum(peers, []), ports or None)

    def selects(self, world, pod):
        return (self.namespaces.matches(world.namespace_labels(pod.namespace)) and
                (self.pods is None or self.pods.matches(pod.labels)))
