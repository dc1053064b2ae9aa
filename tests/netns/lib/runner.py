# SPDX-License-Identifier: Apache-2.0
"""Finds tests, gives each module its world, prints one line a test."""

import argparse
import concurrent.futures
import fnmatch
import importlib.util
import os
import signal
import subprocess
import sys
import time
import traceback

from . import netns
from .agent import missing_binaries
from .traffic import V4, V6
from .verdicts import IN_TIME
from .world import World, remove_leftover_cgroups


ENDING = 240  # seconds in which a world is put in order again


class Skip(Exception):
    """The machine or the kernel lacks what the test needs; the text says what."""


class TestTimeout(Exception):
    """A test took longer than any may."""


def each_family(test):
    """The test runs once with family 4 and once with family 6."""
    test.families = (V4, V6)
    return test


def limit(seconds):
    """How long a test takes at most where nothing else runs (60 s by default). It is ended after three times that."""
    def mark(test):
        test.limit = seconds
        return test
    return mark


def in_worlds(*names):
    """The test runs only in these of its module's WORLDS."""
    def mark(test):
        test.worlds = names
        return test
    return mark


class Case:
    def __init__(self, module, variant, function, family):
        self.variant, self.function, self.family = variant, function, family
        name = function.__name__.removeprefix("test_")
        suite = module.__name__.removeprefix("test_") + (f"[{variant}]" if variant else "")
        self.name = f"{suite}.{name}" + (f"/v{family}" if family else "")
        self.limit = 3 * getattr(function, "limit", 60)

    def call(self, world):
        if self.family:
            self.function(world, self.family)
        else:
            self.function(world)


def load(path):
    name = os.path.basename(path)[:-3]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def variants(module):
    """name -> the world's options. A module has WORLDS, or WORLD, or the plain world."""
    return getattr(module, "WORLDS", None) or {"": getattr(module, "WORLD", {})}


def cases(module, variant):
    functions = [f for n, f in vars(module).items() if n.startswith("test_") and callable(f)
                 and variant in getattr(f, "worlds", (variant,))]
    return [Case(module, variant, function, family) for function in functions
            for family in getattr(function, "families", (None,))]


class Report:
    def __init__(self, verbose):
        self.verbose, self.failed, self.count = verbose, 0, 0

    def line(self, kind, name, why="", begun=None, agreed=()):
        self.count += 1
        self.failed += kind == "not ok"
        why = " ".join(str(why).split())
        took = f" # {time.monotonic() - begun:.2f} s" if self.verbose and begun else ""
        if took and agreed:
            took += f", verdicts after {max(agreed):.2f} s"
        print(f"{kind} {name}" + (f" - {why}" if why else "") + took, flush=True)

    def times(self, suite, agreed, late):
        """
        How long changes took, of {test: seconds of each}; all but `late` of them may take IN_TIME. World.expect() has a bound for
        each alone.
        """
        seconds = sorted(one for some in agreed.values() for one in some)
        if not seconds:
            return
        slowest = max(agreed, key=lambda name: max(agreed[name], default=0))
        told = (f"{len(seconds)} changes were right after {seconds[len(seconds) // 2]:.3f} s (median), {seconds[-1]:.3f} s at most "
                f"({slowest})")
        print(f"# {suite}: verdicts of {told}", flush=True)
        over = sum(one > IN_TIME for one in seconds)
        if over > late(len(seconds)):
            self.line("not ok", f"{suite}.verdicts_agree_in_time", f"{over} took more than {IN_TIME} s: {told}")
        else:
            self.line("ok", f"{suite}.verdicts_agree_in_time")

    def details(self, text):
        if self.verbose:
            for line in text.rstrip().splitlines():
                print(f"# {line}", flush=True)


def _alarm(*_):
    raise TestTimeout()


def _attempt(report, name, action, seconds, agreed=()):
    """True if it ended well. `agreed` is what expect() fills."""
    begun = time.monotonic()
    signal.alarm(seconds)
    try:
        action()
    except Skip as skip:
        report.line("skip", name, skip, begun)
    except TestTimeout:
        report.line("not ok", name, f"not done in {seconds} s", begun)
        report.details(traceback.format_exc())
        return False
    except Exception as error:
        report.line("not ok", name, f"{type(error).__name__}: {error}", begun)
        report.details(traceback.format_exc())
        return False
    else:
        report.line("ok", name, "", begun, agreed)
    finally:
        signal.alarm(0)
    return True


def _quiet(report, name, action, seconds):
    """As _attempt(), but says nothing when all is well."""
    signal.alarm(seconds)
    try:
        action()
    except (Exception, TestTimeout) as error:
        report.line("not ok", name, f"{type(error).__name__}: {error}")
        report.details(traceback.format_exc())
        return False
    finally:
        signal.alarm(0)
    return True


def _leftovers(report, name, world):
    def check():
        differences = world.finish()
        assert not differences, "left behind: " + "; ".join(
            f"{key} {value}" for key, value in differences.items())
    _attempt(report, name, check, ENDING)


def run_variant(module, variant, options, selected, report, world_class):
    """All selected tests of a module in one world."""
    suite = module.__name__.removeprefix("test_") + (f"[{variant}]" if variant else "")
    worlds = []

    def setup():
        worlds.append(world_class(**options))
        if hasattr(module, "setup"):
            module.setup(worlds[0])
        worlds[0].end_of_setup()
    try:
        if not _quiet(report, f"{suite}.setup", setup, 600):
            report.details(f"{len(selected)} tests were not run")
            return
        world = worlds[0]
        agreed = {case.name: _run_case(case, world, report) for case in selected}
        report.times(suite, agreed, world.late)
        _leftovers(report, f"{suite}.leaves_nothing_behind", world)
        _attempt(report, f"{suite}.agents_end_well", world.end_agents, ENDING)
    finally:
        for world in worlds:
            world.close()


def _run_case(case, world, report):
    """The seconds that the test's changes took until verdicts were right."""
    world.agreed = agreed = []
    mark = {node: len(node.agent.log()) for node in world.nodes}
    ended_well = _attempt(report, case.name, lambda: case.call(world), case.limit, agreed)
    ended_well &= _quiet(report, case.name + " (cleaning up)", world.end_of_test, ENDING)
    if not ended_well:
        for node, length in mark.items():
            report.details(f"polderd of {node}:\n" + node.agent.log()[length:][-4000:])
    return agreed


def _children(paths, arguments, jobs):
    """Modules as processes of their own, `jobs` at a time; the output of each is whole and comes when it has ended."""
    def run(path):
        return subprocess.run([sys.executable, sys.argv[0], "-j", "0", *arguments, path],
                              stdout=subprocess.PIPE, text=True, check=False)
    status = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            for ended in concurrent.futures.as_completed([pool.submit(run, path) for path in paths]):
                child = ended.result()
                sys.stdout.write(child.stdout)
                sys.stdout.flush()
                status |= child.returncode != 0
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those that run hear of an interrupt themselves
            raise
    return status


def main(directory, world_class=World, default_jobs=4, needs_binaries=True):
    parser = argparse.ArgumentParser(description="Runs the tests of " + directory)
    parser.add_argument("-k", metavar="PATTERN",
                        help="only tests whose name has this in it, or matches it")
    parser.add_argument("-l", action="store_true", help="list the tests")
    parser.add_argument("-v", action="store_true", help="times, tracebacks, the agents' logs")
    parser.add_argument("-j", type=int, default=default_jobs, metavar="N",
                        help="modules at a time; 0: in this process")
    parser.add_argument("modules", nargs="*", help="test_*.py; by default all")
    options = parser.parse_args()
    paths = [os.path.abspath(p) for p in options.modules] or sorted(
        os.path.join(directory, n) for n in os.listdir(directory)
        if n.startswith("test_") and n.endswith(".py"))

    def wanted(case):
        return not options.k or options.k in case.name or fnmatch.fnmatch(case.name, options.k)

    if not options.l:
        _check_machine(needs_binaries)
    if options.j and not options.l:
        sys.exit(_children(_longest_first(p for p in paths if _any_wanted(p, wanted)),
                           (["-k", options.k] if options.k else []) + (["-v"] if options.v else []),
                           options.j))
    report = Report(options.v)
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for path in paths:
        module = load(path)
        for variant, world_options in variants(module).items():
            selected = [case for case in cases(module, variant) if wanted(case)]
            if options.l:
                for case in selected:
                    print(case.name)
            elif selected:
                run_variant(module, variant, world_options, selected, report, world_class)
    sys.exit(1 if report.failed else 0)


def _any_wanted(path, wanted):
    module = load(path)
    return any(wanted(case) for variant in variants(module) for case in cases(module, variant))


def _longest_first(paths):
    """A module that lasts says so by LASTS, in seconds: begun last, it would be waited for alone."""
    return sorted(paths, key=lambda path: -getattr(load(path), "LASTS", 0))


def _check_machine(needs_binaries):
    if os.geteuid() != 0:
        print("skip all - root is needed for network namespaces")
        sys.exit(77)
    missing = missing_binaries() if needs_binaries else []
    if missing:
        print(f"not built: {', '.join(missing)}; run: meson setup build && meson compile -C build "
              "(or set POLDER_BUILD)", file=sys.stderr)
        sys.exit(2)
    netns.remove_leftovers()
    remove_leftover_cgroups()
