"""Searching in blocks, BEIR folders and TREC runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder

from hf_relabel.builders.errors import BadRow, BuildError, ConfigError, SourceError
from hf_relabel.cards.set_groups import GROUPS
from hf_relabel.cards.training_report import EvaluationSet, Measured
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.evaluator import Evaluation, RetrievalEvaluator, evaluate_model, evaluate_run
from hf_relabel.trainers.evaluation.leaks import shared_queries, without_queries
from hf_relabel.trainers.evaluation.opening import open_sets
from hf_relabel.trainers.evaluation.runs import read_run, write_run
from hf_relabel.trainers.evaluation.search import bm25, rerank, search
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.evaluation.summary import summary
from tests.trainers.runs import beir_folder
from tests.trainers.tiny_models import tiny_bert
from tests.trainers.training_rows import static_model

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=8)
SCORES = st.floats(allow_nan=False, allow_infinity=False)


class StubModel:
    """A bi-encoder whose texts all have the same vector."""

    def encode_query(self, texts: list[str], **_: Any) -> torch.Tensor:
        return torch.ones(len(texts), 2)

    encode_document = encode_query


@pytest.fixture
def data(tmp_path: Path) -> RetrievalSet:
    return read_beir(beir_folder(tmp_path))


@pytest.mark.parametrize("block", [1, 7, 144, 10_000])
def test_a_search_in_blocks_finds_what_one_over_all_finds(data: RetrievalSet, block: int) -> None:
    model = static_model()
    whole = {document.docid: document.text for document in data.corpus()}
    scores = model.similarity(model.encode(list(data.queries.values())), model.encode(list(whole.values())))
    found = search(model, data, top_k=10, block=block)
    for line, query_id in zip(scores.tolist(), data.queries, strict=True):
        best = sorted(line, reverse=True)[:10]
        assert list(found[query_id].values()) == pytest.approx(best, abs=1e-6)
        by_docid = dict(zip(whole, line, strict=True))
        assert list(found[query_id].values()) == pytest.approx([by_docid[docid] for docid in found[query_id]], abs=1e-6)


@pytest.mark.parametrize(
    ("trained_on", "is_same"),
    [
        ("  ask QUERY\t0 aaa ", True),
        ("Ask: query 0 - aaa?", True),
        ("ａｓｋ query ０ aaa", True),  # letters of full width
        ("ask query 0", False),
        ("query 0 ask aaa", False),
    ],
)
def test_a_query_that_is_trained_on_in_another_form_is_found(
    data: RetrievalSet, trained_on: str, is_same: bool
) -> None:
    assert data.queries["q0"] == "ask query 0 aaa"
    found = shared_queries(iter(["something else", trained_on]), [data])
    assert found == ({data.about.name: {"q0"}} if is_same else {})


def test_queries_of_signs_alone_are_told_apart(data: RetrievalSet) -> None:
    signs = replace(data, queries={"q0": "++", "q1": "?"})
    assert shared_queries(["?", "!"], [signs]) == {data.about.name: {"q1"}}
    assert shared_queries(["?"], []) == {}


def test_a_set_without_some_of_its_queries(data: RetrievalSet) -> None:
    rest = without_queries(data, {"q0", "q3"})
    assert (rest.about.queries, len(rest.queries), set(rest.qrels)) == (22, 22, set(data.qrels) - {"q0", "q3"})
    assert without_queries(data, ()) is data


def test_progress_is_told_and_a_small_corpus_is_found_whole(data: RetrievalSet) -> None:
    steps: list[int] = []
    found = search(static_model(), data, top_k=1_000, block=100, progress=steps.append)
    assert steps == [100, 144]
    assert {len(scores) for scores in found.values()} == {144}


def test_a_document_that_is_the_query_is_left_out(data: RetrievalSet) -> None:
    one = next(iter(data.queries))
    docid = next(iter(data.qrels[one]))
    without = replace(data, excluded={one: frozenset([docid])})
    assert docid in search(static_model(), data, top_k=200)[one]
    assert docid not in search(static_model(), without, top_k=200)[one]
    assert len(search(static_model(), without, top_k=5)[one]) == 5


def test_an_empty_corpus_and_a_foreign_first_stage_are_refused(tmp_path: Path, data: RetrievalSet) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        search(static_model(), replace(data, corpus=lambda: iter(())))
    reranker = CrossEncoder(tiny_bert(tmp_path / "base"), num_labels=1, device="cpu")
    with pytest.raises(ConfigError, match="not in the corpus"):
        rerank(reranker, data, {next(iter(data.queries)): {"nowhere": 1.0}})


@pytest.mark.parametrize(
    ("value", "refused"), [(math.nan, True), (math.inf, True), (-math.inf, True), (3e38, False), (-3e38, False)]
)
def test_scores_that_are_no_numbers_are_refused_and_huge_ones_are_not(
    data: RetrievalSet, value: float, refused: bool
) -> None:
    class Broken(StubModel):
        def similarity(self, queries: Any, documents: Any) -> torch.Tensor:
            scores = torch.zeros(len(queries), len(documents))
            scores[:, :2] = value  # whose sum is no number where they are huge
            return scores

    if refused:
        with pytest.raises(ConfigError, match="no numbers"):
            search(Broken(), data, top_k=5)
    else:
        assert len(search(Broken(), data, top_k=5)) == len(data.queries)


def test_a_reranker_orders_the_first_documents_of_a_first_stage(tmp_path: Path, data: RetrievalSet) -> None:
    reranker = CrossEncoder(tiny_bert(tmp_path / "base"), num_labels=1, device="cpu")
    first = bm25(data, top_k=20)
    found = rerank(reranker, data, first, depth=5)
    for query_id, scores in found.items():
        best = sorted(first[query_id], key=lambda docid: (-first[query_id][docid], docid))
        assert len(scores) == 5
        assert min(first[query_id][docid] for docid in scores) >= first[query_id][best[5]]
    evaluated = evaluate_model(reranker, data, first_stage=first, top_k=100)
    assert set(evaluated.per_query) == set(data.qrels)


def test_a_perfect_ranking_scores_one(data: RetrievalSet) -> None:
    run = {query_id: dict.fromkeys(grades, 1.0) for query_id, grades in data.qrels.items()}
    assert set(evaluate_run(run, data).measured.metrics.values()) == {1.0}


def test_an_evaluator_means_over_its_sets(data: RetrievalSet) -> None:
    other = replace(data, about=data.about.model_copy(update={"name": "other"}))
    evaluator = RetrievalEvaluator([data, other], metrics=["recall@5"])
    values = evaluator(static_model())
    assert values["recall@5"] == values["other_recall@5"] == values[f"{data.about.name}_recall@5"]
    forums = [replace(data, about=data.about.model_copy(update={"name": name})) for name in GROUPS["cqadupstack"][:2]]
    nothing = replace(other, qrels={key: dict.fromkeys(grades, 0) for key, grades in data.qrels.items()})
    whole = RetrievalEvaluator([*forums, nothing], metrics=["recall@5"])(static_model())["recall@5"]
    assert whole == pytest.approx(values["recall@5"] / 2)  # the forums are one of two sets
    with pytest.raises(ConfigError, match="are called"):
        RetrievalEvaluator([data, data])
    with pytest.raises(ConfigError, match="needs a ranking of 10"):
        RetrievalEvaluator([data], top_k=5)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, SCORES, min_size=1, max_size=5), max_size=4))
def test_a_run_comes_back_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, dict[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    write_run(run, path)
    assert read_run(path) == run


@pytest.mark.parametrize("line", ["q Q0 d 1", "q Q0 d 1 nan x", "q Q0 d 1 high x", "q Q0 d 1 1.0 x\nq Q0 d 2 2.0 x"])
def test_a_bad_line_of_a_run_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "run.trec").write_text(line)
    with pytest.raises(BadRow, match=r"run.trec, row [12]"):
        read_run(tmp_path / "run.trec")


def test_what_a_run_cannot_hold_and_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must have no blanks"):
        write_run({"a query": {"d": 1.0}}, tmp_path / "run.trec")
    with pytest.raises(BuildError, match="cannot be written"):
        write_run({"q": {"d": 1.0}}, tmp_path / "missing" / "run.trec")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\td-x\t0", "no judgement above 0"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\td-x\t1\nq0\td", "row 3"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\td-x\t1.5", "whole numbers"),
        ("queries.jsonl", '{"_id": "other", "text": "t"}', "judged queries, such as 'q0', are not in queries.jsonl"),
        ("queries.jsonl", '{"_id": "q0", "text": " "}', "no text"),
    ],
)
def test_a_broken_beir_folder_is_told(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = beir_folder(tmp_path)
    (folder / file).write_text(text)
    with pytest.raises((BadRow, SourceError, ConfigError), match=message):
        read_beir(folder)


def test_a_set_is_called_as_its_folder_is_named_wherever_a_link_leads(tmp_path: Path) -> None:
    real = tmp_path / "kept" / "beir"
    real.parent.mkdir()
    beir_folder(tmp_path).rename(real)
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir" / "mine").symlink_to(real)
    assert [data.about.name for data in open_sets([str(tmp_path / "beir" / "mine"), str(real)])] == ["mine", "kept"]


def test_sets_are_opened_by_name(tmp_path: Path) -> None:
    folder = beir_folder(tmp_path)
    (folder / "qrels" / "dev.tsv").write_text((folder / "qrels" / "test.tsv").read_text())
    assert [data.about.split for data in open_sets([str(folder), f"{folder}:dev"])] == ["test", "dev"]
    with pytest.raises(ConfigError, match="no evaluation set 'nowhere'"):
        open_sets(["nowhere"])


def test_the_lines_of_an_evaluation_are_its_sets_and_the_groups_that_are_whole() -> None:
    def on(name: str, *values: float) -> Evaluation:
        per_query = {f"q{number}": {"ndcg@10": value, "mrr@10": 1.0} for number, value in enumerate(values)}
        means = {"ndcg@10": sum(values) / len(values), "mrr@10": 1.0}
        return Evaluation(Measured(set=EvaluationSet(name=name), metrics=means), per_query, {})

    done = [on(name, 0.1, 0.3) for name in GROUPS["cqadupstack"]] + [on("nq", 0.5, 0.6, 0.6, 0.7), on("mine", 1, 1)]
    lines = {line.name: line for line in summary(done)}
    assert list(lines)[-2:] == ["cqadupstack", "3 sets (cqadupstack: 12 forums)"]
    assert lines["cqadupstack"].metrics["ndcg@10"] == pytest.approx(0.2)
    total = lines["3 sets (cqadupstack: 12 forums)"]
    assert total.metrics["ndcg@10"] == pytest.approx((0.2 + 0.6 + 1) / 3)
    assert (total.sets, total.queries) == (3, 30)
    low, high = total.interval or (0, 0)
    assert low < total.metrics["ndcg@10"] < high
    assert lines["mine"].interval is None  # nothing to judge by
    alone = summary([done[-2]])
    assert [line.name for line in alone] == ["nq"]
    wide, narrow = lines["nq"].interval, alone[0].interval
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]  # of one set among 14, and of one alone
    assert [line.name for line in summary(done[:-2])][-1:] == ["cqadupstack"]  # no mean of twelve beside it
    [tiny] = summary([on("tiny", 0.0, 1.0)])
    assert tiny.interval == (0, 1)  # its bounds were -5.9 and 6.9
