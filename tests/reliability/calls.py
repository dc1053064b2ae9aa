# SPDX-License-Identifier: Apache-2.0
"""System calls of a process, counted over all its threads; and something done at one of them. See trace.c."""

import collections
import errno
import functools
import os
import re
import signal
import subprocess

from lib.agent import BUILD

TRACE = os.path.join(BUILD, "tests", "reliability", "trace")
HEADERS = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h")
ENDS = 60  # seconds within which a process that is killed, or left alone, is so, on a busy machine
BPF_HEADER = "/usr/include/linux/bpf.h"
NETLINK = {16: "NEWLINK", 17: "DELLINK", 18: "GETLINK", 19: "SETLINK", 20: "NEWADDR", 21: "DELADDR",
           22: "GETADDR", 24: "NEWROUTE", 25: "DELROUTE", 26: "GETROUTE", 28: "NEWNEIGH",
           29: "DELNEIGH", 30: "GETNEIGH", 32: "NEWRULE", 33: "DELRULE", 34: "GETRULE",
           36: "NEWQDISC", 37: "DELQDISC", 38: "GETQDISC", 44: "NEWTFILTER", 45: "DELTFILTER",
           46: "GETTFILTER"}


def missing():
    """Why calls cannot be traced here, or ''."""
    if not os.access(TRACE, os.X_OK):
        return f"{TRACE} is not built: calls are traced on x86-64 only"
    if not any(os.path.exists(path) for path in HEADERS):
        return "no list of system calls: linux-libc-dev is not installed"
    return ""


@functools.cache
def call_names():
    with open(next(path for path in HEADERS if os.path.exists(path)), encoding="ascii") as file:
        return {int(number): name for name, number in
                re.findall(r"^#define __NR_(\w+)\s+(\d+)", file.read(), re.M)}


@functools.cache
def bpf_names():
    """In the order of the enumeration."""
    with open(BPF_HEADER, encoding="ascii") as file:
        body = re.search(r"enum bpf_cmd \{(.*?)\}", file.read(), re.S)[1]
    return re.findall(r"^\s*BPF_(\w+),", body, re.M)  # not those that are another's second name


class Call:
    """One call of the list."""

    def __init__(self, line):
        number, thread, call, first, netlink, result, about = line.split(" ", 6)
        self.number, self.thread, self.result = int(number), int(thread), int(result)
        self.about = "" if about == "-" else about
        self.call = call_names().get(int(call), call)
        self.sends_netlink = int(netlink) != 0
        # What a rule of trace knows it by; `nth` of those like it (see Result).
        self.like, self.nth = (int(call), int(first) if self.call == "bpf" else int(netlink)), 0
        self.detail = ""
        if self.call == "bpf":
            names = bpf_names()
            self.detail = names[int(first)] if int(first) < len(names) else first
        elif self.sends_netlink:
            self.detail = NETLINK.get(int(netlink), netlink)

    @property
    def name(self):
        return f"{self.call}({self.detail})" if self.detail else self.call

    def __str__(self):
        return f"call {self.number} {self.name}" + (f" {self.about}" if self.about else "")


class Result:
    """
    What one run has done. `hit` is the Call at which something was done, or None. `how` it ended:
    killed (`status`: the signal), exited (the status), left (the process, which still runs).
    """

    def __init__(self, path):
        self.calls, self.hit, self.how, self.status = [], None, "", None
        number = None
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            raise RuntimeError(f"{TRACE} left no list") from None
        for line in lines:
            if line.startswith("hit "):
                number = int(line[4:])
            elif line.startswith("end "):
                _, self.how, status = line.split()
                self.status = int(status)
            else:
                self.calls.append(Call(line))
        if number:
            self.hit = self.calls[number - 1]
        alike = collections.Counter()
        for call in self.calls:
            alike[call.like] += 1
            call.nth = alike[call.like]

    @property
    def crashed(self):
        """The signal that ended it and was not ours, or 0."""
        return self.status if self.how == "killed" and self.status != signal.SIGKILL else 0


def kill_at(number):
    return f"kill:{number}"


def fail_at(call, error):
    return f"fail:{call.nth}:{getattr(errno, error)}:{call.like[0]}:{call.like[1]}"


def refuse_at(call, error):
    return f"refuse:{call.nth}:{getattr(errno, error)}:{call.like[0]}:{call.like[1]}"


class Trace:
    """
    A running trace. `command` is started by it, by `wrap` (of a node: in its namespace and cgroup);
    or process `pid` is traced from now on.
    """

    def __init__(self, output, rule=None, command=None, pid=None, describe=False,
                 wrap=lambda *args: args, **options):
        self.output = output
        args = [TRACE, "-o", output] + (["-a", rule] if rule else []) + (["-d"] if describe else [])
        if pid is None:
            self.process = subprocess.Popen(wrap(*args, "--", *command), **options)
            return
        self.process = subprocess.Popen(args + ["-p", str(pid)], stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"process {pid} cannot be traced")

    def running(self):
        return self.process.poll() is None

    def wait(self, timeout):
        """True if it has ended by then."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self):
        """Leaves the process alone if it still runs; what was seen."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(ENDS)
        if self.process.stdout:
            self.process.stdout.close()
        result = Result(self.output)
        os.unlink(self.output)
        return result
