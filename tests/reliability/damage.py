# SPDX-License-Identifier: Apache-2.0
"""Files cut at every byte, and with each byte changed, read by the code that reads them and by the real agent and plugin."""

import contextlib
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

import page
from lib.agent import BUILD, POLDER_CNI, POLDERD
from lib.cni import CniCall, CniError
from lib.netns import CommandError, run
from lib.traffic import wait_until
from scene import Scene

TITLE = "Damaged files"
SEED = 20261127
PATIENCE = 90  # seconds: a busy machine is no failure
NETWORK = {"cniVersion": "1.0.0", "name": "polder", "type": "polder-cni", "socket": "/nowhere/polder.sock", "mtu": 1400,
           "capabilities": {"portMappings": True}, "dns": {"nameservers": ["10.96.0.10"], "search": ["cluster.local"]},
           "runtimeConfig": {"ips": ["10.244.4.9/22"]}}
CONFIG = {"node-name": "node1", "resources": "/nowhere/resources", "pod-cidr": ["10.77.1.0/24", "fd00:77:1::/112"],
          "uplink": ["eth0"], "metrics-listen": "127.0.0.1:9964", "max-pods": 256, "log-level": "info", "masquerade": True}


# ------------------------------------------------------------------ by the code that reads them


def sanitized():
    """The readers with AddressSanitizer, if that build is there; else without."""
    for build in (os.path.join(os.path.dirname(BUILD), "build-asan"), BUILD):
        path = os.path.join(build, "tests", "reliability", "damaged")
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError("tests/reliability/damaged is not built")


def files(scene):
    """(kind, path) of each file that the scene's agent has on disk, and of those that are given to it."""
    agent, base = scene.agent, scene.world.workdir
    for name, content in (("network.json", NETWORK), ("polderd.json", CONFIG)):
        with open(os.path.join(base, name), "w", encoding="utf-8") as file:
            json.dump(content, file)
    note = os.path.join(base, "some-container:eth0.json")
    with open(note, "w", encoding="utf-8") as file:
        json.dump({"version": 1, "container_id": "some-container", "ifname": "eth0"}, file)
    run_dir, state = agent.options["run-dir"], agent.options["state-dir"]
    found = [("network", os.path.join(base, "network.json")), ("config", os.path.join(base, "polderd.json")), ("note", note)]
    found += [("objects", path) for path in sorted(glob.glob(os.path.join(scene.resources.directory, "*.json")))]
    found += [("copy", path) for path in sorted(glob.glob(os.path.join(state, "last-good", "?" * 32)))]
    found += [("state", path) for path in (os.path.join(run_dir, "policy.json"), os.path.join(state, "agent-id"),
                                           os.path.join(state, "pool.json"), *sorted(glob.glob(os.path.join(run_dir, "pods", "*"))),
                                           *sorted(glob.glob(os.path.join(state, "pods", "*"))))]
    return found


WORDS = {"network": "network configurations of the plugin", "config": "`polderd.json`", "note": "notes of deletions",
         "objects": "resource files", "copy": "copies of valid resource files (`last-good/`)",
         "state": "`policy.json`, `pool.json`, `agent-id`, pods' records and their copies"}


def by_readers(tally, found, step):
    """{kind: counts} of all damages, and the results."""
    program, totals = sanitized(), {}
    for kind, path in found:
        directory = tempfile.mkdtemp(prefix="polder-damage-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        done = run([program, kind, path, directory, str(step)], check=False, timeout=3600)
        shutil.rmtree(directory)
        total = totals.setdefault(kind, {"files": 0, "cases": 0, "refused": 0, "same": 0, "other": 0, "wrong": []})
        total["files"] += 1
        try:
            counts = json.loads(done.stdout)
        except ValueError:
            total["wrong"].append(f"{os.path.basename(path)}: status {done.returncode}: {done.stderr[-400:]}")
            continue
        for key in ("cases", "refused", "same", "other"):
            total[key] += counts[key]
        total["wrong"] += counts["told"]
    for kind, total in totals.items():
        tally.check(f"readers_refuse_or_understand_every_damage_of_{kind}", total["wrong"])
    return totals


# ------------------------------------------------------------------ by the programs


def damages(content, count, rng):
    """(words, content) of `count` damages; all that there are if count is None."""
    every = [(f"cut at {at}", content[:at]) for at in range(len(content))]
    for at, good in enumerate(content):
        for value in {good ^ 1 << at % 8, good ^ 255, 0, 255} - {good}:
            every.append((f"byte {at} is {value:#04x}", content[:at] + bytes([value]) + content[at + 1:]))
    if count is None or count >= len(every):
        return every
    ends = [("empty", b""), ("the last byte cut", content[:-1])] if count > 2 else []
    return ends + rng.sample(every, count - len(ends))


def meaning(content):
    """The JSON value, or None if it is none."""
    def unique(pairs):
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)
    try:
        return json.loads(content.decode(), object_pairs_hook=unique)
    except ValueError:
        return None


def resource_files(scene, tally, count, rng):
    """A policy that closes, damaged under the running agent: refused and told, or another document."""
    path = scene.resources.path("policies")
    with open(path, "rb") as file:
        good = file.read()
    counts, wrong, marks = {"refused": 0, "same": 0, "other": 0}, [], 0
    with scene.control() as control:
        namespaces = control.result("status")["objects"]["namespaces"]

        def put(content):
            """Read when what was put behind it is."""
            nonlocal marks
            marks += 1
            scene.resources.put_bytes("policies", content)
            scene.resources.put("mark", *[{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"mark-{number}"}}
                                          for number in range(1 + marks % 2)])
            wait_until(lambda: control.result("status")["objects"]["namespaces"] == namespaces + 1 + marks % 2,
                       "the agent has read what was put", PATIENCE, 0.001)
            return [one["reason"] for one in control.result("status")["problems"] if one["source"] == path]

        for words, content in damages(good, count, rng):
            problems, value = put(content), meaning(content)
            if problems:
                counts["refused"] += 1
                if scene.leaks.count():
                    wrong.append(f"{words}: refused, and open")
                if value is not None and value == meaning(good):
                    wrong.append(f"{words}: says the same and is refused: {problems[0]}")
            elif value is None:
                wrong.append(f"{words}: is no JSON and not refused: {content[:80]!r}")
            else:
                counts["same" if value == meaning(good) else "other"] += 1
                if value == meaning(good) and scene.leaks.count():
                    wrong.append(f"{words}: says the same, and is open")
            if put(good):
                wrong.append(f"{words}: the whole file is refused afterwards")
            if not problems and value != meaning(good):
                closed_again(scene)
    scene.resources.delete("mark")
    tally.check("resource_file_damaged_under_the_agent_opens_nothing", wrong)
    return counts


def closed_again(scene):
    """Another document may have allowed what the whole file denies: that ends a moment after the whole one is read."""
    def quiet():
        scene.leaks.count()
        time.sleep(0.1)
        return not scene.leaks.count()
    wait_until(quiet, "what is denied again does not come through", PATIENCE)


def put_file(path, content):
    with open(path, "wb") as file:
        file.write(content)


class Damaged:
    """A file, or two of one name, damaged while no agent runs; then one starts."""

    def __init__(self, scene):
        self.scene, self.agent, self.wrong, self.starts = scene, scene.agent, [], 0

    def start(self, words, paths, damage, told, waits=False):
        """`told`: what the log must say, or None. `waits`: the node may not become ready before the file is whole."""
        scene, agent = self.scene, self.agent
        kept = {}
        for path in paths:
            # A copy may be on its way to the disk, under another name.
            wait_until(lambda p=path: os.path.exists(p), f"{path} is there", PATIENCE)
        agent.kill(signal.SIGKILL)
        for path in paths:
            with open(path, "rb") as file:
                kept[path] = file.read()
            put_file(path, damage(kept[path]))
        begin = len(agent.log())
        self.starts += 1
        try:
            agent.start(wait=False)
            if waits:
                wait_until(self.problems, "a problem", PATIENCE)
                assert not scene.status()["ready"], "ready without knowing what a file denied"
            else:
                agent.wait_ready(PATIENCE)
            scene.verdicts()
            scene.check()
            log = agent.log()[begin:]
            assert told is None or re.search(told, log), f"not a word: {log[-300:]}"
        except Exception as error:  # pylint: disable=broad-except
            self.wrong.append(f"{words}: {type(error).__name__}: {error}")
        finally:
            self.whole_again(kept)

    def problems(self):
        """None while nobody listens."""
        try:
            return self.scene.problems()
        except OSError:
            return None

    def whole_again(self, kept):
        """Resource files are put back; the agent's own are its own matter."""
        scene = self.scene
        for path, content in kept.items():
            if path.startswith(scene.resources.directory + "/"):
                put_file(path, content)
        if not self.agent.alive():
            self.agent.end_expected = True
            self.agent.start(wait=False)
        try:
            self.agent.wait_ready(PATIENCE)
            wait_until(lambda: not scene.problems(), lambda: str(scene.problems()), PATIENCE, 0.05)
            scene.check()
        except Exception as error:  # pylint: disable=broad-except
            self.wrong.append(f"whole again: {type(error).__name__}: {error}")
        for path in glob.glob(os.path.join(self.agent.options["run-dir"], "pods", "*.bad")):
            os.unlink(path)


def origin_of(path):
    """Of a copy: which file it is of."""
    with open(path, "rb") as file:
        return file.read().split(b"\n", 1)[1].split(b"\0", 1)[0].decode()


def own_files(scene, tally, count, rng):
    """The agent's own files, and resource files, damaged between two agents."""
    damaged = Damaged(scene)
    run_dir, state = scene.agent.options["run-dir"], scene.agent.options["state-dir"]
    name = f"{scene.server.container_id}:eth0.json"
    record, copy = (os.path.join(where, "pods", name) for where in (run_dir, state))
    policies = scene.resources.path("policies")

    def synced():
        found = [path for path in glob.glob(os.path.join(state, "last-good", "?" * 32)) if origin_of(path) == policies]
        return found and found[0]
    wait_until(synced, "the copy is on the disk", 5)
    good = synced()
    own = [("policy.json", [os.path.join(run_dir, "policy.json")], r"policy\.json", False),
           ("agent-id", [os.path.join(state, "agent-id")], "agent-id", False),
           ("pool.json", [os.path.join(state, "pool.json")], r"pool\.json", False),
           ("a record", [record], re.escape(name), False),
           ("a copy of a record", [copy], None, False),
           ("a copy of a resource file", [good], None, False),
           ("a resource file", [policies], r"policies\.json.*", False),
           ("a resource file and its copy", [policies, good], "no valid version from before", True)]
    for words, paths, told, waits in own:
        with open(paths[0], "rb") as file:
            content = file.read()
        for what, damage in damages(content, count, rng):
            if paths[0] == policies and meaning(damage) is not None:
                continue  # another document, or the same
            damaged.start(f"{words}, {what}", paths, lambda old, new=damage, whole=content:
                          new if old == whole else cut(old), told, waits)
    tally.check("agent_started_with_a_damaged_file_opens_nothing_and_says_so", damaged.wrong)
    return damaged.starts


def held(scene, tally, count, rng):
    """A pod whose object went, isolated by a policy that went after it, and the file that says so damaged."""
    wrong = []
    path = os.path.join(scene.agent.options["run-dir"], "policy.json")
    for number in range(count):
        scene.resources.delete("pod-default-server")
        wait_until(lambda: scene.status()["objects"]["pods"] == 2, "the pod's object has gone", 5)
        scene.resources.delete("policies")
        wait_until(lambda: scene.status()["objects"]["networkpolicies"] == 0, "the policy has gone", 5)
        wait_until(lambda: b'"container"' in read(path), "the file says so", 5)
        scene.agent.kill(signal.SIGKILL)
        if number == count - 1:
            what = "removed"
            os.unlink(path)
        else:
            what, content = rng.choice(damages(read(path), None, rng))
            put_file(path, content)
        scene.start()
        time.sleep(0.3)
        try:
            scene.check()
        except AssertionError as error:
            wrong.append(f"policy.json, {what}: {error}")
        scene.resources.restore()
        scene.world.policies_in_force()
        scene.verdicts(within=1)
        scene.leaks.count()
    tally.check("pod_that_a_deleted_policy_holds_stays_isolated_whatever_becomes_of_the_file", wrong)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def cut(content):
    return content[:len(content) // 2]


def configurations(scene, tally, count, rng):
    """`polderd --check-config` and the plugin, given damaged configurations: status and a word, never a signal."""
    wrong, starts = [], 0
    path = os.path.join(scene.world.workdir, "damaged.json")
    for words, content in damages(json.dumps(CONFIG).encode(), count, rng):
        put_file(path, content)
        done = run([POLDERD, "--check-config", "--config", path], check=False)
        starts += 1
        if done.returncode not in (0, 1):
            wrong.append(f"polderd.json, {words}: status {done.returncode}")
        elif done.returncode and path not in done.stderr:
            wrong.append(f"polderd.json, {words}: the file is not named: {done.stderr[-200:]}")
        elif meaning(content) is None and not done.returncode:
            wrong.append(f"polderd.json, {words}: is no JSON and not refused")
    for words, content in damages(json.dumps(NETWORK).encode(), count, rng):
        starts += 1
        done = subprocess.run([POLDER_CNI], input=content, capture_output=True, check=False, timeout=30, env={
            "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "some", "CNI_NETNS": scene.client.netns.path, "CNI_IFNAME": "eth9",
            "CNI_PATH": "/", "PATH": "/usr/bin"})
        answer = meaning(done.stdout)
        if done.returncode <= 0 or not answer or not answer.get("code") or not answer.get("msg"):
            wrong.append(f"network, {words}: status {done.returncode}, {done.stdout[:200]!r}")
    tally.check("damaged_configurations_are_refused_in_words", wrong)
    return starts


def notes(scene, tally, count, rng):
    """A deletion that was noted while the agent was away, and its note damaged: put aside, told, and no pod but that one is touched."""
    wrong, tries = [], 0
    samples = damages(json.dumps({"version": 1, "container_id": "x" * 12, "ifname": "eth0"}).encode(), count, rng)
    directory = os.path.join(scene.agent.options["run-dir"], "cni-del")
    for words, _ in samples[:count]:
        pod = scene.pod("leaving")
        scene.agent.kill(signal.SIGKILL)
        pod.call("DEL").result()
        note = os.path.join(directory, f"{pod.container_id}:eth0.json")
        with open(note, "rb") as file:
            whole = file.read()
        what, content = rng.choice(damages(whole, None, rng))
        put_file(note, content)
        tries += 1
        begin = len(scene.agent.log())
        scene.start()
        log = scene.agent.log()[begin:]
        if os.path.exists(note + ".bad"):
            os.unlink(note + ".bad")
            if "is damaged" not in log:
                wrong.append(f"{what}: put aside without a word")
        elif os.path.exists(note):
            wrong.append(f"{what}: the note is still there")
        names = {one["name"] for one in scene.agent.ctl_json("pod", "list")}
        if not {"client", "server", "stranger"} <= names:
            wrong.append(f"{what}: left are {names}")
        pod.result = None
        with contextlib.suppress(CniError):
            pod.call("DEL").result()
        pod.delete()
        try:
            scene.verdicts()
            scene.check()
        except AssertionError as error:
            wrong.append(f"{words}: {error}")
    tally.check("damaged_note_of_a_deletion_touches_no_other_pod", wrong)
    return tries


def blind(scene, tally):
    """What a broken agent would do is seen: the policy is taken away for a moment."""
    scene.resources.delete("policies")
    try:
        wait_until(scene.leaks.count, "what is not denied any more arrives", 3, 0.01)
        tally.ok("harness_sees_what_comes_through")
    except Exception as error:  # pylint: disable=broad-except
        tally.not_ok("harness_sees_what_comes_through", error)
    scene.resources.restore()
    scene.world.policies_in_force()
    scene.verdicts(within=1)
    scene.leaks.count()


def attempt(tally, step, live, starts, commands, noted):
    """Numbers of everything that was tried."""
    rng = random.Random(SEED)
    with Scene() as scene:
        scene.resources.keep()
        blind(scene, tally)
        wait_until(lambda: glob.glob(os.path.join(scene.agent.options["state-dir"], "last-good", "?" * 32)), "copies on the disk", 5)
        totals = by_readers(tally, files(scene), step)
        counts = resource_files(scene, tally, live, rng)
        scene.check()
        held(scene, tally, 2, rng)
        return {"readers": totals, "live": counts, "starts": own_files(scene, tally, starts, rng),
                "commands": configurations(scene, tally, commands, rng), "notes": notes(scene, tally, noted, rng)}


def short(tally):
    attempt(tally, 7, 30, 1, 15, 1)


def record(tally):
    found = attempt(tally, 1, None, 8, None, 10)
    rows = [(WORDS[kind], total["files"], total["cases"], total["refused"], total["same"], total["other"], len(total["wrong"]))
            for kind, total in found["readers"].items()]
    live = found["live"]
    return "\n\n".join([
        page.recorded_by("tests/reliability/run --record --part damage"),
        "Each file was cut at every byte, and each of its bytes flipped by a bit, inverted, set to 0x00 and to 0xff, and given to "
        "the code that reads it, built with AddressSanitizer. Where there is a checksum every damage has to be refused. Resource "
        "files and configurations have none: what a changed byte makes another valid document of, such as a policy with another "
        "label, counts as that.",
        page.table(("files", "number", "damages", "refused", "the same content", "another valid document", "wrong"), rows,
                   right=range(1, 7)),
        f"A file with the policy that closes was damaged in every one of these ways under a running polderd: "
        f"{live['refused']} were refused and told by `polderctl status`, and the pod stayed closed; {live['same']} say the same; "
        f"{live['other']} are other documents. polderd was killed and started with a damaged file {found['starts']} times, "
        f"and with damaged notes of deletions {found['notes']} times: nothing denied came through, no connection broke, the "
        f"log named the file, and it was ready again once the file was whole. `polderd --check-config` and `polder-cni` were "
        f"given {found['commands']} damaged configurations: each ended with a status and a message."])
