# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: making them, entering them, sockets and commands inside them."""

import ctypes
import contextlib
import json
import os
import re
import socket
import subprocess
import sys

CLONE_NEWNET = 0x40000000
NETNS_DIR = "/run/netns"
PREFIX = "pt"

_libc = ctypes.CDLL(None, use_errno=True)


class CommandError(Exception):
    """A command ended with a status that was not expected."""


def run(args, stdin=None, check=True, timeout=120, env=None):
    """Runs a command without a shell; returns the CompletedProcess with text output."""
    done = subprocess.run(args, input=stdin, capture_output=True, text=True, timeout=timeout,
                          env=env, check=False)
    if check and done.returncode != 0:
        raise CommandError(f"{' '.join(args)}: status {done.returncode}: "
                           f"{(done.stderr or done.stdout).strip()}")
    return done


def setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


@contextlib.contextmanager
def inside(path):
    """The calling thread stands in the namespace; what it opens there stays there."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(own)
    finally:
        os.close(own)


def remove_leftovers():
    """Namespaces of test runs whose process is no more."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(NETNS_DIR):
            match = re.fullmatch(PREFIX + r"(\d+)x.*", name)
            if match and not os.path.exists(f"/proc/{match[1]}"):
                run(["ip", "netns", "del", name], check=False)


class SocketFactory:
    """A process in a node's cgroup: sockets it makes belong to the node's or a pod's processes."""

    def __init__(self, cgroup):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.path.join(os.path.dirname(__file__), "socket_factory.py")
        self.process = subprocess.Popen([sys.executable, path, cgroup, str(theirs.fileno())],
                                        pass_fds=[theirs.fileno()])
        theirs.close()
        self.channel = ours
        self.channel.settimeout(10)

    def socket(self, netns, family, kind, proto):
        self.channel.send(json.dumps([netns, int(family), int(kind), int(proto)]).encode())
        data, fds, _, _ = socket.recv_fds(self.channel, 4096, 1)
        if not fds:
            error = int(data or b"32")
            raise OSError(error, f"socket in {netns}: {os.strerror(error)}")
        return socket.socket(fileno=fds[0])

    def close(self):
        self.channel.close()
        self.process.wait(10)


class Namespace:
    """One network namespace under /run/netns. `label` is its short name in messages."""

    def __init__(self, label, unique, factory=None):
        self.label = label
        self.name = f"{PREFIX}{unique}-{label}"
        self.path = f"{NETNS_DIR}/{self.name}"
        self.factory = factory
        self.deleted = False
        run(["ip", "netns", "add", self.name])

    def __repr__(self):
        return self.label

    def delete(self):
        if not self.deleted:
            self.deleted = True
            run(["ip", "netns", "del", self.name], check=False)

    def command(self, *args):
        return ["nsenter", "--net=" + self.path, *args]

    def run(self, *args, **options):
        return run(self.command(*args), **options)

    def ip(self, *lines):
        """ip(8) commands, one a line, all or an error."""
        run(["ip", "-n", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def ip_json(self, *args):
        out = run(["ip", "-n", self.name, "-j", *args]).stdout
        return json.loads(out or "[]")

    def sysctl(self, **values):
        """Keys with / for the dots: sysctl(**{"net/ipv4/ip_forward": 1})."""
        with inside(self.path):
            for key, value in values.items():
                # /proc/sys/net shows the namespace of the thread that opens it.
                with open("/proc/sys/" + key, "w", encoding="ascii") as file:
                    file.write(str(value))

    def sysctl_get(self, key):
        with inside(self.path), open("/proc/sys/" + key, encoding="ascii") as file:
            return file.read().strip()

    def socket(self, family, kind, proto=0):
        if self.factory:
            return self.factory.socket(self.path, family, kind, proto)
        with inside(self.path):
            return socket.socket(family, kind, proto)

    def packet_socket(self, ifname, ethertype=0x0003):
        """Raw frames of one link; 0x0003 is every protocol, 0 none (for sending only)."""
        with inside(self.path):
            packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            packet.bind((ifname, ethertype))
        packet.setblocking(False)
        return packet

    def mac(self, ifname="eth0"):
        return self.ip_json("link", "show", "dev", ifname)[0]["address"]

    def ifindex(self, ifname):
        with inside(self.path):
            return socket.if_nametoindex(ifname)
