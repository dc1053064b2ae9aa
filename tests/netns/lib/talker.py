# SPDX-License-Identifier: Apache-2.0
"""A process of its own that opens a connection, sends datagrams or answers, until its input ends. See lib/processes.py.

talker.py COMM UID WHAT IP PORT [VIA]

WHAT: tcp, udp, udp-connected; tcp-server, udp-server, which bind; tcp-unbound-server, which listens at whatever port is free. VIA: wait: before the first byte; fork: in a child of its own. COMM is in hexadecimal. It tells its
number and the port of its own end in a line of JSON, at once, and `answered` when the other end has answered."""

import json
import os
import select
import socket
import sys


def tell(**what):
    print(json.dumps(what), flush=True)


def main():
    comm, uid, what, ip, port = sys.argv[1:6]
    if uid != "0":
        os.setgroups([])
        os.setresgid(int(uid) + 1, int(uid) + 1, int(uid) + 1)
        os.setresuid(int(uid), int(uid), int(uid))
    if comm:
        with open("/proc/thread-self/comm", "wb") as file:
            file.write(bytes.fromhex(comm))
    if sys.argv[6:] == ["fork"] and os.fork():
        os.wait()
        return
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if what.startswith("tcp") else socket.SOCK_DGRAM)
    sock.settimeout(20)
    if what.endswith("-server"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if what != "tcp-unbound-server":
            sock.bind((ip, int(port)))
        if what != "udp-server":
            sock.listen(8)
    elif what == "udp":
        sock.sendto(b"who\n", (ip, int(port)))
    else:
        sock.connect((ip, int(port)))
    if sys.argv[6:] == ["wait"]:
        tell(pid=os.getpid(), port=sock.getsockname()[1])
        sys.stdin.readline()
    if not what.endswith("-server"):
        if what != "udp":
            sock.send(b"who\n")
        tell(pid=os.getpid(), port=sock.getsockname()[1])
        # Nobody may ever answer.
        if sock in select.select([sock, sys.stdin], [], [])[0]:
            sock.recv(4096)
            tell(answered=True)
    else:
        tell(pid=os.getpid(), port=sock.getsockname()[1])
    sys.stdin.read()


main()
