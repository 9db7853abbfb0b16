"""Choosing some rows of a source: per subset, seeded, and without holding the rows.

A row is chosen by a hash of the seed and its content, so the choice depends neither on the order of the rows nor on how
they are spread over files. Two passes: the first finds, per subset, the largest hash that is still chosen, the second
keeps the rows up to it. The first holds 8 bytes for each row that may be chosen, at most twice that.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappush, heapreplace
from typing import Any

import orjson

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.rows import NumberedRow, Passage, Row

PRESETS: dict[str, dict[str, int]] = {
    "rlhn-100k": {
        "msmarco_passage": 49_571,
        "hotpotqa": 10_250,
        "nq": 6_110,
        "fever": 8_017,
        "scidocsrr": 12_654,
        "fiqa": 5_500,
        "arguana": 4_065,
    },
    "rlhn-250k": {
        "msmarco_passage": 145_000,
        "hotpotqa": 30_000,
        "nq": 30_000,
        "fever": 28_755,
        "scidocsrr": 12_654,
        "fiqa": 5_500,
        "arguana": 4_065,
    },
    "rlhn-400k": {
        "msmarco_passage": 210_000,
        "hotpotqa": 84_516,
        "nq": 58_568,
        "fever": 28_755,
        "scidocsrr": 12_654,
        "fiqa": 5_500,
        "arguana": 4_065,
    },
    "rlhn-680k": {
        "msmarco_passage": 485_823,
        "hotpotqa": 84_516,
        "nq": 58_568,
        "fever": 29_096,
        "scidocsrr": 12_655,
        "fiqa": 5_500,
        "arguana": 4_065,
    },
}
"""Rows per subset of the paper's samples (arXiv 2505.16967)."""

# The same data set under other names, once case, digits' neighbours and separators are gone.
_OTHER_NAMES = {"msmarco": "msmarcopassage", "msmarcopassages": "msmarcopassage", "naturalquestions": "nq"}


def content_hash(row: Row, seed: int = 0) -> int:
    """A 64-bit hash of everything in a row: equal rows have equal hashes, on every machine."""
    content = [row.subset, row.query_id, row.query, _plain(row.positive_passages), _plain(row.negative_passages)]
    digest = hashlib.blake2b(orjson.dumps([seed, content]), digest_size=8).digest()
    return int.from_bytes(digest, "big")


class RowsDrawn:
    """The rows with the smallest `content_hash` of those that were added, which are held in memory.

    Args:
        keep: how many.
        seed: another one draws other rows.
    """

    def __init__(self, keep: int, seed: int = 0) -> None:
        self._keep, self._seed = keep, seed
        self._heap: list[tuple[int, int, NumberedRow]] = []  # the row with the largest hash, which goes first, on top

    def add(self, numbered: NumberedRow) -> None:
        if not self._keep:
            return  # nothing is hashed for nothing
        item = (-content_hash(numbered.row, self._seed), -numbered.number, numbered)
        if len(self._heap) < self._keep:
            heappush(self._heap, item)
        elif item[:2] > self._heap[0][:2]:
            heapreplace(self._heap, item)

    def by_hash(self) -> tuple[NumberedRow, ...]:
        """Those with the smallest hash first."""
        return tuple(numbered for *_, numbered in sorted(self._heap, reverse=True))

    def in_order(self) -> tuple[NumberedRow, ...]:
        """As they stand in the source."""
        return tuple(sorted(self.by_hash(), key=lambda numbered: numbered.number))


def _plain(passages: tuple[Passage, ...]) -> list[tuple[str, str, str]]:
    return [(passage.docid, passage.title, passage.text) for passage in passages]


@dataclass(frozen=True)
class Sample:
    """How many rows to keep. Make one with `per_subset`, `total`, `fraction` or `preset`.

    Example:
            >>> from hf_relabel import Sample
            >>> Sample.total(1_000).rows, Sample.fraction(0.05).share, Sample.preset("rlhn-100k").seed
            (1000, 0.05, 0)

    Attributes:
        counts: rows to keep of each subset; subsets that are not named give none.
        rows: rows to keep in all, each subset in proportion to its size.
        share: the share of each subset to keep, above 0 and at most 1.
        seed: another seed chooses other rows.
    """

    counts: tuple[tuple[str, int], ...] | None = None
    rows: int | None = None
    share: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if [self.counts, self.rows, self.share].count(None) != 2:
            raise ConfigError("A sample is given by counts per subset, a total or a fraction: exactly one of them.")
        if any(count < 0 for _, count in self.counts or ()) or (self.rows is not None and self.rows < 0):
            raise ConfigError("A sample cannot have fewer than 0 rows.")
        if self.share is not None and not 0 < self.share <= 1:
            raise ConfigError(f"The fraction of a sample is above 0 and at most 1, not {self.share}.")

    @classmethod
    def per_subset(cls, counts: Mapping[str, int], seed: int = 0) -> Sample:
        """So many rows of each named subset (all it has, where it has fewer), none of the others."""
        return cls(counts=tuple(counts.items()), seed=seed)

    @classmethod
    def total(cls, rows: int, seed: int = 0) -> Sample:
        """So many rows in all, each subset in proportion to its size (largest remainder)."""
        return cls(rows=rows, seed=seed)

    @classmethod
    def fraction(cls, share: float, seed: int = 0) -> Sample:
        """This share of each subset, rounded to the nearest row."""
        return cls(share=share, seed=seed)

    @classmethod
    def preset(cls, name: str, seed: int = 0) -> Sample:
        """One of the paper's samples, by its name in `PRESETS`."""
        if name not in PRESETS:
            near = did_you_mean(name, PRESETS)
            raise ConfigError(f"There is no sample {name!r}.{near} There are: {', '.join(PRESETS)}.")
        return cls.per_subset(PRESETS[name], seed)

    def choose(self, rows: Iterable[Row]) -> Choice:
        """The first pass: read all rows and settle which of them are in the sample.

        Raises:
            ConfigError: no row belongs to any of the named subsets.
        """
        wanted = None if self.counts is None else {_same_name(subset): count for subset, count in self.counts}
        sizes: Counter[str] = Counter()
        hashes: dict[str, _Smallest] = {}
        for row in rows:
            name = _same_name(row.subset)
            sizes[name] += 1
            if wanted is not None and name not in wanted:
                continue
            if name not in hashes:
                hashes[name] = _Smallest(self.rows if wanted is None else wanted[name])
            hashes[name].add(content_hash(row, self.seed))
        if sizes and not hashes:
            named = ", ".join(subset for subset, _ in self.counts or ())
            raise ConfigError(f"No row is of a subset in the sample ({named}). The source has: {', '.join(sizes)}.")
        kept = self._counts(sizes) if wanted is None else wanted
        return Choice(self.seed, {name: found.threshold(kept[name]) for name, found in hashes.items()})

    def _counts(self, sizes: Mapping[str, int]) -> dict[str, int]:
        if self.share is not None:
            return {name: int(size * self.share + 0.5) for name, size in sizes.items()}
        return proportional(sizes, self.rows or 0)

    def describe(self) -> dict[str, Any]:
        """The sample as plain values."""
        counts = None if self.counts is None else dict(self.counts)
        chosen = {"per_subset": counts, "total": self.rows, "fraction": self.share}
        return {name: value for name, value in chosen.items() if value is not None} | {"seed": self.seed}


class Choice:
    """Which rows are in a sample. Ask once for each row, in the order of the source."""

    def __init__(self, seed: int, thresholds: Mapping[str, tuple[int, int]]) -> None:
        self._seed = seed
        self._thresholds = thresholds
        self._left = {name: at_threshold for name, (_, at_threshold) in thresholds.items()}

    def __contains__(self, row: object) -> bool:
        if not isinstance(row, Row):
            return False
        name = _same_name(row.subset)
        if name not in self._thresholds:
            return False
        value, threshold = content_hash(row, self._seed), self._thresholds[name][0]
        if value != threshold:
            return value < threshold
        # Repeated rows have one hash: as many of them are kept as are due, the first ones.
        self._left[name] -= 1
        return self._left[name] >= 0


def proportional(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Share out `total` in proportion to `sizes` by largest remainder, no share larger than its size."""
    everything = sum(sizes.values())
    if total >= everything:
        return dict(sizes)
    shares = {name: size * total // everything for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(sizes[name] * total % everything), name))
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


class _Smallest:
    """The smallest `count` numbers of those added, in bounded memory; all of them where `count` is None."""

    def __init__(self, count: int | None) -> None:
        self._count = count
        self._numbers = array("Q")

    def add(self, number: int) -> None:
        self._numbers.append(number)
        if self._count is not None and len(self._numbers) >= max(2 * self._count, 1024):
            self._shrink(self._count)

    def _shrink(self, count: int) -> None:
        self._numbers = array("Q", self._sorted()[:count].tobytes())

    def _sorted(self) -> Any:
        import numpy as np

        return np.sort(np.frombuffer(self._numbers, dtype=np.uint64))

    def threshold(self, count: int) -> tuple[int, int]:
        """The `count`-th smallest number, and how many of the smallest `count` are equal to it."""
        if count == 0 or not self._numbers:
            return 0, 0
        smallest = self._sorted()[:count]
        return int(smallest[-1]), int((smallest == smallest[-1]).sum())


def _same_name(subset: str) -> str:
    """One spelling for a subset: `MS MARCO`, `msmarco` and `msmarco_passage` are the same."""
    name = re.sub(r"[\W_]+", "", subset.casefold())
    return _OTHER_NAMES.get(name, name)


def parse_sample(text: str, seed: int = 0) -> Sample:
    """A sample as people write it: `rlhn-100k` (a preset of the paper), `5%`, or a number of rows."""
    if text in PRESETS:
        return Sample.preset(text, seed)
    try:
        if text.endswith("%"):
            return Sample.fraction(float(text[:-1]) / 100, seed)
        return Sample.total(int(text), seed)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no sample.{did_you_mean(text, PRESETS)} Give a number of rows, a share such as 5%, or one"
            f" of: {', '.join(PRESETS)}."
        ) from error
