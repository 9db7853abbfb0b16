"""Suspected false positives: ground truths that no judge stands by.

A judge is shown the ground truths of a row among its candidates, without being told which they are. A ground truth is
suspected when every judge that answered for it ranks it below several candidates, or, where the judge answers yes or
no, finds that it does not answer the query. Suspects are reported in a config of their own and never change a row: the
ground truth is what people gave, and what a judge thinks of it is a reason to look, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hf_relabel.builders.cascade.combining import level
from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.rows import NumberedRow, Row

if TYPE_CHECKING:
    import pyarrow as pa

SEVERAL = 3
"""So many candidates must be ranked above a ground truth."""

ANSWERING_KINDS = frozenset({"listwise", "pointwise", "span"})
"""Kinds of judges whose `irrelevant` says that a passage does not answer. Others only say that a score is low."""


class Rows(Protocol):
    """What is read of a source."""

    def rows(self) -> Iterator[NumberedRow]: ...

    def record(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Hidden:
    """A source whose ground truths are hidden among the candidates: they come first, and no row has positives."""

    source: Rows

    def rows(self) -> Iterator[NumberedRow]:
        for numbered in self.source.rows():
            yield NumberedRow(numbered.number, hidden(numbered.row))

    def record(self) -> dict[str, Any]:
        return self.source.record()


def hidden(row: Row) -> Row:
    """The row as its judges see it."""
    return Row(row.query_id, row.query, (), (*row.positive_passages, *row.negative_passages), row.subset)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one judge says of a ground truth.

    Attributes:
        above: how many candidates of the row it ranks higher.
        compared: of how many.
    """

    judge: str
    label: str
    score: float | None
    above: int
    compared: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A suspected ground truth: `position` (0-based) among the positives of row number `row`."""

    row: int
    query_id: str
    subset: str
    position: int
    docid: str
    reason: str
    """`ranked-below`, `unanswering`, or both joined by a plus sign."""
    opinions: tuple[Opinion, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "opinions": [asdict(opinion) for opinion in self.opinions]}


def suspects_schema() -> pa.Schema:
    """The Arrow schema of the config: one line per suspect, with the fields of `Suspect`."""
    import pyarrow as pa

    opinion = pa.struct(
        [
            ("judge", pa.string()),
            ("label", pa.string()),
            ("score", pa.float64()),
            ("above", pa.int32()),
            ("compared", pa.int32()),
        ]
    )
    return pa.schema(
        [
            ("row", pa.int64()),
            ("query_id", pa.string()),
            ("subset", pa.string()),
            ("position", pa.int32()),
            ("docid", pa.string()),
            ("reason", pa.string()),
            ("opinions", pa.list_(opinion)),
        ]
    )


def suspects_of(
    numbered: NumberedRow, judges: Mapping[str, tuple[str, Mapping[int, Judgement]]], *, several: int = SEVERAL
) -> list[Suspect]:
    """The suspected ground truths of a row.

    Args:
        judges: by name, each judge's kind and its judgements of `hidden(row)` by position.
        several: so many candidates must be ranked above a ground truth.
    """
    row = numbered.row
    found = []
    for position, passage in enumerate(row.positive_passages):
        opinions, reasons = [], set()
        for name, (kind, said) in judges.items():
            judgement = said.get(position)
            if judgement is None or not judgement.label.is_answer:
                continue
            opinion = _opinion(name, judgement, said, len(row.positive_passages))
            reason = _reason(kind, judgement, opinion, several)
            if reason is None:
                break
            opinions.append(opinion)
            reasons.add(reason)
        else:
            if opinions:
                why = "+".join(sorted(reasons))
                where = (numbered.number, row.query_id, row.subset, position, passage.docid)
                found.append(Suspect(*where, why, tuple(opinions)))
    return found


def _opinion(name: str, judgement: Judgement, said: Mapping[int, Judgement], positives: int) -> Opinion:
    others = [other for position, other in said.items() if position >= positives and other.label.is_answer]
    above = sum(level(other) > level(judgement) for other in others)
    return Opinion(name, str(judgement.label), judgement.score, above, len(others))


def _reason(kind: str, judgement: Judgement, opinion: Opinion, several: int) -> str | None:
    if kind in ANSWERING_KINDS and judgement.label is Label.IRRELEVANT:
        return "unanswering"
    return "ranked-below" if opinion.above >= several else None


def suspect_finder(journal: Journal, run: Mapping[str, Any]) -> Callable[[NumberedRow], list[Suspect]]:
    """What finds the suspects of a row from a run over hidden ground truths, as the journal remembers it."""
    identities = [JudgeIdentity(**judge) for judge in run["judges"]]
    names = [identity.describe() for identity in identities]
    several = int(run["several"])

    def find(numbered: NumberedRow) -> list[Suspect]:
        row = hidden(numbered.row)
        positions = range(len(row.negative_passages))
        judges = {}
        for number, identity in enumerate(identities):
            ((_, said),) = journal.known(identity, [(row, positions)])
            name = names[number] if names.count(names[number]) == 1 else f"{names[number]} #{number + 1}"
            judges[name] = (identity.kind, said)
        return suspects_of(numbered, judges, several=several)

    return find


def suspects_run(source: Rows, judges: Sequence[JudgeIdentity], several: int) -> dict[str, Any]:
    """What the journal remembers of such a run."""
    record = source.record()
    return {
        "version": 1,
        "kind": SUSPECTS,
        "source": {name: value for name, value in record.items() if name not in ("skipped", "ignored_fields")},
        "judges": [asdict(judge) for judge in judges],
        "several": several,
    }
