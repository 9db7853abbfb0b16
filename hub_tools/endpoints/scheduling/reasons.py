"""What went wrong in a run, by how often: what a message about its end says."""

from __future__ import annotations

import re
from collections import Counter

from hf_relabel.builders.endpoint import EndpointError

MOST_REASONS = 1_000
"""Kept apart. Beyond it only those that are known are counted."""
_NUMBERS = re.compile(r"\d+")


class Reasons:
    """Counts errors. Those that differ in numbers alone, such as tokens or the ids of requests, are the same."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first_of: dict[str, EndpointError] = {}

    def note(self, error: EndpointError) -> None:
        """Count one more."""
        reason = f"{error.kind} {_NUMBERS.sub('#', str(error))}"
        if reason in self._first_of or len(self._first_of) < MOST_REASONS:
            self._first_of.setdefault(reason, error)
            self._counts[reason] += 1

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
