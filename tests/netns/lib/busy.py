# SPDX-License-Identifier: Apache-2.0
"""
Time on a machine that has other things to do: suites run beside one another, and CI has two processors. How long processes were
ready to run and had no CPU is known to the kernel.
"""

import contextlib
import os
import time

agents = set()  # process ids of the agents that run: what tests wait for is mostly theirs to do


def waited_for_cpu(pids=None):
    """Seconds that this process and each of these have been ready to run and had no CPU; 0 where the kernel does not tell."""
    def of(pid):
        seconds = 0
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                    seconds += int(file.read().split()[1]) / 1e9
        return seconds
    return {pid: of(pid) for pid in [os.getpid(), *(agents if pids is None else pids)]}


class Clock:
    """The seconds since it was made in which this process and the agents had a CPU: a fifth of all at least."""

    def __init__(self):
        self.begun, self.waited = time.monotonic(), waited_for_cpu()

    def elapsed(self):
        return time.monotonic() - self.begun

    def seconds(self):
        elapsed = self.elapsed()
        own, *others = [max(0, now - self.waited.get(pid, 0)) for pid, now in waited_for_cpu().items()]
        return max(elapsed - own - max(others, default=0), elapsed / 5)

    def is_over(self, seconds):
        """Have so many gone by?"""
        return self.elapsed() > seconds and self.seconds() > seconds
