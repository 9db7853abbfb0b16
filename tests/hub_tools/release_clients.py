"""The real clients against the local Hub: in processes of their own, because they read its address when imported."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_relabel.hub_tools.local_hub import LocalHub
from tests import forked
from tests.fork_server import READERS, read_again

COMMAND_LINE = "from hf_relabel.hub_tools.commands import main; main()"


@dataclass
class Client:
    """What a user has: an address, a token and a cache."""

    url: str
    token: str | None
    home: Path
    xet: bool = True
    extra: dict[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = forked.HUB

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        values = {"HF_ENDPOINT": self.url, "HF_HOME": str(self.home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        if self.token:
            values["HF_TOKEN"] = self.token
        if not self.xet:
            values["HF_HUB_DISABLE_XET"] = "1"
        return {**clean, **values, **self.extra}

    def start(self, code: str, *arguments: str) -> forked.Forked:
        return forked.start(code, *arguments, env=self.environment(), modules=self.modules)

    def run(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return forked.run(code, *arguments, env=self.environment(), modules=self.modules)

    def python(self, code: str, *arguments: str) -> Any:
        """Run code that prints one JSON value last, and give that value."""
        done = self.run(code, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`hf relabel …`."""
        return self.run(COMMAND_LINE, *arguments)

    def command_json(self, *arguments: str) -> Any:
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)


@contextmanager
def in_this_process(client: Client) -> Iterator[None]:
    """Inside, this process has the client's environment, and what was read of it is read again."""
    before = dict(os.environ)
    try:
        _become(client.environment())
        yield
    finally:
        _become(before)


def command_here(client: Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`hf relabel …` in this process, where a test can replace parts of it."""
    from hf_relabel.hub_tools.commands import run

    out, errors = io.StringIO(), io.StringIO()
    with in_this_process(client), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = run(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def _become(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for name in READERS:
        if name in sys.modules:
            read_again(sys.modules[name])


@dataclass(frozen=True)
class _Place:
    """A port and a home. Programs of one place are forked from one process, which has imported their modules once."""

    port: int
    home: Path


_free: list[_Place] = []


@contextmanager
def _place() -> Iterator[_Place]:
    place = _free.pop() if _free else _new_place()
    try:
        yield place
    finally:
        for each in place.home.iterdir():
            shutil.rmtree(each, ignore_errors=True)
        _free.append(place)


def _new_place() -> _Place:
    home = Path(tempfile.mkdtemp(prefix="hf-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    while True:  # below the ports that systems give to whoever connects somewhere
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return _Place(port, home)


@contextmanager
def hub_and_client(
    folder: Path, *, xet: bool = True, modules: tuple[str, ...] = forked.HUB, **hub: Any
) -> Iterator[tuple[LocalHub, Client]]:
    """A local Hub with its first user's client, whose processes have modules imported and whose home is empty."""
    with _place() as place, LocalHub(folder / "hub", port=place.port, **hub) as running:
        yield running, Client(running.url, running.token, place.home, xet, modules=modules)


@contextmanager
def offline_client() -> Iterator[Client]:
    """A client of a Hub that nobody runs, with an empty home."""
    with _place() as place:
        yield Client(f"http://127.0.0.1:{place.port}", None, place.home)


def empty(hub: LocalHub) -> None:
    """Delete all that its first user has there, so that the tests of a module can share a Hub."""
    from huggingface_hub import HfApi

    api = HfApi(hub.url, token=hub.token)
    user = api.whoami()["name"]
    listings = {"dataset": api.list_datasets, "model": api.list_models, "space": api.list_spaces}
    for kind, listing in listings.items():
        for repo in listing(author=user):
            api.delete_repo(repo.id, repo_type=kind)
