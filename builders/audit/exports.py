"""The sample as files for people: CSV for spreadsheets, Label Studio and Argilla.

All are blind: they show the query, the ground truth and the candidate, and neither label, score, verdict nor weight;
items come in the order of their ids, which is random. Texts of the data set are text everywhere: Label Studio shows
them by tags that do not read markup, Argilla with markdown off, and a cell that a spreadsheet would take for a formula
begins with an apostrophe (OWASP, CSV injection).
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from hf_relabel.builders.audit.sample import AuditSample, Item, shown_positives
from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.rows import joined_text

QUESTION = (
    "With the query and the ground truth in front of you: is the candidate relevant and at least as good as the ground"
    " truth (better), relevant but less so (worse), or not relevant (irrelevant)?"
)
CHOICES = ("better", "worse", "irrelevant", "cannot tell")
ANSWER_COLUMN = (
    "answer (write: better = relevant and at least as good as the ground truth / worse = relevant but less so /"
    " irrelevant / cannot tell)"
)
"""Says to who answers what to write. A reader goes by what is before the bracket. Without commas, semicolons and tabs:
by them the separator of a file that a spreadsheet wrote is found."""
PERSON_COLUMN = "person (your name)"
COLUMNS = ("id", "query", "ground_truth", "candidate", ANSWER_COLUMN, PERSON_COLUMN)
CSV_NAME = "questions.csv"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# What neither XML nor spreadsheets nor databases take, and what turns the direction of all text after it.
_UNSHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\u202a-\u202e\u2066-\u2069]")


def export_csv(sample: AuditSample, path: Path) -> None:
    """A line per item; people fill in `answer` (better, worse, irrelevant, cannot tell), whose header says so, and
    `person`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for item in sample.items:
        writer.writerow([item.id, *(_cell(value) for value in _shown(item)), "", ""])
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        # With a mark at the start, else Excel takes UTF-8 for something else.
        file.write(text.getvalue().encode("utf-8-sig"))


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def export_label_studio(sample: AuditSample, folder: Path) -> None:
    """`label_config.xml`, to paste into the labelling setup of a project, and `tasks.json`, to import."""
    tasks = [
        {"data": dict(zip(("item", "query", "ground_truth", "candidate"), (item.id, *_shown(item)), strict=True))}
        for item in sample.items
    ]
    _write(folder / "label_config.xml", label_studio_config())
    _write(folder / "tasks.json", json.dumps(tasks, ensure_ascii=False, indent=1))


def label_studio_config() -> str:
    """The labelling setup. Text tags show their values as they are, never as markup."""
    from xml.sax.saxutils import escape, quoteattr

    choices = "\n".join(f"    <Choice value={quoteattr(choice)}/>" for choice in CHOICES)
    parts = "\n".join(
        f'  <Header value="{title}"/>\n  <Text name="{name}" value="${name}"/>'
        for title, name in (("Query", "query"), ("Ground truth", "ground_truth"), ("Candidate", "candidate"))
    )
    return (
        f"<View>\n{parts}\n  <Header value={quoteattr(escape(QUESTION))}/>\n"
        f'  <Choices name="answer" toName="candidate" choice="single" required="true">\n{choices}\n  </Choices>\n'
        "</View>\n"
    )


def export_argilla(sample: AuditSample, folder: Path, *, people: int = 1) -> None:
    """A folder that Argilla 2 reads with `rg.Dataset.from_disk(folder)`.

    Args:
        people: how many are to answer each item; Argilla takes it away from the others once so many have.
    """
    records = [
        {
            "id": item.id,
            "fields": dict(zip(("query", "ground_truth", "candidate"), _shown(item), strict=True)),
            "metadata": {},
            "suggestions": {},
            "responses": {},
            "vectors": {},
            "status": "pending",
            "_server_id": None,
        }
        for item in sample.items
    ]
    _write(folder / ".argilla" / "settings.json", json.dumps(argilla_settings(people), indent=1))
    _write(folder / ".argilla" / "dataset.json", json.dumps({"name": "hf-relabel-audit"}, indent=1))
    _write(folder / "records.json", json.dumps(records, ensure_ascii=False, indent=1))


def argilla_settings(people: int = 1) -> dict[str, Any]:
    """Fields without markdown, and one question that so many people answer."""
    fields = [
        {"name": name, "title": title, "required": True, "settings": {"type": "text", "use_markdown": False}}
        for name, title in (("query", "Query"), ("ground_truth", "Ground truth"), ("candidate", "Candidate"))
    ]
    options = [{"value": choice, "text": choice, "description": None} for choice in CHOICES]
    question = {
        "name": "answer",
        "title": "Is the candidate relevant?",
        "description": QUESTION,
        "required": True,
        "settings": {"type": "label_selection", "options": options, "visible_options": len(options)},
    }
    return {
        "guidelines": QUESTION,
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": people},
        "fields": fields,
        "questions": [question],
        "metadata": [],
        "vectors": [],
    }


def _shown(item: Item) -> tuple[str, str, str]:
    """Query, ground truth and candidate as people see them."""
    candidate = joined_text(item.candidate.title, item.candidate.text)
    return _plain(item.query), _plain(shown_positives(item.positives)), _plain(candidate)


def _plain(text: str) -> str:
    """Without control characters and overrides of direction. An empty text, which Argilla refuses, is said to be so."""
    return _UNSHOWN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")) or "(empty)"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        file.write(text.encode("utf-8", "replace"))
