# SPDX-License-Identifier: Apache-2.0
"""
Traffic in a process of its own, which nothing that the driver does can hold up. `flows.py` reads one JSON line, what to
do with the sockets that it has inherited, then answers each line `report` with what was seen since the last one.

  flows    a socket that talks with an echo: a number goes, the same number must come back. Established flows; one that
           is reset, or has no answer for STALLED seconds, is broken. Datagrams without answer count as lost.
  denied   sockets that send, without end, what policy denies.
  knocks   TCP connects, again and again, that policy denies.
  echoes   sockets that answer. What begins with `denied` has come through: a leak.
"""

import collections
import contextlib
import ctypes
import errno
import json
import os
import select
import socket
import sys
import time

TICK = 0.001        # seconds from one turn to the next
FLOW_PAUSE = 0.005  # from an answer to the next question
TURN_MAX = 0.02     # what a turn takes longer this process had no CPU: no answer could be read
LOST = 0.4          # without answer for so long a datagram is lost, and the next is sent
STALLED = 3.0       # no answer for so long: the flow is broken
KNOCK_FOR = 0.05
SHARES = 4          # a quarter of the denied senders at each turn

_libc = ctypes.CDLL(None, use_errno=True)


def disconnect(sock):
    """As after its making: a connect to no address."""
    _libc.connect(sock.fileno(), ctypes.create_string_buffer(16), 16)


class Flow:
    """One established flow. `proto` is TCP or UDP."""

    def __init__(self, spec):
        self.name, self.proto, self.target = spec["name"], spec["proto"], tuple(spec["to"])
        self.sock = socket.socket(fileno=spec["fd"])
        self.number, self.sent, self.answered, self.waiting = 0, 0.0, 0.0, False
        self.input = b""
        self.broken, self.lost, self.answers, self.longest = "", 0, 0, 0.0
        if self.proto == "TCP":
            self.sock.settimeout(5)
            self.sock.connect(self.target)
        self.sock.setblocking(False)

    def renew(self):
        """What is broken has been told; later trials get a flow that is not."""
        self.broken, self.input, self.waiting = "", b"", False
        if self.proto == "TCP":
            disconnect(self.sock)
            self.sock.settimeout(1)
            try:
                self.sock.connect(self.target)
            except OSError as error:
                self.fail(f"cannot connect again: {os.strerror(error.errno or errno.ETIMEDOUT)}")
            self.sock.setblocking(False)

    def fail(self, why):
        if not self.broken:
            self.broken = f"{self.name}: {why} at number {self.number}"

    def turn(self, now):
        if self.broken:
            return
        if self.waiting:
            if now - self.answered > STALLED:
                self.fail(f"no answer for {now - self.answered:.1f} s")
            elif self.proto == "UDP" and now - self.sent > LOST:
                self.lost += 1
                self.send(now)
        elif now - self.sent >= FLOW_PAUSE:
            self.number += 1
            self.answered = now  # from here on it is waited for
            self.send(now)

    def send(self, now):
        self.sent, self.waiting = now, True
        try:
            if self.proto == "TCP":
                self.sock.send(b"%d\n" % self.number)
            else:
                self.sock.sendto(b"%d\n" % self.number, self.target)
        except BlockingIOError:
            pass
        except OSError as error:
            self.fail(f"cannot send: {os.strerror(error.errno)}")

    def readable(self, now):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(os.strerror(error.errno))
            return
        if not data:
            self.fail("closed by the peer")
            return
        self.input += data
        while b"\n" in self.input:
            line, self.input = self.input.split(b"\n", 1)
            self.answer(line, now)

    def answer(self, line, now):
        if int(line) == self.number and self.waiting:
            self.longest = max(self.longest, now - self.answered)
            self.waiting, self.answered = False, now
            self.answers += 1
        elif self.proto == "TCP":
            self.fail(f"got number {int(line)}")

    def report(self):
        found = {"answers": self.answers, "lost": self.lost, "longest": self.longest,
                 "broken": self.broken}
        self.answers, self.lost, self.longest = 0, 0, 0.0
        if self.broken:
            self.renew()
        return found


class Echo:
    """Answers allowed flows. `known` are peers that may connect; any other has come through."""

    def __init__(self, spec, poller, by_fd):
        self.name, self.proto = spec["name"], spec["proto"]
        self.known = set(spec.get("known", []))
        self.sock = socket.socket(fileno=spec["fd"])
        self.sock.setblocking(False)
        self.poller, self.by_fd = poller, by_fd
        self.leaks = []
        if self.proto == "TCP":
            self.sock.listen(64)

    def readable(self, _):
        if self.proto == "TCP":
            with contextlib.suppress(OSError):
                self.accept()
            return
        for _ in range(64):
            try:
                data, peer = self.sock.recvfrom(65536)
            except OSError:
                return
            if data.startswith(b"denied"):
                self.leaks.append(f"{data.decode()} came to {self.name} from {peer[0]}")
                continue
            with contextlib.suppress(OSError):
                self.sock.sendto(data, peer)

    def accept(self):
        sock, peer = self.sock.accept()
        if self.known and peer[0] not in self.known:
            self.leaks.append(f"a connection came to {self.name} from {peer[0]}")
        sock.setblocking(False)
        self.by_fd[sock.fileno()] = Peer(sock)
        self.poller.register(sock, select.EPOLLIN)


class Peer:
    """The accepted end of a connection."""

    def __init__(self, sock):
        self.sock = sock

    def readable(self, _):
        try:
            data = self.sock.recv(65536)
            if data:
                self.sock.send(data)
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.sock.close()  # leaves the poller as well


class Knock:
    """A TCP connect that must not be answered, begun anew again and again."""

    def __init__(self, spec):
        self.name, self.target = spec["name"], tuple(spec["to"])
        self.sock = socket.socket(fileno=spec["fd"])
        self.sock.setblocking(False)
        self.begun, self.leaks = 0.0, []

    def turn(self, now):
        if now - self.begun < KNOCK_FOR:
            return
        if self.begun and self.sock.connect_ex(self.target) == errno.EISCONN:
            self.leaks.append(f"{self.name}: connected")
        disconnect(self.sock)
        with contextlib.suppress(OSError):
            self.sock.connect_ex(self.target)
        self.begun = now


class Traffic:
    def __init__(self, spec):
        self.poller, self.by_fd = select.epoll(), {}
        self.echoes = [Echo(one, self.poller, self.by_fd) for one in spec["echoes"]]
        for echo in self.echoes:
            self.watch(echo)
        self.flows, self.knocks, self.denied = [], [], []
        self.turns, self.shouts = 0, 0
        self.now, self.before = 0.0, time.monotonic()  # seconds in which answers could be read
        self.spec = spec

    def watch(self, one):
        self.by_fd[one.sock.fileno()] = one
        self.poller.register(one.sock, select.EPOLLIN)

    def begin(self):
        """Flows connect to echoes of this very process: those must accept meanwhile, which the backlog does."""
        self.flows = [Flow(one) for one in self.spec["flows"]]
        for flow in self.flows:
            self.watch(flow)
        self.knocks = [Knock(one) for one in self.spec["knocks"]]
        self.denied = [(socket.socket(fileno=one["fd"]), one["name"].encode(), tuple(one["to"]))
                       for one in self.spec["denied"]]
        for sock, _, _ in self.denied:
            sock.setblocking(False)

    def turn(self):
        for fd, _ in self.poller.poll(TICK):
            one = self.by_fd.get(fd)
            if one:
                one.readable(self.now)
        clock = time.monotonic()
        self.now += min(clock - self.before, TURN_MAX)
        self.before = clock
        now = self.now
        for flow in self.flows:
            flow.turn(now)
        for knock in self.knocks:
            knock.turn(now)
        self.turns += 1
        for sock, name, target in self.denied[self.turns % SHARES::SHARES]:
            self.shouts += 1
            with contextlib.suppress(OSError):
                sock.sendto(b"denied " + name, target)

    def report(self):
        leaks = collections.Counter()
        for one in self.echoes + self.knocks:
            leaks.update(one.leaks)
            one.leaks = []
        flows = [flow.report() for flow in self.flows]
        lost = [f"{flow.name}: {found['lost']}" for flow, found in zip(self.flows, flows)
                if found["lost"]]
        made = {"leaks": [f"{text} ({count} times)" for text, count in leaks.items()],
                "broken": [found["broken"] for found in flows if found["broken"]], "lost": lost,
                "answers": sum(found["answers"] for found in flows),
                "least": min((found["answers"] for found in flows), default=0),
                "longest": max((found["longest"] for found in flows), default=0),
                "denied": self.shouts}
        self.shouts = 0
        return made


def main():
    traffic = Traffic(json.loads(sys.stdin.readline()))
    traffic.begin()

    class Commands:
        def readable(self, _):
            line = os.read(0, 64)
            if not line:
                sys.exit(0)
            print(json.dumps(traffic.report()), flush=True)

    traffic.by_fd[0] = Commands()
    traffic.poller.register(0, select.EPOLLIN)
    print("begun", flush=True)
    while True:
        traffic.turn()


if __name__ == "__main__":
    main()
