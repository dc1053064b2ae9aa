# SPDX-License-Identifier: Apache-2.0
"""Packets built and read byte by byte, so that also those no stack would send can be sent."""

import ipaddress
import struct

ETH_IP4, ETH_ARP, ETH_IP6, ETH_VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
ICMP, TCP, UDP, ICMP6, SCTP, GRE = 1, 6, 17, 58, 132, 47
FIN, SYN, RST, ACK = 1, 2, 4, 16


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def address_bytes(text):
    return ipaddress.ip_address(text).packed


def is_v6(text):
    return ":" in str(text)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source, destination, proto, length):
    if is_v6(source):
        return address_bytes(source) + address_bytes(destination) + struct.pack("!IHBB", length, 0,
                                                                                0,
                                                                               proto)
    return address_bytes(source) + address_bytes(destination) + struct.pack("!BBH", 0, proto,
                                                                            length)


def ethernet(destination, source, ethertype, payload):
    return mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", ethertype) + payload


def vlan(tag, ethertype, payload):
    """What follows an ethertype of ETH_VLAN."""
    return struct.pack("!HH", tag, ethertype) + payload


def ipv4(source, destination, proto, payload, ttl=64, ident=0, flags=0, offset=0, options=b""):
    """`offset` in bytes; `flags`: 1 more fragments, 2 don't fragment."""
    words = 5 + len(options) // 4
    fields = [0x40 | words, 0, words * 4 + len(payload), ident, (flags << 13) | (offset // 8), ttl,
              proto, 0, address_bytes(source), address_bytes(destination)]
    header = struct.pack("!BBHHHBBH4s4s", *fields) + options
    fields[7] = checksum(header)
    return struct.pack("!BBHHHBBH4s4s", *fields) + options + payload


def ipv6(source, destination, proto, payload, hop_limit=64, flow=0):
    return struct.pack("!IHBB", 0x60000000 | flow, len(payload), proto, hop_limit) \
        + address_bytes(source) + address_bytes(destination) + payload


def ip(source, destination, proto, payload, ttl=64):
    if is_v6(source):
        return ipv6(source, destination, proto, payload, hop_limit=ttl)
    return ipv4(source, destination, proto, payload, ttl=ttl)


def ipv6_fragment(proto, payload, ident, offset, more):
    """The fragment header and what follows it (next header 44 before it)."""
    return struct.pack("!BBHI", proto, 0, offset | (1 if more else 0), ident) + payload


def extension_header(proto, body=b"\x01\x04\0\0\0\0"):
    """Hop-by-hop (0), destination (60) or routing (43) options; `body` fills to 8 bytes."""
    return bytes([proto, (len(body) + 2) // 8 - 1]) + body


def ethertype_of(packet):
    return ETH_IP6 if packet[0] >> 4 == 6 else ETH_IP4


def udp(source, destination, sport, dport, data):
    length = 8 + len(data)
    plain = struct.pack("!HHHH", sport, dport, length, 0) + data
    value = checksum(pseudo_header(source, destination, UDP, length) + plain) or 0xFFFF
    return struct.pack("!HHHH", sport, dport, length, value) + data


def tcp(source, destination, sport, dport, flags, seq=1000, ack=0, data=b""):
    def header(value):
        return struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 65535, value, 0)
    value = checksum(pseudo_header(source, destination, TCP, 20 + len(data)) + header(0) + data)
    return header(value) + data


def icmp4(kind, code, rest):
    """`rest` starts with the four bytes after the checksum."""
    value = checksum(struct.pack("!BBH", kind, code, 0) + rest)
    return struct.pack("!BBH", kind, code, value) + rest


def icmp6(source, destination, kind, code, rest):
    plain = struct.pack("!BBH", kind, code, 0) + rest
    value = checksum(pseudo_header(source, destination, ICMP6, len(plain)) + plain)
    return struct.pack("!BBH", kind, code, value) + rest


def echo_request(source, destination, ident, seq=1, data=b"polder"):
    rest = struct.pack("!HH", ident, seq) + data
    if is_v6(source):
        return ICMP6, icmp6(source, destination, 128, 0, rest)
    return ICMP, icmp4(8, 0, rest)


def arp(operation, sender_mac, sender_ip, target_mac, target_ip):
    return struct.pack("!HHBBH", 1, ETH_IP4, 6, 4, operation) + mac_bytes(sender_mac) \
        + address_bytes(sender_ip) + mac_bytes(target_mac) + address_bytes(target_ip)


def neighbour_solicitation(source, destination, target, source_mac):
    rest = b"\0\0\0\0" + address_bytes(target) + b"\x01\x01" + mac_bytes(source_mac)
    return ipv6(source, destination, ICMP6, icmp6(source, destination, 135, 0, rest), hop_limit=255)


def neighbour_advertisement(source, destination, target, target_mac, flags=0x60000000):
    rest = struct.pack("!I", flags) + address_bytes(target) + b"\x02\x01" + mac_bytes(target_mac)
    return ipv6(source, destination, ICMP6, icmp6(source, destination, 136, 0, rest), hop_limit=255)


def router_advertisement(source, destination, source_mac, prefix="fdba:d::"):
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + address_bytes(prefix)
    rest = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option + b"\x01\x01" + mac_bytes(source_mac)
    return ipv6(source, destination, ICMP6, icmp6(source, destination, 134, 0, rest), hop_limit=255)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp_init(sport, dport, tag=0x11223344):
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, tag, 65535, 1, 1, 7)
    plain = struct.pack("!HHII", sport, dport, 0, 0) + chunk
    return struct.pack("!HHI", sport, dport, 0) + struct.pack("<I", crc32c(plain)) + chunk


class Packet:
    """A frame read back. Fields that do not apply are None; `payload` is what follows the transport header."""

    def __init__(self, frame):
        self.frame = frame
        self.destination_mac, self.source_mac = frame[0:6].hex(":"), frame[6:12].hex(":")
        self.ethertype = struct.unpack_from("!H", frame, 12)[0]
        self.source = self.destination = self.proto = self.ttl = None
        self.sport = self.dport = self.flags = self.kind = self.code = None
        self.fragment_offset, self.more_fragments = 0, False
        self.transport = self.payload = b""
        if self.ethertype == ETH_IP4 and len(frame) >= 34:
            self._ipv4(frame[14:])
        elif self.ethertype == ETH_IP6 and len(frame) >= 54:
            self._ipv6(frame[14:])

    def _ipv4(self, data):
        length, fragment = struct.unpack_from("!H", data, 2)[0], struct.unpack_from("!H", data,
                                                                                    6)[0]
        self.fragment_offset, self.more_fragments = (fragment & 0x1FFF) * 8, bool(fragment & 0x2000)
        self.ttl, self.proto = data[8], data[9]
        self.source = str(ipaddress.ip_address(data[12:16]))
        self.destination = str(ipaddress.ip_address(data[16:20]))
        self._transport(data[(data[0] & 15) * 4:length])

    def _ipv6(self, data):
        self.proto, self.ttl = data[6], data[7]
        self.source = str(ipaddress.ip_address(data[8:24]))
        self.destination = str(ipaddress.ip_address(data[24:40]))
        rest = data[40:40 + struct.unpack_from("!H", data, 4)[0]]
        while self.proto in (0, 43, 44, 60) and len(rest) >= 8:
            if self.proto == 44:
                field = struct.unpack_from("!H", rest, 2)[0]
                self.fragment_offset, self.more_fragments = field & 0xFFF8, bool(field & 1)
                self.proto, rest = rest[0], rest[8:]
            else:
                self.proto, rest = rest[0], rest[(rest[1] + 1) * 8:]
        self._transport(rest)

    def _transport(self, data):
        self.transport = self.payload = data
        if self.fragment_offset:
            return
        if self.proto in (TCP, UDP, SCTP) and len(data) >= 8:
            self.sport, self.dport = struct.unpack_from("!HH", data)
            if self.proto == TCP and len(data) >= 20:
                self.flags = data[13]
                self.payload = data[(data[12] >> 4) * 4:]
            else:
                self.payload = data[8:]
        elif self.proto in (ICMP, ICMP6) and len(data) >= 8:
            self.kind, self.code, self.payload = data[0], data[1], data[8:]

    def __repr__(self):
        if self.source is None:
            return f"<{self.ethertype:04x} from {self.source_mac}>"
        ports = f" {self.sport}>{self.dport}" if self.sport is not None else ""
        kind = f" type {self.kind}" if self.kind is not None else ""
        return f"<{self.source} > {self.destination} proto {self.proto}{ports}{kind}>"
