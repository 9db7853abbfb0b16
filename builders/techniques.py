"""What the verdicts do to a row: the techniques of RLHN (arXiv 2505.16967, section 3), as pure functions.

| technique | negatives that are false | doubtful ones | paper |
|---|---|---|---|
| `original` | stay | stay | "default" |
| `remove` | the whole row goes | stay | "remove" |
| `remove-hn` | go | stay | "remove HN" |
| `relabel` | move to the positives | stay | "RLHN" |
| `relabel-filter` | move to the positives | go | the filter is ARHN's (arXiv 2604.11092) |

Whatever the technique, negatives that are unjudged stay where they are: no answer is not an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.messages.expecting import expect
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import Row

DEFAULT_LIMIT = 7
"""Most false negatives in a row before its query counts as ambiguous (the paper's k, section 3)."""


class Technique(StrEnum):
    """How a row is rewritten. The value is the name of the config.

    Example:
            >>> from hf_relabel import Technique
            >>> [str(technique) for technique in Technique]
            ['original', 'remove', 'remove-hn', 'relabel', 'relabel-filter']
    """

    ORIGINAL = "original"
    REMOVE = "remove"
    REMOVE_HN = "remove-hn"
    RELABEL = "relabel"
    RELABEL_FILTER = "relabel-filter"

    @classmethod
    def _missing_(cls, value: object) -> Technique | None:
        return cls(ALIASES[value]) if isinstance(value, str) and value in ALIASES else None


ALIASES = {"zones": "relabel-filter"}
"""Other names that may be typed for a config. Files, manifests and cards have the first one only."""


def canonical(name: str) -> str:
    """The name of a config, or of an arm of a comparison, whatever it was called.

    Example:
            >>> canonical("zones"), canonical("relabel")
            ('relabel-filter', 'relabel')
    """
    config, plus, use = str(name).partition("+")
    return ALIASES.get(config, config) + plus + use


def default_of(techniques: Sequence[str], *, calibrated: bool = False) -> str:
    """The config that loads when none is named, where nobody said which.

    With a calibration `relabel-filter`, whose zones are what it is for: precise thresholds relabel, and what is
    doubtful goes. Else `remove-hn`, which needs no precise judge. Where that is not built, the first technique that is.
    """
    wanted = [str(Technique.RELABEL_FILTER)] if calibrated else []
    safe = str(Technique.REMOVE_HN)
    built = next((name for name in (*wanted, safe) if name in techniques), None)
    return built or (str(techniques[0]) if techniques else safe)


def check_default(default: str | None, techniques: Sequence[str]) -> None:
    """Whether a default config that was named is built; None where none was named.

    Raises:
        ConfigError: it is not.
    """
    if default is not None and default not in techniques:
        built = [str(technique) for technique in techniques]
        remedy = f" Name one that is, such as {argument('default', default_of(built))}." if built else ""
        raise ConfigError(
            f"The default config {str(default)!r} is not among those built: {', '.join(built) or 'none'}."
            f"{did_you_mean(str(default), built) or remedy}"
        )


class Dropped(StrEnum):
    """Why a negative is in neither list of the rewritten row."""

    FALSE_NEGATIVE = "false_negative"
    """Relevant, and the technique removes such negatives."""
    DUPLICATE = "duplicate"
    """A copy of a positive, which is already there."""
    REPEATED = "repeated"
    """A false negative that is also a positive or an earlier false negative (same docid or text): moved once."""
    DOUBTFUL = "doubtful"
    """Some judge called it relevant, and the technique keeps only what nobody doubts."""
    EMPTY = "empty"
    """No text."""
    ROW = "row"
    """The whole row is dropped."""


class RowDropped(StrEnum):
    """Why a row is not in a config."""

    ANY_FALSE_NEGATIVE = "any_false_negative"
    OVER_LIMIT = "over_limit"


@dataclass(frozen=True, slots=True)
class Change:
    """What a technique does to one row. Every negative is in exactly one of `kept`, `moved` and `dropped`.

    Positives never leave a row: they go only when the row goes.

    Attributes:
        kept: positions (0-based in `negative_passages`) that stay negatives, ascending.
        moved: positions that become positives, ascending; they are appended to the positives in this order.
        dropped: positions that are in neither list afterwards, ascending, and why.
        row_dropped: why the whole row goes, None if it stays.
    """

    kept: tuple[int, ...]
    moved: tuple[int, ...] = ()
    dropped: Mapping[int, Dropped] = field(default_factory=dict)
    row_dropped: RowDropped | None = None

    @property
    def is_unchanged(self) -> bool:
        return not self.moved and not self.dropped and self.row_dropped is None

    def carry_out(self, row: Row) -> Row | None:
        """The rewritten row, None if it is dropped. An unchanged row is returned as it is, not copied."""
        if self.row_dropped is not None:
            return None
        if self.is_unchanged:
            return row
        negatives = row.negative_passages
        return Row(
            query_id=row.query_id,
            query=row.query,
            positive_passages=row.positive_passages + tuple(negatives[position] for position in self.moved),
            negative_passages=tuple(negatives[position] for position in self.kept),
            subset=row.subset,
        )


def apply(
    technique: Technique | str,
    row: Row,
    verdicts: Sequence[Verdict],
    *,
    limit: int = DEFAULT_LIMIT,
    min_negatives: int = 0,
) -> Row | None:
    """Rewrite one row. None means the technique drops it.

    A row may be left without negatives: it is kept, because training with in-batch negatives needs none of its own,
    and dropping it would lose its positives. Losses that want hard negatives have to skip it.

    Example:
            >>> from hf_relabel import Outcome, Passage, Row, Verdict, apply
            >>> hidden = Passage("d2", "", "Sunlight is scattered by air.")
            >>> row = Row("q1", "why is the sky blue", (Passage("d1", "", "Air scatters blue light."),), (hidden,))
            >>> found = [Verdict(0, "d2", Outcome.FALSE_NEGATIVE, "judged")]
            >>> [passage.docid for passage in apply("relabel", row, found).positive_passages]
            ['d1', 'd2']
            >>> apply("remove", row, found) is None
            True

    Args:
        verdicts: at most one for each negative, in any order; a negative without one counts as unjudged.
        limit, min_negatives: see `account`.

    Raises:
        BuildError: a verdict names a position or a docid that the row does not have there.
    """
    return account(technique, row, verdicts, limit=limit, min_negatives=min_negatives).carry_out(row)


def account(
    technique: Technique | str,
    row: Row,
    verdicts: Sequence[Verdict],
    *,
    limit: int = DEFAULT_LIMIT,
    min_negatives: int = 0,
) -> Change:
    """Say what becomes of every negative of a row, without rewriting it.

    Args:
        limit: with more false negatives than this the query counts as ambiguous and `remove-hn`, `relabel` and
            `relabel-filter` drop the row. Only distinct new passages count. A copy, of a positive or of another false
            negative, says that the corpus repeats itself, not that the query has many answers.
        min_negatives: a row that `relabel-filter` would leave with fewer negatives keeps all its doubtful ones.

    Raises:
        BuildError: a verdict names a position or a docid that the row does not have there.
    """
    expect("row", row, Row)
    whole = account_all([named(technique)], row, verdicts, limit=limit, min_negatives=min_negatives)
    return whole[named(technique)]


def named(technique: Technique | str) -> Technique:
    """A technique by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return Technique(technique)
    except ValueError:
        near = did_you_mean(technique, Technique)
        raise ConfigError(
            f"There is no technique {technique!r}.{near} Techniques are: {', '.join(Technique)}."
        ) from None


def account_all(
    techniques: Iterable[Technique],
    row: Row,
    verdicts: Sequence[Verdict],
    *,
    limit: int = DEFAULT_LIMIT,
    min_negatives: int = 0,
) -> dict[Technique, Change]:
    """`account` for several techniques, reading the verdicts once."""
    outcomes = _outcomes(row, verdicts)
    if not outcomes:
        unchanged = Change(kept=tuple(range(len(row.negative_passages))))
        return dict.fromkeys(techniques, unchanged)
    positives = [(passage.docid, passage.text) for passage in row.positive_passages]
    names = {
        position: (row.negative_passages[position].docid, row.negative_passages[position].text) for position in outcomes
    }
    distinct = _distinct_false_negatives(positives, names, outcomes)
    size = len(row.negative_passages)
    found = {technique: _account(technique, size, outcomes, distinct, limit) for technique in techniques}
    filtered = found.get(Technique.RELABEL_FILTER)
    if filtered is not None and filtered.row_dropped is None and len(filtered.kept) < min_negatives:
        # Without the filter it is `relabel`.
        found[Technique.RELABEL_FILTER] = _account(Technique.RELABEL, size, outcomes, distinct, limit)
    return found


def _account(
    technique: Technique, negatives: int, outcomes: Mapping[int, Outcome], distinct: tuple[int, ...], limit: int
) -> Change:
    everything = range(negatives)
    if technique is Technique.ORIGINAL:
        return Change(kept=tuple(everything))
    row_dropped = _row_dropped(technique, outcomes, distinct, limit)
    if row_dropped is not None:
        return Change(kept=(), dropped=dict.fromkeys(everything, Dropped.ROW), row_dropped=row_dropped)
    relabels = technique in (Technique.RELABEL, Technique.RELABEL_FILTER)
    moved = distinct if relabels else ()
    dropped: dict[int, Dropped] = {}
    for position, outcome in outcomes.items():
        if outcome is Outcome.EMPTY:
            dropped[position] = Dropped.EMPTY
        elif outcome is Outcome.DUPLICATE:
            dropped[position] = Dropped.DUPLICATE
        elif outcome is Outcome.FALSE_NEGATIVE and position not in moved:
            dropped[position] = Dropped.REPEATED if relabels else Dropped.FALSE_NEGATIVE
        elif outcome is Outcome.DOUBTFUL and technique is Technique.RELABEL_FILTER:
            dropped[position] = Dropped.DOUBTFUL
    kept = list(everything)
    for position in sorted((*moved, *dropped), reverse=True):  # most stay, so taking out the others is less work
        del kept[position]
    return Change(kept=tuple(kept), moved=moved, dropped=dropped)


def _row_dropped(
    technique: Technique, outcomes: Mapping[int, Outcome], distinct: tuple[int, ...], limit: int
) -> RowDropped | None:
    if technique is Technique.REMOVE:
        is_affected = any(outcome in (Outcome.FALSE_NEGATIVE, Outcome.DUPLICATE) for outcome in outcomes.values())
        return RowDropped.ANY_FALSE_NEGATIVE if is_affected else None
    return RowDropped.OVER_LIMIT if len(distinct) > limit else None


def _outcomes(row: Row, verdicts: Sequence[Verdict]) -> dict[int, Outcome]:
    """The outcomes that may change a row, by position, ascending. Negatives that stay in any case are left out."""
    negatives = row.negative_passages
    seen: set[int] = set()
    outcomes: dict[int, Outcome] = {}
    for verdict in sorted(verdicts, key=lambda verdict: verdict.position):
        position = verdict.position
        if not 0 <= position < len(negatives) or negatives[position].docid != verdict.docid or position in seen:
            raise BuildError(
                f"The verdict on position {position}, docid {verdict.docid!r}, does not fit row {row.query_id!r} with "
                f"{len(negatives)} negatives. Verdicts and rows come from different sources, or a candidate has two "
                "verdicts: judge this source again, or give the source that was judged."
            )
        seen.add(position)
        if verdict.outcome not in (Outcome.NEGATIVE, Outcome.UNJUDGED):
            outcomes[position] = verdict.outcome
    return outcomes


def _distinct_false_negatives(
    positives: Sequence[tuple[str, str]], negatives: Mapping[int, tuple[str, str]], outcomes: Mapping[int, Outcome]
) -> tuple[int, ...]:
    """Positions of the false negatives that are neither a positive nor an earlier false negative.

    Two passages are the same if they have the same docid, or the same text; "" is neither.
    """
    docids = {docid for docid, _ in positives}
    texts = {text for _, text in positives}
    distinct: list[int] = []
    for position, outcome in outcomes.items():
        if outcome is not Outcome.FALSE_NEGATIVE:
            continue
        docid, text = negatives[position]
        if not (docid and docid in docids) and not (text and text in texts):
            distinct.append(position)
        docids.add(docid)
        texts.add(text)
    return tuple(distinct)
