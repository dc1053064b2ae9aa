# SPDX-License-Identifier: Apache-2.0
"""The harness process (protocol.md) as Python calls."""

import json
import os
import struct
import subprocess

HOOKS = {'from_pod': 0, 'to_pod': 1, 'from_wire': 2, 'to_wire': 3, 'from_tunnel': 4, 'to_tunnel': 5, 'wire_xdp': 6}
PACKET = struct.Struct('<BBHIII')
ANSWER = struct.Struct('<iBBBBIIIIII16s2sH')
OK, SHOT, REDIRECT = 0, 2, 7
XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3
EVALUATED, NEW = 1, 2


class HarnessError(Exception):
    """The harness refused a request that should work, or ended."""


class Refused(Exception):
    """The node refused an object."""


class Answer:
    __slots__ = ('result', 'reason', 'direction', 'verdict', 'flags', 'egress_rule', 'ingress_rule', 'egress_ruleset',
                 'ingress_ruleset', 'backend', 'backend_port', 'frame')


def program(build):
    return os.path.join(build, 'tests', 'differential', 'harness')


class Harness:
    def __init__(self, build, **options):
        errors = os.environ.get('POLDER_HARNESS_LOG')
        self.errors = open(errors, 'ab') if errors else subprocess.DEVNULL
        self.process = subprocess.Popen([program(build)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, bufsize=1 << 20)
        self.options = options
        self.node = self.ask('open', **options)
        names = self.ask('reasons')
        self.reasons, self.directions = names['reasons'], names['directions']

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def send(self, request):
        try:
            self.process.stdin.write(json.dumps(request).encode() + b'\n')
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise HarnessError(f'the harness has ended (status {self.process.wait()})') from error

    def receive(self):
        line = self.process.stdout.readline()
        if not line:
            raise HarnessError(f'the harness has ended (status {self.process.wait()})')
        return json.loads(line)

    def ask(self, op, **fields):
        self.send(dict(fields, op=op))
        answer = self.receive()
        if not answer.get('ok'):
            raise HarnessError(f'{op}: {answer.get("error")}')
        return answer

    def put(self, objects):
        self.send({'op': 'put', 'objects': objects})
        answer = self.receive()
        if not answer.get('ok'):
            raise Refused(answer.get('error'))

    def run(self, records):
        """`records`: (hook number, link, ingress link, frame, sender through the tunnel). Returns their answers."""
        return self.run_records({'op': 'run'}, records)

    def race(self, records, move, delay):
        """The same, each record with its CPU, 0 or 1. `move`: the generation changes meanwhile."""
        return self.run_records({'op': 'race', 'move': move, 'delay': delay}, records)

    def run_records(self, request, records):
        parts = []
        for hook, link, ingress, frame, flags in records:
            parts.append(PACKET.pack(hook, flags, len(frame), link, ingress, 0))
            parts.append(frame)
        data = b''.join(parts)
        try:
            self.process.stdin.write(json.dumps(dict(request, count=len(records), bytes=len(data))).encode() + b'\n')
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise HarnessError(f'the harness has ended (status {self.process.wait()})') from error
        head = self.receive()
        if not head.get('ok'):
            raise HarnessError(f'{request["op"]}: {head.get("error")}')
        data = self.process.stdout.read(head['bytes'])
        return list(self.unpack(data, head['count']))

    @staticmethod
    def unpack(data, count):
        at = 0
        for _ in range(count):
            a = Answer()
            (a.result, a.reason, a.direction, a.verdict, a.flags, a.egress_rule, a.ingress_rule, _, _, a.egress_ruleset,
             a.ingress_ruleset, backend, port, length) = ANSWER.unpack_from(data, at)
            at += ANSWER.size
            a.backend = int.from_bytes(backend, 'big')
            a.backend_port = int.from_bytes(port, 'big')
            a.frame = data[at:at + length]
            at += length
            yield a
