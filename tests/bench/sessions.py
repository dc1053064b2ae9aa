# SPDX-License-Identifier: Apache-2.0
"""A variant of what is measured with what runs beside it, and its samples. Everything runs on one CPU."""

import contextlib
import os
import subprocess
import sys
import time

import nodeport_page as page
from lib.agent import BUILD
from variants import SERVER_PORT

CPU = "0"
FLOWS = page.FLOWS
COUNT, QUICK_COUNT = 2000000, 200000
SECONDS, QUICK_SECONDS = 1.0, 0.3


def say(text):
    print(text, file=sys.stderr, flush=True)


def program(name):
    return os.path.join(BUILD, "tests", "bench", name)


def pinned(netns, *args):
    return netns.command("taskset", "-c", CPU, *args)


class Talker:
    """A program that answers each line by one."""

    def __init__(self, command, name):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline().split()
        if not line:
            raise RuntimeError(f"{self.name}: {self.process.args[-9:]} ended")
        return [float(word) for word in line]

    def ask(self, line):
        self.tell(line)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(10)


def client(netns, name, *args):
    done = subprocess.run(pinned(netns, program("bench-traffic"), *args), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()}")
    return [float(word) for word in done.stdout.split()]


class Session:
    """A variant with what runs beside it, and its samples."""

    def __init__(self, variant):
        self.variant, self.name, self.samples = variant, variant.name, {}
        self.stack = contextlib.ExitStack()

    def keep(self, figure, value):
        self.samples.setdefault(figure, []).append(value)

    def talker(self, netns, *args):
        talker = Talker(pinned(netns, *args), self.name)
        self.stack.callback(talker.close)
        return talker

    def server(self, netns):
        server = self.talker(netns, program("bench-traffic"), "serve", str(SERVER_PORT))
        if server.process.stdout.readline().strip() != "serving":
            raise RuntimeError(f"{self.name}: no server")

    def close(self):
        self.stack.close()


class ForwardingSession(Session):
    def __init__(self, variant):
        super().__init__(variant)
        self.server(variant.other.netns)
        variant.wait_for_server()
        self.wire = self.talker(variant.world.fabric, program("bench-wire"), *variant.wire_arguments())
        self._open(FLOWS[-1])

    def _open(self, flows):
        """A node may lose the first ones, for which it has to ask for a neighbour."""
        for _ in range(5):
            opened = int(self.wire.ask(f"open {flows}")[0])
            if opened == flows:
                return
            say(f"    {self.name}: {opened} of {flows} connections came about, once more")
        raise RuntimeError(f"{self.name}: {opened} of {flows} connections came about")

    def measure(self, quick):
        count, seconds = (QUICK_COUNT, QUICK_SECONDS) if quick else (COUNT, SECONDS)
        by_xdp = self.variant.xdp_frames()
        for flows in FLOWS:
            took, forwarded, other = self.wire.ask(f"send {flows} {count}")
            if other or forwarded < 0.99 * count:
                say(f"    {self.name}: of {count} frames {forwarded:.0f} were forwarded, {other:.0f} in another way")
            self.keep(f"packets {flows}", forwarded / took)
        by_xdp = self.variant.xdp_frames() - by_xdp
        # Each flow's first packet of a second is TC's to send.
        if by_xdp < 0.9 * count * len(FLOWS) if self.variant.in_xdp else by_xdp:
            raise RuntimeError(f"{self.name}: XDP forwarded {by_xdp} of {count * len(FLOWS)} frames")
        self.keep("times", self._times(seconds))
        with self.variant.polled_by_thread(int(CPU)):
            self.wire.tell(f"flood {FLOWS[-1]} {page.FLOOD_RATE} {seconds + 0.4:.1f}")
            time.sleep(0.2)
            self.keep("flooded times", self._times(seconds))
            took, forwarded = self.wire.answer()
        if not 0.9 < forwarded / took / page.FLOOD_RATE < 1.1:
            say(f"    {self.name}: of {page.FLOOD_RATE} frames a second beside it {forwarded / took:.0f} were forwarded")

    def _times(self, seconds):
        address, port = self.variant.target()
        return client(self.variant.world.outside, self.name, "times", address, str(port), str(seconds))


class AloneSession(Session):
    def __init__(self, variant):
        super().__init__(variant)
        self.wire = self.talker(variant.fabric, program("bench-wire"), *variant.wire_arguments())

    def measure(self, quick):
        count = QUICK_COUNT if quick else COUNT
        self.keep("packets 1", count / self.wire.ask(f"alone {count}")[0])


class ConnectionSession(Session):
    """Connections between two pods of the node, through a Service."""

    def __init__(self, variant):
        super().__init__(variant)
        self.server(variant.server)
        variant.client.sysctl(**{"net/ipv4/tcp_tw_reuse": 1})

    def measure(self, quick):
        address, port = self.variant.target()
        self.keep("rate", client(self.variant.client, self.name, "rate", address, str(port), "0.3" if quick else "0.7")[0])
