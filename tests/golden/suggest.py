#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Compares the policies that polderctl makes of recorded histories, suggest/*.json, with what is written beside them, and has policy check
judge them. polderd is played here. suggest.py POLDERCTL [--update]
"""

import difflib
import json
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading

CASES = pathlib.Path(__file__).parent / 'suggest'


def answer(listener, lines):
    """One request, then its lines in some order, the end last: the order of a history is that of time."""
    connection, _ = listener.accept()
    with connection:
        connection.makefile().readline()
        seen = [line for line in lines if line['type'] == 'seen']
        random.shuffle(seen)
        for line in seen + [line for line in lines if line['type'] == 'end']:
            connection.sendall((json.dumps({'version': 1, 'ok': True, 'result': line}) + '\n').encode())
        connection.recv(1)  # until it hangs up


def ask(polderctl, case):
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = f'{directory}/socket'
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener, case['lines']), daemon=True)
        thread.start()
        result = subprocess.run([polderctl, '--socket', path, 'policy', 'suggest', *case['options']], capture_output=True, text=True, timeout=60, check=False)
        thread.join()
    return result


def check(polderctl, text):
    """What policy check says of it; '' if it is valid without a warning."""
    result = subprocess.run([polderctl, 'policy', 'check', '--strict', '-'], input=text, capture_output=True, text=True, timeout=60, check=False)
    return '' if result.returncode == 0 else result.stdout + result.stderr


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    polderctl = str(pathlib.Path(sys.argv[1]).absolute())
    failed, cases = 0, sorted(CASES.glob('*.json'))
    for case in cases:
        said = json.loads(case.read_text())
        result = ask(polderctl, said)
        text = result.stdout + result.stderr + (f'# exit status {result.returncode}\n' if result.returncode else '')
        expected = case.with_suffix('.said')
        if '--update' in sys.argv:
            expected.write_text(text)
        faults = check(polderctl, result.stdout) if result.returncode == 0 else ''
        same = expected.exists() and expected.read_text() == text
        print('ok' if same and not faults else 'FAILED', case.stem, faults)
        failed += not same or bool(faults)
        if not same and expected.exists():
            print('\n'.join(difflib.unified_diff(expected.read_text().splitlines(), text.splitlines(), expected.name, 'now', lineterm='')))
    print(f'{len(cases)} cases, {failed} failed')
    sys.exit(1 if failed or not cases else 0)


if __name__ == '__main__':
    main()
