# SPDX-License-Identifier: Apache-2.0
"""Ports that the plugin portmap publishes for podman's containers on Polder: from everywhere, under policy, and gone with them."""

import os

from lib.nat import forwards
from lib.objects import labels, policy
from lib.runner import Skip, each_family, limit
from lib.traffic import V4, wait_until
from publishing import LOOPBACK, answers_by_tcp, answers_by_udp, fetch, published, published_to_one
from runtimes import need

WORLD = {"nodes": 1}
PORTMAP = "/usr/lib/cni/portmap"


def setup(world):
    need("podman", "curl", "iptables")
    if not os.path.exists(PORTMAP):
        raise Skip(f"no {PORTMAP}: deploy/install-deps test")
    forwards(world.node)
    world.node.before = world.node.ruler()
    world.podman.write_network("1.0.0", behind=[{"type": "portmap", "capabilities": {"portMappings": True}}])


@each_family
@limit(150)
def test_port_that_portmap_publishes_answers_everybody(world, family):
    address = world.node.ips[family]
    with published(world) as (web, other):
        found = answers_by_tcp(world, web, other, address)
        assert set(found.values()) == {"web"}, found
        if family == V4:
            assert fetch(world.node, LOOPBACK[V4]) == "web", "the node by localhost"


@each_family
@limit(150)
def test_udp_port_that_portmap_publishes_answers_everybody(world, family):
    address = world.node.ips[family]
    with published(world) as (web, other):
        found = answers_by_udp(world, web, other, address)
        assert set(found.values()) == {"web"}, found


@each_family
@limit(150)
def test_policy_holds_at_a_port_that_portmap_publishes(world, family):
    address = world.node.ips[family]
    with published_to_one(world, address) as other:
        world.policies(policy("other", labels(app="other"), policyTypes=["Egress"], egress=[
            {"to": [{"ipBlock": {"cidr": f"{address}/{32 if family == V4 else 128}"}}]}]))
        wait_until(lambda: fetch(other, address) is None, "egress to the node is none to the container", 10)
        assert fetch(world.outside, address) == "web"


@limit(150)
def test_published_port_goes_with_its_container(world):
    with published(world):
        assert fetch(world.outside, world.node.ips[V4]) == "web"
    assert fetch(world.outside, world.node.ips[V4]) is None
