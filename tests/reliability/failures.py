# SPDX-License-Identifier: Apache-2.0
"""Each system call of what the agent and the plugin do made to fail once, with each error that fits it."""

import collections
import errno
import hashlib
import os
import re
import signal
import time

import calls
import kills
import node
import operations
import page
import workers
from lib.netns import CommandError

TITLE = "System calls that fail"
SEED, JOBS, SHARES = 20261128, 2, 12
MOST = 120  # trials of an operation that begins or ends with a start, evenly spread

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
    # Not ENOSPC and E2BIG: a map that is full closes what does not fit, which other tests look at.
    "bpf": ("ENOMEM", "EPERM", "EAGAIN", "EINTR", "EMFILE"),
    "setns": ("ENOMEM", "EPERM"), "unshare": ("ENOMEM", "EPERM"), "clone": ("EAGAIN", "ENOMEM"),
    "clone3": ("EAGAIN", "ENOMEM"), "ioctl": ("ENOMEM", "EINTR"), "fcntl": ("EMFILE", "EINTR"),
    "dup": ("EMFILE",), "dup3": ("EMFILE",), "pipe2": ("EMFILE", "ENOMEM"),
    "eventfd2": ("EMFILE", "ENOMEM"), "timerfd_create": ("EMFILE", "ENOMEM"),
    "epoll_create1": ("EMFILE", "ENOMEM"), "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "epoll_wait": ("EINTR",), "epoll_pwait": ("EINTR",), "poll": ("EINTR", "ENOMEM"),
    "ppoll": ("EINTR", "ENOMEM"), "inotify_init1": ("EMFILE", "ENOMEM"),
    "inotify_add_watch": ("ENOMEM", "ENOSPC"), "getrandom": ("EINTR", "EAGAIN"),
    "prlimit64": ("EPERM",), "perf_event_open": ("EMFILE", "ENOMEM", "EPERM"),
    "membarrier": ("EPERM", "ENOMEM"), "open_tree": ("EPERM", "EMFILE", "ENOMEM"), "nanosleep": ("EINTR",), "clock_nanosleep": ("EINTR",),
}
# What the kernel says to a netlink request that it has received.
REFUSALS = ("ENOMEM", "EPERM", "ENOBUFS", "EAGAIN")
# Where libuv ends the process (abort) if they fail: its loop would not work any more. The service manager starts the next one.
LIBUV = ("epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2")
# Other words for an error than strerror()'s, where they say more.
WORDS = {"EPERM": ("ermission", "ermitted", "CAP_", "root"), "EACCES": ("ermission", "ermitted"),
         "ENOMEM": ("memory",), "EMFILE": ("open files", "descriptor", "LimitNOFILE"),
         "ENOSPC": ("No space", "full", "room", "inotify"), "EAGAIN": ("temporarily", "again")}
ERRORS = re.compile(r"^\S+Z (?:error|warning) |^.*(?:error|warning): ", re.M)


class Failure:
    """One trial: what was made to fail, how it went on, what was said."""

    def __init__(self, name, call, error, outcome, said, wrong):
        self.name, self.error, self.outcome, self.said, self.wrong = name, error, outcome, said, wrong
        self.call, self.where = (call.name, str(call)) if call else ("", "no call")

    def text(self):
        return f"{self.name}, {self.error} at {self.where}: " + "; ".join(self.wrong)


def plain(about):
    """Names without what differs from one run to the next."""
    about = re.sub(r"polder-netns-\w+", "W", about)
    about = re.sub(r"pt\d+x[0-9a-f]+|\d+x[0-9a-f]{6}\w*", "X", about)
    about = re.sub(r"pld[0-9a-f]{11}", "LINK", about)
    return re.sub(r"\d+", "N", about)


def classes(listed):
    """{(call, what it is about): its numbers in the list}"""
    found = {}
    begun = not any(call.call in ("execve", "arch_prctl") for call in listed)
    for call in listed:
        begun = begun or call.call == "fcntl"  # the first thing that main does: streams_fill()
        # What libbpf tries, to know whether the kernel can do it, is answered by what it does then.
        if begun and call.call in FITS and not call.about.startswith("libbpf_"):
            found.setdefault((call.name, plain(call.about)), []).append(call)
    return found


def errors(call):
    """What fits this call."""
    if call.about.startswith(("anon_inode:[event", "anon_inode:inotify")):
        return ("EINTR",)  # full means that whoever is to be woken will be
    if call.about.startswith("pipe:"):
        return ("EINTR", "EAGAIN")
    return FITS[call.call]


def rules(call):
    """(error, rule) of each way in which it may fail."""
    made = [(error, calls.fail_at(call, error)) for error in errors(call)]
    if call.sends_netlink:
        made += [(error + " by the kernel", calls.refuse_at(call, error)) for error in REFUSALS]
    return made


def names_it(said, error, call):
    error = error.split()[0]
    if call.startswith("clone"):
        error = "EAGAIN"  # what the C library says whatever keeps a thread from being started
    return any(word in said for word in (os.strerror(getattr(errno, error)), *WORDS.get(error, ())))


# ------------------------------------------------------------------ one trial


def is_libuvs(call):
    """Of its loop, or of the pipes and event files by which its signals and threads wake it: always there, and of this process alone."""
    return call.call in LIBUV or (call.call in ("read", "write") and call.about.startswith(("pipe:", "anon_inode:")))


def outcome_of(operation, result):
    """What became of the operation: went on, refused, or why that cannot be."""
    if result.crashed == signal.SIGABRT and is_libuvs(result.hit):
        return "ended by libuv", []
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
        if outcome == "refused" and not names_it(said, error, call.call):
            wrong.append(f"failed, and did not say why: {said.strip()[-300:]!r}")
        operation.is_over()
        wrong += operation.retry()
        wrong += ground.wrong_now(box=ground.box_result is not None, patience=operations.REPAIRED)
        said = operation.log()[mark:] + operation.told
    except (CommandError, RuntimeError, OSError) as problem:
        wrong = [f"{type(problem).__name__}: {problem}"]
        kills.recover(ground)
    if outcome == "went on" and ERRORS.search(said):
        outcome = "told, and went on"
    return Failure(operation.name, call, error, outcome, said, wrong)


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

# What was found to be wrong once: (test, operation, call, what it is about, error).
FOUND = (
    ("whether_there_is_tcx_is_asked_again", "first start", "bpf(PROG_LOAD)", "probe_tcx", "EINTR"),
    ("held_policies_are_written_again", "first start", "write", "held.json", "EIO"),
    ("link_that_could_not_be_made_changes_no_way_of_attaching", "start", "bpf(LINK_CREATE)", "", "EAGAIN"),
    ("counters_of_rules_that_cannot_be_read_end_a_start", "start", "bpf(MAP_LOOKUP_ELEM)", "rule_counters", "EMFILE"),
    ("entries_that_cannot_be_read_are_not_called_missing", "CHECK, agent", "bpf(MAP_LOOKUP_ELEM)", "addresses", "EMFILE"),
    ("programs_that_cannot_be_asked_for_are_not_called_missing", "CHECK, agent", "bpf(OBJ_GET_INFO_BY_FD)", "", "EAGAIN"),
)


def short(tally):
    reason = calls.missing()
    if reason:
        tally.skip("failing_calls", reason)
        return
    ground = node.shared(kills.begin)
    for name, operation in ground.operations.items():
        tally.attempt(f"failing_in_{kills.title(name)}", lambda one=operation: short_failure(ground, one))
        for test, *which in (one for one in FOUND if one[1] == name):
            tally.attempt(test, lambda one=operation, which=which[1:]: found_failure(ground, one, *which))
        operation.forget()


def rank(seed, operation, call, error):
    """The lowest is chosen: by what the call is, not by its place in a list that differs from run to run."""
    return hashlib.sha256(f"{seed} {operation.name} {call.name} {plain(call.about)} {error}".encode()).digest()


def short_failure(ground, operation, seed=SEED):
    # What libuv ends the process for, now or a moment later, is for the record to tell.
    listed = [call for call in listed_calls(ground, operation) if not is_libuvs(call)]
    _, error, rule = min(trials(listed), key=lambda one: rank(seed, operation, *one[:2]))
    failure = try_one(ground, operation, rule, error)
    assert not failure or not failure.wrong, failure.text()


def found_failure(ground, operation, call, about, error):
    rules_of_it = [rule for one, fits, rule in trials(listed_calls(ground, operation))
                   if one.name == call and about in one.about and fits == error]
    assert rules_of_it, f"{operation.name} makes no {call} {about}"
    failure = try_one(ground, operation, rules_of_it[0], error)
    assert failure, "no call failed"
    assert not failure.wrong, failure.text()


def work(ground, task):
    """A share of an operation's trials: (name, share, of how many)."""
    name, part, of = task
    operation = ground.operations[name]
    every = list(trials(listed_calls(ground, operation)))
    if "start" in name or name == "stop":
        every = [every[number - 1] for number in kills.spread(len(every), MOST)]
    for _, error, rule in every[part::of]:
        ground.traffic.forget()
        failure = try_one(ground, operation, rule, error)
        if failure:
            yield failure, ground.traffic.denied
    operation.forget()


class Records:
    def __init__(self):
        self.operations, self.calls, self.wrong, self.count, self.denied = {}, {}, [], 0, 0

    def add(self, failure, denied):
        self.count += 1
        self.denied += denied
        by_call = self.calls.setdefault(failure.call, collections.Counter())
        by_call["errors", failure.error] += 1
        for row in (by_call, self.operations.setdefault(failure.name, collections.Counter())):
            row["all"] += 1
            row[failure.outcome] += not failure.wrong
            row["wrong"] += bool(failure.wrong)
        if failure.wrong:
            self.wrong.append(failure.text())


def record(tally):
    records, began, names = Records(), time.monotonic(), list(operations.NAMES)
    tasks = [(name, part, SHARES) for name in names for part in range(SHARES)]
    def trouble(error):
        records.wrong.append(f"a node could not be used any more: {error.strip().splitlines()[-1]}")
        for line in error.splitlines():
            tally.note(line)

    for failure, denied in workers.share(JOBS, kills.begin, work, tasks, trouble):
        records.add(failure, denied)
        said = " / ".join(line for line in failure.said.splitlines() if ERRORS.search(line))
        tally.note(f"{failure.outcome or 'wrong'}: {failure.name}: {failure.error} at {failure.where}: "
                   f"{said[-400:]}")
        if failure.wrong:
            tally.note("WRONG " + failure.text())
    for name in names:
        wrong = [one for one in records.wrong if one.startswith(name + ", E")]
        tally.check(f"failing_in_{kills.title(name)}", wrong)
    tally.check("nodes_stay_usable", [one for one in records.wrong if one.startswith("a node ")])
    return text(records, names, time.monotonic() - began)


OUTCOMES = ("went on", "told, and went on", "refused", "ended by libuv", "wrong")


def text(records, names, seconds):
    empty = collections.Counter()
    operations_table = page.table(("operation, process", "failures", *OUTCOMES), [
        (name, row["all"], *(row[one] for one in OUTCOMES))
        for name in names for row in [records.operations.get(name, empty)]], {1, 2, 3, 4, 5, 6})
    calls_table = page.table(("system call", "errors", "failures", *OUTCOMES), [
        (f"`{name}`", ", ".join(key[1] for key in row if isinstance(key, tuple)), row["all"],
         *(row[one] for one in OUTCOMES)) for name, row in sorted(records.calls.items())],
        {2, 3, 4, 5, 6, 7})
    wrong = "\n".join(f"- {one}" for one in records.wrong)
    return f"""\
{page.recorded_by("tests/reliability/run --record --part failures")} It took {seconds / 60:.0f} minutes.

**{records.count:,} failures; after {len(records.wrong)} of them something was wrong.** One call fails, once, with an
error that a kernel may give there; of calls that are about the same (the same file, the same map, the same kind of
request) the first and the last in the operation; of a start's and a stop's failures at most {MOST}, evenly spread.
*By the kernel*: the netlink request was sent and refused. Then the operation *went on* (a signal, an attempt that was
repeated, something that can be done without), *told* what failed and went on, or was *refused* with a message that
names the error; or *libuv* ended the process, as it does where its loop cannot go on (epoll, its own pipes), and the next start was
right. Nothing hung, nothing else was ended by a signal. In all cases, at the latest {operations.REPAIRED} s afterwards and after
the operation was done again, all is as after a kill: {records.denied:,} datagrams that policy denies were sent meanwhile
and none came through, no flow broke, nothing is left behind.

{operations_table}

{calls_table}

{wrong}
"""
