"""Mining from a source to a file of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.mining.corpus import check_corpus, file_passages, read_corpus
from hf_relabel.builders.mining.dense import DenseMiner, check_installed
from hf_relabel.builders.mining.miners import Miner, WordMiner
from hf_relabel.builders.mining.pairs import Candidates, Pairs
from hf_relabel.builders.mining.report import MiningReport, library_versions, record_path
from hf_relabel.builders.mining.settings import MiningSettings
from hf_relabel.builders.mining.writing import check_place, row_writer
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import Source

Progress = Callable[[str, int, int | None], None]
"""Called with what is done (`reading`, `indexing`, `encoding`, `mining`), how much of it, and of how much."""


def mine_source(
    source: Source,
    out: str | Path,
    settings: MiningSettings,
    *,
    corpus: Any = None,
    progress: Progress | None = None,
) -> MiningReport:
    """Find hard negatives for the rows of a source, and write rows. See `hf_relabel.mine`."""
    out = Path(out)
    check_place(out)
    check_installed(settings)
    if corpus is not None:
        check_corpus(corpus)
    tell = progress or (lambda what, done, total: None)
    # Of a BEIR folder the pairs alone are wanted, not what BM25 would find on the way in.
    if source.format == "beir":
        source = replace(source, options=replace(source.options, mined_negatives=0))
    candidates, pairs = _gathered(source, corpus, tell)
    miner = _miner(settings, candidates, tell)
    counts = _Counts()
    with written_whole(out) as file, row_writer(out, file, scores=pairs.scores) as write:
        for row in _mined(pairs, candidates, miner):
            write(row)
            counts.add(row)
            tell("mining", counts.rows, len(pairs))
        if not counts.negatives:
            raise SourceError(
                f"{source.name}: no negatives were found for any of the {counts.rows:,} rows, and nothing was written. "
                f"{len(candidates):,} passages were searched: give a larger corpus, or wider limits."
            )
        report = MiningReport(
            path=out,
            source={name: value for name, value in source.record().items() if name != "mined_negatives"},
            method=settings.method,
            settings=_told(settings),
            models=miner.models(),
            rows=counts.rows,
            rows_read=pairs.read,
            rows_without_negatives=counts.without,
            negatives=counts.negatives,
            passages=len(candidates),
            copies=candidates.copies,
            blank=candidates.blank,
            negatives_left_out=pairs.left_out,
            scores=pairs.scores,
            versions=library_versions(settings.method),
        )
        # First: a record of rows that are missing is overwritten, rows without a record would look like the user's.
        _write_record(report)
    return report


def _gathered(source: Source, corpus: Any, tell: Progress) -> tuple[Candidates, Pairs]:
    """The passages to search and the rows to search for. The corpus comes first: its order settles ties."""
    candidates = Candidates()
    if source.format == "beir":
        documents = file_passages(source.files[0], skip_bad=source.options.skip_bad_rows)
        candidates.add_corpus(documents, of_queries=True)
    if corpus is not None:
        candidates.add_corpus(read_corpus(corpus))
    pairs = Pairs(source, candidates, lambda done: tell("reading", done, None))
    if not len(pairs):
        raise SourceError(f"{source.name}: there are no rows in it.")
    return candidates, pairs


def _miner(settings: MiningSettings, candidates: Candidates, tell: Progress) -> Miner:
    if settings.method == "bm25":
        return WordMiner(settings, candidates, lambda done: tell("indexing", done, len(candidates)))
    return DenseMiner(settings, candidates, lambda done: tell("encoding", done, len(candidates)))


def _mined(pairs: Pairs, candidates: Candidates, miner: Miner) -> Iterator[Row]:
    for start in range(0, len(pairs), miner.queries_at_once):
        rows = [pairs.row(number) for number in range(start, min(start + miner.queries_at_once, len(pairs)))]
        found = miner.negatives([pairs.query(row) for row in rows])
        for row, positions in zip(rows, found, strict=True):
            yield replace(row, negative_passages=tuple(candidates[position] for position in positions))


@dataclass
class _Counts:
    rows: int = 0
    negatives: int = 0
    without: int = 0

    def add(self, row: Row) -> None:
        self.rows += 1
        self.negatives += len(row.negative_passages)
        self.without += not row.negative_passages


def _told(settings: MiningSettings) -> dict[str, Any]:
    """The settings that matter, as plain values. A model that was given as an object is told of under `models`."""
    ours = ("negatives", "range_min", "range_max")
    names = ours if settings.method == "bm25" else [field.name for field in fields(settings) if field.name != "method"]
    values = {name: getattr(settings, name) for name in names}
    return {
        name: value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
        for name, value in values.items()
    }


def _write_record(report: MiningReport) -> None:
    import yaml

    head = "# How the negatives beside this file were mined.\n"
    content = head + yaml.safe_dump(report.record(), sort_keys=False, allow_unicode=True)
    with written_whole(record_path(report.path)) as file:
        file.write(content.encode())
