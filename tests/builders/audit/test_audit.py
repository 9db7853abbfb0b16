"""Audits: what is drawn, that people see nothing of it but the texts, and that the report is right about the whole."""

from __future__ import annotations

import csv
import gc
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from hf_relabel.builders.audit import selection
from hf_relabel.builders.audit.answers import Answer, read_all_answers, read_answers
from hf_relabel.builders.audit.drift import earlier_audit
from hf_relabel.builders.audit.exports import (
    ANSWER_COLUMN,
    COLUMNS,
    PERSON_COLUMN,
    export_argilla,
    export_csv,
    export_label_studio,
)
from hf_relabel.builders.audit.report import audit_report
from hf_relabel.builders.audit.sample import AuditSample
from hf_relabel.builders.audit.strata import JudgedCandidate
from hf_relabel.builders.errors import BadRow, ConfigError, RelabelError
from hf_relabel.builders.judgements import Judgement, Label, Outcome
from hf_relabel.builders.rows import Passage, Row
from tests.examples import drawn

B, W, I = Label.BETTER, Label.WORSE, Label.IRRELEVANT  # noqa: E741
OUTCOMES = {B: Outcome.FALSE_NEGATIVE, W: Outcome.DOUBTFUL, I: Outcome.NEGATIVE}

HOSTILE = [
    '=HYPERLINK("http://x","click")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "<script>alert(1)</script><b>bold</b>",
    "</Text></View><Choice value='better'/>",
    "![x](http://x) **md** $query",
    "line one\r\nline two\x00\x1b[31m",
    "\u202eright to left override \ud800 surrogate",
    'a,b;c\t"quoted"\n\'',
    "x" * 100_000,
    "",
]


def candidate(
    number: int, label: Label, *, text: str = "", subset: str = "", outcome: Outcome | None = None
) -> JudgedCandidate:
    row = Row(
        f"q{number}",
        f"query {number}",
        (Passage("p", "", "truth"),),
        (Passage(f"d{number}", "", text or f"t{number}"),),
        subset,
    )
    said = {"cheap": Judgement(W if label is B else label, 0.5), "accurate": None if label is I else Judgement(label)}
    settled = "cheap" if label is I else "accurate"
    return JudgedCandidate(row, 0, outcome or OUTCOMES[label], said, settled, 0.5, number)


def draw(candidates: Iterable[JudgedCandidate], size: int, *, seed: int = 0) -> AuditSample:
    """The sample of candidates in memory."""
    known = list(candidates)
    return selection.draw(
        lambda wanted: [each for each in known if wanted is None or each.number in wanted], size, seed=seed
    )


def population(size: int = 4000, seed: int = 0) -> tuple[list[JudgedCandidate], dict[str, frozenset[str]]]:
    """Candidates of which a twentieth is called better (80 % rightly), and 3 % of the rest are missed."""
    chance = random.Random(seed)
    candidates, truth = [], {}
    for number in range(size):
        label = chance.choices([B, W, I], [0.05, 0.1, 0.85])[0]
        relevant = chance.random() < {B: 0.8, W: 0.3, I: 0.03}[label]
        candidates.append(candidate(number, label, subset="ab"[number % 2]))
        truth[f"q{number}"] = frozenset({f"d{number}"} if relevant else ())
    return candidates, truth


def test_all_verdicts_are_drawn_and_each_answer_stands_for_its_stratum() -> None:
    candidates, _ = population()

    sample = draw(candidates, 300)

    counts = Counter(item.outcome for item in sample.items)
    assert len(sample.items) == 300
    assert all(90 <= counts[outcome] <= 110 for outcome in OUTCOMES.values())
    assert sum(item.weight for item in sample.items) == pytest.approx(len(candidates))
    assert sum(stratum.size for stratum in sample.strata) == len(candidates)


def test_the_same_seed_draws_the_same_whatever_the_order() -> None:
    candidates, _ = population(1000)
    shuffled = random.Random(1).sample(candidates, len(candidates))

    assert draw(candidates, 100, seed=3).items == draw(shuffled, 100, seed=3).items
    assert draw(candidates, 100, seed=3).items != draw(candidates, 100, seed=4).items


def test_rows_are_let_go_while_they_are_read_and_read_again_where_they_were_drawn() -> None:
    alive: list[int] = []
    again: list[int] = []

    def read(wanted: frozenset[int] | None) -> Iterator[JudgedCandidate]:
        for number in range(300) if wanted is None else sorted(wanted):
            yield candidate(number, (B, W, I)[number % 3])
            (alive if wanted is None else again).append(number)
            if number == 299 and wanted is None:
                alive[:] = [sum(type(each) is Row for each in gc.get_objects())]

    before = sum(type(each) is Row for each in gc.get_objects())
    sample = selection.draw(read, 60)

    assert alive[0] - before <= 2
    assert len(again) == len(sample.items) == 60
    with pytest.raises(ConfigError, match="changed while the sample was drawn"):
        selection.draw(lambda wanted: [] if wanted else read(None), 60)


def test_what_no_judge_had_the_word_on_is_left_out_and_counted() -> None:
    found = [candidate(number, B) for number in range(30)]
    found += [candidate(90 + number, I, outcome=Outcome.DUPLICATE) for number in range(3)]
    found += [candidate(99, I, outcome=Outcome.UNJUDGED)]

    sample = draw(found, 100)

    assert len(sample.items) == 30
    assert sample.left_out == {"duplicate": 3, "unjudged": 1}
    with pytest.raises(ConfigError, match="nothing to audit"):
        draw(found[30:], 10)


@drawn(15)
@given(
    st.lists(st.tuples(st.sampled_from([B, W, I]), st.sampled_from("abcdef")), min_size=1, max_size=80),
    st.integers(1, 90),
)
def test_a_sample_has_the_size_asked_for_and_no_stratum_gives_more_than_it_has(
    labels: list[tuple[Label, str]], size: int
) -> None:
    sample = draw((candidate(n, label, subset=subset) for n, (label, subset) in enumerate(labels)), size)

    assert len(sample.items) == min(size, len(labels))
    assert len({item.id for item in sample.items}) == len(sample.items)
    for stratum in sample.strata:
        assert 0 <= stratum.drawn <= stratum.size


def test_a_sample_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    sample = replace(draw([candidate(n, B, text=text) for n, text in enumerate(HOSTILE)], 20), reuse=1.5)
    sample.write(tmp_path / "audit")

    assert AuditSample.read(tmp_path / "audit") == sample


def test_a_sample_that_was_written_halfway_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw([candidate(n, B) for n in range(5)], 5).write(tmp_path)
    strata = tmp_path / "sample.json"
    after = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (replace(*paths), after.append(strata.exists())))
    draw([candidate(n, B) for n in range(9)], 9).write(tmp_path)
    assert after == [False, True]  # new items lie beside no strata of before
    assert len(AuditSample.read(tmp_path).items) == 9


def test_a_damaged_sample_is_refused_with_its_line(tmp_path: Path) -> None:
    sample = draw([candidate(n, B) for n in range(5)], 5)
    sample.write(tmp_path)
    lines = (tmp_path / "sample.jsonl").read_text().splitlines()
    (tmp_path / "sample.jsonl").write_text("\n".join([*lines[:2], lines[2].replace('"weight"', '"heavy"')]))

    with pytest.raises(BadRow, match=r"sample.jsonl, row 3, field 'weight'"):
        AuditSample.read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no sample"):
        AuditSample.read(tmp_path / "empty")


@pytest.mark.parametrize("read", [AuditSample.read, earlier_audit])
def test_an_audit_that_is_not_there_is_said_so_with_what_is_expected(tmp_path: Path, read: Any) -> None:
    (tmp_path / "audits").mkdir()
    expected = (
        "An audit is the folder that `.* audit sample` wrote" if read is not earlier_audit else "Give what `.* audit"
    )
    with pytest.raises(ConfigError, match=rf"There is no .*folder .*audit\. Did you mean 'audits'\? {expected}"):
        read(tmp_path / "audit")


def test_a_file_is_no_audit(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("{}")
    with pytest.raises(ConfigError, match=r"is a file\. An audit is the folder"):
        AuditSample.read(tmp_path / "audit")


def exported(sample: AuditSample, folder: Path) -> Iterator[Path]:
    export_csv(sample, folder / "questions.csv")
    export_label_studio(sample, folder / "label-studio")
    export_argilla(sample, folder / "argilla")
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def test_people_see_neither_labels_nor_scores_nor_an_order_that_tells(tmp_path: Path) -> None:
    candidates, _ = population(2000)
    sample = draw(candidates, 200)

    for path in exported(sample, tmp_path):
        text = path.read_text(encoding="utf-8-sig")
        for word in ("stratum", "weight", "outcome", "score", "cheap", "accurate", "false_negative", "doubtful"):
            assert word not in text, path
    with (tmp_path / "questions.csv").open(encoding="utf-8-sig", newline="") as file:
        ids = [line["id"] for line in csv.DictReader(file)]
    order = [next(item for item in sample.items if item.id == each).outcome is Outcome.FALSE_NEGATIVE for each in ids]
    assert abs(np.corrcoef(range(len(order)), order)[0, 1]) < 0.2


def test_the_csv_says_what_to_write_and_answers_are_read_with_and_without_that(tmp_path: Path) -> None:
    sample = draw([candidate(n, B) for n in range(3)], 50)
    export_csv(sample, tmp_path / "questions.csv")
    header = (tmp_path / "questions.csv").read_text("utf-8-sig").splitlines()[0]
    for words in (
        "better = relevant and at least as good as the ground truth",
        "worse = ",
        "irrelevant",
        "cannot tell",
    ):
        assert words in header
    fill_csv(tmp_path / "questions.csv", ["better", "worse", "cannot tell"], "anna")
    filled = (tmp_path / "questions.csv").read_text("utf-8-sig")
    answers = read_answers(tmp_path / "questions.csv", sample)
    assert [answer.person for answer in answers] == ["anna"] * 3
    plain = filled.replace(ANSWER_COLUMN, "answer").replace(PERSON_COLUMN, "person")
    for name, text in (("plain", plain), ("semicolons", plain.replace(",", ";"))):
        (tmp_path / name).write_text(text)
        assert read_answers(tmp_path / name, sample) == answers


def fill_csv(path: Path, values: Sequence[str], person: str = "") -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for line, value in zip(lines, values, strict=True):
            writer.writerow({**line, ANSWER_COLUMN: value, PERSON_COLUMN: person})


def label_studio_export(tasks: Path, values: Sequence[str], person: object = 1) -> str:
    """The tasks as Label Studio's JSON export gives them back."""
    exported = []
    for number, (task, value) in enumerate(zip(json.loads(tasks.read_text("utf-8")), values, strict=True)):
        result = {
            "id": f"r{number}",
            "from_name": "answer",
            "to_name": "candidate",
            "type": "choices",
            "value": {"choices": [value]},
            "origin": "manual",
        }
        annotation = {
            "id": number,
            "completed_by": person,
            "result": [result],
            "was_cancelled": False,
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        }
        exported.append({"id": number, **task, "annotations": [annotation], "predictions": []})
    return json.dumps(exported)


def argilla_export(records: Path, values: Sequence[str], person: str = "a-user") -> str:
    """The records as Argilla's `to_disk` gives them back."""
    found = json.loads(records.read_text("utf-8"))
    for record, value in zip(found, values, strict=True):
        record["responses"] = {"answer": [{"value": value, "user_id": person, "status": "submitted"}]}
    return json.dumps(found)


def test_a_draft_in_argilla_is_no_answer_where_the_file_tells(tmp_path: Path) -> None:
    sample = draw([candidate(n, B) for n in range(3)], 3)
    records = []
    for number, item in enumerate(sample.items):
        said = [("anna", "worse", "submitted"), ("ben", "better", "draft"), ("eva", None, "discarded")]
        responses = [
            {"question_name": "answer", "value": value, "user_id": person, "status": status}
            for person, value, status in said
        ]
        # As `record.serialize()` gives it: the server has an id of its own.
        records.append({"id": f"server-{number}", "external_id": item.id, "responses": responses})
    (tmp_path / "serialized.json").write_text(json.dumps(records))

    found = read_answers(tmp_path / "serialized.json", sample)

    assert {(answer.person, answer.value) for answer in found} == {("anna", W)}
    assert {answer.id for answer in found} == {item.id for item in sample.items}


@drawn(8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)), min_size=3, max_size=8), data=st.data()
)
def test_answers_come_back_through_every_format_whatever_the_texts(
    texts: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("audit")
    sample = draw([candidate(n, B, text=text or " ") for n, text in enumerate(texts)], 50)
    list(exported(sample, folder))
    choice = st.sampled_from(["better", "worse", "irrelevant", "cannot tell"])
    values = data.draw(st.lists(choice, min_size=len(sample.items), max_size=len(sample.items)))
    fill_csv(folder / "questions.csv", values, "anna")
    (folder / "ls.json").write_text(label_studio_export(folder / "label-studio" / "tasks.json", values))
    (folder / "argilla.json").write_text(argilla_export(folder / "argilla" / "records.json", values))

    expected = {
        item.id: None if value == "cannot tell" else Label(value)
        for item, value in zip(sample.items, values, strict=True)
    }
    for name, person in (("questions.csv", "anna"), ("ls.json", "1"), ("argilla.json", "a-user")):
        found = read_answers(folder / name, sample)
        assert {answer.id: answer.value for answer in found} == expected
        assert {answer.person for answer in found} == {person}


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    sample = draw([candidate(n, B, text=text or " ") for n, text in enumerate(HOSTILE)], 50)
    list(exported(sample, tmp_path))

    with (tmp_path / "questions.csv").open(encoding="utf-8-sig", newline="") as file:
        csv.field_size_limit(10_000_000)
        for line in csv.DictReader(file):
            for cell in line.values():
                assert not re.match(r"[=+\-@\t\r]", cell)
    config = ET.fromstring((tmp_path / "label-studio" / "label_config.xml").read_text("utf-8"))
    assert {element.tag for element in config.iter()} == {"View", "Header", "Text", "Choices", "Choice"}
    assert all(text.get("value", "").startswith("$") for text in config.iter("Text"))
    settings_ = json.loads((tmp_path / "argilla" / ".argilla" / "settings.json").read_text())
    assert all(field["settings"]["use_markdown"] is False for field in settings_["fields"])
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            assert not set(path.read_text("utf-8-sig")) & {"\x00", "\x1b", "\u202e"}


def test_bad_answers_are_refused_with_their_place(tmp_path: Path) -> None:
    sample = draw([candidate(n, B) for n in range(3)], 3)
    first = sample.items[0].id
    for name, content, message in (
        ("a.csv", "id,answer\nffff,better\n", r"a.csv, row 1 \(line 2\), field 'id': 'ffff' is not in this sample"),
        ("b.csv", f"id,answer\n{first},maybe\n", r"field 'answer': 'maybe' is no answer"),
        ("c.csv", f"id,answer\n{first},better\n{first},worse\n", r"row 2 .*'c' answers .* in two ways"),
        (
            "h.csv",
            f'id,note,answer\n{first},"one\ntwo\r\n",better\n\n{first},"x\ny",maybe\n',
            r"row 2 \(line 6\), field 'answer'",
        ),
        ("d.csv", "name,value\n1,2\n", "lacks the column 'answer'"),
        ("e.json", "[{}]", "neither `annotations`"),
        ("f.json", "[[[", "is no JSON"),
        ("g.json", '[{"annotations": [{"result": [{"from_name": "answer"}]}], "data": {"item": "x"}}]', "Label Studio"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(RelabelError, match=message):
            read_answers(tmp_path / name, sample)


def test_spreadsheets_that_write_semicolons_are_read(tmp_path: Path) -> None:
    sample = draw([candidate(n, B) for n in range(3)], 3)
    lines = "\n".join(f"{item.id};better;ben" for item in sample.items)
    (tmp_path / "a.csv").write_text(f"id;answer;person\n{lines}\n")

    assert {answer.person for answer in read_answers(tmp_path / "a.csv", sample)} == {"ben"}


def test_the_last_of_several_annotations_by_one_person_counts(tmp_path: Path) -> None:
    sample = draw([candidate(0, B)], 1)
    export_label_studio(sample, tmp_path)
    (task,) = json.loads(label_studio_export(tmp_path / "tasks.json", ["worse"], {"email": "a@b.c"}))
    later = json.loads(json.dumps(task["annotations"][0]))
    later["result"][0]["value"]["choices"], later["updated_at"] = ["better"], "2026-02-01T00:00:00Z"
    skipped = {**later, "was_cancelled": True, "updated_at": "2026-03-01T00:00:00Z"}
    task["annotations"] = [later, skipped, task["annotations"][0]]
    (tmp_path / "out.json").write_text(json.dumps([task]))

    assert read_answers(tmp_path / "out.json", sample) == [Answer(sample.items[0].id, "a@b.c", B)]


def test_two_files_of_one_name_do_not_become_one_person(tmp_path: Path) -> None:
    sample = draw([candidate(n, B) for n in range(4)], 4)
    ids = [item.id for item in sample.items]

    def file(name: str, said: str, column: str = "id,answer") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{column}\n{said}\n")
        return path

    anna = file("anna/answers.csv", f"{ids[0]},better")
    for said in ("worse", "better"):
        with pytest.raises(ConfigError, match=r"ben.answers.csv: 'answers' answers .*anna.answers.csv.*two people"):
            read_all_answers([anna, file("ben/answers.csv", f"{ids[0]},{said}")], sample)

    named = "id,answer,person"
    one, two = file("1.csv", f"{ids[0]},better,eva", named), file("2.csv", f"{ids[1]},worse,eva", named)
    assert {(each.person, each.value) for each in read_all_answers([one, two, one], sample)} == {("eva", B), ("eva", W)}
    with pytest.raises(ConfigError, match=r"'eva' answers item .* differently"):
        read_all_answers([one, file("3.csv", f"{ids[0]},irrelevant,eva", named)], sample)


def test_a_name_is_one_person_however_it_is_spelt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sample = draw([candidate(n, B) for n in range(4)], 4)
    ids = [item.id for item in sample.items]
    one, two = tmp_path / "one.csv", tmp_path / "Two.csv"
    one.write_text(f"id,answer,person\n{ids[0]},better,Anna \n{ids[1]},worse,anna\n{ids[2]},worse,ANNA\n")
    two.write_text(f"id,answer,person\n{ids[3]},better,\uff41nna\n")

    found = read_all_answers([one, two], sample)

    assert [(each.id, each.person) for each in found] == [(item, "Anna") for item in ids]
    assert [record.getMessage() for record in caplog.records] == [
        r"Taken to be one person: 'Anna' and 'anna' and 'ANNA' and '\uff41nna'."
    ]
    two.write_text(f"id,answer,person\n{ids[0]},worse,anna\n")
    with pytest.raises(ConfigError, match=r"'Anna' answers item .* differently"):
        read_all_answers([one, two], sample)
    raw = [Answer(ids[0], "Anna ", B), Answer(ids[0], "anna", B), Answer(ids[1], "ben", B)]
    assert audit_report(sample, raw).people["people"] == ["Anna", "ben"]
