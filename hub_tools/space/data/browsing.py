"""Browsing a release: overview, search, and single rows with all that was said of them.

A release is opened by its manifest. Rows are found in an index of the narrow columns, which a thread of its own reads;
a row is read with its row group, which is kept while there is room. Nothing is downloaded whole.

All texts are plain strings as the data set has them, markup and all: whoever shows them must show them as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.configs.arrow_batches import complete
from hf_relabel.builders.configs.layout import VERDICTS
from hf_relabel.builders.configs.release import Release, row_of
from hf_relabel.builders.configs.verdict_records import verdicts_from_records
from hf_relabel.builders.errors import BuildError, ConfigError, RelabelError
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import Row
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.hub.source import HubLocation
from hf_relabel.hub_tools.releases.opening import open_release
from hf_relabel.hub_tools.space.data.browsed_row import (
    BrowsedRow,
    TechniqueEffect,
    candidate_of,
    effects_of,
    positives_of,
)
from hf_relabel.hub_tools.space.data.filters import Filter
from hf_relabel.hub_tools.space.data.index import IndexState, Page, RowIndex
from hf_relabel.hub_tools.space.data.overview import Overview, overview_of
from hf_relabel.hub_tools.space.data.ranges import Opened, opened

CACHE_BYTES = 128_000_000
"""Most bytes of Arrow that are kept of what was read."""
_PREFETCHED = 4
"""Rows that are fetched ahead at a time; more are forgotten, not queued."""


class Browser:
    """An open release. Safe to use from several threads.

        with Browser.open("user/set@v1.0.0") as browser:
            page = browser.find(Filter(text="capital", outcomes={"false_negative"}), size=20)
            row = browser.row(page.lines[0].number)

    Attributes:
        release: what was opened; its `name`, `revision` (a commit, None for a folder) and `manifest`.
        repo_id: `user/repo`, None for a folder.
    """

    release: Release
    repo_id: str | None

    def __init__(self, release: Release, repo_id: str | None, files: Opened, scratch: Path | None) -> None:
        self.release, self.repo_id, self.files = release, repo_id, files
        self._index = RowIndex(files, scratch)
        self._overview: Overview | None = None
        self._ahead = ThreadPoolExecutor(2, "space-ahead")
        self._fetching: dict[int, Future[Any]] = {}
        self._row_pool = ThreadPoolExecutor(8, "space-rows")

    @classmethod
    def open(
        cls,
        location: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_bytes: int = CACHE_BYTES,
        scratch: Path | None = None,
        index: bool = True,
    ) -> Browser:
        """Open a release: two or three small requests, whatever its size. The index is read in the background.

        Args:
            location: a folder that was built or pulled, `user/repo`, or `user/repo@revision`.
            revision: a tag (`v1.0.0`), branch or commit; None is the main branch. It is pinned to its commit at once.
            token: None takes the stored token or `HF_TOKEN`, False sends none.
            cache_bytes: most bytes that are kept in memory of what was read.
            scratch: where the index is put; None for the system's folder for temporary files. It goes with `close`.
            index: begin to read the index at once; with False `start_index` or `find` does.

        Raises:
            ReleaseError: there is no such release, or it may not be read.
            BuildError: it was not written by hf-relabel, or lacks `original` or `verdicts`.
        """
        release = open_release(location, revision=revision, token=token)
        hub = None if release.revision is None else HubLocation.parse(str(location))
        repo_id = None if hub is None else hub.repo_id
        release.files(Technique.ORIGINAL), release.files(VERDICTS)
        browser = cls(release, repo_id, opened(release, repo_id, token, cache_bytes), scratch)
        if index:
            browser.start_index()
        return browser

    def overview(self, *, prices: Mapping[str, Mapping[str, float]] | None = None) -> Overview:
        """What the manifest says. Reads nothing.

        Args:
            prices: see `overview_of`.
        """
        if prices is not None:
            return overview_of(self.release, prices=prices)
        if self._overview is None:
            self._overview = overview_of(self.release)
        return self._overview

    def start_index(self) -> None:
        """Begin to read the index, unless that has begun."""
        self._index.start()

    def wait_for_index(self, seconds: float | None = None) -> IndexState:
        """Wait until the index is complete, has failed, or the time is over."""
        self._index.start()
        return self._index.wait(seconds)

    def find(self, filter: Filter = Filter(), *, offset: int = 0, size: int = 20) -> Page:  # noqa: B008 - it is frozen
        """Rows that match, in the order of their numbers, from the `offset`-th on.

        Searches what the index holds so far, see `Page.searched`. Without any filter the first page waits until the
        index holds it, so that there is something to see at once.

        Raises:
            ConfigError: an unknown outcome, label or technique, or a negative offset or size.
            BuildError: the files cannot be read. What was read before stays searchable.
        """
        return self._index.find(filter, offset, size)

    def around(self, number: int, filter: Filter = Filter()) -> tuple[int | None, int | None]:  # noqa: B008
        """The numbers of the rows before and after a row among those that match; None where there is none (yet)."""
        return self._index.around(number, filter)

    def row(self, number: int) -> BrowsedRow:
        """A row with its passages, verdicts and suspects, and what each technique does to it.

        The row after it is fetched in the background, in case it is asked for next.

        Raises:
            ConfigError: there is no such row.
            BuildError, ReleaseError: a file cannot be read, or rows and verdicts do not fit.
        """
        self._place(number)
        ahead = self._fetching.get(number)
        if ahead is not None:
            with suppress(RelabelError):
                ahead.result()
        row, records, suspects = self._read(number)
        self.prefetch([number + 1])
        verdicts = self._fitting(number, row, records)
        judges = {record["position"]: record["stages"] for record in records}
        return BrowsedRow(
            number=number,
            query_id=row.query_id,
            query=row.query,
            subset=row.subset,
            positives=positives_of(row, suspects),
            candidates=tuple(
                candidate_of(row, verdict, judges.get(verdict.position, ()), self._stages) for verdict in verdicts
            ),
            techniques=self._effects(row, verdicts),
        )

    def judged_row(self, number: int) -> tuple[Row, list[Verdict]]:
        """A row with a verdict for each of its negatives, as the builders know them. Raises as `row`."""
        self._place(number)
        row, records, _ = self._read(number, suspects=False)
        return row, self._fitting(number, row, records)

    def prefetch(self, numbers: Sequence[int]) -> None:
        """Fetch what the first few of these rows need, in the background, because they are likely to be asked for."""
        for number in numbers[:_PREFETCHED]:
            inside = 0 <= number - self._index.first_row < self._index.rows
            if not inside or number in self._fetching or len(self._fetching) >= _PREFETCHED:
                continue
            with suppress(RuntimeError):  # closed meanwhile
                self._fetching[number] = self._ahead.submit(self._fetch_ahead, number)

    def close(self) -> None:
        """Stop reading and remove the index."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._index.close()
        self._row_pool.shutdown(wait=False, cancel_futures=True)
        self.files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _stages(self) -> list[str]:
        return list(self.release.manifest["settings"]["stages"])

    def _place(self, number: int) -> int:
        """The place of a row in `original`, from 0."""
        place = number - self._index.first_row
        if not 0 <= place < self._index.rows:
            last = self._index.first_row + self._index.rows - 1
            raise ConfigError(
                f"There is no row {number}: {self.release.name} has rows {self._index.first_row} to {last}."
            )
        return place

    def _fetch_ahead(self, number: int) -> None:
        try:
            with suppress(RelabelError):  # whoever asks for the row is told
                self._read(number)
        finally:
            self._fetching.pop(number, None)

    def _read(self, number: int, *, suspects: bool = True) -> tuple[Row, list[dict[str, Any]], list[dict[str, Any]]]:
        """A row, and its lines of `verdicts` and of `suspects`. The three are read at the same time."""
        found = self._row_pool.submit(self._lines, VERDICTS, number)
        searched = suspects and bool(self.release.manifest["settings"].get("suspects"))
        suspected = self._row_pool.submit(self._lines, SUSPECTS, number) if searched else None
        original = self.files.config(Technique.ORIGINAL)
        place = self._place(number)
        group = original.group_with_line(place)
        record = original.rows(group, place - group.first, 1)[0]
        return row_of(record), found.result(), suspected.result() if suspected is not None else []

    def _lines(self, config: str, number: int) -> list[dict[str, Any]]:
        """The lines of a config with a column `row` that speak of a row."""
        files = self.files.config(config)
        lines = self._index.verdict_lines(number) if config == VERDICTS else None
        records: list[dict[str, Any]] = []
        if lines is not None:
            at, stop = lines
            while at < stop:
                group = files.group_with_line(at)
                count = min(stop, group.first + group.rows) - at
                records += files.rows(group, at - group.first, count)
                at += count
        else:
            for group in files.groups_with_row(number):
                rows = files.read(group, ["row"])["row"].to_numpy()
                first, stop = int(rows.searchsorted(number)), int(rows.searchsorted(number, "right"))
                records += files.rows(group, first, stop - first) if stop > first else []
        if any(record["row"] != number for record in records):
            raise BuildError(f"{self.release.name}: the lines of {config!r} are not in the order of their rows.")
        return records

    def _fitting(self, number: int, row: Row, records: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """A verdict for each negative, in their order."""
        try:
            found = verdicts_from_records(records)
        except ValueError as error:
            raise BuildError(
                f"{self.release.name}: row {number} of `verdicts` holds what this version does not know ({error})."
                " Install the version of hf-relabel that wrote it."
            ) from error
        docids = {position: passage.docid for position, passage in enumerate(row.negative_passages)}
        if any(docids.get(position) != verdict.docid for position, verdict in found.items()):
            raise BuildError(
                f"{self.release.name}: row {number} of `original` has other negatives than `verdicts` speaks of. The"
                " two configs are not of one build, or a file was changed."
            )
        return complete(row, list(found.values()))

    def _effects(self, row: Row, verdicts: Sequence[Verdict]) -> tuple[TechniqueEffect, ...]:
        settings = self.release.manifest["settings"]
        limit, least = int(settings["limit"]), int(settings.get("min_negatives", 0))
        return effects_of(row, verdicts, limit=limit, built=set(settings["techniques"]), min_negatives=least)
