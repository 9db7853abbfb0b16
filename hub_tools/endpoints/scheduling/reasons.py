"""What went wrong in a run, by how often: what is said of it at its end, and while nothing comes."""

from __future__ import annotations

import logging
import re
from collections import Counter

from hf_relabel.builders.endpoint import EndpointError

_logger = logging.getLogger(__name__)

MOST_REASONS = 1_000
"""Kept apart. Beyond it only those that are known are counted."""
QUIET_SECONDS = 30.0
"""Without an answer, where there are errors, before a person is told; each time the next word comes twice as late."""
_NUMBERS = re.compile(r"\d+")


class Reasons:
    """Counts errors. Those that differ in numbers alone, such as tokens or the ids of requests, are the same.

    Args:
        now: when the run began, by its loop's clock.
    """

    def __init__(self, now: float) -> None:
        self._heard, self._erred, self._quiet = now, False, QUIET_SECONDS
        self._counts: Counter[str] = Counter()
        self._first_of: dict[str, EndpointError] = {}

    def note(self, error: EndpointError) -> None:
        """Count one more."""
        self._erred = True
        reason = f"{error.kind} {_NUMBERS.sub('#', str(error))}"
        if reason in self._first_of or len(self._first_of) < MOST_REASONS:
            self._first_of.setdefault(reason, error)
            self._counts[reason] += 1

    def begin(self, now: float) -> None:
        """Only now the first request is sent."""
        self._heard = now

    def heard(self, now: float) -> None:
        """Something was answered."""
        self._heard, self._erred, self._quiet = now, False, QUIET_SECONDS

    def say_why_nothing_comes(self, now: float) -> None:
        """While errors are waited out a run looks as if it hung."""
        quiet = now - self._heard
        if not self._erred or quiet < self._quiet:
            return
        self._quiet *= 2
        _logger.warning("No answer for %.0f s; it is asked again. %s", quiet, self.told())

    def told(self) -> str:
        """The most frequent one, and the first of all where that is another; "" where nothing went wrong."""
        if not self._counts:
            return ""
        ((reason, times),) = self._counts.most_common(1)
        total, most = self._counts.total(), self._first_of[reason]
        first = next(iter(self._first_of.values()))
        if len(self._counts) == 1:
            return f"the error{f', {times:,} times' if times > 1 else ''}: {most}"
        told = f"most often, {times:,} of {total:,} times: {str(most).rstrip('.')}"
        return told if first is most else f"{told}; the first: {first}"
