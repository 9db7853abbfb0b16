"""Rows of a retrieval training set, in the Tevatron/RLHN schema.

`{query_id, query, positive_passages: [{docid, title, text}], negative_passages: [...], subset}` is what goes in and
what comes out, so `rlhn/default-680K` loads as it is and what is built here loads in Tevatron.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage. `title` is "" when there is none."""

    docid: str
    title: str
    text: str

    def to_dict(self) -> dict[str, str]:
        return {"docid": self.docid, "title": self.title, "text": self.text}


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: a query, its known positives (the ground truth) and its hard negatives."""

    query_id: str
    query: str
    positive_passages: tuple[Passage, ...]
    negative_passages: tuple[Passage, ...]
    subset: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The row as plain values in the field order of the schema."""
        return {
            "query_id": self.query_id,
            "query": self.query,
            "positive_passages": [passage.to_dict() for passage in self.positive_passages],
            "negative_passages": [passage.to_dict() for passage in self.negative_passages],
            "subset": self.subset,
        }


@dataclass(frozen=True, slots=True)
class NumberedRow:
    """A row and its 0-based position among the rows that the source yields (after sampling and skipping)."""

    number: int
    row: Row


def text_docid(title: str, text: str) -> str:
    """The docid of a passage that has none: md5 hex of its title and text, as in the RLHN data."""
    content = f"{title}\n{text}" if title else text
    return hashlib.md5(content.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def arrow_schema() -> pa.Schema:
    """The Arrow schema of a config: passages are lists of structs, never dicts of lists."""
    import pyarrow as pa

    passages = pa.list_(pa.struct([("docid", pa.string()), ("title", pa.string()), ("text", pa.string())]))
    return pa.schema(
        [
            ("query_id", pa.string()),
            ("query", pa.string()),
            ("positive_passages", passages),
            ("negative_passages", passages),
            ("subset", pa.string()),
        ]
    )
