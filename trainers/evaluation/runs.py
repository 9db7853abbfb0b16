"""TREC run files: a line per document found, `query-id Q0 docid rank score system`, in and out."""

from __future__ import annotations

import math
from pathlib import Path

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import BadRow, ConfigError
from hf_relabel.builders.sources.files import local_file, read_lines
from hf_relabel.trainers.evaluation.sets import Run

_FIELDS = 6
_REMEDY = "A line is `query-id Q0 docid rank score system`, separated by blanks."


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run, gzip and zstd too. Ranks are not used: trec_eval orders by score as well.

    Raises:
        SourceError: the file cannot be read.
        BadRow: a line is none of a run, or names a document of its query a second time.
    """
    file = local_file(Path(path), str(path))
    run: dict[str, dict[str, float]] = {}
    for number, line in read_lines(file):
        query_id, docid, score = _fields(line, file.name, number)
        scores = run.setdefault(query_id, {})
        if docid in scores:
            found = f"the document {docid[:80]!r} of query {query_id[:80]!r} a second time"
            raise BadRow(file.name, number, "docid", found, "A run has each document of a query once.")
        scores[docid] = score
    return run


def write_run(run: Run, path: str | Path, *, system: str = "hf-relabel") -> None:
    """Write a run, documents in falling order of score, ties as trec_eval breaks them.

    Raises:
        ConfigError: an id is empty or has a blank in it, which the format cannot hold.
    """
    names = [system, *run, *(docid for scores in run.values() for docid in scores)]
    for name in names:
        if not name or any(character.isspace() for character in name):
            raise ConfigError(f"A TREC run cannot hold the id {name[:80]!r}: ids must have no blanks.")
    with written_whole(Path(path)) as file:
        for query_id, scores in run.items():
            ranked = sorted(sorted(scores, reverse=True), key=lambda docid: -scores[docid])
            for rank, docid in enumerate(ranked, start=1):
                file.write(f"{query_id} Q0 {docid} {rank} {scores[docid]!r} {system}\n".encode())


def _fields(line: bytes, name: str, number: int) -> tuple[str, str, float]:
    try:
        fields = line.decode().split()
    except UnicodeDecodeError:
        raise BadRow(name, number, "query-id", "text that is not UTF-8", _REMEDY) from None
    if len(fields) != _FIELDS:
        raise BadRow(name, number, "query-id", f"{len(fields)} fields where {_FIELDS} are needed", _REMEDY)
    try:
        score = float(fields[4])
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise BadRow(name, number, "score", f"{fields[4][:30]!r} is no number", _REMEDY)
    return fields[0], fields[2], score
