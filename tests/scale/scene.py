# SPDX-License-Identifier: Apache-2.0
"""One node whose polderd follows the replay server; what that costs, and what its maps say."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import api_server
from lib.agent import BUILD, REPOSITORY
from lib.netns import CommandError
from lib.traffic import V4, V6
from lib.world import OUTSIDE_IP, Pod, World

HERE = os.path.dirname(os.path.abspath(__file__))
PROBE = os.path.join(BUILD, "tests", "scale", "scale-probe")
PORT = 6443
ADDRESS_POD, ADDRESS_POD_RANGE, ADDRESS_NODE = 1, 2, 8
FIRST_IDENTITY = 256
REALTIME = 20
undisturbed = False  # what is measured runs before all else


class Failed(Exception):
    """Something is not as it has to be; the text says what."""


def cpu_seconds(pid):
    """Of all threads that there are."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def memory(pid):
    """MiB: at most, now, and of it what is the process's own (the rest is its file and maps that it shares with the kernel)."""
    found = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem"):
                found[name] = int(rest.split()[0]) / 1024
    return found


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def run_first(pid):
    """All its threads, and what they make from now on."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setscheduler(int(thread), os.SCHED_RR, os.sched_param(REALTIME))


class Scene(World):
    """`counts`: nodes, pods, services, policies. The server runs on a CPU of its own if there is one."""

    def __init__(self, counts, dual=False, own_pods=10, services_only=False, **options):
        self.counts, self.dual, self.own_pods, self.services_only = counts, dual, own_pods, services_only
        super().__init__(nodes=1, start=False, resources=None, kubeconfig="pending", **options)
        try:
            self._start_server()
        except BaseException:
            self.close()
            raise

    def _make_outside(self):
        super()._make_outside()
        self.authority = api_server.Authority(self.workdir)
        self.certificate = self.authority.issue("server", (OUTSIDE_IP[V4],))

    def _start_server(self):
        node = self.node
        node.agent.options["kubeconfig"] = self._kubeconfig()
        # Other nodes are neighbours: each of them has a route.
        node.netns.ip("addr add 172.20.255.1/16 dev eth0")
        own = {"name": node.name, "ip": node.ips[V4], "ip6": node.ips[V6], "range": node.pod_cidr[V4], "range6": node.pod_cidr[V6]}
        spec = {"cluster": {**self.counts, "own": own, "own_pods": self.own_pods, "dual": self.dual},
                "address": OUTSIDE_IP[V4], "port": PORT, "certificate": self.certificate[0], "key": self.certificate[1],
                "probe": PROBE, "pins": self.pins(), "services_only": self.services_only}
        cpus = os.cpu_count() or 1
        place = ["taskset", "-c", str(cpus - 1)] if cpus > 1 else []
        self.agent_cpus = "0" if cpus == 2 else f"0-{cpus - 2}" if cpus > 2 else None
        self.server = subprocess.Popen(self.outside.command(*place, sys.executable, os.path.join(HERE, "replay.py"), json.dumps(spec)),
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.cleanup.callback(self._end_server)
        self._answer()

    def _kubeconfig(self):
        path = os.path.join(self.workdir, "kubeconfig")
        authority = api_server.read_base64(self.authority.certificate)
        with open(path, "w", encoding="ascii") as file:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "test",
                       "contexts": [{"name": "test", "context": {"cluster": "test", "user": "polder"}}],
                       "clusters": [{"name": "test", "cluster": {"server": f"https://{OUTSIDE_IP[V4]}:{PORT}",
                                                                 "certificate-authority-data": authority}}],
                       "users": [{"name": "polder", "user": {"token": "token"}}]}, file)
        return path

    def _end_server(self):
        self.server.stdin.close()
        try:
            self.server.wait(5)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()

    def pins(self):
        with open(os.path.join(REPOSITORY, "datapath", "abi.h"), encoding="utf-8") as file:
            version = re.search(r"^#define POLDER_LAYOUT_VERSION (\d+)", file.read(), re.M)[1]
        return os.path.join(self.node.bpffs, f"v{version}")

    def ask(self, *words):
        self.server.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.server.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self.server.stdout.readline()
        if not line:
            raise CommandError(f"the replay server ended with status {self.server.wait()}")
        return json.loads(line)

    @property
    def pid(self):
        return self.node.agent.process.pid

    # ---- measuring

    def start(self, timeout=120):
        """The agent, until it is ready: seconds on the clock and of CPU, bytes, memory."""
        before = self.ask("state")
        begun = time.monotonic()
        self.node.agent.start(wait=False)
        self.node.agent.wait_ready(timeout)
        seconds = time.monotonic() - begun
        if undisturbed:
            run_first(self.server.pid)
            run_first(self.pid)
        after = self.ask("state")
        return {"seconds": seconds, "cpu": cpu_seconds(self.pid), "bytes": after["sent"] - before["sent"],
                "server_cpu": after["cpu"] - before["cpu"], "memory": memory(self.pid)}

    def play(self, what, rate, seconds):
        """What happens, with the agent's CPU meanwhile (of a core) and the memory at its end."""
        before, cpu = self.ask("state"), cpu_seconds(self.pid)
        begun = time.monotonic()
        made = self.ask("play", what, rate, seconds)
        made["cpu_s"] = cpu_seconds(self.pid) - cpu
        made["share"] = made["cpu_s"] / (time.monotonic() - begun)
        made["bytes"] = self.ask("state")["sent"] - before["sent"]
        made["memory"] = memory(self.pid)
        # One or two may be the probe's fault, which waits for a CPU like all others; the audit tells.
        if made["missing"] > 0.01 * sum(len(some) for some in made["latencies"].values()):
            raise Failed(f"{made['missing']} changes never came to the maps: {made['missed']}")
        return made

    def attach(self):
        """Pods of the node's own, connected by polder-cni; the server tells their addresses."""
        ips = {}
        for ns, name, _ in self.ask("own"):
            pod = Pod(self, self.node, name, ns, with_object=False)
            self.pods.append(pod)
            pod.add()
            ips[name] = pod.ips[V4]
        self.ask("attach", json.dumps(ips))

    def lists(self, how):
        """"streaming", or "pages" as of a server that has no streaming lists; packed before they are asked for."""
        self.ask("lists", how)
        if how == "pages":
            self.ask("prepare")

    def forget(self):
        """The objects that polderd, which has ended, has kept on disk: the next start lists them all."""
        kept = os.path.join(self.node.agent.options["state-dir"], "api-objects")
        if not os.path.exists(kept):
            raise Failed(f"{kept} is not there: polderd keeps no objects on disk")
        shutil.rmtree(kept) if os.path.isdir(kept) else os.unlink(kept)

    def kernel_maps(self):
        """MiB of the kernel's maps that polderd has in its address space: they count as resident."""
        total, name = 0, ""
        with open(f"/proc/{self.pid}/smaps", encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if "-" in words[0] and not words[0].endswith(":"):
                    name = words[-1]
                elif words[0] == "Rss:" and name == "anon_inode:bpf-map":
                    total += int(words[1])
        return total / 1024

    def idle(self, seconds):
        """Share of a core while nothing happens."""
        cpu, begun = cpu_seconds(self.pid), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(self.pid) - cpu) / (time.monotonic() - begun)

    # ---- the audit: what the maps have to say, by the objects alone

    def audit(self, patience=5):
        deadline = time.monotonic() + patience
        while True:
            wrong = self.differences()
            if not wrong:
                return
            if time.monotonic() > deadline:
                raise Failed(f"{len(wrong)} differences between objects and maps, the first: {'; '.join(wrong[:5])}")
            time.sleep(0.2)

    def differences(self):
        wanted = self.ask("expected")
        addresses, services = {}, {}
        done = subprocess.run([PROBE, self.pins(), "dump"], capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            words = line.split()
            if words[0] == "address" and ":" not in words[1]:
                addresses[words[1], int(words[2]) - 96] = [int(word) for word in words[3:]]
            elif words[0] == "service" and ":" not in words[1]:
                services[words[1], int(words[2])] = sorted(words[4:])
        return [*wrong_pods(wanted, addresses), *wrong_nodes(wanted, addresses), *wrong_services(wanted, services)]


def wrong_pods(wanted, addresses):
    """Each pod has an identity, the same as others with its labels and no others, in both slots; and there are no others."""
    of_labels, of_identity = {}, {}
    for ip, labels in wanted["pods"].items():
        entry, labels = addresses.get((ip, 32)), tuple(labels)
        if not entry or not entry[2] & ADDRESS_POD or entry[0] < FIRST_IDENTITY or entry[0] != entry[1]:
            yield f"pod {ip}: {entry}"
        elif of_labels.setdefault(labels, entry[0]) != entry[0] or of_identity.setdefault(entry[0], labels) != labels:
            yield f"pod {ip} {labels}: identity {entry[0]} is {of_identity[entry[0]]}'s; these labels have {of_labels[labels]}"
    for (ip, length), entry in addresses.items():
        if entry[2] & ADDRESS_POD and ip not in wanted["pods"]:
            yield f"{ip}/{length} is no pod's: {entry}"


def wrong_nodes(wanted, addresses):
    for ip, pod_range in wanted["nodes"].items():
        entry = addresses.get((ip, 32))
        if not entry or not entry[2] & ADDRESS_NODE:
            yield f"node {ip}: {entry}"
        net, length = pod_range.split("/")
        entry = addresses.get((net, int(length)))
        if not entry or not entry[2] & ADDRESS_POD_RANGE:
            yield f"range {pod_range}: {entry}"
    for (ip, length), entry in addresses.items():
        if length == 32 and entry[2] & ADDRESS_NODE and ip.startswith("172.20.") and ip not in wanted["nodes"] and ip != "172.20.255.1":
            yield f"{ip} is no node's: {entry}"


def wrong_services(wanted, services):
    for ip, ends in wanted["services"].items():
        if services.get((ip, 80)) != sorted(f"{end}/8080" for end in ends):
            yield f"Service {ip}: {services.get((ip, 80))}, not {ends}"
        if (ip, 0) not in services:
            yield f"Service {ip}: other ports are not refused"
    for ip, port in services:
        if ip not in wanted["services"] or port not in (0, 80):
            yield f"{ip}:{port} is no Service's"
