#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what dump-rulesets says of each case with what is written beside it: compare.py DUMPER [--update] [NAME...]"""

import difflib
import pathlib
import subprocess
import sys

CASES = pathlib.Path(__file__).parent / 'cases'


def dump(dumper, case):
    result = subprocess.run([dumper, str(case)], capture_output=True, text=True, timeout=60)
    if result.returncode != 0:
        return None, f'dump-rulesets ended with {result.returncode}: {result.stderr}'
    return result.stdout, None


def check(dumper, case, update):
    """The complaint, or None."""
    expected = case.with_suffix('.rules')
    text, problem = dump(dumper, case)
    if problem:
        return problem
    if update:
        expected.write_text(text)
        return None
    if not expected.exists():
        return f'{expected.name} is missing; write it with --update and read it'
    if text == expected.read_text():
        return None
    lines = difflib.unified_diff(expected.read_text().splitlines(), text.splitlines(), expected.name, 'now', lineterm='')
    return '\n'.join(lines)


def main():
    arguments = [a for a in sys.argv[1:] if a != '--update']
    if not arguments:
        sys.exit(__doc__)
    dumper, names = arguments[0], arguments[1:]
    failed = 0
    cases = sorted(c for c in CASES.glob('*.json') if not names or c.stem in names)
    for case in cases:
        problem = check(dumper, case, '--update' in sys.argv)
        print('ok' if problem is None else 'FAILED', case.stem)
        if problem is not None:
            failed += 1
            print(problem)
    print(f'{len(cases)} cases, {failed} failed')
    sys.exit(1 if failed or not cases else 0)


if __name__ == '__main__':
    main()
