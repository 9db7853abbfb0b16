"""Drawing the sample of an audit.

About a third of the sample goes to each verdict (false negative, doubtful, negative). The candidates drawn from a
stratum are those with the smallest keyed hashes of query, document and texts: the same seed gives the same sample,
whatever the order of the rows. The candidates are read twice: the first time only hashes and places are kept, the
second time the texts of those that were drawn.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from hf_relabel.builders.audit.sample import AuditSample, Item, Text
from hf_relabel.builders.audit.strata import (
    Cell,
    CellKey,
    JudgedCandidate,
    Stratum,
    StratumKey,
    allocated,
    cell_key,
    is_audited,
    stratum_sizes,
)
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.hashing import feed
from hf_relabel.builders.journal.keys import storable
from hf_relabel.builders.rows import Passage

Reading = Callable[[frozenset[int] | None], Iterable[JudgedCandidate]]
"""Gives the judged candidates of the rows with these numbers, of all rows for None."""

_Drawn = tuple[int, int, int]
"""Minus the hash, so that a heap's top is the first to give way; number of the row; position in it."""


def draw(read: Reading, size: int, *, seed: int = 0, calibrated: bool = False) -> AuditSample:
    """Draw the sample of an audit.

    Args:
        read: is called twice, for all candidates and then for those of the rows that were drawn.
        size: how many to draw; all where there are fewer.
        seed: another seed draws others.
        calibrated: whether the verdicts follow thresholds, which the sample remembers.

    Raises:
        ConfigError: no candidate was judged, the size is below 1, or the second reading gives other candidates.
    """
    if size < 1:
        raise ConfigError(f"The size of a sample must be at least 1, found {size}.")
    heaps: dict[StratumKey, list[_Drawn]] = {}
    cells: Counter[CellKey] = Counter()
    left_out: Counter[str] = Counter()
    for candidate in read(None):
        if not is_audited(candidate):
            left_out[str(candidate.outcome)] += 1
            continue
        key = cell_key(candidate)
        cells[key] += 1
        heap = heaps.setdefault(key.stratum, [])
        drawn = (-_hash(candidate, seed), candidate.number, candidate.position)
        if len(heap) < size:
            heapq.heappush(heap, drawn)
        else:
            heapq.heappushpop(heap, drawn)
    if not cells:
        raise ConfigError("There is nothing to audit: no candidate has a verdict of a judge. Judge first.")
    taken = allocated(cells, size)
    places = {drawn[1:] for key, heap in heaps.items() for drawn in heapq.nlargest(taken[key], heap)}
    found = [each for each in read(frozenset(row for row, _ in places)) if (each.number, each.position) in places]
    if len(found) != len(places):
        raise ConfigError("The source or the journal changed while the sample was drawn. Draw again.")
    return sample_of(cells, found, seed=seed, left_out=left_out, calibrated=calibrated)


def sample_of(
    cells: Mapping[CellKey, int],
    drawn: Iterable[JudgedCandidate],
    *,
    seed: int,
    left_out: Mapping[str, int],
    calibrated: bool = False,
) -> AuditSample:
    """A sample from cells whose sizes are known.

    Args:
        drawn: as many of each stratum as `allocated` says, drawn at random by the seed.
        left_out, calibrated: see `AuditSample`.
    """
    sizes = stratum_sizes(cells)
    strata = {key: number for number, key in enumerate(sorted(sizes))}
    ordered = {key: number for number, key in enumerate(sorted(cells, key=repr))}
    candidates = [(candidate, cell_key(candidate)) for candidate in drawn]
    taken = Counter(key.stratum for _, key in candidates)
    items = [
        _made_item(candidate, ordered[key], sizes[key.stratum] / taken[key.stratum], seed)
        for candidate, key in candidates
    ]
    return AuditSample(
        items=tuple(sorted(items, key=lambda item: item.id)),
        strata=tuple(
            Stratum(outcome=key.outcome, settled_by=key.settled_by, size=sizes[key], drawn=taken[key]) for key in strata
        ),
        cells=tuple(
            Cell(stratum=strata[key.stratum], subset=storable(key.subset), labels=dict(key.labels), size=cells[key])
            for key in ordered
        ),
        seed=seed,
        left_out=dict(left_out),
        calibrated=calibrated,
    )


def _hash(candidate: JudgedCandidate, seed: int) -> int:
    row, passage = candidate.row, candidate.row.negative_passages[candidate.position]
    digest = hashlib.blake2b(str(seed).encode(), digest_size=16)
    # The position parts copies: two candidates of a row may have the same docid and text.
    feed(digest, row.query_id, row.query, passage.docid, passage.title, passage.text, str(candidate.position))
    return int.from_bytes(digest.digest(), "big")


def _made_item(candidate: JudgedCandidate, cell: int, weight: float, seed: int) -> Item:
    row, passage = candidate.row, candidate.row.negative_passages[candidate.position]
    opaque = hashlib.blake2b(_hash(candidate, seed).to_bytes(16, "big"), key=b"audit item", digest_size=8).hexdigest()
    said = candidate.judges.items()
    return Item(
        id=opaque,
        query_id=storable(row.query_id),
        docid=storable(passage.docid),
        position=candidate.position,
        subset=storable(row.subset),
        cell=cell,
        weight=weight,
        outcome=candidate.outcome,
        settled_by=candidate.settled_by,
        signal=candidate.signal,
        labels={name: None if judgement is None else str(judgement.label) for name, judgement in said},
        scores={name: None if judgement is None else judgement.score for name, judgement in said},
        query=storable(row.query),
        positives=tuple(map(_text, row.positive_passages)),
        candidate=_text(passage),
    )


def _text(passage: Passage) -> Text:
    return Text(docid=storable(passage.docid), title=storable(passage.title), text=storable(passage.text))
