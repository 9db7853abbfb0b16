"""Checked access to the fields of one record. Everything that is wrong becomes a `BadRow` that says where and what."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import BadRow
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import Passage, text_docid
from hf_relabel.builders.sources.column_names import listed as names_listed
from hf_relabel.builders.sources.files import Record


@dataclass(frozen=True, slots=True)
class Context:
    """Where a record comes from.

    Attributes:
        file: name of the file as the user knows it.
        number: row number in that file, from 1.
        subset: the subset of a row that names none.
        relevant_from: the least label of a relevant passage; None where labels are 0 and 1.
    """

    file: str
    number: int
    subset: str = ""
    relevant_from: float | None = None

    def bad(self, field: str, found: str, remedy: str) -> BadRow:
        return BadRow(self.file, self.number, field, found, remedy)


def shown(value: Any) -> str:
    """A value in a few words, for a message."""
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return f"the {type(value).__name__} {str(value)[:30]}" if _is_short(value) else "a huge number"
    names = {"str": "text", "list": "a list", "dict": "an object", "bytes": "bytes"}
    return names.get(type(value).__name__, f"a {type(value).__name__}")


def _is_short(value: float) -> bool:
    # Python refuses to print integers of thousands of digits.
    return not isinstance(value, int) or value.bit_length() < 128


def field(record: Record, name: str, context: Context) -> Any:
    if name not in record:
        remedy = f"The row has: {names_listed(record)}. Add the field, or name another format."
        raise context.bad(name, "missing", remedy)
    return record[name]


def check_text(value: Any, path: str, context: Context) -> str:
    if not isinstance(value, str):
        raise context.bad(path, f"{shown(value)} where text is needed", "Write it as a string.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            found = f"half of a surrogate pair at character {error.start}"
            raise context.bad(path, found, "Write the text as valid Unicode.") from None
    return value


def query_text(record: Record, name: str, context: Context) -> str:
    query = check_text(field(record, name, context), name, context)
    if not query.strip():
        raise context.bad(name, "no text", "Drop the row or give it a query.")
    return query


def identifier(value: Any, path: str, context: Context) -> str:
    """An id as text, "" where there is none. Whole numbers that were read as floats lose their `.0`, and are refused
    where a float does not hold all their digits."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise context.bad(path, f"{shown(value)} where an id is needed", "Write ids as strings or whole numbers.")
    if isinstance(value, str):
        return check_text(value, path, context)
    if not _is_short(value) or not math.isfinite(value):
        raise context.bad(path, f"{shown(value)} where an id is needed", "Write ids as strings or whole numbers.")
    if isinstance(value, float) and abs(value) >= 2**53:
        found = f"{shown(value)}, which has lost digits of the id if it had more than 15"
        remedy = "Write ids as strings or whole numbers; pandas makes floats of them beside missing values: read them"
        raise context.bad(path, found, f"{remedy} with `dtype=str`.")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def query_identifier(record: Record, column: str, query: str, context: Context) -> str:
    """The row's id; md5 hex of the query, as in the RLHN data, where it has none."""
    found = identifier(record.get(column), column, context)
    return found or hashlib.md5(query.encode(), usedforsecurity=False).hexdigest()


def subset_name(record: Record, column: str, context: Context) -> str:
    value = record.get(column)
    return context.subset if value is None else check_text(value, column, context) or context.subset


def text_passage(value: Any, path: str, context: Context, score: float | None = None) -> Passage:
    # Nearly all texts are ASCII, and there are millions.
    text = value if isinstance(value, str) and value.isascii() else check_text(value, path, context)
    return Passage(text_docid("", text), "", text, score)


def score_of(value: Any, path: str, context: Context) -> float | None:
    """A passage's score, None where there is none: null or NaN."""
    if value is None or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_short(value) or math.isinf(value):
        raise context.bad(path, f"{shown(value)} where a score is needed", "Write it as a number, or rename the field.")
    return float(value)


def structured_passage(
    value: Any, path: str, context: Context, ids: tuple[str, ...] = ("docid",), score: str = "score"
) -> Passage:
    """A passage `{docid, title, text, score}`: all but the text may be missing, other fields are ignored.

    Args:
        ids: names of the field that holds the docid; the first that is there counts.
        score: name of the field that holds the score; "" where none does.
    """
    if not isinstance(value, dict):
        raise context.bad(path, f"{shown(value)} where a passage is needed", "Write it as {docid, title, text}.")
    if "text" not in value:
        raise context.bad(f"{path}.text", "missing", "Give each passage a text.")
    text = check_text(value["text"], f"{path}.text", context)
    title = value.get("title")
    title = "" if title is None else check_text(title, f"{path}.title", context)
    name = next((name for name in ids if value.get(name) is not None), ids[0])
    docid = identifier(value.get(name), f"{path}.{name}", context)
    found = score_of(value.get(score), f"{path}.{score}", context) if score else None
    return Passage(docid or text_docid(title, text), title, text, found)


def any_passage(value: Any, path: str, context: Context) -> Passage:
    """A passage that is a text or `{docid, title, text}`."""
    return structured_passage(value, path, context) if isinstance(value, dict) else text_passage(value, path, context)


def listed(
    value: Any, path: str, context: Context, read: Callable[[Any, str, Context], Passage]
) -> tuple[Passage, ...]:
    """The passages of a list."""
    return tuple([read(one, f"{path}[{index}]", context) for index, one in enumerate(as_list(value, path, context))])


def as_list(value: Any, path: str, context: Context) -> list[Any]:
    if not isinstance(value, list):
        raise context.bad(path, f"{shown(value)} where a list is needed", "Write it as a list.")
    return value


def is_relevant(value: Any, path: str, context: Context) -> bool:
    """What a label says. 1.0, true and "1" are 1 as well.

    Grades and scores say nothing as long as nobody says from which one on a passage is relevant.
    """
    number = _number(value)
    if number is None or math.isnan(number):
        raise context.bad(path, f"{shown(value)} where a label is needed", "Labels are 1 (relevant) or 0 (not).")
    if context.relevant_from is not None:
        return number >= context.relevant_from
    if number not in (0, 1):
        remedy = "Labels are 1 (relevant) or 0 (not). Of grades or scores, say from which on a passage is relevant"
        raise context.bad(path, shown(value), f"{remedy}: {argument('relevant_from', ...)}.")
    return number == 1


def _number(value: Any) -> float | None:
    if not isinstance(value, (bool, int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def check_positives(positives: Sequence[Passage], column: str, context: Context) -> None:
    """Whether a row has a positive to compare with."""
    if not positives:
        raise context.bad(column, "no positive", "Drop the row or give it a positive passage.")
    if not any(passage.text.strip() or passage.title.strip() for passage in positives):
        raise context.bad(column, "only empty positives", "Drop the row or give it a positive with a text.")
