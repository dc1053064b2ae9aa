# SPDX-License-Identifier: Apache-2.0
"""Packets as descriptions, and descriptions as bytes with right checksums."""

import struct

MAPPED = 0xffff << 32

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
FIN, SYN, RST, ACK = 1, 2, 4, 16
ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
WITH_PORTS = (TCP, UDP, SCTP)

ETHERNET = struct.Struct('>6s6sH')
IPV4 = struct.Struct('>BBHHHBBHII')
TCP_HEADER = struct.Struct('>HHIIBBHHH')
UDP_HEADER = struct.Struct('>HHHH')
ICMP_HEADER = struct.Struct('>BBHHH')
SHORT = struct.Struct('>H')


def is_ipv4(number):
    return number >> 32 == 0xffff


def checksum(data, start=0):
    """The Internet checksum (RFC 1071): a number's remainder by 65535 is its 16-bit ones' complement sum."""
    if len(data) & 1:
        data += b'\0'
    total = (int.from_bytes(data, 'big') + start) % 0xffff
    return 0xffff - (total or 0xffff)


def pseudo(src, dst, proto, length):
    """What the pseudo header adds. An IPv4 address counts without the bits that mark it as mapped."""
    if is_ipv4(src):
        return (src & 0xffffffff) + (dst & 0xffffffff) + proto + length
    return src + dst + proto + length


class Packet:
    """What a frame says. ICMP echo: `sport` is the identifier. `frag`: (offset, length, more, identification) of the piece of the
    whole that this is. `about`: the packet that an ICMP error carries. `broken`: a change of the finished frame."""

    __slots__ = ('src', 'dst', 'proto', 'sport', 'dport', 'ttl', 'flags', 'seq', 'ack', 'type', 'code', 'payload', 'frag',
                 'options', 'about', 'mtu', 'smac', 'dmac', 'ident', 'dont_fragment', 'no_check')

    def __init__(self, src, dst, proto, **more):
        self.src, self.dst, self.proto = src, dst, proto
        self.sport = self.dport = self.flags = self.seq = self.ack = self.type = self.code = self.mtu = self.ident = 0
        self.ttl, self.payload, self.frag, self.options, self.about = 64, b'', None, b'', None
        self.smac = self.dmac = b'\0' * 6
        self.dont_fragment = self.no_check = False
        for name, value in more.items():
            setattr(self, name, value)

    @property
    def is_echo(self):
        return self.proto in ECHO and self.type in ECHO[self.proto]

    @property
    def ports(self):
        """The two 16-bit words that name the flow beside the addresses."""
        if self.proto in WITH_PORTS:
            return self.sport, self.dport
        if self.proto in ECHO:
            return (self.sport if self.type in ECHO[self.proto] else 0), self.type << 8
        return 0, 0


def crc32c(data):
    """RFC 9260, appendix A."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def transport(p, src, dst, sport, dport):
    """The whole transport header and payload."""
    proto, payload = p.proto, p.payload
    if proto == TCP:
        head = TCP_HEADER.pack(sport, dport, p.seq, p.ack, 0x50, p.flags, 8192, 0, 0) + payload
        check = checksum(head, pseudo(src, dst, TCP, len(head)))
        return b''.join((head[:16], SHORT.pack(check), head[18:]))
    if proto == UDP:
        length = 8 + len(payload)
        head = UDP_HEADER.pack(sport, dport, length, 0) + payload
        if p.no_check:
            return head
        check = checksum(head, pseudo(src, dst, UDP, length)) or 0xffff
        return b''.join((head[:6], SHORT.pack(check), head[8:]))
    if proto == ICMP or proto == ICMPV6:
        if p.about is not None:
            rest = ICMP_HEADER.pack(p.type, p.code, 0, 0, p.mtu) + payload
        else:
            rest = ICMP_HEADER.pack(p.type, p.code, 0, sport if p.is_echo else 0, p.seq & 0xffff) + payload
        check = checksum(rest, pseudo(src, dst, ICMPV6, len(rest)) if proto == ICMPV6 else 0)
        return b''.join((rest[:2], SHORT.pack(check), rest[4:]))
    if proto == SCTP:
        head = struct.pack('>HHI', sport, dport, 7)
        return head + crc32c(head + bytes(4) + payload).to_bytes(4, 'little') + payload
    return payload


def network(p, src, dst, ttl, body):
    """The IP header before `body`."""
    if is_ipv4(src):
        fragment = 0x4000 if p.dont_fragment else 0
        if p.frag:
            fragment = p.frag[0] >> 3 | (0x2000 if p.frag[2] else 0)
        ident = p.frag[3] & 0xffff if p.frag else p.ident
        words = 5 + len(p.options) // 4
        src, dst = src & 0xffffffff, dst & 0xffffffff
        length = words * 4 + len(body)
        total = ((0x40 | words) << 8) + length + ident + fragment + (ttl << 8 | p.proto) + src + dst
        if p.options:
            total += int.from_bytes(p.options, 'big')
        check = 0xffff - (total % 0xffff or 0xffff)
        return IPV4.pack(0x40 | words, 0, length, ident, fragment, ttl, p.proto, check, src, dst) + p.options + body
    follows, extra = p.proto, b''
    if p.frag:
        extra = struct.pack('>BBHI', p.proto, 0, p.frag[0] | (1 if p.frag[2] else 0), p.frag[3])
        follows = 44
    if p.options:  # destination options: one header of 8 bytes or a multiple
        extra = bytes((follows, len(p.options) // 8 - 1)) + p.options[2:] + extra
        follows = 60
    return b''.join((struct.pack('>IHBB', 0x60000000, len(extra) + len(body), follows, ttl), src.to_bytes(16, 'big'),
                     dst.to_bytes(16, 'big'), extra, body))


def inside(about, src, dst, sport, dport):
    """What an ICMP error carries of a packet: the IP header and 8 bytes more."""
    return network(about, src, dst, about.ttl, transport(about, src, dst, sport, dport))[:28 if is_ipv4(src) else 48]


def build(p, src=None, dst=None, sport=None, dport=None, ttl=None, smac=None, dmac=None, carried=None):
    """The frame, with other values where they are given. `carried`: what an ICMP error carries."""
    src = p.src if src is None else src
    dst = p.dst if dst is None else dst
    if p.about is not None:
        payload = p.payload
        about = p.about
        p.payload = carried if carried is not None else inside(about, about.src, about.dst, about.sport, about.dport)
        body = transport(p, src, dst, 0, 0)
        p.payload = payload
    else:
        body = transport(p, src, dst, p.sport if sport is None else sport, p.dport if dport is None else dport)
    if p.frag:
        body = body[p.frag[0]:p.frag[0] + p.frag[1]]
    frame = network(p, src, dst, p.ttl if ttl is None else ttl, body)
    return ETHERNET.pack(p.dmac if dmac is None else dmac, p.smac if smac is None else smac,
                         0x0800 if is_ipv4(src) else 0x86dd) + frame


def fragment_id(p, frame):
    if is_ipv4(p.src):
        return int.from_bytes(frame[18:20], 'big')
    at = transport_offset(p)
    return int.from_bytes(frame[at - 4:at], 'big')


def with_fragment_id(p, frame, ident):
    """The frame with another id, and a header checksum that is as wrong or right as before."""
    if not is_ipv4(p.src):
        at = transport_offset(p)
        return frame[:at - 4] + ident.to_bytes(4, 'big') + frame[at:]
    end = transport_offset(p)
    right = checksum(frame[14:24] + bytes(2) + frame[26:end]) == int.from_bytes(frame[24:26], 'big')
    header = frame[14:18] + ident.to_bytes(2, 'big') + frame[20:24]
    check = checksum(header + bytes(2) + frame[26:end]) if right else 0
    return frame[:14] + header + check.to_bytes(2, 'big') + frame[26:]


def transport_offset(p):
    if is_ipv4(p.src):
        return 34 + len(p.options)
    return 54 + len(p.options) + (8 if p.frag else 0)


# ---------------------------------------------------------------- answers of the node

def answer(p, source, proto, body):
    """A frame back to the sender of `p`."""
    if is_ipv4(p.src):
        head = [0x45, 0, 20 + len(body), 0, 0x4000, 64, proto, 0, source & 0xffffffff, p.src & 0xffffffff]
        head[7] = checksum(IPV4.pack(*head))
        packet = IPV4.pack(*head) + body
    else:
        packet = b''.join((struct.pack('>IHBB', 0x60000000, len(body), proto, 64), source.to_bytes(16, 'big'),
                           p.src.to_bytes(16, 'big'), body))
    return ETHERNET.pack(p.smac, p.dmac, 0x0800 if is_ipv4(p.src) else 0x86dd) + packet


def echo(p):
    """The answer to an echo request: its ends change places."""
    asked, p.type = p.type, ECHO[p.proto][1]
    frame = build(p, src=p.dst, dst=p.src, ttl=64, smac=p.dmac, dmac=p.smac)
    p.type = asked
    return frame


def reset(p, frame):
    """TCP RST for a segment (RFC 9293, 3.10.7.1)."""
    if p.flags & ACK:
        seq, ack, flags = p.ack, 0, RST
    else:
        carried = len(frame) - transport_offset(p) - 20
        seq, ack, flags = 0, (p.seq + carried + bool(p.flags & SYN) + bool(p.flags & FIN)) & 0xffffffff, RST | ACK
    head = TCP_HEADER.pack(p.dport, p.sport, seq, ack, 0x50, flags, 0, 0, 0)
    check = checksum(head, pseudo(p.dst, p.src, TCP, 20))
    return answer(p, p.dst, TCP, head[:16] + SHORT.pack(check) + head[18:])


def icmp_about(p, frame, source, kind4, kind6):
    """An ICMP error of the (type, code) for the family, about the frame."""
    v4 = is_ipv4(p.src)
    kind, code = kind4 if v4 else kind6
    quote = (28 if v4 else 48) + (12 if p.proto == TCP and (v4 or transport_offset(p) == 54) else 0)
    body = ICMP_HEADER.pack(kind, code, 0, 0, 0) + frame[14:14 + quote]
    proto = ICMP if v4 else ICMPV6
    check = checksum(body, 0 if v4 else pseudo(source, p.src, ICMPV6, len(body)))
    return answer(p, source, proto, body[:2] + SHORT.pack(check) + body[4:])
