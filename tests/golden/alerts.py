#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Compares what polderctl alert test tells of each recording alerts/*.jsonl, by the objects beside it, with what is written there, and
checks the set of alerts that Polder comes with: alerts.py POLDERCTL [--update]
"""

import difflib
import pathlib
import subprocess
import sys

CASES = pathlib.Path(__file__).parent / 'alerts'
SHIPPED = CASES.parents[2] / 'deploy' / 'traffic-alerts.json'


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    failed, cases = 0, sorted(CASES.glob('*.jsonl'))
    for case in cases:
        words = [str(pathlib.Path(sys.argv[1]).absolute()), 'alert', 'test', case.name, case.with_suffix('.yaml').name]
        result = subprocess.run(words, cwd=CASES, capture_output=True, text=True, timeout=60, check=False)
        text = result.stdout + result.stderr + f'exit status {result.returncode}\n'
        expected = case.with_suffix('.said')
        if '--update' in sys.argv:
            expected.write_text(text)
        same = expected.exists() and expected.read_text() == text
        print('ok' if same else 'FAILED', case.stem)
        failed += not same
        if not same and expected.exists():
            print('\n'.join(difflib.unified_diff(expected.read_text().splitlines(), text.splitlines(), expected.name, 'now', lineterm='')))
    result = subprocess.run([sys.argv[1], 'policy', 'check', '--strict', SHIPPED], capture_output=True, text=True, timeout=60, check=False)
    if result.returncode:
        print(result.stdout, result.stderr)
        failed += 1
    print(f'{len(cases)} cases, {failed} failed')
    sys.exit(1 if failed or not cases else 0)


if __name__ == '__main__':
    main()
