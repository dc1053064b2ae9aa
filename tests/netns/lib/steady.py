# SPDX-License-Identifier: Apache-2.0
"""Flows of every kind that talk while something is done to the agent."""

import threading
import time

from .traffic import BOTH, V4, Capture, Connection, UdpClient, wait_until
from .world import OUTSIDE_IP


class Traffic:
    """Flows of every kind that talk all the time, and a denied one that tries all the time."""

    def __init__(self, world):
        self.world, self.stop = world, threading.Event()
        self.answers, self.trouble = 0, []
        self.flows = []
        for family in BOTH:
            for source, address, tcp, udp in (
                    (world.client, world.server.ips[family], 8080, 5353),
                    (world.client, world.vip[family], 80, 53),
                    (world.remote, world.vip[family], 80, 53),
                    (world.remote, world.server.ips[family], 8080, 5353),
                    (world.client, OUTSIDE_IP[family], 8080, 5353),
                    (world.n1, world.vip[family], 80, 53),
                    (world.n1, world.server.ips[family], 8080, 5353),
                    (world.outside, world.client.ips[family], 8080, 5353)):
                self.flows.append((f"{source} tcp {address}", Connection(source, address, tcp)))
                self.flows.append((f"{source} udp {address}", UdpClient(source, address, udp)))
        self.capture = Capture(world.server.netns)
        self.denied = [world.stranger.socket(2 if f == V4 else 10, 2) for f in BOTH]
        self.talker = threading.Thread(target=self.talk)
        self.shouter = threading.Thread(target=self.shout)

    def talk(self):
        while not self.stop.is_set():
            for name, flow in self.flows:
                try:
                    flow.ask()
                    self.answers += 1
                except OSError as error:
                    self.trouble.append(f"{name}: {error or type(error).__name__}")
                    if len(self.trouble) > 8:
                        return
            time.sleep(0.002)

    def shout(self):
        while not self.stop.is_set():
            for sock, family in zip(self.denied, BOTH):
                for address, port in ((self.world.server.ips[family], 5353),
                                      (self.world.vip[family], 53)):
                    try:
                        sock.sendto(b"denied", (address, port))
                    except OSError:
                        pass
            time.sleep(0.001)

    def __enter__(self):
        for _, flow in self.flows:
            flow.ask()
        self.talker.start()
        self.shouter.start()
        self.wait_round()
        return self

    def wait_round(self):
        """All flows have been answered at least once more."""
        wanted = self.answers + 2 * len(self.flows)
        wait_until(lambda: self.answers >= wanted or self.trouble, "answers")

    def check(self):
        assert not self.trouble, "; ".join(self.trouble[:4])
        leaks = self.capture.matching(lambda p: p.payload == b"denied")
        assert not leaks, f"{len(leaks)} denied packets came through: {leaks[0]}"

    def __exit__(self, kind, *_):
        self.stop.set()
        self.talker.join()
        self.shouter.join()
        try:
            if kind is None:
                self.check()
        finally:
            for _, flow in self.flows:
                flow.close()
            for sock in self.denied:
                sock.close()
            self.capture.close()
