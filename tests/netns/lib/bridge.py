# SPDX-License-Identifier: Apache-2.0
"""A network of containers that are not Polder's, as docker, podman and libvirt make it: a bridge of the node, and masquerade by conntrack."""

from .nat import need_nft
from .netns import Namespace
from .traffic import V4, V6

BRIDGE = "docker0"
TABLE = "bridged"
RANGE = {V4: "172.17.0.0/16", V6: "fd17::/64"}
GATEWAY = {V4: "172.17.0.1", V6: "fd17::1"}
RULES = f"""table inet {TABLE} {{
    chain leaving {{
        type nat hook postrouting priority 100;
        ip saddr {RANGE[V4]} oifname != {BRIDGE} masquerade
        ip6 saddr {RANGE[V6]} oifname != {BRIDGE} masquerade
    }}
}}
"""


class Container:
    """A namespace behind the bridge. It can be used wherever a pod sends."""

    def __init__(self, world, node, number):
        self.ips = {V4: f"172.17.0.{10 + number}", V6: f"fd17::{10 + number:x}"}
        self.netns = Namespace(f"{node.label}-c{number}", world.unique, node.factory)
        world.cleanup.callback(self.netns.delete)
        self.netns.sysctl(**{"net/ipv6/conf/default/accept_dad": 0})
        self.netns.ip("link set lo up", f"link add eth0 type veth peer vc{number} netns {node.netns.name}",
                      f"addr add {self.ips[V4]}/16 dev eth0", f"addr add {self.ips[V6]}/64 dev eth0 nodad",
                      "link set eth0 up")
        node.netns.ip(f"link set vc{number} addrgenmode none", f"link set vc{number} master {BRIDGE} up")
        self.netns.ip(f"route add default via {GATEWAY[V4]}", f"route add default via {GATEWAY[V6]}")
        self.label = f"c{number}"

    def __repr__(self):
        return self.label

    def socket(self, *args):
        return self.netns.socket(*args)


def make_bridge(node):
    """The bridge and its masquerade. The node has to forward."""
    need_nft()
    node.netns.ip(f"link add {BRIDGE} type bridge mcast_snooping 0 forward_delay 0", f"link set {BRIDGE} addrgenmode none",
                  f"addr add {GATEWAY[V4]}/16 dev {BRIDGE}", f"addr add {GATEWAY[V6]}/64 dev {BRIDGE} nodad",
                  f"link set {BRIDGE} up")
    node.netns.run("nft", "-f", "-", stdin=RULES)
