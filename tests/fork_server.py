"""The process behind `tests.forked`: has packages imported, and forks a process for every request.

Run as `python -P fork_server.py CHANNEL MODULES`; CHANNEL is the descriptor of a socket. It ends when the other end
of the socket is closed and its processes are done. Tests that only want to start a process need `tests.forked` alone.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
import types
from typing import Any, NoReturn

LARGEST_REQUEST = 1 << 20
READERS = ("huggingface_hub.constants", "datasets.config", "evaluate.config")
"""Modules that read the environment when they are imported; all others ask these for what they read."""


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """A request and the descriptors that came with it; None at the end."""
    size = array.array("i").itemsize
    data, extra, _, _ = channel.recvmsg(LARGEST_REQUEST, socket.CMSG_SPACE(3 * size))
    numbers = array.array("i")
    for _, _, given in extra:
        numbers.frombytes(given[: len(given) - len(given) % size])
    return (json.loads(data) if data else None), list(numbers)


class Children:
    """Processes that run, and where the end of each is told."""

    def __init__(self) -> None:
        self._told_on: dict[int, int] = {}
        self.ended, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])  # whoever started the tests may have blocked it

    def __len__(self) -> int:
        return len(self._told_on)

    def add(self, pid: int, tell: int | None) -> None:
        if tell is not None:
            self._told_on[pid] = tell
            os.write(tell, f"{pid}\n".encode())

    def collect(self) -> None:
        """Tell of those that have ended."""
        os.read(self.ended, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            tell = self._told_on.pop(pid, None)
            if tell is not None:
                _tell(tell, f"{os.waitstatus_to_exitcode(status)}\n")

    def forget(self) -> None:
        """In a child, which has nothing to do with the others."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored
        for number in (self.ended, self._wake, *self._told_on.values()):
            os.close(number)


def _tell(where: int, line: str) -> None:
    try:
        os.write(where, line.encode())
    except BrokenPipeError:
        pass  # nobody waits any longer
    finally:
        os.close(where)


def serve(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Returns in children only, with what each is to do."""
    children, open_ = Children(), True
    while open_ or len(children):
        ready, _, _ = select.select([children.ended, *([channel] if open_ else [])], [], [])
        if children.ended in ready:
            children.collect()
        if channel in ready:
            request, numbers = receive(channel)
            if request is None:
                open_ = False
                continue
            tell = numbers.pop() if "code" in request else None
            pid = os.fork()
            if pid == 0:
                children.forget()
                channel.close()
                if tell is not None:
                    os.close(tell)
                return request, numbers
            children.add(pid, tell)
            for number in numbers:
                os.close(number)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()  # for the servers in other environments: what they took is told with what this one took
    os._exit(0)


def load(modules: list[str]) -> None:
    known = [sys.modules[name] for name in READERS if name in sys.modules]
    for name in modules:
        importlib.import_module(name)
    for reader in known:
        read_again(reader)
    if "datasets.config" in sys.modules and "torch" not in sys.modules:
        # datasets imports torch to stream, which takes seconds, for those who give a stream to torch.
        sys.modules["datasets.config"].TORCH_AVAILABLE = False  # type: ignore[attr-defined]
    tempfile.tempdir = None  # it is found again when it is wanted
    gc.collect()
    gc.freeze()  # their pages stay shared


def read_again(reader: types.ModuleType) -> None:
    """As if it were imported now, in it and in those that imported single names of it or made a client by it."""
    before = {name: value for name, value in vars(reader).items() if name.isupper()}
    importlib.reload(reader)
    package = reader.__name__.split(".")[0]
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == package]:
        for name in before.keys() & vars(module).keys():
            if vars(module)[name] is before[name]:
                setattr(module, name, vars(reader)[name])
    if package == "huggingface_hub" and "huggingface_hub.hf_file_system" in sys.modules:
        from huggingface_hub import hf_api, hf_file_system

        hf_api.api.endpoint = hf_file_system.hffs.endpoint = hf_file_system.hffs._api.endpoint = reader.ENDPOINT


def next_program() -> str:
    """Serve until a child is to run a program, and give that program to the child."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    load([name for name in sys.argv[2].split(",") if name])
    while True:
        request, numbers = serve(channel)
        os.environ.clear()
        os.environ.update(request["env"])
        if "code" not in request:  # a server in another environment
            (number,) = numbers
            channel = socket.socket(fileno=number)
            load(request["modules"])
            continue
        os.chdir(request["cwd"])
        for number, standard in zip(numbers, (1, 2), strict=True):
            os.dup2(number, standard)
            os.close(number)
        sys.argv = ["-c", *request["arguments"]]
        sys.path.insert(0, "")
        return str(request["code"])


def run(program: str) -> NoReturn:
    """Run it and end as Python ends, but do not take thousands of modules apart, which takes ten times as long."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    status = 0
    try:
        exec(compile(program, "<string>", "exec"), main.__dict__)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        traceback.print_exc()
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


if __name__ == "__main__":
    run(next_program())
