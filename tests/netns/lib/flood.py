# SPDX-License-Identifier: Apache-2.0
"""
Sends crafted TCP segments as fast as it can: `flood.py COUNT` reads from its input a JSON list of [socket, frame, place of the
transport header, reversed], the segments of one handshake with ports and checksum left out. Each round has ports of its own.
"""

import json
import socket
import struct
import sys


def words(data):
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def folded(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main():
    count = int(sys.argv[1])
    segments = []
    for number, frame, at, swapped, pseudo in json.load(sys.stdin):
        frame = bytearray.fromhex(frame)
        segments.append((socket.socket(fileno=number), frame, at, swapped, words(bytes(frame[at:])) + pseudo))
    for round_ in range(count):
        sport, dport = 1024 + round_ % 64000, 7000 + round_ // 64000
        for sock, frame, at, swapped, total in segments:
            struct.pack_into("!HH", frame, at, *((dport, sport) if swapped else (sport, dport)))
            struct.pack_into("!H", frame, at + 16, folded(total + sport + dport))
            try:
                sock.send(frame)
            except OSError:
                pass  # no room in the queue
    print(count)


if __name__ == "__main__":
    main()
