"""An index of a release's rows: what is searched and filtered by, read from the narrow columns alone."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.configs.writing import VERDICTS
from hf_relabel.builders.errors import BuildError, ConfigError, RelabelError
from hf_relabel.builders.judgements import Label, Outcome
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.space.data.ranges import ConfigFiles, Group, Opened

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Numbers = npt.NDArray[np.int64]

NOT_ASKED = "not-asked"
OUTCOMES = tuple(str(outcome) for outcome in Outcome)
LABELS = (*(str(label) for label in Label), NOT_ASKED)
"""What `Filter.outcomes` and `Filter.labels` may name."""

_CHANGED = (Outcome.FALSE_NEGATIVE, Outcome.DUPLICATE, Outcome.EMPTY)
CHANGING: dict[str, tuple[Outcome, ...]] = {
    Technique.ORIGINAL: (),
    Technique.REMOVE: _CHANGED,
    Technique.REMOVE_HN: _CHANGED,
    Technique.RELABEL: _CHANGED,
    Technique.RELABEL_FILTER: (*_CHANGED, Outcome.DOUBTFUL),
}
"""A technique changes or drops a row exactly where a candidate has one of these outcomes (`techniques.account`)."""

_READERS = 4
"""Row groups that are read at a time."""
_SEGMENT_ROWS = 50_000
"""Rows of the index that are put into one file on the disk."""
_MOST_TEXT = 1_000
_SEARCHES = 4
"""Searches whose results are kept, for the next page."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows to find. All that is given must hold; what is empty or False holds for every row.

    `outcomes`, `labels` and `disagreement` speak of candidates: a row is found where one and the same candidate has one
    of the outcomes and one of the labels and (with `disagreement`) two stages that do not agree on whether it is
    `better`.

    Attributes:
        text: words that all must occur in the query or in the query id, each anywhere in it, in any case. Passages,
            titles, docids and rationales are not searched: the index does not hold them.
        subset: exactly this one; None is all, "" the rows without one.
        outcomes: values of `Outcome`.
        labels: values of `Label`, of the last stage that saw the candidate; "not-asked" where none did.
        disagreement: see above.
        suspects: rows with a suspected ground truth only.
        changed_by: the name of a technique that changes the row or drops it.
    """

    text: str = ""
    subset: str | None = None
    outcomes: Collection[str] = ()
    labels: Collection[str] = ()
    disagreement: bool = False
    suspects: bool = False
    changed_by: str | None = None


@dataclass(frozen=True, slots=True)
class RowLine:
    """A row as a list shows it.

    Attributes:
        number: of the row, as `verdicts` counts it; what `Browser.row` takes.
        false_negatives: copies of positives included.
        disagreements: candidates on which stages do not agree.
        suspects: suspected ground truths.
        score: the highest of its candidates, None where there is none.
    """

    number: int
    query_id: str
    query: str
    subset: str
    candidates: int
    false_negatives: int
    doubtful: int
    unjudged: int
    disagreements: int
    suspects: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the rows that were found, in the order of their numbers.

    Attributes:
        total: rows found so far, all pages together. While the index is being read, more may come; those that are
            there keep their places.
        searched: rows that were looked at; `rows` are in the release. The page is final where both are equal.
    """

    total: int
    offset: int
    lines: tuple[RowLine, ...]
    searched: int
    rows: int

    @property
    def is_complete(self) -> bool:
        return self.searched == self.rows


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far the index is.

    Attributes:
        error: one line, where it cannot be read; None otherwise. What was read before stays searchable.
    """

    rows: int
    of: int
    is_finished: bool
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Segment:
    """Some rows of the index, those from the `first`-th on, as an Arrow table (see `_segment_table`)."""

    first: int
    table: pa.Table

    @property
    def stop(self) -> int:
        return self.first + int(self.table.num_rows)

    def numbers(self, name: str) -> Any:
        return self.table[name].combine_chunks().to_numpy(zero_copy_only=False)


@dataclass
class _Search:
    """What a filter found so far: places of rows (from 0), in parts."""

    searched: int = 0
    parts: list[Any] = field(default_factory=list)
    total: int = 0

    def add(self, places: Any) -> None:
        self.parts.append(places)
        self.total += len(places)

    def between(self, start: int, stop: int) -> list[int]:
        """The places of the `start`-th up to the `stop`-th hit."""
        found: list[int] = []
        seen = 0
        for part in self.parts:
            if seen + len(part) > start and seen < stop:
                found += part[max(0, start - seen) : stop - seen].tolist()
            seen += len(part)
        return found

    def around(self, place: int) -> tuple[int | None, int | None]:
        before = after = None
        for part in self.parts:
            left, right = int(part.searchsorted(place)), int(part.searchsorted(place, "right"))
            before = int(part[left - 1]) if left else before
            if right < len(part):
                after = int(part[right])
                break
        return before, after


class RowIndex:
    """The index of one release. A thread reads it, from the first row to the last; what is there can be searched.

    It lies on the disk, in memory-mapped files of some 50,000 rows, so it takes little memory however many rows there
    are: about 100 bytes and the query for each row.

    Args:
        scratch: where its folder is made, None for the system's folder for temporary files.
    """

    def __init__(self, opened: Opened, scratch: Path | None = None) -> None:
        self._opened, self._scratch = opened, scratch
        self._original, self._verdicts = opened.config(Technique.ORIGINAL), opened.config(VERDICTS)
        self.first_row = int(opened.release.manifest["rows"]["first"])
        self.rows = self._original.lines
        self._segments: list[Segment] = []
        self._subsets: dict[str, int] = {}
        self._searches: OrderedDict[Filter, _Search] = OrderedDict()
        self._change = threading.Condition()
        self._searching = threading.Lock()
        self._thread: threading.Thread | None = None
        self._folder: Path | None = None
        self._error: str | None = None
        self._began = self._seconds = 0.0
        self._stop = False

    def start(self) -> None:
        """Begin to read, unless that has begun."""
        with self._change:
            if self._thread is not None or self._stop:
                return
            self._began = time.monotonic()
            self._thread = threading.Thread(target=self._run, name="space-index", daemon=True)
            self._thread.start()

    def state(self) -> IndexState:
        with self._change:
            finished = self._is_done()
            seconds = self._seconds or (time.monotonic() - self._began if self._thread else 0.0)
            return IndexState(self._there(), self.rows, finished and self._error is None, self._error, seconds)

    def wait(self, seconds: float | None = None, rows: int | None = None) -> IndexState:
        """Wait until so many rows are there (all for None), reading has failed, or the time is over."""
        wanted = self.rows if rows is None else min(rows, self.rows)
        with self._change:
            self._change.wait_for(lambda: self._there() >= wanted or self._is_done(), seconds)
        return self.state()

    def close(self) -> None:
        with self._change:
            self._stop = True
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._searching, self._change:
            self._segments, self._searches = [], OrderedDict()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def find(self, wanted: Filter, offset: int, size: int) -> Page:
        """See `Browser.find`."""
        wanted = checked(wanted)
        if offset < 0 or size < 0:
            raise ConfigError("A page cannot begin before the first row or hold less than no rows.")
        self.start()
        # Without a filter a page can be had as soon as its rows are there; any search begins with something.
        self.wait(rows=offset + size if wanted == checked(Filter()) else 1)
        self._raise_if_nothing()
        search = self._search(wanted)
        segments = self._there_now()
        lines = tuple(self._line(segments, place) for place in search.between(offset, offset + size))
        return Page(search.total, offset, lines, search.searched, self.rows)

    def around(self, number: int, wanted: Filter) -> tuple[int | None, int | None]:
        """See `Browser.around`."""
        wanted = checked(wanted)
        self.start()
        self.wait(rows=1)
        self._raise_if_nothing()
        found = self._search(wanted).around(number - self.first_row)
        before, after = (None if place is None else place + self.first_row for place in found)
        return before, after

    def verdict_lines(self, number: int) -> tuple[int, int] | None:
        """From which line up to which the `verdicts` speak of a row; None where the index does not hold it yet."""
        place = number - self.first_row
        for segment in self._there_now():
            if segment.first <= place < segment.stop:
                row = segment.table.slice(place - segment.first, 1)
                start = int(row["line"][0].as_py())
                return start, start + int(row["candidates"][0].as_py())
        return None

    def subsets(self) -> list[str]:
        """The subsets seen so far."""
        return list(self._subsets)

    def _there_now(self) -> list[Segment]:
        with self._change:
            return list(self._segments)

    def _there(self) -> int:
        return self._segments[-1].stop if self._segments else 0

    def _is_done(self) -> bool:
        return self._error is not None or self._stop or self._there() == self.rows

    def _raise_if_nothing(self) -> None:
        with self._change:
            if self._error is not None and not self._segments:
                raise BuildError(self._error)

    # Searching

    def _search(self, wanted: Filter) -> _Search:
        with self._searching:
            search = self._searches.setdefault(wanted, _Search())
            self._searches.move_to_end(wanted)
            while len(self._searches) > _SEARCHES:
                self._searches.popitem(last=False)
            for segment in self._there_now():
                if segment.stop > search.searched:
                    start = max(segment.first, search.searched)
                    table = segment.table.slice(start - segment.first)
                    search.add(_places(table, wanted, self._subsets) + start)
                    search.searched = segment.stop
            return _Search(search.searched, list(search.parts), search.total)

    def _line(self, segments: list[Segment], place: int) -> RowLine:
        segment = next(each for each in segments if each.first <= place < each.stop)
        values = segment.table.slice(place - segment.first, 1).to_pylist()[0]
        names = list(self._subsets)
        return RowLine(
            number=self.first_row + place,
            query_id=values["query_id"],
            query=values["query"],
            subset=names[values["subset"]],
            candidates=values["candidates"],
            false_negatives=values["false_negatives"],
            doubtful=values["doubtful"],
            unjudged=values["unjudged"],
            disagreements=values["disagreements"],
            suspects=values["suspects"],
            score=values["score"],
        )

    # Reading

    def _run(self) -> None:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="hf-relabel-index-", dir=self._scratch))
            self._read(self._folder)
        except RelabelError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"The index cannot be written to {self._scratch or tempfile.gettempdir()}: {error.strerror}.")
        except Exception as error:  # a thread has nobody to raise to
            self._fail(f"The index cannot be read: {type(error).__name__}.")
        finally:
            with self._change:
                self._seconds = time.monotonic() - self._began
                self._change.notify_all()

    def _fail(self, reason: str) -> None:
        with self._change:
            self._error = reason

    def _read(self, folder: Path) -> None:
        with ThreadPoolExecutor(_READERS, "space-index") as pool:
            suspects = self._suspect_counts()
            lines = _LineReader(self._line_groups(pool), self._verdicts.release.name)
            names = ["query_id", "query", "subset"]
            read = ordered(pool, lambda group: self._original.read(group, names), self._original.groups())
            place = 0
            for table in read:
                if self._stop:
                    return
                rows = range(self.first_row + place, self.first_row + place + table.num_rows)
                self._add(Segment(place, self._segment_table(table, rows, lines, suspects)), folder)
                place += table.num_rows
            lines.finish(self.first_row + place)

    def _line_groups(self, pool: ThreadPoolExecutor) -> Iterator[_Lines]:
        columns = ["row", "outcome", "label", "score", "agreement"]

        def read(group: Group) -> _Lines:
            return _lines_of(self._verdicts.read(group, columns), group.first, self._verdicts)

        return ordered(pool, read, self._verdicts.groups())

    def _suspect_counts(self) -> Mapping[int, int]:
        import numpy as np

        if not self._opened.release.manifest["settings"].get("suspects"):
            return {}
        config = self._opened.config(SUSPECTS)
        counts: dict[int, int] = {}
        for group in config.groups():
            rows, numbers = np.unique(config.read(group, ["row"])["row"].to_numpy(), return_counts=True)
            for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
                counts[row] = counts.get(row, 0) + number
        return counts

    def _segment_table(self, table: pa.Table, rows: range, lines: _LineReader, suspects: Mapping[int, int]) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        subsets = table["subset"].combine_chunks().dictionary_encode()
        codes = [self._subsets.setdefault(name or "", len(self._subsets)) for name in subsets.dictionary.to_pylist()]
        # Rows may come without a subset.
        places = subsets.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
        if subsets.indices.null_count:
            codes.append(self._subsets.setdefault("", len(self._subsets)))
        columns: dict[str, Any] = {
            "query_id": table["query_id"].combine_chunks(),
            "query": table["query"].combine_chunks(),
            "subset": np.asarray(codes, dtype=np.int32)[places],
            "suspects": np.asarray([suspects.get(row, 0) for row in rows], dtype=np.int32),
            **lines.summed(rows),
        }
        score = columns["score"]
        columns["score"] = pa.array(score, pa.float64(), mask=np.isnan(score))
        return pa.table(columns)

    def _add(self, segment: Segment, folder: Path) -> None:
        """Put rows into the index; small segments are joined into a file once there are enough."""
        small = [each for each in self._segments if each.table.num_rows < _SEGMENT_ROWS]
        large = self._segments[: len(self._segments) - len(small)]
        joined = None
        if sum(each.table.num_rows for each in small) + segment.table.num_rows >= _SEGMENT_ROWS:
            joined = _on_disk([*small, segment], folder)
        with self._change:
            if joined is None:
                self._segments.append(segment)
            else:
                self._segments = [*large, joined]
            self._change.notify_all()


def checked(wanted: Filter) -> Filter:
    """The filter in the one form that all equal filters have.

    Raises:
        ConfigError: an unknown outcome, label or technique, or a text of more than 1,000 characters.
    """
    if len(wanted.text) > _MOST_TEXT:
        raise ConfigError(f"A search has at most {_MOST_TEXT:,} characters, found {len(wanted.text):,}.")
    outcomes, labels = frozenset(map(str, wanted.outcomes)), frozenset(map(str, wanted.labels))
    for what, given, known in (("outcome", outcomes, OUTCOMES), ("label", labels, LABELS)):
        unknown = sorted(given - set(known))
        if unknown:
            raise ConfigError(f"There is no {what} {unknown[0][:60]!r}. There are: {', '.join(known)}.")
    if wanted.changed_by is not None and wanted.changed_by not in CHANGING:
        raise ConfigError(f"There is no technique {wanted.changed_by[:60]!r}. There are: {', '.join(CHANGING)}.")
    return replace(wanted, text=" ".join(wanted.text.split()), outcomes=outcomes, labels=labels)


def _places(table: pa.Table, wanted: Filter, subsets: Mapping[str, int]) -> Numbers:
    """The places in a table of the index whose rows match."""
    import numpy as np

    found = np.ones(table.num_rows, dtype=bool)
    if wanted.subset is not None:
        found &= table["subset"].to_numpy() == subsets.get(wanted.subset, -1)
    if wanted.suspects:
        found &= table["suspects"].to_numpy() > 0
    agreeing, disagreeing = table["agreeing"].to_numpy(), table["disagreeing"].to_numpy()
    if wanted.outcomes or wanted.labels or wanted.disagreement:
        allowed = np.uint64(_bits(wanted.outcomes or OUTCOMES, wanted.labels or LABELS))
        said = disagreeing if wanted.disagreement else agreeing | disagreeing
        found &= (said & allowed) != 0
    if wanted.changed_by is not None:
        allowed = np.uint64(_bits([str(outcome) for outcome in CHANGING[wanted.changed_by]], LABELS))
        found &= ((agreeing | disagreeing) & allowed) != 0
    for word in wanted.text.split():
        if not found.any():
            break
        found &= _with_word(table, word)
    return np.flatnonzero(found).astype(np.int64)


def _with_word(table: pa.Table, word: str) -> Any:
    import numpy as np
    import pyarrow.compute as pc

    try:
        masks = [pc.match_substring(table[name], word, ignore_case=True) for name in ("query", "query_id")]
    except UnicodeEncodeError:  # half of a surrogate pair, which no text of a file holds
        return np.zeros(table.num_rows, dtype=bool)
    return pc.or_(*masks).fill_null(False).to_numpy()


def _bits(outcomes: Iterable[str], labels: Iterable[str]) -> int:
    """The bits that stand for candidates with one of the outcomes and one of the labels."""
    places = [OUTCOMES.index(outcome) * len(LABELS) + LABELS.index(label) for outcome in outcomes for label in labels]
    return sum(1 << place for place in set(places))


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of `verdicts` from the `first` on, as numbers.

    Attributes:
        codes: outcome and label, see `_bits`.
        disagree: whether stages do not agree.
    """

    first: int
    rows: Any
    codes: Any
    disagree: Any
    scores: Any

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int | None = None) -> _Lines:
        reach = slice(start, stop)
        return _Lines(self.first + start, self.rows[reach], self.codes[reach], self.disagree[reach], self.scores[reach])


def _lines_of(table: pa.Table, first: int, config: ConfigFiles) -> _Lines:
    import numpy as np

    outcomes = _codes(table["outcome"], OUTCOMES, config)
    labels = _codes(table["label"], LABELS, config)
    rows = table["row"].to_numpy()
    if len(rows) and np.any(np.diff(rows) < 0):
        raise BuildError(f"{config.release.name}: the lines of {config.config!r} are not in the order of their rows.")
    agreement = table["agreement"].to_numpy()
    return _Lines(
        first,
        rows,
        (outcomes * len(LABELS) + labels).astype(np.uint8),
        np.nan_to_num(agreement, nan=1.0) < 1,
        table["score"].to_numpy(),
    )


def _codes(column: Any, names: tuple[str, ...], config: ConfigFiles) -> Any:
    """Where each value is among the names; nothing is the last of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.combine_chunks()
    codes = pc.index_in(column, value_set=pa.array(names))
    if codes.null_count > column.null_count:
        raise BuildError(
            f"{config.release.name}: {config.config!r} holds an outcome or a label that this version does not know."
            " Install the version of hf-relabel that wrote it."
        )
    return codes.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)


class _LineReader:
    """Gives the lines of `verdicts` row by row, added up, as their row groups come in."""

    def __init__(self, groups: Iterator[_Lines], name: str) -> None:
        self._groups, self._name = groups, name
        self._waiting: deque[_Lines] = deque()
        self._line = 0

    def summed(self, rows: range) -> dict[str, Any]:
        """The columns of the index that follow from the lines of some rows."""
        import numpy as np

        parts = self._up_to(rows.stop)
        if parts and len(parts[0]) and parts[0].rows[0] < rows.start:
            raise BuildError(f"{self._name}: `verdicts` speaks of row {parts[0].rows[0]}, which `original` lacks.")
        lines = [
            np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "codes", "disagree", "scores")
        ]
        numbers, codes, disagree, scores = lines
        places = numbers - rows.start
        candidates = np.bincount(places, minlength=len(rows)).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(candidates)[:-1]])
        found: dict[str, Any] = {"line": self._line + starts, "candidates": candidates}
        outcomes = codes // len(LABELS)

        def counted(*wanted: Outcome) -> Any:
            these = np.isin(outcomes, [OUTCOMES.index(outcome) for outcome in wanted])
            return np.bincount(places[these], minlength=len(rows)).astype(np.int32)

        found["false_negatives"] = counted(Outcome.FALSE_NEGATIVE, Outcome.DUPLICATE)
        found["doubtful"] = counted(Outcome.DOUBTFUL)
        found["unjudged"] = counted(Outcome.UNJUDGED)
        found["disagreements"] = np.bincount(places[disagree], minlength=len(rows)).astype(np.int32)
        for name, these in (("agreeing", ~disagree), ("disagreeing", disagree)):
            found[name] = _masks(places[these], codes[these], len(rows))
        found["score"] = _highest(scores, starts, candidates)
        self._line += len(numbers)
        return found

    def finish(self, stop: int) -> None:
        """Raises: BuildError, lines of rows that `original` does not have are left."""
        for lines in [*self._waiting, *self._groups]:
            if len(lines):
                raise BuildError(f"{self._name}: `verdicts` speaks of row {lines.rows[-1]}, which `original` lacks.")

    def _up_to(self, stop: int) -> list[_Lines]:
        """The lines of the rows before `stop` that have not been given yet."""
        parts: list[_Lines] = []
        while True:
            if not self._waiting:
                more = next(self._groups, None)
                if more is None:
                    break
                self._waiting.append(more)
            lines = self._waiting.popleft()
            cut = int(lines.rows.searchsorted(stop))
            parts.append(lines.part(0, cut))
            if cut < len(lines):
                self._waiting.appendleft(lines.part(cut))
                break
        return parts or [_nothing()]


def _nothing() -> _Lines:
    import numpy as np

    return _Lines(0, np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, bool), np.empty(0))


def _masks(places: Any, codes: Any, rows: int) -> Any:
    """Which codes occur in each row, as bits."""
    import numpy as np

    masks = np.zeros(rows, dtype=np.uint64)
    for code in np.unique(codes).tolist():
        masks[places[codes == code]] |= np.uint64(1 << code)
    return masks


def _highest(scores: Any, starts: Any, counts: Any) -> Any:
    """The highest score of each row, NaN where there is none."""
    import numpy as np

    highest = np.full(len(counts), np.nan)
    some = counts > 0
    if some.any():
        highest[some] = np.fmax.reduceat(scores, starts[some])
    return highest


def _on_disk(segments: list[Segment], folder: Path) -> Segment:
    """Segments that follow each other as one, in a memory-mapped file."""
    import pyarrow as pa

    path = folder / f"rows-{segments[0].first}.arrow"
    table = pa.concat_tables([segment.table for segment in segments]).combine_chunks()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return Segment(segments[0].first, pa.ipc.open_file(pa.memory_map(str(path))).read_all())


def ordered(
    pool: ThreadPoolExecutor, make: Callable[[Given], Made], items: Iterable[Given], ahead: int = _READERS
) -> Iterator[Made]:
    """What `make` gives for each item, in order; a few are made ahead, in the threads of the pool."""
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
