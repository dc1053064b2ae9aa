# SPDX-License-Identifier: Apache-2.0
"""What takes how long on a node that knows a large cluster, while much is asked of it at once."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import page
from lib import objects
from lib.agent import REPOSITORY
from lib.cni import CniError
from lib.traffic import V4, Timeout, wait_until
from lib.world import Pod, World
from scene import Control

sys.path.append(os.path.join(REPOSITORY, "tests", "bench"))
import cluster  # noqa: E402  pylint: disable=wrong-import-position

TITLE = "Load"
PODS_PER_FILE = 500


def thread_seconds(pid):
    """That the agent's loop has had a CPU."""
    with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


class Answers:
    """Within the block another process asks for `status` all the time; then `seconds` has how long each answer took."""

    def __init__(self, agent, pause=0.02):
        self.agent, self.pause, self.seconds = agent, pause, []

    def __enter__(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "asker.py")
        self.process = subprocess.Popen([sys.executable, path, self.agent.socket, str(self.agent.process.pid), str(self.pause)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.seconds = json.loads(self.process.communicate("end\n", timeout=60)[0])


def known_cluster(world, pods, policies):
    """All objects of a cluster in the agent's directory, read."""
    made = cluster.Cluster(pods, policies, 400)
    world.resources.put("cluster-namespaces", *made.namespaces())
    world.resources.put("cluster-nodes", *made.nodes())
    world.resources.put("cluster-policies", *[made.policy(n) for n in range(policies)])
    for begin in range(0, pods, PODS_PER_FILE):
        world.resources.put(f"cluster-pods-{begin}", *[made.pod(n) for n in range(begin, min(pods, begin + PODS_PER_FILE))])
    wait_until(lambda: status(world)["objects"]["pods"] >= pods, "all objects are read", 120, 0.2)
    time.sleep(3)
    return made


def status(world):
    with Control(world.node.agent.socket, 60) as control:
        return control.result("status")


def namespaces(world, count, name):
    """Pods with their namespace and object, not connected yet."""
    return [Pod(world, world.node, f"{name}-{number}", "ns-0", {"app": "a-0"}) for number in range(count)]


def add_one_by_one(pods):
    seconds = []
    for pod in pods:
        began = time.monotonic()
        pod.take(pod.call("ADD").result())
        seconds.append(time.monotonic() - began)
    return sorted(seconds)


def add_at_once(pods):
    """How long until the last has its answer."""
    began = time.monotonic()
    calls = [pod.call("ADD") for pod in pods]
    answers = {}

    def wait(pod, call):
        try:
            answers[pod] = call.result(120)
        except CniError as error:
            answers[pod] = error
    threads = [threading.Thread(target=wait, args=pair) for pair in zip(pods, calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    refused = [answer for answer in answers.values() if isinstance(answer, CniError)]
    for pod, answer in answers.items():
        if not isinstance(answer, CniError):
            pod.take(answer)
    return took, refused


def take_away(pods):
    for pod in pods:
        if pod.result is not None:
            pod.result = None
            pod.call("DEL").result()
        pod.delete()


@contextlib.contextmanager
def http_connections(world, count=300):
    socks = []
    for _ in range(count):
        sock = world.node.socket(2, 1)
        sock.settimeout(3)
        socks.append(sock)
        with contextlib.suppress(OSError):
            sock.connect((world.node.ips[V4], 9964))
            sock.sendall(b"GET /metrics HTTP/1.1\r\n")
    try:
        yield
    finally:
        for sock in socks:
            sock.close()


@contextlib.contextmanager
def control_connections(world, count=257):
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            with contextlib.suppress(OSError):
                stack.enter_context(Control(world.node.agent.socket))
        yield


@contextlib.contextmanager
def in_background(work):
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def object_churn(world, made, rate=50):
    """So many pods a second get other labels."""
    def work(stop):
        number = 0
        while not stop.wait(1 / rate):
            number += 1
            world.resources.put(f"changing-{number % 40}", made.pod(number % 40, {"app": f"a-{number % 20}"}))
    return in_background(work)


def netlink_storm(world):
    """Addresses come and go as fast as ip(8) can have it."""
    node = world.node.netns
    node.ip("link add noise type veth peer noise1", "link set noise up", "link set noise1 up")
    lines = [f"addr {word} 192.0.{number // 250}.{number % 250 + 1}/32 dev noise" for number in range(2000) for word in ("add", "del")]

    def work(stop):
        while not stop.is_set():
            node.ip(*lines)
        node.ip("link del noise")
    return in_background(work)


def under(world, load, seconds):
    """The longest of `status` under a load."""
    with Answers(world.node.agent) as answers, load:
        time.sleep(seconds)
    return answers.seconds


def words_of(seconds):
    ordered = sorted(seconds)
    return f"{1000 * ordered[int(len(ordered) * 0.99)]:.0f} ms (p99), {1000 * ordered[-1]:.0f} ms (longest of {len(ordered)})"


class Figures:
    """Rows of the page, and what is over its limit."""

    def __init__(self, strict):
        self.strict, self.rows, self.wrong = strict, [], []

    def add(self, what, value, limit, words, found=None):
        """`value` and `limit` in seconds."""
        self.rows.append((what, words, found or f"{1000 * value:.0f} ms"))
        if value > limit * (1 if self.strict else 10):
            self.wrong.append(f"{what}: {found or value}, not {words}")


def large_cluster(figures, pods, policies, at_once, one_by_one, seconds):
    with contextlib.closing(World(nodes=1, metrics_listen=":9964", max_addresses=262144)) as world:
        made = known_cluster(world, pods, policies)
        first = namespaces(world, one_by_one, "single")
        took = add_one_by_one(first)
        figures.add(f"ADD, one after the other, {pods:,} pods known", took[int(len(took) * 0.99)], 0.1, "p99 ≤ 100 ms",
                    f"{1000 * took[len(took) // 2]:.0f} ms (median), {1000 * took[int(len(took) * 0.99)]:.0f} ms (p99)")
        take_away(first)
        second = namespaces(world, at_once, "storm")
        pid = world.node.agent.process.pid
        with Answers(world.node.agent, 0.005) as answers:
            time.sleep(0.2)
            before = thread_seconds(pid)
            storm, refused = add_at_once(second)
            loop = thread_seconds(pid) - before
        figures.add(f"{at_once} ADDs at once, {pods:,} pods known", storm, 5, "≤ 5 s", f"{storm:.2f} s, {loop:.2f} s of the loop")
        figures.wrong += [f"ADD: {error}" for error in refused[:3]]
        take_away(second)
        wait_until(lambda: status(world)["pods"]["total"] == 0, "no pod is left", 10, 0.1)
        figures.add(f"`status` while {at_once} ADDs run", max(answers.seconds), 0.1, "≤ 100 ms", words_of(answers.seconds))
        for what, load in (("300 HTTP connections that do not end their request", http_connections(world)),
                           ("257 idle control connections", control_connections(world)),
                           ("50 pods a second that get other labels", object_churn(world, made)),
                           ("addresses of the node that come and go without end", netlink_storm(world))):
            found = under(world, load, seconds)
            figures.add(f"`status` under {what}", max(found), 0.1, "≤ 100 ms", words_of(found))


def many_nodes(figures, count):
    with contextlib.closing(World(nodes=1)) as world:
        world.node.netns.ip("addr add 172.31.0.1/16 dev eth0", "addr add fd31::1/64 dev eth0 nodad")

        def node(number, **labels):
            made = objects.node(f"peer-{number}", [f"100.{64 + number // 256}.{number % 256}.0/24", f"fd64:0:{number + 1:x}::/64"],
                                [f"172.31.{1 + number // 250}.{number % 250 + 1}", f"fd31::{number + 16:x}"])
            made["metadata"]["labels"] = labels
            return made
        for begin in range(0, count, PODS_PER_FILE):
            world.resources.put(f"peers-{begin}", *[node(number) for number in range(max(begin, 1), min(count, begin + PODS_PER_FILE))])
        world.resources.put("changing", node(0))
        pid = world.node.agent.process.pid
        with contextlib.suppress(Timeout):
            wait_until(lambda: status(world)["routes"]["installed"] >= 2 * count, lambda: str(status(world)["routes"]), 60, 0.5)
        installed = status(world)["routes"]["installed"]
        time.sleep(2)
        took = []
        for number in range(20):
            before = thread_seconds(pid)
            changed = node(0, turn=str(number))
            if number % 2:
                changed["spec"]["podCIDRs"][0] = changed["spec"]["podCIDR"] = f"100.63.{number}.0/24"
            world.resources.put("changing", changed)
            time.sleep(0.4)
            took.append(thread_seconds(pid) - before)
        figures.add(f"a Node of {count:,} changes its labels or range ({installed:,} routes): time of the loop", max(took), 0.05,
                    "≤ 50 ms", f"{1000 * sorted(took)[len(took) // 2]:.1f} ms (median), {1000 * max(took):.1f} ms (longest of {len(took)})")


WHERE = """\
An ADD takes some 6 ms of the agent's own time. The rest is the kernel's: each of the four programs of a pod's link is
attached behind a grace period of RCU (`bpf(LINK_CREATE)` of tcx: 12 to 20 ms on this machine, by `strace -T`), under the
lock that all who change links and addresses share. So ADDs at once follow each other, in a thread beside the loop; of many at once each
waits for two programs, and the two that close its link without them come behind all. Addresses that come and go without end hold
the same lock."""


def short(tally):
    figures = Figures(strict=False)
    large_cluster(figures, 1000, 50, 20, 5, 0.5)
    tally.check("node_answers_and_connects_pods_under_load", figures.wrong)


def record(tally):
    figures = Figures(strict=True)
    large_cluster(figures, 50000, 1000, 110, 100, 8)
    many_nodes(figures, 5000)
    for row in figures.rows:
        tally.note(" | ".join(row))
    tally.check("node_answers_and_connects_pods_under_load", figures.wrong)
    return "\n\n".join([page.recorded_by("tests/reliability/run --record --part load"),
                        page.table(("what", "wanted", "found"), figures.rows), WHERE])
