# SPDX-License-Identifier: Apache-2.0
"""Containers that publish ports, and places that ask them."""

import contextlib

from lib import objects
from lib.netns import run
from lib.objects import labels, policy
from lib.traffic import SOCKET_FAMILY, V4, V6, Server, reach, wait_until

TCP_PORT, UDP_PORT, LOCAL_PORT = 18080, 15353, 18081
PUBLISHED = ("-p", f"{TCP_PORT}:8080", "-p", f"{UDP_PORT}:5353/udp")
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
PUBLISHED_LOCALLY = {V4: ("-p", f"127.0.0.1:{LOCAL_PORT}:8080"), V6: ("-p", f"[::1]:{LOCAL_PORT}:8080")}


class Inside:
    """A running container's network namespace, as a place for sockets."""

    def __init__(self, world, container):
        self.node = world.node
        pid = world.podman.call("inspect", "-f", "{{.State.Pid}}", container.name).stdout.strip()
        self.path = f"/proc/{pid}/ns/net"

    def socket(self, family, kind, proto=0):
        return self.node.factory.socket(self.path, family, kind, proto)


def fetch(where, address, port=TCP_PORT):
    """
    What the web server there says to a container, to a namespace, or to a process of the node (the programs at sockets
    serve those); or None.
    """
    if hasattr(where, "fetch"):
        return where.fetch(address, port)
    host = f"[{address}]" if ":" in address else address
    command = ("curl", "-s", "-m", "3", f"http://{host}:{port}/")
    done = (run(where.process_command(*command), check=False) if hasattr(where, "process_command")
            else where.run(*command, check=False))
    return done.stdout.strip() if done.returncode == 0 else None


def asked_by_udp(where, address, port=UDP_PORT):
    """The name that the UDP server there answers with, or what came of it."""
    probe = reach(where, address, port, "UDP")
    return probe.answer["server"] if probe.verdict == "open" else probe.verdict


@contextlib.contextmanager
def published(world, words=PUBLISHED, **options):
    """A container that serves TCP and UDP and publishes ports by these words, and another one beside it."""
    web = other = None
    servers = []
    try:
        web = world.podman.serve("web", args=words, **options)
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


def answers_by_tcp(world, web, other, address):
    """Who got which answer at the published port."""
    places = {"the outside": world.outside, "the node": world.node, "another container": other, "the container itself": web}
    return {name: fetch(place, address) for name, place in places.items()}


def answers_by_udp(world, web, other, address):
    places = {"the outside": world.outside, "the node": world.node, "another container": Inside(world, other),
              "the container itself": Inside(world, web)}
    return {name: asked_by_udp(place, address) for name, place in places.items()}


@contextlib.contextmanager
def published_to_one(world, address):
    """The container beside the one that serves, which a policy lets through to the port at this address, and nobody else."""
    for name in ("web", "other"):
        world.resources.put(f"pod-{name}", objects.pod(name, labels={"app": name}, node_name=world.node.name))
    with published(world) as (_, other):
        assert fetch(world.outside, address) == "web" and fetch(other, address) == "web"
        world.policies(policy("web", labels(app="web"), policyTypes=["Ingress"],
                              ingress=[{"from": [{"podSelector": labels(app="other")}], "ports": [{"port": 8080}]}]))
        wait_until(lambda: fetch(world.outside, address) is None, "the outside is shut out", 10)
        assert fetch(other, address) == "web"
        yield other


def expect_answers_until_it_ends(world, family):
    """Everybody is answered at the node's address, the node at localhost too; nobody once the container is gone."""
    address = world.node.ips[family]
    with published(world) as (web, other):
        for found in (answers_by_tcp(world, web, other, address), answers_by_udp(world, web, other, address)):
            assert set(found.values()) == {"web"}, found
        assert fetch(world.node, LOOPBACK[family]) == "web", "the node by localhost"
    assert fetch(world.outside, address) is None and fetch(world.node, LOOPBACK[family]) is None, "gone with it"
    assert asked_by_udp(world.outside, address) != "web", "gone with it"


def expect_localhost_alone(world, family):
    """A port that is published at localhost is served there, and nowhere else."""
    with published(world, PUBLISHED_LOCALLY[family]) as (_, other):
        assert fetch(world.node, LOOPBACK[family], LOCAL_PORT) == "web"
        for address in world.node.ips.values():
            found = [fetch(place, address, LOCAL_PORT) for place in (world.outside, world.node, other)]
            assert found == [None, None, None], found
        assert fetch(world.node, LOOPBACK[V4 if family == V6 else V6], LOCAL_PORT) is None, "the other family's"
