# SPDX-License-Identifier: Apache-2.0
"""Another commit's programs and agent beside this tree's, in turn: so that "no worse" is a ratio of one run.

The other commit is unpacked and built below the build directory. Its loaded programs are measured by this tree's cases
(tests/bench/programs, put into its tree), its agent and plugin by its own tests/netns/lib."""

import contextlib
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("POLDER_BUILD") or os.path.join(SOURCE, "build")
CPU = "0"
PROGRAM_TIMES = os.path.join("tests", "bench", "programs", "bench-program-times")
TARGETS = ["agent/polderd", "agent/cli/polderctl", "cni/polder-cni", PROGRAM_TIMES]
OVERLAY = os.path.join("tests", "bench", "programs")
OVERLAID_MESON = """# SPDX-License-Identifier: Apache-2.0
if not cunit.found()
  subdir_done()
endif
subdir('programs')
"""
FILLINGS = 5
# Where pages of maps and programs lie decides over some percent, and who began second is some percent slower: both sides begin anew so many
# times, each of them first as often as the other. Even.
OPENINGS = 6
RR_SECONDS = "0.2"


class Failed(Exception):
    """What cannot be measured, and why."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- the other commit's tree

def git(*args, **options):
    return subprocess.run(["git", "-c", f"safe.directory={SOURCE}", "-C", SOURCE, *args], stdout=subprocess.PIPE, check=False, **options)


def resolved(commit):
    """(short hash, subject)."""
    done = git("log", "-1", "--format=%h %s", f"{commit}^{{commit}}", "--", text=True, stderr=subprocess.DEVNULL)
    if done.returncode or not done.stdout:
        raise Failed(f"{commit} is no commit of {SOURCE}: give a hash or a name that git knows")
    return done.stdout.strip().split(" ", 1)


def write_if_other(path, text):
    """Files that stay the same keep their times: nothing is built twice."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        if file.read() == text:
            return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def unpack(commit, tree):
    os.makedirs(tree)
    archive = git("archive", commit)
    done = subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=False)
    if archive.returncode or done.returncode:
        raise Failed(f"git archive {commit} | tar -x -C {tree} failed")


def overlay(tree):
    """This tree's cases."""
    os.makedirs(os.path.join(tree, OVERLAY), exist_ok=True)
    for name in os.listdir(os.path.join(SOURCE, OVERLAY)):
        ours, theirs = (os.path.join(base, OVERLAY, name) for base in (SOURCE, tree))
        if not os.path.exists(theirs) or not filecmp.cmp(ours, theirs, shallow=False):
            shutil.copyfile(ours, theirs)
    write_if_other(os.path.join(tree, "tests", "bench", "meson.build"), OVERLAID_MESON)


def built(command, log):
    with open(log, "ab") as file:
        done = subprocess.run(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        with open(log, encoding="utf-8", errors="replace") as file:
            say("".join(file.readlines()[-30:]))
        raise Failed(f"{' '.join(command)} failed: see {log}")


def prepare(commit, targets=TARGETS):
    """The commit's tree with its own build directory in it."""
    base = os.path.join(BUILD, "against")
    tree, log = os.path.join(base, commit), os.path.join(base, f"{commit}.log")
    build = os.path.join(tree, "build")
    if not os.path.exists(os.path.join(tree, "meson.build")):
        shutil.rmtree(tree, ignore_errors=True)
        unpack(commit, tree)
    overlay(tree)
    if not os.path.exists(os.path.join(build, "build.ninja")):
        built(["meson", "setup", build, tree], log)
    built(["ninja", "-C", build, *targets], log)
    return tree


# ---- two processes that do one step after the other

class Process:
    """Answers each line that it is told by one line. `side` is "old" or "new"."""

    def __init__(self, side, command, env=None):
        self.side = side
        self.process = subprocess.Popen(["taskset", "-c", CPU, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **(env or {})})

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise Failed(f"the {self.side} side ended at `{line}`")
        return json.loads(answer)

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pair:
    """Both sides, asked in turn: old new, new old, ..."""

    def __init__(self, make, opening=0):
        self.make, self.turn, self.sides = make, opening, []
        self.order = ("new", "old") if opening % 2 else ("old", "new")

    def __enter__(self):
        self.sides = []
        try:
            for side in self.order:
                self.sides.append(self.make(side))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        for side in self.sides:
            side.close()
        self.sides = []

    def again(self):
        """After one of them ended."""
        self.close()
        self.__enter__()

    def ask(self, line):
        """{"old": answer, "new": answer}"""
        self.turn += 1
        return {side.side: side.ask(line) for side in (self.sides if self.turn % 2 else reversed(self.sides))}


def compared(pairs):
    """Medians of both, and of the ratios new to old with their quartiles."""
    ratios = [pair["new"] / pair["old"] for pair in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"old": statistics.median(pair["old"] for pair in pairs), "new": statistics.median(pair["new"] for pair in pairs),
            "ratio": middle, "low": low, "high": high, "rounds": len(pairs)}


# ---- loaded programs

def times_process(tree, quick):
    def make(side):
        build = BUILD if side == "new" else os.path.join(tree, "build")
        return Process(side, [os.path.join(build, PROGRAM_TIMES), "--serve", *(["--quick"] if quick else [])])
    return make


def measured_once(pair, number, rounds, samples):
    pair.ask(f"open {number}")
    for _ in range(rounds):
        answers = pair.ask("round")
        samples.append(answers)
    pair.ask("close")


def fill_row(samples):
    row = {}
    for side in ("old", "new"):
        percents = [answers[side]["percent"] for answers in samples]
        row[side], row[f"{side}_lowest"] = statistics.median(percents), min(percents)
        row[f"{side}_reasons"] = sorted({answers[side]["reason"] for answers in samples})
    return row


def times_row(samples):
    return compared([{side: answer["ns"] for side, answer in answers.items()} for answers in samples])


def compare_programs(tree, rounds, quick, only):
    """A row for each case; one that a side cannot do has "error"."""
    make = times_process(tree, quick)
    with Pair(make) as pair:
        cases = [(number, case) for number, case in enumerate(pair.ask("cases")["new"]) if only in case["case"]]
    samples, errors = {number: [] for number, _ in cases}, {}
    openings = min(OPENINGS, rounds)
    for opening in range(openings):
        with Pair(make, opening) as pair:
            for number, case in cases:
                fills = case["kind"] == "fill"
                if number in errors or (fills and opening):
                    continue
                try:
                    measured_once(pair, number, min(FILLINGS, rounds) if fills else -(-rounds // openings), samples[number])
                except Failed as failed:
                    errors[number] = str(failed)
                    say(f"  {case['case']}, {case['flows']} flows: {failed}")
                    pair.again()
        say(f"  programs: {opening + 1} of {openings}")
    return [{**case, "error": errors[number]} if number in errors else
            {**case, **(fill_row if case["kind"] == "fill" else times_row)(samples[number])} for number, case in cases]


# ---- two agents

def pods_process(tree):
    def make(side):
        base, build = (SOURCE, BUILD) if side == "new" else (tree, os.path.join(tree, "build"))
        process = Process(side, [os.path.join(HERE, "pods"), base, os.path.join(BUILD, "tests", "bench", "bench-traffic")],
                          {"POLDER_BUILD": build})
        try:
            process.ask("ready")
        except Failed:
            process.close()
            raise
        return process
    return make


def compare_pods(tree, pairs):
    """Exchanges a second of one connection between two pods of one node, by each commit's own agent."""
    samples = []
    openings = min(OPENINGS, pairs)
    for opening in range(openings):
        with Pair(pods_process(tree), opening) as pair:
            samples += [pair.ask(f"rr {RR_SECONDS}") for _ in range(-(-pairs // openings))]
        say(f"  pods: {opening + 1} of {openings}")
    return compared(samples)


PARTS = ("programs", "pods")


def compare(commit, rounds, pairs, quick=False, only="", parts=PARTS):
    """Everything about this tree and the commit."""
    name, subject = resolved(commit)
    say(f"building {name} ({subject})")
    tree = prepare(name)
    results = {"commit": name}
    if "programs" in parts:
        results["programs"] = compare_programs(tree, rounds, quick, only)
    if "pods" in parts:
        results["pods"] = compare_pods(tree, pairs)
    return results
