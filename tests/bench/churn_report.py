# SPDX-License-Identifier: Apache-2.0
"""The document of tests/bench/churn, of the figures in its JSON."""

import statistics

import report

KEPT = "<!-- What follows is written by hand; tests/bench/churn keeps it. -->"
KINDS = {"labels": "labels, to those of another pod", "address": "address", "identity": "labels that no pod had",
         "deletion": "deleted, and created again (each one change)"}
SLOW, FAST = "5", "200"  # changes a second: each alone even where one takes 100 ms; and what a cluster may come to


def median(values):
    return statistics.median(values) if values else None


def own(side, kind, rate):
    """ms of agent CPU for a change beyond reading its file."""
    whole = median([made["ms"] for made in side["changes"].get(f"{kind} {rate}", ())])
    source = median([made["ms"] for made in side["changes"].get(f"nothing {rate}", ())])
    return None if whole is None or source is None else whole - source


def slowest(side):
    """Of the kinds of changes whose labels were known before."""
    values = [own(side, kind, SLOW) for kind in ("labels", "address")]
    return None if None in values else max(values)


def add_ratio(side):
    small, large = (median([made["ms"] for made in side[key]]) for key in ("add_small", "add_large"))
    return large / small if small and large else None


def rr_ratios(side):
    """(while pods change, while the same is written elsewhere): medians of the ratios to quiet in the same round, with quartiles."""
    made = side.get("rr", ())
    if not made:
        return None
    return [statistics.quantiles([one[key]["rr_per_cpu_s"] / one["quiet"]["rr_per_cpu_s"] for one in made], n=4, method="inclusive") if len(made) > 1 else
            [made[0][key]["rr_per_cpu_s"] / made[0]["quiet"]["rr_per_cpu_s"]] * 3 for key in ("changes", "elsewhere")]


def evaluated(side):
    """Evaluations of the one live flow for each change, at 5 a second."""
    changes = sum(one["changes"] for one in side.get("evaluated", ()))
    return sum(one["evaluated"] for one in side["evaluated"]) / changes if changes else None


def policy_own(side):
    """ms of agent CPU for the policy's change, reading its file included."""
    return median(side["policy"]["cpu_ms"]) if "policy" in side else None


# ---- rows: (what, goal as text, is it reached, figure of a side, text of a figure)

def ms(value):
    return f"{value:.2f} ms"


def targets():
    def of(world, figure):
        return lambda side: figure(side[world]) if world in side else None

    def most(limit):
        return lambda value: value <= limit
    return [
        ("agent CPU for one change of an unrelated pod, 10,000 pods known, 300 policies", "≤ 0.3 ms", most(0.3), of("small", slowest), ms),
        ("the same, 50,000 pods and 1,000 policies", "≤ 0.5 ms", most(0.5), of("large", slowest), ms),
        ("evaluations of a live flow for it, at 5 a second", "0", lambda value: value < 0.005, of("small", evaluated), "{:.2f}".format),
        ("request/response between two pods while 200 pods a second change, of quiet", "≥ 0.97", lambda value: value >= 0.97,
         of("small", lambda side: rr_ratios(side) and rr_ratios(side)[0][1]), "{:.3f}".format),
        ("one policy changed that selects 10 local pods, among 1,000 policies", "≤ 2 ms", most(2), of("large", policy_own), ms),
        ("the same, 100,000 identities", "≤ 5 ms", most(5), of("identities", policy_own), ms),
        ("ADD of a pod with 50,000 pods known, to ADD with 10", "≤ 1.5", most(1.5), of("large", add_ratio), "{:.2f}".format),
        ("agent resident, 50,000 pods, 1,000 policies", "≤ 64 MiB", most(64), of("large", lambda side: side["resident_mib"]), "{:.1f} MiB".format),
        ("the same with 10,000 Services", "≤ 96 MiB", most(96),
         of("large", lambda side: side["services"]["resident_mib"] if "services" in side else None), "{:.1f} MiB".format),
    ]


def target_table(results):
    sides = results["sides"]
    old = "old" in sides
    lines = ["| | goal |" + (f" {results['against']} |" if old else "") + " this commit | |", "|---|---|" + "---|" * (2 + old)]
    for what, goal, good, figure, text in targets():
        values = {name: figure(side) for name, side in sides.items()}
        if values["new"] is None:
            continue
        cells = [text(values[name]) if values[name] is not None else "" for name in ("old", "new") if name in sides]
        lines.append(f"| {what} | {goal} | {' | '.join(cells)} | {report.rating(good(values['new']))} |")
    return lines


WORLDS = {"small": "10,000 pods, 300 policies", "large": "50,000 pods, 1,000 policies", "services": "the same with 10,000 Services"}


def change_table(sides, rate):
    """What a change costs, by kind, for each world and side."""
    columns = [(world, name) for world in WORLDS for name in ("old", "new") if name in sides and world in sides[name]
               and f"nothing {rate}" in sides[name][world].get("changes", {})]
    if not columns:
        return []
    lines = ["| ms of agent CPU | " + " | ".join(f"{WORLDS[world]}{', before' if name == 'old' else ''}" for world, name in columns) + " |",
             "|---|" + "---|" * len(columns)]
    cells = [f"{median([made['ms'] for made in sides[name][world]['changes'][f'nothing {rate}']]):.3f}" for world, name in columns]
    lines.append("| reading the file: nothing has changed that Polder keeps | " + " | ".join(cells) + " |")
    for kind, text in KINDS.items():
        values = [own(sides[name][world], kind, rate) for world, name in columns]
        if any(value is not None for value in values):
            lines.append(f"| {text} | " + " | ".join("" if value is None else f"{value:+.3f}" for value in values) + " |")
    return lines


def more_table(results):
    """Single figures."""
    sides = results["sides"]
    names = [name for name in ("old", "new") if name in sides]
    lines = ["| | " + " | ".join(results["against"] if name == "old" else "this commit" for name in names) + " |", "|---|" + "---|" * len(names)]

    def row(what, figure):
        cells = []
        for name in names:
            try:
                cells.append(figure(sides[name]))
            except (KeyError, TypeError):
                cells.append("")
        if any(cells):
            lines.append(f"| {what} | " + " | ".join(cells) + " |")

    def quartiles(index):
        return lambda side: "{1:.3f} ({0:.3f}–{2:.3f})".format(*rr_ratios(side["small"])[index])
    row("request/response while 200 pods a second change, of quiet", quartiles(0))
    row("while the same files are written where no agent reads", quartiles(1))
    for world, text in (("large", "among 1,000 policies"), ("identities", "with 100,000 identities")):
        row(f"policy of 10 local pods changed, {text}: the run that puts it in force", lambda side, w=world: ms(median(side[w]["policy"]["run_ms"])))
    for key, text in (("add_small", "10"), ("add_large", "50,000")):
        row(f"ADD with {text} pods known, as the runtime sees it", lambda side, k=key: ms(median([made["ms"] for made in side["large"][k]])))
        row(f"ADD with {text} pods known, agent CPU", lambda side, k=key: ms(median([made["cpu_ms"] for made in side["large"][k]])))
    for world, text in WORLDS.items():
        row(f"start until ready, {text}", lambda side, w=world: f"{side[w]['load_seconds']:.2f} s")
        row(f"CPU a second when nothing happens, {text}", lambda side, w=world: ms(side[w]["idle_ms_per_s"]))
    for kind in ("labels", "address"):
        row(f"a change of {kind} with 90,000 entries in the flow table, 10,000 pods",
            lambda side, k=kind: ms(median([m["ms"] for m in side["small"][f"flows {k}"]]) - median([m["ms"] for m in side["small"]["flows nothing"]])))
    row("one scrape of the metrics, 50,000 pods, 10,000 Services", lambda side: ms(median(side["services"]["scrape"])))
    row("reading one file of 10,000 with a pod each, in which nothing has changed", lambda side: ms(median([m["ms"] for m in side["small"]["file_per_pod"]])))
    row("agent resident, 100,000 pods with an identity each", lambda side: f"{side['identities']['resident_mib']:.1f} MiB")
    return lines


def fast_section(sides):
    table = change_table(sides, FAST)
    return [f"At {FAST} a second one run may cover several changes; what the agent takes when nothing happens is taken off:", "", *table, ""] if table else []


def document(results, by_hand=""):
    lines = ["<!-- SPDX-License-Identifier: Apache-2.0 -->", "# What changes of a cluster cost a node", "",
             f"Made by `tests/bench/churn{' --quick' if results['quick'] else ''}` on {report.machine()}{results['made']}. Load average meanwhile: "
             f"{results['load']:.1f}; above 1.5 other work ran beside, and ratios are worth more than figures.", ""]
    if results["quick"]:
        lines += ["With --quick all worlds are a tenth of what the texts say, and of one round.", ""]
    lines += ["## Goals", "", *target_table(results), "", *report.section("""
        One `polderd` in namespaces of its own, with 30 pods that `polder-cni` connected, knows a cluster of 50 nodes by a directory of JSON
        objects: 400 label sets, both families. 400 pods of other nodes have a file each, which is written anew for each change, as an API server would
        tell of single objects; the other pods stand in files of 500, which are never touched. CPU is that of all threads of the agent
        (`/proc/PID/task/*/schedstat`) from one change to the next, the mean of the middle half of them, so that what the agent does every
        five seconds does not count. What it costs to notice the file,
        read, decode and compare it is measured by a change of an annotation, which Polder does not keep, and is taken off in the first two rows: the
        dearer one of a change of labels and of address counts. The policy's row is whole."""),
              "## One change of an unrelated pod", "", f"At {SLOW} a second:", "", *change_table(results["sides"], SLOW), "",
              *fast_section(results["sides"]), "## More", "", *report.section("""
        Request/response goes over one connection between two isolated pods, both on one CPU; the agent and the writer of the files have the other one. Counted are
        exchanges for a second of client's and server's CPU. Quiet and not quiet are measured in turn."""), *more_table(results), ""]
    return "\n".join(lines).rstrip("\n") + "\n" + by_hand
