# SPDX-License-Identifier: Apache-2.0
"""Makes sockets in namespaces on request, as a process of a node's cgroup, and hands them over."""

import os
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import json

from lib.netns import inside


def main():
    cgroup, channel = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as procs:
        procs.write(str(os.getpid()))
    while True:
        request = channel.recv(4096)
        if not request:
            return
        netns, family, kind, proto = json.loads(request)
        try:
            with inside(netns):
                made = socket.socket(family, kind, proto)
        except OSError as error:
            channel.send(str(error.errno).encode())
            continue
        socket.send_fds(channel, [b"+"], [made.fileno()])
        made.close()


main()
