# SPDX-License-Identifier: Apache-2.0
"""10,000 Services with 100,000 endpoints: loaded, changed, and the same changes by kube-proxy's rules. See tests/README.md."""

import contextlib
import os
import random
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "bench"))

import rules  # noqa: E402
from lib.netns import Namespace  # noqa: E402
from measure import say, told_play, told_start  # noqa: E402
from scene import Scene, memory, quantile  # noqa: E402

COUNTS = {"nodes": 500, "pods": 100000, "services": 10000, "policies": 0}
SMALL = {"nodes": 50, "pods": 5000, "services": 500, "policies": 0}
ENDPOINTS = 10
ONE_RATE, ONE_SECONDS = 20, 50   # changes one by one
MANY_RATE = 1000
RULE_CHANGES = 20                # of each kind of rules


def service(number, turn=0):
    """The same Service as kube-proxy's rules see it, with another endpoint each turn."""
    ends = tuple(f"10.{128 + (number >> 10)}.{number >> 2 & 255}.{(number & 3) * 60 + 1 + i}" for i in range(ENDPOINTS))
    ends = (f"10.250.{turn >> 8 & 255}.{turn & 255}", *ends[1:]) if turn else ends
    return rules.Service(number, f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", ends, 8080)


def rule_times(kind, count):
    """Seconds to load `count` Services as kube-proxy does, and to change an endpoint of one of them."""
    with contextlib.ExitStack() as stack:
        node = Namespace("rules", f"{os.getpid():x}")
        stack.callback(node.delete)
        text = rules.make(kind, [service(number) for number in range(count)])
        begun = time.monotonic()
        node.run(*rules.COMMAND[kind], stdin=text, timeout=600)
        load = time.monotonic() - begun
        times, pick = [], random.Random(7)
        for turn in range(1, RULE_CHANGES + 1):
            text = rules.change(kind, service(pick.randrange(count), turn))
            begun = time.monotonic()
            node.run(*rules.CHANGE_COMMAND[kind], stdin=text, timeout=120)
            times.append((time.monotonic() - begun) * 1e3)
    say(f"{kind}: loaded in {load:.1f} s; one change p50 {quantile(times, 0.5):.0f} ms, p99 {quantile(times, 0.99):.0f} ms")
    return {"load": load, "changes": times}


def loads(scene):
    """What the agent itself says of the run that put all Services into its maps."""
    return scene.node.agent.metrics() if hasattr(scene.node.agent, "metrics") else {}


def measure(counts, seconds, with_rules, balancing=None):
    found = {"counts": counts, "load_average": os.getloadavg()[0]}
    options = {"balancing": balancing} if balancing else {}
    with contextlib.closing(Scene(counts, own_pods=0, services_only=True, max_service_cells=16384 * 1100, **options)
                            if balancing else Scene(counts, own_pods=0, services_only=True)) as scene:
        found["start"] = told_start("start", scene.start())
        scene.audit(30)
        found["one"] = told_play("one change", scene.play("changes", ONE_RATE, min(ONE_SECONDS, seconds)))
        found["many"] = told_play("changes at 1,000 a second", scene.play("changes", MANY_RATE, seconds))
        scene.audit(30)
        found["memory"], found["maps"] = memory(scene.pid), scene.kernel_maps()
        say(f"resident {found['memory']['VmRSS']:.1f} MiB, at most {found['memory']['VmHWM']:.1f}, own "
            f"{found['memory']['RssAnon']:.1f}; the programs' maps {found['maps']:.1f}")
        scene.node.agent.stop()
        found["again"] = told_start("start with full maps", scene.start())
        scene.audit(30)
    if with_rules:
        found["rules"] = {kind: rule_times(kind, counts["services"]) for kind in ("nftables", "iptables")}
    return found
