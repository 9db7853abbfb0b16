"""What one row gives to one epoch of training, or to a table that is made once: texts, drawn.

Rows are taken as `load_dataset(repo, config)` gives them, see `hf_relabel.builders.rows`. What is drawn from a row
depends on the row, a seed and the epoch, and on nothing else: not on the order of the rows, the workers or the
machines. So a resumed run draws what an undisturbed one draws.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.rows import joined_text


@dataclass(frozen=True, slots=True)
class TrainingPassage:
    """A passage as the model reads it.

    Attributes:
        text: title and text, see `joined_text`.
        docid: "" where the row gives none.
        score: None where the row gives none.
    """

    text: str
    docid: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """What one row gives to one epoch.

    Attributes:
        positives: at least one, in random order.
        negatives: as many as were asked for, or fewer where the row has fewer.
        known: all positives of the row, drawn or not. None of them may count as a negative of this query.
    """

    query: str
    positives: tuple[TrainingPassage, ...]
    negatives: tuple[TrainingPassage, ...]
    known: tuple[TrainingPassage, ...]
    subset: str
    query_id: str = ""


@dataclass(frozen=True, slots=True)
class RowDraw:
    """How to draw from a row. Passages are distinct by text; blank ones and negatives that are positives are left out.

    Attributes:
        negatives: most hard negatives of a row, None for all.
        positives: most positives of a row, None for all.
        seed: of the draw; each (seed, epoch, row) draws anew.
    """

    negatives: int | None = 7
    positives: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.negatives is not None and self.negatives < 0:
            raise ConfigError(f"The number of hard negatives must be 0 or more, not {self.negatives}.")
        if self.positives is not None and self.positives < 1:
            raise ConfigError(f"The number of positives must be 1 or more, not {self.positives}.")

    def __call__(self, row: Mapping[str, Any], epoch: int = 0) -> Draw:
        """Draw from one row.

        Raises:
            ConfigError: the row is not one of ours, or has no query or no positive to train on.
        """
        known = usable_passages(row, "positive_passages")
        if problem := problem_of(row, known):
            raise ConfigError(f"{problem} `usable_rows(dataset, skip=True)` leaves such rows out and counts them.")
        shuffled = _random(self.seed, epoch, row)
        shuffled.shuffle(known)
        negatives = usable_negatives(row, known)
        if self.negatives is not None and self.negatives < len(negatives):
            negatives = shuffled.sample(negatives, self.negatives)
        return Draw(
            query=row["query"],
            positives=tuple(known[: self.positives]),
            negatives=tuple(negatives),
            known=tuple(known),
            subset=row.get("subset") or "",
            query_id=row.get("query_id") or "",
        )


def problem_of(row: Mapping[str, Any], known: Sequence[TrainingPassage]) -> str | None:
    """Why a row with these usable positives cannot be trained on; None where it can."""
    if not known:
        return f"Row {name_of(row)} has no positive passage with a text."
    query = row.get("query")
    if not isinstance(query, str) or not query.strip():
        return f"Row {name_of(row)} has no query."
    return None


def usable_passages(row: Mapping[str, Any], field: str) -> list[TrainingPassage]:
    """The passages of a field that are not blank, each text once, in their order."""
    values = row.get(field)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ConfigError(f"Row {name_of(row)} has no list of passages in {field!r}, which rows of our configs have.")
    passages: dict[str, TrainingPassage] = {}
    try:
        for value in values:
            text = joined_text(value.get("title"), value["text"])
            if text not in passages and not text.isspace() and text:
                passages[text] = TrainingPassage(text, value.get("docid") or "", value.get("score"))
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"Row {name_of(row)}, {field!r}: a passage is not {{docid, title, text}}.") from error
    return list(passages.values())


def usable_negatives(row: Mapping[str, Any], known: Sequence[TrainingPassage]) -> list[TrainingPassage]:
    """The negatives of a row that are not blank and none of its usable positives, each text once, in their order."""
    texts, docids = {passage.text for passage in known}, {passage.docid for passage in known} - {""}
    return [
        passage
        for passage in usable_passages(row, "negative_passages")
        if passage.text not in texts and passage.docid not in docids
    ]


def _random(seed: int, epoch: int, row: Mapping[str, Any]) -> random.Random:
    key = f"{seed}\n{epoch}\n{row.get('query_id')}\n{row['query']}".encode("utf-8", "surrogatepass")
    return random.Random(hashlib.blake2b(key, digest_size=8).digest())  # noqa: S311  (a draw, not a secret)


def name_of(row: Mapping[str, Any]) -> str:
    """A row in a message."""
    return repr(row.get("query_id") or row.get("query"))
