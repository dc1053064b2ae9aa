# SPDX-License-Identifier: Apache-2.0
"""Makes a case that differs as small as it can be, and tells it in words."""

import copy
import json
import re
import time

from case_runner import Difference


def differs(runner, case, tries=2):
    """The difference, or None. What the node chooses by chance may need more than one try."""
    for _ in range(tries):
        try:
            runner.run(case)
        except Difference as difference:
            return difference
        except Exception:  # pylint: disable=broad-except
            return None  # a smaller case that makes no sense
    return None


def kind_of(difference):
    """What it is about, without names and numbers: a smaller case must show the same."""
    return re.sub(r'\(.*|[0-9a-f:.]*[0-9][0-9a-f:.]*', '', difference.what.splitlines()[0])[:80]


class Shrinker:
    def __init__(self, runner, case, seconds):
        self.runner, self.case = runner, case
        self.until = time.monotonic() + seconds
        self.kind = None

    def accept(self, candidate):
        if time.monotonic() > self.until:
            return False
        difference = differs(self.runner, candidate)
        if difference is None or kind_of(difference) != self.kind:
            return False
        self.case = candidate
        return True

    def list_at(self, case, path):
        for part in path:
            case = case[part]
        return case

    def thin(self, path):
        """Leaves out parts of a list: halves first, then ever smaller ones."""
        size = len(self.list_at(self.case, path))
        while size >= 1:
            at = 0
            while at < len(self.list_at(self.case, path)) and time.monotonic() < self.until:
                candidate = copy.deepcopy(self.case)
                del self.list_at(candidate, path)[at:at + size]
                if not self.accept(candidate):
                    at += size
            size //= 2

    def drop(self, path, key):
        candidate = copy.deepcopy(self.case)
        if self.list_at(candidate, path).pop(key, None) is not None:
            self.accept(candidate)

    def run(self):
        difference = differs(self.runner, self.case, 5)
        if difference is None:
            return None
        self.kind = kind_of(difference)
        if difference.step is not None:
            self.accept(dict(self.case, steps=self.case['steps'][:difference.step + 1]))
        self.thin(['steps'])
        for number, step in enumerate(self.case['steps']):
            for key in ('packets', 'objects'):
                if key in step:
                    self.thin(['steps', number, key])
        self.thin(['steps'])
        for number, step in enumerate(self.case['steps']):
            for at in range(len(step.get('objects', ()))):
                self.trim(['steps', number, 'objects', at])
            for at in range(len(step.get('packets', ()))):
                for key in ('payload', 'no_check', 'ttl', 'options', 'frag', 'router'):
                    self.drop(['steps', number, 'packets', at], key)
        difference = differs(self.runner, self.case, 10)
        self.case['story'] = story(self.case, difference)
        return self.case

    def trim(self, path):
        """Rules, peers, ports and terms of one object."""
        spec = self.list_at(self.case, path).get('spec') or {}
        for section in ('ingress', 'egress', 'ports', 'containers', 'initContainers'):
            if isinstance(spec.get(section), list):
                self.thin(path + ['spec', section])
        for section in ('ingress', 'egress'):
            for at in range(len(self.list_at(self.case, path).get('spec', {}).get(section) or ())):
                for part in ('from', 'to', 'ports', 'protocols'):
                    rule = path + ['spec', section, at]
                    if isinstance(self.list_at(self.case, rule).get(part), list):
                        self.thin(rule + [part])
        if isinstance(self.list_at(self.case, path).get('endpoints'), list):
            self.thin(path + ['endpoints'])
        self.drop(path + ['metadata'], 'labels')


def story(case, difference):
    lines = []
    for step in case['steps']:
        if step['op'] == 'put':
            for obj in step['objects']:
                meta = obj['metadata']
                lines.append(f'{obj["kind"]} {meta.get("namespace", "")}/{meta["name"]} is there'
                             f'{" " + json.dumps(obj["spec"]) if "Policy" in obj["kind"] else ""}')
        elif step['op'] == 'run':
            lines += [f'packet {json.dumps(packet)}' for packet in step['packets']]
        else:
            lines.append(' '.join(str(value) for value in step.values()))
    lines += (str(difference) if difference is not None else 'did not differ again').splitlines()
    return lines
