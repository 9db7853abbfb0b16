"""Writing the output formats of a build into its folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import orjson

from hf_relabel.builders.config_names import VERDICTS
from hf_relabel.builders.configs.manifest import file_entry
from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.outputs import same
from hf_relabel.builders.outputs.beside import FieldCounts
from hf_relabel.builders.outputs.made import MADE, Record
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources import FORMATS, Context, Source
from hf_relabel.builders.sources.fields import is_relevant
from hf_relabel.builders.techniques import Change, Technique, account_all

FOLDER = "formats"
"""Where the files lie in the folder of a build. No config reads them, and no push sends them."""
SAME = "same"
OUTPUT_FORMATS = (SAME, *MADE)

Originals: TypeAlias = Iterable[tuple[NumberedRow, tuple[Record, ...]]]
"""Rows with the records they were made of; none where that is not known."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """A format to write, and how the records of a source are bound where it is that of the source.

    Attributes:
        name: one of `OUTPUT_FORMATS`.
        source: whose records `same` writes back.
    """

    name: str
    source: Source | None = None

    def check(self) -> None:
        """Whether it can be written.

        Raises:
            ConfigError: there is no such format, or nothing to write back.
        """
        others = ", ".join(MADE)
        if self.name not in OUTPUT_FORMATS:
            near = did_you_mean(self.name, OUTPUT_FORMATS)
            raise ConfigError(f"There is no output format {self.name!r}.{near} There are: {', '.join(OUTPUT_FORMATS)}.")
        if self.name == SAME and self.source is None:
            raise ConfigError(
                "A release does not hold the records that came in: build from the source itself, or with another"
                f" {argument('output_format')}: {others}."
            )
        if self.name == SAME and self.source is not None and self.source.format not in same.SAME:
            raise ConfigError(
                f"Rows of the format {self.source.format!r} came in without negatives, so none can be written back."
                f" Take another {argument('output_format')}: {others}."
            )

    def records_of(
        self, numbered: NumberedRow, originals: tuple[Record, ...], change: Change, fields: FieldCounts
    ) -> list[Record]:
        """The records of a row after a technique; `fields` counts what follows the passages."""
        if self.name != SAME or self.source is None:
            row = change.carry_out(numbered.row)
            return [] if row is None else list(MADE[self.name](row))
        source = self.source
        context = Context(source.name, numbered.number + 1, relevant_from=source.options.relevant_from)
        bound = FORMATS[source.format].bind(originals[0], source.columns, context)
        relevant = partial(_relevant, context=context)
        return same.written_back(source.format, same.Original(originals, bound, relevant, fields), change)

    def repeats(self, change: Change) -> bool:
        """Whether columns of negatives that a technique emptied are filled with others."""
        n_tuples = self.name == SAME and self.source is not None and self.source.format == "n-tuple"
        return n_tuples and bool(change.moved or change.dropped)


def _relevant(value: Any, context: Context) -> bool:
    return is_relevant(value, "label", context)


@dataclass(slots=True)
class FormatCounts:
    """What was written of one technique.

    Attributes:
        rows: rows of the technique.
        records: lines of the file.
        rows_without_record: rows that the format cannot hold, as they have no negative left.
        rows_repeating: rows of n-tuples that have fewer negatives than columns and repeat them.
        fields: of `same`, those that moved with the passages or were left out.
    """

    rows: int = 0
    records: int = 0
    rows_without_record: int = 0
    rows_repeating: int = 0
    fields: FieldCounts = field(default_factory=FieldCounts)

    def add(self, records: Sequence[Record], *, repeats: bool) -> None:
        self.rows += 1
        self.records += len(records)
        self.rows_without_record += not records
        self.rows_repeating += bool(records) and repeats

    def to_dict(self) -> dict[str, Any]:
        names = ("rows", "records", "rows_without_record", "rows_repeating")
        fields = {"fields_moved": self.fields.moved, "fields_dropped": self.fields.dropped}
        return {name: getattr(self, name) for name in names} | {
            name: dict(sorted(counts.items())) for name, counts in fields.items() if counts
        }


def write_formats(
    folder: Path,
    format: OutputFormat,
    originals: Originals,
    techniques: Sequence[Technique],
    *,
    limit: int,
    min_negatives: int = 0,
) -> dict[str, Any]:
    """Write a format for each technique into the folder of a build.

    Args:
        folder: holds the verdicts already.
        originals: the rows of the build, in order.
        limit, min_negatives: see `techniques.account`.

    Returns:
        What the manifest says of it: the format, and each file with its counts.

    Raises:
        ConfigError: see `OutputFormat.check`.
        BuildError: a value cannot be written as JSON.
    """
    format.check()
    place = folder / FOLDER
    place.mkdir()
    counts = {technique: FormatCounts() for technique in techniques}
    with ExitStack() as stack:
        files = {technique: stack.enter_context(_path(place, technique).open("wb")) for technique in techniques}
        for numbered, records, verdicts in _judged(originals, folder):
            changes = account_all(techniques, numbered.row, verdicts, limit=limit, min_negatives=min_negatives)
            for technique, change in changes.items():
                written = format.records_of(numbered, records, change, counts[technique].fields)
                if change.row_dropped is None:
                    counts[technique].add(written, repeats=format.repeats(change))
                _write(files[technique], written, numbered.number)
    return {"format": format.name, "files": dict(_entries(place, counts))}


def _judged(originals: Originals, folder: Path) -> Iterator[tuple[NumberedRow, tuple[Record, ...], Sequence[Verdict]]]:
    """The rows with the verdicts that the build has written."""
    names = sorted(path.relative_to(folder).as_posix() for path in (folder / VERDICTS).iterdir())
    verdicts = Release(str(folder), None, {"files": dict.fromkeys(names)}, folder.joinpath).verdicts()
    number, waiting = next(verdicts, (-1, []))
    for numbered, records in originals:
        found: Sequence[Verdict] = ()
        if numbered.number == number:
            found = waiting
            number, waiting = next(verdicts, (-1, []))
        yield numbered, records, found


def _path(place: Path, technique: Technique) -> Path:
    return place / f"{technique}.jsonl"


def _write(file: BinaryIO, records: Iterable[Record], number: int) -> None:
    try:
        for record in records:
            line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
            # What JSON has no number for is written as null.
            if b"null" in line and (place := _endless(record)) is not None:
                raise BuildError(
                    f"Row {number + 1}, field {place[0]!r}: {place[1]}, which JSON has no form for. Write null or a"
                    f" number in the source, or take another {argument('output_format')}."
                )
            file.write(line)
    except TypeError as error:
        raise BuildError(
            f"Row {number + 1} has a field that JSON has no form for ({error}): take it out of the source,"
            f" or take another {argument('output_format')}."
        ) from error


def _endless(value: Any, path: str = "") -> tuple[str, str] | None:
    """Where in a record an infinity or a NaN stands, and which; None where there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, str(value))
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        inner = ((f"{path}.{name}" if path else str(name), one) for name, one in value.items())
    elif isinstance(value, list):
        inner = ((f"{path}[{index}]", one) for index, one in enumerate(value))
    return next((found for name, one in inner if (found := _endless(one, name)) is not None), None)


def _entries(place: Path, counts: Mapping[Technique, FormatCounts]) -> Iterator[tuple[str, dict[str, Any]]]:
    for technique, count in counts.items():
        name = f"{FOLDER}/{technique}.jsonl"
        entry = file_entry(_path(place, technique), name, count.rows)
        yield name, {**count.to_dict(), "bytes": entry.bytes, "sha256": entry.sha256}
