"""A look at a training set before anything is spent on it: what is in it, and what is wrong with it for free."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from hf_relabel.builders.config_names import VERDICTS
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.sources import FORMATS, Source
from hf_relabel.builders.sources.findings import free_findings, ids_with_two_texts, is_blank, normalised
from hf_relabel.builders.sources.repeats import Repeats

EXAMPLES_KEPT = 3
ID_WITH_TWO_TEXTS = "id-with-two-texts"
EMPTY_POSITIVE = "empty-positive"
REPEATED_ROW = "repeated-row"
REPEATED_QUERY_ID = "repeated-query-id"
ONE_CHARACTER = "one-character"
POSITIVE_IS_QUERY = "positive-is-query"
NEGATIVE_IS_QUERY = "negative-is-query"
LIST_AS_TEXT = "list-as-text"
ROUNDED_ID = "rounded-id"

_MEANINGS = {
    "same-docid": "negatives with the docid and the text of a positive",
    "same-text": "negatives with the text of a positive",
    "empty": "negatives without text",
    EMPTY_POSITIVE: "positives without text",
    ID_WITH_TWO_TEXTS: "docids on both sides, with different texts",
    REPEATED_ROW: "rows that are equal to an earlier one",
    REPEATED_QUERY_ID: "rows whose query id an earlier, different row has",
    POSITIVE_IS_QUERY: "positives with the text of the query",
    NEGATIVE_IS_QUERY: "negatives with the text of the query",
    ONE_CHARACTER: "passages of one character: a text was taken for a list, or a label for a passage",
    LIST_AS_TEXT: "passages that are a list written as text: a table kept the list as one text",
    ROUNDED_ID: "ids that were read as floats and have lost digits: write them as text",
}

# What Python and pandas write for whole numbers that a float cannot hold: 1.2345678901234568e+19, 9007199254740994.0.
_ROUNDED = re.compile(r"-?(?:\d\.\d+e\+?\d+|\de\+\d+|\d{16,}\.0)", re.IGNORECASE)
_LIST = re.compile(r"""\s*\[\s*(['"]).*\1\s*,?\s*\]\s*""", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """Where something was found. `number` counts the rows from 0, as `NumberedRow.number` does; what people read counts
    them from 1. `docid` is "" where it is about the whole row."""

    number: int
    query_id: str
    docid: str = ""


@dataclass
class Found:
    """How often something was found, and the first three places."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, example: Example) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(example)


@dataclass
class SubsetCounts:
    """What one subset holds."""

    rows: int = 0
    positives: int = 0
    negatives: int = 0

    def add(self, row: Row) -> None:
        self.rows += 1
        self.positives += len(row.positive_passages)
        self.negatives += len(row.negative_passages)


@dataclass
class Inspection:
    """What a source holds.

    Attributes:
        source: `Source.describe()`, with the ignored fields and the skipped rows.
        description: the format in words.
        subsets: counts per subset.
        findings: by name (`same-text`, `empty`, `repeated-row` …) what was found; names without a finding are left out.
        rows_without_negatives: rows with nothing to judge.
        columns: which column plays which role, as `query ← question`, where the names do not say it.
        release: the release that the rows are a config of, if they are: its negatives have verdicts.
    """

    source: dict[str, Any]
    description: str
    subsets: dict[str, SubsetCounts]
    findings: dict[str, Found]
    rows_without_negatives: int = 0
    columns: tuple[str, ...] = ()
    release: str | None = None

    @property
    def total(self) -> SubsetCounts:
        """The counts of all subsets together."""
        counts = self.subsets.values()
        return SubsetCounts(
            sum(subset.rows for subset in counts),
            sum(subset.positives for subset in counts),
            sum(subset.negatives for subset in counts),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return {
            "format": self.source["format"],
            "source": self.source,
            "subsets": {name: asdict(counts) for name, counts in self.subsets.items()},
            "total": asdict(self.total),
            "rows_without_negatives": self.rows_without_negatives,
            "columns": list(self.columns),
            "release": self.release,
            "findings": {name: asdict(found) for name, found in self.findings.items()},
        }

    def to_text(self) -> str:
        """The same as tables for people."""
        parts = [self._heading(), self._subset_table(), self._finding_table(), self._what_is_left()]
        skipped = self.source["skipped"]
        if skipped["count"]:
            heading = f"{counted(skipped['count'], 'bad row was', 'bad rows were')} skipped. The first:"
            lines = [heading, *skipped["messages"][:EXAMPLES_KEPT]]
            parts.append("\n  ".join(lines))
        return "\n\n".join(part for part in parts if part)

    def _heading(self) -> str:
        source = self.source
        lines = [f"{source['name']}: {self.description}"]
        if source["revision"]:
            lines.append(f"commit {source['revision']}")
        if source["left_out"]:
            more = f" and {len(source['left_out']) - 5} more" if len(source["left_out"]) > 5 else ""
            lines.append(f"left out, of other splits or configs: {', '.join(source['left_out'][:5])}{more}")
        if self.columns:
            lines.append(f"columns: {', '.join(self.columns)}")
        if source["ignored_fields"]:
            lines.append(f"ignored fields: {', '.join(source['ignored_fields'])}")
        return "\n".join(lines)

    def _subset_table(self) -> str:
        named = [(name or "(none)", counts) for name, counts in self.subsets.items()]
        if len(named) > 1:
            named.append(("all", self.total))
        lines = [
            (name, counts.rows, counts.positives / counts.rows, counts.negatives / counts.rows, counts.negatives)
            for name, counts in named
        ]
        headers = ("subset", "rows", "positives/row", "negatives/row", "negatives")
        return text_table(lines, headers=headers, floatfmt=".1f", intfmt=",") if lines else "no rows"

    def _finding_table(self) -> str:
        lines = [
            (found.count, _MEANINGS.get(name, name), "; ".join(_place(example) for example in found.examples))
            for name, found in self.findings.items()
        ]
        if self.rows_without_negatives:
            lines.append((self.rows_without_negatives, "rows without negatives", ""))
        if not lines:
            return "No copies of positives, no empty passages and no repeated ids." if self.total.rows else ""
        return text_table(lines, headers=("count", "found", "for example"), intfmt=",")

    def _what_is_left(self) -> str:
        """What was not looked at: reading tells nothing of what the passages mean."""
        if not self.total.negatives:
            return f"There are no negatives to judge. `{program()} mine` finds some." if self.total.rows else ""
        if self.release is not None:
            return "\n".join(
                [
                    f"This is a config of the release {self.release}. What was found of each of",
                    f'its negatives is in its config `{VERDICTS}`: load_dataset("{self.release}", "{VERDICTS}").',
                    f"`{program()} space serve {self.release}` shows it.",
                ]
            )
        many = self.total.negatives
        none = "The only negative was not" if many == 1 else f"None of the {many:,} negatives was"
        return "\n".join(
            [
                f"{none} judged: that takes a judge (`{program()} judge`).",
                "It says of each whether it is `better` (relevant, at least as good as the",
                "positive), `worse` (relevant, but less so) or `irrelevant`.",
            ]
        )


def _place(example: Example) -> str:
    place = f"row {example.number + 1} (query {example.query_id[:40]}"
    return f"{place}, passage {example.docid[:40]})" if example.docid else f"{place})"


def inspect(source: Source, progress: Callable[[int], None] | None = None) -> Inspection:
    """Read a whole source and say what is in it, in as much memory for any number of rows: some 50 bytes of each go
    into files in the system's folder for temporary files.

    Args:
        progress: called with the number of rows read so far, after each.

    Raises:
        BadRow: a row cannot be used, and the source was not opened with `skip_bad_rows`.
        SourceError: there is no room for those files.
    """
    with Repeats(EXAMPLES_KEPT) as repeats:
        inspector = _Inspector(repeats)
        for numbered in source.rows():
            inspector.add(numbered)
            if progress is not None:
                progress(numbered.number + 1)
        inspector.end()
    return Inspection(
        # Described last: reading is what finds ignored fields and bad rows.
        source=source.describe(),
        description=f"{source.format}, {FORMATS[source.format].description}",
        subsets=dict(sorted(inspector.subsets.items())),
        findings={name: inspector.findings[name] for name in _MEANINGS if name in inspector.findings},
        rows_without_negatives=inspector.rows_without_negatives,
        columns=source.layout,
    )


class _Inspector:
    def __init__(self, repeats: Repeats) -> None:
        self.subsets: dict[str, SubsetCounts] = {}
        self.findings: dict[str, Found] = {}
        self.rows_without_negatives = 0
        self._repeats = repeats

    def add(self, numbered: NumberedRow) -> None:
        row = numbered.row
        self.subsets.setdefault(row.subset, SubsetCounts()).add(row)
        self.rows_without_negatives += not row.negative_passages
        for position, (_, reason) in free_findings(row).items():
            self._note(reason, numbered, row.negative_passages[position].docid)
        for position in ids_with_two_texts(row):
            self._note(ID_WITH_TWO_TEXTS, numbered, row.negative_passages[position].docid)
        for passage in row.positive_passages:
            if is_blank(passage):
                self._note(EMPTY_POSITIVE, numbered, passage.docid)
        self._note_queries(numbered)
        for passage in row.passages:
            self._note_odd(numbered, passage)
        if _ROUNDED.fullmatch(row.query_id):
            self._note(ROUNDED_ID, numbered)
        self._repeats.add(numbered)

    def end(self) -> None:
        """What can be said only when all rows were seen."""
        for name, found in zip((REPEATED_ROW, REPEATED_QUERY_ID), self._repeats.found(), strict=True):
            if found.count:
                self.findings[name] = Found(found.count, [Example(*place) for place in found.first])

    def _note_queries(self, numbered: NumberedRow) -> None:
        """Passages that say what the query says: copies of it, or one column taken for two."""
        row = numbered.row
        query = _beginning(row.query)
        for name, side in ((POSITIVE_IS_QUERY, row.positive_passages), (NEGATIVE_IS_QUERY, row.negative_passages)):
            for passage in side:
                if _beginning(passage.text) == query and normalised(passage.text) == normalised(row.query):
                    self._note(name, numbered, passage.docid)

    def _note_odd(self, numbered: NumberedRow, passage: Passage) -> None:
        if len(passage.text.strip()) == 1 and not passage.title.strip():
            self._note(ONE_CHARACTER, numbered, passage.docid)
        if passage.text.lstrip()[:1] == "[" and _LIST.fullmatch(passage.text):
            self._note(LIST_AS_TEXT, numbered, passage.docid)
        if _ROUNDED.fullmatch(passage.docid):
            self._note(ROUNDED_ID, numbered, passage.docid)

    def _note(self, name: str, numbered: NumberedRow, docid: str = "") -> None:
        self.findings.setdefault(name, Found()).add(Example(numbered.number, numbered.row.query_id, docid))


def _beginning(text: str) -> str:
    """Enough of a text to see that most are not equal: a normalised one begins with a letter or a digit of it."""
    return next((character.casefold() for character in text if character.isalnum()), "")
