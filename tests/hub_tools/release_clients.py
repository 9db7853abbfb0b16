"""The real clients against the local Hub: in processes of their own, because they read its address when imported."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_relabel.hub_tools.local_hub import LocalHub
from tests import forked

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
def hub_and_client(
    folder: Path, *, xet: bool = True, modules: tuple[str, ...] = forked.HUB, **hub: Any
) -> Iterator[tuple[LocalHub, Client]]:
    """A local Hub with its first user's client, whose processes have modules imported."""
    with LocalHub(folder / "hub", **hub) as running:
        yield running, Client(running.url, running.token, folder / "home", xet, modules=modules)


def empty(hub: LocalHub) -> None:
    """Delete all that its first user has there, so that the tests of a module can share a Hub."""
    from huggingface_hub import HfApi

    api = HfApi(hub.url, token=hub.token)
    user = api.whoami()["name"]
    listings = {"dataset": api.list_datasets, "model": api.list_models, "space": api.list_spaces}
    for kind, listing in listings.items():
        for repo in listing(author=user):
            api.delete_repo(repo.id, repo_type=kind)
