# SPDX-License-Identifier: Apache-2.0
"""The rules that kube-proxy makes of Services, in its iptables and nftables modes."""

from collections import namedtuple

Service = namedtuple("Service", "number address endpoints port")
POD_RANGE = "10.0.0.0/8"

COMMAND = {"conntrack": ["nft", "-f", "-"], "iptables": ["iptables-legacy-restore"], "nftables": ["nft", "-f", "-"]}
CHANGE_COMMAND = {"iptables": ["iptables-legacy-restore", "--noflush"], "nftables": ["nft", "-f", "-"]}

CONNTRACK = """
table ip filter {
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
	}
}
"""


def make(kind, services):
    if kind == "conntrack":
        return CONNTRACK
    return {"iptables": _iptables, "nftables": _nftables}[kind](services)


def change(kind, service):
    """What kube-proxy writes when the endpoint of one Service is another one: its own chains, not the rest."""
    return {"iptables": _iptables_change, "nftables": _nftables_change}[kind](service)


# ---- iptables

def _iptables_piece(number, place):
    return f"KUBE-SEP-{number:011d}{place:05d}"


def _iptables_jump(service, comment, number, place, count):
    """Each of those that are left is as likely."""
    chance = f"-m statistic --mode random --probability {1 / (count - place):.11f} " if place + 1 < count else ""
    return f"-A {service} {comment} {chance}-j {_iptables_piece(number, place)}"


def _iptables_service(own):
    number, address, endpoints, port = own
    service, count = f"KUBE-SVC-{number:016d}", len(endpoints)
    comment = f'-m comment --comment "bench/service-{number}"'
    lines = [f"-A {service} ! -s {POD_RANGE} -d {address}/32 -p tcp {comment} -m tcp --dport 80 -j KUBE-MARK-MASQ",
             *(_iptables_jump(service, comment, number, place, count) for place in range(count))]
    for place, endpoint in enumerate(endpoints):
        piece = _iptables_piece(number, place)
        lines += [f"-A {piece} -s {endpoint}/32 {comment} -j KUBE-MARK-MASQ",
                  f"-A {piece} -p tcp {comment} -m tcp -j DNAT --to-destination {endpoint}:{port}"]
    return lines


def _iptables_chains(own):
    return [f":KUBE-SVC-{own.number:016d} - [0:0]", *(f":{_iptables_piece(own.number, place)} - [0:0]" for place in range(len(own.endpoints)))]


def _iptables(services):
    lines = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]",
             ":KUBE-FORWARD - [0:0]", ":KUBE-SERVICES - [0:0]", ":KUBE-PROXY-FIREWALL - [0:0]",
             "-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL",
             "-A FORWARD -j KUBE-FORWARD",
             "-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES",
             "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
             "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
             "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "COMMIT",
             "*nat", ":PREROUTING ACCEPT [0:0]", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]",
             ":POSTROUTING ACCEPT [0:0]", ":KUBE-SERVICES - [0:0]", ":KUBE-POSTROUTING - [0:0]",
             ":KUBE-MARK-MASQ - [0:0]", ":KUBE-NODEPORTS - [0:0]"]
    for service in services:
        lines += _iptables_chains(service)
    lines += ["-A PREROUTING -j KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES", "-A POSTROUTING -j KUBE-POSTROUTING",
              "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
              "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
              "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000", "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"]
    for service in services:
        lines += _iptables_service(service)
        lines.append(f"-A KUBE-SERVICES -d {service.address}/32 -p tcp -m comment --comment "
                     f'"bench/service-{service.number} cluster IP" -m tcp --dport 80 -j KUBE-SVC-{service.number:016d}')
    lines += ["-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS", "COMMIT"]
    return "\n".join(lines) + "\n"


def _iptables_change(service):
    return "\n".join(["*nat", *_iptables_chains(service), *_iptables_service(service), "COMMIT"]) + "\n"


# ---- nftables

NFT_HEAD = """
table ip kube-proxy {
	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
	}
	set cluster-ips {
		type ipv4_addr
	}
	chain mark-for-masquerade {
		mark set mark or 0x4000
	}
	chain masquerading {
		mark and 0x4000 == 0 return
		mark set mark xor 0x4000
		masquerade fully-random
	}
	chain services {
		ip daddr . meta l4proto . th dport vmap @service-ips
	}
	chain cluster-ips-check {
		ip daddr @cluster-ips reject
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}
	chain nat-output {
		type nat hook output priority -100; policy accept;
		jump services
	}
	chain nat-postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		jump masquerading
	}
	chain filter-forward {
		type filter hook forward priority -110; policy accept;
		ct state new jump cluster-ips-check
	}
"""


def _nftables_bodies(own):
    """Of the Service's chain, and of each endpoint's."""
    number, address, endpoints, port = own
    places = ", ".join(f"{place} : goto endpoint-{number}-{place}" for place in range(len(endpoints)))
    service = [f"ip daddr {address} tcp dport 80 ip saddr != {POD_RANGE} jump mark-for-masquerade",
               f"numgen random mod {len(endpoints)} vmap {{ {places} }}"]
    pieces = [[f"ip saddr {endpoint} jump mark-for-masquerade", f"meta l4proto tcp dnat to {endpoint}:{port}"] for endpoint in endpoints]
    return service, pieces


def _nftables(services):
    lines = [NFT_HEAD]
    for service in services:
        body, pieces = _nftables_bodies(service)
        for place, piece in enumerate(pieces):
            lines += [f"chain endpoint-{service.number}-{place} {{", *piece, "}"]
        lines += [f"chain service-{service.number} {{", *body, "}"]
    lines.append("}")
    elements = ", ".join(f"{service.address} . tcp . 80 : goto service-{service.number}" for service in services)
    lines += [f"add element ip kube-proxy service-ips {{ {elements} }}",
              f"add element ip kube-proxy cluster-ips {{ {', '.join(service.address for service in services)} }}"]
    return "\n".join(lines) + "\n"


def nftables_node_ports(ports):
    """What make("nftables", ...) is followed by where Services, by their numbers, have these node ports."""
    lines = ["table ip kube-proxy {", "map service-nodeports {", "type inet_proto . inet_service : verdict", "}"]
    for number in ports:
        lines += [f"chain external-{number} {{", "jump mark-for-masquerade", f"goto service-{number}", "}"]
    lines += ["chain services {", "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports", "}", "}"]
    elements = ", ".join(f"tcp . {port} : goto external-{number}" for number, port in ports.items())
    lines.append(f"add element ip kube-proxy service-nodeports {{ {elements} }}")
    return "\n".join(lines) + "\n"


def _nftables_change(service):
    body, pieces = _nftables_bodies(service)
    number = service.number
    table = "ip kube-proxy"
    lines = [f"flush chain {table} service-{number}"]
    for place, piece in enumerate(pieces):
        lines.append(f"flush chain {table} endpoint-{number}-{place}")
        lines += [f"add rule {table} endpoint-{number}-{place} {rule}" for rule in piece]
    lines += [f"add rule {table} service-{number} {rule}" for rule in body]
    return "\n".join(lines) + "\n"
