"""People's answers, from filled-in CSV files and exports of Label Studio and Argilla."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.audit.exports import CHOICES, CSV_NAME
from hf_relabel.builders.audit.names import Names, name_key
from hf_relabel.builders.audit.sample import SAMPLE_NAME, STRATA_NAME, AuditSample
from hf_relabel.builders.configs.manifest import MANIFEST_NAME
from hf_relabel.builders.disk.atomic_folder import check_place
from hf_relabel.builders.errors import BadRow, ConfigError
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.spelling import argument

TRUTH = "truth"
"""The person that a truth file stands for."""

_MOST_CHARACTERS = 10_000_000
_LINE_ENDS = re.compile(r"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person says of one item; `value` is None where they cannot tell."""

    id: str
    person: str
    value: Label | None


@expects(path=PATH, sample=AuditSample)
def read_answers(path: str | Path, sample: AuditSample) -> list[Answer]:
    """The answers in a file, whose format is found out from its content.

    - CSV with the columns `id` and `answer`, and `person`, each with or without a remark in brackets behind its name;
      where `person` is empty, the file's name without its ending.
    - Label Studio's JSON export: tasks with `annotations`. Skipped tasks give no answer; of several annotations by
      one person the last updated counts.
    - Argilla's `records.json`, as `dataset.to_disk` and `dataset.records.to_json` write it, or a list of what
      `record.serialize()` gives. Only submitted responses count. The first two leave out who has submitted and who only
      saved a draft (argilla 2.8), so that a draft counts there too; `serialize` tells.

    Example:
            answers = read_answers(Path("anna.csv"), sample)

    Raises:
        ConfigError: the file is missing or of none of these formats.
        BadRow: an item is not of this sample, an answer is none of the choices, or a person answers an item twice
            with different answers.
    """
    names = Names()
    answers = _read(Path(path), sample, names)
    names.tell()
    return answers


def _read(path: Path, sample: AuditSample, names: Names) -> list[Answer]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text in UTF-8: {error}.") from None
    found = _from_json(path, text) if text.lstrip()[:1] in ("[", "{") else _from_csv(path, text)
    return _checked(path, found, sample, names)


def read_all_answers(paths: Sequence[str | Path], sample: AuditSample) -> list[Answer]:
    """The answers in several files, see `read_answers`.

    One person may have answered in several files, but not an item in two ways; and where a file names nobody, the name
    of the file stands for one person only. Names are compared without regard to case and white space; who is spelt in
    several ways is told of once.

    Raises:
        ConfigError, BadRow: as `read_answers`.
        ConfigError: two files have a person in common who cannot be one person.
    """
    first: dict[tuple[str, str], tuple[Path, Answer]] = {}
    names = Names()
    for path in map(Path, dict.fromkeys(paths)):
        for answer in _read(path, sample, names):
            earlier, known = first.setdefault((answer.person, answer.id), (path, answer))
            of_file = {name_key(answer.person), name_key(path.stem), name_key(earlier.stem)}
            if earlier != path and (known != answer or len(of_file) == 1):
                how = "differently" if known != answer else "too"
                raise ConfigError(
                    f"{path}: {_short(answer.person)} answers item {answer.id}, which {earlier} answers {how} under the"
                    " same name. If these are two people, write their names into the column `person`; if it is one,"
                    " keep one answer."
                )
    names.tell()
    return [answer for _, answer in first.values()]


@dataclass(frozen=True, slots=True)
class _Raw:
    """An answer as a file has it: `number` of its row or record, and in CSV the line; a value of None cannot tell."""

    number: int
    item: str
    person: str
    value: str | None
    line: int | None = None

    def bad(self, path: Path, field: str, found: str, remedy: str) -> BadRow:
        return BadRow(str(path), self.number, field, found, remedy, line=self.line)


def _checked(path: Path, found: Iterator[_Raw], sample: AuditSample, names: Names) -> list[Answer]:
    known = {item.id for item in sample.items}
    answers: dict[tuple[str, str], Answer] = {}
    for raw in found:
        item, person = raw.item, names.first(raw.person)
        if item not in known:
            raise raw.bad(path, "id", f"{_short(item)} is not in this sample", "Give the sample it was drawn with.")
        answer = Answer(item, person, _label(path, raw))
        if answers.setdefault((item, person), answer) != answer:
            raise raw.bad(path, "answer", f"{_short(person)} answers {item} in two ways", "Keep one of the two.")
    return list(answers.values())


def _label(path: Path, raw: _Raw) -> Label | None:
    said = " ".join((raw.value or CHOICES[-1]).casefold().split())
    if said not in CHOICES:
        raise raw.bad(path, "answer", f"{_short(raw.value)} is no answer", f"Answers are {', '.join(CHOICES)}.")
    return None if said == CHOICES[-1] else Label(said)


def _short(value: Any) -> str:
    return ascii(value)[:60]


def check_folder(folder: Path) -> None:
    """See that a new sample may be written into a folder.

    Raises:
        BuildError: it is a file, a release, or a folder of other things.
        ConfigError: people's answers are in its questions.csv, which a new sample would replace.
    """
    if (folder / MANIFEST_NAME).exists():
        raise ConfigError(f"{folder} is a release that was built (it has a {MANIFEST_NAME}). Give another folder.")
    names = (SAMPLE_NAME, STRATA_NAME, CSV_NAME)
    check_place(
        folder,
        lambda place: not any(place.iterdir()) or any((place / name).exists() for name in names),
        mark=SAMPLE_NAME,
    )
    path = folder / CSV_NAME
    if path.is_file() and (answers := _answers_in(path)) != 0:
        holds = "what cannot be read, perhaps answers" if answers is None else counted(answers, "answer")
        raise ConfigError(
            f"{path} holds {holds}, which a new sample would wipe out: choose another {argument('out')}, or move that"
            " file away."
        )


def check_unanswered(folder: Path) -> None:
    """See that there are no answers in the folder of a sample that nobody reads.

    Raises:
        ConfigError: its questions.csv has some.
    """
    path = folder / CSV_NAME
    if path.is_file() and (answers := _answers_in(path)):
        raise ConfigError(f"{path} holds {counted(answers, 'answer')}: give it behind {folder} to have them read.")


def _answers_in(path: Path) -> int | None:
    """How many answers people wrote into a file of questions; None where it cannot be read."""
    try:
        return sum(1 for _ in _from_csv(path, path.read_bytes().decode("utf-8-sig")))
    except (OSError, UnicodeDecodeError, ConfigError):
        return None


def _from_csv(path: Path, text: str) -> Iterator[_Raw]:
    limit = csv.field_size_limit(_MOST_CHARACTERS)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), dialect=_dialect(text))
        reader.fieldnames = [name.partition("(")[0].strip() for name in reader.fieldnames or ()]
        missing = {"id", "answer"} - set(reader.fieldnames)
        if missing:
            raise ConfigError(
                f"{path} is no file of answers: it is no JSON, and as CSV it lacks the column {min(missing)!r}."
            )
        for number, row in enumerate(reader, start=1):
            if answer := (row["answer"] or "").strip():
                person = (row.get("person") or "").strip() or path.stem
                line = reader.line_num - _line_ends(row.values())
                yield _Raw(number, (row["id"] or "").strip(), person, answer, line)
    except csv.Error as error:
        raise ConfigError(f"{path} cannot be read as CSV: {error}.") from None
    finally:
        csv.field_size_limit(limit)


def _line_ends(cells: Iterable[Any]) -> int:
    """How many are in the cells of a row; those that the first line names no column for are a list."""
    texts = [text for cell in cells for text in (cell if isinstance(cell, list) else [cell or ""])]
    return sum(len(_LINE_ENDS.findall(text)) for text in texts)


def _dialect(text: str) -> type[csv.Dialect]:
    """Spreadsheets write semicolons or tabs in some countries; the first line tells."""
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    return type("Found", (csv.excel,), {"delimiter": separator})


def _from_json(path: Path, text: str) -> Iterator[_Raw]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {error}.") from None
    records = values.get("records", [values]) if isinstance(values, dict) else values
    for number, record in enumerate(records if isinstance(records, list) else [], start=1):
        if isinstance(record, dict) and "annotations" in record:
            yield from _label_studio(path, number, record)
        elif isinstance(record, dict) and "responses" in record:
            yield from _argilla(path, number, record)
        else:
            raise ConfigError(
                f"{path}, record {number}: neither `annotations` (Label Studio) nor `responses` (Argilla) is there."
            )


def _label_studio(path: Path, number: int, task: Mapping[str, Any]) -> Iterator[_Raw]:
    last: dict[str, tuple[str, str]] = {}
    try:
        item = str(task["data"]["item"])
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled") or not annotation.get("result"):
                continue
            found = [each for each in annotation["result"] if each.get("from_name") == "answer"]
            choice = str(found[0]["value"]["choices"][0])
            time = str(annotation.get("updated_at") or annotation.get("created_at") or "")
            person = _person(annotation.get("completed_by"))
            if person not in last or time >= last[person][0]:
                last[person] = (time, choice)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadRow(
            str(path), number, "annotations", f"not as Label Studio exports them ({error!r})", "Export as JSON."
        ) from None
    for person, (_, choice) in last.items():
        yield _Raw(number, item, person, choice)


def _person(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("username") or value.get("id")
    return str(value)


def _argilla(path: Path, number: int, record: Mapping[str, Any]) -> Iterator[_Raw]:
    try:
        # What `serialize` gives has the server's own id under this name.
        item, responses = str(record.get("external_id") or record["id"]), record["responses"]
        found = responses.get("answer", ()) if isinstance(responses, Mapping) else responses
        for response in found:
            name = response.get("question_name", "answer")
            if name == "answer" and str(response.get("status", "submitted")) in (
                "submitted",
                "ResponseStatus.submitted",
            ):
                yield _Raw(number, item, str(response["user_id"]), str(response["value"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRow(
            str(path), number, "responses", f"not as Argilla exports them ({error!r})", "Export with `to_disk`."
        ) from None


def answers_from_truth(truth: Mapping[str, frozenset[str]], sample: AuditSample) -> list[Answer]:
    """The answers that a truth file gives. Items of rows that it lacks have none.

    Args:
        truth: docids or exact texts of the known false negatives, by query id or query.
    """
    named = {item.id: truth.get(item.query_id, truth.get(item.query)) for item in sample.items}
    return [
        Answer(item.id, TRUTH, Label.BETTER if {item.docid, item.candidate.text} & known else Label.IRRELEVANT)
        for item in sample.items
        if (known := named[item.id]) is not None
    ]
