# SPDX-License-Identifier: Apache-2.0
"""docs/reliability.md: an introduction, and a section of each part, replaced when it is recorded."""

import os
import platform
import re
import subprocess
import time

import parts

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(REPOSITORY, "docs", "reliability.md")
INTRODUCTION = """<!-- SPDX-License-Identifier: Apache-2.0 -->
# Reliability

What happens to a node whose agent is killed, whose system calls fail, whose files are damaged,
whose resources run out: tried, not argued. `tests/reliability/run` tries a sample of each in CI;
`tests/reliability/run --record` tries everything and writes the sections below
([how it is done](../tests/README.md#reliability)). Three things must hold whatever is done: no
packet that policy denies comes through, no established connection breaks, and nothing is left
behind.
"""


def begin(name):
    return f"<!-- {name}: begin -->"


def end(name):
    return f"<!-- {name}: end -->"


def sections():
    """{part: text with its marks} of the page as it is."""
    try:
        with open(PAGE, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    return {match[1]: match[0] for match in
            re.finditer(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", text, re.S)}


def write_section(name, title, text):
    found = sections()
    found[name] = f"{begin(name)}\n## {title}\n\n{text.strip()}\n{end(name)}"
    written = INTRODUCTION + "".join(f"\n{found[one]}\n" for one in parts.NAMES if one in found)
    with open(PAGE + ".new", "w", encoding="utf-8") as file:
        file.write(written)
    os.rename(PAGE + ".new", PAGE)


def table(head, rows, right=()):
    """A Markdown table; columns of `right` (numbers) are aligned to the right."""
    rule = ["---:" if column in right else "---" for column in range(len(head))]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |"
                     for row in (head, rule, *rows))


def recorded_by(command):
    """One line: when, on what, of which tree, by which command."""
    tree = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty",
                           "--exclude=*"], capture_output=True, text=True, check=False)
    return (f"Recorded: {time.strftime('%Y-%m-%d')}, Linux {platform.release()}, "
            f"{os.cpu_count()} CPUs, tree {tree.stdout.strip()}, by `{command}`.")
