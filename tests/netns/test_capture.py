# SPDX-License-Identifier: Apache-2.0
"""polderctl capture: what comes, what leaves, what is refused and why, in a file that tshark reads."""

import os

from lib import objects
from lib.captures import PolderCapture
from lib.objects import labels, policy
from lib.runner import each_family
from lib.traffic import BOTH, reach

WORLD = {"nodes": 1}


def setup(world):
    world.n1 = world.nodes[0]
    world.client = world.pod("client", labels={"app": "client"})
    world.server = world.pod("server", labels={"app": "server"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.serve(world.server, 8080)
    world.vip = world.service("server", 1, [objects.service_port(80, 8080, name="tcp")], {"app": "server"})
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.stranger, world.server.ips[family], 8080, "timeout"),
                     (world.client, world.vip[family], 80, "open"))


def path_of(world):
    return os.path.join(world.workdir, "capture.pcapng")


@each_family
def test_translated_packet_stands_on_two_interfaces_with_its_verdict(world, family):
    with PolderCapture(world.n1.agent, path=path_of(world)) as capture:
        assert reach(world.client, world.vip[family], 80).verdict == "open"
        packets = capture.end()
    came = [p for p in packets if p.destination == world.vip[family]]
    left = [p for p in packets if p.destination == world.server.ips[family] and p.interface.endswith(" translated")]
    assert came and left, packets
    for packet in came + left:
        assert "verdict: allow" in packet.comment, packet
        assert "from: default/client" in packet.comment and "to: default/server" in packet.comment, packet
        assert "ingress: default/server rule 0" in packet.comment, packet


@each_family
def test_denied_packet_names_reason_and_policy(world, family):
    with PolderCapture(world.n1.agent, "--drops", "tcp", path=path_of(world)) as capture:
        reach(world.stranger, world.server.ips[family], 8080, timeout=0.3)
        assert reach(world.client, world.vip[family], 80).verdict == "open"
        packets = capture.end()
    assert packets and all(p.destination == world.server.ips[family] for p in packets), packets
    for packet in packets:
        assert "verdict: drop; reason: policy_denied_ingress; hook: from_pod" in packet.comment, packet
        assert "ingress: default deny of default/server" in packet.comment, packet
