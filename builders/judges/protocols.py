"""The two kinds of judge: those that ask a server, and those that compute in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from hf_relabel.builders.endpoint import Reply, Request
from hf_relabel.builders.judgements import Judgement
from hf_relabel.builders.rows import Row

JSON: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt about some candidates of one row.

    Attributes:
        request: what to send.
        positions: the candidates asked about, as 0-based positions in `row.negative_passages`, in the order shown:
            the candidate shown with id `i` (1-based) is `positions[i - 1]`.
        cut: those of `positions` that were judged on a part of their text, or all of them where the query or the ground
            truth was cut.
        ids: for prompts that show more than candidates: by id (1-based) the position of a candidate, or -1 for a text
            that is none.
        positives_left_out: ground truths of the row that the prompt has no room for.
    """

    request: Request
    positions: tuple[int, ...]
    cut: frozenset[int] = frozenset()
    ids: tuple[int, ...] = ()
    positives_left_out: int = 0


class PromptJudge(Protocol):
    """A judge that asks a server."""

    kind: str

    @property
    def exempt_subsets(self) -> Iterable[str]:
        """Subsets that are not judged at all (ArguAna in the paper), by whatever stage; case and punctuation do not
        matter. The one place where a judge says so: planning, judging and verdicts go by it."""
        ...

    def settings(self) -> dict[str, JSON]:
        """Everything besides the model that changes an answer (prompt version, wording, temperature …). Hashed into the
        journal key, so it must be JSON, stable and complete."""
        ...

    def asks(self, row: Row, positions: Sequence[int], *, constrained: bool) -> list[Ask]:
        """Prompts that together cover each of `positions` exactly once. Pure and deterministic."""
        ...

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        """One judgement for each of `ask.positions`. Never raises on any reply text."""
        ...


class BatchJudge(Protocol):
    """A judge that computes, offline."""

    kind: str
    batch_rows: int
    """How many rows `judge` likes to get at once."""

    @property
    def exempt_subsets(self) -> Iterable[str]: ...

    def settings(self) -> dict[str, JSON]: ...

    def model(self) -> tuple[str, str | None]:
        """(model id, revision) for the journal key; the revision of local weights is a digest of them."""
        ...

    def judge(self, batch: Sequence[tuple[Row, Sequence[int]]]) -> list[dict[int, Judgement]]:
        """One dict per batch item with one judgement for each of its positions."""
        ...
