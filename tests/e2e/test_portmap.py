# SPDX-License-Identifier: Apache-2.0
"""Ports that the plugin portmap publishes for podman's containers on Polder: from everywhere, under policy, and gone with them."""

import contextlib
import os

from lib import objects
from lib.nat import forwards
from lib.objects import labels, policy
from lib.runner import Skip, each_family, limit
from lib.traffic import SOCKET_FAMILY, V4, Server, reach, wait_until
from runtimes import need

WORLD = {"nodes": 1}
PORTMAP = "/usr/lib/cni/portmap"
TCP_PORT, UDP_PORT = 18080, 15353
PUBLISHED = {"args": ["-p", f"{TCP_PORT}:8080", "-p", f"{UDP_PORT}:5353/udp"]}


def setup(world):
    need("podman", "curl", "iptables")
    if not os.path.exists(PORTMAP):
        raise Skip(f"no {PORTMAP}: deploy/install-deps test")
    forwards(world.node)
    world.node.before = world.node.ruler()
    world.podman.write_network("1.0.0", behind=[{"type": "portmap", "capabilities": {"portMappings": True}}])


class Inside:
    """A running container's network namespace, as a place for sockets."""

    def __init__(self, world, container):
        self.node = world.node
        pid = world.podman.call("inspect", "-f", "{{.State.Pid}}", container.name).stdout.strip()
        self.path = f"/proc/{pid}/ns/net"

    def socket(self, family, kind, proto=0):
        return self.node.factory.socket(self.path, family, kind, proto)


def fetch(where, address, port=TCP_PORT):
    """What the web server there says to a namespace, or None."""
    host = f"[{address}]" if ":" in address else address
    netns = getattr(where, "netns", where)
    done = netns.run("curl", "-s", "-m", "3", f"http://{host}:{port}/", check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@contextlib.contextmanager
def published(world):
    """A container that serves TCP and UDP at published ports, and another one beside it."""
    web = other = None
    servers = []
    try:
        web = world.podman.serve("web", **PUBLISHED)
        other = world.podman.start("other")
        servers = [Server(world.loop, Inside(world, web), "web", "UDP", 5353, family) for family in SOCKET_FAMILY]
        for address in web.addresses().values():
            wait_until(lambda a=address: reach(world.node, a, 8080, timeout=0.3).verdict != "refused", "web serves", 5)
        yield web, other
    finally:
        for server in servers:
            server.close()
        for container in (web, other):
            if container:
                container.remove()


@each_family
@limit(150)
def test_port_that_portmap_publishes_answers_everybody(world, family):
    address = world.node.ips[family]
    with published(world) as (web, other):
        assert fetch(world.outside, address) == "web", "the outside"
        assert fetch(world.node, address) == "web", "the node itself"
        assert other.fetch(address, TCP_PORT) == "web", "another container"
        assert web.fetch(address, TCP_PORT) == "web", "the container itself"
        if family == V4:
            assert fetch(world.node, "127.0.0.1") == "web", "the node by localhost"


@each_family
@limit(150)
def test_udp_port_that_portmap_publishes_answers_everybody(world, family):
    address = world.node.ips[family]
    with published(world) as (web, other):
        for source in (world.outside, world.node, Inside(world, other), Inside(world, web)):
            probe = reach(source, address, UDP_PORT, "UDP")
            assert probe.verdict == "open" and probe.answer["server"] == "web", f"{source}: {probe.verdict}"


@each_family
@limit(150)
def test_policy_holds_at_a_port_that_portmap_publishes(world, family):
    address = world.node.ips[family]
    for name in ("web", "other"):
        world.resources.put(f"pod-{name}", objects.pod(name, labels={"app": name}, node_name=world.node.name))
    with published(world) as (_, other):
        assert fetch(world.outside, address) == "web" and other.fetch(address, TCP_PORT) == "web"
        world.policies(policy("web", labels(app="web"), policyTypes=["Ingress"],
                              ingress=[{"from": [{"podSelector": labels(app="other")}]}]))
        wait_until(lambda: fetch(world.outside, address) is None, "the outside is shut out", 10)
        assert other.fetch(address, TCP_PORT) == "web"
        world.policies(policy("other", labels(app="other"), policyTypes=["Egress"], egress=[
            {"to": [{"ipBlock": {"cidr": f"{address}/{32 if family == V4 else 128}"}}]}]))
        wait_until(lambda: other.fetch(address, TCP_PORT) is None, "egress to the node is none to the container", 10)
        assert fetch(world.outside, address) == "web"


@limit(150)
def test_published_port_goes_with_its_container(world):
    with published(world):
        assert fetch(world.outside, world.node.ips[V4]) == "web"
    assert fetch(world.outside, world.node.ips[V4]) is None
