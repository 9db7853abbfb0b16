"""A server in a process of its own, on a port of 127.0.0.1 that stays its own when it is killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

START_SECONDS = 900.0


def free_port() -> int:
    """A port that nothing listens at now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Process:
    """A command that serves, and all that it starts: a session of its own, ended as one.

    Args:
        ready: path that answers 200 once the server can be asked.
        log: where its output goes.
    """

    def __init__(
        self, command: Sequence[str], *, port: int, ready: str, log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.command, self.port, self.log, self.cwd = list(command), port, log, cwd
        self._ready, self._env = f"http://127.0.0.1:{port}/{ready}", {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it, without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self._env, cwd=self.cwd, start_new_session=True
            )

    def wait(self, seconds: float = START_SECONDS) -> float:
        """Until it answers. Returns the seconds that took; TimeoutError where it ended or takes too long."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self._process is None or self._process.poll() is not None:
                raise TimeoutError(f"{self.command[0]} ended by itself; see {self.log}: {self.last_line()}")
            with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(self._ready, timeout=5) as answer:
                if answer.status == 200:
                    return time.monotonic() - began
            time.sleep(0.3)
        raise TimeoutError(f"{self.command[0]} does not answer after {seconds:.0f} s; see {self.log}")

    def kill(self) -> None:
        """As `kill -9` does, with all that it started."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        self._end(signal.SIGTERM)
        self._end(signal.SIGKILL)

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing was said"

    def _end(self, with_signal: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, with_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
            if with_signal is signal.SIGKILL:
                self._process = None
