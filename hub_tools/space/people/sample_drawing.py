"""The blind sample of a release, drawn from its verdicts alone; only the rows that were drawn are read.

It has the strata of `builders.audit.strata`. Of a stratum, the candidates with the smallest hashes of seed, row and
position are drawn, so a release, a size and a seed always give the same sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.audit.sample import AuditSample
from hf_relabel.builders.audit.selection import sample_of
from hf_relabel.builders.audit.strata import AUDITED, CellKey, JudgedCandidate, StratumKey, allocated
from hf_relabel.builders.cascade.zones import signal
from hf_relabel.builders.configs.layout import VERDICTS
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Label, Outcome, Verdict
from hf_relabel.builders.rows import Row
from hf_relabel.hub_tools.space.data.browsing import Browser
from hf_relabel.hub_tools.space.data.filters import OUTCOMES
from hf_relabel.hub_tools.space.data.index_reading import ordered
from hf_relabel.hub_tools.space.data.ranges import ConfigFiles, Group

if TYPE_CHECKING:
    import pyarrow as pa

_READERS = 4
_ROW_READERS = 4
_COLUMNS = ["row", "subset", "position", "outcome", "stages.list.element.label"]
_LABELS = tuple(str(label) for label in Label)
_DIGITS = len(_LABELS) + 1
_ANSWERS = tuple(index for index, label in enumerate(Label) if label.is_answer)

Progress = Callable[[int, int], None]
"""Called with the lines and rows read so far, and how many there are."""


def draw_blind(browser: Browser, size: int, *, seed: int = 0, progress: Progress | None = None) -> AuditSample:
    """Draw the sample of a release.

    Args:
        size: how many candidates; all where there are fewer.
        seed: another seed draws others.

    Raises:
        ConfigError: no candidate was judged, or the size is below 1.
        ReleaseError, BuildError: the release cannot be read.
    """
    if size < 1:
        raise ConfigError(f"The size of a sample must be at least 1, found {size}.")
    files = browser.files.config(VERDICTS)
    stages = tuple(str(name) for name in browser.release.manifest["settings"]["stages"])
    drawing = _Drawing(stages, size, seed)
    done, everything = 0, files.lines + size
    with ThreadPoolExecutor(_READERS, "space-sample") as pool:
        for table in ordered(pool, lambda group: _table(files, group), files.runs()):
            drawing.add(table)
            done += table.num_rows
            if progress is not None:
                progress(done, everything)
    if not drawing.cells:
        raise ConfigError("There is nothing to answer for: no candidate has a verdict of a judge.")
    return _with_rows(
        browser, drawing, lambda rows: progress(done + rows, everything) if progress is not None else None
    )


def _table(files: ConfigFiles, group: Group) -> pa.Table:
    return files.read(group, _COLUMNS)


@dataclass(frozen=True, slots=True)
class _Place:
    """A candidate that was drawn: its row and its position there."""

    row: int
    position: int


@dataclass
class _Drawing:
    """The strata, and of each the candidates with the smallest hashes, as lines of `verdicts` come in."""

    stages: tuple[str, ...]
    size: int
    seed: int
    cells: Counter[CellKey] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    _smallest: dict[StratumKey, tuple[Any, Any, Any]] = field(default_factory=dict)

    def add(self, table: pa.Table) -> None:
        import numpy as np

        subsets = table["subset"].combine_chunks().fill_null("").dictionary_encode()
        outcomes = _codes(table["outcome"].combine_chunks(), OUTCOMES)
        labels = self._labels(table["stages"].combine_chunks(), table.num_rows)
        asked = labels >= 0
        audited = np.isin(outcomes, [OUTCOMES.index(outcome) for outcome in AUDITED])
        audited &= asked.any(axis=1) & (~asked | np.isin(labels, _ANSWERS)).all(axis=1)
        for code, number in zip(*np.unique(outcomes[~audited], return_counts=True), strict=True):
            self.left_out[OUTCOMES[code]] += int(number)
        rows, positions = table["row"].to_numpy()[audited], table["position"].to_numpy()[audited]
        # The cell as one number: its digits are the label of each stage, the outcome and the subset.
        kinds = subsets.indices.to_numpy()[audited].astype(np.int64) * len(OUTCOMES) + outcomes[audited]
        for stage in range(len(self.stages)):
            kinds = kinds * _DIGITS + labels[audited, stage] + 1
        hashes = _hashes(rows, positions, self.seed)
        names = subsets.dictionary.to_pylist()
        _, first, inverse = np.unique(kinds, return_index=True, return_inverse=True)
        for number, place in enumerate(first.tolist()):
            here = inverse == number
            cell = self._key(names, int(kinds[place]))
            self.cells[cell] += int(here.sum())
            self._take(cell.stratum, hashes[here], rows[here], positions[here])

    def _labels(self, stages: pa.Array, lines: int) -> Any:
        """The label of each stage for each line, -1 where it was not asked."""
        import numpy as np

        labels = np.full((lines, len(self.stages)), -1, dtype=np.int64)
        lengths = stages.value_lengths().fill_null(0).to_numpy()
        if lengths.max(initial=0) > len(self.stages):
            raise BuildError("`verdicts` has more stages than the manifest names.")
        values = stages.flatten()
        codes = _codes(values.field("label"), _LABELS)
        line = np.repeat(np.arange(lines), lengths)
        stage = np.arange(len(line)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        labels[line, stage] = codes
        return labels

    def _key(self, subsets: list[str], kind: int) -> CellKey:
        said: dict[str, str | None] = {}
        for name in reversed(self.stages):
            kind, digit = divmod(kind, _DIGITS)
            said[name] = _LABELS[digit - 1] if digit else None
        labels = tuple((name, said[name]) for name in self.stages)
        subset, outcome = divmod(kind, len(OUTCOMES))
        settled = [name for name, label in labels if label is not None][-1]
        return CellKey(StratumKey(Outcome(OUTCOMES[outcome]), settled), subsets[subset], labels)

    def _take(self, key: StratumKey, hashes: Any, rows: Any, positions: Any) -> None:
        import numpy as np

        if key in self._smallest:
            parts = zip(self._smallest[key], (hashes, rows, positions), strict=True)
            hashes, rows, positions = (np.concatenate(part) for part in parts)
        smallest = np.argsort(hashes, kind="stable")[: self.size]
        self._smallest[key] = (hashes[smallest], rows[smallest], positions[smallest])

    def drawn(self) -> list[_Place]:
        places = []
        for key, number in allocated(self.cells, self.size).items():
            _, rows, positions = self._smallest[key]
            places += [
                _Place(*place) for place in zip(rows[:number].tolist(), positions[:number].tolist(), strict=True)
            ]
        return places


def _with_rows(browser: Browser, drawing: _Drawing, progress: Callable[[int], None]) -> AuditSample:
    """The sample with the texts of what was drawn, whose rows are read side by side."""
    places = drawing.drawn()
    rows: dict[int, tuple[Row, list[Verdict]]] = {}
    with ThreadPoolExecutor(_ROW_READERS, "space-sample-rows") as pool:
        wanted = sorted({place.row for place in places})
        for number, found in zip(wanted, pool.map(browser.judged_row, wanted), strict=True):
            rows[number] = found
            progress(len(rows))
    manifest = browser.release.manifest
    stages = (manifest.get("run") or {}).get("stages")
    sample = sample_of(
        drawing.cells,
        [_candidate(drawing.stages, *rows[place.row], place) for place in places],
        seed=drawing.seed,
        left_out=drawing.left_out,
        calibrated="zones" in (manifest.get("evidence") or {}),
    )
    return replace(sample, stages=None if stages is None else tuple(stages))


def _candidate(stages: tuple[str, ...], row: Row, verdicts: list[Verdict], place: _Place) -> JudgedCandidate:
    if place.position >= len(verdicts):
        raise BuildError(f"`verdicts` speaks of negative {place.position} of row {place.row}, which has fewer.")
    verdict = verdicts[place.position]
    judges = dict.fromkeys(stages) | dict(zip(stages, verdict.stages, strict=False))
    settled = [name for name, judgement in judges.items() if judgement is not None][-1]
    return JudgedCandidate(row, place.position, verdict.outcome, judges, settled, signal(verdict), place.row)


def _codes(column: Any, names: tuple[str, ...]) -> Any:
    """Where each value is among the names; -1 for a null and for what is not among them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.index_in(column, value_set=pa.array(names)).fill_null(-1)
    return codes.to_numpy(zero_copy_only=False).astype("int64")


def _hashes(rows: Any, positions: Any, seed: int) -> Any:
    """A random number for each candidate, always the same (splitmix64, Steele et al. 2014)."""
    import numpy as np

    start = (seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64
    value = rows.astype(np.uint64) * np.uint64(0xA0761D6478BD642F) + positions.astype(np.uint64)
    value = value * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    return value ^ (value >> np.uint64(31))
