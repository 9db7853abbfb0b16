"""A config from `original` and `verdicts` on Arrow columns alone: no row becomes a Python object unless it changes.

The result is byte for byte what `write_configs` writes (which is the definition); this is the way for data that is
large and has been judged: a technique that was not built before, or a config that need not be downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.disk.parquet import opened
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.rows import arrow_schema
from hf_relabel.builders.techniques import DEFAULT_LIMIT, Change, Technique, account_named

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from hf_relabel.builders.configs.release import Release

    Numbers = npt.NDArray[np.int64]

_STAYS = (str(Outcome.NEGATIVE), str(Outcome.UNJUDGED))
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}
_COLUMNS = ("row", "position", "docid", "outcome")


def rewrite_config(
    release: Release, technique: Technique | str, out: Path, *, limit: int | None = None
) -> dict[str, int]:
    """Write one config of a release as one Parquet file, with a row group for each of `original`.

    One row group is read ahead while another is rewritten and written, so about three of them are in memory.

    Args:
        technique: any, whether the release has it or not.
        out: the file.
        limit: see `techniques.account`; None for the release's own.

    Returns:
        `rows_in`, `rows_out`, `moved` and `dropped` (negatives).

    Raises:
        BuildError: rows and verdicts do not fit, or a file is damaged.
    """
    from hf_relabel.builders.configs.writing import parquet_writer, with_features

    technique = Technique(technique)
    if limit is None:
        limit = int(release.manifest["settings"].get("limit", DEFAULT_LIMIT))
    schema = with_features(arrow_schema(scores=bool(release.manifest["settings"].get("scores"))))
    counts = dict.fromkeys(("rows_in", "rows_out", "moved", "dropped"), 0)
    writer = parquet_writer(out, schema)
    try:
        for rewritten in _ahead(rewritten_tables(release, technique, limit)):
            for name, number in rewritten.counts.items():
                counts[name] += number
            if rewritten.table.num_rows:
                table = rewritten.table.replace_schema_metadata(schema.metadata)
                writer.write_table(table, row_group_size=table.num_rows)
    finally:
        writer.close()
    return counts


@dataclass(frozen=True, slots=True)
class Rewritten:
    """One row group after a technique."""

    table: pa.Table
    counts: dict[str, int]


def rewritten_tables(release: Release, technique: Technique, limit: int) -> Iterator[Rewritten]:
    """The row groups of `original`, rewritten one at a time."""
    verdicts = _Verdicts(release)
    first = int(release.manifest["rows"]["first"])
    for table in _row_groups(release, Technique.ORIGINAL):
        lines = verdicts.of_rows(first, first + table.num_rows)
        yield rewrite(table, lines, technique, limit=limit, first=first, name=release.name)
        first += table.num_rows
    verdicts.check_end(first)


def rewrite(
    table: pa.Table, lines: pa.Table, technique: Technique, *, limit: int, first: int = 0, name: str = "the release"
) -> Rewritten:
    """Rewrite some rows.

    Args:
        table: rows, see `rows.arrow_schema`; `first` is the number of the first of them.
        lines: the columns `row`, `position`, `docid` and `outcome` of the verdicts on all their negatives, in order.
        limit: see `techniques.account`.
        name: whose rows they are, for messages.

    Raises:
        BuildError: the verdicts are not on these negatives.
    """
    import numpy as np
    import pyarrow as pa

    table = table.combine_chunks()
    positives, positive_starts = _passages(table, "positive_passages")
    negatives, negative_starts = _passages(table, "negative_passages")
    _check_fit(lines, negatives, negative_starts, first, name)
    changes = _changes(lines, positives, positive_starts, negatives, negative_starts, technique, limit)
    counts = {"rows_in": table.num_rows, "rows_out": table.num_rows, "moved": 0, "dropped": 0}
    schema = arrow_schema(scores="score" in [each.name for each in negatives.type])
    if not changes:
        return Rewritten(table.select(schema.names), counts)
    stays = np.ones(table.num_rows, dtype=bool)
    kept = np.ones(len(negatives), dtype=bool)
    moved: list[int] = []
    moved_to: list[int] = []
    for row, change in changes.items():
        start = int(negative_starts[row])
        counts["dropped"] += len(change.dropped)
        if change.row_dropped is not None:
            stays[row] = False
            continue
        gone = [*change.moved, *change.dropped]
        kept[[start + position for position in gone]] = False
        moved += [start + position for position in change.moved]
        moved_to += [row] * len(change.moved)
    counts["moved"], counts["rows_out"] = len(moved), int(stays.sum())
    rows = np.flatnonzero(stays)
    columns: dict[str, Any] = {
        "positive_passages": _appended(positives, positive_starts, negatives, moved, moved_to, stays),
        "negative_passages": _filtered(negatives, negative_starts, kept, stays),
    }
    for column in ("query_id", "query", "subset"):
        chunk = table.column(column).combine_chunks()
        columns[column] = chunk if len(rows) == table.num_rows else chunk.take(pa.array(rows))
    return Rewritten(pa.table({field: columns[field] for field in schema.names}, schema), counts)


def _passages(table: pa.Table, column: str) -> tuple[pa.StructArray, Numbers]:
    """All passages of a column in one array, and where those of each row begin (and the last ends)."""
    import numpy as np
    import pyarrow as pa

    chunks = table.column(column).chunks
    # One chunk is what a row group has: putting it together would copy it.
    lists = (
        chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks or [pa.array([], table.schema.field(column).type)])
    )
    offsets = np.asarray(lists.offsets).astype(np.int64)
    values = lists.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0])) if len(lists) else lists.values
    return values, offsets - offsets[0]


def _check_fit(lines: pa.Table, negatives: pa.StructArray, starts: Numbers, first: int, name: str) -> None:
    import numpy as np

    sizes = np.diff(starts)
    fits = lines.num_rows == len(negatives)
    if fits and lines.num_rows:
        rows = np.repeat(np.arange(len(sizes)) + first, sizes)
        positions = np.arange(len(negatives)) - np.repeat(starts[:-1], sizes)
        fits = (
            np.array_equal(lines.column("row").to_numpy(), rows)
            and np.array_equal(lines.column("position").to_numpy(), positions)
            and lines.column("docid").combine_chunks().equals(negatives.field("docid"))
        )
    if not fits:
        raise BuildError(
            f"{name}: rows {first} to {first + len(sizes) - 1} of `original` have other negatives than `verdicts`"
            " speaks of. The two configs are not of one build, or a file was changed."
        )


def _changes(
    lines: pa.Table,
    positives: pa.StructArray,
    positive_starts: Numbers,
    negatives: pa.StructArray,
    negative_starts: Numbers,
    technique: Technique,
    limit: int,
) -> dict[int, Change]:
    """What becomes of the rows that have a verdict which may change them, by their place in the table."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if technique is Technique.ORIGINAL or not lines.num_rows:
        return {}
    outcomes = lines.column("outcome").combine_chunks()
    found = np.flatnonzero(~np.asarray(pc.is_in(outcomes, pa.array(_STAYS, outcomes.type))))
    if not len(found):
        return {}
    of_row = np.searchsorted(negative_starts, found, side="right") - 1
    rows, starts = np.unique(of_row, return_index=True)
    ends = np.append(starts[1:], len(found))
    said = [_OUTCOMES[text] for text in outcomes.take(pa.array(found)).to_pylist()]
    names = _names(negatives, found)
    before, known_at, places = negative_starts.tolist(), positive_starts.tolist(), found.tolist()
    known_places = [range(known_at[row], known_at[row + 1]) for row in rows.tolist()]
    known_names = iter(_names(positives, [place for of_one in known_places for place in of_one]))
    changes: dict[int, Change] = {}
    for row, start, end, known in zip(rows.tolist(), starts.tolist(), ends.tolist(), known_places, strict=True):
        mine = {places[index] - before[row]: index for index in range(start, end)}
        change = account_named(
            technique,
            {position: said[index] for position, index in mine.items()},
            list(islice(known_names, len(known))),
            {position: names[index] for position, index in mine.items()},
            negatives=before[row + 1] - before[row],
            limit=limit,
        )
        if not change.is_unchanged:
            changes[row] = change
    return changes


def _names(passages: pa.StructArray, places: Numbers | list[int]) -> list[tuple[str, str]]:
    """Docid and text of some passages."""
    import pyarrow as pa

    indices = pa.array(places, pa.int64())
    docids, texts = (passages.field(field).take(indices).to_pylist() for field in ("docid", "text"))
    return list(zip(docids, texts, strict=True))


def _filtered(values: pa.StructArray, starts: Numbers, kept: npt.NDArray[np.bool_], stays: Any) -> pa.ListArray:
    """The lists of the rows that stay, without the values that are not kept."""
    import numpy as np
    import pyarrow as pa

    sizes = np.diff(starts)
    chosen = kept & np.repeat(stays, sizes)
    before = np.concatenate([[0], np.cumsum(chosen)])
    left = (before[starts[1:]] - before[starts[:-1]])[stays]
    # By their places, which pyarrow does faster than by a mask.
    return pa.ListArray.from_arrays(_offsets(left), values.take(pa.array(np.flatnonzero(chosen))))


def _appended(
    values: pa.StructArray,
    starts: Numbers,
    more: pa.StructArray,
    moved: list[int],
    moved_to: list[int],
    stays: Any,
) -> pa.ListArray:
    """The lists of the rows that stay, each followed by what moves to it."""
    import numpy as np
    import pyarrow as pa

    sizes = np.diff(starts)
    extra = np.bincount(np.array(moved_to, dtype=np.int64), minlength=len(sizes))
    owners = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.array(moved_to, dtype=np.int64)])
    # Stable: a row's own passages come first, then what moved, in its order.
    order = np.argsort(owners, kind="stable")
    order = order[stays[owners[order]]]
    both = pa.concat_arrays([values, more.take(pa.array(moved, pa.int64()))])
    return pa.ListArray.from_arrays(_offsets((sizes + extra)[stays]), both.take(pa.array(order)))


def _offsets(sizes: Numbers) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    return pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())


class _Verdicts:
    """The narrow columns of the verdicts, handed out by the numbers of rows."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.read = _row_groups(release, "verdicts", _COLUMNS)
        self.waiting: pa.Table | None = None

    def of_rows(self, first: int, end: int) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        parts: list[pa.Table] = []
        while True:
            if self.waiting is None:
                self.waiting = next(self.read, None)
            if self.waiting is None:
                break
            numbers = self.waiting.column("row").to_numpy()
            cut = int(np.searchsorted(numbers, end))
            parts.append(self.waiting.slice(0, cut))
            if cut < len(numbers):
                self.waiting = self.waiting.slice(cut)
                break
            self.waiting = None
        if not parts:
            schema = pa.schema(
                [("row", pa.int64()), ("position", pa.int32()), ("docid", pa.string()), ("outcome", pa.string())]
            )
            return schema.empty_table()
        return pa.concat_tables(parts)

    def check_end(self, end: int) -> None:
        left = self.waiting if self.waiting is not None and self.waiting.num_rows else next(self.read, None)
        if left is not None and left.num_rows:
            number = left.column("row")[0].as_py()
            raise BuildError(f"{self.release.name}: `verdicts` speaks of row {number}, which `original` does not have.")


def _row_groups(release: Release, config: str, columns: tuple[str, ...] | None = None) -> Iterator[pa.Table]:
    import pyarrow as pa

    for name in release.files(config):
        try:
            with opened(release.open_file(name), read_bytes=0) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns=list(columns) if columns else None, use_threads=False)
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            reason = " ".join(str(error).split())
            raise BuildError(f"{release.name}: {name} cannot be read: {reason}") from error


def _ahead(items: Iterator[Rewritten]) -> Iterator[Rewritten]:
    """Work out the next item in another thread while the caller works on this one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item
