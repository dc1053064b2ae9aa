# SPDX-License-Identifier: Apache-2.0
"""Ports that podman publishes (-p) and Polder serves: from everywhere, under policy, and gone with their container."""

import contextlib

from lib import objects
from lib.netns import run
from lib.objects import labels, policy
from lib.runner import each_family, limit
from lib.traffic import SOCKET_FAMILY, V4, V6, Server, reach, wait_until
from publishing import Inside, fetch as fetch_from
from runtimes import IMAGE, need

WORLD = {"nodes": 1}
TCP_PORT, UDP_PORT, LOCAL_PORT = 18080, 15353, 18081
PUBLISHED = {"args": ["-p", f"{TCP_PORT}:8080", "-p", f"{UDP_PORT}:5353/udp", "-p", f"127.0.0.1:{LOCAL_PORT}:8080"]}
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}


def fetch(where, address, port=TCP_PORT):
    """As a process of the node where it is the node: those the programs at sockets serve."""
    if not hasattr(where, "process_command"):
        return fetch_from(where, address, port)
    host = f"[{address}]" if ":" in address else address
    done = run(where.process_command("curl", "-s", "-m", "3", f"http://{host}:{port}/"), check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def setup(world):
    need("podman", "curl")
    world.podman.write_network("1.0.0")


@contextlib.contextmanager
def published(world, **options):
    web = other = None
    servers = []
    try:
        web = world.podman.serve("web", **{**PUBLISHED, **options})
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
def test_port_that_podman_publishes_answers_everybody(world, family):
    address = world.node.ips[family]
    with published(world) as (web, other):
        assert fetch(world.outside, address) == "web", "the outside"
        assert fetch(world.node, address) == "web", "the node itself"
        assert fetch(world.node, LOOPBACK[family]) == "web", "the node by localhost"
        assert other.fetch(address, TCP_PORT) == "web", "another container"
        assert web.fetch(address, TCP_PORT) == "web", "the container itself"
        for source in (world.outside, world.node, Inside(world, other), Inside(world, web)):
            probe = reach(source, address, UDP_PORT, "UDP")
            assert probe.verdict == "open" and probe.answer["server"] == "web", f"{source}: {probe.verdict}"
    assert fetch(world.outside, address) is None and fetch(world.node, LOOPBACK[family]) is None, "gone with it"


@limit(150)
def test_port_of_localhost_is_the_nodes_alone(world):
    with published(world) as (_, other):
        assert fetch(world.node, LOOPBACK[V4], LOCAL_PORT) == "web"
        for address in (world.node.ips[V4], world.node.ips[V6]):
            assert fetch(world.outside, address, LOCAL_PORT) is None and fetch(world.node, address, LOCAL_PORT) is None
        assert fetch(world.node, LOOPBACK[V6], LOCAL_PORT) is None


@each_family
@limit(150)
def test_policy_holds_at_a_port_that_podman_publishes(world, family):
    address = world.node.ips[family]
    for name in ("web", "other"):
        world.resources.put(f"pod-{name}", objects.pod(name, labels={"app": name}, node_name=world.node.name))
    with published(world) as (_, other):
        assert fetch(world.outside, address) == "web" and other.fetch(address, TCP_PORT) == "web"
        world.policies(policy("web", labels(app="web"), policyTypes=["Ingress"],
                              ingress=[{"from": [{"podSelector": labels(app="other")}], "ports": [{"port": 8080}]}]))
        wait_until(lambda: fetch(world.outside, address) is None, "the outside is shut out", 10)
        assert other.fetch(address, TCP_PORT) == "web"


@limit(150)
def test_port_of_another_container_is_refused_by_its_name(world):
    with published(world) as (web, _):
        done = world.podman.call("run", "--rm", "--network", "polder", *PUBLISHED["args"][:2], IMAGE, "true", check=False)
        assert done.returncode and "portMappings" in done.stderr and "web" in done.stderr, done.stderr
        assert fetch(world.outside, world.node.ips[V4]) == "web"
        assert web.fetch(world.node.ips[V4], TCP_PORT) == "web"
