#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom: folders stand in an order, and none includes one above it. See docs/architecture.md."""

import os
import re
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# From the bottom to the top. A folder includes itself and those below it.
ORDER = ['datapath', 'agent/common', 'policy/objects', 'policy/alerts', 'policy/compile', 'agent/yaml', 'agent/kernel', 'agent/config', 'agent/store',
         'agent/sources', 'agent/sources/api', 'agent/cleanup', 'agent/pods', 'agent/node', 'agent/services', 'agent/announce', 'agent/policy', 'agent/observe', 'agent/reconcile',
         'agent/control', 'agent/ui', 'agent/show', 'agent/explain', 'agent/dryrun', 'agent/capture', 'agent/daemon', 'agent/cli', 'plugin', 'cni', 'netavark']

# What includes less than stands below it.
ONLY = {
    'agent/common': {'datapath'},
    'agent/yaml': {'datapath', 'policy/objects', 'agent/common'},
    'agent/kernel': {'datapath', 'agent/common'},
    'agent/cleanup': {'agent/common', 'agent/kernel'},
    'agent/cli': {'datapath', 'policy/objects', 'policy/alerts', 'agent/common', 'agent/yaml', 'agent/cleanup', 'agent/kernel'},
    'plugin': {'agent/common'},
    'cni': {'agent/common', 'plugin'},
    'netavark': {'agent/common', 'plugin'},
}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def includes(files):
    """(file, header) of each include that names a folder."""
    for path in files:
        if re.match(r'(agent|cni|datapath|netavark|plugin|policy)/.*\.[ch]$', path):
            with open(os.path.join(SOURCE, path), encoding='utf-8') as file:
                for header in INCLUDE.findall(file.read()):
                    if '/' in header:
                        yield path, header


def allowed(folder, other):
    if folder == other:
        return True
    if folder not in ORDER or other not in ORDER:
        return False
    return other in ONLY[folder] if folder in ONLY else ORDER.index(other) < ORDER.index(folder)


def check_includes(files):
    return [f'{path} includes {header}' for path, header in includes(files)
            if not allowed(os.path.dirname(path), os.path.dirname(header))]


def check_mirror(files):
    """The folders of tests/unit are those of what is tested."""
    folders = {os.path.dirname(path) for path in files}
    return sorted({f'{path}: there is no {folder}/' for path in files
                   for folder in [os.path.dirname(path)[len('tests/unit/'):]]
                   if re.match(r'tests/unit/.+/.*\.[ch]$', path) and folder not in folders})


def tracked():
    for directory in ('agent', 'cni', 'datapath', 'netavark', 'plugin', 'policy', 'tests/unit'):
        for at, _, names in os.walk(os.path.join(SOURCE, directory)):
            yield from (os.path.relpath(os.path.join(at, name), SOURCE) for name in names)


CHECKS = {
    'no_folder_includes_one_above_it': check_includes,
    'unit_tests_stand_in_the_folders_of_what_they_test': check_mirror,
}


def main():
    failed, files = 0, sorted(tracked())
    for name, check in CHECKS.items():
        wrong = check(files)
        failed += bool(wrong)
        print(f'not ok {name} - {"; ".join(wrong)}' if wrong else f'ok {name}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
