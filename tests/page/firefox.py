# SPDX-License-Identifier: Apache-2.0
"""Headless Firefox by its Marionette protocol, through a socket: nothing but the standard library. The same methods as chromium.Browser."""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

from waiting import WITHIN, Waiting

# The browser asks nobody of its own accord, and takes no network for none. Marionette turns off most of the rest.
PREFERENCES = {'marionette.port': 0, 'network.manage-offline-status': False, 'network.captive-portal-service.enabled': False,
               'network.connectivity-service.enabled': False, 'datareporting.policy.dataSubmissionEnabled': False,
               'toolkit.telemetry.enabled': False, 'browser.shell.checkDefaultBrowser': False, 'browser.startup.page': 0,
               'layout.css.prefers-color-scheme.content-override': 1}
KEYS = {'Tab': '\ue004', 'Enter': '\ue007', 'ArrowDown': '\ue015', 'ArrowUp': '\ue013', 'End': '\ue010', 'Home': '\ue011', 'PageDown': '\ue00f'}

# Of the browser's own window: what pages ask for is kept there.
WATCH = '''
window.polderAsked = [];
window.polderObserver = {observe(subject) {
	const channel = subject.QueryInterface(Ci.nsIHttpChannel);
	if (channel.loadInfo.browsingContextID)
		polderAsked.push(channel.URI.spec);
}};
Services.obs.addObserver(polderObserver, 'http-on-modify-request');
'''
# A window cannot be as narrow as a telephone: what shows the page can.
SIZE = '''
const {style} = gBrowser.selectedBrowser;
for (const [name, value] of [['width', arguments[0]], ['height', arguments[1]]])
	for (const key of [name, `min-${name}`, `max-${name}`])
		style.setProperty(key, `${value}px`, 'important');
'''
COMPLAINTS = '''
const found = Services.console.getMessageArray().filter((one) => one instanceof Ci.nsIScriptError && !(one.flags & Ci.nsIScriptError.warningFlag))
	.filter((one) => /^(https?|about|data):/.test(one.sourceName) || /Content.Security|content javascript/.test(one.category))
	.map((one) => `${one.errorMessage} ${one.sourceName}:${one.lineNumber}`);
Services.console.reset();
return [found, polderAsked.splice(0)];
'''


def find():
    """The program, or None. POLDER_FIREFOX names another one than the path's."""
    return os.environ.get('POLDER_FIREFOX') or shutil.which('firefox-esr') or shutil.which('firefox')


class Browser(Waiting):
    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix='polder-page.')
        with open(os.path.join(self.profile, 'user.js'), 'w', encoding='utf-8') as file:
            file.writelines(f'user_pref({json.dumps(name)}, {json.dumps(value)});\n' for name, value in PREFERENCES.items())
        self.process = subprocess.Popen([program, '--headless', '--no-remote', '--profile', self.profile, '--marionette', '--remote-allow-system-access',
                                         'about:blank'], env={**os.environ, 'HOME': self.profile}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.number, self.rest, self.requests = 0, b'', []
        self.socket = socket.create_connection(('127.0.0.1', self._port()), WITHIN)
        self.socket.settimeout(2 * WITHIN)
        self._receive()  # what it calls itself
        self.call('WebDriver:NewSession', capabilities={})
        self._chrome(WATCH)

    def close(self):
        try:
            self.call('Marionette:Quit', flags=['eForceQuit'])
        finally:
            self.socket.close()
            self.process.wait(WITHIN)
            shutil.rmtree(self.profile, ignore_errors=True)

    def _port(self):
        """It is written to a file of the profile once somebody listens there."""
        path, end = os.path.join(self.profile, 'MarionetteActivePort'), time.monotonic() + WITHIN
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise EOFError(f'the browser has ended with status {self.process.returncode}')
            if os.path.exists(path):
                with open(path, encoding='ascii') as file:
                    port = file.read().strip()
                if port:
                    return int(port)
            time.sleep(0.05)
        raise TimeoutError(f'the browser does not listen after {WITHIN} s')

    def _receive(self):
        """A message: its length, a colon, JSON."""
        while b':' not in self.rest or len(self.rest) < len(self.rest.split(b':')[0]) + 1 + int(self.rest.split(b':')[0]):
            part = self.socket.recv(1 << 16)
            if not part:
                raise EOFError('the browser has ended')
            self.rest += part
        length, _, rest = self.rest.partition(b':')
        message, self.rest = rest[:int(length)], rest[int(length):]
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = json.dumps([0, self.number, method, params]).encode()
        self.socket.sendall(str(len(message)).encode() + b':' + message)
        _, number, error, result = self._receive()
        assert number == self.number, f'{method}: the answer to {number}'
        if error:
            raise RuntimeError(f"{method}: {error['message']}")
        return result

    def _chrome(self, script, *args):
        """In the browser's own window, not the page's."""
        self.call('Marionette:SetContext', value='chrome')
        try:
            return self.call('WebDriver:ExecuteScript', script=script, args=list(args))['value']
        finally:
            self.call('Marionette:SetContext', value='content')

    def js(self, expression):
        """What an expression is worth; of a promise, what it promises."""
        return self.call('WebDriver:ExecuteScript', script=f'return ({expression});', args=[])['value']

    def size(self, width, height=900):
        self._chrome(SIZE, width, height)
        self.wait(f'innerWidth === {width} && innerHeight === {height}')

    def scheme(self, name):
        self._chrome('Services.prefs.setIntPref("layout.css.prefers-color-scheme.content-override", arguments[0])', int(name != 'dark'))
        self.wait(f'matchMedia("(prefers-color-scheme: {name})").matches')

    def open(self, url):
        self.call('WebDriver:Navigate', url=url)

    def key(self, name):
        self._type(KEYS[name])

    def write(self, text):
        self._type(text)

    def _type(self, text):
        actions = [{'type': kind, 'value': one} for one in text for kind in ('keyDown', 'keyUp')]
        self.call('WebDriver:PerformActions', actions=[{'type': 'key', 'id': 'keyboard', 'actions': actions}])

    def picture(self, path):
        data = self.call('WebDriver:TakeScreenshot', full=False)['value']
        with open(path, 'wb') as file:
            file.write(base64.b64decode(data))

    def complaints(self):
        """What the console says of faults: exceptions, refusals by the policy of contents. Forgotten then."""
        self.js('1')
        found, self.requests = self._chrome(COMPLAINTS)
        return found
