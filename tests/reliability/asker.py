# SPDX-License-Identifier: Apache-2.0
"""
Asks an agent for its status again and again, each time over a new connection, until its input ends: `asker.py SOCKET PID PAUSE`.
Prints how many seconds each answer took, without the time that the agent's loop, or this process, had no CPU because others had
them.
"""

import json
import os
import select
import socket
import sys
import time


def without_cpu(pid):
    """Seconds that its first thread has been ready to run and had no CPU."""
    with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[1]) / 1e9


def ask(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(30)
        sock.connect(path)
        sock.sendall(b'{"version":1,"op":"status","args":{}}\n')
        data = b""
        while not data.endswith(b"\n"):
            part = sock.recv(1 << 20)
            assert part, "the agent hung up"
            data += part
    assert json.loads(data)["ok"]


def main():
    path, pids, pause, seconds = sys.argv[1], (int(sys.argv[2]), os.getpid()), float(sys.argv[3]), []
    while not select.select([sys.stdin], [], [], pause)[0]:
        waited, began = sum(map(without_cpu, pids)), time.monotonic()
        ask(path)
        took = time.monotonic() - began
        seconds.append(max(0.0, took - (sum(map(without_cpu, pids)) - waited)))
    json.dump(seconds, sys.stdout)


if __name__ == "__main__":
    main()
