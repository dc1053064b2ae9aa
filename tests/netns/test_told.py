# SPDX-License-Identifier: Apache-2.0
"""What metrics, readiness and STATUS tell: of the plugin's work, of full maps, of changes that cannot be put in force."""

import json
import os
import socket
import time

from lib import objects
from lib.busy import Clock
from lib.cni import CniCall
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import wait_until

WORLD = {"nodes": 1, "metrics_listen": "127.0.0.1:9180", "max_addresses": 80000}


def setup(world):
    world.agent = world.node.agent
    world.a = world.pod("a", labels={"app": "a"})
    world.policies_in_force()


def sample(world, name, **wanted):
    return world.agent.metrics().get((name, tuple(sorted(wanted.items()))), 0)


def test_operations_of_the_plugin_are_counted_by_command_and_code(world):
    def count(command, code):
        return sample(world, "polder_cni_operations_total", command=command, code=str(code))
    before = {(command, code): count(command, code) for command in ("ADD", "DEL", "CHECK") for code in (0, 3, 7)}
    pod = world.pod("counted")
    pod.check()
    assert count("ADD", 0) == before["ADD", 0] + 1
    assert count("CHECK", 0) == before["CHECK", 0] + 1
    pod.delete()
    assert count("DEL", 0) == before["DEL", 0] + 1
    metrics = world.agent.metrics()
    assert metrics["polder_cni_operation_duration_seconds_count", (("command", "ADD"),)] >= 2
    assert metrics["polder_cni_operation_duration_seconds_bucket", (("command", "ADD"), ("le", "10"))] >= 2
    assert 0 < metrics["polder_cni_operation_duration_seconds_sum", (("command", "ADD"),)] < 10
    assert metrics["polder_reconcile_duration_seconds_count", ()] > 0
    assert metrics["process_max_fds", ()] >= 256
    assert metrics["process_virtual_memory_bytes", ()] > metrics["process_resident_memory_bytes", ()]
    assert any(name == "polder_build_info" and dict(names)["layout"].isdigit() for name, names in metrics)


def pressures(world):
    return {dict(names)["map"]: value for (name, names), value in world.agent.metrics().items()
            if name == "polder_map_pressure"}


def test_no_map_of_an_idle_node_is_under_pressure(world):
    found = pressures(world)
    assert {"addresses", "services", "backends", "rulesets", "flows4", "flows6", "pods"} <= set(found), found
    assert not [name for name, value in found.items() if value >= 0.6], found


@limit(120)
def test_pressure_of_a_large_map_is_told(world):
    """60,000 pods of other nodes: more than can be counted in the kernel in passing."""
    try:
        world.resources.put("many", *[
            objects.pod(f"p{i}", "far", {"app": "far"}, "node9", [f"10.{100 + i // 62500}.{i // 250 % 250}.{i % 250 + 1}"])
            for i in range(65000)])
        wait_until(lambda: pressures(world).get("addresses", 0) > 0.8, lambda: str(pressures(world)), 60, 0.5)
    finally:
        world.resources.delete("many")
    wait_until(lambda: pressures(world).get("addresses", 1) < 0.1, lambda: str(pressures(world)), 60, 0.5)


def status_code(world):
    status, out, _ = CniCall("STATUS", world.node.cni_config("1.1.0"), env={"CNI_IFNAME": "", "CNI_NETNS": ""}).finish()
    return json.loads(out)["code"] if status else 0


def readyz(world):
    with world.node.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect(("127.0.0.1", 9180))
        sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        return int(sock.recv(100).split()[1])


@limit(120)
def test_changes_that_cannot_be_put_in_force_end_readiness_for_as_long(world):
    assert status_code(world) == 0 and readyz(world) == 200
    blocker = os.path.join(world.agent.options["run-dir"], ".policy.json.tmp")
    os.mkdir(blocker)
    os.mkdir(os.path.join(blocker, "x"))
    try:
        world.resources.put("new", policy("new", labels(app="a"), policyTypes=["Ingress"], ingress=[
            {"from": [{"podSelector": labels(never="seen")}]}]))
        world.resources.put("seen", objects.pod("seen", "default", {"never": "seen"}, "node9", ["10.99.0.1"]))
        began = time.monotonic()
        wait_until(lambda: status_code(world) == 51, "code 51", 40, 0.5)
        assert time.monotonic() - began > 5
        assert readyz(world) == 503
        assert not world.agent.ctl_json("status")["ready"]
        assert sample(world, "polder_ready") == 0
    finally:
        os.rmdir(os.path.join(blocker, "x"))
        os.rmdir(blocker)
    wait_until(lambda: status_code(world) == 0, "ready again", interval=0.5)
    assert readyz(world) == 200
    world.resources.delete("new")
    world.resources.delete("seen")


@limit(120)
def test_the_status_lists_a_bounded_number_of_problems_and_counts_all(world):
    for number in range(1200):
        world.resources.put_text(f"bad-{number}", "{")
    try:
        wait_until(lambda: sample(world, "polder_source_problems") >= 1200, "all problems counted", 30, 0.2)
        found = world.agent.ctl_json("status")["problems"]
        assert len(found) == 1001 and found[-1]["source"] == "200 more", (len(found), found[-1])
        clock = Clock()
        world.agent.ctl_json("status")
        assert clock.seconds() < 5
    finally:
        for number in range(1200):
            world.resources.delete(f"bad-{number}")
    wait_until(lambda: not world.agent.ctl_json("status")["problems"], "no problem is left", 30, 0.2)
