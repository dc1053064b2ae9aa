# SPDX-License-Identifier: Apache-2.0
"""Objects of a large cluster, of which one node's agent is to know all: namespaces, nodes, pods, policies, Services."""

from lib import objects

NAMESPACES = 20
NODES = 50
POLICY_KINDS = 3
ENDPOINTS = 5
LOCAL = {"app": "local"}


def namespace(number):
    return f"ns-{number % NAMESPACES}"


def node_name(number):
    return f"other-{number % NODES}"


def addresses(number):
    """Of both families, in the range of the pod's node."""
    node, place = number % NODES + 1, number // NODES + 1
    return [f"10.{node}.{place >> 8}.{place & 255}", f"fd44:1:{node:x}::{place:x}"]


class Cluster:
    """`serials`: each pod has a label of its own that a policy names, so each is an identity of its own."""

    def __init__(self, pods, policies, label_sets, serials=False):
        self.pod_count, self.policy_count, self.label_sets, self.serials = pods, policies, label_sets, serials

    def labels(self, number):
        made = {"app": f"a-{number % self.label_sets // NAMESPACES}", "tier": "backend", "release": "stable"}
        if self.serials:
            made["serial"] = str(number)
        return made

    def pod(self, number, labels=None, ips=None, resource_version=None):
        made = objects.pod(f"pod-{number}", namespace(number), self.labels(number) if labels is None else labels, node_name(number),
                           addresses(number) if ips is None else ips, [("web", 8080, "TCP")])
        if resource_version is not None:
            made["metadata"]["annotations"] = {"example.com/seen": str(resource_version)}
        return made

    def nodes(self):
        return [objects.node(node_name(n), [f"10.{n + 1}.0.0/16", f"fd44:1:{n + 1:x}::/64"], [f"172.30.0.{100 + n}", f"fd30::{100 + n:x}"])
                for n in range(NODES)]

    def namespaces(self):
        return [objects.namespace(namespace(n), team=f"team-{n // 2}") for n in range(NAMESPACES)]

    def policy(self, number):
        """Selects one label set; lets in two of its namespace and one of another team, and a block."""
        kinds = max(1, self.label_sets // NAMESPACES)

        def app(offset):
            return objects.labels(app=f"a-{(number // NAMESPACES + offset) % kinds}")
        port = [{"protocol": "TCP", "port": 8080 + number % 7}]
        rules = [{"from": [{"podSelector": app(1)}, {"podSelector": app(2)}], "ports": port},
                 {"from": [{"namespaceSelector": objects.labels(team=f"team-{number % 10}"), "podSelector": app(3)}], "ports": port}]
        if number % POLICY_KINDS == 0:
            rules.append({"from": [{"ipBlock": {"cidr": f"192.0.{number % 256}.0/24", "except": [f"192.0.{number % 256}.128/25"]}}]})
        return objects.policy(f"policy-{number}", app(0), namespace(number), policyTypes=["Ingress"], ingress=rules)

    def local_policy(self, turn):
        """Selects the ten pods of this node; each turn it says something else."""
        peer = [{"podSelector": objects.labels(app="a-1")}]
        return objects.policy("local", objects.labels(**LOCAL), namespace(0), policyTypes=["Ingress"],
                              ingress=[{"from": peer, "ports": [{"protocol": "TCP", "port": 9000 + turn}]}])

    def own_policies(self):
        """Those of client and server, which are isolated both ways and may do what they do; and the local pods' one."""
        def peer(app):
            return [{"podSelector": objects.labels(app=app)}]
        port = [{"protocol": "TCP", "port": 8080}]
        rules = [{"from": peer("client"), "ports": port}]
        if self.serials:
            rules.append({"from": [{"podSelector": objects.expression("serial", "Exists")}], "ports": [{"protocol": "TCP", "port": 7000}]})
        return [objects.policy("server", objects.labels(app="server"), namespace(0), policyTypes=["Ingress", "Egress"], ingress=rules),
                objects.policy("client", objects.labels(app="client"), namespace(0), policyTypes=["Ingress", "Egress"],
                               egress=[{"to": peer("server"), "ports": port}])]

    def service(self, number):
        """A Service and its slice, of five pods with its label set."""
        pods = [(number + i * self.label_sets) % self.pod_count for i in range(ENDPOINTS)]
        name = f"service-{number}"
        ip = f"10.96.{number // 250}.{number % 250 + 1}"
        ends = [objects.endpoint(addresses(pod)[0], node_name(pod), ready=True) for pod in pods]
        return [objects.service(name, [ip], [objects.service_port(80, 8080)], self.labels(number), ns=namespace(number)),
                objects.endpoint_slice(name + "-a", name, ends, [objects.slice_port(8080)], ns=namespace(number))]
