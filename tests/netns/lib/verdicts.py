# SPDX-License-Identifier: Apache-2.0
"""
Verdicts of many packets at once, and how long after a change they are as expected.

All cells are tried together, in rounds that overlap: a round with an answer that is not expected is over at once, one that
waits for an answer stays, and others begin beside it. So the time that is found is that of the change, not of a timeout.
How long the agents, and this process, were ready to run and had no CPU is known to the kernel, and is not counted.
"""

import select
import time

from .busy import waited_for_cpu
from .traffic import CLOSED_AFTER, Probe, SctpProbe, run_probes

IN_TIME = 0.25   # seconds, without those in which agent and test had no CPU: what all but a module's slowest change take at most
IN_FORCE = 2.0   # seconds that a change may take while other suites run beside; it takes some 0.05, see what each suite tells
ANSWERED = 0.5   # seconds within which an answer comes on a busy machine
SOON, LATE = 0.02, (0.05, 0.1, 0.2)  # seconds from one round to the next: after a wrong answer, while answers are waited for


class Round:
    """One attempt of each cell. A cell is (source, address, port, verdict, protocol)."""

    def __init__(self, cells, pods, pids=()):
        self.cells, self.begun = cells, time.monotonic()
        self.waited = waited_for_cpu(pids)
        self.probes = [_probe(cell, pods) for cell in cells]

    def waiting(self, closed):
        """Probes without an answer whose cells expect none, or expect one."""
        return [probe for cell, probe in zip(self.cells, self.probes)
                if probe.verdict is None and (cell[3] == "timeout") == closed]

    def is_wrong(self):
        if any(probe.verdict not in (None, cell[3]) for cell, probe in zip(self.cells, self.probes)):
            return True
        return self.age() > ANSWERED and bool(self.waiting(closed=False))

    def is_right(self):
        return not self.waiting(closed=False) and (self.age() >= CLOSED_AFTER or not self.waiting(closed=True))

    def age(self):
        return time.monotonic() - self.begun

    def close(self):
        for probe in self.probes:
            if probe.verdict is None:
                probe.finish("timeout")

    def differences(self):
        return [(cell, probe.verdict) for cell, probe in zip(self.cells, self.probes) if probe.verdict != cell[3]]


def _probe(cell, pods):
    source, address, port, _, proto = cell
    if proto == "SCTP":
        return SctpProbe(source, next(pod for pod in pods if address in pod.ips.values()), address, port)
    return Probe(source, address, port, proto)


def once(cells, pods):
    """The finished round of one attempt."""
    tried = Round(cells, pods)
    run_probes(tried.probes, ANSWERED, CLOSED_AFTER, tried.waiting(closed=True))
    return tried


class Agreement:
    """
    Rounds until one is as expected. `seconds` is then the time from the first to that one's begin, and `waited` how much of it
    agents and this process had no CPU; else None.
    """

    def __init__(self, cells, pods, pids, patience):
        self.cells, self.pods, self.pids, self.rounds, self.late = cells, pods, pids, [], 0
        self.begun, self.waited_before = time.monotonic(), waited_for_cpu(pids)
        self.waited = 0
        self.seconds = None
        while time.monotonic() - self.begun <= patience and self.seconds is None:
            self._begin_rounds()
            self._poll()
            self._end_rounds()
        for tried in self.rounds:
            tried.close()

    def _begin_rounds(self):
        last = self.rounds[-1] if self.rounds else None
        if not last or (last.age() >= LATE[min(self.late, 2)] and last.waiting(closed=False)):
            self.late += bool(last)
            self.rounds.append(Round(self.cells, self.pods, self.pids))

    def _poll(self):
        """Until something comes, or it is time to look at the rounds again."""
        poller, waiting = select.poll(), {}
        for tried in self.rounds:
            for probe in tried.waiting(False) + tried.waiting(True):
                waiting[probe.sock.fileno()] = probe
                poller.register(probe.sock, probe.events())
        for number, _ in poller.poll(1000 * SOON):
            waiting[number].step()

    def _end_rounds(self):
        for tried in [tried for tried in self.rounds if tried.is_wrong()]:
            tried.close()
            self.rounds.remove(tried)
        right = next((tried for tried in self.rounds if tried.is_right()), None)
        if right:
            own, *agents = [right.waited[pid] - before for pid, before in self.waited_before.items()]
            self.seconds, self.waited = right.begun - self.begun, own + max(agents, default=0)
        elif not self.rounds:
            time.sleep(SOON)
