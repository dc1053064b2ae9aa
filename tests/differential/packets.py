# SPDX-License-Identifier: Apache-2.0
"""Addresses as numbers, and what a packet is, whoever looks at it: one that can never be right, a later piece, the start of a
connection."""

import frames
from frames import ACK, ICMP, ICMPV6, MAPPED, RST, SYN, TCP, is_ipv4
from labels import address


class Range:
    """A CIDR of either family over addresses as numbers."""

    def __init__(self, text):
        base, _, bits = text.partition('/')
        base = parse(base)
        self.shift = (32 if is_ipv4(base) else 128) - int(bits)
        self.ipv4 = is_ipv4(base)
        self.base = base >> self.shift

    def __contains__(self, number):
        return number >> self.shift == self.base and is_ipv4(number) == self.ipv4


PARSED = {}


def parse(text):
    number = PARSED.get(text)
    if number is None:
        number = PARSED[text] = address(text)
    return number


# ---------------------------------------------------------------- packets that can never be right

def loopback(number):
    return number >> 24 == (MAPPED | 0x7f000000) >> 24 or number == 1


def multicast(number):
    if is_ipv4(number):
        return number >> 28 & 0xf == 0xe or number & 0xffffffff == 0xffffffff
    return number >> 120 == 0xff


def impossible(p):
    if loopback(p.src) or loopback(p.dst):
        return 'loopback'
    return 'martian_source' if multicast(p.src) else None


def malformed(p, frame):
    if p.frag is None:
        return None
    if 0 < p.frag[0] < 16:
        return 'fragment_tiny_or_overlapping'
    if p.frag[0] == 0 and p.frag[2] and len(frame) < frames.transport_offset(p) + (20 if p.proto == TCP else 8):
        return 'fragment_tiny_or_overlapping'
    return None


def source_routed(p):
    return bool(p.options) and p.options[0] in (131, 137)


def is_syn(p):
    """The start of a connection. A later piece shows no flags."""
    return p.proto == TCP and not later_piece(p) and p.flags & (SYN | ACK | RST) == SYN


def later_piece(p):
    """Has no transport header."""
    return p.frag is not None and p.frag[0] > 0


def router_message(p):
    """Redirects, router advertisements and solicitations (RFC 792, RFC 1256)."""
    return p.proto == ICMP and p.type in (5, 9, 10) and not later_piece(p) and is_ipv4(p.src)


def neighbourly(p):
    """Neighbour discovery and its kin (RFC 4861, RFC 2710, RFC 3810)."""
    return p.proto == ICMPV6 and 130 <= p.type <= 143 and not is_ipv4(p.src) and not later_piece(p)


def neighbour_message(p):
    """From a pod only a question for its gateway is answered; none of those is made here."""
    if p.type in (134, 137):
        return 'router_message'
    if p.type == 136:
        return 'nd_spoof'
    return 'nd_other' if p.type == 133 else 'multicast'
