# SPDX-License-Identifier: Apache-2.0
"""polderctl capture, and what tshark reads of its files."""

import json
import os
import re
import signal
import subprocess

from .agent import POLDERCTL
from .netns import run
from .traffic import wait_until

PATIENCE = 120


class PcapngPacket:
    """A packet as tshark dissects it: fields by name, lists of texts."""

    def __init__(self, layers):
        self.layers = layers

    def __repr__(self):
        return f"{self.interface}: {self.source} > {self.destination} # {self.comment}"

    def field(self, name):
        return (self.layers.get(name) or [""])[0]

    @property
    def interface(self):
        return self.field("frame.interface_name")

    @property
    def comment(self):
        return self.field("frame.comment") or self.field("pkt_comment") or self.field("frame.packet.comment")

    @property
    def source(self):
        return self.field("ip.src") or self.field("ipv6.src")

    @property
    def destination(self):
        return self.field("ip.dst") or self.field("ipv6.dst")

    @property
    def ports(self):
        return tuple(int(self.field(f"{proto}.{side}port")) for proto in ("tcp", "udp") for side in ("src", "dst")
                     if self.field(f"{proto}.{side}port"))


FIELDS = ("frame.interface_name", "frame.comment", "frame.len", "frame.cap_len", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst",
          "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "tcp.flags", "icmp.type", "icmpv6.type", "arp.opcode")


def read_pcapng(path):
    """What tshark, which has its own reader of the format, finds in the file."""
    words = ["tshark", "-n", "-r", path, "-T", "json"]
    for field in FIELDS:
        words += ["-e", field]
    done = run(words)
    return [PcapngPacket(packet["_source"]["layers"]) for packet in json.loads(done.stdout)]


class PolderCapture:
    """A running `polderctl capture`."""

    def __init__(self, agent, *words, path=None, stdout=None):
        self.path = path
        command = [POLDERCTL, "--socket", agent.socket, "capture", *(["-w", path] if path else []), *words]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout or subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        os.set_blocking(self.process.stderr.fileno(), False)
        self.said = ""
        self.wait_said("capturing; interrupt")

    def hear(self):
        data = self.process.stderr.read()
        self.said += data.decode(errors="replace") if data else ""
        return self.said

    def wait_said(self, words):
        def there():
            ended = self.process.poll() is not None
            return words in self.hear() or ended
        wait_until(there, lambda: f"{words!r} in {self.said!r}", PATIENCE)
        assert words in self.said, self.said

    def end(self, number=signal.SIGINT):
        """Ends it as who types Ctrl-C does; the packets."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self):
        self.process.wait(PATIENCE)
        self.hear()
        return read_pcapng(self.path) if self.path else None

    def counts(self):
        """(captured, lost) as it said at its end."""
        found = re.search(r"(\d+) packets captured, (\d+) lost", self.said)
        assert found, self.said
        return int(found.group(1)), int(found.group(2))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
