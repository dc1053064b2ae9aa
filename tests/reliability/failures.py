# SPDX-License-Identifier: Apache-2.0
"""Each system call of what the agent and the plugin do made to fail once, with each error that fits it."""

import collections
import errno
import os
import random
import re
import time

import calls
import kills
import operations
import page
from lib.netns import CommandError
from node import Ground

TITLE = "System calls that fail"
SEED, SAMPLES = 20261128, 2
LATE = 8  # seconds after which what failed has been tried again: the agent looks every 5 s

FILES = ("ENOMEM", "EIO", "EINTR")
# What a kernel may say to each call. Descriptors run out, memory does, disks are full and break, rights are missing, signals come.
FITS = {
    "openat": (*FILES, "EMFILE", "EPERM", "ENOSPC"), "open": (*FILES, "EMFILE", "EPERM", "ENOSPC"),
    "read": ("EIO", "EINTR", "EAGAIN"), "pread64": ("EIO", "EINTR"), "readv": ("EIO", "EINTR"),
    "write": ("EIO", "EINTR", "EAGAIN", "ENOSPC"), "writev": ("EIO", "EINTR", "EAGAIN", "ENOSPC"),
    "pwrite64": ("EIO", "EINTR", "ENOSPC"), "close": ("EIO", "EINTR"),
    "fsync": ("EIO", "ENOSPC"), "fdatasync": ("EIO", "ENOSPC"), "ftruncate": ("EIO", "ENOSPC"),
    "fchmod": ("EIO", "EPERM"), "getdents64": ("ENOMEM", "EIO"), "newfstatat": ("ENOMEM", "EIO"),
    "fstat": ("ENOMEM", "EIO"), "statx": ("ENOMEM", "EIO"), "stat": ("ENOMEM", "EIO"),
    "statfs": ("ENOMEM", "EIO"), "fstatfs": ("ENOMEM", "EIO"), "access": ("ENOMEM", "EIO"),
    "faccessat": ("ENOMEM", "EIO"), "readlink": ("ENOMEM", "EIO"), "readlinkat": ("ENOMEM", "EIO"),
    "mkdir": ("ENOSPC", "EIO", "EPERM"), "mkdirat": ("ENOSPC", "EIO", "EPERM"),
    "unlink": ("EIO", "EPERM"), "unlinkat": ("EIO", "EPERM"), "rmdir": ("EIO", "EPERM"),
    "rename": ("ENOSPC", "EIO", "EPERM"), "renameat": ("ENOSPC", "EIO", "EPERM"),
    "renameat2": ("ENOSPC", "EIO", "EPERM"), "chmod": ("EIO", "EPERM"), "link": ("ENOSPC", "EIO"),
    "flock": ("EINTR", "ENOMEM"), "mount": ("ENOMEM", "EPERM"),
    "mmap": ("ENOMEM",), "brk": ("ENOMEM",), "mremap": ("ENOMEM",), "mprotect": ("ENOMEM",),
    "socket": ("EMFILE", "ENOBUFS", "ENOMEM", "EPERM"), "bind": ("ENOMEM", "EPERM"),
    "listen": ("ENOBUFS",), "accept4": ("EMFILE", "ENOMEM", "EINTR", "EAGAIN"),
    "connect": ("EINTR", "EAGAIN", "ENOMEM", "EPERM"), "setsockopt": ("ENOMEM", "ENOBUFS", "EPERM"),
    "getsockopt": ("ENOBUFS",), "getsockname": ("ENOBUFS",),
    "sendto": ("ENOBUFS", "ENOMEM", "EINTR", "EAGAIN"), "recvfrom": ("ENOMEM", "EINTR", "EAGAIN"),
    "sendmsg": ("ENOBUFS", "ENOMEM", "EINTR", "EAGAIN"), "recvmsg": ("ENOBUFS", "ENOMEM", "EINTR"),
    "bpf": ("ENOMEM", "EPERM", "ENOSPC", "EAGAIN", "EINTR", "EMFILE"),
    "setns": ("ENOMEM", "EPERM"), "unshare": ("ENOMEM", "EPERM"), "clone": ("EAGAIN", "ENOMEM"),
    "clone3": ("EAGAIN", "ENOMEM"), "ioctl": ("ENOMEM", "EINTR"), "fcntl": ("EMFILE", "EINTR"),
    "dup": ("EMFILE",), "dup3": ("EMFILE",), "pipe2": ("EMFILE", "ENOMEM"),
    "eventfd2": ("EMFILE", "ENOMEM"), "timerfd_create": ("EMFILE", "ENOMEM"),
    "epoll_create1": ("EMFILE", "ENOMEM"), "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "epoll_wait": ("EINTR",), "epoll_pwait": ("EINTR",), "poll": ("EINTR", "ENOMEM"),
    "ppoll": ("EINTR", "ENOMEM"), "inotify_init1": ("EMFILE", "ENOMEM"),
    "inotify_add_watch": ("ENOMEM", "ENOSPC"), "getrandom": ("EINTR", "EAGAIN"),
    "prlimit64": ("EPERM",), "perf_event_open": ("EMFILE", "ENOMEM", "EPERM"),
    "membarrier": ("EPERM", "ENOMEM"), "nanosleep": ("EINTR",), "clock_nanosleep": ("EINTR",),
}
# What the kernel says to a netlink request that it has received.
REFUSALS = ("ENOMEM", "EPERM", "ENOBUFS", "EAGAIN")
# Not the agent's own: the loader's, before main.
LOADER = ("/lib/", "/usr/lib", "/etc/ld.so")
# Other words for an error than strerror()'s, where they say more.
WORDS = {"EPERM": ("ermission", "ermitted", "CAP_", "root"), "EACCES": ("ermission", "ermitted"),
         "ENOMEM": ("memory",), "EMFILE": ("open files", "descriptor", "LimitNOFILE"),
         "ENOSPC": ("No space", "full", "room", "inotify"), "EAGAIN": ("temporarily", "again")}
ERRORS = re.compile(r"\b(ERROR|WARNING|WARN)\b|^.*(?:error|warning): ", re.M)


class Failure:
    """One trial: what was made to fail, how it went on, what was said."""

    def __init__(self, operation, call, error, outcome, said, wrong):
        self.operation, self.call, self.error = operation, call, error
        self.outcome, self.said, self.wrong = outcome, said, wrong

    def text(self):
        return f"{self.operation.name}, {self.error} at {self.call}: " + "; ".join(self.wrong)


def plain(about):
    """Names without what differs from one run to the next."""
    about = re.sub(r"polder-netns-\w+", "W", about)
    about = re.sub(r"pt\d+x[0-9a-f]+|\d+x[0-9a-f]{6}\w*", "X", about)
    about = re.sub(r"pld[0-9a-f]{11}", "LINK", about)
    return re.sub(r"\d+", "N", about)


def classes(listed):
    """{(call, what it is about): its numbers in the list}"""
    found = {}
    begun = not any(call.about.startswith(LOADER) for call in listed)
    for call in listed:
        begun = begun or call.call == "rt_sigaction"  # the first thing that main does
        if begun and call.call in FITS:
            found.setdefault((call.name, plain(call.about)), []).append(call)
    return found


def rules(call):
    """(error, rule) of each way in which it may fail."""
    made = [(error, calls.fail_at(call.number, error)) for error in FITS[call.call]]
    if call.sends_netlink:
        made += [(error + " by the kernel", calls.refuse_at(call.number, error)) for error in REFUSALS]
    return made


def names_it(said, error):
    error = error.split()[0]
    return any(word in said for word in (os.strerror(getattr(errno, error)), *WORDS.get(error, ())))


# ------------------------------------------------------------------ one trial


def outcome_of(operation, result):
    """What became of the operation: went on, refused, or why that cannot be."""
    if result.crashed:
        return "", [f"ended by signal {result.crashed}"]
    if operation.hung:
        return "", ["hangs"]
    if result.how == "exited" and operation.lives:
        return "", [f"polderd ended, with status {result.status}"]
    return ("went on" if operation.done else "refused"), []


def try_one(ground, operation, rule, error):
    """One failure and all that must hold afterwards."""
    call, outcome, said = None, "", ""
    try:
        operation.prepare()
        mark = len(operation.log())
        result = operation.run(rule)
        call = result.hit
        if call is None:
            return None
        outcome, wrong = outcome_of(operation, result)
        said = operation.log()[mark:] + operation.told
        if outcome == "refused" and not names_it(said, error):
            wrong.append(f"failed, and did not say why: {said.strip()[-300:]!r}")
        operation.is_over()
        wrong += operation.retry()
        wrong += ground.wrong_now(box=ground.box_result is not None, patience=LATE)
        said = operation.log()[mark:] + operation.told
    except (CommandError, RuntimeError, OSError) as problem:
        wrong = [f"{type(problem).__name__}: {problem}"]
        kills.recover(ground)
    if outcome == "went on" and ERRORS.search(said):
        outcome = "told, and went on"
    return Failure(operation, call, error, outcome, said, wrong)


def listed_calls(ground, operation):
    operation.prepare()
    result = operation.run(describe=True)
    operation.is_over()
    wrong = operation.retry() + ground.wrong_now(box=ground.box_result is not None)
    if wrong or not operation.done:
        raise RuntimeError(f"{operation.name} fails by itself: {wrong} {operation.told}")
    return result.calls


def trials(listed):
    """(call, error, rule): of each kind of call the first and the last, with each error."""
    for same in classes(listed).values():
        for call in {same[0].number: same[0], same[-1].number: same[-1]}.values():
            for error, rule in rules(call):
                yield call, error, rule


# ------------------------------------------------------------------ short, and recorded


def short(tally):
    reason = calls.missing()
    if reason:
        tally.skip("failing_calls", reason)
        return
    ground, chance = Ground(**kills.OPTIONS), random.Random(SEED)
    try:
        kills.remember(ground)
        for operation in operations.all_of(ground).values():
            name = "failing_in_" + operation.name.replace(", ", "_").replace(" ", "_")
            tally.attempt(name, lambda one=operation: short_failures(ground, one, chance))
            operation.forget()
    finally:
        ground.close()


def short_failures(ground, operation, chance):
    every = list(trials(listed_calls(ground, operation)))
    for _, error, rule in chance.sample(every, min(SAMPLES, len(every))):
        failure = try_one(ground, operation, rule, error)
        assert not failure or not failure.wrong, failure.text()


class Records:
    def __init__(self):
        self.by_operation, self.by_call, self.wrong = {}, {}, []
        self.said = collections.Counter()
        self.count = 0

    def add(self, failure):
        self.count += 1
        key = failure.call.name if failure.call else "?"
        row = self.by_call.setdefault(key, collections.Counter())
        row[failure.outcome] += 1
        row["errors", failure.error] += 1
        if failure.wrong:
            row["wrong"] += 1
            self.wrong.append(failure.text())


def record(tally):
    ground, records, began = Ground(**kills.OPTIONS), Records(), time.monotonic()
    try:
        kills.remember(ground)
        for operation in operations.all_of(ground).values():
            record_operation(tally, ground, operation, records)
            operation.forget()
        denied = ground.traffic.denied
    finally:
        ground.close()
    return text(records, denied, time.monotonic() - began)


def record_operation(tally, ground, operation, records):
    wrong, row, began = [], collections.Counter(), time.monotonic()
    for _, error, rule in trials(listed_calls(ground, operation)):
        failure = try_one(ground, operation, rule, error)
        if not failure:
            continue
        records.add(failure)
        row["all"] += 1
        row[failure.outcome] += 1
        said = " / ".join(line for line in failure.said.splitlines() if ERRORS.search(line))
        tally.note(f"{operation.name}: {failure.error} at {failure.call}: {failure.outcome or 'wrong'}: "
                   f"{said[-400:] or operation.told[:300]}")
        if failure.wrong:
            row["wrong"] += 1
            wrong.append(failure.text())
            tally.note("WRONG " + failure.text())
    records.by_operation[operation.name] = row
    tally.note(f"{operation.name}: {row['all']} failures, {time.monotonic() - began:.0f} s")
    tally.check("failing_in_" + operation.name.replace(", ", "_").replace(" ", "_"), wrong)


OUTCOMES = ("went on", "told, and went on", "refused", "wrong")


def text(records, denied, seconds):
    operations_table = page.table(
        ("operation, process", "failures", *OUTCOMES),
        [(name, row["all"], *(row[one] for one in OUTCOMES))
         for name, row in records.by_operation.items()], {1, 2, 3, 4, 5})
    calls_table = page.table(
        ("system call", "errors", *OUTCOMES),
        [(f"`{name}`", ", ".join(f"{key[1]}" for key in row if isinstance(key, tuple)),
          *(row[one] for one in OUTCOMES)) for name, row in sorted(records.by_call.items())], {2, 3, 4, 5})
    wrong = "\n".join(f"- {one}" for one in records.wrong)
    return f"""\
{page.recorded_by("tests/reliability/run --record --part failures")} It took {seconds / 60:.0f} minutes.

**{records.count:,} failures, after {len(records.wrong)} of which something was wrong.** One call fails, once, with an
error that a kernel may give; of calls that are about the same (the same file, map, kind of request) the first and the
last in the operation. *By the kernel*: the netlink request was sent and refused. Then either the operation went on as
if nothing had been (a signal, a try again, a part that can be done without), or it told what failed and went on, or
it ended with a message that names the error; and as after a kill all is as it should be once the operation has been
done again, at the latest {LATE} s later: nothing that policy denies came through ({denied:,} datagrams sent), no
connection broke, nothing hung or crashed.

{operations_table}

{calls_table}
{wrong}
"""
