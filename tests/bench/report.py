# SPDX-License-Identifier: Apache-2.0
"""The benchmark's table and picture."""

import os
import statistics
import subprocess
import time

BASE = "routing"
FIGURES = {"exchanges": "request/response, one connection", "connect": "connect, request, close (p50)",
           "established": "forwarding, established", "new": "forwarding, new flows"}
MORE = {"sent": "sent by the pod, established", "sent_new": "sent by the pod, new flows"}  # in the table, not in the picture


def ratio(traffic, variant, figure):
    """Median over the rounds of the ratio to plain routing in the same round; for times the inverse, so that more is better."""
    pairs = zip(traffic[variant][figure], traffic[BASE][figure])
    return statistics.median(base / mine if figure == "connect" else mine / base for mine, base in pairs)


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


def program_table(programs):
    flows = sorted({row["flows"] for row in programs if not row["new"]})
    lines = ["| ns a packet, net | " + " | ".join(f"{n:,} flow{'s' if n > 1 else ''}" for n in flows) + " | new flow |",
             "|---|" + "---|" * (len(flows) + 1)]
    for case in dict.fromkeys(row["case"] for row in programs):
        rows = {None if row["new"] else row["flows"]: row["ns"] for row in programs if row["case"] == case}
        lines.append(f"| {case} | " + " | ".join(f"{rows[n]:.0f}" if n in rows else "" for n in [*flows, None]) + " |")
    return lines


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

def median_ratio(traffic, figure, mine, other):
    return statistics.median(a / b for a, b in zip(traffic[mine][figure], traffic[other][figure]))


def traffic_targets(traffic):
    """(what, aim, measured, reached): of the largest number of Services, with policy."""
    policy = next(name for name in traffic if name.endswith("policy"))
    nftables = [name for name in traffic if name.startswith("nftables")][-1]
    aims = [("request/response through a ClusterIP, with policy, to plain routing", "exchanges", BASE, 1.0)]
    for figure, kind in (("established", "on the node's link"), ("sent", "sent by the pod")):
        aims += [(f"forwarding established, {kind}, with policy, to plain routing", figure, BASE, 1.15),
                 (f"the same to {nftables}", figure, nftables, 2.3)]
    for figure, kind in (("new", "on the node's link"), ("sent_new", "sent by the pod")):
        aims.append((f"new flows, {kind}, with policy, to {nftables}", figure, nftables, 1.5))
    for what, figure, other, aim in aims:
        value = median_ratio(traffic, figure, policy, other)
        yield what, f"≥ {aim:g}", f"{value:.2f}", value >= aim


def program_targets(programs):
    for row in programs:
        aim = {1: 40, 16384: 100}.get(row["flows"])
        if row["case"] == programs[0]["case"] and aim and not row["new"]:
            yield (f"{row['case']}, net program time with {row['flows']:,} flow{'s' if row['flows'] > 1 else ''}",
                   f"≤ {aim} ns", f"{row['ns']:.0f} ns", row["ns"] <= aim)


def change_targets(changes):
    for variant, row in changes.items():
        if variant == "Polder, 10000 Services":
            for key, what in (("change_ms", "in the maps"), ("seen_ms", "seen by a client")):
                yield f"one endpoint changed among 10,000 Services, {what}", "≤ 5 ms", f"{row[key]:.1f} ms", row[key] <= 5
        if variant == "Polder, 1000 Services":
            size = row["resident_mib"]
            yield "agent's resident memory at 1,000 Services", "≤ 24 MiB", f"{size:.1f} MiB", size <= 24


def target_table(results):
    rows = [row for key, make in (("traffic", traffic_targets), ("programs", program_targets), ("changes", change_targets))
            if key in results for row in make(results[key])]
    return ["| aim | | measured | |", "|---|---|---|---|",
            *(f"| {what} | {aim} | {value} | {'reached' if good else '**not reached**'} |" for what, aim, value, good in rows)]


def machine():
    cpus = os.cpu_count()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    return f"{model}, {cpus} CPUs, Linux {os.uname().release}, {time.strftime('%Y-%m-%d', time.gmtime())}"


def commit():
    done = subprocess.run(["git", "-C", os.path.dirname(os.path.abspath(__file__)), "rev-parse", "--short", "HEAD"],
                          capture_output=True, text=True, check=False)
    return f", commit {done.stdout.strip()}" if done.returncode == 0 else ""


def table(results, picture):
    lines = ["# Benchmark", "",
             f"Made by `tests/bench/run{' --quick' if results['quick'] else ''}` with {results['rounds']} rounds of traffic on {machine()}{commit()}. Load average "
             f"meanwhile: {results['load']:.1f}; above 1.5 other work ran beside, and ratios are worth more than figures.", ""]
    lines += ["## Aims", "", *target_table(results), "",
              "Absolute figures are of this machine; the ratios are what counts.", ""]
    if "traffic" in results:
        lines += [f"![{', '.join(FIGURES.values())}, as multiples of plain routing]({picture})", "",
                  "## Traffic", "",
                  "A client and a server behind one node, everything on one CPU. In brackets: the median over the rounds of the ratio "
                  "to plain routing in the same round, more is better (of times it is the inverse). The Service is the middle one; the "
                  "routed variants without Services speak to the server itself. Frames of 64 bytes appear on the node's link by XDP "
                  "test-run and are counted and dropped at the ingress of the receiver's link; "
                  "those sent by the pod leave a packet socket in the client pod, so that the sender's work is in the figure. With policy both pods are isolated in "
                  "both directions.", "", *traffic_table(results["traffic"]), ""]
    if "programs" in results:
        lines += ["## Program time", "",
                  "By test-run: a wrapper writes the packet anew for one flow after another and calls the program; the wrapper's own time, "
                  "measured in turn, is taken off. Median of the rounds. Output bytes and checksums are checked, and that no established "
                  "packet was judged anew. 65,536 flows in a table of four times the default's size.", "",
                  *program_table(results["programs"]), ""]
    if "changes" in results:
        lines += ["## Changes", "",
                  "Loading all Services: the tool's run, or the agent's start with their files in its directory until it is ready. Changing one "
                  "endpoint: the rules of that Service alone, by the tool; for Polder from the file's rename until the new "
                  "generation stands in the maps. Seen by a client: from the same beginning until a client that connects again and again "
                  "first meets the new endpoint.", "", *change_table(results["changes"]), ""]
    return "\n".join(lines)


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


def write(results, out):
    image = os.path.splitext(out)[0] + ".svg"
    if "traffic" in results:
        with open(image, "w", encoding="utf-8") as file:
            file.write(picture(results["traffic"]))
    with open(out, "w", encoding="utf-8") as file:
        file.write("<!-- SPDX-License-Identifier: Apache-2.0 -->\n" + table(results, os.path.basename(image)))
