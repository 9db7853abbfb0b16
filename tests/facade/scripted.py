"""A judge whose recall and precision are chosen: it answers listwise prompts from a truth file."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from hf_relabel.builders.judges.prompted.fencing import clean
from tests.facade.backends import Generated, GenerationFailed, PretendTokens, Question
from tests.facade.prompt_format import Prompt, read_prompt, shown_passage, uncut, write_reply

Label = Literal["better", "worse"]
Place = tuple[str, str]
"""(query_id, docid) of one negative."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the scripted judge will say.

    Attributes:
        better: for each query_id the docids it calls better; rows without any are absent.
        worse: the same for worse.
        true_positives, false_positives: how many of the docids in `better` are and are not false negatives.
        false_negatives: all planted false negatives among the rows' negatives.
    """

    better: dict[str, set[str]]
    worse: dict[str, set[str]]
    true_positives: int
    false_positives: int
    false_negatives: int


@dataclass(slots=True)
class _KnownRow:
    """A row as prompts show it: its positives, and the label (None: irrelevant) of each negative by its shown text."""

    positives: tuple[str, ...]
    labels: dict[str, Label | None] = field(default_factory=dict)

    def label(self, shown: str) -> Label | None:
        """The label of a shown candidate. Raises KeyError when the row has no such negative."""
        if shown in self.labels:
            return self.labels[shown]
        start = uncut(shown)
        if start is not None:
            for text, label in self.labels.items():
                if text.startswith(start):
                    return label
        raise KeyError(shown)


class ScriptedBackend(PretendTokens):
    """Answers listwise relevance prompts from a truth file, with exact counts of right and wrong verdicts.

    Of N false negatives among the negatives it calls exactly `round(recall * N)` better (and their exact copies), and
    as many other negatives as bring the precision of "better" nearest to `precision`. Which ones is drawn by `seed`,
    once, before any request, so neither order nor chunking nor retries change an answer. A prompt about a row it does
    not know fails with 424.

    Attributes:
        plan: the counts, and what it says of whom.
        expected: `plan.better`, docids by query_id.
    """

    def __init__(
        self,
        rows: Path | str | Iterable[Mapping[str, Any]],
        truth: Path | str | Iterable[Mapping[str, Any]],
        *,
        recall: float = 1.0,
        precision: float = 1.0,
        worse: float = 0.0,
        seed: int = 0,
    ) -> None:
        """
        Args:
            rows: rows of the Tevatron schema, or the JSONL file with them.
            truth: objects with `query_id` and `false_negatives` (docids), or the JSONL file with them.
            worse: share of the remaining false negatives (those not called better) that it calls worse.
        """
        known = list(_read(rows))
        self.plan = make_plan(known, _read(truth), recall=recall, precision=precision, worse=worse, seed=seed)
        self.expected = self.plan.better
        self.unknown_prompts = 0
        self._rows: dict[str, list[_KnownRow]] = {}
        for row in known:
            self._rows.setdefault(clean(row["query"]), []).append(self._known_row(row))

    def _known_row(self, row: Mapping[str, Any]) -> _KnownRow:
        better = self.plan.better.get(row["query_id"], set())
        worse = self.plan.worse.get(row["query_id"], set())
        known = _KnownRow(tuple(_shown(passage) for passage in row.get("positive_passages") or ()))
        for passage in row["negative_passages"]:
            docid, shown = passage["docid"], _shown(passage)
            label: Label | None = "better" if docid in better else "worse" if docid in worse else None
            known.labels[shown] = known.labels.get(shown) or label
        if better:  # a copy of a text gets the same verdict, so it is expected too
            better |= {p["docid"] for p in row["negative_passages"] if known.labels[_shown(p)] == "better"}
        return known

    async def generate(self, question: Question) -> Generated:
        self.check_length(question)
        prompt = read_prompt(question.whole_text())
        labels = self._labels(prompt) if prompt is not None else None
        if prompt is None or labels is None:
            self.unknown_prompts += 1
            raise GenerationFailed("the scripted judge does not know this prompt")
        better = [number for number, label in labels.items() if label == "better"]
        worse = [number for number, label in labels.items() if label == "worse"]
        thinking = "\n".join(f"[{number}] {label or 'irrelevant'}" for number, label in labels.items())
        return Generated(write_reply(prompt, better, worse, question.wanted_schema(), thinking))

    def _labels(self, prompt: Prompt) -> dict[int, Label | None] | None:
        """The label of each shown candidate, from the row with this query that has all of them."""
        rows = self._rows.get(prompt.query) or self._rows_with_start(uncut(prompt.query))
        for row in sorted(rows, key=lambda row: row.positives != prompt.positives) if len(rows) > 1 else rows:
            try:
                return {number: row.label(shown) for number, shown in prompt.candidates.items()}
            except KeyError:
                continue
        return None

    def _rows_with_start(self, start: str | None) -> list[_KnownRow]:
        if start is None:
            return []
        return [row for query, rows in self._rows.items() if query.startswith(start) for row in rows]


def make_plan(
    rows: Iterable[Mapping[str, Any]],
    truth: Iterable[Mapping[str, Any]],
    *,
    recall: float,
    precision: float,
    worse: float,
    seed: int,
) -> Plan:
    """Draw who is called better and worse. Texts that occur twice in a row are never drawn as false alarms."""
    if not (0 <= recall <= 1 and 0 < precision <= 1 and 0 <= worse <= 1):
        raise ValueError(
            f"recall {recall}, precision {precision} and worse {worse} must be shares (precision above 0)."
        )
    planted = {line["query_id"]: set(line["false_negatives"]) for line in truth}
    real: list[Place] = []
    others: list[Place] = []
    for row in rows:
        relevant = planted.get(row["query_id"], set())
        relevant_texts = {_shown(p) for p in row["negative_passages"] if p["docid"] in relevant}
        for passage in row["negative_passages"]:
            place = (row["query_id"], passage["docid"])
            if passage["docid"] in relevant:
                real.append(place)
            elif _shown(passage) not in relevant_texts:
                others.append(place)
    chance = random.Random(f"scripted judge {seed}")
    found = chance.sample(sorted(real), round(recall * len(real)))
    alarms = chance.sample(sorted(others), min(len(others), round(len(found) * (1 - precision) / precision)))
    missed = sorted(set(real) - set(found))
    lesser = chance.sample(missed, round(worse * len(missed)))
    return Plan(_by_query(found + alarms), _by_query(lesser), len(found), len(alarms), len(real))


def _by_query(places: Iterable[Place]) -> dict[str, set[str]]:
    docids: dict[str, set[str]] = {}
    for query_id, docid in places:
        docids.setdefault(query_id, set()).add(docid)
    return docids


def _shown(passage: Mapping[str, Any]) -> str:
    return shown_passage(passage.get("title") or "", passage["text"])


def _read(source: Path | str | Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    if not isinstance(source, (Path, str)):
        return list(source)
    return [orjson.loads(line) for line in Path(source).read_bytes().splitlines() if line.strip()]
