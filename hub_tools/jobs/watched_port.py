"""The port by which a judge server sees that the Job it serves is alive."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hf_relabel.builders.errors import JobError
from hf_relabel.hub_tools.jobs.judge_server import PREFIX_VARIABLE

if TYPE_CHECKING:
    pass


@contextlib.contextmanager
def watched_port(port: int) -> Iterator[int]:
    """Keep a port open that says nothing and reads nothing: the judge server sees by it that this Job lives.

    It has to be open to the other Job, so not on this machine's own address alone; outside a network group it is not
    opened to others.
    """
    host = "" if os.environ.get(PREFIX_VARIABLE) else "127.0.0.1"
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise JobError(f"The port {port}, which the judge server watches, cannot be opened ({error}).") from error

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                listening.accept()[0].close()

    threading.Thread(target=accept, name="watched-port", daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
