# SPDX-License-Identifier: Apache-2.0
"""Programs of somebody else on the node, made of two instructions and loaded by bpf(2): at XDP, tcx, clsact, cgroups."""

import contextlib
import ctypes
import os
import struct

from .netns import inside, run

SYS_BPF = 321  # x86-64
PROG_LOAD, OBJ_PIN, PROG_ATTACH, PROG_DETACH, LINK_CREATE = 5, 6, 8, 9, 28
SCHED_CLS, XDP, SOCK_OPS, SOCK_ADDR = 3, 6, 13, 18
SOCK_OPS_HOOK, CONNECT4, XDP_HOOK, TCX_INGRESS, TCX_EGRESS = 3, 10, 37, 46, 47
ALLOW_MULTI, BEFORE, AFTER = 1 << 1, 1 << 3, 1 << 4
XDP_PASS, TC_UNSPEC, SOCK_OK = 2, -1, 1

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command, data):
    attributes = ctypes.create_string_buffer(data.ljust(144, b"\0"), 144)
    result = _libc.syscall(SYS_BPF, command, attributes, 144)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return result


def load(kind, name, result, attach_type=0):
    """A program that returns `result`; its descriptor."""
    code = struct.pack("=BBhi", 0xb7, 0, 0, result) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    return _bpf(PROG_LOAD, struct.pack("=IIQQIIQII16sII", kind, 2, ctypes.addressof(instructions), ctypes.addressof(licence),
                                       0, 0, 0, 0, 0, name.encode(), 0, attach_type))


@contextlib.contextmanager
def at_link(node, ifname, hook, flags=0, name="stranger"):
    """At XDP or tcx of one of the node's links, by a link that goes when the block ends."""
    program = load(XDP, name, XDP_PASS) if hook == XDP_HOOK else load(SCHED_CLS, name, TC_UNSPEC)
    link = -1
    try:
        index = node.netns.ifindex(ifname)
        with inside(node.netns.path):
            link = _bpf(LINK_CREATE, struct.pack("=IIII", program, index, hook, flags))
        yield
    finally:
        os.close(program)
        if link >= 0:
            os.close(link)


@contextlib.contextmanager
def at_filter(node, ifname, direction, priority, name="stranger"):
    """A clsact filter, as tc(8) adds them."""
    program = load(SCHED_CLS, name, TC_UNSPEC)
    pin = os.path.join(node.bpffs, f"{name}-{direction}")
    path = ctypes.create_string_buffer(pin.encode())
    try:
        _bpf(OBJ_PIN, struct.pack("=QI", ctypes.addressof(path), program))
        node.netns.run("tc", "qdisc", "add", "dev", ifname, "clsact", check=False)
        node.netns.run("tc", "filter", "add", "dev", ifname, direction, "pref", str(priority), "bpf", "da", "pinned", pin)
        yield
    finally:
        os.close(program)
        node.netns.run("tc", "filter", "del", "dev", ifname, direction, "pref", str(priority), check=False)
        if "polder" not in node.netns.run("tc", "filter", "show", "dev", ifname, direction, check=False).stdout:
            node.netns.run("tc", "qdisc", "del", "dev", ifname, "clsact", check=False)
        run(["rm", "-f", pin])


@contextlib.contextmanager
def at_cgroup(directory, flags, name="stranger", hook=CONNECT4):
    """At a cgroup; flags 0: alone, no other program stands beside it."""
    program = load(SOCK_OPS if hook == SOCK_OPS_HOOK else SOCK_ADDR, name, SOCK_OK, hook)
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _bpf(PROG_ATTACH, struct.pack("=IIII", cgroup, program, hook, flags))
        yield
    finally:
        with contextlib.suppress(OSError):
            _bpf(PROG_DETACH, struct.pack("=IIII", cgroup, program, hook, 0))
        os.close(program)
        os.close(cgroup)
