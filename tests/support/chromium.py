"""Headless Chromium over a pipe (the DevTools protocol): opens a page, asks it JavaScript, takes pictures. It needs no
further library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patience import PATIENCE

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""Where it is; None: not installed."""


class Page:
    """A page in a running browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, os.fdopen(answers, "rb", buffering=0)
        self._number, self._rest = 0, b""
        self._session: str | None = None
        self.requests: list[str] = []
        """Addresses that the page asked the network for, in order; refused ones too."""
        self.errors: list[str] = []
        """What the page threw, and what its policy refused."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | (
            {"sessionId": self._session} if self._session else {}
        )
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._answers.read(1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._rest += more
        answer, _, self._rest = self._rest.partition(b"\0")
        return json.loads(answer)

    def _note(self, event: dict[str, Any]) -> None:
        value = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(value["request"]["url"][:200])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(value["exceptionDetails"])[:2000])
        elif event.get("method") == "Log.entryAdded" and value["entry"]["level"] == "error":
            self.errors.append(value["entry"]["text"])

    def ask(self, script: str) -> Any:
        """Evaluate a JavaScript expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.ask(f"Boolean({script})"):
            if time.monotonic() > end:
                raise TimeoutError(f"after {PATIENCE:.0f} s still not: {script}; errors: {self.errors}")
            time.sleep(0.02)

    def open(self, path: Path, hash: str = "") -> None:
        """Open a report and wait until it has loaded."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=path.resolve().as_uri() + hash)
        self.wait("document.documentElement?.dataset.loaded")

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """Set the size of the window in CSS pixels, and the colours that the user prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def picture(self, path: Path) -> None:
        """Take a PNG of the window."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """Run a browser with one page and a temporary profile."""
    assert PROGRAM, "no Chromium is installed"
    their_commands, our_commands = os.pipe()
    our_answers, their_answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            f"--user-data-dir={profile}",
        ]
        # The pipe is at 3 and 4 for the browser; 8 and 9 keep the two from being overwritten on the way.
        joined = f'exec "$@" 8<&{their_commands} 9>&{their_answers} 3<&8 4>&9'
        process = subprocess.Popen(
            ["bash", "-c", joined, "bash", PROGRAM, *options, "--remote-debugging-pipe"],
            pass_fds=(their_commands, their_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(their_commands)
        os.close(their_answers)
        try:
            yield Page(our_commands, our_answers)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(our_commands)
