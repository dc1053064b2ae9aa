# SPDX-License-Identifier: Apache-2.0
"""Two taps with virtio-net headers and what carries frames between them: the card of a virtual machine, aggregates and all."""

import contextlib
import fcntl
import os
import select
import struct
import threading

from .netns import inside

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
CSUM, TSO4, TSO6, USO4, USO6 = 1, 2, 4, 0x20, 0x40
HEADER = 10
GSO_NAMES = {0: "", 1: "tcp4", 4: "tcp6", 5: "udp"}


def open_tap(netns, name):
    """A link that leaves segmentation and checksums to the card. The header that the card reads and writes says the rest."""
    with inside(netns.path):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        try:
            fcntl.ioctl(fd, TUNSETOFFLOAD, CSUM | TSO4 | TSO6 | USO4 | USO6)
        except OSError:  # before Linux 6.2
            fcntl.ioctl(fd, TUNSETOFFLOAD, CSUM | TSO4 | TSO6)
    return fd


class Cable:
    """Carries what each tap sends to the other, as it is. `seen` has (tap, length, kind, segment size) of each frame."""

    def __init__(self, *ends):
        self.fds = {open_tap(netns, name): name for netns, name in ends}
        self.seen, self.refused, self.ending = [], [], False
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self):
        one, other = self.fds
        while not self.ending:
            for fd in select.select([one, other], [], [], 0.2)[0]:
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        self._carry(fd, other if fd == one else one, os.read(fd, 70_000))

    def _carry(self, source, target, frame):
        _, kind, _, size = struct.unpack_from("<BBHH", frame)
        self.seen.append((self.fds[source], len(frame) - HEADER, GSO_NAMES.get(kind & 0x7F, "?"), size))
        try:
            os.write(target, frame)
        except OSError as error:
            self.refused.append((error, self.seen[-1]))

    def largest(self, tap, since=0):
        """The longest frame that the tap sent, of those after the first `since`."""
        return max((frame[1] for frame in self.seen[since:] if frame[0] == tap), default=0)

    def close(self):
        self.ending = True
        self.thread.join(5)
        for fd in self.fds:
            os.close(fd)
