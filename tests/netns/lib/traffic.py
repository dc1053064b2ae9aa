# SPDX-License-Identifier: Apache-2.0
"""Servers, probes, pings and captures. Everything has a deadline; nothing sleeps for luck."""

import errno
import hashlib
import json
import os
import select
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time

from . import packets
from .busy import Clock

PATIENCE = 20.0  # seconds after which nobody waits any more for what comes in a moment where nothing else runs
CLOSED_AFTER = 0.3  # how long an answer may fail to come before it counts as dropped
OPEN_WITHIN = 5.0
V4, V6 = 4, 6
BOTH = (V4, V6)
SOCKET_FAMILY = {V4: socket.AF_INET, V6: socket.AF_INET6}
ANY_ADDRESS = {V4: "0.0.0.0", V6: "::"}
IP_RECVERR, IPV6_RECVERR, MSG_ERRQUEUE = 11, 25, 0x2000
IP_MTU, IPV6_MTU, IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 14, 24, 10, 23, 2


class Timeout(Exception):
    """What was waited for did not come."""


def wait_until(question, what, timeout=PATIENCE, interval=0.02):
    """
    Polls until question() is true and returns its value; else Timeout with `what`. Seconds without a CPU do not count. A shorter
    `timeout` is for what else would come by itself a little later.
    """
    clock = Clock()
    while True:
        value = question()
        if value:
            return value
        if clock.is_over(timeout):
            raise Timeout(f"{what() if callable(what) else what} (waited {timeout} s)")
        time.sleep(interval)


def md5(data):
    return hashlib.md5(data).hexdigest()


# ------------------------------------------------------------------ servers


class _TcpPeer:
    """One accepted connection: answers `who`, sends N bytes on `send N`, swallows N on `take N`."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.input, self.output = b"", b""
        self.missing, self.digest = 0, None

    def readable(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self.input += data
        try:
            self.work()
        except OSError:
            return False  # the connection was reset before the peer was asked for
        return True

    def work(self):
        while True:
            if self.missing:
                part = self.input[:self.missing]
                self.digest.update(part)
                self.input = self.input[len(part):]
                self.missing -= len(part)
                if self.missing:
                    return
                self.output += f"taken {self.digest.hexdigest()}\n".encode()
            line, newline, rest = self.input.partition(b"\n")
            if not newline:
                return
            self.input = rest
            self.command(line.decode(errors="replace").split())

    def command(self, words):
        if words[:1] == ["send"]:
            self.output += pattern(int(words[1]))
        elif words[:1] == ["take"]:
            self.missing, self.digest = int(words[1]), hashlib.md5()
        else:
            self.output += self.server.describe(self.sock.getpeername()) + b"\n"

    def flush(self):
        try:
            while self.output:
                self.output = self.output[self.sock.send(self.output[:262144]):]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


def pattern(length):
    unit = bytes(range(33, 127)) * 11
    return (unit * (length // len(unit) + 1))[:length]


class Server:
    """A listening TCP or UDP socket that says its name and whom it sees as the peer."""

    def __init__(self, loop, netns, name, proto, port, family, address=None):
        self.loop, self.name, self.proto, self.port, self.family = loop, name, proto, port, family
        self.seen = []  # (peer address, peer port) of every connection or datagram
        kind = socket.SOCK_STREAM if proto == "TCP" else socket.SOCK_DGRAM
        self.sock = netns.socket(SOCKET_FAMILY[family], kind)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == V6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.sock.bind((address or ANY_ADDRESS[family], port))
        self.sock.setblocking(False)
        self.peers = set()
        if proto == "TCP":
            self.sock.listen(512)
        loop.add(self)

    def describe(self, peer, **more):
        self.seen.append(peer[:2])
        return json.dumps({"server": self.name, "peer": peer[0], "port": peer[1], **more}).encode()

    def close(self):
        self.loop.remove(self)

    # called by the loop's thread
    def readable(self):
        if self.proto == "UDP":
            return self.datagrams()
        try:
            sock, _ = self.sock.accept()
        except OSError:
            return
        sock.setblocking(False)
        peer = _TcpPeer(self, sock)
        self.peers.add(peer)
        self.loop.watch(peer, sock)

    def datagrams(self):
        for _ in range(64):
            try:
                data, peer = self.sock.recvfrom(65536)
            except OSError:
                return
            words = data[:32].split()
            answer = self.describe(peer, length=len(data), md5=md5(data))
            if words[:1] == [b"send"]:
                answer = pattern(int(words[1]))
            try:
                self.sock.sendto(answer, peer)
            except OSError:
                pass


class ServerLoop:
    """One thread that serves all servers of a world."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.lock = threading.RLock()
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        self.selector.register(self.wake_read, selectors.EVENT_READ, None)
        self.servers, self.ending = set(), False
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def poke(self):
        os.write(self.wake_write, b"x")

    def add(self, server):
        with self.lock:
            self.servers.add(server)
            self.selector.register(server.sock, selectors.EVENT_READ, server)
        self.poke()

    def remove(self, server):
        with self.lock:
            if server not in self.servers:
                return
            self.servers.remove(server)
            for sock in [server.sock] + [peer.sock for peer in server.peers]:
                if sock.fileno() >= 0:
                    self.selector.unregister(sock)
                    sock.close()
            server.peers.clear()
        self.poke()

    def watch(self, peer, sock):
        self.selector.register(sock, selectors.EVENT_READ, peer)

    def close(self):
        self.ending = True
        self.poke()
        self.thread.join(5)
        for server in list(self.servers):
            self.remove(server)
        self.selector.close()
        os.close(self.wake_read)
        os.close(self.wake_write)

    def work(self):
        while not self.ending:
            ready = self.selector.select(1)
            with self.lock:
                for key, events in ready:
                    self.serve(key, events)

    def serve(self, key, events):
        if key.data is None:
            try:
                os.read(self.wake_read, 4096)
            except BlockingIOError:
                pass
        elif key.fileobj.fileno() < 0:
            return
        elif isinstance(key.data, Server):
            key.data.readable()
        else:
            self.serve_peer(key, events)

    def serve_peer(self, key, events):
        peer = key.data
        alive = peer.readable() if events & selectors.EVENT_READ else True
        if alive and peer.flush():
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.output else 0)
            self.selector.modify(peer.sock, mask, peer)
            return
        self.selector.unregister(peer.sock)
        peer.sock.close()
        peer.server.peers.discard(peer)


# ------------------------------------------------------------------ probes


def verdict_of(error):
    if error in (errno.ECONNREFUSED,):
        return "refused"
    if error == errno.ECONNRESET:
        return "reset"
    if error in (errno.ETIMEDOUT,):
        return "timeout"
    return "unreachable"


def parse_answer(data):
    """What our servers say; of any other server the text stands under `server`."""
    try:
        return json.loads(data)
    except ValueError:
        return {"server": data.decode(errors="replace")}


class Probe:
    """One attempt to reach a server; `verdict` is open, refused, reset, unreachable or timeout."""

    def __init__(self, netns, address, port, proto="TCP", source=None, source_port=0):
        self.family = V6 if packets.is_v6(address) else V4
        self.address, self.port, self.proto = address, port, proto
        self.verdict, self.answer, self.elapsed = None, None, None
        self.begun = time.monotonic()
        kind = socket.SOCK_STREAM if proto == "TCP" else socket.SOCK_DGRAM
        self.sock = netns.socket(SOCKET_FAMILY[self.family], kind)
        self.sock.setblocking(False)
        self.connected, self.input = False, b""
        try:
            if source or source_port:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.sock.bind((source or ANY_ADDRESS[self.family], source_port))
            error = self.sock.connect_ex((address, port))
            if error not in (0, errno.EINPROGRESS):
                self.finish(verdict_of(error))
            elif proto == "UDP":
                self.connected = True
                self.sock.send(b"who\n")
        except OSError as error:
            self.finish(verdict_of(error.errno))

    def events(self):
        return select.POLLIN if self.connected else select.POLLOUT

    def step(self):
        """Called when the socket is ready."""
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.finish(verdict_of(error))
            return
        try:
            if not self.connected:
                self.connected = True
                self.sock.send(b"who\n")
                return
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.finish(verdict_of(error.errno))
            return
        self.input += data
        if self.proto == "UDP" or self.input.endswith(b"\n"):
            self.answer = parse_answer(self.input)
            self.finish("open")
        elif not data:
            self.finish("reset")

    def finish(self, verdict):
        self.verdict = verdict
        self.elapsed = time.monotonic() - self.begun
        self.sock.close()


def run_probes(probes, timeout, closed_after=None, closed=()):
    """
    Drives all probes at once; those without an answer in time get the verdict timeout. When only those of `closed` are left,
    which are expected to get none, `closed_after` is time enough.
    """
    begun = time.monotonic()
    deadline = begun + timeout
    closed, poller, waiting = set(closed), select.poll(), {}
    for probe in probes:
        if probe.verdict is None:
            waiting[probe.sock.fileno()] = probe
            poller.register(probe.sock, probe.events())
    while waiting:
        soon = closed_after is not None and closed.issuperset(waiting.values())
        left = (min(deadline, begun + closed_after) if soon else deadline) - time.monotonic()
        if left <= 0:
            break
        for number, _ in poller.poll(left * 1000 + 1):
            probe = waiting[number]
            probe.step()
            if probe.verdict is None:
                poller.modify(number, probe.events())
            else:
                poller.unregister(number)
                del waiting[number]
    for probe in waiting.values():
        probe.finish("timeout")


def reach(netns, address, port, proto="TCP", timeout=None, **options):
    """The finished probe of one attempt. `timeout` is by default long enough for a busy machine."""
    if proto == "SCTP":
        raise ValueError("SCTP is sent by send_sctp()")
    probe = Probe(netns, address, port, proto, **options)
    run_probes([probe], OPEN_WITHIN if timeout is None else timeout)
    return probe


# ------------------------------------------------------------------ conversations


class Connection:
    """A TCP connection that stays: ask() proves that it still carries data both ways."""

    def __init__(self, netns, address, port, timeout=OPEN_WITHIN, source_port=0):
        family = SOCKET_FAMILY[V6 if packets.is_v6(address) else V4]
        self.sock = netns.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        if source_port:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(("::" if packets.is_v6(address) else "0.0.0.0", source_port))
        self.sock.connect((address, port))

    def line(self):
        data = b""
        while not data.endswith(b"\n"):
            part = self.sock.recv(65536)
            if not part:
                raise ConnectionResetError("closed by the peer")
            data += part
        return data

    def ask(self, timeout=OPEN_WITHIN):
        self.sock.settimeout(timeout)
        self.sock.sendall(b"who\n")
        return json.loads(self.line().splitlines()[0])  # that of an earlier question may come late

    def state(self, timeout=CLOSED_AFTER):
        """open, timeout or reset: what happens to one more question."""
        try:
            self.ask(timeout)
        except (socket.timeout, TimeoutError):
            return "timeout"
        except OSError:
            return "reset"
        return "open"

    def fetch(self, length, timeout=PATIENCE):
        self.sock.settimeout(timeout)
        self.sock.sendall(f"send {length}\n".encode())
        data = bytearray()
        while len(data) < length:
            part = self.sock.recv(262144)
            if not part:
                raise ConnectionResetError("closed by the peer")
            data += part
        return bytes(data) == pattern(length)

    def push(self, length, timeout=PATIENCE):
        self.sock.settimeout(timeout)
        data = pattern(length)
        self.sock.sendall(f"take {length}\n".encode() + data)
        return self.line().decode().split() == ["taken", md5(data)]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def is_cut(flow):
    """None of some questions is answered: on a busy machine an answer may be late for one."""
    return all(flow.state() != "open" for _ in range(3))


class UdpClient:
    """A UDP socket that keeps its source port; unconnected unless `connect`."""

    def __init__(self, netns, address, port, connect=False, source_port=0):
        self.family = V6 if packets.is_v6(address) else V4
        self.target = (address, port)
        self.sock = netns.socket(SOCKET_FAMILY[self.family], socket.SOCK_DGRAM)
        if source_port:
            self.sock.bind((ANY_ADDRESS[self.family], source_port))
        self.connected = connect
        if connect:
            self.sock.connect(self.target)

    def send(self, data=b"who\n"):
        if self.connected:
            self.sock.send(data)
        else:
            self.sock.sendto(data, self.target)

    def receive(self, timeout=OPEN_WITHIN):
        self.sock.settimeout(timeout)
        return self.sock.recvfrom(65536)

    def ask(self, timeout=OPEN_WITHIN, data=b"who\n"):
        self.send(data)
        answer, source = self.receive(timeout)
        return {**json.loads(answer), "from": source[:2]}

    def state(self, timeout=CLOSED_AFTER):
        try:
            self.ask(timeout)
        except (socket.timeout, TimeoutError):
            return "timeout"
        except OSError as error:
            return verdict_of(error.errno)
        return "open"

    def watch_errors(self):
        level, option = ((socket.IPPROTO_IPV6, IPV6_RECVERR) if self.family == V6
                         else (socket.IPPROTO_IP, IP_RECVERR))
        self.sock.setsockopt(level, option, 1)

    def error(self, timeout=OPEN_WITHIN):
        """(errno, icmp type, code, info, address of the teller, what was asked for) of the error queue."""
        poller = select.poll()
        poller.register(self.sock, 0)
        if not poller.poll(timeout * 1000):
            raise Timeout("no ICMP error came back to the socket")
        _, control, _, target = self.sock.recvmsg(2048, 512, MSG_ERRQUEUE)
        for level, kind, data in control:
            if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR),
                                 (socket.IPPROTO_IPV6, IPV6_RECVERR)):
                number, _, icmp_type, code, _, info, _ = struct.unpack_from("=IBBBBII", data)
                return number, icmp_type, code, info, _offender(data[16:]), target[:2]
        raise Timeout("the error queue held no ICMP error")

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _offender(data):
    family = struct.unpack_from("=H", data)[0] if len(data) >= 2 else 0
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, data[4:8])
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, data[8:24])
    return None


def ping(netns, address, timeout=OPEN_WITHIN, size=6, ttl=None):
    """open when the echo reply comes, else timeout or unreachable."""
    v6 = packets.is_v6(address)
    proto = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    sock = netns.socket(SOCKET_FAMILY[V6 if v6 else V4], socket.SOCK_RAW, proto)
    ident = struct.unpack("!H", os.urandom(2))[0]
    rest = struct.pack("!HH", ident, 1) + pattern(size)
    data = struct.pack("!BBH", 128, 0, 0) + rest if v6 else packets.icmp4(8, 0, rest)
    if ttl:
        sock.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if v6
                          else (socket.IPPROTO_IP, socket.IP_TTL)), ttl)
    deadline = time.monotonic() + timeout
    try:
        sock.sendto(data, (address, 0))
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            answer, source = sock.recvfrom(65536)
            icmp = answer if v6 else answer[(answer[0] & 15) * 4:]
            if icmp[0] == (129 if v6 else 0) and icmp[4:8] == rest[:4] and source[0] == address:
                return "open" if icmp[8:] == rest[4:] else "damaged"
    except (socket.timeout, TimeoutError):
        pass
    except OSError as error:
        return verdict_of(error.errno)
    finally:
        sock.close()
    return "timeout"


class Sender:
    """A process that sends datagrams without end: `text N`, N counting from 0, to each (source, address, port, text)."""

    def __init__(self, *targets, pause=0.0005):
        socks = [netns.socket(SOCKET_FAMILY[V6 if packets.is_v6(address) else V4],
                              socket.SOCK_DGRAM) for netns, address, _, _ in targets]
        path = os.path.join(os.path.dirname(__file__), "sender.py")
        self.process = subprocess.Popen([sys.executable, path, str(pause)], text=True,
                                        stdin=subprocess.PIPE, pass_fds=[s.fileno() for s in socks])
        for sock, (_, address, port, text) in zip(socks, targets):
            self.process.stdin.write(json.dumps([sock.fileno(), address, port, text]) + "\n")
            sock.close()
        self.process.stdin.close()

    def close(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class SctpListener:
    """Raw SCTP chunks that reach a namespace (the kernel here has no SCTP sockets)."""

    def __init__(self, netns, family):
        self.family = family
        self.sock = netns.socket(SOCKET_FAMILY[family], socket.SOCK_RAW, packets.SCTP)
        self.sock.setblocking(False)

    def ports(self):
        """(source port, destination port) of what has come."""
        seen = []
        while True:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return seen
            if self.family == V4:
                data = data[(data[0] & 15) * 4:]
            seen.append(struct.unpack_from("!HH", data))

    def close(self):
        self.sock.close()


def send_sctp(netns, address, sport, dport):
    family = V6 if packets.is_v6(address) else V4
    sock = netns.socket(SOCKET_FAMILY[family], socket.SOCK_RAW, packets.SCTP)
    try:
        sock.sendto(packets.sctp_init(sport, dport), (address, 0))
    finally:
        sock.close()


class SctpProbe:
    """One INIT chunk; `verdict` is open when it arrives at the target. Driven as a Probe is."""

    def __init__(self, source, target, address, port):
        self.listener = SctpListener(target, V6 if packets.is_v6(address) else V4)
        self.sock, self.verdict, self.port = self.listener.sock, None, port
        self.sport = 30000 + struct.unpack("!H", os.urandom(2))[0] % 20000
        send_sctp(source, address, self.sport, port)

    def events(self):
        return select.POLLIN

    def step(self):
        if (self.sport, self.port) in self.listener.ports():
            self.finish("open")

    def finish(self, verdict):
        self.verdict = verdict
        self.listener.close()


def sctp_reach(source, target, address, port, timeout=OPEN_WITHIN):
    """open when an INIT chunk arrives at the target; resent each 0.1 s."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        probe = SctpProbe(source, target, address, port)
        run_probes([probe], min(0.1, deadline - time.monotonic()))
        if probe.verdict == "open":
            break
    return probe.verdict


# ------------------------------------------------------------------ frames


class Capture:
    """What passes a link of a namespace, from the moment this is made."""

    def __init__(self, netns, ifname="eth0", incoming_only=True):
        self.sock = netns.packet_socket(ifname)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.incoming_only = incoming_only
        self.packets = []

    def read(self):
        while True:
            try:
                frame, address = self.sock.recvfrom(70000)
            except BlockingIOError:
                return self.packets
            if self.incoming_only and address[2] == socket.PACKET_OUTGOING:
                continue
            if len(frame) >= 14:
                self.packets.append(packets.Packet(frame))

    def matching(self, wanted):
        return [packet for packet in self.read() if wanted(packet)]

    def wait(self, wanted, what, timeout=OPEN_WITHIN, count=1):
        wait_until(lambda: len(self.matching(wanted)) >= count,
                   lambda: f"{what} was not seen among {self.packets[-12:]}", timeout, 0.01)
        return self.matching(wanted)

    def none(self, wanted, timeout=CLOSED_AFTER):
        """Nothing such arrives within the time; else an AssertionError with the packet."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.matching(wanted)
            assert not found, f"came through: {found[:3]}"
            time.sleep(0.02)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def send_frame(netns, frame, ifname="eth0", count=1):
    sock = netns.packet_socket(ifname, 0)
    try:
        for _ in range(count):
            sock.send(frame)
    finally:
        sock.close()
