"""Python programs in processes of their own that cost milliseconds, not seconds of imports.

    done = forked.run("import sys; print(sys.argv[1:])", "one", env={**os.environ, "HF_ENDPOINT": url})

They are forked from a process that has the large packages imported. What reads the environment when it is imported
(huggingface_hub, datasets) reads it again in every environment. A process is its own in all else: it has its
descriptors, its folder and its environment, it can be killed, and it ends as Python ends.

What must see an interpreter start (`-W error`, what is imported and when) is no case for this.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

# Packages that do not care where the Hub is.
COMMON = (
    *("numpy", "pandas", "pyarrow", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet", "dill", "multiprocess"),
    *(
        "aiohttp",
        "httpx",
        "requests",
        "fsspec",
        "xxhash",
        "yaml",
        "pydantic",
        "orjson",
        "tabulate",
        "tqdm",
    ),
    *("click", "jinja2", "tabulate", "matplotlib.figure", "matplotlib.backends.backend_agg"),
)
HUB = (
    "scipy.io",  # datasets imports it to stream
    *("huggingface_hub", "huggingface_hub.hf_api", "datasets", "datasets.load", "hf_relabel.hub_tools.commands"),
    *("hf_relabel.hub_tools.releases.push", "hf_relabel.hub_tools.releases.pull", "hf_relabel.hub_tools.judging.run"),
)
MODELS = (*HUB, "sentence_transformers", "sentence_transformers.sentence_transformer.trainer")
KEPT = 4
"""So many environments have a server at a time."""
READ_WHEN_IMPORTED = ("HF_", "HUGGING", "TRANSFORMERS", "XDG_", "HOME", "TMPDIR")
"""Variables whose names begin so make an environment of its own; all others are set in the process alone."""


class Forked:
    """A process, with what tests use of `subprocess.Popen`."""

    def __init__(self, arguments: tuple[str, ...], status: int, out: int, errors: int) -> None:
        self.args = arguments
        self._status = os.fdopen(status, "r")
        self.stdout, self.stderr = os.fdopen(out, "r", encoding="utf-8"), os.fdopen(errors, "r", encoding="utf-8")
        self.returncode: int | None = None
        line = self._status.readline()
        if not line:
            self.close()
            raise RuntimeError("The server that forks processes has ended: its output above says why.")
        self.pid = int(line)
        self._ending = threading.Thread(target=self._read_status, daemon=True)
        self._ending.start()

    def _read_status(self) -> None:
        with self._status:
            line = self._status.readline()
        self.returncode = int(line) if line else -signal.SIGKILL

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._ending.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it wrote, when it has ended. After `timeout` seconds it is killed, and TimeoutExpired raised."""
        texts = ["", ""]

        def read(place: int) -> None:
            texts[place] = (self.stdout, self.stderr)[place].read()

        readers = [threading.Thread(target=read, args=(place,), daemon=True) for place in (0, 1)]
        for reader in readers:
            reader.start()
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            for reader in readers:
                reader.join()
            self.stdout.close()
            self.stderr.close()
        return texts[0], texts[1]

    def close(self) -> None:
        for file in (self._status, self.stdout, self.stderr):
            file.close()


class _Server:
    """One end of a channel to a process that forks."""

    def __init__(self) -> None:
        self._channel, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def begin(self, modules: tuple[str, ...]) -> subprocess.Popen[bytes]:
        """The first one, in a fresh interpreter."""
        script = Path(__file__).with_name("fork_server.py")
        command = [sys.executable, "-P", str(script), str(self._far.fileno()), ",".join(modules)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[self._far.fileno()],
            start_new_session=True,
        )
        self._far.close()
        return process

    def begin_in(self, parent: _Server, env: Mapping[str, str], modules: tuple[str, ...]) -> None:
        """Another one, with more modules or in another environment."""
        parent.send({"env": dict(env), "modules": modules}, [self._far.fileno()])
        self._far.close()

    def send(self, request: dict[str, object], descriptors: list[int]) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        self._channel.sendmsg([json.dumps(request).encode()], [rights])

    def start(self, code: str, arguments: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> Forked:
        ends = [os.pipe() for _ in range(3)]  # output, errors, and how it ended
        try:
            request = {"code": code, "arguments": arguments, "env": dict(env), "cwd": str(cwd)}
            self.send(request, [write for _, write in ends])
        finally:
            for _, write in ends:
                os.close(write)
        (out, _), (errors, _), (status, _) = ends
        return Forked(("python", "-c", code, *arguments), status, out, errors)

    def close(self) -> None:
        self._channel.close()


class _Servers:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_environment: OrderedDict[object, _Server] = OrderedDict()
        self._by_modules: dict[tuple[str, ...], _Server] = {}
        self._first: _Server | None = None

    def first(self) -> _Server:
        if self._first is None:
            self._first = _Server()
            process = self._first.begin(COMMON)
            atexit.register(self._end, process)
        return self._first

    def with_modules(self, modules: tuple[str, ...]) -> _Server:
        if modules not in self._by_modules:
            server = _Server()
            server.begin_in(self.first(), os.environ, modules)
            self._by_modules[modules] = server
        return self._by_modules[modules]

    def of(self, env: Mapping[str, str], modules: tuple[str, ...]) -> _Server:
        read = {name: value for name, value in env.items() if name.startswith(READ_WHEN_IMPORTED)}
        read.pop("HF_TOKEN", None)  # it is read when it is used
        key = (frozenset(read.items()), modules)
        with self._lock:
            if key not in self._by_environment:
                server = _Server()
                server.begin_in(self.with_modules(modules), env, ())
                self._by_environment[key] = server
                if len(self._by_environment) > KEPT:
                    self._by_environment.popitem(last=False)[1].close()
            self._by_environment.move_to_end(key)
            return self._by_environment[key]

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        for server in (*self._by_environment.values(), *self._by_modules.values(), self.first()):
            server.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # a test left something behind that does not end
            process.kill()
            process.wait()


_servers = _Servers()


def start(
    code: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    modules: tuple[str, ...] = HUB,
) -> Forked:
    """`python -c code arguments…`. `modules` are those that are imported before.

    Variables that the interpreter reads when it starts (PYTHONHASHSEED and so on) are those of this process.
    """
    env = os.environ if env is None else env
    changed = {name for name in {*env, *os.environ} if name.startswith("PYTHON") and env.get(name) != os.getenv(name)}
    if changed:
        raise ValueError(f"{', '.join(sorted(changed))} is read when Python starts: use subprocess for this test.")
    return _servers.of(env, modules).start(code, arguments, env, cwd or Path.cwd())


def run(
    code: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    modules: tuple[str, ...] = HUB,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Start it and wait for its end."""
    process = start(code, *arguments, env=env, cwd=cwd, modules=modules)
    out, errors = process.communicate(timeout)
    return subprocess.CompletedProcess(process.args, process.wait(), out, errors)
