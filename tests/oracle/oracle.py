# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes' objects allow, asked of one node: an evaluation that shares nothing with Polder's own.

Objects go in as kubectl prints them. A question is a pod, a direction, the address at the other end, a protocol and a
port; the answer says allowed or not, which tier decided and which rules of which objects, or which policies isolate
the pod. Sources: the API texts of networking.k8s.io/v1 and policy.networking.k8s.io/v1alpha2, and docs/policy.md where
those leave a point open.
"""

from collections import namedtuple

from labels import PROTOCOLS, Block, address
from policies import ADMIN, ALLOW, BASELINE, DENY, NETWORK_POLICY, PASS, ClusterNetworkPolicy, NetworkPolicy
from services import frontends

# `rules`: names (namespace, policy, direction, index) of the rules that each alone explain the verdict. `tier` None: nothing
# matched. `isolating`: names of the NetworkPolicies that isolate the pod in this direction. `passed`: names of the rules whose action
# Pass left a tier.
Verdict = namedtuple('Verdict', 'allowed tier rules isolating passed')

CLOSED = 'closed'  # tier of a verdict: nothing passes, since what held the pod is not known any more

CLUSTER_KINDS = ('Namespace', 'Node', 'ClusterNetworkPolicy')


def key_of(obj):
    meta = obj['metadata']
    return '' if obj['kind'] in CLUSTER_KINDS else meta.get('namespace') or 'default', meta['name']


class Pod:
    """What policies see of a pod. `addresses` are those of the node's attachment where there is one."""

    def __init__(self, namespace, name, labels, addresses, ports=(), obj=None):
        status = (obj or {}).get('status') or {}
        self.namespace, self.name, self.labels, self.addresses = namespace, name, labels, addresses
        self.named_ports = frozenset(ports)
        self.container = None  # of a pod of this node
        self.node = ((obj or {}).get('spec') or {}).get('nodeName')
        self.finished = obj is not None and finished(obj)
        self.terminating = bool(obj and obj['metadata'].get('deletionTimestamp'))
        conditions = status.get('conditions')
        self.ready = not conditions or any(c['type'] == 'Ready' and c['status'] == 'True' for c in conditions)

    @property
    def key(self):
        return self.namespace, self.name


def named_ports(obj):
    """(name, protocol, number) of the containers and of sidecars."""
    spec = obj.get('spec') or {}
    sidecars = [c for c in spec.get('initContainers') or [] if c.get('restartPolicy') == 'Always']
    for container in (spec.get('containers') or []) + sidecars:
        for port in container.get('ports') or []:
            if port.get('name'):
                yield port['name'], PROTOCOLS[port.get('protocol') or 'TCP'], port['containerPort']


def pod_addresses(obj):
    status = obj.get('status') or {}
    texts = [item['ip'] for item in status.get('podIPs') or []] or ([status['podIP']] if status.get('podIP') else [])
    return tuple(address(text) for text in texts)


def takes_part(obj):
    """Host-network pods are their node; a finished pod has lent its address back."""
    return not (obj.get('spec') or {}).get('hostNetwork') and not finished(obj)


def finished(obj):
    return (obj.get('status') or {}).get('phase') in ('Succeeded', 'Failed')


class World:
    """All objects, and the pods that are connected to this node."""

    def __init__(self, node='n1', pod_ranges=(), addresses=(), forwarding='snat'):
        self.node, self.forwarding = node, forwarding
        self.own_ranges = [Block(text) for text in pod_ranges]
        self.own_addresses = {address(text) for text in addresses}
        self.objects = {}   # (kind, namespace, name): object
        self.attached = {}  # container: (namespace, name, labels, addresses)
        self.parted = {}    # (namespace, name): the Pod object that went while the pod stayed connected
        self.policies = {}  # (kind, namespace, name): NetworkPolicy or ClusterNetworkPolicy
        self.kept = []      # (policy's key, policy, time): those that went, for pods on their way out
        self.ending = {}    # container: since when its pod is on its way out
        self.closed = {}    # container: the directions that a restart left closed
        self.lost = {}      # container: the policies in whose stead it is
        self.time = 0
        self.changed()

    def changed(self):
        self.memo = {}
        self.tables = None
        self.subjects = {}
        self.peers = {}

    # ---------------------------------------------------------------- what there is

    def put(self, obj):
        kind, (namespace, name) = obj['kind'], key_of(obj)
        if kind == 'NetworkPolicy':
            self.policies[kind, namespace, name] = NetworkPolicy(obj)
        elif kind == 'ClusterNetworkPolicy':
            self.policies[kind, namespace, name] = ClusterNetworkPolicy(obj)
        elif kind == 'Pod':
            self.parted.pop((namespace, name), None)
        self.objects[kind, namespace, name] = obj
        self.changed()

    def delete(self, kind, namespace, name):
        obj = self.objects.pop((kind, namespace, name), None)
        policy = self.policies.pop((kind, namespace, name), None)
        if policy is not None:
            self.kept.append(((kind, namespace, name), policy, self.time + 1))
        if kind == 'Pod' and obj is not None and any(at[:2] == (namespace, name) for at in self.attached.values()):
            self.parted[namespace, name] = obj
        self.changed()

    def attach(self, container, namespace, name, labels, addresses):
        self.attached[container] = (namespace, name, dict(labels), tuple(address(text) for text in addresses))
        self.changed()

    def detach(self, container):
        namespace, name = self.attached.pop(container)[:2]
        self.ending.pop(container, None)
        self.closed.pop(container, None)
        self.lost.pop(container, None)
        if not any(at[:2] == (namespace, name) for at in self.attached.values()):
            self.parted.pop((namespace, name), None)
        self.changed()

    # ---------------------------------------------------------------- pods on their way out (NP-24)

    def is_ending(self, namespace, name):
        """Its object or its namespace's says so, or the object went before the container."""
        obj = self.objects.get(('Pod', namespace, name))
        if obj is None:
            gone = (namespace, name) in self.parted
        else:
            gone = bool(obj['metadata'].get('deletionTimestamp')) or finished(obj)
        home = self.objects.get(('Namespace', '', namespace))
        return gone or bool(home and home['metadata'].get('deletionTimestamp'))

    def in_force(self):
        """The changes so far are in force. A pod that ends keeps the policies that go from then on: with one stroke counts."""
        self.time += 1
        for container, (namespace, name, _, _) in self.attached.items():
            if self.is_ending(namespace, name):
                self.ending.setdefault(container, self.time)
            else:
                self.ending.pop(container, None)
                self.closed.pop(container, None)
                self.lost.pop(container, None)
        first = min(self.ending.values(), default=None)
        self.kept = [item for item in self.kept
                     if item[0] not in self.policies and first is not None and first <= item[2]]
        self.changed()

    def restart(self):
        """What was kept is lost: the pods that it held are closed in its stead."""
        for container in self.ending:
            pod = self.pod_of(container)
            self.lost.setdefault(container, []).extend(self.held(pod))
            for policy in self.held(pod):
                for direction in ('ingress', 'egress'):
                    if policy.selects(self, pod) and (policy.rules[direction] if policy.tier != NETWORK_POLICY else
                                                      policy.isolates[direction]):
                        self.closed.setdefault(container, set()).add(direction)
        self.kept, self.ending = [], {}
        for key, obj in self.parted.items():  # of an object that went its labels are on record, no more
            self.parted[key] = {'metadata': obj['metadata'], 'spec': {}, 'status': {}}
        self.in_force()

    def held(self, pod):
        since = self.ending.get(pod.container)
        return [policy for _, policy, time in self.kept if since is not None and since <= time]

    def of_kind(self, kind):
        return [obj for (k, _, _), obj in self.objects.items() if k == kind]

    # ---------------------------------------------------------------- who is who

    def build(self):
        """Tables of addresses, made once after a change."""
        self.by_address, self.by_container, self.node_labels = {}, {}, {}
        for obj in self.of_kind('Pod'):
            if takes_part(obj) and (obj.get('spec') or {}).get('nodeName') != self.node:
                pod = Pod(*key_of(obj), obj['metadata'].get('labels') or {}, pod_addresses(obj), named_ports(obj), obj)
                for number in pod.addresses:
                    self.by_address.setdefault(number, pod)
        for obj in self.of_kind('Node'):
            for item in (obj.get('status') or {}).get('addresses') or []:
                if item['type'] in ('InternalIP', 'ExternalIP'):
                    number = address(item['address'])
                    self.node_labels.setdefault(number, []).append(obj['metadata'].get('labels') or {})
                    self.by_address.pop(number, None)
        for container, (namespace, name, labels, addresses) in self.attached.items():
            obj = self.objects.get(('Pod', namespace, name)) or self.parted.get((namespace, name))
            if obj is not None:
                pod = Pod(namespace, name, obj['metadata'].get('labels') or {}, addresses, named_ports(obj), obj)
            else:
                pod = Pod(namespace, name, labels, addresses)
            self.by_container[container] = pod
            pod.container = container
            pod.terminating |= (namespace, name) in self.parted
            if obj is None or takes_part(obj):
                for number in addresses:
                    self.by_address[number] = pod
        self.pod_ranges = self.own_ranges + [Block(text) for obj in self.of_kind('Node') if obj['metadata']['name'] != self.node
                                             for text in (obj.get('spec') or {}).get('podCIDRs') or []]
        self.tables = frontends(self)

    def ready(self):
        if self.tables is None:
            self.build()

    def pod_at(self, number):
        self.ready()
        return self.by_address.get(number)

    def unknown_pod(self, number):
        """An address that only a pod can have, and no object says which."""
        return (self.pod_at(number) is None and not self.nodes_at(number) and
                any(number in part for part in self.pod_ranges))

    def pod_of(self, container):
        self.ready()
        return self.by_container.get(container)

    def all_pods(self):
        """Those that a Service's selector may find: host-network pods too."""
        pods = {pod.key: pod for pod in self.by_container.values()}
        for obj in self.of_kind('Pod'):
            if key_of(obj) not in pods and not finished(obj):
                pods[key_of(obj)] = Pod(*key_of(obj), obj['metadata'].get('labels') or {}, pod_addresses(obj),
                                        named_ports(obj), obj)
        return [pod for pod in pods.values() if not pod.finished]

    def nodes_at(self, number):
        self.ready()
        return self.node_labels.get(number, ())

    def namespace_labels(self, name):
        obj = self.objects.get(('Namespace', '', name))
        return dict(((obj or {}).get('metadata') or {}).get('labels') or {}, **{'kubernetes.io/metadata.name': name})

    def frontend(self, number, proto, port):
        self.ready()
        return self.tables.frontends.get((number, proto, port))

    def node_port(self, ipv4, proto, port):
        """What is served at all addresses of nodes."""
        self.ready()
        return self.tables.node_ports.get((ipv4, proto, port))

    def affinity(self):
        """Of each port of a Service whether its clients keep their endpoint."""
        self.ready()
        return {front.endpoints.key: bool(front.terms.affinity)
                for found in (self.tables.frontends, self.tables.node_ports) for front in found.values()}

    def service_address(self, number):
        self.ready()
        return number in self.tables.addresses

    def cluster_ip(self, number):
        self.ready()
        return number in self.tables.cluster_ips

    def is_here(self, number):
        """Of an address that nobody says the node of: is it this node's, or in its pods' range?"""
        return number in self.own_addresses or any(number in block for block in self.own_ranges)

    # ---------------------------------------------------------------- what is allowed

    def peer_of(self, rule, number):
        """Does some peer of the rule match? Asked once for each rule and address."""
        found = self.peers.get((rule, number))
        if found is None:
            found = self.peers[rule, number] = any(peer.matches(self, number) for peer in rule.peers)
        return found

    def subject(self, pod, direction, extra=None):
        """What is asked of the pod in this direction: (Admin policies' rules, NetworkPolicies, Baseline's rules)."""
        found = self.subjects.get((pod, direction)) if extra is None else None
        if found is None:
            policies = list(self.policies.values()) + (self.held(pod) if extra is None else extra)
            policies = [policy for policy in policies if policy.selects(self, pod)]
            ordered = sorted((p for p in policies if p.tier != NETWORK_POLICY),
                             key=lambda p: (p.priority, p.name.encode()))
            found = ([r for p in ordered if p.tier == ADMIN for r in p.rules[direction]],
                     sorted((p for p in policies if p.tier == NETWORK_POLICY and p.isolates[direction]),
                            key=lambda p: (p.namespace, p.name)),
                     [r for p in ordered if p.tier == BASELINE for r in p.rules[direction]])
            if extra is None:
                self.subjects[pod, direction] = found
        return found

    def verdict(self, pod, direction, number, proto, port, hairpin=False):
        """May `pod` send to (direction 'egress') or get from ('ingress') the address? `port` is the destination's."""
        question = (pod, direction, number, proto, port, hairpin)
        verdict = self.memo.get(question)
        if verdict is None:
            verdict = self.memo[question] = self.work_out(*question)
        return verdict

    def if_open(self, *question):
        """A pod need not be closed where what was lost changes nothing: the verdict without it, if it is the one with it."""
        lost = self.lost.get(question[0].container, [])
        without = self.work_out(*question, extra=[])
        return without if without.allowed == self.work_out(*question, extra=lost).allowed else None

    def work_out(self, pod, direction, number, proto, port, hairpin, extra=None):
        if extra is None and direction in self.closed.get(pod.container, ()):
            return Verdict(False, CLOSED, (), (), ())
        admin, network, baseline = self.subject(pod, direction, extra)
        isolating = tuple((p.namespace, p.name) for p in network)
        target = pod if direction == 'ingress' else self.pod_at(number)
        passed = ()
        decided, action = self.first(ADMIN, admin, number, proto, port, target)
        if decided is not None:
            if action != PASS:
                return Verdict(action == ALLOW, ADMIN, (decided.name,), isolating, passed)
            passed = decided.name,
        if network:
            if hairpin:
                return Verdict(True, None, (), isolating, passed)
            allowing = tuple(rule.name for policy in network for rule in policy.rules[direction]
                             if rule.matches(self, number, proto, port, target))
            return Verdict(bool(allowing), NETWORK_POLICY, allowing, isolating, passed)
        decided, action = self.first(BASELINE, baseline, number, proto, port, target)
        if decided is not None:
            if action != PASS:
                return Verdict(action == ALLOW, BASELINE, (decided.name,), (), passed)
            passed += decided.name,
        return Verdict(True, None, (), (), passed)

    def first(self, tier, rules, number, proto, port, target):
        """The rule of the tier that decides, and what it comes to; (None, None). With an unknown pod, the stricter of what its labels
        could make of the rules: docs/policy.md says how, where a Pass is among them."""
        unknown, passing = self.unknown_pod(number), None
        for place, rule in enumerate(rules):
            if passing is not None and rule.accepts_by_address(proto, port, target):
                denied = any(later.may_deny(proto, port, target) for later in rules[place + 1:])
                return passing, DENY if denied else PASS
            if rule.matches(self, number, proto, port, target):
                return rule, rule.action
            if unknown and rule.may_match(proto, port, target):
                if rule.action == DENY:
                    return rule, DENY
                if rule.action == PASS and tier == ADMIN and passing is None:
                    passing = rule
        return None, None

    def connection(self, source, destination, proto, port, hairpin=False):
        """Both ends of a connection between two addresses: (egress verdict, ingress verdict), None for an end that is no
        pod of this node."""
        self.ready()
        local = {number: pod for pod in self.by_container.values() for number in pod.addresses}
        out, into = local.get(source), local.get(destination)
        return (out and self.verdict(out, 'egress', destination, proto, port, hairpin),
                into and self.verdict(into, 'ingress', source, proto, port, hairpin))
