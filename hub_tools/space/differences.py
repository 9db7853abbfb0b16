"""The difference of two releases, worked out in the background and shown a page at a time.

The comparison is that of `hf relabel diff`; both sides are streamed, and the changes go to a file that is removed with
`close`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hf_relabel.builders.differences import Change


@dataclass(frozen=True, slots=True)
class ComparisonState:
    """How far a comparison is: `rows` read `of` those of both sides together.

    Attributes:
        error: one line, where it failed.
    """

    rows: int
    of: int
    is_finished: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some of the changes, in the order in which the comparison gives them. `total` is of all pages."""

    total: int
    offset: int
    changes: tuple[Change, ...]


class Comparison:
    """A comparison of two releases that runs, or has run."""

    before: str
    after: str

    @classmethod
    def start(
        cls,
        before: str | Path,
        after: str | Path,
        *,
        token: str | bool | None = None,
        scratch: Path | None = None,
    ) -> Comparison:
        """Open both sides and begin to compare them.

        Args:
            before, after: as `location` of `Browser.open`.

        Raises:
            ReleaseError, BuildError: a side cannot be opened.
        """
        raise NotImplementedError

    def state(self) -> ComparisonState:
        raise NotImplementedError

    def wait(self, seconds: float | None = None) -> ComparisonState:
        """Wait until it has finished or failed, or the time is over."""
        raise NotImplementedError

    def counts(self) -> Mapping[str, Any] | None:
        """What `DiffReport.to_dict` gives; None until it has finished."""
        raise NotImplementedError

    def page(
        self, *, offset: int = 0, size: int = 50, kind: str | None = None, subset: str | None = None
    ) -> ChangePage:
        """Some of the changes.

        Args:
            kind: `row_added`, `row_dropped`, `row_changed` or `verdict_changed`; None for all.
            subset: only of this one.

        Raises:
            ConfigError: it has not finished, an unknown kind, or a negative offset or size.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stop, and remove the changes."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
