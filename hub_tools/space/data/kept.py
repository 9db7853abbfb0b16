"""What was read last, as long as there is room for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class ByteLimited:
    """What was read last, up to so many bytes in all."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._making: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Any, value: Any, size: int) -> None:
        with self._lock:
            earlier = self._kept.pop(key, None)
            self._bytes += size - (earlier[1] if earlier else 0)
            self._kept[key] = (value, size)
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]

    def get_or_make(self, key: Any, make: Callable[[], Any], size_of: Callable[[Any], int]) -> Any:
        """What is kept under a key, else what `make` gives. Who wants the same meanwhile waits for it."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            found = self.get(key)
            if found is None:
                found = make()
                self.put(key, found, size_of(found))
        with self._lock:
            self._making.pop(key, None)
        return found

    @property
    def bytes(self) -> int:
        return self._bytes
