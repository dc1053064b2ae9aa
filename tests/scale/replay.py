#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
An API server that sends a large cluster's objects from memory, and what happens in it at the time that is planned: HTTP/2 over TLS, lists
in pages (compressed, as real ones do) or as streams, watches. One thread; bytes are made before they are asked for. The rest that a server
may do is in tests/api.

    replay.py SPEC     SPEC: JSON with the cluster's numbers, `own`, `address`, `port`, `certificate`, `key`, `probe`, `pins`

Each line of standard input is a command, answered by a line of JSON: see do_*().
"""

import base64
import collections
import json
import os
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.parse
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hpack  # noqa: E402

import cluster  # noqa: E402
import service_cluster  # noqa: E402

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
FRAME_MAX = 16384
BURST = 512 << 10  # so much is put together at once
PAGE = 500
BOOKMARK_SECONDS = 20
PATHS = {"/api/v1/namespaces": ("namespaces", "v1", "Namespace"), "/api/v1/nodes": ("nodes", "v1", "Node"),
         "/api/v1/pods": ("pods", "v1", "Pod"), "/api/v1/services": ("services", "v1", "Service"),
         "/apis/discovery.k8s.io/v1/endpointslices": ("endpointslices", "discovery.k8s.io/v1", "EndpointSlice"),
         "/apis/networking.k8s.io/v1/networkpolicies": ("networkpolicies", "networking.k8s.io/v1", "NetworkPolicy")}


def event(kind, made):
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), made)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">BHBBL", len(payload) >> 16, len(payload) & 0xffff, kind, flags, stream) + payload


class Stream:
    """An answer: pieces of a list that are taken as there is room, then what a watch tells."""

    def __init__(self, number, window):
        self.number, self.window = number, window
        self.pieces, self.data, self.place = None, b"", 0
        self.later = []  # what a watch tells when its list has ended
        self.watching, self.ends = None, False

    def take(self, length):
        """Up to so many bytes; b"": there are none now."""
        while self.place == len(self.data):
            piece = next(self.pieces, None) if self.pieces else None
            if piece is None:
                self.pieces, piece, self.later = None, b"".join(self.later), []
                if not piece:
                    return b""
            self.data, self.place = piece, 0
        made = self.data[self.place:self.place + length]
        self.place += len(made)
        return made

    def is_empty(self):
        return self.place == len(self.data) and self.pieces is None


class Connection:
    def __init__(self, server, raw):
        self.server = server
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = server.context.wrap_socket(raw, server_side=True)
        self.socket.setblocking(False)
        self.input, self.out, self.begun = b"", b"", False
        self.decoder, self.encoder = hpack.Decoder(), hpack.Encoder()
        self.window, self.initial = 65535, 65535
        self.streams, self.heads = {}, {}
        self.out += frame(SETTINGS, 0, 0)

    def fileno(self):
        return self.socket.fileno()

    # ---- what comes

    def read(self):
        """False: it has ended."""
        try:
            while True:
                made = self.socket.recv(1 << 16)
                if not made:
                    return False
                self.input += made
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except (OSError, ssl.SSLError):
            return False
        return self._frames()

    def _frames(self):
        if not self.begun:
            if len(self.input) < len(PREFACE):
                return True
            self.begun, self.input = True, self.input[len(PREFACE):]
        while len(self.input) >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBL", self.input)
            length = high << 16 | low
            if len(self.input) < 9 + length:
                break
            payload, self.input = self.input[9:9 + length], self.input[9 + length:]
            if kind == GOAWAY:
                return False
            self._frame(kind, flags, stream & 0x7fffffff, payload)
        return True

    def _frame(self, kind, flags, number, payload):
        if kind == SETTINGS and not flags & 1:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HL", payload, at)
                if name == 4:
                    for stream in self.streams.values():
                        stream.window += value - self.initial
                    self.initial = value
            self.out += frame(SETTINGS, 1, 0)
        elif kind == PING and not flags & 1:
            self.out += frame(PING, 1, 0, payload)
        elif kind == WINDOW:
            more = struct.unpack(">L", payload)[0] & 0x7fffffff
            if number == 0:
                self.window += more
            elif number in self.streams:
                self.streams[number].window += more
        elif kind == RESET:
            self.streams.pop(number, None)
        elif kind in (HEADERS, CONTINUATION):
            if kind == HEADERS:
                padded, after = flags & 8, 5 if flags & 32 else 0
                payload = payload[1 + after:len(payload) - payload[0]] if padded else payload[after:]
            head = self.heads.pop(number, b"") + payload
            if flags & 4:
                self.server.answer(self, number, dict(self.decoder.decode(head)))
            else:
                self.heads[number] = head

    # ---- what goes

    def begin(self, number, status=200, kind="application/json", **headers):
        stream = Stream(number, self.initial)
        self.streams[number] = stream
        fields = [(":status", str(status)), ("content-type", kind), *((k.replace("_", "-"), v) for k, v in headers.items())]
        self.out += frame(HEADERS, 4, number, self.encoder.encode(fields))
        return stream

    def whole(self, number, body, status=200, kind="application/json", **headers):
        stream = self.begin(number, status, kind, **headers)
        stream.data, stream.ends = body, True

    def fill(self):
        """Frames of what streams have, as far as the other side has room."""
        parts, length = [self.out], len(self.out)
        progress = True
        while progress and length < BURST:
            progress = False
            for stream in list(self.streams.values()):
                room = min(stream.window, self.window, FRAME_MAX)
                if stream.is_empty() and stream.ends:
                    parts.append(frame(DATA, 1, stream.number))
                    del self.streams[stream.number]
                made = stream.take(room) if room > 0 else b""
                if made:
                    parts.append(frame(DATA, 0, stream.number, made))
                    stream.window -= len(made)
                    self.window -= len(made)
                    length += len(made)
                    progress = True
        self.out = b"".join(parts)

    def write(self):
        """False: it has ended. What could not be written stays."""
        try:
            while self.out or any(not stream.is_empty() or stream.ends for stream in self.streams.values()):
                if not self.out:
                    self.fill()
                    if not self.out:
                        return True
                sent = self.socket.send(self.out)
                self.server.sent_bytes += sent
                self.out = self.out[sent:]
                if self.out:
                    return True
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            return True
        except (OSError, ssl.SSLError):
            return False
        return True


class Server:
    def __init__(self, spec):
        self.spec = spec
        made_by = service_cluster.ServiceCluster if spec["services_only"] else cluster.Cluster
        self.cluster = made_by(**spec["cluster"])
        self.streaming, self.sent_bytes = True, 0
        self.pages = {}  # resource -> prepared bodies
        self.connections, self.plan, self.report = [], collections.deque(), None
        self.probe, self.ahead, self.begun = None, collections.deque(), 0.0
        self.marked = time.monotonic()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(spec["certificate"], spec["key"])
        self.context.set_alpn_protocols(["h2"])
        self.listener = socket.create_server((spec["address"], spec["port"]), backlog=16)
        self.select = selectors.DefaultSelector()
        self.select.register(self.listener, selectors.EVENT_READ, None)
        self.select.register(sys.stdin.buffer.raw, selectors.EVENT_READ, "command")

    # ---- requests

    def answer(self, connection, number, head):
        path, _, text = head[":path"].partition("?")
        query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        if path == "/version":
            connection.whole(number, b'{"major":"1","minor":"36"}')
        elif path not in PATHS:
            connection.whole(number, b"404 page not found\n", 404, "text/plain")
        elif query.get("watch") != "true":
            self.page(connection, number, path, query)
        elif query.get("sendInitialEvents") == "true" and not self.streaming:
            connection.whole(number, json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
                                                 "message": "sendInitialEvents is forbidden", "code": 422}).encode(), 422)
        else:
            self.watch(connection, number, path, query)

    def watch(self, connection, number, path, query):
        resource, version, kind = PATHS[path]
        stream = connection.begin(number)
        stream.watching = path
        if query.get("sendInitialEvents") == "true":
            stream.pieces = self.initial(resource, version, kind)

    def bookmark(self, version, kind, annotations=b""):
        return b'{"type":"BOOKMARK","object":{"kind":"%s","apiVersion":"%s","metadata":{"resourceVersion":"%d"%s}}}\n' % (
            kind.encode(), version.encode(), self.cluster.version, annotations)

    def initial(self, resource, version, kind):
        objects = list(self.cluster.objects[resource].values())
        end = self.bookmark(version, kind, b',"annotations":{"k8s.io/initial-events-end":"true"}')
        for first in range(0, len(objects), 40):
            yield b"".join([b'{"type":"ADDED","object":%s}\n' % made for made in objects[first:first + 40]])
        yield end

    def prepare(self, path):
        resource, version, kind = PATHS[path]
        objects, bodies = list(self.cluster.objects[resource].values()), []
        for first in range(0, max(len(objects), 1), PAGE):
            more = ""
            if first + PAGE < len(objects):
                token = base64.urlsafe_b64encode(str(first + PAGE).encode()).decode()
                more = f',"continue":"{token}","remainingItemCount":{len(objects) - first - PAGE}'
            head = f'{{"kind":"{kind}List","apiVersion":"{version}","metadata":{{"resourceVersion":"{self.cluster.version}"{more}}},"items":['
            body = head.encode() + b",".join(objects[first:first + PAGE]) + b"]}\n"
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)  # as a real server: quickly
            bodies.append(packer.compress(body) + packer.flush())
        self.pages[path] = bodies

    def page(self, connection, number, path, query):
        token = query.get("continue")
        if path not in self.pages:
            self.prepare(path)
        first = int(base64.urlsafe_b64decode(token)) if token else 0
        connection.whole(number, self.pages[path][first // PAGE], content_encoding="gzip")

    # ---- what happens

    def tell(self, resource, made):
        self.pages = {}
        for connection in self.connections:
            for stream in connection.streams.values():
                if stream.watching and PATHS[stream.watching][0] == resource:
                    if stream.pieces:
                        stream.later.append(made)
                    else:
                        stream.data, stream.place = stream.data[stream.place:] + made, 0
            connection.write()

    def step(self):
        """What is due now; seconds until the next one is, or None."""
        now = time.monotonic() - self.begun
        while self.ahead and self.ahead[0][0] - self.cluster.ahead <= now:
            _, number, (what, key) = self.ahead.popleft()
            self.probe.stdin.write(struct.pack("<II24s", number, what, key))
        while self.plan and self.plan[0][0] <= now:
            _, number, resource, made, seen = self.plan.popleft()
            self.tell(resource, made)
            if seen:
                self.sent[number] = time.monotonic_ns()
            self.late = max(self.late, time.monotonic() - self.begun - _)
        if self.plan:
            return max(0.0, min(self.plan[0][0], self.ahead[0][0] - self.cluster.ahead if self.ahead else 1e9) - now)
        return None

    def finish(self):
        """The plan is over: what the probe has seen. Sent in time or not, nothing may be missing."""
        self.probe.stdin.close()
        seen = {}
        for number, when in struct.iter_unpack("<QQ", self.probe.stdout.read()):
            seen[number] = when
        self.probe.wait()
        latencies = {"label": [], "come": [], "go": [], "service": [], "node": []}
        for number, when in self.sent.items():
            if number in seen:
                latencies[self.names[number]].append((seen[number] - when) / 1e6)
        self.reply({"latencies": latencies, "missing": len(self.sent) - len(seen), "late_ms": self.late * 1e3,
                    "seconds": time.monotonic() - self.begun, "events": self.events,
                    "missed": [self.names[number] for number in self.sent if number not in seen][:10]})

    # ---- commands

    def reply(self, made):
        print(json.dumps(made), flush=True)

    def do_state(self):
        self.reply({"sent": self.sent_bytes, "cpu": time.process_time(), "version": self.cluster.version,
                    "objects": {name: [len(made), sum(len(one) for one in made.values())]
                                for name, made in self.cluster.objects.items()}})

    def do_prepare(self):
        """Before pages are asked for: packing takes the server longer than all else."""
        for path in PATHS:
            self.prepare(path)
        self.reply({})

    def do_lists(self, streaming):
        self.streaming, self.pages = streaming == "streaming", {}
        self.reply({})

    def do_own(self):
        self.reply([[*self.cluster.pod_key(pod), self.cluster.pod_labels(pod)] for pod in self.cluster.own_pods()])

    def do_attach(self, ips):
        for _, resource, kind, made, _ in self.cluster.attach(json.loads(ips)):
            self.tell(resource, event(kind, made))
        self.reply({})

    def do_expected(self):
        self.reply(self.cluster.expected())

    def do_play(self, what, rate, seconds):
        """`what`: churn, beats or moves; answered at the end, with times from send to map in ms."""
        self.sent, self.names, self.events, self.late = {}, {}, {}, 0.0
        plan, ahead = [], []
        for number, (due, resource, kind, made, seen) in enumerate(getattr(self.cluster, what)(float(rate), float(seconds))):
            due += 2 * self.cluster.ahead
            plan.append((due, number, resource, event(kind, made), seen))
            self.events[resource] = self.events.get(resource, 0) + 1
            if seen:
                ahead.append((due, number, seen))
                self.names[number] = "service" if seen[0] == cluster.SERVICE else "node" if resource == "nodes" else \
                    "go" if kind == "DELETED" else "label"
        came = [number for due, number, resource, made, seen in plan if seen and resource == "pods" and b'"MODIFIED"' in made[:20]]
        for place, number in enumerate(came):
            # In a cycle of churn(): two labels, the pod that comes, two labels.
            if what == "churn" and place % 5 == 3:
                self.names[number] = "come"
        self.probe = subprocess.Popen([self.spec["probe"], self.spec["pins"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.plan, self.ahead = collections.deque(plan), collections.deque(ahead)
        self.begun, self.report = time.monotonic(), True

    def command(self):
        line = b""
        while not line.endswith(b"\n"):
            more = os.read(0, 1 << 20)
            if not more:
                return False
            line += more
        name, *words = line.decode().split(" ", 1) if line.startswith(b"attach") else line.decode().split()
        getattr(self, "do_" + name)(*words)
        return True

    # ---- the loop

    def accept(self):
        raw, _ = self.listener.accept()
        try:
            raw.settimeout(5)
            connection = Connection(self, raw)
        except (OSError, ssl.SSLError):
            raw.close()
            return
        self.connections.append(connection)
        self.select.register(connection, selectors.EVENT_READ, connection)

    def drop(self, connection):
        self.select.unregister(connection)
        self.connections.remove(connection)
        connection.socket.close()

    def pump(self, connection):
        if not connection.write():
            self.drop(connection)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.out else 0)
        self.select.modify(connection, wanted, connection)

    def mark(self):
        if time.monotonic() - self.marked >= BOOKMARK_SECONDS and not self.plan:
            self.marked = time.monotonic()
            for path, (resource, version, kind) in PATHS.items():
                self.tell(resource, self.bookmark(version, kind))

    def run(self):
        while True:
            wait = self.step()
            if self.report and not self.plan:
                self.report = None
                self.finish()
            for key, _ in self.select.select(1.0 if wait is None else wait):
                if key.data is None:
                    self.accept()
                elif key.data == "command":
                    if not self.command():
                        return
                elif not key.data.read():
                    self.drop(key.data)
            for connection in list(self.connections):
                self.pump(connection)
            self.mark()


if __name__ == "__main__":
    made = Server(json.loads(sys.argv[1]))
    made.reply({"made": time.process_time()})
    made.run()
