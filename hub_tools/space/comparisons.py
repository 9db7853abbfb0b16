"""The comparisons of a running app: each is begun once for all who ask for it, and only so many run at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.space.data.differences import Comparison
from hf_relabel.hub_tools.space.once import Once

Sides = tuple[str, str]

MOST_RUNNING = 2
"""Each reads two releases to their ends."""
MOST_KEPT = 8
"""Those that are over included; the one that was not asked for longest goes. Its changes lie on the disk."""


@dataclass
class _Kept:
    """A comparison that is being opened, runs, or is over."""

    once: Once[Comparison]
    comparison: Comparison | None = None

    @property
    def is_over(self) -> bool:
        state = None if self.comparison is None else self.comparison.state()
        return state is not None and (state.is_finished or state.error is not None)

    @property
    def has_failed(self) -> bool:
        return self.comparison is not None and self.comparison.state().error is not None


class Comparisons:
    """Safe to use from several threads: who wants one waits for nobody who wants another."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Sides, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._is_closed = False

    def get(self, sides: Sides, start: Callable[[], Comparison]) -> Comparison:
        """The comparison of two releases. One that failed is begun again.

        Raises:
            ConfigError: as many as may be are running, or all are closed.
            RelabelError: what `start` raises.
        """
        with self._lock:
            if self._is_closed:
                raise ConfigError("The server is ending. Reload the page in a while.")
            gone = self._make_room(sides)
            kept = self._kept.setdefault(sides, _Kept(Once(start)))
            self._kept.move_to_end(sides)
        for each in gone:
            each.close()
        try:
            kept.comparison = kept.once.get()
        except BaseException:
            with self._lock:
                if self._kept.get(sides) is kept:
                    del self._kept[sides]
            raise
        return kept.comparison

    def close(self) -> None:
        """Stop them all. None is begun from now on."""
        with self._lock:
            kept = list(self._kept.values())
            self._kept.clear()
            self._is_closed = True
        for each in kept:
            comparison = each.once.closed()
            if comparison is not None:
                comparison.close()

    def _make_room(self, sides: Sides) -> list[Comparison]:
        """Forget what has to go for a comparison that is not there, and give it, to be closed."""
        known = self._kept.get(sides)
        if known is not None and not known.has_failed:
            return []
        over = [each for each, kept in self._kept.items() if kept.is_over]
        if len(self._kept) - len(over) >= MOST_RUNNING:
            raise ConfigError(f"{MOST_RUNNING} comparisons are running. Try again when one of them has ended.")
        going = [sides] if known is not None else over[: max(0, len(self._kept) + 1 - MOST_KEPT)]
        return [comparison for each in going if (comparison := self._kept.pop(each).comparison) is not None]
