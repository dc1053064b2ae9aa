# SPDX-License-Identifier: Apache-2.0
"""Labels, selectors, addresses and blocks of addresses, as the Kubernetes API text says."""

import ipaddress

MAPPED = 0xffff << 32  # an IPv4 address is kept as the number of ::ffff:a.b.c.d
ALL_ONES = (1 << 128) - 1

PROTOCOLS = {'TCP': 6, 'UDP': 17, 'SCTP': 132}


class Unreadable(ValueError):
    """The object is none that the API allows."""


def address(text):
    """The address as a number: IPv4 as its IPv4-mapped IPv6 address."""
    parsed = ipaddress.ip_address(text)
    return int(parsed) | MAPPED if parsed.version == 4 else int(parsed)


def is_ipv4(number):
    return number >> 32 == 0xffff


def address_text(number):
    return str(ipaddress.IPv4Address(number & 0xffffffff) if is_ipv4(number) else ipaddress.IPv6Address(number))


class Block:
    """A CIDR. It need not be canonical; it matches addresses of its own family only."""

    def __init__(self, text):
        network = ipaddress.ip_network(text, strict=False)
        bits = network.prefixlen + (96 if network.version == 4 else 0)
        self.ipv4 = network.version == 4
        self.mask = ALL_ONES << (128 - bits) & ALL_ONES
        base = int(network.network_address)
        self.base = (base | MAPPED if self.ipv4 else base) & self.mask
        self.bits = bits

    def __contains__(self, number):
        return number & self.mask == self.base and is_ipv4(number) == self.ipv4

    def inside(self, other):
        return self.ipv4 == other.ipv4 and self.bits >= other.bits and self.base & other.mask == other.base


class Selector:
    """A LabelSelector: matchLabels and all matchExpressions have to hold."""

    def __init__(self, spec):
        spec = spec or {}
        self.wanted = list((spec.get('matchLabels') or {}).items())
        self.terms = []
        for term in spec.get('matchExpressions') or []:
            operator, values = term['operator'], term.get('values') or []
            if operator not in ('In', 'NotIn', 'Exists', 'DoesNotExist'):
                raise Unreadable(f'operator {operator}')
            if bool(values) != (operator in ('In', 'NotIn')):
                raise Unreadable(f'values of {operator}')
            self.terms.append((term['key'], operator, frozenset(values)))

    def matches(self, labels):
        for key, value in self.wanted:
            if labels.get(key) != value:
                return False
        for key, operator, values in self.terms:
            if operator == 'In':
                held = key in labels and labels[key] in values
            elif operator == 'NotIn':
                held = key not in labels or labels[key] not in values
            elif operator == 'Exists':
                held = key in labels
            else:
                held = key not in labels
            if not held:
                return False
        return True
