"""The real clients against a local Hub, each time in a process of its own.

`huggingface_hub` reads HF_ENDPOINT, HF_HUB_DISABLE_XET and its cache folders when it is imported, so another Hub, or
the other way to upload, needs a new process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = ("HF_", "HUGGING", "HUB_", "XET_", "DATASETS_")


@dataclass(frozen=True)
class Outcome:
    """How one check went. `error` is a traceback, or None; `seconds` is wall time."""

    name: str
    ok: bool
    error: str | None
    seconds: float


def client_environment(url: str, token: str, home: Path, *, xet: bool = True) -> dict[str, str]:
    """Environment variables for a process that uses the Hub at `url` and keeps every cache under `home`.

    Args:
        token: what the clients find as the token of the logged-in user.
        xet: the clients' default. False: plain LFS uploads.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
    given = {
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HOME": str(home / "hf"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(ROOT),
    }
    return kept | given | ({} if xet else {"HF_HUB_DISABLE_XET": "1"})


def run_checks(
    url: str,
    tokens: Sequence[str],
    home: Path,
    *,
    xet: bool = True,
    only: Sequence[str] = (),
    limit: float = 300.0,
) -> dict[str, Outcome]:
    """Run the client suite against the Hub at `url` and return the outcomes by name, in the order they came.

    Args:
        tokens: of the user who owns what is made, and of another user.
        home: an empty folder for the clients' caches and the checks' files.
        only: names of the checks to run; all by default.
        limit: seconds after which the process is ended; checks that had not finished are then missing.
    """
    owner, other = tokens
    command = [sys.executable, "-m", "tests.hub_tools.client_suite", "--url", url, "--token", owner]
    command += ["--other-token", other, "--folder", str(home)]
    command += [part for name in only for part in ("--only", name)]
    environment = client_environment(url, owner, home, xet=xet)
    errors = home / "errors.txt"
    with errors.open("w", encoding="utf-8") as stderr:
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, timeout=limit, check=False
            )
            lines, status = done.stdout, done.returncode
        except subprocess.TimeoutExpired as error:
            lines, status = error.stdout or b"", None
    outcomes = [Outcome(**json.loads(line)) for line in lines.decode().splitlines() if line.startswith("{")]
    if not outcomes:
        told = errors.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise RuntimeError(f"The client suite ran no check (exit status {status}):\n{told}")
    return {outcome.name: outcome for outcome in outcomes}
