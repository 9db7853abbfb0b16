"""One view: a pure function of a technique's rows.

What is drawn from a row follows from the row alone, by a hash, so that the same inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.config_names import DEFAULT_NEGATIVES, ViewKind, viewed_by_default
from hf_relabel.builders.configs.arrow_batches import Batch
from hf_relabel.builders.configs.verdict_records import BuiltRow, last_word
from hf_relabel.builders.configs.views.draws import Draw, RowDraw, TrainingPassage, problem_of, usable_passages
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.techniques import Change, Technique

if TYPE_CHECKING:
    import pyarrow as pa


class ScoresOf(StrEnum):
    """Whose scores the view `scores` shows."""

    SOURCE = "source"
    """The passages' own, which came with the source."""
    JUDGE = "judge"
    """The last judge's, in [0, 1]. The positives of the source, which no judge scores, count as 1."""


class LeftOut(StrEnum):
    """Why a row of the technique has no line in a view."""

    WITHOUT_TEXT = "without_text"
    """No query, or no positive with a text."""
    WITHOUT_NEGATIVES = "without_negatives"
    WITHOUT_SCORES = "without_scores"
    """No positive, or no negative, has a score."""


@dataclass(slots=True)
class ViewCounts:
    """What became of a technique's rows in a view.

    Attributes:
        rows_in: rows of the technique.
        rows_out: those that have a line.
        rows_repeating: those of them with fewer negatives than a line has places: some are there more than once.
        lines: of the view.
        left_out: rows without a line, by reason.
    """

    rows_in: int = 0
    rows_out: int = 0
    rows_repeating: int = 0
    lines: int = 0
    left_out: dict[str, int] = field(default_factory=lambda: {str(reason): 0 for reason in LeftOut})

    def add(self, shown: Shown) -> None:
        self.rows_in += 1
        if shown.left_out is not None:
            self.left_out[shown.left_out] += 1
            return
        self.rows_out += 1
        self.rows_repeating += shown.repeats
        self.lines += len(shown.lines)

    def take(self, more: ViewCounts) -> None:
        """Add the counts of other rows."""
        for name in ("rows_in", "rows_out", "rows_repeating", "lines"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        for reason, rows in more.left_out.items():
            self.left_out[reason] += rows

    def to_dict(self) -> dict[str, Any]:
        names = ("rows_in", "rows_out", "rows_repeating", "lines")
        return {**{name: getattr(self, name) for name in names}, "left_out": dict(self.left_out)}


@dataclass(frozen=True, slots=True)
class Shown:
    """The lines of one row, or why it has none. `repeats`: some negative is in a line more than once."""

    lines: tuple[Mapping[str, Any], ...] = ()
    left_out: LeftOut | None = None
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """One view of one technique.

    Attributes:
        negatives: hard negatives of a row: just as many in each line of `tuples` and `scores`, where a row that has
            fewer repeats them; at most as many in `triplets` and `lists`.
        scores: whose scores `scores` shows.
    """

    technique: Technique
    kind: ViewKind
    negatives: int = DEFAULT_NEGATIVES
    scores: ScoresOf = ScoresOf.SOURCE

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise ConfigError(f"A view needs at least one negative in a line, not {self.negatives}.")

    @property
    def name(self) -> str:
        """The name of its config."""
        return self.kind.config_of(self.technique)

    def settings(self) -> dict[str, Any]:
        """As the manifest tells them."""
        told = {
            "name": self.name,
            "technique": str(self.technique),
            "kind": str(self.kind),
            "negatives": self.negatives,
        }
        return {**told, **({"scores": str(self.scores)} if self.kind is ViewKind.SCORES else {})}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> View:
        """The view of an entry of the manifest."""
        technique, kind = Technique(settings["technique"]), ViewKind(settings["kind"])
        return cls(technique, kind, settings["negatives"], ScoresOf(settings.get("scores", ScoresOf.SOURCE)))

    def schema(self) -> pa.Schema:
        """The Arrow schema of its lines."""
        import pyarrow as pa

        numbers = pa.list_(pa.float32())
        if self.kind is ViewKind.LISTS:
            return pa.schema([("query", pa.string()), ("docs", pa.list_(pa.string())), ("labels", numbers)])
        negatives = ["negative"] if self.kind is ViewKind.TRIPLETS else self._negative_columns
        texts = [(name, pa.string()) for name in ("query", "positive", *negatives)]
        return pa.schema([*texts, *([("label", numbers)] if self.kind is ViewKind.SCORES else [])])

    def table(self, batch: Batch) -> pa.Table:
        """The lines of a batch's rows."""
        import pyarrow as pa

        return pa.Table.from_pylist([line for shown in self.shown(batch.rows) for line in shown.lines], self.schema())

    def shown(self, rows: Iterable[BuiltRow]) -> Iterator[Shown]:
        """What the view shows of each row that the technique keeps."""
        for judged in rows:
            record = self._record(judged, judged.changes[self.technique])
            if record is not None:
                yield self.of_row(record)

    def of_row(self, row: Mapping[str, Any]) -> Shown:
        """What the view shows of a row of the technique's config, given as `load_dataset` gives it."""
        if problem_of(row, usable_passages(row, "positive_passages")) is not None:
            return Shown(left_out=LeftOut.WITHOUT_TEXT)
        if self.kind is ViewKind.SCORES:
            row = _scored(row)
            if problem_of(row, usable_passages(row, "positive_passages")) or not row["negative_passages"]:
                return Shown(left_out=LeftOut.WITHOUT_SCORES)
        drawn = RowDraw(self.negatives)(row)
        if not drawn.negatives:
            return Shown(left_out=LeftOut.WITHOUT_NEGATIVES)
        has_places = self.kind in (ViewKind.TUPLES, ViewKind.SCORES)
        return Shown(tuple(self._lines(drawn)), repeats=has_places and len(drawn.negatives) < self.negatives)

    def _lines(self, drawn: Draw) -> Iterator[dict[str, Any]]:
        if self.kind is ViewKind.LISTS:
            labels = [1.0] * len(drawn.positives) + [0.0] * len(drawn.negatives)
            yield {"query": drawn.query, "docs": _texts(drawn.positives + drawn.negatives), "labels": labels}
            return
        if self.kind is ViewKind.TRIPLETS:
            most = max(len(drawn.positives), len(drawn.negatives))
            for positive, negative in islice(zip(cycle(drawn.positives), cycle(drawn.negatives), strict=False), most):
                yield {"query": drawn.query, "positive": positive.text, "negative": negative.text}
            return
        negatives = tuple(islice(cycle(drawn.negatives), self.negatives))
        columns = dict(zip(self._negative_columns, _texts(negatives), strict=True))
        for positive in drawn.positives:
            line: dict[str, Any] = {"query": drawn.query, "positive": positive.text, **columns}
            if self.kind is ViewKind.SCORES:
                line["label"] = [passage.score for passage in (positive, *negatives)]
            yield line

    @property
    def _negative_columns(self) -> list[str]:
        return [f"negative_{number}" for number in range(1, self.negatives + 1)]

    def _record(self, judged: BuiltRow, change: Change) -> dict[str, Any] | None:
        """The row as the technique leaves it; None where it leaves none."""
        row = change.carry_out(judged.row)
        if row is None:
            return None
        record = row.to_dict(scores=True)
        if self.kind is ViewKind.SCORES and self.scores is ScoresOf.JUDGE:
            said = [last_word(verdict) for verdict in judged.verdicts]
            scores = [None if word is None else word.score for word in said]
            own = [1.0] * len(judged.row.positive_passages)
            _put_scores(record["positive_passages"], [*own, *(scores[position] for position in change.moved)])
            _put_scores(record["negative_passages"], [scores[position] for position in change.kept])
        return record


def views_of(
    kinds: Iterable[str],
    *,
    of: Sequence[str] = (),
    techniques: Sequence[str],
    default: str,
    negatives: int = DEFAULT_NEGATIVES,
    scored: bool = False,
) -> tuple[View, ...]:
    """The views to build.

    Args:
        kinds: names of `ViewKind`.
        of: the techniques to show; none for what `viewed_by_default` says.
        techniques: those that are built.
        default: the default config.
        scored: whether the source gives scores, which `scores` then shows; the judge's otherwise.

    Raises:
        ConfigError: there is no such kind, or the technique is not built.
    """
    chosen = list(dict.fromkeys(of)) or [viewed_by_default(techniques, default)]
    for technique in chosen:
        if technique not in techniques:
            built, near = ", ".join(techniques), did_you_mean(technique, techniques)
            raise ConfigError(f"A view of {technique!r} needs that config, but only {built} are built.{near}")
    scores = ScoresOf.SOURCE if scored else ScoresOf.JUDGE
    wanted = [kind_named(name) for name in dict.fromkeys(kinds)]
    return tuple(View(Technique(technique), kind, negatives, scores) for technique in chosen for kind in wanted)


def kind_named(name: str) -> ViewKind:
    """The kind of view of that name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return ViewKind(name)
    except ValueError:
        near = did_you_mean(name, ViewKind)
        raise ConfigError(f"There is no view {name!r}.{near} There are: {', '.join(ViewKind)}.") from None


def check_shown(view: View, counts: ViewCounts) -> None:
    """Refuse a view that shows nothing of the rows there are.

    Raises:
        BuildError: it has no line.
    """
    if counts.lines or not counts.rows_in:
        return
    reason = max(counts.left_out, key=lambda name: counts.left_out[name])
    remedies = {
        LeftOut.WITHOUT_TEXT: "no row has a query and a positive with a text",
        LeftOut.WITHOUT_NEGATIVES: f"no row of {view.technique} has a negative left: show another technique with"
        f" {argument('view_of')}",
        LeftOut.WITHOUT_SCORES: _NO_SCORES[view.scores],
    }
    raise BuildError(f"The view {view.name} would be empty: {remedies[LeftOut(reason)]}. Or build without this view.")


_NO_SCORES = {
    ScoresOf.SOURCE: "no row has both a positive and a negative with a score in the source, which announces scores",
    ScoresOf.JUDGE: (
        "neither the source nor the judge gives scores. Give the passages of the source a `score` (FlagEmbedding: "
        "pos_scores, neg_scores), or judge with one that gives scores, such as cross-encoder, similarity or pointwise"
    ),
}


def _scored(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without the passages that have no score."""
    sides = ("positive_passages", "negative_passages")
    return {**row, **{side: [each for each in row[side] if each["score"] is not None] for side in sides}}


def _put_scores(passages: Sequence[dict[str, Any]], scores: Sequence[float | None]) -> None:
    for passage, score in zip(passages, scores, strict=True):
        passage["score"] = score


def _texts(passages: Sequence[TrainingPassage]) -> list[str]:
    return [passage.text for passage in passages]
