# SPDX-License-Identifier: Apache-2.0
"""10,000 Services with 100,000 endpoints: loaded, changed, and the same changes by kube-proxy's rules. See tests/README.md."""

import contextlib
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "bench"))

import page  # noqa: E402
import rules  # noqa: E402
from lib.netns import Namespace  # noqa: E402
from measure import say, told_play, told_start  # noqa: E402
from scene import Scene, memory, quantile  # noqa: E402

COUNTS = {"nodes": 500, "pods": 100000, "services": 10000, "policies": 0}
ENDPOINTS = 10
ONE_RATE, ONE_SECONDS = 20, 50  # changes one by one
MANY_RATE = 1000
RULE_CHANGES = 20  # of each kind of rules


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


def measure(counts, seconds):
    """Figures of the agent, told as they come."""
    found = {"counts": counts, "load_average": os.getloadavg()[0]}
    with contextlib.closing(Scene({**counts, "services": 1}, own_pods=0, services_only=True)) as scene:
        found["without"] = told_start("start with one Service", scene.start())
    with contextlib.closing(Scene(counts, own_pods=0, services_only=True)) as scene:
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
    return found


def record(seconds):
    """The whole, beside kube-proxy's rules: a page's table."""
    found = measure(COUNTS, seconds)
    found["rules"] = {kind: rule_times(kind, COUNTS["services"]) for kind in ("nftables", "iptables")}
    print(section(found))


def load_of(found):
    """What Services add to a start: seconds on the clock, and of CPU."""
    return found["start"]["seconds"] - found["without"]["seconds"], found["start"]["cpu"] - found["without"]["cpu"]


def goals(found):
    one, many = found["one"]["latencies"]["service"], found["many"]["latencies"]["service"]
    return [("one change, from object to map, p99", "1 ms", quantile(one, 0.99), "{:.2f} ms", 1),
            ("the same, 1,000 changes a second, p99", "1 ms", quantile(many, 0.99), "{:.2f} ms", 1),
            ("full load, beyond a start with one Service", "1 s", load_of(found)[0], "{:.2f} s", 1),
            ("resident, own memory of the agent", "64 MiB", found["memory"]["RssAnon"], "{:.0f} MiB", 64)]


def section(found):
    rows = [(name, f"≤ {goal}", form.format(value), "reached" if value <= limit else "**not reached**")
            for name, goal, value, form, limit in goals(found)]
    changes = [(title, f"{quantile(made['latencies']['service'], 0.5):.2f}", f"{quantile(made['latencies']['service'], 0.99):.2f}",
                f"{100 * made['share']:.1f} %", f"{made['cpu_s'] / sum(made['events'].values()) * 1e3:.2f}")
               for title, made in (("polderd, 20 changes a second", found["one"]), ("polderd, 1,000 changes a second", found["many"]))]
    changes += [(f"{kind}, a change by its own command", f"{quantile(made['changes'], 0.5):.0f}", f"{quantile(made['changes'], 0.99):.0f}",
                 "", "") for kind, made in found["rules"].items()]
    loads = [("polderd, by API: until ready", f"{found['start']['seconds']:.1f}", f"{found['start']['cpu']:.1f}"),
             ("of it with one Service", f"{found['without']['seconds']:.1f}", f"{found['without']['cpu']:.1f}"),
             ("polderd, again with full maps", f"{found['again']['seconds']:.1f}", f"{found['again']['cpu']:.1f}"),
             *((kind, f"{made['load']:.1f}", "") for kind, made in found["rules"].items())]
    kept = found["memory"]
    return "\n\n".join([
        page.recorded("--services") + f" Load of the machine before: {found['load_average']:.1f}.",
        page.table(("", "goal", "found", ""), rows),
        page.table(("one endpoint of a Service is another one", "p50, ms", "p99, ms", "CPU of a core", "CPU a change, ms"), changes),
        page.table(("full load", "s", "CPU, s"), loads),
        f"Resident: {kept['VmRSS']:.0f} MiB, at most {kept['VmHWM']:.0f}; of it {kept['RssAnon']:.0f} its own, {found['maps']:.0f} the "
        "programs' maps, the rest files."])
