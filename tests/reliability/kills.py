# SPDX-License-Identifier: Apache-2.0
"""The agent, and the plugin, killed at every system call of what they do, while pods talk."""

import collections
import random
import time

import calls
import node
import operations
import page
import workers
from lib.netns import CommandError
from node import Ground

TITLE = "Killed at every system call"
SEED, JOBS, CHUNK = 20261127, 4, 10
# Of these operations' calls so many are tried when all are recorded, evenly spread.
MOST = {"start": 60, "start with maps of another size": 60, "first start": 60, "stop": 40,
        "change of policy": 50, "change of service": 50, "change of labels": 50,
        "ADD, agent": 160, "DEL, agent": 60, "GC, agent": 60, "CHECK, agent": 40}
STARTS = 2  # so many starts are killed before one is left alone
# About so many calls has a start; the short form counts none.
START_CALLS, SHORT_CALLS = 2800, {"start": 2800, "start with maps of another size": 3000,
                                  "first start": 1900, "stop": 600, "ADD, agent": 300}
# Small maps: a start with them takes less.
OPTIONS = {"nodes": 2, "flows_v4": operations.Resize.SIZES[0], "flows_v6": 4096,
           "max_services": 256, "max_backends": 1024, "max_addresses": 4096,
           "max_policy_entries": 8192, "max_rule_counters": 1024, "max_fragments": 1024,
           "max_socket_origins": 1024}


class Kill:
    """One trial: where the operation was killed, and where the start after it; what was wrong in the end."""

    def __init__(self, name, hits, wrong):
        self.name, self.wrong = name, wrong
        self.hits = [(where, hit.name, str(hit)) for where, hit in hits if hit]

    def text(self):
        where = " and then ".join(f"{where} at {call}" for where, _, call in self.hits)
        return f"{self.name}, killed in {where}: " + "; ".join(self.wrong)


def recover(ground):
    """The node as trials want it, whatever the last one left. An error if that cannot be."""
    for one in ground.world.nodes:
        ground.kill_agent(one.agent)
    ground.start_agent()
    if ground.box_result is not None or "eth0" in ground.box_links():
        ground.must("DEL")


def try_one(ground, operation, number, starts=()):
    """
    A kill at call `number` of the operation, and all that must hold afterwards. If the agent was killed the first starts
    after it are killed as well, at these calls of theirs.
    """
    hits = []
    try:
        operation.prepare()
        hits.append((operation.name, operation.run(calls.kill_at(number)).hit))
        for start in starts:
            if ground.agent.alive():
                break
            hits.append(("a start after it", ground.start_traced(calls.kill_at(start))[0].hit))
        operation.is_over()
        wrong = operation.retry()
        wrong += ground.wrong_now(box=ground.box_result is not None)
    except (CommandError, RuntimeError, OSError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
        recover(ground)
    return Kill(operation.name, hits, wrong)


def count_calls(ground, operation):
    """How many calls the operation makes when nothing is done; it must go well."""
    operation.prepare()
    result = operation.run()
    operation.is_over()
    wrong = operation.retry() + ground.wrong_now(box=ground.box_result is not None)
    if wrong or not operation.done:
        raise RuntimeError(f"{operation.name} fails without a kill: {wrong} {operation.told}")
    return len(result.calls)


def spread(count, most):
    """Numbers from 1 to count, evenly, at most so many."""
    if not most or count <= most:
        return list(range(1, count + 1))
    return [1 + index * count // most for index in range(most)]


def remember(ground):
    """What the node looks like in each state of what is switched."""
    ground.remember()
    for which in ground.switches:
        ground.put_switch(which, True)
        time.sleep(operations.QUIET)
        ground.remember()
        ground.put_switch(which, False)
        time.sleep(operations.QUIET)


def begin():
    ground = Ground(**OPTIONS)
    try:
        remember(ground)
        ground.operations = operations.all_of(ground)
    except BaseException:
        ground.close()
        raise
    return ground


# ------------------------------------------------------------------ the harness itself


def planted(ground):
    """What is planted must be seen: a way that is open for a moment, a connection that ends, a file that is left."""
    missing = []
    ground.traffic.report()
    for name in ("policies", "switch"):
        ground.world.resources.delete(name)
    time.sleep(operations.QUIET)
    ground.put_switch("policy", False)
    ground.write_policies()
    time.sleep(operations.QUIET)
    seen = " ".join(ground.traffic.report())
    for name in ("stranger to server", "caged to outside"):
        if f"denied default/{name}" not in seen:
            missing.append(f"the policy was away, and no packet from {name} was seen: {seen[:300]}")
    ground.leave_something()
    if not ground.left_behind(0):
        missing.append("a file and a route were left, and nobody saw them")
    ground.take_it_away()
    ground.break_a_connection()
    time.sleep(operations.QUIET)
    seen = " ".join(ground.traffic.report())
    if "connection broken" not in seen:
        missing.append(f"a connection was ended, and nobody saw it: {seen[:300]}")
    return missing


# ------------------------------------------------------------------ short, and recorded


def title(operation):
    return operation.replace(", ", "_").replace(" ", "_")


def short(tally):
    reason = calls.missing()
    if reason:
        tally.skip("killed_at_any_call", reason)
        return
    ground, chance = node.shared(begin), random.Random(SEED)
    for name, operation in ground.operations.items():
        tally.attempt(f"killed_in_{title(name)}", lambda one=operation: short_kill(ground, one, chance))
        operation.forget()
    tally.check("planted_faults_are_seen", planted(ground))


def short_kill(ground, operation, chance):
    number = chance.randint(1, SHORT_CALLS.get(operation.name, 60))
    kill = try_one(ground, operation, number, [chance.randint(1, START_CALLS)])
    assert not kill.wrong, kill.text()


def work(ground, task):
    """A share of an operation's calls: (name, share, of how many)."""
    name, part, of = task
    if name == "planted":
        yield name, 0, planted(ground), (0, 0, 0)
        return
    operation = ground.operations[name]
    count = count_calls(ground, operation)
    ground.traffic.forget()
    chance = random.Random(f"{SEED} {name} {part}")
    for number in spread(count, MOST.get(name))[part::of]:
        starts = [] if "start" in name else chance.sample(range(1, START_CALLS + 1), STARTS)
        kill = try_one(ground, operation, number, starts)
        seen = ground.traffic.denied, ground.traffic.answers, ground.traffic.longest
        ground.traffic.forget()
        yield name, count, kill, seen
    operation.forget()


class Records:
    def __init__(self):
        self.operations, self.calls = {}, collections.Counter()
        self.wrong, self.wrong_calls = [], collections.Counter()
        self.kills, self.trials, self.denied, self.answers, self.longest = 0, 0, 0, 0, 0.0

    def add(self, name, count, kill, seen):
        row = self.operations.setdefault(name, collections.Counter())
        row["calls"] = max(row["calls"], count)
        self.denied += seen[0]
        self.answers += seen[1]
        self.longest = max(self.longest, seen[2])
        row["denied"] += seen[0]
        row["trials"] += bool(kill.hits)
        row["kills"] += len(kill.hits)
        row["wrong"] += bool(kill.wrong)
        self.trials += bool(kill.hits)
        self.kills += len(kill.hits)
        for _, call, _ in kill.hits:
            self.calls[call] += 1
            self.wrong_calls[call] += bool(kill.wrong)
        if kill.wrong:
            self.wrong.append(kill.text())


def record(tally):
    records, began, names = Records(), time.monotonic(), list(operations.NAMES)
    tasks = [(name, part, of) for name in names
             for of in [-(-MOST.get(name, 60) // CHUNK)] for part in range(of)] + [("planted", 0, 1)]
    def trouble(error):
        records.wrong.append(f"a node could not be used any more: {error.strip().splitlines()[-1]}")
        for line in error.splitlines():
            tally.note(line)

    for name, count, kill, seen in workers.share(JOBS, begin, work, tasks, trouble):
        if name == "planted":
            tally.check("planted_faults_are_seen", kill)
            continue
        records.add(name, count, kill, seen)
        if kill.wrong:
            tally.note(kill.text())
        if records.trials % 10 == 0:
            tally.note(f"{records.kills} kills in {time.monotonic() - began:.0f} s")
    for name in names:
        wrong = [one for one in records.wrong if one.startswith(name + ", killed")]
        tally.check(f"killed_in_{title(name)}", wrong)
    tally.check("nodes_stay_usable", [one for one in records.wrong if one.startswith("a node ")])
    return text(records, names, time.monotonic() - began)


def text(records, names, seconds):
    rows = [(name, row["calls"], row["trials"], row["kills"], row["wrong"], f"{row['denied']:,}")
            for name in names for row in [records.operations.get(name, collections.Counter())]]
    operations_table = page.table(("operation, process killed", "calls", "times done", "kills", "went wrong",
                                   "denied datagrams"), rows, {1, 2, 3, 4, 5})
    calls_table = page.table(("system call", "kills", "went wrong"), [
        (f"`{name}`", count, records.wrong_calls[name])
        for name, count in records.calls.most_common()], {1, 2})
    wrong = "\n".join(f"- {one}" for one in records.wrong)
    return f"""\
{page.recorded_by("tests/reliability/run --record --part kills")} It took {seconds / 60:.0f} minutes.

**{records.kills:,} kills; after {len(records.wrong)} of them something was wrong.** SIGKILL as call N of the operation
begins, counted over all threads; N from 1 to the last, or, where there are more calls than trials, every so many-th.
Where the agent was killed in the middle of something, the {STARTS} starts that follow are killed as well, each at one
of its {START_CALLS:,} calls, and only the next one is left alone. Before, during and after that 20 flows (TCP and UDP, IPv4
and IPv6; to a pod, to a Service, from the node to a Service, to the outside and from there) send numbered messages,
one every 5 ms: {records.answers:,} in all, each answered, no datagram lost (the longest wait:
{records.longest * 1000:.0f} ms of the time in which the sender had a CPU). 18 senders that policy denies have sent
{records.denied:,} datagrams, into pods and out of them, also over the links that ADD makes and DEL takes, and tried to
connect, 20 times a second each; the node forwards, so that what no program sees would come through. Nothing came
through. After each trial the agent starts and is ready; links, routes, neighbours, addresses, pins, files and map
entries are as they were; the operation is done again and goes well; what it changes shows in packets.

{operations_table}

{calls_table}

{wrong}
"""
