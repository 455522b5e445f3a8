"""A headless Chromium, driven over the pipe of its debugging protocol: no package is needed for that."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time

from processes import check, eventually, process

NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]


class Page:
    """The one page of a browser. What goes wrong in it is kept in `complaints`, what it asks for in `requested`."""

    def __init__(self, to_browser, from_browser):
        self.to_browser = to_browser
        self.from_browser = from_browser
        self.number = 0
        self.received = b""
        self.complaints = []
        self.requested = []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """What the browser answers; events that come before are noted."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 20
        while True:
            answer = self.receive(deadline - time.monotonic())
            check(answer is not None, f"the browser does not answer {method}")
            if answer.get("id") == self.number:
                check("error" not in answer, f"{method}: {answer.get('error')}")
                return answer["result"]

    def receive(self, seconds):
        while b"\0" not in self.received:
            readable, _, _ = select.select([self.from_browser], [], [], max(0, seconds))
            if not readable:
                return None
            received = os.read(self.from_browser, 1 << 20)
            check(received, "the browser is gone")
            self.received += received
        message, _, self.received = self.received.partition(b"\0")
        message = json.loads(message)
        self.note(message.get("method"), message.get("params"))
        return message

    def note(self, event, said):
        if event == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(said["args"]))
        elif event == "Log.entryAdded":
            entry = said["entry"]
            self.complaints.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.receive(left)

    def value(self, expression):
        """What a JavaScript expression is in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        check("exceptionDetails" not in answer, f"{expression}: {answer.get('exceptionDetails')}")
        return answer["result"].get("value")

    def eventually(self, what, expression, seconds=20):
        return eventually(what, seconds, lambda: self.value(expression) or None)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.eventually(f"{url} is there", "document.readyState === 'complete'")

    def click(self, selector):
        """Clicks in the middle of an element, as a mouse does."""
        place = self.value(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            "element.scrollIntoView({block: 'center'}); const {x, y, width, height} = element.getBoundingClientRect();"
            "return [x + width / 2, y + height / 2]; })()"
        )
        for kind in ["mousePressed", "mouseReleased"]:
            x, y = place
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, code=0, text=""):
        for kind in ["keyDown", "keyUp"]:
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def size(self, width, height):
        is_phone = width < 600
        scale = 2 if is_phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=is_phone
        )

    def look(self, width, height, scheme, path):
        """Keeps a picture of the page at this size, in the scheme `light` or `dark`."""
        self.size(width, height)
        self.value("scrollTo(0, 0)")
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.wait(0.5)
        picture = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(picture["data"]))


@contextlib.contextmanager
def browser(scratch):
    """A browser with an empty profile, and its page; it is ended when the block is left."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    check(program, f"there is none of {', '.join(NAMES)}")
    # The browser has its ends of the pipes at 3 and 4, whatever these are here.
    for_browser, to_browser = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
    from_browser, by_browser = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())

    def place_pipes():
        os.dup2(for_browser, 3)
        os.dup2(by_browser, 4)

    arguments = [
        program,
        "--headless",
        "--remote-debugging-pipe",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
        f"--user-data-dir={scratch / 'profile'}",
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    log = scratch / "browser.log"
    with process(arguments, log, signal.SIGTERM, preexec_fn=place_pipes, pass_fds=(3, 4)):
        os.close(for_browser)
        os.close(by_browser)
        yield Page(to_browser, from_browser)
