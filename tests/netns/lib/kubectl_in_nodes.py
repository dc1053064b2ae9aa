#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A kubectl where pods are namespaces of this machine and no kubelet serves `exec`.

Put as `kubectl` into PATH (lib.kubectl does it). Everything goes to the real kubectl, but `exec`: its command runs
as POLDER_TEST_PODS says, a file of JSON that is read anew each time:

    {"kubectl": "/usr/bin/kubectl",
     "pods": {"NAMESPACE/POD": {"prefix": ["nsenter", "--net=/run/netns/n1"], "environment": {"POLDER_SOCKET": "..."}}},
     "programs": {"polderctl": "/path/of/build/agent/cli/polderctl"}}

Exit status and words on standard error are kubectl's.
"""

import json
import os
import subprocess
import sys

WITH_VALUE = {"--kubeconfig", "--context", "-n", "--namespace", "-c", "--container", "-s", "--server"}


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


def parse(words):
    """Options, the words before --, the command behind it."""
    options, plain = {}, []
    while words:
        word = words.pop(0)
        if word == "--":
            return options, plain, words
        name, equals, value = word.partition("=")
        if name in WITH_VALUE:
            options[name] = value if equals else words.pop(0)
        elif word.startswith("-"):
            options[word] = True
        else:
            plain.append(word)
    return options, plain, []


def execute(world, options, pod, command):
    name = f"{options.get('-n', options.get('--namespace', 'default'))}/{pod}"
    where = world["pods"].get(name)
    if not where:
        fail(f'Error from server (NotFound): pods "{pod}" not found')
    command = [world.get("programs", {}).get(command[0], command[0]), *command[1:]]
    environment = {**os.environ, **where.get("environment", {})}
    done = subprocess.run([*where["prefix"], *command], env=environment, check=False,
                          stdin=None if "-i" in options else subprocess.DEVNULL)
    if done.returncode:
        print(f"command terminated with exit code {done.returncode}", file=sys.stderr)
    sys.exit(done.returncode)


def main():
    with open(os.environ["POLDER_TEST_PODS"], encoding="utf-8") as file:
        world = json.load(file)
    options, plain, command = parse(sys.argv[1:])
    if plain[:1] == ["exec"] and command:
        execute(world, options, plain[1], command)
    os.execv(world["kubectl"], [world["kubectl"], *sys.argv[1:]])


if __name__ == "__main__":
    main()
