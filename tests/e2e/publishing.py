# SPDX-License-Identifier: Apache-2.0
"""Containers that publish ports, and places that ask them."""

import contextlib

from lib.traffic import SOCKET_FAMILY, Server, reach, wait_until

TCP_PORT, UDP_PORT = 18080, 15353
PUBLISHED = {"args": ["-p", f"{TCP_PORT}:8080", "-p", f"{UDP_PORT}:5353/udp"]}


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
