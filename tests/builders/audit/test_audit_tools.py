"""Our files for people, read by the tools' own packages. Runs where these are installed:

pip install label-studio-sdk argilla requests
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_relabel.builders.audit.answers import read_answers
from hf_relabel.builders.audit.exports import export_argilla, export_label_studio
from hf_relabel.builders.audit.sample import AuditSample
from hf_relabel.builders.judgements import Label
from tests.builders.audit.test_audit import HOSTILE, B, candidate, draw

CHOICES = ["better", "worse", "irrelevant", "cannot tell"]

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours


@pytest.fixture
def sample() -> AuditSample:
    return draw([candidate(number, B, text=text or " ") for number, text in enumerate(HOSTILE)], 50)


def expected(sample: AuditSample, values: dict[str, str]) -> dict[str, Label | None]:
    return {item.id: None if values[item.id] == "cannot tell" else Label(values[item.id]) for item in sample.items}


def test_label_studio_takes_the_setup_the_tasks_and_the_answers(sample: AuditSample, tmp_path: Path) -> None:
    sdk = pytest.importorskip("label_studio_sdk.label_interface")
    export_label_studio(sample, tmp_path)
    interface = sdk.LabelInterface((tmp_path / "label_config.xml").read_text("utf-8"))
    interface.validate()
    tasks = json.loads((tmp_path / "tasks.json").read_text("utf-8"))
    assert all(interface.validate_task(task) for task in tasks)
    assert [type(tag).__name__ for tag in interface.objects] == ["TextTag"] * 3
    assert list(interface.get_control("answer").labels) == CHOICES

    exported, values = [], {}
    for number, task in enumerate(tasks):
        values[task["data"]["item"]] = CHOICES[number % 4]
        region = {"from_name": "answer", "to_name": "candidate", "type": "choices"}
        annotation: dict[str, Any] = {"result": [{**region, "value": {"choices": [CHOICES[number % 4]]}}]}
        assert interface.validate_annotation(annotation)
        annotation |= {"completed_by": 1, "was_cancelled": False}
        exported.append({"id": number, **task, "annotations": [annotation]})
    (tmp_path / "export.json").write_text(json.dumps(exported))

    found = read_answers(tmp_path / "export.json", sample)

    assert {answer.id: answer.value for answer in found} == expected(sample, values)


def test_argilla_reads_the_records_and_its_own_exports_are_read_back(sample: AuditSample, tmp_path: Path) -> None:
    rg = pytest.importorskip("argilla")
    from argilla._models import DatasetModel, QuestionModel, RecordModel, UserResponseModel
    from argilla.records._io import JsonIO

    export_argilla(sample, tmp_path)
    setup = json.loads((tmp_path / ".argilla" / "settings.json").read_text())
    assert DatasetModel(**json.loads((tmp_path / ".argilla" / "dataset.json").read_text())).name == "hf-relabel-audit"
    (question,) = (QuestionModel(**given) for given in setup["questions"])
    assert [option["value"] for option in question.settings.options] == CHOICES
    texts = {item["id"]: item["fields"] for item in json.loads((tmp_path / "records.json").read_text("utf-8"))}
    records = JsonIO._records_from_json(tmp_path / "records.json")
    assert {record.id: record.fields.to_dict() for record in records} == texts

    # A data set wants a server to be made; this is all that a record asks it for.
    schema = dict.fromkeys(("query", "ground_truth", "candidate"), SimpleNamespace(type="text"))
    as_from_a_server: Any = SimpleNamespace(settings=SimpleNamespace(questions={"answer": None}, schema=schema))
    anna, ben, values, answered = uuid.uuid4(), uuid.uuid4(), {}, []
    for number, record in enumerate(records):
        values[record.id] = CHOICES[number % 4]
        responses = [
            UserResponseModel(user_id=anna, values={"answer": {"value": CHOICES[number % 4]}}, status="submitted"),
            UserResponseModel(user_id=ben, values={"answer": {"value": "better"}}, status="draft"),
        ]
        model = RecordModel(id=uuid.uuid4(), external_id=record.id, fields=texts[record.id], responses=responses)
        answered.append(rg.Record.from_model(model, dataset=as_from_a_server))
    JsonIO.to_json(answered, tmp_path / "to_json.json")
    serialized = [record.serialize() for record in answered]
    (tmp_path / "serialized.json").write_text(json.dumps(serialized, default=str))

    told = read_answers(tmp_path / "serialized.json", sample)
    untold = read_answers(tmp_path / "to_json.json", sample)

    assert {answer.id: answer.value for answer in told} == expected(sample, values)
    assert {answer.person for answer in told} == {str(anna)}
    assert {answer.person for answer in untold} == {str(anna), str(ben)}, "the file does not tell drafts from answers"
    assert {answer.id: answer.value for answer in untold if answer.person == str(anna)} == expected(sample, values)
