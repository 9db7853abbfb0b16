"""Browsing a release: overview, search, and single rows with all that was said of them.

A release is opened by its manifest. Rows are found in an index of the narrow columns, which a thread of its own reads;
a row is read from the row groups that hold it, whose tables are kept while there is room. Nothing is downloaded whole.

All texts are plain strings as the data set has them, markup and all: whoever shows them must show them as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hf_relabel.builders.released import Release
from hf_relabel.hub_tools.space.index import Filter, IndexState, Page
from hf_relabel.hub_tools.space.overview import Overview

CACHE_BYTES = 256_000_000
"""Most bytes of Arrow that are kept of row groups."""


@dataclass(frozen=True, slots=True)
class StageWord:
    """What one stage said of a candidate.

    Attributes:
        judge: "" where the release does not say.
        label: None where the stage was not asked.
        rationale: the judge's own words, "" where there are none.
        cut: it saw only a part of the query or the passage.
    """

    stage: str
    judge: str
    label: str | None
    score: float | None = None
    rationale: str = ""
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hard negative with its verdict.

    Attributes:
        position: 0-based among the negatives.
        outcome, reason: see `builders.judgements.Outcome` and `Verdict`.
        label, score, rationale: of the last stage that saw it; None, None and "" where none did.
        agreement: see `arrow_batches.agreement`; `disagreement` where it is below 1.
    """

    position: int
    docid: str
    title: str
    text: str
    outcome: str
    reason: str
    label: str | None
    score: float | None
    rationale: str
    agreement: float | None
    stages: tuple[StageWord, ...]

    @property
    def disagreement(self) -> bool:
        return self.agreement is not None and self.agreement < 1


@dataclass(frozen=True, slots=True)
class SuspectOpinion:
    """What one judge says of a ground truth: `above` of `compared` candidates rank higher."""

    judge: str
    label: str
    score: float | None
    above: int
    compared: int


@dataclass(frozen=True, slots=True)
class Positive:
    """A ground truth.

    Attributes:
        suspect: why it is suspected (`ranked-below`, `unanswering`, or both with a plus sign), None where it is not.
    """

    position: int
    docid: str
    title: str
    text: str
    suspect: str | None = None
    opinions: tuple[SuspectOpinion, ...] = ()


@dataclass(frozen=True, slots=True)
class TechniqueEffect:
    """A row before and after a technique. Positions are those of the candidates (0-based).

    Attributes:
        technique: the name of the config.
        is_built: whether the release has this config (effects of all techniques are given).
        row_dropped: why the whole row goes (`any_false_negative`, `over_limit`), None where it stays.
        why: one plain sentence on what happens.
        moved: candidates that become positives, appended in this order.
        dropped: candidates in neither list afterwards, and why, see `techniques.Dropped`.
        kept: candidates that stay negatives.
        positives, negatives: how many the row has before and after; after is (0, 0) where the row goes.
    """

    technique: str
    is_built: bool
    changed: bool
    row_dropped: str | None
    why: str
    moved: tuple[int, ...]
    dropped: Mapping[int, str]
    kept: tuple[int, ...]
    positives: tuple[int, int]
    negatives: tuple[int, int]


@dataclass(frozen=True, slots=True)
class BrowsedRow:
    """A row with everything that is known of it."""

    number: int
    query_id: str
    query: str
    subset: str
    positives: tuple[Positive, ...]
    candidates: tuple[Candidate, ...]
    techniques: tuple[TechniqueEffect, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


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
            cache_bytes: most bytes of row groups that are kept in memory.
            scratch: where the index is put; None for the system's folder for temporary files. It goes with `close`.
            index: begin to read the index at once; with False `start_index` does.

        Raises:
            ReleaseError: there is no such release, or it may not be read.
            BuildError: it was not written by hf-relabel, or lacks `original` or `verdicts`.
        """
        raise NotImplementedError

    def overview(self) -> Overview:
        """What the manifest says. Reads nothing."""
        raise NotImplementedError

    def start_index(self) -> None:
        """Begin to read the index, unless that has begun."""
        raise NotImplementedError

    def index_state(self) -> IndexState:
        """How far the index is."""
        raise NotImplementedError

    def wait_for_index(self, seconds: float | None = None) -> IndexState:
        """Wait until the index is complete, has failed, or the time is over."""
        raise NotImplementedError

    def find(self, filter: Filter = Filter(), *, offset: int = 0, size: int = 20) -> Page:  # noqa: B008 - it is frozen
        """Rows that match, in the order of their numbers, from the `offset`-th on.

        Searches what the index holds so far, see `Page.searched`. Without any filter the first page waits until the
        index holds it, so that there is something to see at once.

        Raises:
            ConfigError: an unknown outcome, label or technique, or a negative offset or size.
            BuildError, ReleaseError: a file cannot be read.
        """
        raise NotImplementedError

    def around(self, number: int, filter: Filter = Filter()) -> tuple[int | None, int | None]:  # noqa: B008
        """The numbers of the rows before and after a row among those that match; None where there is none (yet)."""
        raise NotImplementedError

    def row(self, number: int) -> BrowsedRow:
        """A row with its passages, verdicts and suspects, and what each technique does to it.

        The row groups next to it are fetched in the background where the row is close to an end of its own.

        Raises:
            ConfigError: there is no such row.
            BuildError, ReleaseError: a file cannot be read, or rows and verdicts do not fit.
        """
        raise NotImplementedError

    def prefetch(self, numbers: Sequence[int]) -> None:
        """Fetch what the first few of these rows need, in the background, because they are likely to be asked for."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop reading and remove the index."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
