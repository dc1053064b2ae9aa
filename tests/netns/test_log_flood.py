# SPDX-License-Identifier: Apache-2.0
"""The log when nobody reads it, and when much too much is told: work goes on, lines become counts."""

import os
import subprocess
import time

from lib import objects
from lib.busy import Clock
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import wait_until

WORLD = {"nodes": 1}


def setup(world):
    world.agent = world.node.agent
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    world.policies_in_force()


def restart_with(world, stderr):
    """polderd with another standard error."""
    agent = world.agent
    agent.stop()
    agent.process = subprocess.Popen(agent.command(), stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
    agent.end_expected = False
    agent.wait_ready()


def flood(world, count=600):
    """So many bad files, each told in a line of some hundred bytes."""
    for number in range(count):
        world.resources.put_text(f"bad-{number}-{'x' * 150}", '{"kind": "Pod", "nonsense": ')


def reached(world):
    problems = world.agent.ctl_json("status")["problems"]
    return len([p for p in problems if "bad-" in p["source"]]) >= 600


@limit(90)
def test_a_pipe_that_nobody_reads_stops_no_work(world):
    reader, writer = os.pipe()
    try:
        # Full before polderd begins.
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(writer, True)
        restart_with(world, writer)
        flood(world)
        wait_until(lambda: reached(world), "all bad files in the status")
        clock = Clock()
        assert world.agent.ctl("status").returncode == 0
        assert clock.seconds() < 5
        world.pod("late")
        world.resources.put("deny", policy("deny", labels(app="b"), policyTypes=["Ingress"]))
        world.policies_in_force()
        world.expect((world.a, world.b.ips[4], 8080, "timeout"), (world.a, world.b.ips[6], 8080, "timeout"))
        # Somebody reads again: what was lost is said.
        os.set_blocking(reader, False)
        text = b""

        def told():
            nonlocal text
            try:
                while part := os.read(reader, 1 << 20):
                    text += part.lstrip(b"x")
            except BlockingIOError:
                pass
            return b"more lines like this" in text or b"lines were lost" in text
        wait_until(told, lambda: f"a count of lines in {text[-500:]}")
    finally:
        for name in list(world.resources.files()):
            if name.startswith("bad-"):
                world.resources.delete(name)
        world.agent.stop()
        os.close(reader)
        os.close(writer)
        world.agent.start()


def test_a_storm_of_one_kind_becomes_a_count(world):
    before = len(world.agent.log())
    world.agent.restart()
    try:
        flood(world)
        wait_until(lambda: reached(world), "all bad files in the status")
        lines = [line for line in world.agent.log()[before:].splitlines() if "/bad-" in line]
        assert 1 <= len(lines) <= 30, len(lines)
        wait_until(lambda: "more lines like this within" in world.agent.log()[before:], "a count")
        metrics = world.agent.metrics()
        assert metrics["polder_log_lines_held_total", ()] >= 500, metrics
        assert metrics["polder_log_lines_lost_total", ()] == 0
    finally:
        for name in list(world.resources.files()):
            if name.startswith("bad-"):
                world.resources.delete(name)


def test_addresses_without_room_are_told_in_some_lines(world):
    agent = world.agent
    agent.stop()
    agent.options["max-addresses"] = 64
    before = len(agent.log())
    try:
        agent.start()
        world.resources.put("remote", *[objects.pod(f"r{i}", "far", {"app": "r"}, "node9", [f"10.9.{i // 250}.{i % 250 + 1}"])
                                        for i in range(110)])
        for number in range(20):
            world.resources.put("touched", objects.pod("touched", "far", {"round": str(number)}, "node9", ["10.9.9.9"]))
            agent.ctl("status")
        time.sleep(0.5)
        told = len(agent.log()[before:].splitlines())
        assert told < 60, agent.log_tail(60)
    finally:
        world.resources.delete("remote")
        world.resources.delete("touched")
        agent.stop()
        del agent.options["max-addresses"]
        agent.start()
