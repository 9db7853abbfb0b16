"""A served app and a real browser for tests of the Space."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hf_relabel.hub_tools.space.deployed_files import space_files
from tests.hub_tools.release_clients import COMMAND_LINE, Client

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
START_SECONDS = 300
ON_THE_HUB = """
import json, sys
from hf_relabel.hub_tools.space.people.answered import audit_of
sample, answers = audit_of(sys.argv[1])
print(json.dumps(sorted([answer.person, answer.id, answer.value] for answer in answers)))
"""
AS_A_SPACE = """
import runpy, sys
import hf_relabel
assert hf_relabel.__file__.startswith(sys.argv[1].removesuffix("app.py")), "not from the deployed files"
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def chromium() -> str:
    """Where the browser is. Where there is none tests are skipped, but not in CI."""
    found = next((path for path in CHROMIUM if Path(path).exists()), None)
    if found is None:
        missing = f"No Chromium is installed (looked for {', '.join(CHROMIUM)})."
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return str(found)


@contextmanager
def real_browser() -> Iterator[Browser]:
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Server:
    """A process that serves the app; it can be killed and started again on the same port."""

    client: Client
    code: str
    arguments: tuple[str, ...]
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    log: Path = Path(os.devnull)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.code, *self.arguments],
                env={**self.client.environment(), **self.environment},
                stdout=log,
                stderr=log,
                text=True,
            )
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/", timeout=10).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert self.process.poll() is None, self.said()
                assert time.monotonic() < give_up, self.said()
                time.sleep(0.1)

    def said(self) -> str:
        return self.log.read_text()[-3000:] if self.log.is_file() else ""

    def kill(self) -> None:
        """As a power cut does."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """As an orderly end does. Returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@contextmanager
def served(client: Client, release: str, folder: Path, *options: str) -> Iterator[Server]:
    """`hf relabel space serve`."""
    port = free_port()
    arguments = ["space", "serve", release, "--port", str(port), "--answers", str(folder / "answers"), *options]
    server = Server(client, COMMAND_LINE, tuple(arguments), port, log=folder / f"server-{port}.log")
    yield from _running(server)


@contextmanager
def space(client: Client, release: str, folder: Path, *people: str) -> Iterator[Server]:
    """The app as a Space runs it: from the files that are deployed, with the sign-in of the local Hub."""
    port = free_port()
    for path, content in space_files().items():
        (folder / "app" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "app" / path).write_bytes(content)
    body = json.dumps({"redirect_uris": [f"http://127.0.0.1:{port}/login/callback"]}).encode()
    request = urllib.request.Request(f"{client.url}/oauth/register", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        registered = json.load(answer)
    environment = {
        "PYTHONPATH": str(folder / "app"),
        "SYSTEM": "spaces",
        "SPACE_ID": "user/space",
        "GRADIO_SERVER_PORT": str(port),
        "OAUTH_CLIENT_ID": registered["client_id"],
        "OAUTH_CLIENT_SECRET": registered["client_secret"],
        "OAUTH_SCOPES": "openid profile",
        "OPENID_PROVIDER_URL": client.url,
        "HF_RELABEL_RELEASE": release,
        "HF_RELABEL_SAMPLE": "60",
        "HF_RELABEL_PEOPLE": ",".join(people),
        "HF_RELABEL_ANSWERS": str(folder / "answers"),
    }
    yield from _running(
        Server(
            client, AS_A_SPACE, (str(folder / "app" / "app.py"),), port, environment, log=folder / f"server-{port}.log"
        )
    )


def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Visitor:
    """Somebody with a browser window, and what it asked for and complained about."""

    page: Page
    base: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()

    @classmethod
    def of(cls, context: BrowserContext, base: str, *, keep_texts: bool = False) -> Visitor:
        page = context.new_page()
        visitor = cls(page, base)
        page.on("request", lambda request: visitor.requests.append(request.url))
        page.on("dialog", lambda dialog: visitor.complaints.append(f"dialog {dialog.message}"))
        page.on("pageerror", lambda error: visitor.complaints.append(f"error {error}"))
        page.on("console", lambda message: visitor._listen(message))
        if keep_texts:
            page.on("response", lambda response: visitor._keep(response))
        return visitor

    def _listen(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"console {message.text}")

    def _keep(self, response: Any) -> None:
        # Of the pages and of what they ask for; gradio's own scripts hold no word of the data.
        if response.request.resource_type in ("document", "fetch", "xhr"):
            self.texts.append(response.text())

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.base}/{path}")
        return self.page

    def elsewhere(self) -> list[str]:
        """Requests that left the app."""
        return [url for url in self.requests if not url.startswith((f"{self.base}/", *self.allowed, "data:", "blob:"))]

    def item(self) -> str:
        """The question that is shown."""
        return str(self.page.locator("[data-item]").get_attribute("data-item"))

    def answered(self) -> int:
        return int(self.page.locator("[data-answered]").get_attribute("data-answered") or 0)

    def answer(self, key: str) -> str:
        """Press a key and wait for the next question. Returns the item."""
        item = self.item()
        self.page.keyboard.press(key)
        self.page.wait_for_function(
            "item => document.querySelector('[data-part=question]').dataset.state === 'finished'"
            " || (document.querySelector('[data-item]') || {dataset: {item}}).dataset.item !== item",
            arg=item,
        )
        return item

    def fits(self) -> bool:
        """Whether nothing is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
