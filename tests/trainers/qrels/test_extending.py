"""From runs over a pool and verdicts to a test set with more judgements."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_relabel.builders.audit.draw import draw_audit
from hf_relabel.builders.audit.figures import Estimate
from hf_relabel.builders.cascade.calibration import Bin, Calibration, Zones
from hf_relabel.builders.errors import BuildError, ConfigError, NotJudged
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.qrels.extending import extend, pool_documents
from hf_relabel.trainers.qrels.report import QrelsReport
from hf_relabel.trainers.qrels.systems_measured import kendall_tau
from tests.trainers.qrels.tiny_set import GRADES, MORE, tiny_set, truth_file, write_grades


def extended(folder: Path, **how: Any) -> QrelsReport:
    if not (folder / "tiny").exists():
        tiny_set(folder)
    runs = [str(folder / f"{name}.trec") for name in ("first", "second")]
    work = pool_documents(folder / "tiny", runs, folder / "out")
    judge(work.source(), TruthJudge(str(truth_file(folder))), folder / "journal.sqlite", progress=None)
    with Journal(folder / "journal.sqlite", write=False) as journal:
        return extend(work, journal, **how)


def shown(report: QrelsReport) -> str:
    return " ".join(report.to_text().split())


def lines(folder: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    loaded = datasets.load_dataset(str(folder / "out"), config, split="test", cache_dir=str(folder / "cache"))
    return [dict(line) for line in loaded]


def test_what_is_judged_relevant_joins_the_judgements_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = extended(tmp_path)
    assert (tmp_path / "out" / "qrels" / "test.tsv").read_text().splitlines() == [
        "query-id\tcorpus-id\tscore", "q1\ta\t2", "q1\ta2\t1", "q2\tb\t1", "q2\tx\t0", "q2\tb2\t1", "q3\tc\t1",
        "q3\tc-copy\t1", "q4\td\t0",
    ]  # fmt: skip
    assert (report.found.judged, report.found.copies, report.found.queries) == (2, 1, 3)
    assert read_beir(tmp_path / "out").qrels["q1"] == {"a": 2, "a2": 1}
    found = {(line["query-id"], line["corpus-id"]): line for line in lines(tmp_path, "qrels", monkeypatch)}
    assert len(found) == 8
    assert found["q2", "b2"] == {
        "query-id": "q2", "corpus-id": "b2", "score": 1, "judge": found["q2", "b2"]["judge"],
        "outcome": "false_negative", "label": "better", "judge_score": 1.0, "probability": None,
        "runs": ["first"], "ranks": [1],
    }  # fmt: skip
    assert found["q2", "b2"]["judge"].startswith("truth truth.jsonl@")
    assert (found["q1", "a"]["judge"], found["q1", "a"]["score"]) == ("human", 2)
    assert (found["q3", "c-copy"]["judge"], found["q3", "c-copy"]["label"]) == ("same-text", None)
    judged = lines(tmp_path, "judged", monkeypatch)
    assert {line["score"] for line in judged if line["outcome"] == "negative"} == {None}
    assert datasets.get_dataset_config_names(str(tmp_path / "out")) == ["qrels", "judged"], "all of them load"
    assert sum(line["score"] == 1 for line in judged) == 3


def test_the_report_says_how_the_systems_change(tmp_path: Path) -> None:
    report = extended(tmp_path)
    by_name = {system.name: system for system in report.systems}
    assert [system.name for system in report.systems] == ["first", "second"]
    assert (by_name["first"].place_before, by_name["first"].place_after) == (2, 1)
    assert report.tau == -1
    first = by_name["first"]
    assert first.judged_before == pytest.approx((1 / 3 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert first.judged_after == pytest.approx((1 + 1 + 1 + 1 / 2) / 4), "q4 has nothing to compare with"
    assert first.change.mean == pytest.approx(first.after.mean - first.before.mean)
    assert first.before.interval is not None
    assert first.before.interval[0] < first.before.mean < first.before.interval[1]
    assert "1 query has no relevant document" in shown(report)
    assert "1 query is judged in no split (q5)" in shown(report)
    assert "second has no ranking for 1 of the judged queries" in shown(report)
    assert json.loads(json.dumps(report.to_dict()))["tau"] == -1


def test_the_corpus_and_other_splits_are_there_and_the_source_stays(tmp_path: Path) -> None:
    folder = tiny_set(tmp_path)
    write_grades(folder / "qrels" / "dev.tsv", {"q5": {"x": 1}})
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    extended(tmp_path)
    for path, content in before.items():
        assert path.read_bytes() == content
        if path.name != "test.tsv":
            assert (tmp_path / "out" / path.relative_to(folder)).read_bytes() == content


def test_the_same_again_gives_the_same_bytes_and_keeps_what_the_user_wrote(tmp_path: Path) -> None:
    extended(tmp_path)
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    extended(tmp_path)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    readme = out / "README.md"
    readme.write_text(readme.read_text().replace("---\n", "---\nlicense: cc-by-4.0\n", 1) + "\nMine.\n")
    extended(tmp_path, grade=2)
    assert "license: cc-by-4.0" in readme.read_text()
    assert readme.read_text().endswith("Mine.\n")
    assert "q1\ta2\t2" in (out / "qrels" / "test.tsv").read_text()


def test_truth_says_how_many_are_right(tmp_path: Path) -> None:
    truth = tmp_path / "all.tsv"
    write_grades(truth, {**MORE, "q2": {"b": 1}})
    found = extended(tmp_path, truth=truth).found
    assert found.precision is not None
    assert found.recall is not None
    assert (found.precision.value, found.recall.value, found.measured_by) == (0.5, 1.0, "all.tsv")


def test_where_all_were_looked_up_there_is_no_interval(tmp_path: Path) -> None:
    report = extended(tmp_path)
    one, two = Estimate(0.441, 0.1 + 0.2, 0.3), Estimate(0.3, 0.2, 0.4)
    told = replace(report, found=replace(report.found, precision=two, recall=one, measured_by="all.tsv")).found_line()
    assert told.endswith("Precision 0.300 [0.200, 0.400] by all.tsv, recall in the pool 0.441.")


def test_an_audit_of_the_pool_is_told_and_one_of_other_judges_refused(tmp_path: Path) -> None:
    from hf_relabel.builders.audit.answers import answers_from_truth
    from hf_relabel.builders.audit.report import audit_report

    extended(tmp_path)
    with Journal(tmp_path / "journal.sqlite", write=False) as journal:
        sample = draw_audit(open_source(tmp_path / "out" / "pool.jsonl"), journal, size=20)
    known = {query_id: frozenset(grades) for query_id, grades in MORE.items()}
    report = audit_report(sample, answers_from_truth(known, sample)).to_dict()
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({**report, "stages": list(sample.stages or ())}))
    found = extended(tmp_path, audit=path).found
    assert found.precision is not None
    assert (found.precision.value, found.measured_by) == (1.0, "the audit in audit.json")
    other = json.loads(path.read_text())
    other["stages"][0]["judge"]["model"] = "another"
    path.write_text(json.dumps(other))
    with pytest.raises(ConfigError, match="is of the verdicts of truth another"):
        extended(tmp_path, audit=path)
    path.write_text(json.dumps({**report, "stages": None, "calibrated": True}))
    with pytest.raises(ConfigError, match="by the thresholds of a calibration"):
        extended(tmp_path, audit=path)


class Scored:
    """A judge whose scores are given by docid; it calls all better."""

    kind, name, revision, exempt_subsets, batch_rows = "scored", "scored", None, (), 8

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores

    def settings(self) -> dict[str, Any]:
        return {}

    def model(self) -> tuple[str, None]:
        return "scored", None

    def judge(self, batch: Any) -> list[dict[int, Judgement]]:
        return [
            {place: Judgement(Label.BETTER, self.scores[row.negative_passages[place].docid]) for place in places}
            for row, places in batch
        ]


def thresholds(sure: float | None) -> Calibration:
    zones = Zones(sure=sure, unsure=0.2, wanted=0.9, confidence=0.9, precision=None, recall=None, kept=1)
    bins = (Bin(score=0.5, probability=0.5, observed=0.5, low=0, high=1, labels=40),)
    fitted: dict[str, Any] = {"method": "isotonic", "points": ((0.0, 0.0), (1.0, 0.5)), "labels": 40, "relevant": 20}
    return Calibration(zones=zones, bins=bins, brier=0, brier_before=0, **fitted)


def test_by_a_calibration_only_what_is_sure_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_set(tmp_path)
    work = pool_documents(folder, [str(tmp_path / "first.trec")], tmp_path / "out")
    scores = {"x": 0.9, "a2": 0.8, "b2": 0.7, "y": 0.1}
    journal = tmp_path / "journal.sqlite"
    judge(work.source(), Scored(scores), journal, progress=None)
    with Journal(journal, write=False) as kept:
        by_label = extend(work, kept)
        report = extend(work, kept, calibration=thresholds(0.75))
        assert "little for a test set" not in caplog.text
        low = thresholds(0.75)
        extend(work, kept, calibration=low.model_copy(update={"zones": low.zones.model_copy(update={"wanted": 1 / 3})}))
        assert "a precision of 0.333 only: enough to train on, little for a test set" in caplog.text
        assert extend(work, kept, calibration=thresholds(None)).found.total == 1, "the copy, which needs no judge"
        extend(work, kept, calibration=thresholds(0.75))
    assert (by_label.found.judged, report.found.judged) == (5, 3)
    assert "by the thresholds of the calibration" in shown(report)
    found = {(line["query-id"], line["corpus-id"]): line for line in lines(tmp_path, "qrels", monkeypatch)}
    assert found["q1", "a2"]["probability"] == pytest.approx(0.4)
    assert ("q2", "b2") not in found


def test_too_little_judged_writes_nothing(tmp_path: Path) -> None:
    folder = tiny_set(tmp_path)
    work = pool_documents(folder, [str(tmp_path / "first.trec")], tmp_path / "out")
    truth = tmp_path / "part.jsonl"
    truth.write_text('{"query_id": "q1", "false_negatives": ["a2"]}\n')
    judge(work.source(), TruthJudge(str(truth)), tmp_path / "journal.sqlite", progress=None)
    with Journal(tmp_path / "journal.sqlite", write=False) as journal:
        with pytest.raises(NotJudged, match="95% must be"):
            extend(work, journal)
        assert not (tmp_path / "out" / "qrels").exists()
        report = extend(work, journal, min_judged=0)
    assert "got no verdict and stay unjudged" in shown(report)


def test_dangling_judgements_stay_or_are_left_out(tmp_path: Path) -> None:
    tiny_set(tmp_path, {**GRADES, "q1": {"a": 2, "gone": 1}, "nobody": {"a": 1}})
    report = extended(tmp_path)
    tsv = tmp_path / "out" / "qrels" / "test.tsv"
    assert "nobody\ta\t1" in tsv.read_text()
    assert "1 judged query is not in queries.jsonl (nobody)." in shown(report)
    assert "1 judgement names no document of the corpus (q1 gone)." in shown(report)
    report = extended(tmp_path, drop_dangling=True)
    assert report.dropped == 2
    assert not {"nobody", "gone"} & set(tsv.read_text().split())
    assert read_beir(tmp_path / "out").qrels["q1"] == {"a": 2, "a2": 1}
    assert report.systems[0].after.mean > extended(tmp_path).systems[0].after.mean


def test_a_model_by_name_is_a_system_and_told_of_where_it_judges_too(tmp_path: Path) -> None:
    from tests.trainers.training_rows import static_model

    folder, name = tiny_set(tmp_path), str(tmp_path / "model")
    static_model().save(name)
    work = pool_documents(folder, ["bm25", name], tmp_path / "out", depth=2)
    assert {run for found in work.pool.values() for each in found for run, _ in each.found} >= {name}
    stage = SimilarityJudge(name, better=0.5, worse=0.1)
    judge(work.source(), stage, tmp_path / "journal.sqlite", progress=None)
    with Journal(tmp_path / "journal.sqlite", write=False) as journal:
        report = extend(work, journal)
    assert [note for note in report.notes if "is a judge and a system" in note] == [report.notes[0]]
    assert report.notes[0].startswith(name)


def test_nothing_to_judge_is_no_error(tmp_path: Path) -> None:
    folder = tiny_set(tmp_path, {"q3": {"c": 1, "x": 0, "c-copy": 1}})
    work = pool_documents(folder, [str(tmp_path / "first.trec")], tmp_path / "out")
    assert work.rows == 0
    report = extend(work, None)
    assert (report.found.total, report.tau, report.pooled) == (0, None, 0)
    assert (tmp_path / "out" / "README.md").exists()


def test_folders_of_others_runs_of_others_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = tiny_set(tmp_path)
    first = str(tmp_path / "first.trec")
    with pytest.raises(ConfigError, match="the BEIR folder itself"):
        pool_documents(folder, [first], folder)
    with pytest.raises(BuildError, match=r"it has no pool\.jsonl"):
        pool_documents(folder, [first], tmp_path)
    with pytest.raises(ConfigError, match="Two runs are called 'first'"):
        pool_documents(folder, [first, first], tmp_path / "out")
    with pytest.raises(ConfigError, match=r"There is no run '.*frst\.trec'\. Did you mean 'first\.trec'"):
        pool_documents(folder, [str(tmp_path / "frst.trec")], tmp_path / "out")
    (tmp_path / "foreign.trec").write_text("other Q0 a 1 1 s\n")
    with pytest.raises(ConfigError, match="none of its 1 queries is judged in tiny"):
        pool_documents(folder, [str(tmp_path / "foreign.trec")], tmp_path / "out")


def test_what_was_added_to_another_split_stays(tmp_path: Path) -> None:
    extended(tmp_path)
    added = (tmp_path / "out" / "qrels" / "test.tsv").read_bytes()
    write_grades(tmp_path / "tiny" / "qrels" / "dev.tsv", {"q5": {"a": 1}, "q1": {"a": 1}})
    first = [str(tmp_path / "first.trec")]
    with pytest.raises(ConfigError, match=r"test\.tsv holds other judgements than .*tiny"):
        pool_documents(tmp_path / "tiny", first, tmp_path / "out", split="dev")
    assert (tmp_path / "out" / "qrels" / "test.tsv").read_bytes() == added
    extended(tmp_path)  # the same split again, with dev beside it
    (tmp_path / "tiny" / "qrels" / "dev.tsv").unlink()
    with pytest.raises(ConfigError, match=r"dev\.tsv holds other judgements"):
        pool_documents(tmp_path / "tiny", first, tmp_path / "out")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    folder, first = tiny_set(tmp_path), [str(tmp_path / "first.trec")]
    with pytest.raises(BuildError, match=r"first\.trec/out cannot be written"):
        pool_documents(folder, first, tmp_path / "first.trec" / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pool.jsonl").write_text("")
    (tmp_path / "out" / "qrels").write_text("a file")
    with pytest.raises(BuildError, match=r"out cannot be written"):
        extended(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "tau"),
    [([1, 2, 3], [4, 5, 6], 1), ([1, 2, 3], [6, 5, 4], -1), ([1, 2], [1, 1], None), ([1], [2], None)],
)
def test_tau_is_of_orders(one: list[float], other: list[float], tau: float | None) -> None:
    assert kendall_tau(one, other) == (tau if tau is None else pytest.approx(tau))
