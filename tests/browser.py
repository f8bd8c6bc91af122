"""A real headless Chromium, spoken to over its own pipe (DevTools protocol), without any library. For pages of ours.

`chromium()` says where one is. Nothing is listened to on a port, and the browser ends with the `with` block.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--hide-scrollbars", "--force-color-profile=srgb", "--mute-audio"),
)


def chromium() -> str | None:
    """Path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Page:
    """What a page did while it was open."""

    browser: Browser
    session: str
    problems: list[str] = field(default_factory=list)  # console errors and warnings, exceptions, policy violations
    requests: list[str] = field(default_factory=list)  # URLs

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **arguments)

    def evaluate(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, scheme: str, media: str = "") -> None:
        """`scheme` light or dark; `media` print or nothing."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def screenshot(self, place: Path, *, whole: bool = True) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        place.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])


class Browser:
    """One process with any number of pages, one after the other."""

    def __init__(self, path: str, profile: Path) -> None:
        its_in, self._out = os.pipe()
        self._in, its_out = os.pipe()
        # The browser reads commands at 3 and writes answers at 4; both end with a zero byte.
        script = f'exec "$@" 3<&{its_in} 4>&{its_out}'
        command = ["bash", "-c", script, "bash", path, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(its_in, its_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(its_in)
        os.close(its_out)
        self._number = 0
        self._rest = b""
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def call(self, method: str, session: str = "", **arguments: Any) -> dict[str, Any]:
        self._number += 1
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if session:
            asked["sessionId"] = session
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, told
                return dict(told["result"])

    @contextmanager
    def page(self, place: Path, width: int = 1280) -> Iterator[Page]:
        """A file, loaded and laid out."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.resize(width)
        page.call("Page.navigate", url=place.resolve().as_uri())
        while page.evaluate("document.readyState + location.protocol") != "completefile:":
            pass
        page.call("Runtime.evaluate", expression="new Promise(requestAnimationFrame)", awaitPromise=True)
        yield page
        self.call("Target.closeTarget", targetId=target)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 20)
            assert more, "the browser has gone"
            self._rest += more
        one, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(one)
        page = self._pages.get(told.get("sessionId", ""))
        if page is not None and "method" in told:
            _note(page, told["method"], told["params"])
        return told


def _note(page: Page, method: str, params: dict[str, Any]) -> None:
    if method == "Runtime.consoleAPICalled" or method == "Runtime.exceptionThrown":
        page.problems.append(json.dumps(params)[:500])
    elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
        page.problems.append(params["entry"]["text"])
    elif method == "Network.requestWillBeSent":
        page.requests.append(params["request"]["url"])


@contextmanager
def started() -> Iterator[Browser]:
    """Only where `chromium()` found one."""
    path = chromium()
    assert path is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Browser(path, Path(profile)) as browser:
        yield browser
