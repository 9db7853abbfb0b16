"""Opened sources: what format the files are in, and their rows, one at a time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.spelling import argument, spelt_out
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources.beir import BeirFiles, BeirReader
from hf_relabel.builders.sources.class_names import check_classes
from hf_relabel.builders.sources.column_guesses import typical
from hf_relabel.builders.sources.columns import Bound, Columns
from hf_relabel.builders.sources.fields import Context, check_text
from hf_relabel.builders.sources.files import (
    Record,
    SourceFile,
    file_digest,
)
from hf_relabel.builders.sources.formats import FORMATS, Format
from hf_relabel.builders.sources.given_columns import described
from hf_relabel.builders.sources.grouping import Read, grouped
from hf_relabel.builders.sources.objects import SourceObject
from hf_relabel.builders.sources.reading import class_names_of, read_records
from hf_relabel.builders.sources.recognition import Guesses
from hf_relabel.builders.sources.source_options import Options, Skipped

_Part: TypeAlias = SourceFile | SourceObject
PEEKED = 20
_SHAPES_KEPT = 1_000
"""Combinations of fields that are remembered: rows with ever new fields would fill the memory."""

_logger = logging.getLogger(__name__)


@dataclass(repr=False)
class Source:
    """A training set that was opened. Rows are read when they are asked for and never all held.

    Attributes:
        name: what the user opened.
        files: the files that are read; none where an object is.
        format: a name in `FORMATS`.
        revision: the commit sha of a Hub data set, None for local files.
        config, split: which ones of a data set with several; the split of the judgements for a BEIR folder.
        guesses: the columns, by role, that no name says and no user gave.
        skipped: the bad rows that the last full reading left out (only with `skip_bad_rows`).
        ignored_fields: fields that the format does not read, as far as they were seen.
        data: the object that is read, None for files.
        left_out: data files of a local folder that are not read, being of another config or split; of a JSON
            document the fields that are not (`rows.json:test`).
        scored: whether passages have a score, or a place for one, in the first rows.
        layout: which column plays which role in the first rows, in words, where their names do not say it.
    """

    name: str
    files: tuple[SourceFile, ...]
    format: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    options: Options = field(default_factory=Options)
    guesses: Guesses = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)
    ignored_fields: set[str] = field(default_factory=set)
    data: SourceObject | None = None
    left_out: tuple[str, ...] = ()
    scored: bool = False
    layout: tuple[str, ...] = ()
    _whole_records: bool = False

    def __repr__(self) -> str:
        """What was opened, in a line: never its rows."""
        told: dict[str, Any] = {
            "format": self.format,
            "config": self.config,
            "split": self.split,
            "revision": self.revision,
        }
        if self.data is None:
            told["files"] = len(self.files)
        elif self.data.count is not None:
            told["records"] = self.data.count
        said = [f"{name}={value!r}" for name, value in told.items() if value is not None]
        return f"Source({', '.join([repr(self.name), *said])})"

    def rows(self) -> Iterator[NumberedRow]:
        """The rows, numbered from 0 in the order of the files. Each call starts again.

        Raises:
            BadRow: a row cannot be used and `skip_bad_rows` is not set.
            SourceError: a file cannot be read, or no row is of a subset that was asked for.
        """
        for number, read in enumerate(self._kept()):
            yield NumberedRow(number, read.row)

    def records(self) -> Iterator[tuple[NumberedRow, tuple[Record, ...]]]:
        """The rows, each with the records it was made of, whole: fields that no row has are in them too.

        Numbers and rows are those of `rows()`. A row is made of one record, of triplets of several.

        Raises:
            BadRow, SourceError: as `rows()`.
        """
        reader = replace(self, skipped=Skipped(), ignored_fields=set(), _whole_records=True)
        for number, read in enumerate(reader._kept()):
            yield NumberedRow(number, read.row), read.records

    def replies(self) -> Iterator[tuple[NumberedRow, str, str]]:
        """The rows with the judge's saved reply ("" where none was saved) and why it ended (`stop`, `length` …).

        Numbers and rows are those of `rows()`.

        Raises:
            SourceError: the format holds no replies.
        """
        if self._format.reply is None:
            raise SourceError(f"{self.name}: rows in the format {self.format!r} come without saved replies.")
        for number, read in enumerate(self._kept()):
            response, finish_reason = read.reply or ("", "")
            yield NumberedRow(number, read.row), response, finish_reason

    def fingerprint(self) -> str:
        """What identifies the content: of a Hub data set its sha and the files' names, of local files their bytes, of
        an object its rows, all of which are read."""
        if self.data is not None:
            return f"rows-sha256:{self.data.digest()}"
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(hashlib.sha256(file.name.encode()).digest() if self.revision else file_digest(file))
        return f"{self.revision}:{digest.hexdigest()[:16]}" if self.revision else f"sha256:{digest.hexdigest()}"

    def describe(self) -> dict[str, Any]:
        """The source as plain values, for a manifest or a card."""
        options = self.options
        return {
            "name": self.name,
            "format": self.format,
            "revision": self.revision,
            "config": self.config,
            "split": self.split,
            "files": [file.name for file in self.files],
            "left_out": list(self.left_out),
            "subset": None if options.subset is None else list(options.subset),
            "sample": None if options.sample is None else options.sample.describe(),
            "limit": options.limit,
            "skip_bad_rows": options.skip_bad_rows,
            "mined_negatives": options.mined_negatives if self.format == "beir" else None,
            "columns": {role: list(columns) for role, columns in sorted(self.columns.items())},
            "guessed": sorted(self.guesses),
            "relevant_from": options.relevant_from,
            "ignored_fields": sorted(self.ignored_fields),
            "skipped": self.skipped.to_dict(),
        }

    def record(self) -> dict[str, Any]:
        """The source as a published manifest may tell it: as `describe()`, but local files without the folders they
        happen to lie in, and bad rows counted, not quoted."""
        described = self.describe() | {"skipped": self.skipped.count}
        del described["left_out"]
        # Rows are the same whoever said which column is which, and as they were where nobody had to.
        del described["guessed"]
        for name in ("columns", "relevant_from"):
            if described[name] in ({}, None):
                del described[name]
        if self.revision is None:
            described["name"] = Path(self.name).name
            if len(self.files) == 1:
                described["files"] = [Path(self.files[0].name).name]
        return described

    @property
    def columns(self) -> Columns:
        """The columns by role that were given or guessed; the others have names that are known."""
        return {**self.options.columns, **{role: (column,) for role, column in self.guesses.items()}}

    @property
    def needs_mining(self) -> bool:
        """Whether its rows have no negatives, as pairs have none."""
        return self._format.needs_mining

    def check_negatives(self) -> None:
        """Whether there is something to judge.

        Raises:
            SourceError: its format has no negatives.
        """
        if self.needs_mining:
            command = f"{program()} mine {self.name} --out rows.jsonl"
            mine = command if self.data is None else 'mine(data, "rows.jsonl")'
            raise SourceError(f"{self.name}: {self.format} have no negatives to judge. Find some first: `{mine}`.")

    @property
    def _format(self) -> Format:
        return FORMATS[self.format]

    @cached_property
    def _beir(self) -> BeirReader:
        corpus, queries, qrels = self.files
        return BeirReader(BeirFiles(corpus, queries, qrels, self.split or ""), self.options.mined_negatives)

    def _kept(self) -> Iterator[Read]:
        """The rows that the options keep, in three steps: subset, sample, limit."""
        limit = self.options.limit
        if limit is not None and limit <= 0:
            return
        choice = None
        if self.options.sample is not None:
            choice = self.options.sample.choose(read.row for read in self._of_subsets(Skipped()))
        self.skipped = Skipped()
        kept = 0
        for read in self._of_subsets(self.skipped):
            if choice is not None and read.row not in choice:
                continue
            yield read
            kept += 1
            if kept == limit:
                return

    def _of_subsets(self, skipped: Skipped) -> Iterator[Read]:
        wanted = self.options.subset
        if wanted is None:
            yield from self._converted(skipped)
            return
        seen: set[str] = set()
        for read in self._converted(skipped):
            seen.add(read.row.subset)
            if read.row.subset in wanted:
                yield read
        if missing := [subset for subset in wanted if subset not in seen]:
            raise SourceError(
                f"{self.name}: no row is of the subset {', '.join(map(repr, missing))}. There are: "
                f"{', '.join(map(repr, sorted(seen))) or 'no rows'}."
            )

    def _converted(self, skipped: Skipped) -> Iterator[Read]:
        good = self._good_rows(skipped)
        if not self._format.groups:
            yield from good
            return
        for read in grouped(good, self._format.groups):
            if isinstance(read, BadRow):
                self._refuse(read, skipped)
            else:
                yield read

    def _refuse(self, bad: BadRow, skipped: Skipped) -> None:
        if not self.options.skip_bad_rows:
            raise bad
        skipped.add(bad)

    def _good_rows(self, skipped: Skipped) -> Iterator[Read]:
        known_shapes: dict[tuple[str, ...], Bound] = {}
        for file, number, record in self._records():
            context = Context(file.name, number, file.subset, self.options.relevant_from)
            try:
                if isinstance(record, BadRow):
                    raise record
                bound = known_shapes.get(shape := _shape(record))
                if bound is None:
                    bound = self._bind(record, context)
                    if len(known_shapes) < _SHAPES_KEPT:
                        known_shapes[shape] = bound
                read = self._convert(record, context, bound)
            except BadRow as bad:
                self._refuse(bad, skipped)
            else:
                yield read

    def _bind(self, record: Record, context: Context) -> Bound:
        bound = self._format.bind(record, self.columns, context)
        for column in (column for columns in bound.columns.values() for column in columns):
            check_text(column, "(the name of a field)", context)
        unread = (name for name in bound.unread if name not in self._format.more)
        # Reports and manifests name them, and are UTF-8.
        self.ignored_fields.update(spelt_out(name) for name in unread)
        return bound

    def _convert(self, record: Record, context: Context, bound: Bound) -> Read:
        row = self._format.convert(record, context, bound)
        reply = None if self._format.reply is None else self._format.reply(record, context)
        return Read(row, (record,), reply, context)

    def _check_labels(self, part: _Part, record: Record) -> None:
        """Raises: SourceError, the numbers in the label column of a part have names that say something else."""
        with suppress(BadRow):
            columns = self._format.bind(record, self.columns, Context("", 0)).all("label")
            names = class_names_of(part) if isinstance(part, SourceFile) else part.class_names
            check_classes(names, columns, self.options.relevant_from, part.name)

    def _look_at(self, records: Sequence[Record]) -> None:
        """Learn what the first records tell of all."""
        self.scored = any(self._format.scored(record) for record in records)
        for record in records:
            with suppress(BadRow):
                self._bind(record, Context("", 0))
        if "label" in self._format.roles:
            parts: Sequence[_Part] = self.files if self.data is None else (self.data,)
            self._check_labels(parts[0], typical(records, self.columns))
        with suppress(BadRow):
            bound = self._format.bind(typical(records, self.columns), self.columns, Context("", 0))
            self.layout = tuple(described(bound, self.columns, self.guesses))
        if self.guesses:
            guess = spelt_out(", ".join(f"{role} ← {column}" for role, column in self.guesses.items()))
            said = argument("columns", self.guesses)
            _logger.warning("%s: %s is a guess: it was the only column left. Say it: %s.", self.name, guess, said)

    def _records(self) -> Iterator[tuple[_Part, int, Record | BadRow]]:
        columns = None if self._whole_records else self._format.columns(self.columns)
        if self.data is not None:
            for number, record in self.data.records(columns):
                yield self.data, number, record
            return
        if self.format == "beir":
            yield from self._beir.records()
            return
        for file in self.files:
            checked = "label" not in self._format.roles
            for number, record in read_records(file, columns):
                if not checked and not isinstance(record, BadRow):
                    self._check_labels(file, record)
                    checked = True
                yield file, number, record


def _shape(record: Record) -> tuple[str, ...]:
    """The fields that hold something: what is said of one record with them holds for all."""
    return tuple([name for name, value in record.items() if value is not None])
