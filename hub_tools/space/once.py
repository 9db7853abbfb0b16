"""Something that is opened once, when it is first asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from hf_relabel.builders.errors import ConfigError, RelabelError

Thing = TypeVar("Thing")

RETRY_SECONDS = 10
"""So long a failure is repeated before another attempt."""


class Once(Generic[Thing]):
    """Something that is opened once, when it is first asked for; a failure is kept for a while."""

    def __init__(self, open_: Callable[[], Thing]) -> None:
        self._open = open_
        self._lock = threading.Lock()
        self._thing: Thing | None = None
        self._failed: tuple[float, RelabelError] | None = None
        self._is_closed = False

    def get(self) -> Thing:
        with self._lock:
            if self._thing is not None:
                return self._thing
            if self._is_closed:
                raise ConfigError("The server is ending. Reload the page in a while.")
            if self._failed is not None and time.monotonic() - self._failed[0] < RETRY_SECONDS:
                raise self._failed[1]
            try:
                self._thing = self._open()
            except RelabelError as error:
                self._failed = (time.monotonic(), error)
                raise
            return self._thing

    def closed(self) -> Thing | None:
        """What is open, to be closed by the caller. Nothing is opened from now on."""
        with self._lock:
            thing, self._thing, self._is_closed = self._thing, None, True
            return thing
