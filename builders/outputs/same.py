"""The records that came in, written back with what a technique changes and nothing else.

A passage that moves takes along what its record says of it: its score, its fields. All other fields stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from hf_relabel.builders.outputs.beside import OF_QUERIES, Beside, FieldCounts, crossed
from hf_relabel.builders.outputs.made import Record
from hf_relabel.builders.sources.columns import Bound
from hf_relabel.builders.sources.shapes import FLAGEMBEDDING_SCORES
from hf_relabel.builders.techniques import Change


@dataclass(frozen=True, slots=True)
class Original:
    """The records of one row.

    Attributes:
        records: as they came in: one, or in formats that group several.
        bound: which of their columns are which.
        is_relevant: what a label says.
        fields: counts those that follow the passages.
        beside: fields that a format moves by itself.
    """

    records: Sequence[Record]
    bound: Bound
    is_relevant: Callable[[Any], bool]
    fields: FieldCounts = field(default_factory=FieldCounts)
    beside: frozenset[str] = frozenset()

    @property
    def taken(self) -> frozenset[str]:
        """Columns that something reads, or that a format moves by itself."""
        return self.beside.union(*self.bound.columns.values())


def _sides(original: Original, change: Change) -> list[Record]:
    """Formats with columns of passages for each side."""
    [record] = original.records
    first = original.bound.one("positive")
    positives = len(_column_values(record, original.bound.all("positive")))
    negatives = _column_values(record, original.bound.all("negative"))
    passages = [value for _, value in negatives]
    by_name = any(isinstance(passage, dict) for passage in passages)
    beside = Beside(record, positives, len(negatives), original.taken, by_name)
    moved = [positives + position for position in change.moved]
    left = [positives + position for position in change.kept]
    new = {**record, **_refilled(record, original.bound.all("negative"), [negatives[at] for at in change.kept])}
    texts = [passages[position] for position in change.moved]
    if isinstance(record[first], list):
        found = [beside.arranged({**new, first: [*record[first], *texts]}, [*range(positives), *moved], left)]
    else:
        # One text is one positive: each of the others gets a record of its own.
        others = zip(texts, moved, strict=True)
        found = [
            beside.arranged(new, range(positives), left),
            *(beside.arranged({**new, first: text}, [place, *range(1, positives)], left) for text, place in others),
        ]
    original.fields.add(beside.moved, beside.dropped)
    return found


def _flagembedding(original: Original, change: Change) -> list[Record]:
    """Lists that lie beside `pos` and `neg`, such as scores, move with the texts."""
    [record] = original.records
    negatives, positives = original.bound.all("negative"), original.bound.all("positive")
    listed = {**record, **{name: _as_list(record[name]) for name in (*positives, *negatives) if name in record}}
    ours = _beside_sides(record, (*positives, *negatives))
    [new] = _sides(Original([listed], original.bound, original.is_relevant, original.fields, ours), change)
    places = [place for place, (column, _) in enumerate(_column_values(record, negatives)) if column == "neg"]
    for what in {name[4:] for name in ours}:
        # What moves goes to the first column of positives; beside columns of other names lies nothing.
        positive = _beside(record, "pos", what) if positives[0] == "pos" else None
        negative = _beside(record, "neg", what) if "neg" in negatives else None
        told = dict(zip(places, negative or [], strict=negative is not None))
        if negative is not None:
            new[f"neg_{what}"] = [told[place] for place in change.kept if place in told]
        if positive is not None:
            new[f"pos_{what}"] = [*positive, *(told.get(place) for place in change.moved)]
    return [new]


def _beside_sides(record: Record, passages: tuple[str, ...]) -> frozenset[str]:
    """The columns that say something of the texts of `pos` and `neg`, such as `pos_scores` and `neg_scores`."""
    others = [name for name in record if isinstance(name, str) and name not in passages]
    return frozenset(name for name in others if name[:4] in ("pos_", "neg_"))


def _beside(record: Record, side: str, what: str) -> list[Any] | None:
    """Values for each text of a side, None where the record has none."""
    name, count = f"{side}_{what}", len(_as_list(record.get(side)))
    values = record.get(name)
    if name in FLAGEMBEDDING_SCORES:
        values = _as_list(values)
    return values if isinstance(values, list) and values and len(values) == count else None


def _triplets(original: Original, change: Change) -> list[Record]:
    """A record for each negative. What moved becomes a positive beside each negative that is left."""
    positive, negative = original.bound.one("positive"), original.bound.one("negative")
    kept = [original.records[position] for position in change.kept]
    moved = [original.records[position] for position in change.moved]
    return [*kept, *(_with_positive(original, record, other, positive, negative) for other in moved for record in kept)]


def _with_positive(original: Original, record: Record, other: Record, positive: str, negative: str) -> Record:
    """The record of a negative with the negative of another as its positive, and with what that one says of it."""
    new, moved, dropped = crossed(record, other, original.taken)
    original.fields.add(moved, dropped)
    return {**new, positive: other[negative]}


def _n_tuples(original: Original, change: Change) -> list[Record]:
    """A column for each negative. Those of passages that left are filled with others of the row, from the first on."""
    [record] = original.records
    columns = [name for name in original.bound.all("negative") if record.get(name) is not None]
    texts = [record[name] for name in columns]
    kept = list(islice(cycle(change.kept), len(columns))) if change.kept else []
    if not kept and columns:
        return []
    beside = Beside(record, 1, len(columns), original.taken, columns=columns)
    left = [1 + position for position in kept]
    new = {**record, **{column: texts[position] for column, position in zip(columns, kept, strict=True)}}
    positive = original.bound.one("positive")
    found = [
        beside.arranged(new, [0], left),
        *(beside.arranged({**new, positive: texts[position]}, [1 + position], left) for position in change.moved),
    ]
    original.fields.add(beside.moved, beside.dropped)
    return found


def _labelled_list(original: Original, change: Change) -> list[Record]:
    """Passages with their labels: what moved has the label of the least relevant positive."""
    [record] = original.records
    passage, label = original.bound.one("passage"), original.bound.one("label")
    labels, keep = _relabelled(record[label], original.is_relevant, change)
    return [
        {**_shortened(original, record, len(record[passage]), keep), passage: _at(record[passage], keep), label: labels}
    ]


def _shortened(original: Original, record: Record, count: int, keep: Sequence[int]) -> Record:
    """A record whose lists with one value for each passage follow those that are left."""
    lists = {
        name: _at(values, keep)
        for name, values in record.items()
        if isinstance(values, list) and len(values) == count and name not in original.taken | OF_QUERIES
    }
    original.fields.add({name for name, values in lists.items() if values != record[name]}, set())
    return {**record, **lists}


def _at(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [values[place] for place in places]


def _labelled_pairs(original: Original, change: Change) -> list[Record]:
    label = original.bound.one("label")
    labels, keep = _relabelled([record[label] for record in original.records], original.is_relevant, change)
    return [{**original.records[index], label: value} for index, value in zip(keep, labels, strict=True)]


def _msmarco(original: Original, change: Change) -> list[Record]:
    [record] = original.records
    column = original.bound.one("passage")
    passages = record[column]
    if isinstance(passages, dict):
        count = len(passages["is_selected"])
        labels, keep = _relabelled(passages["is_selected"], original.is_relevant, change)
        shorter = {
            name: [values[index] for index in keep] if isinstance(values, list) and len(values) == count else values
            for name, values in passages.items()
        }
        new = _shortened(original, record, count, keep)
        return [{**new, column: {**shorter, "is_selected": labels}}]
    labels, keep = _relabelled([passage["is_selected"] for passage in passages], original.is_relevant, change)
    chosen = [{**passages[index], "is_selected": value} for index, value in zip(keep, labels, strict=True)]
    return [{**_shortened(original, record, len(passages), keep), column: chosen}]


def _relabelled(
    labels: Sequence[Any], is_relevant: Callable[[Any], bool], change: Change
) -> tuple[list[Any], list[int]]:
    """The labels of the passages that stay, and their places."""
    relevant = [is_relevant(label) for label in labels]
    negatives = [index for index, is_so in enumerate(relevant) if not is_so]
    moved = {negatives[position] for position in change.moved}
    dropped = {negatives[position] for position in change.dropped}
    least = min((label for label, is_so in zip(labels, relevant, strict=True) if is_so), key=float)
    keep = [index for index in range(len(labels)) if index not in dropped]
    return [least if index in moved else labels[index] for index in keep], keep


def _column_values(record: Record, columns: Iterable[str]) -> list[tuple[str, Any]]:
    """The passages of some columns, each with its column, in the order in which a row has them."""
    return [(column, value) for column in columns for value in _as_list(record.get(column))]


def _refilled(record: Record, columns: Iterable[str], values: Iterable[tuple[str, Any]]) -> Record:
    """The columns with only these passages in them. A column that was no list and is left alone stays none."""
    held: dict[str, list[Any]] = {column: [] for column in columns if column in record}
    for column, value in values:
        held[column].append(value)
    return {
        column: left if isinstance(record[column], list) or len(left) != 1 else left[0] for column, left in held.items()
    }


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


SAME: dict[str, Callable[[Original, Change], list[Record]]] = {
    "rlhn-replies": _sides,
    "tevatron": _sides,
    "dpr": _sides,
    "negative-list": _sides,
    "flagembedding": _flagembedding,
    "triplet": _triplets,
    "n-tuple": _n_tuples,
    "labeled-list": _labelled_list,
    "labeled-pairs": _labelled_pairs,
    "msmarco": _msmarco,
}
"""How the records of a format are written back, by its name in `sources.FORMATS`."""


def written_back(format: str, original: Original, change: Change) -> list[Record]:
    """The records of a row after a technique: as they came in where it changes nothing, none where it drops the row."""
    if change.row_dropped is not None:
        return []
    return list(original.records) if change.is_unchanged else SAME[format](original, change)
