# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium by its DevTools protocol, through a pair of pipes: nothing but the standard library."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile

from waiting import WITHIN, Waiting


def find():
    """The program, or None. POLDER_CHROMIUM names another one than the path's."""
    named = os.environ.get('POLDER_CHROMIUM')
    return named if named else shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


class Browser(Waiting):
    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix='polder-page.')
        to_read, self.writer = os.pipe()
        self.reader, to_write = os.pipe()
        command = [program, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-extensions',
                   '--disable-background-networking', '--disable-component-update', '--remote-debugging-pipe', f'--user-data-dir={self.profile}', 'about:blank']
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_read, to_write)]
        # The protocol's descriptors are 3 and 4.
        self.process = subprocess.Popen(command, preexec_fn=lambda: [os.dup2(end, 3 + i) for i, end in enumerate(ends)], pass_fds=(3, 4),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in ends:
            os.close(end)
        os.close(to_read)
        os.close(to_write)
        self.number, self.rest, self.events = 0, b'', []
        self.session = None
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def close(self):
        self.process.terminate()
        self.process.wait(WITHIN)
        os.close(self.writer)
        os.close(self.reader)
        shutil.rmtree(self.profile, ignore_errors=True)

    def receive(self):
        while b'\0' not in self.rest:
            part = os.read(self.reader, 1 << 20)
            if not part:
                raise EOFError('the browser has ended')
            self.rest += part
        message, _, self.rest = self.rest.partition(b'\0')
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': params}
        if self.session:
            message['sessionId'] = self.session
        os.write(self.writer, json.dumps(message).encode() + b'\0')
        while True:
            answer = self.receive()
            if answer.get('id') == self.number:
                if 'error' in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer['result']
            if 'method' in answer:
                self.events.append(answer)

    def js(self, expression):
        """What an expression is worth; of a promise, what it promises."""
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in answer:
            raise RuntimeError(answer['exceptionDetails'].get('exception', {}).get('description', str(answer['exceptionDetails'])))
        return answer['result'].get('value')

    def size(self, width, height=900):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def scheme(self, name):
        self.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': name}])

    def open(self, url):
        self.call('Page.navigate', url=url)

    def key(self, name, modifiers=0):
        codes = {'Tab': 9, 'Enter': 13, 'ArrowDown': 40, 'ArrowUp': 38, 'End': 35, 'Home': 36, 'PageDown': 34}
        text = {'Enter': '\r'}.get(name)
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=name, code=name, windowsVirtualKeyCode=codes[name], modifiers=modifiers,
                      **({'text': text} if text and kind == 'keyDown' else {}))

    def write(self, text):
        self.call('Input.insertText', text=text)

    def picture(self, path):
        data = base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])
        with open(path, 'wb') as file:
            file.write(data)

    def complaints(self):
        """What the console says of faults: exceptions, refusals by the policy of contents, failed loads. Forgotten then."""
        self.js('1')
        found = []
        for event in self.events:
            params = event['params']
            if event['method'] == 'Runtime.exceptionThrown':
                found.append(params['exceptionDetails'].get('exception', {}).get('description', params['exceptionDetails']['text']))
            elif event['method'] == 'Log.entryAdded' and params['entry']['level'] == 'error':
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif event['method'] == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning', 'assert'):
                found.append(str([one.get('value') for one in params['args']]))
        self.requests = [event['params']['request']['url'] for event in self.events if event['method'] == 'Network.requestWillBeSent']
        self.events = []
        return found
