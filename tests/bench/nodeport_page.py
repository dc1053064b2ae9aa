# SPDX-License-Identifier: Apache-2.0
"""The section on node ports of docs/services-benchmark.md: what stands between its marks is written anew, the rest is left."""

import os
import statistics

import report

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(SOURCE, "docs", "services-benchmark.md")
BEGIN, END = "<!-- node ports: begin -->", "<!-- node ports: end -->"
FLOWS = (1, 16384)
FLOOD_RATE = 200000
XDP, TC, NFTABLES, ALONE = "Polder, XDP", "Polder, TC", "nftables", "frames alone"
FORWARDING = ((XDP, "Polder", True), (TC, "Polder", False), (NFTABLES, "nftables", False))
UNDER_POLICY, WITHOUT_POLICY, CONNECTIONS_NFTABLES = ("Polder, 1,000 Services, policy", "Polder, 1,000 Services",
                                                      "nftables, 1,000 Services, no policy")
AIM = 5


def quartiles(values):
    """(median, first quartile, third quartile)"""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return statistics.median(values), low, high


def ratio(values):
    return "{:.2f} ({:.2f}–{:.2f})".format(*quartiles(list(values)))


def table(head, rows):
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in (head, ["---", *("---:" for _ in head[1:])], *rows))


def ratios(samples, figure, mine, other):
    return [a / b for a, b in zip(samples[mine][figure], samples[other][figure])]


def net_ratios(samples, figure, mine, other):
    """Of the times of a packet that are left when what the frame alone takes in the same round is taken off."""
    return [(1 / b - 1 / alone) / (1 / a - 1 / alone)
            for a, b, alone in zip(samples[mine][figure], samples[other][figure], samples[ALONE]["packets 1"])]


def packet_rows(samples):
    for name in (XDP, TC, NFTABLES):
        yield (name, *(f"{statistics.median(samples[name][f'packets {flows}']) / 1e6:.2f}" for flows in FLOWS),
               *("" if name == NFTABLES else ratio(make(samples, f"packets {flows}", name, NFTABLES))
                 for make in (ratios, net_ratios) for flows in FLOWS))
    yield (ALONE, f"{statistics.median(samples[ALONE]['packets 1']) / 1e6:.2f}", "", "", "", "", "")


def aims(samples):
    for flows in FLOWS:
        value = statistics.median(ratios(samples, f"packets {flows}", XDP, NFTABLES))
        yield (f"node port to another node's endpoint, {report.flows_text(flows)}, Polder in XDP to nftables, packets a second on one core",
               f"≥ {AIM}", f"{value:.2f}", report.rating(value >= AIM))


def latency_rows(samples):
    for figure, beside in (("times", "nothing"), ("flooded times", f"{FLOOD_RATE:,} packets a second")):
        for name in (XDP, TC, NFTABLES):
            columns = list(zip(*samples[name][figure]))
            others = list(zip(*samples[NFTABLES][figure]))
            cells = [f"{statistics.median(column):.1f}" for column in columns]
            compared = ["" if name == NFTABLES else ratio(b / a for a, b in zip(column, other)) for column, other in zip(columns, others)]
            yield (f"{name}, beside {beside}", cells[0], compared[0], cells[1], compared[1])


def connection_rows(samples):
    for name in (UNDER_POLICY, WITHOUT_POLICY, CONNECTIONS_NFTABLES):
        yield (name, f"{statistics.median(samples[name]['rate']):,.0f}",
               "" if name == CONNECTIONS_NFTABLES else ratio(ratios(samples, "rate", name, CONNECTIONS_NFTABLES)))


def section(found):
    samples = found["samples"]
    flows = [report.flows_text(count) for count in FLOWS]
    command = f"tests/bench/nodeports{' --quick' if found['quick'] else ''}"
    return "\n\n".join([
        f"By `{command}`, {found['rounds']} rounds, on {report.machine()}{report.commit()}. Load average before: {found['load']:.1f}.",
        "A client beyond the router asks a node port; the endpoint is on another node, so that the packet leaves by the link that it came in by, with this node's address as\n"
        "its source. 1,000 Services, each with a node port. Everything is on one CPU. Frames of 64 bytes, of connections that have been opened, are sent to the node's link (veth)\n"
        "by XDP test-run, and counted and dropped by XDP when they come back: what making and receiving a frame costs by itself is the row \"frames alone\". In the columns \"net\" it is\n"
        "taken off, as on a node whose packets others make. Ratios are medians of the rounds' own, with quartiles; more is better for Polder.",
        table(("", "goal", "found", ""), aims(samples)),
        table(("forwarded on one core, millions of packets a second", *flows, *(f"to nftables, {text}" for text in flows),
               *(f"net, {text}" for text in flows)), packet_rows(samples)),
        f"Request and response of one connection through the node port, while {FLOOD_RATE:,} such packets a second come by, 64 at a time and before any process, as a card's interrupts\n"
        "bring them: the link is then polled by the kernel's own thread, to which the CPU changes for each packet of the connection, too. Client and server are on the same CPU.",
        table(("one exchange", "p50, µs", "to nftables", "p99, µs", "to nftables"), latency_rows(samples)),
        "Connect, one request, close, one after the other, from a pod through a ClusterIP to another pod of the node; with policy both are isolated in both directions. kube-proxy's\n"
        "rules have no policy.",
        table(("connections a second", "", "to nftables"), connection_rows(samples))])


def write(found, path):
    made = section(found)
    report.replace_section(path, BEGIN, END, made)
    print(made)
