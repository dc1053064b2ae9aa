# SPDX-License-Identifier: Apache-2.0
"""--pod-cidr that meets an address or a network of the host is refused at the start, by name; the node stays on its network."""

import os

from lib.cni import CniCall
from lib.runner import limit
from lib.traffic import BOTH, ping, wait_until
from lib.world import NODE_LINK, OUTSIDE_IP

# (what the host has, the pods' range, what the message names)
MEETINGS = [
    ([], f"{NODE_LINK[4]}.0/24", ["eth0", "172.30.0.11"]),
    ([], "172.30.0.128/25", ["eth0", "172.30.0.11/24"]),
    ([], "172.16.0.0/12", ["eth0", "172.30.0.11"]),
    ([], f"{NODE_LINK[6]}:/64", ["eth0", "fd30::b"]),
    ([], "fd30::1000/120", ["eth0", "fd30::b/64"]),
    (["link add docker0 type bridge", "link set docker0 up", "addr add 10.88.0.1/16 dev docker0"], "10.88.7.0/24",
     ["docker0", "10.88.0.1"]),
    (["link add dmz type bridge", "link set dmz up", "route add 10.99.0.0/16 dev dmz"], "10.99.5.0/24",
     ["dmz", "10.99.0.0/16"]),
    (["link add dmz type bridge", "link set dmz up", "route add 10.99.5.64/26 dev dmz"], "10.99.5.0/24",
     ["dmz", "10.99.5.64/26"]),
    (["link add dmz type bridge", "link set dmz up", "route add fd99::/64 dev dmz table 7"], "fd99::/112",
     ["dmz", "fd99::/64"]),
    (["addr add 10.99.5.7/32 dev lo"], "10.99.5.0/24", ["lo", "10.99.5.7"]),
    ([], "0.0.0.0/0", ["--pod-cidr"]),
    ([], "::/0", ["--pod-cidr"]),
]
# These meet nothing.
FINE = [
    (["route add 0.0.0.0/1 dev eth0", "route add 128.0.0.0/1 dev eth0"], "10.244.4.0/22"),
    (["route add 10.0.0.0/8 via 172.30.0.1"], "10.244.4.0/22"),
    (["route add blackhole 10.244.0.0/16"], "10.244.4.0/22"),
]


def changed(world, lines, back=False):
    for line in reversed(lines) if back else lines:
        if back and line.split()[-1] == "up":
            continue
        world.node.netns.ip(line.replace(" add ", " del ", 1) if back else line)


def refused(world, cidr):
    world.agent.options.update({"pod-cidr": cidr, "node-ip": None})
    world.agent.start(wait=False)
    assert world.agent.wait_end() != 0, f"{cidr} is taken"
    return world.agent.log_tail(1)


def setup(world):
    world.agent = world.node.agent
    world.own = dict(world.agent.options)


@limit(120)
def test_range_that_meets_the_hosts_is_refused_by_name(world):
    world.agent.stop()
    try:
        for lines, cidr, words in MEETINGS:
            changed(world, lines)
            try:
                said = refused(world, cidr)
                assert all(word in said for word in words), f"{cidr}: {said}"
                for family in BOTH:
                    assert ping(world.node, OUTSIDE_IP[family]) == "open", f"{cidr}: cut off"
            finally:
                changed(world, lines, back=True)
    finally:
        world.agent.options.update(world.own)
        world.agent.start()


@limit(60)
def test_range_behind_a_gateway_and_default_routes_are_no_reason(world):
    for lines, cidr in FINE:
        changed(world, lines)
        try:
            world.agent.stop()
            world.agent.start()
        finally:
            changed(world, lines, back=True)


def test_pods_own_routes_are_no_reason(world):
    world.pod("a")
    world.agent.restart()
    assert len(world.agent.ctl_json("pod", "list")) == 1
    os.kill(world.agent.process.pid, 0)
    CniCall("STATUS", world.node.cni_config("1.1.0")).result()


@limit(60)
def test_network_that_came_after_the_pods_stops_no_restart(world):
    """Policies that nobody changes any more would be worse: a VPN, or an agent of before that did not look."""
    pod = world.pod("b")
    world.serve(pod, 8080)
    lines = ["link add vpn0 type bridge", "link set vpn0 up", "route add 10.0.0.0/8 dev vpn0",
             "route add fd44::/16 dev vpn0"]
    changed(world, lines)
    try:
        world.agent.restart()
        said = world.agent.log()
        assert "10.0.0.0/8 on link vpn0" in said and "fd44::/16 on link vpn0" in said, said[-600:]
        for family in BOTH:
            world.expect((world.node, pod.ips[family], 8080, "open"))
        # Other ranges are refused as ever.
        world.agent.stop()
        assert "vpn0" in refused(world, "10.99.5.0/24")
    finally:
        world.agent.options.update(world.own)
        changed(world, lines, back=True)
        world.agent.start()


def range_problems(world):
    return [problem["reason"] for problem in world.agent.ctl_json("status")["problems"] if problem["source"] == "pod range"]


@limit(30)
def test_network_that_comes_into_the_pods_range_is_a_problem_until_it_goes(world):
    assert range_problems(world) == []
    for address, words in [("10.244.5.1/30", ["10.244.5.1", "late0"]), ("fd44:0:0:1::7777/128", ["fd44:0:0:1::7777", "late0"])]:
        lines = ["link add late0 type bridge", "link set late0 up", f"addr add {address} dev late0"]
        changed(world, lines)
        try:
            wait_until(lambda: range_problems(world), f"a problem for {address}")
            said = range_problems(world)
            assert all(word in said[0] for word in words), said
        finally:
            changed(world, lines[:1], back=True)
        wait_until(lambda: not range_problems(world), "the problem's end")
