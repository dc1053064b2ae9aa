# SPDX-License-Identifier: Apache-2.0
"""Ports that a node publishes by rules of its own packet filter, as docker and portmap do, and its masquerade beside Polder's."""

import contextlib
import shutil

from .runner import Skip
from .traffic import V4, V6

TABLE = "published"
LOOPBACK = {V4: "127.0.0.0/8"}  # the kernel takes no ::1 to another host
WORD = {V4: "ip", V6: "ip6"}


def need_nft():
    if not shutil.which("nft"):
        raise Skip("nft is not installed: deploy/install-deps test")


def forwards(node, on=True):
    """Whether the node's stack routes for others."""
    node.netns.sysctl(**{"net/ipv4/ip_forward": int(on), "net/ipv6/conf/all/forwarding": int(on)})


def _published(ports, target, family):
    word = WORD[family]
    for (proto, port), target_port in ports.items():
        address = target.ips[family] if family == V4 else f"[{target.ips[family]}]"
        yield (f"meta nfproto ipv{family} fib daddr type local {proto.lower()} dport {port} "
               f"dnat {word} to {address}:{target_port}")


def _masqueraded(target, family, everybody):
    word, address = WORD[family], target.ips[family]
    if everybody:
        yield f"{word} daddr {address} masquerade"
        return
    yield f"{word} saddr {address} {word} daddr {address} masquerade"
    if family in LOOPBACK:
        yield f"{word} saddr {LOOPBACK[family]} {word} daddr {address} masquerade"


def ruleset(ports, target, masquerade):
    to_port = [rule for family in target.ips for rule in _published(ports, target, family)]
    leaving = [rule for family in target.ips for rule in _masqueraded(target, family, masquerade)]
    return "\n".join([
        f"table inet {TABLE} {{", "chain to_port {", *to_port, "}",
        "chain incoming { type nat hook prerouting priority -100; jump to_port; }",
        "chain own { type nat hook output priority -100; jump to_port; }",
        "chain leaving { type nat hook postrouting priority 100;", *leaving, "}", "}"])


@contextlib.contextmanager
def publish(node, ports, target, masquerade=False):
    """
    The node hands what comes to its own addresses at these ports, {(protocol, port): the target's port}, to the target.
    With `masquerade` all of that takes the node's address; without, only what the target or a loopback address sends.
    """
    need_nft()
    node.netns.run("nft", "-f", "-", stdin=ruleset(ports, target, masquerade))
    try:
        yield
    finally:
        node.netns.run("nft", "delete", "table", "inet", TABLE)
