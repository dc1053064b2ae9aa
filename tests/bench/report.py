# SPDX-License-Identifier: Apache-2.0
"""The benchmark's table and picture."""

import os
import re
import statistics
import subprocess
import time

BASE = "routing"
FIGURES = {"exchanges": "request/response, one connection", "connect": "connect, request, close (p50)",
           "established": "forwarding, established", "new": "forwarding, new flows"}
MORE = {"sent": "sent by the pod, established", "sent_new": "sent by the pod, new flows"}  # in the table, not in the picture


def median_ratio(traffic, figure, mine, other):
    """Median over the rounds of the ratio in the same round; for times the inverse, so that more is better."""
    pairs = zip(traffic[mine][figure], traffic[other][figure])
    return statistics.median(b / a if figure == "connect" else a / b for a, b in pairs)


def ratio(traffic, variant, figure):
    return median_ratio(traffic, figure, variant, BASE)


def shown(figure, samples):
    value = statistics.median(samples)
    if figure == "exchanges":
        return f"{value:,.0f}/s"
    if figure == "connect":
        return f"{value:.1f} µs"
    return f"{value / 1e6:.2f} Mpps"


def traffic_table(traffic):
    figures = {**FIGURES, **MORE}
    lines = ["| | " + " | ".join(figures.values()) + " |", "|---|" + "---|" * len(figures)]
    for variant, samples in traffic.items():
        cells = [f"{shown(figure, samples[figure])} ({ratio(traffic, variant, figure):.2f})" for figure in figures]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return lines


def flows_text(count):
    return f"{count:,} flow{'s' if count > 1 else ''}"


def program_tables(programs):
    """Established flows; packets that take the slow path; how full the table becomes."""
    established = [row for row in programs if row["kind"] == "established"]
    flows = sorted({row["flows"] for row in established})
    lines = ["| established, ns a packet, net | " + " | ".join(map(flows_text, flows)) + " |", "|---|" + "---|" * len(flows)]
    for case in dict.fromkeys(row["case"] for row in established):
        rows = {row["flows"]: row["ns"] for row in established if row["case"] == case}
        lines.append(f"| {case} | " + " | ".join(f"{rows[n]:.0f}" if n in rows else "" for n in flows) + " |")
    lines += ["", "| evaluated, ns a packet, net | |", "|---|---|"]
    lines += [f"| {row['case']} | {row['ns']:.0f} |" for row in programs if row["kind"] not in ("established", "fill")]
    lines += ["", "| percent of the entries in use at the first refusal | median | lowest | reason |", "|---|---|---|---|"]
    lines += [f"| {row['case']} | {row['percent']:.1f} | {row['lowest']:.1f} | `{row['reason']}` |" for row in programs if row["kind"] == "fill"]
    return lines


# ---- beside another commit

def ratio_text(row):
    return f"{row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f})"


def case_text(row):
    return f"{row['case']}, {flows_text(row['flows'])}" if row["kind"] == "established" else row["case"]


def against_times(rows):
    lines = ["| ns a packet, net | old | new | new / old (quartiles) |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {case_text(row)} | " + (f"| | {row['error']} |" if "error" in row else
                                                 f"{row['old']:.0f} | {row['new']:.0f} | {ratio_text(row)} |"))
    return lines


def against_fills(rows):
    lines = ["| percent of the entries in use at the first refusal | old | lowest | new | lowest | reason |", "|---|---|---|---|---|---|"]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['case']} | | | | | {row['error']} |")
            continue
        reasons = ", ".join(f"`{reason}`" for reason in row["new_reasons"])
        lines.append(f"| {row['case']} | {row['old']:.1f} | {row['old_lowest']:.1f} | {row['new']:.1f} | {row['new_lowest']:.1f} | {reasons} |")
    return lines


def against_tables(against):
    times = [row for row in against.get("programs", ()) if row["kind"] != "fill"]
    fills = [row for row in against.get("programs", ()) if row["kind"] == "fill"]
    tables = []
    if times:
        tables.append(against_times(times))
    if fills:
        tables.append(against_fills(fills))
    if "pods" in against:
        row = against["pods"]
        tables.append(["| between two pods of one node | old | new | new / old (quartiles) |", "|---|---|---|---|",
                       f"| request/response, one connection | {row['old']:,.0f}/s | {row['new']:,.0f}/s | {ratio_text(row)} |"])
    return [line for table_lines in tables for line in (*table_lines, "")]


def change_table(changes):
    lines = ["| | load all | change one endpoint | of which the agent's pass | seen by a client | agent resident |",
             "|---|---|---|---|---|---|"]
    for variant, row in changes.items():
        if row["load_s"] is None or "change_ms" not in row:
            continue
        cells = [f"{row['load_s']:.2f} s", f"{row['change_ms']:.1f} ms",
                 f"{row['pass_ms']:.2f} ms" if "pass_ms" in row else "",
                 f"{row['seen_ms']:.1f} ms",
                 f"{row['resident_mib']:.1f} MiB" if row.get("resident_mib") else ""]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return lines


# ---- what was aimed at

def largest(traffic, start, end):
    """The variant with the most Services."""
    return [name for name in traffic if name.startswith(start) and name.endswith(end)][-1]


def traffic_aims(traffic):
    """(what, figure, variant, compared with, aim)"""
    policy, nftables = largest(traffic, "Polder", "policy"), largest(traffic, "nftables", "Services")
    aims = [("request/response through a ClusterIP, with policy, to plain routing", "exchanges", policy, BASE, 1.0)]
    for figure, kind in (("established", "on the node's link"), ("sent", "sent by the pod")):
        aims += [(f"forwarding established, {kind}, with policy, to plain routing", figure, policy, BASE, 1.15),
                 (f"the same to {nftables}", figure, policy, nftables, 2.3)]
    aims += [("new flows, on the node's link, with policy, to plain routing", "new", policy, BASE, 1.0),
             (f"the same to {nftables}", "new", policy, nftables, 2.5),
             (f"new flows, sent by the pod, with policy, to {nftables}", "sent_new", policy, nftables, 1.5),
             ("connect, request, close (p50), 1,000 Services and policy, to nftables", "connect",
              "Polder, 1000 Services, policy", "nftables, 1000 Services", 1.35)]
    return aims


def traffic_targets(traffic):
    for what, figure, mine, other, aim in traffic_aims(traffic):
        value = median_ratio(traffic, figure, mine, other)
        yield what, f"≥ {aim:g}", f"{value:.2f}", round(value, 2) >= aim


# Of what XDP sends back to the wire, by case and flows: nanoseconds.
XDP_AIMS = {("XDP: node port to another node, SNAT", 1): 150, ("XDP: node port to another node, SNAT", 16384): 150,
            ("XDP: external address to another node, DSR", 8192): 90, ("XDP: external address to another node, DSR", 65536): 160,
            ("XDP: new flow to another node, SNAT", 14336): 600, ("XDP: new flow to another node, DSR", 14336): 600}


def program_targets(programs):
    for row in programs:
        aim = {1: 40, 16384: 100}.get(row["flows"])
        if row["kind"] == "established" and row["case"] == programs[0]["case"] and aim:
            yield f"{row['case']}, net program time with {flows_text(row['flows'])}", f"≤ {aim} ns", f"{row['ns']:.0f} ns", row["ns"] <= aim
        aim = XDP_AIMS.get((row["case"], row["flows"]))
        if aim:
            yield f"{case_text(row)}, net program time", f"≤ {aim} ns", f"{row['ns']:.0f} ns", row["ns"] <= aim


# Of a case's time, ratios new to old; of a filling percents.
CASE_AIMS = {"new flow, table a quarter full": 0.50, "new flow, table a quarter full, policy": 0.60,
             "new flow in a flood": 0.45, "new flow in a flood, policy": 0.60,
             "re-evaluated, same outcome": 0.55, "re-evaluated, same outcome, policy": 0.60}
NO_WORSE = ("pod to Service to local pod", "pod to Service to local pod, IPv6")  # with established flows
NO_WORSE_AIM, FILL_AIM, EXCHANGES_AIM = 1.0, 75, 1.03


def ratio_reached(row, limit):
    """What is shown, rounded, decides. A text: where no worse is aimed at, noise decides nothing."""
    if round(row["ratio"], 2) > limit == NO_WORSE_AIM and row["low"] <= 1.0:
        return "no difference seen: 1 is between the quartiles"
    return round(row["ratio"], 2) <= limit


def against_targets(against):
    to = f"time to {against['commit']}"
    for row in against.get("programs", ()):
        if row["kind"] == "fill":
            what, aim = f"entries in use at the {row['case'].replace(',', ' of a new flow,')}", f"≥ {FILL_AIM} %"
            value, good = (f"{row['new']:.1f} % ({row['old']:.1f} % before)", row["new"] >= FILL_AIM) if "new" in row else (row["error"], False)
        else:
            limit = NO_WORSE_AIM if row["case"] in NO_WORSE else CASE_AIMS.get(row["case"])
            if limit is None:
                continue
            what, aim = f"{case_text(row)}: {to}", f"≤ {limit:.2f}"
            value, good = (ratio_text(row), ratio_reached(row, limit)) if "ratio" in row else (row["error"], False)
        yield what, aim, value, good
    if "pods" in against:
        row = against["pods"]
        yield (f"request/response between pods: exchanges to {against['commit']}", f"≥ {EXCHANGES_AIM}", ratio_text(row),
               round(row["ratio"], 2) >= EXCHANGES_AIM)


KERNEL_MATRIX = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "kernel-matrix.md")
VERIFIED_PROGRAM, VERIFIED_KERNEL, VERIFIED_AIM = "from_wire", "6.1", 150000


def verified_instructions():
    """Of VERIFIED_PROGRAM, as tests/kernel/run recorded them; None: not there."""
    column = None
    with open(KERNEL_MATRIX, encoding="utf-8") as file:
        for line in file:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if cells[0] == "program":
                column = cells.index(VERIFIED_KERNEL)
            elif column and cells[0] == VERIFIED_PROGRAM:
                number = cells[column].replace(",", "")
                return int(number) if number.isdigit() else None
    return None


def kernel_targets():
    number = verified_instructions()
    if number:
        yield (f"verified instructions of {VERIFIED_PROGRAM} on {VERIFIED_KERNEL} ([kernels](kernel-matrix.md))", f"≤ {VERIFIED_AIM:,}",
               f"{number:,}", number <= VERIFIED_AIM)


def change_targets(changes):
    for variant, row in changes.items():
        if variant == "Polder, 10000 Services":
            for key, what in (("change_ms", "in the maps"), ("seen_ms", "seen by a client")):
                yield f"one endpoint changed among 10,000 Services, {what}", "≤ 5 ms", f"{row[key]:.1f} ms", row[key] <= 5
        if variant == "Polder, 1000 Services":
            size = row["resident_mib"]
            yield "agent's resident memory at 1,000 Services", "≤ 24 MiB", f"{size:.1f} MiB", size <= 24


def rating(good):
    return good if isinstance(good, str) else "reached" if good else "**not reached**"


def target_table(results):
    rows = [row for key, make in (("traffic", traffic_targets), ("programs", program_targets), ("against", against_targets),
                                  ("changes", change_targets)) if key in results for row in make(results[key])]
    rows += kernel_targets()
    return ["| aim | | measured | |", "|---|---|---|---|",
            *(f"| {what} | {aim} | {value} | {rating(good)} |" for what, aim, value, good in rows)]


def machine():
    cpus = os.cpu_count()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    return f"{model}, {cpus} CPUs, Linux {os.uname().release}, {time.strftime('%Y-%m-%d', time.gmtime())}"


def commit():
    done = subprocess.run(["git", "-C", os.path.dirname(os.path.abspath(__file__)), "rev-parse", "--short", "HEAD"],
                          capture_output=True, text=True, check=False)
    return f", commit {done.stdout.strip()}" if done.returncode == 0 else ""


def section(text):
    return [" ".join(text.split()), ""]


def traffic_section(traffic, picture_name):
    return [f"![{', '.join(FIGURES.values())}, as multiples of plain routing]({picture_name})", "", "## Traffic", "", *section("""
        A client and a server behind one node, everything on one CPU. In brackets: the median over the rounds of the ratio
        to plain routing in the same round, more is better (of times it is the inverse). The Service is the middle one; the
        routed variants without Services speak to the server itself. Frames of 64 bytes appear on the node's link by XDP
        test-run and are counted and dropped at the ingress of the receiver's link; those sent by the pod leave a packet socket
        in the client pod, so that the sender's work is in the figure. New flows fill up to two thirds of the flow table.
        With policy both pods are isolated in both directions."""), *traffic_table(traffic), ""]


def program_section(programs):
    return ["## Program time", "", *section("""
        By test-run: a wrapper writes the packet anew for one flow after another and calls the program; the wrapper's own time,
        measured in turn, is taken off. Median of the rounds. Output bytes and checksums are checked, and that packets are evaluated where
        they should be and nowhere else. 65,536 flows in a table of four times the default's size, all else in the default's."""),
            *section("""
        A new flow goes from a pod through a Service to a local pod. Quarter full: 14,336 established flows stay, what is opened besides is
        taken back after each 4,096. Flood: a table full of flows that nobody answered. Re-evaluated: a change moved the generation, and each packet is its flow's first
        since. XDP: from an outside client through a node port or external address to a pod of another node, by `wire_xdp` and back to the wire;
        SNAT: with this node's address; DSR: handed on with the client's. First refusal: three pods open connections to one another, all of them established, until the first is refused; median and lowest of
        several fillings."""), *program_tables(programs), ""]


def against_section(against):
    return [f"## Beside commit {against['commit']}", "", *section("""
        Programs and agents of that commit and of this one in turn, in one run, by the same cases. The ratio is the median of the rounds' ratios, new to old; in
        brackets its quartiles. Of times less is better, of exchanges more. `tests/bench/compare HEAD` shows how far from 1 the
        same code comes."""), *against_tables(against)]


def change_section(changes):
    return ["## Changes", "", *section("""
        Loading all Services: the tool's run, or the agent's start with their files in its directory until it is ready. Changing one
        endpoint: the rules of that Service alone, by the tool; for Polder from the file's rename until the
        Service's entry in the maps names the new endpoint. Seen by a client: from the same beginning until a client that connects again and again
        first meets the new endpoint. Resident: without the kernel's maps that the agent has in its address space."""), *change_table(changes), ""]


def table(results, picture_name):
    lines = ["# Benchmark", "",
             f"Made by `tests/bench/run{' --quick' if results['quick'] else ''}` with {results['rounds']} rounds of traffic on {machine()}{commit()}. Load average "
             f"meanwhile: {results['load']:.1f}; above 1.5 other work ran beside, and ratios are worth more than figures.", ""]
    lines += ["## Aims", "", *target_table(results), "",
              "Absolute figures are of this machine; the ratios are what counts. With 8,192 flows and more a packet's time is mostly "
              "that of the last cache, which the machine's other guests share: it differs by a factor of two between runs of the same "
              "programs, and of those beside them.", ""]
    if "traffic" in results:
        lines += traffic_section(results["traffic"], picture_name)
    if "programs" in results:
        lines += program_section(results["programs"])
    if "against" in results:
        lines += against_section(results["against"])
    if "changes" in results:
        lines += change_section(results["changes"])
    return "\n".join(lines).rstrip("\n") + "\n"


# ---- the picture

WIDTH, LEFT, BAR, GAP, HEAD = 960, 250, 15, 4, 34
COLOURS = {"routing": "#8a8f98", "iptables": "#c98a3b", "nftables": "#b5545b", "Polder": "#2f7f6f"}


def colour(variant):
    return next(value for prefix, value in COLOURS.items() if variant.startswith(prefix))


def panel(traffic, figure, x, y, width):
    """Bars of one figure as multiples of plain routing."""
    ratios = {variant: ratio(traffic, variant, figure) for variant in traffic}
    scale = (width - 50) / max(*ratios.values(), 1)
    height = len(ratios) * (BAR + GAP)
    parts = [f'<text x="{x}" y="{y - 8}" font-weight="bold">{FIGURES[figure]}</text>']
    for row, (variant, value) in enumerate(ratios.items()):
        top = y + row * (BAR + GAP)
        parts.append(f'<rect x="{x}" y="{top}" width="{value * scale:.1f}" height="{BAR}" fill="{colour(variant)}"/>'
                     f'<text x="{x + value * scale + 5:.1f}" y="{top + 12}">{value:.2f}</text>')
    parts.append(f'<line x1="{x + scale:.1f}" x2="{x + scale:.1f}" y1="{y - 3}" y2="{y + height}" '
                 'stroke="#444" stroke-dasharray="3 3"/>')
    return parts


def picture(traffic):
    names = list(traffic)
    block = len(names) * (BAR + GAP) + HEAD
    height = 2 * block + 30
    half = (WIDTH - LEFT - 30) / 2
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
             'font-size="12" role="img" aria-label="Polder beside routing, iptables and nftables">',
             '<!-- SPDX-License-Identifier: Apache-2.0 -->',
             f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>']
    for index, figure in enumerate(FIGURES):
        y = HEAD + (index // 2) * block
        parts += panel(traffic, figure, LEFT + (index % 2) * (half + 20), y, half)
        if index % 2 == 0:
            parts += [f'<text x="{LEFT - 10}" y="{y + row * (BAR + GAP) + 12}" text-anchor="end">{name}</text>'
                      for row, name in enumerate(names)]
    parts.append(f'<text x="{LEFT}" y="{height - 10}" fill="#555">Multiples of plain routing (dashed); more is better.</text>')
    return "\n".join([*parts, "</svg>", ""])


KEPT = "<!-- What follows is written by hand; tests/bench/run keeps it. -->"


def kept(out, mark=KEPT):
    """What was written by hand below the figures."""
    try:
        with open(out, encoding="utf-8") as file:
            _, found, text = file.read().partition(mark)
    except FileNotFoundError:
        return ""
    return "\n" + found + text if found else ""


def replace_section(path, begin, end, made):
    """What stands between the marks of a page is made anew; the rest is left."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text, count = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{made}\n{end}", text, count=1, flags=re.S)
    if not count:
        raise SystemExit(f"{path} has no marks {begin} and {end}: put them where the figures belong")
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


def write(results, out):
    by_hand = kept(out)
    image = os.path.splitext(out)[0] + ".svg"
    if "traffic" in results:
        with open(image, "w", encoding="utf-8") as file:
            file.write(picture(results["traffic"]))
    with open(out, "w", encoding="utf-8") as file:
        file.write("<!-- SPDX-License-Identifier: Apache-2.0 -->\n" + table(results, os.path.basename(image)) + by_hand)
