"""Fields that lie beside the passages of a record and say something of each: scores, ids, labels.

Nothing in a record says which fields these are. A list is taken for one where it is as long as the negatives, as the
positives and negatives together or, by its name, as its side. It goes where the passages go. What cannot follow them is
left out: no record says of one passage what was said of another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_relabel.builders.outputs.made import Record

_SIDE = re.compile(r"(?:hard[_-]?)?(?P<side>neg|pos)(?:ative|itive)?s?(?:[_-](?P<what>.*))?$")
_OF_BOTH = re.compile(r"(?:scores?|labels?|ranks?|(?:doc|passage|ctx)_?ids?)$")
_OF_PAIRS = re.compile(r"(?:scores?|labels?)$")
"""Of a positive and a negative together, such as the margin that a teacher saw between them."""
OF_QUERIES = frozenset({"answer", "answers", "wellFormedAnswers"})
"""Lists that are as long as some other by chance alone."""


@dataclass(slots=True)
class FieldCounts:
    """Of how many rows fields moved with the passages or were left out, by their names.

    Attributes:
        moved: fields that were taken for one value for each passage.
        dropped: fields that could not follow the passages.
    """

    moved: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, moved: set[str], dropped: set[str]) -> None:
        self.moved.update(moved)
        self.dropped.update(dropped)


@dataclass(slots=True)
class Beside:
    """The fields beside the passages of one record.

    Attributes:
        record: as it came in.
        positives, negatives: how many passages it has of each side.
        taken: its columns of passages, of the query and the like: none of them is looked at.
        by_name: only fields with names that speak of passages are looked at, as passages hold fields of their own.
        columns: of the negatives, where each has one: `negative_1_score` goes with `negative_1`.
        moved, dropped: names of fields, as `FieldCounts` counts them.
    """

    record: Record
    positives: int
    negatives: int
    taken: frozenset[str]
    by_name: bool = False
    columns: Sequence[str] = ()
    moved: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)

    def arranged(self, new: Record, positives: Sequence[int], negatives: Sequence[int]) -> Record:
        """A new record whose fields follow its passages.

        Args:
            positives, negatives: its passages, as places among those that came in: positives first, then negatives.
        """
        found = {}
        for name, value in new.items():
            kept = self._followed(name, value, positives, negatives)
            if kept is _LOST:
                self.dropped.add(name)
                continue
            found[name] = kept
            if kept != value:
                self.moved.add(name)
        return found

    def _followed(self, name: Any, value: Any, positives: Sequence[int], negatives: Sequence[int]) -> Any:
        if name in self.taken or name in OF_QUERIES or not isinstance(name, str) or value is None:
            return value
        for place, column in enumerate(self.columns):
            if name.startswith(f"{column}_"):
                return self._of_column(name[len(column) :], negatives[place])
        side = _side(name)
        if isinstance(value, list):
            return self._list(name, value, side, positives, negatives)
        if side == "pos" and self.positives == 1 and list(positives) != [0]:
            return self._of_negative(name, positives[0]) if len(positives) == 1 else _LOST
        if side == "neg" and self.negatives == 1 and not self.columns and list(negatives) != [self.positives]:
            return _LOST
        return _LOST if _OF_PAIRS.match(name) and 0 not in positives else value

    def _of_column(self, rest: str, passage: int) -> Any:
        return self.record.get(self.columns[passage - self.positives] + rest, _LOST)

    def _list(self, name: str, values: list[Any], side: str, positives: Sequence[int], negatives: Sequence[int]) -> Any:
        speaks = bool(side or _OF_BOTH.match(name))
        if self.by_name and not speaks:
            return values
        count = len(values)
        if not side and count == self.positives + self.negatives:
            return [values[place] for place in (*positives, *negatives)]
        if self.positives == self.negatives == count and not side:
            return _LOST if speaks else values
        if side != "pos" and count == self.negatives:
            if not side and _OF_PAIRS.match(name) and 0 not in positives:
                return _LOST
            return [values[place - self.positives] for place in negatives]
        if side == "pos" and count == self.positives:
            found = [values[at] if at < count else self._of_negative(name, at) for at in positives]
            return _LOST if _LOST in found else found
        follows_nothing = speaks and not (side == "pos" and list(positives) == list(range(self.positives)))
        return _LOST if follows_nothing else values

    def _of_negative(self, name: str, passage: int) -> Any:
        """What the record says of a negative under the name of the other side: `negative_ids` for `positive_id`."""
        if passage < self.positives:
            return _LOST
        what, place = _what(name), passage - self.positives
        if self.columns and f"{self.columns[place]}_{what}" in self.record:
            return self.record[f"{self.columns[place]}_{what}"]
        for other, value in self.record.items():
            if other in self.taken or not isinstance(other, str) or _side(other) != "neg" or _what(other) != what:
                continue
            if isinstance(value, list):
                return value[place] if len(value) == self.negatives else _LOST
            return value if self.negatives == 1 else _LOST
        return _LOST


_LOST = object()


def crossed(record: Record, other: Record, taken: frozenset[str]) -> tuple[Record, set[str], set[str]]:
    """A triplet's record for a positive that was the negative of another record of its query.

    Returns:
        The record, and the names of the fields that moved and of those that were left out.
    """
    new = {name: _crossed(name, value, other) for name, value in record.items() if name not in taken | OF_QUERIES}
    dropped = {name for name, value in new.items() if value is _LOST}
    moved = {name for name, value in new.items() if name not in dropped and value != record[name]}
    return {name: new.get(name, value) for name, value in record.items() if name not in dropped}, moved, dropped


def _crossed(name: str, value: Any, other: Record) -> Any:
    side = _side(name)
    if value is None or side == "neg":
        return value
    if side == "pos":
        same = [other[field] for field in other if _side(field) == "neg" and _what(field) == _what(name) != ""]
        return same[0] if same and isinstance(same[0], list) == isinstance(value, list) else _LOST
    if isinstance(value, list) and len(value) == 2:
        theirs = other.get(name)
        return [theirs[1], value[1]] if isinstance(theirs, list) and len(theirs) == 2 else _LOST
    return _LOST if _OF_BOTH.match(name) else value


def _side(name: str) -> str:
    found = _SIDE.match(name)
    return found["side"] if found else ""


def _what(name: str) -> str:
    found = _SIDE.match(name)
    return (found["what"] or "").removesuffix("s") if found else name
