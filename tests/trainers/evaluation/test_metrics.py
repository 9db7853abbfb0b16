"""Measures: against trec_eval itself and against their definitions, written down a second time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation.metrics.loading import METRICS, load_metric, metric_path
from hf_relabel.trainers.evaluation.metrics.ranking import MAX_GRADE, mean_metrics, ranking_metrics
from tests import forked
from tests.examples import drawn

DEPTHS = (1, 2, 5, 10, 100)
ALL = (
    "ndcg",
    "map",
    "mrr",
    *(f"{kind}@{k}" for kind in ("ndcg", "map", "recall", "precision", "hit", "mrr") for k in DEPTHS),
)
TREC = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit": "success"}

# Few values and few documents, so that there are ties, also those that only single precision makes.
DOCIDS = st.sampled_from(["a", "b", "B", "ab", "10", "9", "ä", "é", "文", "😀", "x1", "x2", "x10"])
SCORES = st.sampled_from([0.0, 1.0, -1.0, 0.5, 0.1, 0.1 + 1e-12, 16777216.0, 16777217.0, 1e-50]) | st.floats(-5, 5)
GRADES = st.integers(-3, 4)
QUERIES = st.sampled_from(["q1", "q2", "q3", "q4"])
RUNS = st.dictionaries(QUERIES, st.dictionaries(DOCIDS, SCORES))
QRELS = st.dictionaries(QUERIES, st.dictionaries(DOCIDS, GRADES))


def order(scores: Mapping[str, float]) -> list[str]:
    ranked = sorted(scores, key=lambda docid: docid.encode(), reverse=True)
    return sorted(ranked, key=lambda docid: np.float32(scores[docid]), reverse=True)


def by_definition(scores: Mapping[str, float], grades: Mapping[str, int], metric: str) -> float:
    kind, _, depth = metric.partition("@")
    ranked = order(scores)
    first = ranked[: int(depth)] if depth else ranked
    relevant = [docid for docid, grade in grades.items() if grade > 0]
    hits = [rank for rank, docid in enumerate(first, start=1) if docid in relevant]
    if not relevant or not hits:
        return 0.0
    if kind == "mrr":
        return 1 / hits[0]
    if kind == "hit":
        return 1.0
    if kind == "recall":
        return len(hits) / len(relevant)
    if kind == "precision":
        return len(hits) / int(depth)
    if kind == "map":
        return sum(place / rank for place, rank in enumerate(hits, start=1)) / len(relevant)
    gains = sorted((grades[docid] for docid in relevant), reverse=True)
    ideal = gains[: int(depth)] if depth else gains
    reached = [max(grades.get(docid, 0), 0) for docid in first]
    return discounted(reached) / discounted(ideal)


def discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


@drawn(30)
@given(RUNS, QRELS)
def test_the_measures_are_what_their_definitions_say(
    run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]
) -> None:
    measured = ranking_metrics(run, qrels, ALL)
    assert list(measured) == list(qrels)
    for query_id, grades in qrels.items():
        expected = {metric: by_definition(run.get(query_id, {}), grades, metric) for metric in ALL}
        assert measured[query_id] == pytest.approx(expected, abs=1e-9)


@drawn(30)
@given(RUNS, QRELS)
def test_the_measures_are_those_of_trec_eval(
    run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]
) -> None:
    qrels = {query: {docid: max(grade, 0) for docid, grade in grades.items()} for query, grades in qrels.items()}
    measures = {f"{TREC[kind]}.{k}" for kind in TREC for k in DEPTHS} | {"ndcg", "map", "recip_rank"}
    asked = {query: scores for query, scores in run.items() if scores}  # an empty ranking is no ranking to it
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(asked)
    cut = {
        k: pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(
            {query: {docid: scores[docid] for docid in order(scores)[:k]} for query, scores in asked.items()}
        )
        for k in DEPTHS
    }
    for query_id, line in ranking_metrics(run, qrels, ALL).items():
        found = theirs.get(query_id)
        for metric, value in line.items():
            kind, _, depth = metric.partition("@")
            if found is None:
                assert value == 0
            elif kind == "mrr" and depth:
                assert value == cut[int(depth)][query_id]["recip_rank"]
            else:
                assert value == found[f"{TREC[kind]}_{depth}" if depth else {"mrr": "recip_rank"}.get(kind, kind)]


def test_a_tie_puts_the_greater_docid_first() -> None:
    run = {"q": {"a": 1.0, "b": 1.0, "c": 1.0 + 1e-9}}
    assert ranking_metrics(run, {"q": {"c": 1}}, ["mrr"])["q"]["mrr"] == 1
    assert ranking_metrics(run, {"q": {"a": 1}}, ["mrr", "mrr@2", "mrr@3"])["q"] == {
        "mrr": 1 / 3,
        "mrr@2": 0,
        "mrr@3": 1 / 3,
    }


def test_queries_without_a_ranking_count_nothing_and_unjudged_ones_are_left_out() -> None:
    run = {"found": {"a": 1.0}, "empty": {}, "unjudged": {"a": 1.0}}
    per_query = ranking_metrics(run, {"found": {"a": 1}, "empty": {"a": 1}, "absent": {"a": 1}, "none": {}}, ["map"])
    assert per_query == {"found": {"map": 1}, "empty": {"map": 0}, "absent": {"map": 0}, "none": {"map": 0}}
    assert mean_metrics(per_query) == {"map": 0.25}
    assert ranking_metrics({}, {"q": {"a": 1}}) == {"q": {"ndcg@10": 0}}
    assert mean_metrics({}) == {}


def test_numpy_numbers_and_integers_are_numbers() -> None:
    for score in (np.float32(0.5), np.float64(0.5), np.int64(1), 1):
        assert ranking_metrics({"q": {"a": score}}, {"q": {"a": np.int64(2)}})["q"]["ndcg@10"] == 1  # type: ignore[dict-item]
    for huge in (1e308, np.float32(3e38), 10**300):  # finite, and a sum of them is not
        assert ranking_metrics({"q": {"a": huge, "b": huge}}, {"q": {"a": 1}}, ["mrr"])["q"]["mrr"] == 0.5  # type: ignore[dict-item]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, "1", None, np.float32("nan"), 10**400])
def test_a_score_that_is_no_number_is_an_error(score: Any) -> None:
    with pytest.raises(ConfigError, match="A score of query 'q' is no number"):
        ranking_metrics({"q": {"a": 1.0, "b": score}}, {"q": {"a": 1}})


@pytest.mark.parametrize(
    ("grade", "said"),
    [
        (1.0, "no whole number"),
        (0.5, "no whole number"),
        ("1", "no whole number"),
        (None, "no whole number"),
        (MAX_GRADE + 1, "above 1000"),
        (2**70, "above 1000"),
    ],
)
def test_a_grade_must_be_a_small_whole_number(grade: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"A grade of query 'q' is {said}"):
        ranking_metrics({"q": {"a": 1.0}}, {"q": {"a": grade}})


def test_grades_as_low_as_can_be_are_not_relevant() -> None:
    grades = {"a": -(2**70), "b": 1}
    assert ranking_metrics({"q": {"a": 2.0, "b": 1.0}}, {"q": grades}, ["mrr"]) == {"q": {"mrr": 0.5}}


@pytest.mark.parametrize("docid", [1, "a\ud800", "a\0", None])
def test_an_id_that_is_no_text_is_an_error(docid: Any) -> None:
    for run, qrels in (({docid: 1.0}, {"a": 1}), ({"a": 1.0}, {docid: 1})):
        with pytest.raises(ConfigError, match="must be texts"):
            ranking_metrics({"q": run}, {"q": qrels})
    with pytest.raises(ConfigError, match="must be texts"):
        ranking_metrics({docid: {"a": 1.0}}, {docid: {"a": 1}})


@pytest.mark.parametrize("metric", ["ndgc@10", "ndcg@0", "ndcg@-1", "ndcg@1.5", "recall", "precision", "NDCG@10", ""])
def test_an_unknown_metric_is_an_error(metric: str) -> None:
    with pytest.raises(ConfigError, match=r"There is no metric .* There are ndcg@10"):
        ranking_metrics({"q": {"a": 1.0}}, {"q": {"a": 1}}, [metric])


# ------------------------------------------------------------------------------ modules of `evaluate`

PREDICTIONS = [
    {"docids": ["a", "b", "c"], "scores": [1.0, 1.0, 0.5]},
    {"docids": ["d", "e"], "scores": [0.1, 0.2]},
    {"docids": [], "scores": []},
]
REFERENCES = [
    {"docids": ["a", "x"], "grades": [2, 1]},
    {"docids": ["d", "e"], "grades": [1, -1]},
    {"docids": ["f"], "grades": [1]},
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def environment(cache: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    home = {"HF_HOME": str(cache / "hf"), "HOME": str(cache / "user"), "XDG_CACHE_HOME": str(cache / "xdg")}
    # Nothing answers there: whoever asks the network fails.
    return {**clean, **home, "HF_ENDPOINT": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}


STRICT = "import warnings; warnings.simplefilter('error')\n"


def python(cache: Path, code: str, *arguments: str) -> forked.Forked:
    return forked.start(STRICT + code, *arguments, env=environment(cache), modules=(*forked.HUB, "evaluate"))


def result(process: forked.Forked) -> Any:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


BY_PATH = """
import json, sys
import evaluate
from hf_relabel.trainers.evaluation.metrics.loading import METRICS, load_metric, metric_path
predictions, references = json.loads(sys.argv[1])
found = {}
for name in METRICS:
    metric = evaluate.load(str(metric_path(name)))
    found[name] = metric.compute(predictions=predictions, references=references, k=2, per_query=True)
    assert list(metric.compute(predictions=predictions, references=references, k=2)) == [f"{name}@2"]
    again = load_metric(name, keep_in_memory=True)
    for prediction, reference in zip(predictions, references):
        again.add(prediction=prediction, reference=reference)
    assert again.compute(k=2, per_query=True) == found[name]
    assert set(metric.compute(predictions=predictions, references=references)) == {f"{name}@10"}
    assert name in metric.inputs_description and metric.description
found["both"] = evaluate.combine([load_metric("ndcg"), load_metric("mrr")]).compute(
    predictions=predictions, references=references)
print(json.dumps(found))
"""


@pytest.mark.soak
def test_the_modules_give_what_trec_eval_gives_and_keep_to_their_cache(cache: Path) -> None:
    found = result(python(cache, BY_PATH, json.dumps([PREDICTIONS, REFERENCES])))
    run = {str(n): dict(zip(each["docids"], each["scores"], strict=True)) for n, each in enumerate(PREDICTIONS)}
    qrels = {
        str(n): {docid: max(0, int(grade)) for docid, grade in zip(each["docids"], each["grades"], strict=True)}
        for n, each in enumerate(REFERENCES)
    }
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.2", "map_cut.2", "recall.2", "recip_rank"})
    lines = theirs.evaluate({query: scores for query, scores in run.items() if scores})
    for name, measure in {"ndcg": "ndcg_cut_2", "map": "map_cut_2", "recall": "recall_2", "mrr": "recip_rank"}.items():
        expected = [lines[query][measure] if query in lines else 0.0 for query in run]
        assert found[name]["per_query"] == pytest.approx(expected, abs=1e-6)
        assert found[name][f"{name}@2"] == pytest.approx(sum(expected) / 3, abs=1e-6)
    assert set(found["both"]) == {"ndcg@10", "mrr@10"}
    assert [each.name for each in cache.iterdir()] == ["hf"]  # nothing in the home folder
    assert not list(cache.rglob("*.arrow"))


TOGETHER = """
import json, sys, time
from hf_relabel.trainers.evaluation.metrics.loading import load_metric
rank, predictions, references = json.loads(sys.argv[1])
options = {"num_process": 2, "process_id": rank, "experiment_id": "two"} if rank is not None else {}
metric = load_metric("map", **options)
values = []
for _ in range(1 if options else 5):
    metric.add_batch(predictions=predictions, references=references)
    if not options:
        time.sleep(0.2)  # the others write too
    values.append(metric.compute(k=2))
print(json.dumps(values))
"""


@pytest.mark.soak
def test_processes_share_a_cache(cache: Path) -> None:
    """Each on its own at the same time, and two that work together."""
    arguments = json.dumps([None, PREDICTIONS, REFERENCES])
    alone = [result(each) for each in [python(cache, TOGETHER, arguments) for _ in range(2)]]
    assert alone[0] == alone[1] == [{"map@2": pytest.approx((0.25 + 0.5) / 3)}] * 5
    halves = [json.dumps([0, PREDICTIONS[:1], REFERENCES[:1]]), json.dumps([1, PREDICTIONS[1:], REFERENCES[1:]])]
    first, second = (result(each) for each in [python(cache, TOGETHER, half) for half in halves])
    assert first == alone[0][:1]  # the first process gives the result of all
    assert second == [None]


@pytest.mark.filterwarnings("ignore")
def test_the_modules_say_what_is_wrong_and_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    metric = load_metric("recall", cache_dir=str(tmp_path / "cache"))
    good = {"docids": ["a"], "grades": [1]}
    for prediction, k, said in (
        ({"docids": ["a", "b"], "scores": [1.0]}, 10, r"^Query 0: there are 2 docids and 1 scores\.$"),
        ({"docids": ["a", "a"], "scores": [1.0, 2.0]}, 10, r"^Query 0: a document is there twice\.$"),
        ({"docids": ["a"], "scores": [math.nan]}, 10, "is no number"),
        ({"docids": ["a"], "scores": [1.0]}, None, "There is no metric 'recall'"),
    ):
        with pytest.raises(ConfigError, match=said):
            metric.compute(predictions=[prediction], references=[good], k=k)
    assert metric.compute(predictions=[prediction], references=[good], k=1) == {"recall@1": 1}


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ConfigError, match="There are: ndcg, map, recall, mrr"):
        load_metric("accuracy")
    for name in METRICS:
        assert (metric_path(name) / f"{name}.py").is_file()
