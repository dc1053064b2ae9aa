# SPDX-License-Identifier: Apache-2.0
"""Programs of others that watch the machine's TCP connections while something is measured."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile

from lib.traffic import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
CPU = "1"  # what is measured has the other one
# Tracepoints are found below these, which are mounted for the program alone where nobody has.
MOUNTED = 'mount -t tracefs tracefs /sys/kernel/tracing 2>&-; mount -t debugfs debugfs /sys/kernel/debug 2>&-; exec "$@"'
SCRIPT = os.path.join(HERE, "connections.bt")
# Name: the program's names, its arguments, what it prints once it watches, or a little before.
TRACERS = {
    "bpftrace": (("bpftrace",), (SCRIPT,), r"Attaching \d+ probes"),
    "tcplife": (("tcplife-bpfcc", "tcplife"), (), r"^PID +COMM"),
    "tcpstates": (("tcpstates-bpfcc", "tcpstates"), (), r"^SKADDR"),
    "tcpconnlat": (("tcpconnlat-bpfcc", "tcpconnlat"), (), r"^PID +COMM"),
}


class Missing(Exception):
    """It is not installed, or does not run on this kernel; the text says why."""


class Tracer:
    def __init__(self, name):
        names, arguments, self.begins = TRACERS[name]
        program = next(filter(None, map(shutil.which, names)), None)
        if not program:
            raise Missing(f"{names[0]} is not installed")
        self.name, self.counted = name, None
        self.out = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(["unshare", "--mount", "taskset", "-c", CPU, "sh", "-c", MOUNTED, "sh", program, *arguments], stdin=subprocess.DEVNULL,
                                        stdout=self.out, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        wait_until(self._watches, f"{name}: watches", 60)

    def _watches(self):
        if self.process.poll() is not None:
            lines = [line for line in self._said().splitlines() if line.strip()] or ["it said nothing"]
            why = next((line for line in lines if line.startswith(("ERROR", "Unable"))), lines[-1])
            raise Missing(f"{self.name} ended with status {self.process.returncode}: {why}")
        return re.search(self.begins, self._said(), re.M) and (self.name != "bpftrace" or self._has_attached())

    def _has_attached(self):
        """bpftrace has a descriptor for each probe, and one for each CPU's buffer."""
        with open(SCRIPT, encoding="utf-8") as file:
            probes = len(re.findall(r"^tracepoint:", file.read(), re.M))
        kinds = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{self.process.pid}/fd")]
        return kinds.count("anon_inode:[perf_event]") >= probes + os.cpu_count()

    def _said(self):
        return os.pread(self.out.fileno(), 1 << 26, 0).decode(errors="replace")

    def end(self):
        """How many connections it has told of."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        said = self._said()
        self.out.close()
        counted = re.search(r"^@connects: (\d+)", said, re.M)
        return int(counted.group(1)) if counted else len(said.splitlines()) - 1


def why_not(name):
    """Why it cannot watch here; None: it can."""
    try:
        Tracer(name).end()
    except Missing as reason:
        return str(reason)
    return None
