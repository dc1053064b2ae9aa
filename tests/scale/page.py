# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/scale.md: what stands between its marks is written anew, the rest is left."""

import os
import platform
import re
import subprocess
import time

from measure import RATE, all_latencies
from scene import quantile

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(REPOSITORY, "docs", "scale.md")
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def table(head, rows):
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in (head, rule, *rows))


def recorded(option="--record"):
    tree = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True,
                          check=False)
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    return (f"Recorded: {time.strftime('%Y-%m-%d', time.gmtime())}, Linux {platform.release()}, {os.cpu_count()} CPUs ({model}), tree "
            f"{tree.stdout.strip()}, by `tests/scale/run {option}`.")


def goals(found):
    churn, times = found["churn"], all_latencies(found["churn"])
    most = max(found[name]["memory"]["VmHWM"] for name in ("start", "churn", "beats", "moves", "disk", "again"))
    rows = [("time until ready, nothing known before", "10 s", found["start"]["seconds"], "{:.1f} s", 10),
            ("resident at most, with programs' maps (VmHWM)", "128 MiB", most, "{:.0f} MiB", 128),
            (f"CPU at {RATE} events of pods a second", "5 % of a core", 100 * churn["share"], "{:.1f} %", 5),
            ("from event to map, p99", "20 ms", quantile(times, 0.99), "{:.1f} ms", 20),
            ("CPU for a Node's other address", "1 ms", found["moves"]["cpu_s"] / sum(found["moves"]["events"].values()) * 1e3,
             "{:.2f} ms", 1)]
    return table(("", "goal", "found", ""), [(name, f"≤ {goal}", form.format(value), "reached" if value <= limit else "**not reached**")
                                             for name, goal, value, form, limit in rows])


def starts(found):
    names = {"start": "first start, streaming lists", "disk": "start with full maps and objects on disk",
             "again": "start with full maps, streaming lists",
             "pages": "start with full maps, pages (gzip)", "dual": "first start, IPv4 and IPv6"}
    return table(("", "ready, s", "polderd's CPU, s", "server's CPU, s", "from the server, MB", "VmHWM, MiB", "VmRSS, MiB", "own, MiB"),
                 [(title, *(f"{value:.1f}" for value in (made["seconds"], made["cpu"], made["server_cpu"], made["bytes"] / 1e6,
                                                         made["memory"]["VmHWM"], made["memory"]["VmRSS"], made["memory"]["RssAnon"])))
                  for name, title in names.items() for made in [found[name]]])


def latencies(found):
    names = {"label": "a pod's labels: its address has another identity", "come": "a pod that comes: its address is there",
             "go": "a pod that goes: its address is gone", "service": "an EndpointSlice: the Service has other endpoints",
             "node": "a Node: its new address is there"}
    both = {**{name: found["churn"]["latencies"][name] for name in ("label", "come", "go", "service")},
            "node": found["moves"]["latencies"]["node"]}
    return table(("from event to map", "how many", "p50, ms", "p99, ms", "at most, ms"),
                 [(title, len(both[name]), *(f"{value:.1f}" for value in (quantile(both[name], 0.5), quantile(both[name], 0.99),
                                                                         max(both[name], default=0)))) for name, title in names.items()])


def costs(found):
    names = {"churn": f"pods change, {RATE} events of pods a second and their EndpointSlices", "beats": "Nodes tell that they are there, 50 a second",
             "moves": "Nodes get another address, 20 a second"}
    return table(("", "events a second", "CPU of a core", "CPU an event, ms", "from the server, kB/s", "VmRSS behind it, MiB"),
                 [(title, *(form.format(value) for form, value in (
                     ("{:.0f}", sum(made["events"].values()) / made["seconds"]), ("{:.1f} %", 100 * made["share"]),
                     ("{:.2f}", made["cpu_s"] / sum(made["events"].values()) * 1e3), ("{:.0f}", made["bytes"] / made["seconds"] / 1e3),
                     ("{:.0f}", made["memory"]["VmRSS"])))) for name, title in names.items() for made in [found[name]]])


def section(found):
    counts = ", ".join(f"{count:,} {name}" for name, (count, _) in found["objects"].items())
    size = sum(length for _, length in found["objects"].values()) / 1e6
    quiet = found["quiet"]
    return "\n\n".join([
        recorded() + f" It took {found['seconds'] / 60:.1f} minutes.",
        f"{counts}: {size:.0f} MB of JSON.",
        goals(found), starts(found),
        f"Of what is resident {found['maps']:.0f} MiB are the programs' maps that polderd has in its address space, which the kernel "
        f"holds in any case; \"own\" is what is neither a file nor such a map. {found['idle'] * 100:.2f} % of a core and "
        f"{quiet['VmRSS']:.0f} MiB (at most {quiet['VmHWM']:.0f} MiB until then) are taken when nothing happens.",
        latencies(found), costs(found)])


def write(found):
    with open(PAGE, encoding="utf-8") as file:
        text = file.read()
    made = re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{section(found)}\n{END}", text, count=1, flags=re.S)
    with open(PAGE + ".new", "w", encoding="utf-8") as file:
        file.write(made)
    os.rename(PAGE + ".new", PAGE)
    print(section(found))
