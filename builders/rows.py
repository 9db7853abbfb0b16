"""Rows of a retrieval training set, in the Tevatron/RLHN schema.

`{query_id, query, positive_passages: [{docid, title, text}], negative_passages: [...], subset}` is what goes in and
what comes out, so `rlhn/default-680K` loads as it is and what is built here loads in Tevatron.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage.

    Example:
            >>> from hf_relabel import Passage
            >>> Passage("d1", "", "Air scatters blue light.").docid
            'd1'

    Attributes:
        title: "" when there is none.
        score: how well a teacher found it to fit the query, where the source says so. It goes where the passage goes;
            no judge sees it.
    """

    docid: str
    title: str
    text: str
    score: float | None = None

    def to_dict(self, *, scores: bool = False) -> dict[str, Any]:
        """The passage as plain values, with its score where that is asked for."""
        values: dict[str, Any] = {"docid": self.docid, "title": self.title, "text": self.text}
        return {**values, "score": self.score} if scores else values


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: a query, its known positives (the ground truth) and its hard negatives.

    Example:
            >>> from hf_relabel import Passage, Row
            >>> known, hard = Passage("d1", "", "Air scatters blue light."), Passage("d2", "", "The sea is blue.")
            >>> row = Row("q1", "why is the sky blue", (known,), (hard,))
            >>> row.to_dict()["negative_passages"][0]["docid"]
            'd2'
    """

    query_id: str
    query: str
    positive_passages: tuple[Passage, ...]
    negative_passages: tuple[Passage, ...]
    subset: str = ""

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Positives, then negatives."""
        return self.positive_passages + self.negative_passages

    @property
    def has_scores(self) -> bool:
        """Whether some passage has a score."""
        return any(passage.score is not None for passage in self.passages)

    def to_dict(self, *, scores: bool = False) -> dict[str, Any]:
        """The row as plain values in the field order of `arrow_schema(scores=scores)`."""
        return {
            "query_id": self.query_id,
            "query": self.query,
            "positive_passages": [passage.to_dict(scores=scores) for passage in self.positive_passages],
            "negative_passages": [passage.to_dict(scores=scores) for passage in self.negative_passages],
            "subset": self.subset,
        }


@dataclass(frozen=True, slots=True)
class NumberedRow:
    """A row and its 0-based position among the rows that the source yields (after sampling and skipping)."""

    number: int
    row: Row


def text_docid(title: str, text: str) -> str:
    """The docid of a passage that has none: md5 hex of its title and text, as in the RLHN data."""
    return hashlib.md5(joined_text(title, text).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def joined_text(title: str | None, text: str) -> str:
    """What a model reads of a passage: its title, if it has one, on a line of its own, then its text."""
    return f"{title}\n{text}" if title else text


def arrow_schema(*, scores: bool = False) -> pa.Schema:
    """The Arrow schema of a config: passages are lists of structs, never dicts of lists.

    Args:
        scores: whether passages have a `score` (float64, null where one has none), as in a source that gives some.
    """
    import pyarrow as pa

    fields = [("docid", pa.string()), ("title", pa.string()), ("text", pa.string())]
    passages = pa.list_(pa.struct([*fields, *([("score", pa.float64())] if scores else [])]))
    return pa.schema(
        [
            ("query_id", pa.string()),
            ("query", pa.string()),
            ("positive_passages", passages),
            ("negative_passages", passages),
            ("subset", pa.string()),
        ]
    )


def folded(text: str) -> str:
    """A text whatever its case and blanks, to tell whether two queries or passages are the same."""
    return " ".join(text.split()).casefold()


@lru_cache(maxsize=1024)
def subset_key(name: str) -> str:
    """A subset's name without case and punctuation: `SciDocsRR`, `scidocs-rr` and `scidocs_rr` are one subset."""
    return "".join(char for char in name.casefold() if char.isalnum())
