# SPDX-License-Identifier: Apache-2.0
"""The agent, and the plugin, killed at every system call of what they do, while pods talk."""

import collections
import random
import time

import calls
import operations
import page
from lib.netns import CommandError
from node import Ground

TITLE = "Killed at every system call"
SEED, SAMPLES = 20261127, 2  # of the short form: so many kills in each operation
# Of these operations' calls so many are tried when all are recorded, evenly spread.
MOST = {"start": 400, "start with maps of another size": 300, "first start": 250}
PATIENCE = 30  # seconds in which a node must be in order again
# Small maps: a start with them takes less.
OPTIONS = {"nodes": 2, "flows_v4": operations.Resize.SIZES[0], "flows_v6": 4096,
           "max_services": 256, "max_backends": 1024, "max_addresses": 4096,
           "max_policy_entries": 8192, "max_rule_counters": 1024, "max_fragments": 1024,
           "max_socket_origins": 1024}


class Kill:
    """One trial."""

    def __init__(self, operation, result, wrong):
        self.operation, self.result, self.wrong = operation, result, wrong
        self.hit = result.hit if result else None

    def text(self):
        return f"{self.operation.name}, killed at {self.hit}: " + "; ".join(self.wrong)


def recover(ground):
    """The node as trials want it, whatever the last one left. An error if that cannot be."""
    ground.kill_agent()
    ground.start_agent()
    if ground.box_result is not None or "eth0" in ground.box_links():
        ground.must("DEL")


def try_one(ground, operation, number):
    """A kill at call `number` of the operation, and all that must hold afterwards."""
    result = None
    try:
        operation.prepare()
        result = operation.run(calls.kill_at(number))
        operation.is_over()
        wrong = operation.retry()
        wrong += ground.wrong_now(box=ground.box_result is not None)
    except (CommandError, RuntimeError, OSError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
        recover(ground)
    return Kill(operation, result, wrong)


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


def short(tally):
    reason = calls.missing()
    if reason:
        tally.skip("killed_at_any_call", reason)
        return
    ground = Ground(**OPTIONS)
    chance = random.Random(SEED)
    try:
        remember(ground)
        for operation in operations.all_of(ground).values():
            name = "killed_in_" + operation.name.replace(", ", "_").replace(" ", "_")
            tally.attempt(name, lambda one=operation: short_kills(ground, one, chance))
            operation.forget()
        tally.check("planted_faults_are_seen", planted(ground))
    finally:
        ground.close()


def short_kills(ground, operation, chance):
    count = count_calls(ground, operation)
    for _ in range(SAMPLES):
        kill = try_one(ground, operation, chance.randint(1, count))
        assert not kill.wrong, kill.text()


class Records:
    def __init__(self):
        self.by_operation, self.by_call, self.wrong = {}, collections.Counter(), []
        self.wrong_by_call = collections.Counter()
        self.kills = 0

    def add(self, kill):
        if not kill.hit:
            return
        self.kills += 1
        self.by_call[kill.hit.name] += 1
        if kill.wrong:
            self.wrong.append(kill.text())
            self.wrong_by_call[kill.hit.name] += 1


def record(tally):
    ground, records, began = Ground(**OPTIONS), Records(), time.monotonic()
    try:
        remember(ground)
        for operation in operations.all_of(ground).values():
            record_operation(tally, ground, operation, records)
            operation.forget()
        totals = ground.traffic.denied, ground.traffic.answers, ground.traffic.longest
        tally.check("planted_faults_are_seen", planted(ground))
    finally:
        ground.close()
    return text(records, totals, time.monotonic() - began)


def record_operation(tally, ground, operation, records):
    count = count_calls(ground, operation)
    numbers, found, wrong = spread(count, MOST.get(operation.name)), 0, []
    before, began = ground.traffic.denied, time.monotonic()
    for number in numbers:
        kill = try_one(ground, operation, number)
        records.add(kill)
        found += bool(kill.hit)
        if kill.wrong:
            wrong.append(kill.text())
            tally.note(kill.text())
    records.by_operation[operation.name] = (count, found, len(wrong), ground.traffic.denied - before)
    tally.note(f"{operation.name}: {count} calls, {found} kills, {time.monotonic() - began:.0f} s")
    tally.check("killed_in_" + operation.name.replace(", ", "_").replace(" ", "_"), wrong)


def text(records, totals, seconds):
    denied, answers, longest = totals
    operations_table = page.table(
        ("operation, process killed", "calls", "kills", "went wrong", "denied packets sent"),
        [(name, *row[:3], f"{row[3]:,}") for name, row in records.by_operation.items()], {1, 2, 3, 4})
    calls_table = page.table(
        ("system call", "kills", "went wrong"),
        [(f"`{name}`", count, records.wrong_by_call[name])
         for name, count in records.by_call.most_common()], {1, 2})
    wrong = "\n".join(f"- {one}" for one in records.wrong)
    return f"""\
{page.recorded_by("tests/reliability/run --record --part kills")} It took {seconds / 60:.0f} minutes.

**{records.kills:,} kills, after {len(records.wrong)} of which something was wrong.** SIGKILL, as call N of the
operation begins, N from 1 on; of operations with more calls than kills, every so many-th. Before, during and after
it 20 connections (TCP and UDP, IPv4 and IPv6; to a pod, a Service, from the node to a Service, to and from the
outside) send numbered messages every 5 ms, {answers:,} in all, each of which must be answered, none lost (the longest
wait: {longest * 1000:.0f} ms, on a busy machine); and 18 senders whose packets policy denies, into pods and out of
them, and over the links that the operation makes, have sent {denied:,} datagrams and tried to connect all the time,
on a node that forwards, so that what no program sees gets through. After each kill the agent is started again, and is
ready; links, routes, neighbours, addresses, pins, files and map entries are as before; the operation is done again and
goes well; what it changes shows in packets.

{operations_table}

{calls_table}
{wrong}
"""
