# SPDX-License-Identifier: Apache-2.0
"""Pods, Services, policies, namespaces, links, routes and agents come and go without end: nothing grows, and nothing is left."""

import contextlib
import os
import random
import signal
import time

import page
from lib import objects
from lib.cni import CniError
from lib.netns import CommandError
from lib.objects import labels, policy
from lib.traffic import BOTH, Connection, Timeout, wait_until
from scene import Scene

TITLE = "Soak"
SEED = 20261127
MINUTES = 30          # of record(); tests/reliability/run sets it
GROWTH_KIB = 1024     # that memory may grow by after the warm-up
PODS_MOST = 12        # beside those that stay
PATIENCE = 90         # seconds: a busy machine is no failure
NAMES = ("red", "blue", "green")


def memory(pid):
    """KiB of the process's own: proportional, without the kernel's maps that it has in its address space."""
    total, name = 0, ""
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                name = words[-1]
            elif words[0] == "Pss:" and name != "anon_inode:bpf-map":
                total += int(words[1])
    return total


def tree(directory):
    return sorted(os.path.relpath(os.path.join(base, name), directory) for base, _, names in os.walk(directory) for name in names)


class Churn:
    """What changes. `settle()` takes all of it away again."""

    def __init__(self, scene, rng):
        self.scene, self.world, self.resources, self.rng = scene, scene.world, scene.resources, rng
        self.steady, self.killed = scene.world.nodes
        self.pods, self.files, self.made, self.number = [], set(), [], 0
        self.counts, self.trouble = {}, []
        # How often each is drawn.
        self.kinds = [self.add_pod] * 6 + [self.delete_pod] * 5 + [self.put_policy] * 4 + [self.put_service] * 3 + \
            [self.put_namespace, self.put_remote_pods, self.delete_file, self.delete_file, self.delete_file, self.add_link,
             self.delete_link, self.add_address, self.add_route, self.kill, self.restart, self.reload, self.ask, self.bad_file]

    def step(self):
        kind = self.rng.choice(self.kinds)
        self.number += 1
        try:
            kind()
        except Timeout as error:
            self.trouble.append(f"{kind.__name__}: {error}")
        self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1

    def put(self, name, *made):
        self.files.add(name)
        self.resources.put(name, *made)

    # ---- pods

    def add_pod(self):
        if len(self.pods) >= PODS_MOST:
            return
        node = self.rng.choice(self.world.nodes)
        try:
            pod = self.world.pod(f"churn-{self.number}", self.rng.choice(NAMES), node, labels={"app": self.rng.choice(NAMES)})
        except CniError:
            # The one that is killed may be away, or this machine too busy to bring a link up in time.
            self.counts["refused"] = self.counts.get("refused", 0) + 1
            self.take_away(self.world.pods[-1])
            return
        self.pods.append(pod)

    def take_away(self, pod):
        with contextlib.suppress(CniError):
            pod.call("DEL").result()
        pod.result = None
        pod.delete()

    def delete_pod(self):
        if self.pods:
            self.take_away(self.pods.pop(self.rng.randrange(len(self.pods))))

    # ---- objects

    def put_policy(self):
        name, ns = f"policy-{self.rng.randrange(8)}", self.rng.choice(NAMES)
        rules = [{"from": [{"podSelector": labels(app=self.rng.choice(NAMES))}, {"namespaceSelector": labels(team=self.rng.choice(NAMES))}],
                  "ports": [{"protocol": "TCP", "port": 8000 + self.rng.randrange(100)}]},
                 {"from": [{"ipBlock": {"cidr": f"10.{self.rng.randrange(200)}.0.0/16"}}]}]
        self.put(name, policy(name, labels(app=self.rng.choice(NAMES)), ns, policyTypes=["Ingress", "Egress"], ingress=rules, egress=[{}]))

    def put_service(self):
        number = 2 + self.rng.randrange(30)
        self.put(f"service-{number}", objects.service(f"s{number}", [self.world.service_ip(number, family) for family in BOTH],
                                                      [objects.service_port(80, 8080)], labels(app=self.rng.choice(NAMES))["matchLabels"],
                                                      ns=self.rng.choice(NAMES)))

    def put_namespace(self):
        ns = self.rng.choice(NAMES)
        self.put(f"namespace-{ns}", objects.namespace(ns, team=self.rng.choice(NAMES)))

    def put_remote_pods(self):
        """Of a node that is not there, some with labels that nobody has had."""
        self.put("remote", *[objects.pod(f"r{i}", self.rng.choice(NAMES), {"app": self.rng.choice(NAMES), "serial": str(self.rng.random())},
                                         "node9", [f"10.99.{i}.{1 + self.rng.randrange(250)}"]) for i in range(1 + self.rng.randrange(40))])

    def bad_file(self):
        """Put while both run: they know that it has never meant anything, over restarts, too."""
        for node in self.world.nodes:
            node.agent.wait_ready(PATIENCE)
        self.files.add("bad")
        self.resources.put_text("bad", '{"kind": "NetworkPolicy"')
        for node in self.world.nodes:
            wait_until(lambda n=node: any("bad.json" in one["source"] for one in n.agent.ctl_json("status")["problems"]), "the problem", PATIENCE)

    def delete_file(self):
        if self.files:
            name = self.rng.choice(sorted(self.files))
            self.files.discard(name)
            self.resources.delete(name)

    # ---- the node's network

    def add_link(self):
        if len(self.made) < 4:
            node, name = self.rng.choice(self.world.nodes), f"more{self.number}"
            node.netns.ip(f"link add {name} type veth peer {name}x", f"link set {name} up", f"addr add 192.0.2.{1 + self.number % 250}/32 dev {name}")
            self.made.append((node, name))

    def delete_link(self):
        if self.made:
            node, name = self.made.pop(self.rng.randrange(len(self.made)))
            node.netns.ip(f"link del {name}")

    def add_address(self):
        node = self.rng.choice(self.world.nodes)
        lines = [f"addr add 172.30.0.{200 + self.number % 50}/24 dev eth0", f"addr add fd30::{0x200 + self.number % 50:x}/64 dev eth0 nodad"]
        node.netns.ip(*lines)
        node.netns.ip(*[line.replace("addr add", "addr del").replace(" nodad", "") for line in lines])

    def add_route(self):
        node = self.rng.choice(self.world.nodes)
        node.netns.ip("route add 203.0.113.0/25 via 172.30.0.1", "route add blackhole 203.0.113.128/25")
        node.netns.ip("route del 203.0.113.0/25 via 172.30.0.1", "route del blackhole 203.0.113.128/25")

    # ---- the agents

    def kill(self):
        self.killed.agent.kill(signal.SIGKILL)
        self.start()

    def start(self):
        self.killed.agent.start(wait=False)
        if self.rng.random() < 0.5:
            self.killed.agent.wait_ready(PATIENCE)

    def restart(self):
        self.killed.agent.wait_ready(PATIENCE)  # before that SIGTERM may meet the shell that starts it
        self.killed.agent.stop()
        self.start()

    def reload(self):
        self.steady.agent.process.send_signal(signal.SIGHUP)

    def ask(self):
        agent = self.steady.agent
        self.rng.choice([lambda: agent.ctl("status"), lambda: agent.ctl("explain", "default/stranger", "default/server", "--port", "8080", check=False),
                         agent.metrics_text, lambda: agent.ctl("flow", "list"), lambda: agent.ctl("policy", "list")])()

    # ---- nothing of it

    def settle(self):
        while self.pods:
            self.delete_pod()
        for name in sorted(self.files):
            self.resources.delete(name)
        self.files.clear()
        while self.made:
            self.delete_link()
        for node in self.world.nodes:
            node.agent.wait_ready(PATIENCE)


def measure(node):
    """Of a node without anything that churns."""
    pid = node.agent.process.pid
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        threads = next(int(line.split()[1]) for line in file if line.startswith("Threads:"))
    return {"memory": memory(pid), "descriptors": len(os.listdir(f"/proc/{pid}/fd")), "threads": threads,
            "log": os.path.getsize(node.agent.log_path)}


def left(node, before, kept):
    """What is there that was not there before the churn, in words."""
    found = {}

    def same():
        found.clear()
        now = node.ruler()
        for key, was in before.items():
            if key == "maps":
                grown = {name: (was.get(name) or 0, fill) for name, fill in now["maps"].items() if (fill or 0) > (was.get(name) or 0)}
                if grown:
                    found["maps"] = grown
            elif now[key] != was:
                found[key] = [one for one in now[key] if one not in was] or [f"missing {one}" for one in was if one not in now[key]]
        state = {name.split(".")[0] for name in tree(node.agent.options["state-dir"])}
        if state - kept:
            found["state"] = sorted(state - kept)
        return not found
    with contextlib.suppress(Timeout):
        wait_until(same, "clean", PATIENCE, 0.2)
    return [f"{node}: {key}: {value}" for key, value in found.items()]


class Soak:
    def __init__(self, seconds, round_seconds, rng):
        self.seconds, self.round_seconds, self.rng = seconds, round_seconds, rng
        self.samples, self.wrong, self.rounds = [], [], 0

    def run(self, tally):
        with Scene(nodes=2) as scene:
            world = scene.world
            remote = world.pod("remote", node=world.nodes[1], labels={"app": "client"})
            for family in BOTH:
                world.expect((remote, scene.server.ips[family], 8080, "open"), within=1)
                scene.flows[f"remote {family}"] = scene.stack.enter_context(Connection(remote, scene.server.ips[family], 8080))
            churn = Churn(scene, self.rng)
            churn.settle()
            time.sleep(1.5)  # copies go to the disk
            before = {node: node.ruler() for node in world.nodes}
            kept = {node: {name.split(".")[0] for name in tree(node.agent.options["state-dir"])} for node in world.nodes}
            begun = time.monotonic()
            while time.monotonic() - begun < self.seconds:
                self.round(scene, churn, before, kept)
                if self.rounds % 10 == 0:
                    tally.note(f"round {self.rounds}: {self.samples[-1]}")
            self.counts = churn.counts
            self.wrong += churn.trouble
        return self

    def round(self, scene, churn, before, kept):
        until = time.monotonic() + self.round_seconds
        while time.monotonic() < until:
            churn.step()
        churn.settle()
        for node in scene.world.nodes:
            self.wrong += left(node, before[node], kept[node])
        self.samples.append(measure(scene.world.nodes[0]))
        self.rounds += 1
        try:
            scene.verdicts(within=2)
            scene.check()
            scene.world.nodes[1].agent.check_log()
        except AssertionError as error:
            self.wrong.append(f"round {self.rounds}: {error}")
        if len(self.wrong) > 20:
            raise CommandError(f"too much goes wrong: {self.wrong[:5]}")

    def growth(self):
        """{what: (after the warm-up, at the end)}: the least of some rounds each, so that a moment's peak is neither's."""
        warm = max(1, len(self.samples) // 5)
        first, last = self.samples[warm:warm + 3] or self.samples[-1:], self.samples[-3:]
        return {key: (min(one[key] for one in first), min(one[key] for one in last)) for key in self.samples[0]}

    def judge(self, tally):
        tally.check("nothing_is_left_nothing_opens_and_no_connection_breaks", self.wrong)
        grown = self.growth()
        tally.check("memory_descriptors_and_threads_stay_flat",
                    [f"{key}: {was} -> {now}" for key, (was, now) in grown.items()
                     if now - was > {"memory": GROWTH_KIB, "descriptors": 2, "threads": 0}.get(key, 1 << 60)])
        # Restarts, bad files and lost peers are told; a line for each change of an object would be too much.
        rate = (grown["log"][1] - self.samples[0]["log"]) / max(1, sum(self.counts.values()))
        tally.check("log_grows_by_less_than_a_line_for_each_change", [f"{rate:.0f} bytes for each"] if rate > 120 else [])


def short(tally):
    Soak(12, 3, random.Random(SEED)).run(tally).judge(tally)


WORDS = {"refused": "refused ADDs (the agent was away, or the machine too busy)", "add_pod": "ADD", "delete_pod": "DEL", "put_policy": "policies", "put_service": "Services", "put_namespace": "namespaces' labels",
         "put_remote_pods": "changes of up to 40 pods elsewhere", "delete_file": "files deleted", "bad_file": "invalid files",
         "add_link": "links made", "delete_link": "links deleted", "add_address": "addresses that come and go",
         "add_route": "routes that come and go", "kill": "SIGKILL", "restart": "SIGTERM and start", "reload": "SIGHUP", "ask": "questions"}


def record(tally):
    soak = Soak(MINUTES * 60, 20, random.Random(SEED)).run(tally)
    soak.judge(tally)
    grown = soak.growth()
    rows = [(words, *grown[key], grown[key][1] - grown[key][0]) for key, words in
            (("memory", "memory, KiB (PSS without maps)"), ("descriptors", "descriptors"), ("threads", "threads"), ("log", "log, bytes"))]
    done = ", ".join(f"{count:,} {WORDS[name]}" for name, count in sorted(soak.counts.items(), key=lambda one: -one[1]))
    return "\n\n".join([
        page.recorded_by(f"tests/reliability/run soak --minutes {MINUTES:g}"),
        f"Two nodes. The agent of one runs throughout and is measured; that of the other is killed and restarted. In {MINUTES:g} "
        f"minutes: {done}. Meanwhile a pod that policy keeps away sends without end, and connections between the pods of both "
        f"nodes, to a Service and to the outside stay. After each of {soak.rounds} rounds all that came is taken away: links, "
        "routes, neighbours, addresses, pins, files and map entries are what they were before.",
        page.table(("of the agent that is measured", "after the warm-up", "at the end", "growth"), rows, right=(1, 2, 3)),
        "For a day: `tests/reliability/run soak --hours 24`."])
