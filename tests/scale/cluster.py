# SPDX-License-Identifier: Apache-2.0
"""A cluster's objects as bytes, made beforehand; what happens in it; and what maps have to say of it."""

import uuid
import zlib

import shapes

NAMESPACES = 200
REPLICAS = 5
TIERS = ("front", "back", "store")
HTTP = 8080
ADDRESS, SERVICE = 0, 1  # what scale-probe looks at
BESIDE = 0.002           # an EndpointSlice follows its pod by so much


def mapped(ip):
    return bytes(10) + b"\xff\xff" + bytes(int(part) for part in ip.split("."))


def address_key(ip):
    return (128).to_bytes(4, "little") + mapped(ip)


def service_key(ip, port=80, proto=6):
    return mapped(ip) + port.to_bytes(2, "big") + bytes((proto, 0))


def uid(kind, number):
    return str(uuid.UUID(int=(zlib.crc32(kind.encode()) & 0xffff) << 64 | number, version=4))


class Pod:
    __slots__ = ("name", "deployment", "node", "ip", "ip6", "uid", "track", "state")

    def __init__(self, name, deployment, node, ip, ip6, uid_):
        self.name, self.deployment, self.node, self.ip, self.ip6, self.uid = name, deployment, node, ip, ip6, uid_
        self.track, self.state = "stable", "running"


class Node:
    __slots__ = ("name", "number", "ip", "ip6", "range", "range6", "next")


class Cluster:
    """
    `own`: the node that polderd runs on, {name, ip, ip6, range, range6}; it has `own_pods` of the pods, without addresses until
    attach(). objects[resource][key] is the present bytes of an object, without what an event says of it.
    """

    replicas = REPLICAS
    ahead = 0.25  # seconds: the probe knows an element so long before it changes, since it may have to wait for a CPU

    def __init__(self, nodes, pods, services, policies, own, own_pods=10, dual=False):
        self.dual, self.version, self.own_name = dual, 1000, own["name"]
        self.counts = {"nodes": nodes, "pods": pods, "services": services, "policies": policies}
        self.deployments = max(pods // self.replicas, 1)
        self.namespaces = min(NAMESPACES, self.deployments)
        self.objects = {name: {} for name in ("namespaces", "nodes", "pods", "services", "endpointslices", "networkpolicies")}
        self._shapes()
        self.nodes = [self._own_node(own)] + [self._node(number) for number in range(1, nodes)]
        self.of = [[] for _ in range(self.deployments)]  # pods of each deployment
        self.serial = 0
        self._make(pods, services, policies, own_pods)
        self.turn = 0

    def _shapes(self):
        dual = self.dual
        self.fill = {
            "running": shapes.filling(shapes.pod(dual)),
            "pending": shapes.filling(shapes.pod(dual, running=False, bound=False)),
            "bound": shapes.filling(shapes.pod(dual, running=False)),
            "terminating": shapes.filling(shapes.pod(dual, terminating=True)),
            "node": shapes.filling(shapes.node(dual)), "namespace": shapes.filling(shapes.namespace()),
            "service": shapes.filling(shapes.service()), "slice": shapes.filling(shapes.slice_of(), ("endpoints",)),
            "endpoint": shapes.filling(shapes.endpoint(), ("ready", "terminating"))}

    # ---- what there is

    def _own_node(self, own):
        node = Node()
        node.name, node.number, node.ip, node.ip6, node.range, node.range6, node.next = \
            own["name"], 0, own["ip"], own["ip6"], own["range"], own["range6"], 2
        return node

    @staticmethod
    def _node(number):
        node = Node()
        node.name, node.number, node.next = f"worker-{number:05d}", number, 2
        node.ip, node.ip6 = f"172.20.{number >> 8}.{number & 255}", f"fd72:20::{number:x}"
        node.range, node.range6 = f"10.{128 + (number >> 8)}.{number & 255}.0/24", f"fd80:0:0:{number:x}::/64"
        return node

    def _make(self, pods, services, policies, own_pods):
        for number in range(self.namespaces):
            name = f"team-{number:03d}"
            self._keep("namespaces", ("", name), self.fill["namespace"](
                name=name, uid=uid("namespace", number), version=self._version(), team=f"team-{number % 20}"))
        for node in self.nodes:
            self.put_node(node)
        for number in range(pods):
            at = self.nodes[0] if number < own_pods else self.nodes[1 + number % (len(self.nodes) - 1)]
            pod = self._new_pod(number % self.deployments, at, number >= own_pods)
            if number < own_pods:
                pod.state = "bound"
            self.put_pod(pod)
        self._make_services(services)
        for number in range(policies):
            self._policy(number)

    def _make_services(self, services):
        self.services = services
        for number in range(services):
            ns, app, name = self.namespace(number), self.app(number), f"svc-{number:05d}"
            self._keep("services", (ns, name), self.fill["service"](
                name=name, ns=ns, uid=uid("service", number), version=self._version(), app=app, ip=self.service_ip(number)))
            self.put_slice(number)

    def namespace(self, deployment):
        return f"team-{deployment % self.namespaces:03d}"

    @staticmethod
    def app(deployment):
        return f"app-{deployment:05d}"

    @staticmethod
    def service_ip(number):
        return f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"

    def _policy(self, number):
        """Who may reach one application: others of its namespace by label, a namespace's canaries, a network; and where it may go."""
        deployment = number % self.deployments
        ns, other = self.namespace(deployment), self.namespace(deployment + 7)
        front = {"podSelector": {"matchLabels": {"app": self.app((deployment + self.namespaces) % self.deployments)}}}
        canaries = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": other}},
                    "podSelector": {"matchExpressions": [{"key": "track", "operator": "In", "values": ["canary", "stable"]},
                                                         {"key": "tier", "operator": "In", "values": [TIERS[number % 3]]}]}}
        block = {"ipBlock": {"cidr": f"192.0.{number % 250}.0/24", "except": [f"192.0.{number % 250}.128/25"]}}
        spec = {"podSelector": {"matchLabels": {"app": self.app(deployment)}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [front, canaries], "ports": [{"protocol": "TCP", "port": "http"}]},
                            {"from": [block], "ports": [{"protocol": "TCP", "port": HTTP, "endPort": HTTP + 10}]}],
                "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"team": f"team-{number % 20}"}}}]},
                           {"ports": [{"protocol": "UDP", "port": 53}]}]}
        name = f"allow-{number:04d}"
        self._keep("networkpolicies", (ns, name), shapes.filling(shapes.policy(spec))(
            name=name, ns=ns, uid=uid("policy", number), version=self._version()))

    def _version(self):
        self.version += 1
        return str(self.version)

    def _keep(self, resource, key, made):
        self.objects[resource][key] = made
        return made

    def _new_pod(self, deployment, node, placed):
        self.serial += 1
        ip = ip6 = None
        if placed:
            ip = f"{node.range.rsplit('.', 1)[0]}.{node.next}"
            ip6 = f"{node.range6.split('/')[0]}{node.next:x}"
            node.next += 1
        name = f"{self.app(deployment)}-{deployment * 2654435761 & 0xfffffff:07x}-{self.serial:05x}"
        pod = Pod(name, deployment, node, ip, ip6, uid("pod", self.serial))
        self.of[deployment].append(pod)
        return pod

    def pod_key(self, pod):
        return self.namespace(pod.deployment), pod.name

    def pod_labels(self, pod):
        """Those that policies name."""
        return self.app(pod.deployment), TIERS[pod.deployment % 3], pod.track

    def put_pod(self, pod, state=None):
        pod.state = state or pod.state
        app, tier, track = self.pod_labels(pod)
        return self._keep("pods", self.pod_key(pod), self.fill[pod.state](
            name=pod.name, set=f"{app}-{pod.deployment * 2654435761 & 0xfffffff:07x}", ns=self.namespace(pod.deployment), uid=pod.uid,
            version=self._version(), app=app, tier=tier, track=track, hash=f"{pod.deployment * 2654435761 & 0xfffffff:07x}",
            owner=uid("set", pod.deployment), node=pod.node.name, hostip=pod.node.ip, ip=pod.ip, ip6=pod.ip6))

    def put_node(self, node, beat=shapes.TIME):
        return self._keep("nodes", ("", node.name), self.fill["node"](
            name=node.name, uid=uid("node", node.number), version=self._version(), ip=node.ip, range=node.range, ip6=node.ip6,
            range6=node.range6, beat=beat))

    def put_slice(self, number):
        """The EndpointSlice of a Service: the pods of the deployment of its number that have addresses."""
        deployment = number % self.deployments
        ns = self.namespace(deployment)
        ends = [self.fill["endpoint"](ip=pod.ip, ready="false" if pod.state == "terminating" else "true", ns=ns, pod=pod.name,
                                      terminating="true" if pod.state == "terminating" else "false", uid=pod.uid,
                                      node=pod.node.name).decode()
                for pod in self.of[deployment] if pod.ip and pod.state in ("running", "terminating")]
        name = f"svc-{number:05d}"
        return self._keep("endpointslices", (ns, f"{name}-x7k2p"), self.fill["slice"](
            name=f"{name}-x7k2p", service=name, ns=ns, uid=uid("slice", number), owner=uid("service", number),
            version=self._version(), endpoints=f"[{','.join(ends)}]"))

    # ---- what happens: (seconds, resource, type, bytes, (what, key) that has to change or None)

    def own_pods(self):
        return [pod for pods in self.of for pod in pods if pod.node is self.nodes[0]]

    def attach(self, ips):
        """The node's own pods have got their addresses: {name: ip}."""
        for pod in self.own_pods():
            pod.ip = ips[pod.name]
            pod.ip6 = pod.ip6 or "fd44:0:0:1::ffff"
            yield 0.0, "pods", "MODIFIED", self.put_pod(pod, "running"), None
            if pod.deployment < self.services:
                yield 0.0, "endpointslices", "MODIFIED", self.put_slice(pod.deployment), None

    def _others(self):
        """A deployment with all its pods elsewhere, each time another one."""
        while True:
            self.turn += 1
            deployment = self.turn * 7919 % self.deployments
            pods = self.of[deployment]
            if len(pods) >= REPLICAS and all(pod.node is not self.nodes[0] and pod.state == "running" for pod in pods):
                return deployment

    def _relabel(self):
        pod = self.of[self._others()][0]
        pod.track = "canary" if pod.track == "stable" else "stable"
        return "pods", "MODIFIED", self.put_pod(pod), (ADDRESS, address_key(pod.ip))

    def _follow(self, deployment, seen):
        if deployment >= self.services:
            return []
        return [("endpointslices", "MODIFIED", self.put_slice(deployment),
                 (SERVICE, service_key(self.service_ip(deployment))) if seen else None)]

    def churn(self, rate, seconds):
        """
        `rate` events of pods a second, ten in turn: four times other labels, a pod that comes (three events) and one that goes (two), and
        one that changes nothing that counts; with the EndpointSlices that follow.
        """
        cycles = round(rate * seconds / 10)
        for cycle in range(cycles):
            coming, going, still = self._others(), self._others(), self._others()
            new = self._new_pod(coming, self.nodes[1 + self.turn % (len(self.nodes) - 1)], True)
            old = self.of[going][-1]
            steps = [
                lambda: [self._relabel()],
                lambda: [("pods", "ADDED", self.put_pod(new, "pending"), None)],
                lambda: [self._relabel()],
                lambda: [("pods", "MODIFIED", self.put_pod(new, "bound"), None)],
                lambda: [("pods", "MODIFIED", self.put_pod(old, "terminating"), None), *self._follow(going, True)],
                lambda: [self._relabel()],
                lambda: [("pods", "MODIFIED", self.put_pod(new, "running"), (ADDRESS, address_key(new.ip))), *self._follow(coming, True)],
                lambda: [("pods", "MODIFIED", self.put_pod(self.of[still][0]), None)],
                lambda: [self._relabel()],
                lambda: [self._delete(old), *self._follow(going, False)]]
            for number, step in enumerate(steps):
                for place, (resource, kind, made, seen) in enumerate(step()):
                    yield (cycle * 10 + number) / rate + place * BESIDE, resource, kind, made, seen

    def _delete(self, pod):
        made = self.put_pod(pod)
        del self.objects["pods"][self.pod_key(pod)]
        self.of[pod.deployment].remove(pod)
        return "pods", "DELETED", made, (ADDRESS, address_key(pod.ip))

    def beats(self, rate, seconds):
        """Nodes that tell that they are there: nothing that counts changes."""
        for number in range(round(rate * seconds)):
            node = self.nodes[1 + number % (len(self.nodes) - 1)]
            yield number / rate, "nodes", "MODIFIED", self.put_node(node, f"2026-11-22T17:00:{number % 60:02d}Z"), None

    def moves(self, rate, seconds):
        """Nodes that get another address."""
        for number in range(round(rate * seconds)):
            node = self.nodes[1 + number % (len(self.nodes) - 1)]
            node.ip = f"172.20.{128 + (node.number >> 8)}.{node.number & 255}" if int(node.ip.split(".")[2]) < 128 else \
                f"172.20.{node.number >> 8}.{node.number & 255}"
            yield number / rate, "nodes", "MODIFIED", self.put_node(node), (ADDRESS, address_key(node.ip))

    # ---- what maps have to say

    def expected(self):
        pods = {pod.ip: [self.namespace(pod.deployment), *self.pod_labels(pod)] for pods in self.of for pod in pods
                if pod.ip and pod.state in ("running", "terminating")}
        services = {}
        for number in range(self.services):
            deployment = number % self.deployments
            services[self.service_ip(number)] = sorted(pod.ip for pod in self.of[deployment] if pod.state == "running")
        nodes = {node.ip: node.range for node in self.nodes}
        return {"pods": pods, "services": services, "nodes": nodes, "own": self.nodes[0].ip}
