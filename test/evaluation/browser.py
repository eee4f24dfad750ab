"""A headless Chromium under test, spoken to over a pipe: it reaches no network, and whatever it asks for is written down."""
import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time

PROGRAM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
OPTIONS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-sync',
           '--disable-component-update', '--disable-dev-shm-usage', '--disable-extensions', '--remote-debugging-pipe',
           '--host-resolver-rules=MAP * ~NOTFOUND', '--proxy-server=127.0.0.1:9')     # whatever should ask for a host gets none
PATIENCE_S = 240.0       # of a busy machine


class Browser:
    """One page in one Chromium, with a new profile in `folder`."""

    def __init__(self, folder):
        theirs_in, self.out = os.pipe()
        self.inp, theirs_out = os.pipe()
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.log = open(folder / 'browser.log', 'wb')
        self.process = subprocess.Popen(['bash', '-c', command, 'bash', PROGRAM, *OPTIONS, f'--user-data-dir={folder / "profile"}', 'about:blank'],
                                        pass_fds=(theirs_in, theirs_out), stdout=self.log, stderr=self.log, start_new_session=True,
                                        env={**os.environ, 'HOME': str(folder)})
        os.close(theirs_in)
        os.close(theirs_out)
        self.count, self.left, self.events, self.session = 0, b'', [], None
        target = next(item for item in self.ask('Target.getTargets')['targetInfos'] if item['type'] == 'page')
        self.session = self.ask('Target.attachToTarget', targetId=target['targetId'], flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.ask(f'{domain}.enable')

    def ask(self, method, **params):
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        self.count += 1
        message = {'id': self.count, 'method': method, 'params': params, **({'sessionId': self.session} if self.session else {})}
        os.write(self.out, json.dumps(message).encode() + b'\0')
        answer = self._until(lambda item: item.get('id') == self.count)
        assert 'error' not in answer, f'{method}: {answer["error"]}'
        return answer['result']

    def _until(self, wanted):
        end = time.monotonic() + PATIENCE_S
        while True:
            while b'\0' in self.left:
                item, self.left = self.left.split(b'\0', 1)
                item = json.loads(item)
                if 'method' in item:
                    self.events.append(item)
                if wanted(item):
                    return item
            assert select.select([self.inp], [], [], max(end - time.monotonic(), 0))[0], 'the browser does not answer'
            data = os.read(self.inp, 1 << 20)
            assert data, 'the browser is gone'
            self.left += data

    def open(self, path, width=1280, height=900, dark=False, paper=False):
        """Open a file as on a screen of that size and wait until it is loaded; what it asks for is `requests` from here on."""
        self.events.clear()
        self.ask('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 700)
        self.ask('Emulation.setEmulatedMedia', media='print' if paper else '', features=[
            {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])
        self.ask('Page.navigate', url=path.resolve().as_uri())
        if not any(item['method'] == 'Page.loadEventFired' for item in self.events):
            self._until(lambda item: item.get('method') == 'Page.loadEventFired')

    def run(self, expression):
        """Evaluate JavaScript in the page: -> its value"""
        found = self.ask('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in found, found['exceptionDetails']
        return found['result'].get('value')

    def click(self, x, y):
        """Click where a person would."""
        for kind in ('mousePressed', 'mouseReleased'):
            self.ask('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    @property
    def requests(self):
        """List the addresses that the page asked for since it was opened, but for what it carries itself."""
        asked = [item['params']['request']['url'] for item in self.events if item['method'] == 'Network.requestWillBeSent']
        return [address for address in asked if not address.startswith('data:')]

    @property
    def complaints(self):
        """List what the console says."""
        return [item['params'] for item in self.events if item['method'] in ('Log.entryAdded', 'Runtime.exceptionThrown', 'Runtime.consoleAPICalled')]

    def picture(self, path, whole=True):
        """Take a picture of the page."""
        shot = self.ask('Page.captureScreenshot', format='png', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot['data']))
        return path

    def close(self):
        """End the browser with its children."""
        for descriptor in (self.out, self.inp):
            os.close(descriptor)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()
