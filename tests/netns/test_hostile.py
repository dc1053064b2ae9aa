# SPDX-License-Identifier: Apache-2.0
"""Policies that are too many and too large: bounded in time and memory, the rest in force, the agent answers meanwhile."""

import os
import threading
import time

from lib.objects import labels
from lib.policies import OPEN, SHUT, ingress, peers
from lib.runner import limit
from lib.traffic import BOTH, Capture, Sender, reach, wait_until

FULL_SIZE = bool(os.environ.get("POLDER_HOSTILE"))  # all ten million CIDRs, about two minutes
POLICIES, CIDRS, FILES = (10000, 1000, 8) if FULL_SIZE else (800, 500, 4)
# While one file is read the agent does nothing else: 1 s for 5 MB, 6 s for 48 MB on a busy machine.
ANSWER_WITHIN = 20.0
MEMORY_MB = 2500 if FULL_SIZE else 400
WORLD = {} if FULL_SIZE else {"max_policy_entries": 262144}


def setup(world):
    world.agent = world.node.agent
    world.client = world.pod("client", labels={"app": "client"})
    world.server = world.pod("server", labels={"app": "server"})
    world.victim = world.pod("victim", labels={"app": "victim"})
    for pod in (world.server, world.victim):
        world.serve(pod, 8080)
        world.serve(pod, 8081)
    world.resources.put("good", ingress("good", labels(app="server"), "default", [
        peers({"podSelector": labels(app="client")}, ports=[{"port": 8080}])]))


def hostile_text(first, count, cidrs):
    """A List of so many policies for the victim, each with so many blocks. Made by pieces: json.dumps() takes longer."""
    yield '{"apiVersion": "v1", "kind": "List", "items": [\n'
    for number in range(first, first + count):
        blocks = ", ".join(f'{{"ipBlock": {{"cidr": "{1 + number % 200}.{number // 200 % 256}.'
                           f'{cidr // 256}.{cidr % 256}/32"}}}}' for cidr in range(cidrs))
        yield ("" if number == first else ",\n") + (
            '{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": '
            f'{{"name": "p{number}", "namespace": "default"}}, "spec": {{"podSelector": '
            '{"matchLabels": {"app": "victim"}}, "policyTypes": ["Ingress"], "ingress": '
            f'[{{"from": [{blocks}]}}]}}}}')
    yield "]}\n"


class Watcher:
    """Asks the agent for its status again and again; `slowest` is the longest answer in seconds, `peak` its memory in MB."""

    def __init__(self, agent):
        self.agent, self.slowest, self.peak, self.stop = agent, 0, 0, threading.Event()
        self.failed = None
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                self.agent.ctl_json("status")
            except Exception as error:
                self.failed = error
                return
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.peak = max(self.peak, memory_of(self.agent.process.pid))
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def memory_of(pid):
    """Resident MB of the process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmRSS"))


def add_takes(world, name):
    begun = time.monotonic()
    world.pod(name, labels={"app": "other"})
    return time.monotonic() - begun


def rest_is_in_force(world):
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, OPEN),
                     (world.client, world.server.ips[family], 8081, SHUT))


def over_capacity(world):
    return str(world.agent.ctl_json("status")["policy"]["over_capacity"])


def put_hostile(world, name, text, size=None):
    path = world.resources.path(name)
    with open(path + ".new", "w", encoding="ascii") as file:
        for part in text:
            file.write(part)
            if size and file.tell() > size:
                break
        if size:
            file.truncate(10000 * 1000 * 48)  # what all of it would take
    os.rename(path + ".new", path)


@limit(60)
def test_file_of_ten_thousand_policies_of_a_thousand_blocks_is_refused_whole(world):
    with Watcher(world.agent) as watcher:
        put_hostile(world, "all", hostile_text(0, 10000, 1000), 70 << 20)
        wait_until(lambda: "all.json" in str(world.agent.ctl_json("status")["problems"]),
                   "the refusal")
        assert add_takes(world, "beside") < 2
    assert watcher.failed is None and watcher.slowest < 1, watcher.slowest
    told = str(world.agent.ctl_json("status")["problems"])
    assert "67108864" in told or "64" in told, told
    rest_is_in_force(world)
    world.expect((world.client, world.victim.ips[4], 8080, OPEN))


@limit(240)
def test_hostile_policies_in_files_under_the_limit_are_bounded_and_leave_the_rest_alone(world):
    """Their pod is closed all the time, the agent answers, its memory is bounded, and all is well when they go."""
    world.resources.put("deny", ingress("deny", labels(app="victim"), "default"))
    world.expect((world.client, world.victim.ips[4], 8080, SHUT),
                 (world.client, world.victim.ips[6], 8080, SHUT))
    each, adds = POLICIES // FILES, []
    before = memory_of(world.agent.process.pid)
    with Capture(world.victim.netns) as capture, Watcher(world.agent) as watcher, \
            Sender(*[(world.client, world.victim.ips[family], 8080, "denied") for family in BOTH],
                   pause=0.002):
        for number in range(FILES):
            put_hostile(world, f"hostile{number}", hostile_text(number * each, each, CIDRS))
            rest_is_in_force(world)
            adds.append(add_takes(world, f"new{number}"))
            wait_until(lambda n=number: len(world.agent.ctl_json("policy", "list"))
                       == 2 + (n + 1) * each, "the file is read", 30, 0.2)
        wait_until(lambda: watcher.failed or "default/victim" in over_capacity(world),
                   lambda: f"closed: {over_capacity(world)}", interval=0.2)
        adds.append(add_takes(world, "last"))
        leaked = [p for p in capture.read() if (p.payload or b"").startswith(b"denied")]
        told = over_capacity(world)
    print(f"  {POLICIES * CIDRS} blocks: longest answer {watcher.slowest:.1f} s, longest ADD "
          f"{max(adds):.1f} s, ADD when all is read {adds[-1]:.1f} s, memory {before} -> "
          f"{watcher.peak} MB")
    assert watcher.failed is None, watcher.failed
    assert watcher.slowest < ANSWER_WITHIN and max(adds) < ANSWER_WITHIN * 1.5, adds
    assert watcher.peak < MEMORY_MB, f"{watcher.peak} MB"
    assert not leaked, f"{len(leaked)} packets came through to a pod that is denied all"
    assert "max-policy-entries" in told, told
    for pod in ("server", "client", "last"):
        assert f"default/{pod}'" not in told, told
    rest_is_in_force(world)
    assert reach(world.client, world.victim.ips[4], 8080, timeout=0.3).verdict == SHUT
    for number in range(FILES):
        world.resources.delete(f"hostile{number}")
    wait_until(lambda: over_capacity(world) == "[]", lambda: over_capacity(world), interval=0.1)
    world.expect((world.client, world.victim.ips[4], 8080, SHUT))
    world.resources.delete("deny")
    world.expect((world.client, world.victim.ips[4], 8080, OPEN),
                 (world.client, world.victim.ips[6], 8080, OPEN))
    rest_is_in_force(world)
    assert add_takes(world, "after") < 1
