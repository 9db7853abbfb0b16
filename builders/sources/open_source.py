"""Opening a source: local files, folders, and data in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.sources.archives import unpacked
from hf_relabel.builders.sources.beir import MINED_NEGATIVES, beir_files
from hf_relabel.builders.sources.files import (
    DATA_FILES,
    Record,
    SourceFile,
    is_data_file,
)
from hf_relabel.builders.sources.folders import check_split, files_of
from hf_relabel.builders.sources.objects import SourceObject, source_object
from hf_relabel.builders.sources.reading import read_records
from hf_relabel.builders.sources.recognition import named_format, recognised
from hf_relabel.builders.sources.samples import Sample
from hf_relabel.builders.sources.source import PEEKED, Source
from hf_relabel.builders.sources.source_options import Options
from hf_relabel.builders.sources.split_documents import of_split
from hf_relabel.builders.sources.splits import TRAIN


def open_source(
    data: Any,
    *,
    name: str | None = None,
    format: str | None = None,
    subset: str | Sequence[str] | None = None,
    sample: Sample | None = None,
    skip_bad_rows: bool = False,
    limit: int | None = None,
    config: str | None = None,
    split: str | None = None,
    mined_negatives: int = MINED_NEGATIVES,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    relevant_from: float | None = None,
) -> Source:
    """Open local files or an object that holds rows. `hf_relabel.open_source` opens data sets on the Hub as well, and
    tells of the arguments.

    Raises:
        SourceError: it is none of these, the files cannot be opened or are in no known format.
    """
    told = name or (str(data) if isinstance(data, (str, os.PathLike)) else type(data).__name__)
    options = Options.checked(told, subset, sample, skip_bad_rows, limit, mined_negatives, columns, relevant_from)
    if not isinstance(data, (str, os.PathLike)):
        if config is not None:
            raise SourceError(f"{told}: is an object, which has no config {config!r}.")
        return _source_from_object(source_object(data, name=name, split=split), format, options)
    opened = files_of(Path(data), config, split, format)
    source = source_from_files(
        opened.files,
        name=told,
        config=opened.config,
        split=opened.split,
        format=opened.format or format,
        options=options,
    )
    if source.format != "beir" and Path(data).is_file():
        check_split(Path(data), split, source.files)
    source.left_out += opened.left_out
    return source


def source_from_files(
    files: Sequence[SourceFile],
    *,
    name: str,
    revision: str | None = None,
    config: str | None = None,
    split: str | None = None,
    format: str | None = None,
    options: Options | None = None,
) -> Source:
    """A source of given files, wherever they are.

    Raises:
        SourceError: there are no files, or they are in no known format.
    """
    options = options or Options()
    if format is not None and named_format(format).name == "beir":
        if options.columns:
            raise SourceError(f"{name}: the fields of a BEIR folder have fixed names, so no columns can be given.")
        chosen = beir_files(files, name, split)
        files, split = (chosen.corpus, chosen.queries, chosen.qrels), chosen.split
        return Source(name, tuple(files), "beir", revision, config, split, options)
    files = tuple(file for file in files if is_data_file(file.name) or len(files) == 1)
    if not files:
        raise SourceError(f"{name}: no {DATA_FILES} file.")
    files, left_out = unpacked(files, split)
    files, fields_left_out = of_split(files, split)
    left_out += fields_left_out
    readers = (read_records(file, batch_rows=PEEKED) for file in files)
    records = _first_records(readers, name, options.skip_bad_rows)
    found, guesses = recognised(records, files[0].name, format, options.columns)
    split = split or (TRAIN if left_out else None)
    source = Source(name, files, found.name, revision, config, split, options, guesses, left_out=left_out)
    source._look_at(records)
    return source


def _source_from_object(data: SourceObject, format: str | None, options: Options) -> Source:
    if format is not None and named_format(format).name == "beir":
        raise SourceError(f"{data.name}: a BEIR set is a folder with corpus.jsonl, queries.jsonl and qrels/.")
    records = _first_records([data.records()], data.name, options.skip_bad_rows)
    found, guesses = recognised(records, data.name, format, options.columns)
    source = Source(data.name, (), found.name, split=data.split, options=options, guesses=guesses, data=data)
    source._look_at(records)
    return source


def _first_records(
    readers: Iterable[Iterator[tuple[int, Record | BadRow]]], name: str, skip_bad_rows: bool
) -> list[Record]:
    """Up to 20 records of the first reader that has any."""
    for reader in readers:
        found: list[Record] = []
        first_bad: BadRow | None = None
        # More than a few hundred bad lines at the start are no data set with some bad rows.
        for count, (_, record) in enumerate(reader):
            if isinstance(record, BadRow):
                first_bad = first_bad or record
                if not skip_bad_rows:
                    break
            else:
                found.append(record)
            if len(found) == PEEKED or count > 50 * PEEKED:
                break
        if first_bad is not None and not found:
            raise first_bad
        if found:
            return found
    raise SourceError(f"{name}: there are no rows in it.")
