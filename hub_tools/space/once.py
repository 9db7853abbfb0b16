"""Something that is opened once, when it is first asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from hf_relabel.builders.errors import ConfigError, RelabelError

Thing = TypeVar("Thing")

RETRY_SECONDS = 10
"""So long a failure is repeated before another attempt."""
LATELY_SECONDS = 60.0


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


class Lately(Generic[Thing]):
    """Something that changes elsewhere: looked up when it is asked for, and not again for some seconds.

    Where it cannot be looked up again, what was found before stays.
    """

    def __init__(self, look: Callable[[], Thing], seconds: float = LATELY_SECONDS) -> None:
        self._look, self._seconds = look, seconds
        self._first = Once(look)
        self._lock = threading.Lock()
        self._found: tuple[float, Thing] | None = None

    def get(self) -> Thing:
        """Raises: RelabelError, where it cannot be looked up and never was."""
        with self._lock:
            now = time.monotonic()
            if self._found is None:
                self._found = now, self._first.get()
            elif now - self._found[0] >= self._seconds:
                self._found = now, self._found[1]
                with suppress(RelabelError):
                    self._found = now, self._look()
            return self._found[1]
