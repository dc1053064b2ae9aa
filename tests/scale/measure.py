# SPDX-License-Identifier: Apache-2.0
"""What is asked of the scene: a sample with bounds that a busy machine keeps to, and everything for the page."""

import contextlib
import sys
import time
import traceback

from scene import Failed, Scene, memory, quantile
from lib.netns import CommandError

RATE = 100       # events of pods a second
QUIET = 40       # seconds after which polderd has done what it does when nothing happens
SHORT_MIB = 80   # VmHWM with a tenth of the cluster
SHORT_SHARE = 0.25


def say(text):
    print(text, file=sys.stderr, flush=True)


def all_latencies(made):
    return [one for some in made["latencies"].values() for one in some]


def told_memory(found):
    return ", ".join(f"{name} {value:.1f}" for name, value in found.items()) + " MiB"


def told_start(name, made):
    say(f"{name}: ready after {made['seconds']:.2f} s, {made['cpu']:.2f} s of CPU; {made['bytes'] / 1e6:.0f} MB from the server "
        f"({made['server_cpu']:.2f} s of its CPU); {told_memory(made['memory'])}")
    return made


def told_play(name, made):
    times, events = all_latencies(made), sum(made["events"].values())
    say(f"{name}: {events / made['seconds']:.0f} events a second, {100 * made['share']:.2f} % of a core, "
        f"{made['cpu_s'] / events * 1e3:.3f} ms each; event to map p50 {quantile(times, 0.5):.2f} ms, "
        f"p99 {quantile(times, 0.99):.2f} ms, at most {max(times, default=0):.2f} ms of {len(times)}; sent {made['late_ms']:.0f} ms late "
        f"at most; {told_memory(made['memory'])}")
    for kind, some in made["latencies"].items():
        if some:
            say(f"    {kind:8} {len(some):5}  p50 {quantile(some, 0.5):6.2f}  p99 {quantile(some, 0.99):6.2f}  max {max(some):6.2f}")
    return made


def full(counts, options):
    """The whole cluster once, told to the one who asks."""
    with contextlib.closing(Scene(counts, options.dual)) as scene:
        if options.pages:
            scene.lists("pages")
        told_start("start", scene.start())
        scene.attach()
        scene.audit(20)
        told_play("pods that change", scene.play("churn", RATE, options.seconds))
        scene.audit()
        told_play("nodes that tell that they are there", scene.play("beats", 50, 4))
        told_play("nodes with another address", scene.play("moves", 50, 4))
        scene.audit()
        if options.hold:
            print(scene.pid, flush=True)
            sys.stdin.readline()
        scene.node.agent.stop()
        told_start("start from disk", scene.start())
        scene.audit(20)


# ---------------------------------------------------------------- the page


def record(counts):
    """{figure: value} of both families' clusters; under five minutes."""
    begun, found = time.monotonic(), {"counts": counts}
    with contextlib.closing(Scene(counts)) as scene:
        found["objects"] = scene.ask("state")["objects"]
        found["start"] = told_start("start", scene.start())
        scene.attach()
        scene.audit(20)
        found["churn"] = told_play("pods that change", scene.play("churn", RATE, 40))
        scene.audit()
        found["beats"] = told_play("nodes that tell that they are there", scene.play("beats", 50, 10))
        found["moves"] = told_play("nodes with another address", scene.play("moves", 20, 5))
        scene.audit()
        say(f"quiet for {QUIET} s")
        time.sleep(QUIET - 10)
        found["idle"] = scene.idle(10)
        found["quiet"] = memory(scene.pid)
        found["maps"] = scene.kernel_maps()
        scene.node.agent.stop()
        found["disk"] = told_start("start from disk", scene.start())
        scene.audit(20)
        scene.node.agent.stop()
        scene.forget()
        found["again"] = told_start("start with full maps", scene.start())
        scene.audit(20)
        scene.node.agent.stop()
        scene.forget()
        scene.lists("pages")
        found["pages"] = told_start("start by pages", scene.start())
        scene.audit(20)
    with contextlib.closing(Scene(counts, dual=True, max_addresses=262144)) as scene:
        found["dual"] = told_start("start, both families", scene.start())
        scene.audit(20)
    found["seconds"] = time.monotonic() - begun
    return found


# ---------------------------------------------------------------- the sample


class Report:
    def __init__(self):
        self.failed = 0

    @contextlib.contextmanager
    def test(self, name):
        try:
            yield
        except Exception as error:  # each is told; what comes behind it may still hold
            self.failed += 1
            print(f"not ok {name} - {' '.join(str(error).split()) or type(error).__name__}", flush=True)
            if not isinstance(error, (Failed, CommandError)):
                traceback.print_exc()
        else:
            print(f"ok {name}", flush=True)


def within(what, value, limit):
    if value > limit:
        raise Failed(f"{what}: {value:.2f}, the limit is {limit}")


def short(counts):
    report = Report()
    with contextlib.closing(Scene(counts, own_pods=4)) as scene:
        with report.test("lists_of_a_large_cluster_come_whole_into_the_maps"):
            told_start("start", scene.start())
            scene.attach()
            scene.audit(10)
        with report.test("maps_are_what_objects_say_after_thousands_of_changes"):
            made = told_play("pods that change", scene.play("churn", RATE, 5))
            scene.audit(10)
        with report.test("changes_take_little_cpu"):
            within("share of a core at 100 events of pods a second", made["share"], SHORT_SHARE)
        with report.test("nodes_that_move_are_followed"):
            told_play("nodes with another address", scene.play("moves", 50, 1))
            scene.audit(10)
        with report.test("memory_stays_within_bounds"):
            within("MiB resident at most", memory(scene.pid)["VmHWM"], SHORT_MIB)
        with report.test("a_start_by_pages_finds_the_same"):
            scene.node.agent.stop()
            scene.forget()
            scene.lists("pages")
            told_start("start by pages, with full maps", scene.start())
            scene.audit(10)
    return 1 if report.failed else 0
