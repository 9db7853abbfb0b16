"""Ground truths that no judge stands by are reported in a config of their own, and never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder

from hf_relabel.builders.cascade.suspects import hidden, suspects_of
from hf_relabel.builders.configs.manifest import read_manifest
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.data_card import render_card
from hf_relabel.hub_tools.building.rebuild import rebuild_configs, settings_of
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from hf_relabel.hub_tools.judging.suspects import search_suspects
from hf_relabel.hub_tools.releases.opening import open_release
from tests.hub_tools.commands.test_report import ScriptedEndpoint
from tests.trainers.tiny_models import tiny_bert

ROW = NumberedRow(
    7,
    Row(
        "q",
        "what is it?",
        (Passage("p0", "", "a ground truth"), Passage("p1", "", "another one")),
        tuple(Passage(f"n{number}", "", f"candidate {number}") for number in range(4)),
        "nq",
    ),
)


def scored(*scores: float) -> dict[int, Judgement]:
    return {position: Judgement(Label.IRRELEVANT, score) for position, score in enumerate(scores)}


def test_a_ground_truth_below_several_candidates_is_suspected() -> None:
    said = scored(0.1, 0.9, 0.5, 0.6, 0.7, 0.05)

    (suspect,) = suspects_of(ROW, {"similarity m": ("similarity", said)})

    assert (suspect.row, suspect.docid, suspect.reason) == (7, "p0", "ranked-below")
    (opinion,) = suspect.opinions
    assert (opinion.above, opinion.compared, opinion.score) == (3, 4, 0.1)


def test_one_judge_that_stands_by_it_is_enough_to_clear_it() -> None:
    against, in_favour = scored(0.1, 0.9, 0.5, 0.6, 0.7, 0.8), scored(0.9, 0.9, 0.5, 0.6, 0.7, 0.8)

    assert suspects_of(ROW, {"a": ("similarity", against)})
    assert not suspects_of(ROW, {"a": ("similarity", against), "b": ("similarity", in_favour)})


def test_no_answer_is_no_opinion() -> None:
    failed = {position: Judgement(Label.FAILED) for position in range(6)}

    assert not suspects_of(ROW, {"a": ("listwise", failed)})
    assert len(suspects_of(ROW, {"a": ("listwise", failed), "b": ("span", scored(*[0.5] * 6))})) == 2


def test_a_judge_that_reads_for_an_answer_and_finds_none_suspects() -> None:
    said = {position: Judgement(Label.WORSE if position == 1 else Label.IRRELEVANT) for position in range(6)}

    (suspect,) = suspects_of(ROW, {"llm": ("span", said)})

    assert (suspect.docid, suspect.reason) == ("p0", "unanswering")
    assert not suspects_of(ROW, {"scores only": ("similarity", said)})


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_a_suspect_has_as_many_above_it_as_was_asked(scores: list[float]) -> None:
    for suspect in suspects_of(ROW, {"m": ("similarity", scored(*scores))}, several=2):
        assert sum(score > scores[suspect.position] for score in scores[2:]) >= 2


def test_judges_see_the_ground_truths_among_the_candidates() -> None:
    row = hidden(ROW.row)

    assert row.positive_passages == ()
    assert [passage.docid for passage in row.negative_passages] == ["p0", "p1", "n0", "n1", "n2", "n3"]


def write_rows(path: Path) -> Source:
    """Ten rows; the ground truth of every fifth answers nothing."""
    lines = []
    for number in range(10):
        truth = "nothing of the kind" if number % 5 == 0 else f"relevant truth {number}"
        row = {
            "query_id": f"q{number}",
            "query": f"query {number}",
            "positive_passages": [{"docid": f"p{number}", "title": "", "text": truth}],
            "negative_passages": [
                {"docid": f"n{number}-{place}", "title": "", "text": f"relevant or not {number} {place}"}
                for place in range(3)
            ],
            "subset": "",
        }
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines), encoding="utf-8")
    return open_source(path)


def says(place: int, text: str) -> Label:
    return Label.IRRELEVANT if text.startswith("nothing") else Label.BETTER


def test_suspects_become_a_config_and_a_rebuilt_release_has_them_too(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl")
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [Stage("llm", ListwiseJudge(), endpoints=(ScriptedEndpoint(says),))], journal)
        search_suspects(source, [Stage("llm", ListwiseJudge(), endpoints=(ScriptedEndpoint(says),))], journal)
        build_configs(source, journal, BuildSettings(out=str(tmp_path / "built")))

    found = datasets.load_dataset(str(tmp_path / "built"), "suspects", split="train", cache_dir=str(tmp_path / "cache"))
    assert found["docid"] == ["p0", "p5"]
    assert found[0]["opinions"][0]["label"] == "irrelevant"
    original = datasets.load_dataset(
        str(tmp_path / "built"), "relabel", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert "p0" in {passage["docid"] for passage in original[0]["positive_passages"]}

    release = open_release(str(tmp_path / "built"))
    rebuild_configs(release, settings_of(release, str(tmp_path / "again")))
    name = "suspects/train-00000-of-00001.parquet"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "built" / name).read_bytes()


def test_without_a_search_there_is_no_such_config(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl")
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [Stage("llm", ListwiseJudge(), endpoints=(ScriptedEndpoint(says),))], journal)
        build_configs(source, journal, BuildSettings(out=str(tmp_path / "built")))

    assert not (tmp_path / "built" / "suspects").exists()


def test_the_command_lists_suspects(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.jsonl")
    truth = [json.dumps({"query_id": f"q{n}", "false_negatives": [f"n{n}-0", f"n{n}-1"]}) for n in range(10)]
    (tmp_path / "truth.jsonl").write_text("\n".join(truth), encoding="utf-8")
    job: Mapping[str, object] = {
        "source": {"location": str(tmp_path / "rows.jsonl")},
        "stages": [{"judge": {"kind": "truth", "file": str(tmp_path / "truth.jsonl")}}],
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    arguments = ["suspects", "rows.jsonl", "--stages", "job.yaml", "--several", "2"]
    assert run(arguments) == 0
    text = capfd.readouterr().out
    assert run([*arguments, "--json"]) == 0
    suspects = json.loads(capfd.readouterr().out)

    assert "10 suspected ground truths. None was changed." in text
    assert [suspect["docid"] for suspect in suspects] == [f"p{number}" for number in range(10)]


def test_a_job_file_searches_for_suspects_and_its_card_tells_of_them_and_of_cut_texts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a real reranker, which reads no more than 15 characters of a text."""
    write_rows(tmp_path / "rows.jsonl")
    CrossEncoder(tiny_bert(tmp_path / "bert"), num_labels=1).save(str(tmp_path / "reranker"))
    reranker = {"kind": "cross-encoder", "model": str(tmp_path / "reranker"), "max_chars": 15}
    truth = {"kind": "truth", "file": str(tmp_path / "truth.jsonl")}
    found = [json.dumps({"query_id": f"q{n}", "false_negatives": [f"n{n}-0", f"n{n}-1"]}) for n in range(10)]
    (tmp_path / "truth.jsonl").write_text("\n".join(found), encoding="utf-8")
    job = {
        "source": {"location": str(tmp_path / "rows.jsonl")},
        "journal": str(tmp_path / "journal.sqlite"),
        "stages": [{"name": "reranker", "judge": reranker}],
        "suspects": {"several": 2, "stages": [{"judge": truth}]},
        "build": {"out": str(tmp_path / "built")},
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job), encoding="utf-8")

    assert run(["run", str(tmp_path / "job.yaml"), "--json"]) == 0
    done = json.loads(capfd.readouterr().out)
    assert run(["run", str(tmp_path / "job.yaml")]) == 0
    assert "10 suspected ground truths. None was changed." in capfd.readouterr().out

    assert [suspect["docid"] for suspect in done["suspects"]] == [f"p{number}" for number in range(10)]
    manifest = read_manifest(tmp_path / "built")
    assert manifest["settings"]["suspects"] is True
    assert manifest["verdicts"]["total"]["cut"] == {"reranker": 30}
    card = render_card(CardFacts("user/rows", None, manifest), None)
    assert "suspects" in card
    assert "30" in next(line for line in card.splitlines() if "part of" in line and "reranker" in line)
