#!/usr/bin/env python3
"""The server's page in a real browser: a typed query, a dropped picture, a dropped sound, keys.

    tests/serve_page.py ADDRESS OUT [--picture FILE] [--sound FILE] [--words TEXT]

ADDRESS is that of a running server with an index. Screenshots (light, dark, phone) are left in OUT.
Needs Chromium and nothing else: it is driven through its debugging pipe. Says so where it is absent.
"""

import argparse
import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time


class Browser:
    """Chromium behind `--remote-debugging-pipe`: JSON messages, each ended by a zero byte."""

    def __init__(self, program):
        self.home = tempfile.mkdtemp()
        to_browser, to_us = os.pipe(), os.pipe()
        self.write, self.read = to_browser[1], to_us[0]

        def wire():
            # By way of other numbers: the ends may be 3 and 4 themselves.
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser[0], to_us[1])]
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
                   "--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream",
                   "--use-fake-device-for-media-stream", f"--user-data-dir={self.home}", "about:blank"]
        self.process = subprocess.Popen([program, *options], preexec_fn=wire, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser[0])
        os.close(to_us[1])
        self.number, self.rest, self.messages = 0, b"", []
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def ask(self, method, parameters=None, session=None):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                piece = os.read(self.read, 1 << 20)
                if not piece:
                    sys.exit("FAILED: the browser has ended")
                self.rest += piece
            text, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"FAILED: {method}: {answer['error']}")
                return answer["result"]
            self.messages.append(answer)

    def call(self, method, **parameters):
        return self.ask(method, parameters, self.session)

    def evaluate(self, script):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            sys.exit(f"FAILED: {script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, script, what, seconds=20):
        end = time.time() + seconds
        # While a page is made, parts of it are missing.
        while not self.evaluate(f"(() => {{ try {{ return {script}; }} catch {{ return false; }} }})()"):
            if time.time() > end:
                sys.exit(f"FAILED: {what} (the page says: {self.evaluate('document.body.innerText')[:300]!r})")
            time.sleep(0.1)
        print(f"ok: {what}")

    def picture(self, path):
        time.sleep(0.4)
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
        print(f"screenshot: {path}")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key, code=None):
        codes = {"Escape": 27, "Enter": 13, "Tab": 9, "ArrowRight": 39}
        for kind in ["keyDown", "keyUp"]:
            extra = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code or key,
                      windowsVirtualKeyCode=codes.get(key, 0), **extra)

    def drop(self, path):
        """A file let go over the page, as the browser makes one of a real drag."""
        data = {"items": [], "files": [os.path.abspath(path)], "dragOperationsMask": 1}
        for kind in ["dragEnter", "dragOver", "drop"]:
            self.call("Input.dispatchDragEvent", type=kind, x=300, y=400, data=data)
            if kind == "dragOver":
                self.wait("!document.getElementById('drop').hidden", "the page shows that it takes a drop")

    def screen(self, width, height, dark=False, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1,
                  mobile=phone)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def troubles(self):
        """What the console says that is no note: errors, refused by the policy, failed requests."""
        found = []
        for message in self.messages:
            parameters = message.get("params", {})
            if message.get("method") == "Runtime.exceptionThrown":
                found.append(parameters["exceptionDetails"].get("text", "") +
                             str(parameters["exceptionDetails"].get("exception", {}).get("description", "")))
            if message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(parameters["entry"]["text"])
        return found

    def requests(self):
        sent = [message["params"]["request"]["url"] for message in self.messages
                if message.get("method") == "Network.requestWillBeSent"]
        return [url for url in sent if url.startswith("http")]

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.home, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("out")
    parser.add_argument("--picture")
    parser.add_argument("--sound")
    parser.add_argument("--words", default="red heart")
    given = parser.parse_args()
    program = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if program is None:
        print("skipped: Chromium is not installed")
        return
    os.makedirs(given.out, exist_ok=True)
    out = lambda name: os.path.join(given.out, name)
    browser = Browser(program)
    answers = "document.querySelectorAll('main .score').length > 0 && !document.querySelector('main.stale')"
    loaded = "[...document.images].slice(0, 12).every((image) => image.complete && image.naturalWidth > 0)"
    state = "document.getElementById('state').textContent"

    browser.screen(1200, 900)
    browser.call("Page.navigate", url=given.address)
    browser.wait("document.querySelectorAll('main li').length > 0", "some items to begin with")
    browser.wait(loaded, "their pictures are there")
    browser.picture(out("welcome.png"))

    browser.wait("document.activeElement.id === 'words'", "the field is ready to type in")
    browser.type(given.words)
    browser.wait(answers, f"answers to `{given.words}` without a key pressed")
    browser.wait(loaded, "the answers' pictures are there")
    print("    the page says:", browser.evaluate(state))
    browser.picture(out("words-light.png"))
    browser.screen(1200, 900, dark=True)
    browser.picture(out("words-dark.png"))
    browser.screen(390, 844, phone=True)
    browser.picture(out("words-phone.png"))
    browser.wait("document.documentElement.scrollWidth <= innerWidth", "nothing is wider than a phone")
    browser.screen(1200, 900)

    browser.evaluate("document.querySelector('#targets input').click()")
    browser.wait("document.querySelector('main img') === null && " + answers, "what is not looked for is not answered")
    browser.picture(out("others-light.png"))
    browser.evaluate("document.querySelector('#targets input').click()")
    browser.wait("document.querySelector('main img') !== null && " + answers, "and is again")

    browser.evaluate("document.querySelector('.more').focus()")
    browser.press("ArrowRight")
    browser.wait("document.activeElement === document.querySelectorAll('.more')[1]", "arrows go from answer to answer")
    browser.press("Enter")
    browser.wait("document.querySelector('.piece') !== null && document.getElementById('words').value === ''",
                 "Enter on an answer asks for more like it")
    browser.wait(answers, "and is answered")
    browser.press("Escape")
    browser.wait("document.querySelector('.piece') === null && document.querySelector('main .score') === null",
                 "Escape begins anew")

    if given.picture:
        browser.drop(given.picture)
        browser.wait("document.querySelector('.piece img') !== null", "a dropped picture is taken")
        browser.wait(answers, "and is answered")
        browser.wait(loaded, "with pictures")
        browser.picture(out("picture-light.png"))
        browser.screen(390, 844, dark=True, phone=True)
        browser.picture(out("picture-phone-dark.png"))
        browser.screen(1200, 900)
        browser.evaluate("document.querySelector('.away').click()")
        browser.wait("document.querySelector('main .score') === null", "and is taken away again")
    if given.sound:
        browser.drop(given.sound)
        browser.wait("document.querySelector('.piece .play') !== null", "a dropped sound is taken")
        browser.wait(answers, "and is answered")
        browser.picture(out("sound-light.png"))
        browser.press("Escape")
        browser.wait("document.querySelector('main .score') === null", "and is put away")
        browser.evaluate("document.getElementById('record').click()")
        browser.wait("document.getElementById('record').ariaPressed === 'true'", "a recording begins")
        time.sleep(1.5)
        browser.evaluate("document.getElementById('record').click()")
        browser.wait(answers, "the recorded sound is answered")
        browser.press("Escape")

    # Markup in words stays words.
    browser.wait("document.querySelector('main .score') === null", "a clean page")
    browser.type("<img src=x onerror=alert(1)>")
    browser.wait(answers, "markup is but words")

    elsewhere = [url for url in browser.requests() if not url.startswith(given.address)]
    troubles = browser.troubles()
    browser.close()
    if elsewhere or troubles:
        sys.exit(f"FAILED: asked elsewhere: {elsewhere}; console: {troubles}")
    print("ok: nothing was asked of anyone else, and the console is silent")


if __name__ == "__main__":
    main()
