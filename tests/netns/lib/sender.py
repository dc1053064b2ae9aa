# SPDX-License-Identifier: Apache-2.0
"""Sends datagrams without end: `sender.py PAUSE` reads JSON lines of [socket, address, port, text] on its input."""

import json
import socket
import sys
import time


def main():
    pause = float(sys.argv[1])
    targets = []
    for line in sys.stdin:
        number, address, port, text = json.loads(line)
        targets.append((socket.socket(fileno=number), (address, port), text))
    number = 0
    while True:
        for sock, target, text in targets:
            try:
                sock.sendto(f"{text} {number}".encode(), target)
            except OSError:
                pass  # no address, no route yet
        number += 1
        time.sleep(pause)


if __name__ == "__main__":
    main()
