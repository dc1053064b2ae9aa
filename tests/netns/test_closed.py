# SPDX-License-Identifier: Apache-2.0
"""A pod whose programs somebody took away reaches nobody beyond its node, although the node's stack forwards; then all is put back."""

import ctypes
import glob
import json
import os
import signal
from contextlib import contextmanager

from lib.agent import PATIENCE
from lib.netns import run
from lib.objects import labels, policy
from lib.runner import each_family, in_worlds, limit
from lib.traffic import Capture, reach, wait_until
from lib.world import OUTSIDE_IP

LASTS = 100
WORLDS = {
    "": {"nodes": 2, "metrics_listen": "127.0.0.1:9180"},
    "clsact": {"nodes": 2, "attach": "clsact", "metrics_listen": "127.0.0.1:9180"},
}
MARK = b"nobody evaluated this"


def setup(world):
    world.n1, world.n2 = world.nodes
    world.a = world.pod("a", labels={"app": "a"})
    world.friend = world.pod("friend", labels={"app": "friend"})
    world.denied = world.pod("denied")
    world.remote = world.pod("remote", node=world.n2)
    for where in (world.friend, world.denied, world.remote, world.outside, world.a):
        world.serve(where, 8080)
    world.resources.put("policies", policy("a", labels(app="a"), policyTypes=["Egress"], egress=[
        {"to": [{"podSelector": labels(app="friend")}]}]))
    world.policies_in_force()
    for family in (4, 6):
        world.expect((world.a, world.friend.ips[family], 8080, "open"),
                     (world.a, world.denied.ips[family], 8080, "timeout"))


# Programs at a link, tcx ingress and egress.
COUNT = """import ctypes, sys
libbpf, count = ctypes.CDLL("libbpf.so.1"), ctypes.c_uint32(64)
ids, found = (ctypes.c_uint32 * 64)(), []
for hook in (46, 47):
    count.value = 64
    found.append(count.value if libbpf.bpf_prog_query(int(sys.argv[1]), hook, 0, None, ids, ctypes.byref(count)) == 0 else 0)
print(sum(found))"""


def programs_at(world, ifindex):
    return int(world.n1.netns.run("python3", "-c", COUNT, str(ifindex)).stdout)


@contextmanager
def nobody_repairs(world):
    """The agent looks every 5 s: it sleeps until what is tried has been tried."""
    process = world.n1.agent.process
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def detach(pin):
    """The link of the pin, as `bpftool link detach` does; to remove the pin alone detaches nothing."""
    libbpf = ctypes.CDLL("libbpf.so.1")
    link = libbpf.bpf_obj_get(pin.encode())
    assert link >= 0, f"no link at {pin}"
    try:
        assert libbpf.bpf_link_detach(link) == 0, f"{pin} cannot be detached"
    finally:
        os.close(link)


def take_programs(world, pod, *names):
    """As a foreign hand would: links are detached with tcx, filters deleted with clsact."""
    link = pod.host_link
    ifindex = world.n1.netns.ifindex(link)
    tcx = world.n1.agent.options.get("attach") != "clsact"
    before = programs_at(world, ifindex) if tcx else 0
    if world.n1.agent.options.get("attach") != "clsact":
        for name in names or ("from_pod", "to_pod", "closed_from_pod", "closed_to_pod"):
            found = glob.glob(f"{world.n1.bpffs}/v*/links/{name}-{ifindex}")
            assert found, f"no pin of {name}"
            detach(found[0])
        gone = len(names or ("from_pod", "to_pod", "closed_from_pod", "closed_to_pod"))
        wait_until(lambda: programs_at(world, ifindex) == before - gone,
                   lambda: f"{before - gone} programs at {link}, there are {programs_at(world, ifindex)}", interval=0.02)
    elif not names:
        world.n1.netns.run("tc", "qdisc", "del", "dev", link, "clsact")
    for name in names if world.n1.agent.options.get("attach") == "clsact" else ():
        hook = "ingress" if name.endswith("from_pod") else "egress"
        priority = "2" if name.startswith("closed") else "1"
        world.n1.netns.run("tc", "filter", "del", "dev", link, hook, "prio", priority)


def shout(world, pod, family):
    """Datagrams to whom policy denies, and to whom it allows: none may pass while nobody evaluates."""
    sock = pod.socket(2 if family == 4 else 10, 2)
    with sock:
        for address in (world.denied.ips[family], world.remote.ips[family], OUTSIDE_IP[family],
                        world.friend.ips[family]):
            for _ in range(3):
                try:
                    sock.sendto(MARK, (address, 5353))
                except OSError:
                    pass  # the stack told of the refusal


class Nowhere:
    """Within the block nothing that bears the mark arrives, although the node's stack forwards."""

    def __init__(self, world):
        self.world = world
        self.captures = [Capture(where.netns if hasattr(where, "netns") else where)
                         for where in (world.denied, world.remote, world.outside)]

    def forward(self, value):
        self.world.n1.netns.sysctl(**{"net/ipv4/ip_forward": value,
                                      "net/ipv6/conf/all/forwarding": value})

    def __enter__(self):
        self.forward(1)
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                for capture in self.captures:
                    capture.none(lambda p: MARK in p.frame, 0.2)
        finally:
            self.forward(0)
            for capture in self.captures:
                capture.close()


def repaired(world, pod, family):
    wait_until(lambda: reach(pod, world.friend.ips[family], 8080, timeout=0.3).verdict == "open",
               "the pod reaches its friend again", interval=0.1)
    world.expect((pod, world.denied.ips[family], 8080, "timeout"), within=0)


@each_family
@limit(30)
def test_pod_without_from_pod_reaches_nobody_until_it_is_back(world, family):
    with world.n1.agent.dropping("no_program"), nobody_repairs(world), Nowhere(world):
        take_programs(world, world.a, "from_pod")
        shout(world, world.a, family)
    repaired(world, world.a, family)


@each_family
@limit(30)
def test_pod_without_any_program_reaches_nobody_until_they_are_back(world, family):
    with nobody_repairs(world), Nowhere(world):
        take_programs(world, world.a)
        shout(world, world.a, family)
    repaired(world, world.a, family)


@each_family
@limit(30)
def test_nothing_of_the_nodes_stack_reaches_a_pod_without_to_pod(world, family):
    with world.n1.agent.dropping("no_program"), nobody_repairs(world), Capture(world.denied.netns) as capture:
        take_programs(world, world.denied, "to_pod")
        sock = world.n1.socket(2 if family == 4 else 10, 2)
        with sock:
            sock.sendto(MARK, (world.denied.ips[family], 5353))
        capture.none(lambda p: MARK in p.frame, 0.2)
    wait_until(lambda: reach(world.n1, world.denied.ips[family], 8080, timeout=0.3).verdict == "open",
               "the node reaches the pod again", interval=0.1)


# ------------------------------------------------------------------ the stack's rules


def rules(world, family):
    shown = world.n1.netns.run("ip", "-j", f"-{family}", "rule", "show", "protocol", "80").stdout
    return [rule for rule in json.loads(shown or "[]") if rule.get("protocol") == "80"]


@each_family
@limit(30)
def test_rules_that_somebody_deleted_come_back(world, family):
    before = rules(world, family)
    assert {rule["priority"] for rule in before} == {1, 2, 3}, before
    world.n1.netns.run("ip", f"-{family}", "rule", "flush", "protocol", "80")
    assert not rules(world, family)
    wait_until(lambda: rules(world, family) == before, lambda: f"{before}, there is {rules(world, family)}", interval=0.1)


@limit(40)
def test_another_mark_replaces_the_rules(world):
    agent = world.n1.agent
    agent.stop()
    agent.options["stack-mark"] = "0x10000"
    try:
        agent.start()
        for family in (4, 6):
            marks = {rule.get("fwmask") for rule in rules(world, family) if rule["priority"] == 2}
            assert marks == {"0x10000"}, rules(world, family)
            world.expect((world.a, world.friend.ips[family], 8080, "open"),
                         (world.a, world.denied.ips[family], 8080, "timeout"))
    finally:
        agent.stop()
        del agent.options["stack-mark"]
        agent.start()


@each_family
def test_pods_without_policy_reach_the_outside_past_the_rules(world, family):
    """The programs' own redirects ask the routing tables, too: not masqueraded towards the other node's pods."""
    world.expect((world.denied, world.remote.ips[family], 8080, "open"),
                 (world.denied, OUTSIDE_IP[family], 8080, "open"),
                 (world.outside, world.denied.ips[family], 8080, "open"), within=0)


# ------------------------------------------------------------------ programs that cannot be attached


@in_worlds("clsact")
@limit(60)
def test_pod_whose_programs_cannot_be_attached_is_cut_off_and_told_until_they_can(world):
    link = world.a.host_link

    def is_up():
        return "UP" in world.n1.netns.ip_json("link", "show", "dev", link)[0]["flags"]

    world.n1.netns.run("tc", "qdisc", "del", "dev", link, "clsact")
    world.n1.netns.run("tc", "qdisc", "add", "dev", link, "ingress")
    wait_until(lambda: not is_up(), "the link goes down", interval=0.1)
    with Nowhere(world):
        shout(world, world.a, 4)
    status = world.n1.agent.ctl_json("status")
    assert not status["ready"] and any(p["source"] == "pod default/a" and link in p["reason"]
                                       for p in status["problems"]), status["problems"]
    world.n1.agent.stop()  # at the start, too
    world.n1.netns.run("ip", "link", "set", link, "up")
    world.n1.agent.start(wait=False)
    wait_until(lambda: not is_up(), "the link goes down", PATIENCE, 0.1)
    world.n1.netns.run("tc", "qdisc", "del", "dev", link, "ingress")
    for family in (4, 6):
        repaired(world, world.a, family)
    world.n1.agent.wait_ready()
    assert not world.n1.agent.ctl_json("status")["problems"]


def test_rules_stay_when_the_agent_ends_and_go_as_the_manual_says(world):
    world.n1.agent.stop()
    try:
        for family in (4, 6):
            assert rules(world, family)
            run(["ip", "-n", world.n1.netns.name, f"-{family}", "rule", "flush", "protocol", "80"])
            assert not rules(world, family)
    finally:
        world.n1.agent.start()
