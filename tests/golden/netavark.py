#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What polder-netavark makes of the input that podman 5.4 and netavark 1.14 give: netavark.py POLDER_NETAVARK [--update]

Each netavark/SUBCOMMAND-NAME.json is such an input; beside it, in .said, what polderd is asked and what is printed."""

import difflib
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / 'cni'))
sys.dont_write_bytecode = True
from recorder import Recorder  # noqa: E402
from spaces import Namespace  # noqa: E402

ANSWERS = {
    'status': {'pod_cidrs': ['10.77.0.0/24', 'fd00:77::/112']},
    'cni.add': {'interfaces': [{'name': 'pld0a1b2c', 'mac': '02:70:6f:6c:64:72'},
                               {'name': 'eth0', 'mac': '0a:58:0a:4d:00:05', 'sandbox': '/x'}],
                'ips': [{'address': '10.77.0.5/32', 'gateway': '169.254.1.1', 'interface': 1},
                        {'address': 'fd00:77::5/128', 'gateway': 'fe80::1', 'interface': 1}],
                'routes': [{'dst': '0.0.0.0/0', 'gw': '169.254.1.1'}, {'dst': '::/0', 'gw': 'fe80::1'}], 'dns': {}},
}


def said(program, case, netns, directory):
    socket, subcommand = f'{directory}/polder.sock', case.stem.split('-')[0]
    command = [program, subcommand] + ([] if subcommand == 'create' else [netns])
    with Recorder(socket, lambda operation, args: ANSWERS.get(operation, {})) as recorder:
        done = subprocess.run(command, input=case.read_text().replace('@SOCKET@', socket), capture_output=True, text=True, timeout=60,
                              check=False)
        asked = [{'op': request['op'], 'args': request['args']} for request in recorder.requests]
    text = ''.join(json.dumps(request, indent=2, sort_keys=True) + '\n' for request in asked)
    if done.stdout:
        text += 'output ' + json.dumps(json.loads(done.stdout), indent=2, sort_keys=True) + '\n'
    return (text + f'exit status {done.returncode}\n').replace(socket, '@SOCKET@').replace(netns, '@NETNS@')


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program, failed, cases = str(pathlib.Path(sys.argv[1]).absolute()), 0, sorted((HERE / 'netavark').glob('*.json'))
    with Namespace() as namespace, tempfile.TemporaryDirectory() as directory:
        for case in cases:
            text, expected = said(program, case, namespace.path, directory), case.with_suffix('.said')
            if '--update' in sys.argv:
                expected.write_text(text)
            same = expected.exists() and expected.read_text() == text
            print('ok' if same else 'not ok', 'netavark', case.stem)
            failed += not same
            if not same and expected.exists():
                print('\n'.join(difflib.unified_diff(expected.read_text().splitlines(), text.splitlines(), expected.name, 'now', lineterm='')))
    sys.exit(1 if failed or not cases else 0)


if __name__ == '__main__':
    main()
