"""Mining hard negatives: by BM25, and by sentence-transformers' own `mine_hard_negatives` a batch at a time."""

from __future__ import annotations

import itertools
import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml

from hf_relabel import BadRow, ConfigError, MiningReport, SourceError, mine, open_source
from hf_relabel.builders.mining import dense
from hf_relabel.builders.mining.dense import DenseMiner
from hf_relabel.builders.mining.pairs import Candidates
from hf_relabel.builders.mining.report import record_path
from hf_relabel.builders.mining.settings import MiningSettings
from hf_relabel.builders.rows import Passage, Row
from tests.disk_watch import failing_ever_later

WORDS = ["sky", "sea", "blue", "green", "grass", "light", "water", "air", "moon", "night", "stone", "river", "rain"]


def pair(query: str, positive: str, **fields: Any) -> dict[str, Any]:
    return {"query": query, "positive": positive, **fields}


def many(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Pairs in which every third query has a second positive, far from its first."""
    chosen = random.Random(seed)
    pairs = [pair(" ".join(chosen.sample(WORDS, 3)), " ".join(chosen.choices(WORDS, k=6))) for _ in range(count)]
    return pairs + [pair(each["query"], " ".join(chosen.choices(WORDS, k=6))) for each in pairs[::3]]


@pytest.fixture(scope="module")
def model() -> Any:
    pytest.importorskip("sentence_transformers", reason="dense mining needs sentence-transformers")
    import torch

    from tests.trainers.training_rows import static_model

    return static_model(16, dtype=torch.float32)


def rows_of(report: MiningReport) -> list[Row]:
    return [numbered.row for numbered in report.open().rows()]


def negatives_of(report: MiningReport) -> dict[str, list[str]]:
    return {row.query: [passage.text for passage in row.negative_passages] for row in rows_of(report)}


def by_the_library(model: Any, pairs: list[dict[str, Any]], **settings: Any) -> dict[str, list[str]]:
    """What `mine_hard_negatives` finds when it is given everything at once."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    data = Dataset.from_dict(
        {
            "query": [each["query"] for each in pairs],
            "positive": [each["positive"] for each in pairs],
        }
    )
    mined = mine_hard_negatives(data, model, output_format="labeled-list", verbose=False, **settings)
    return {row["query"]: row["positive"][1:] for row in mined}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"range_min": 2, "range_max": 12},
        {"relative_margin": 0.1},
        {"absolute_margin": 0.05, "max_score": 0.8},
        {"faiss": True},
    ],
)
def test_dense_negatives_are_those_of_sentence_transformers(
    model: Any, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "faiss" in settings:
        pytest.importorskip("faiss", reason="the extra faiss is not installed")
    # Small enough for several batches of queries, and several chunks of scores in each.
    monkeypatch.setattr(DenseMiner, "queries_at_once", 7)
    monkeypatch.setattr(dense, "SCORES_AT_ONCE", 100)
    monkeypatch.setattr(dense, "PASSAGES_AT_ONCE", 5)
    pairs = many(24)
    report = mine(pairs, tmp_path / "rows.jsonl", model=model, negatives=4, **settings)
    theirs = {("use_faiss" if name == "faiss" else name): value for name, value in settings.items()}
    expected = by_the_library(model, pairs, num_negatives=4, **theirs)
    found = {query: texts for query, texts in negatives_of(report).items() if texts}
    assert found == expected
    assert report.rows_without_negatives == report.rows - len(expected)


@pytest.mark.parametrize("method", ["bm25", "dense"])
def test_no_positive_of_a_query_becomes_its_negative(method: Any, model: Any, tmp_path: Path) -> None:
    pairs = [
        pair("blue sky", "the sky is blue at noon"),
        pair("green grass", "the grass is green at noon"),
        pair("blue sky", "a blue sky above the sea", query_id="other"),
        pair("blue sky", "blue sky, no cloud"),
    ]
    dense_only = {"model": model} if method == "dense" else {}
    report = mine(pairs, tmp_path / "rows.jsonl", method=method, corpus=["a blue moon in the sky"], **dense_only)
    rows = rows_of(report)
    assert [len(row.positive_passages) for row in rows] == [2, 1, 1]
    assert (report.rows_read, report.rows, report.passages) == (4, 3, 5)
    positives = {each["positive"] for each in pairs if each["query"] == "blue sky"}
    for row in rows:
        texts = {passage.text for passage in row.negative_passages}
        assert "a blue moon in the sky" in texts or row.query != "blue sky"
        assert not texts & (positives if row.query == "blue sky" else {"the grass is green at noon"})


@pytest.mark.parametrize("method", ["bm25", "dense"])
def test_a_query_is_no_negative_of_itself(method: Any, model: Any, tmp_path: Path) -> None:
    pairs = [pair("blue sky", "sky of blue"), pair("sky of blue", "blue sky"), pair("sky", "blue sky by day")]
    dense_only = {"model": model} if method == "dense" else {}
    found = negatives_of(mine(pairs, tmp_path / "rows.jsonl", method=method, negatives=2, **dense_only))
    assert found["blue sky"] == ["blue sky by day"]
    assert set(found["sky"]) == {"sky of blue", "blue sky"}


@pytest.mark.parametrize("method", ["bm25", "dense"])
def test_a_copy_of_a_positive_is_no_negative(method: Any, model: Any, tmp_path: Path) -> None:
    """By its id, or by its text whatever its case, blanks and title; and of queries that differ by those alike."""
    pairs = [
        pair("blue sky", "the sky is blue", docid="d1"),
        pair("Blue  sky", "a blue sky at noon", docid="d2", query_id="other"),
        pair("green sea", "the sea is green", docid="d3"),
    ]
    corpus = [
        {"_id": "x1", "title": "Sky", "text": "the sky is blue"},
        {"_id": "x2", "title": "", "text": "The sky  is blue "},
        {"_id": "d1", "title": "", "text": "blue light of the sky"},
        {"_id": "x3", "title": "", "text": "BLUE SKY"},
        {"_id": "x4", "title": "", "text": "a blue moon in the sky"},
    ]
    dense_only = {"model": model} if method == "dense" else {}
    report = mine(pairs, tmp_path / "rows.jsonl", method=method, corpus=corpus, **dense_only)
    rows = [row for row in rows_of(report) if row.query.split() != ["green", "sea"]]
    assert len(rows) == 2
    for row in rows:
        texts = {passage.text for passage in row.negative_passages}
        assert "a blue moon in the sky" in texts
        assert texts <= {"a blue moon in the sky", "the sea is green"}


class LengthScores:
    """A cross-encoder that likes long passages."""

    num_labels = 1
    model_card_data = None

    def predict(self, pairs: list[tuple[str, str]], **_: Any) -> Any:
        import torch

        return torch.tensor([len(passage) / 100 for _, passage in pairs])


def test_a_cross_encoder_gives_the_scores_of_the_limits(model: Any, tmp_path: Path) -> None:
    pairs = [pair("blue sky", "x" * 50)]
    corpus = ["y" * length for length in (10, 30, 60, 90)]
    report = mine(
        pairs, tmp_path / "rows.jsonl", corpus=corpus, model=model, cross_encoder=LengthScores(), absolute_margin=0.1
    )
    assert [len(text) for text in negatives_of(report)["blue sky"]] == [30, 10]
    assert list(report.models) == ["SentenceTransformer", "LengthScores"]


def test_what_was_done_is_recorded_beside_the_rows(model: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model.save(str(folder))
    report = mine(many(6), tmp_path / "rows.parquet", model=str(folder), relative_margin=0.5, negatives=3)
    record = yaml.safe_load((tmp_path / "rows.mined.yaml").read_text(encoding="utf-8"))
    assert record == report.record()
    assert record["settings"]["relative_margin"] == 0.5
    assert record["rows_without_negatives"] == sum(not row.negative_passages for row in rows_of(report))
    [(name, revision)] = record["models"].items()
    assert name == "model"
    assert len(revision) == 16
    assert f"Rows without negatives: {report.rows_without_negatives:,}" in report.to_text()
    data = report.dataset()
    assert data.num_rows == report.rows
    assert list(data[0]["positive_passages"][0]) == ["docid", "title", "text"]


def test_scores_of_positives_go_along(tmp_path: Path) -> None:
    texts = {"blue sky": "sky of blue", "sky": "blue"}
    rows = [
        {"query": query, "positive_passages": [{"text": text, "score": 0.5}], "negative_passages": [{"text": "red"}]}
        for query, text in texts.items()
    ]
    report = mine(rows, tmp_path / "rows.jsonl")
    first = rows_of(report)[0]
    assert first.positive_passages[0].score == 0.5
    assert first.negative_passages[0].score is None
    assert report.dataset()[0]["positive_passages"][0]["score"] == 0.5
    # The negatives that the rows had are replaced, and that is said.
    assert report.negatives_left_out == 2
    assert [passage.text for passage in first.negative_passages] == ["blue"]


def test_a_positive_in_another_guise_becomes_no_negative(tmp_path: Path) -> None:
    positive = "Le café bleu 1.5 est près du ciel"
    corpus: list[dict[str, str]] = [
        {"title": "Café", "text": positive},
        {"title": "", "text": f"Café {positive}"},
        {"title": "", "text": unicodedata.normalize("NFD", positive)},
        {"title": "", "text": positive.replace("bleu", "ble\u200bu")},
        {"title": "", "text": "le café, bleu: 1.5 est près du ciel!"},
        {"title": "", "text": positive.replace("1.5", "15")},  # which says something else
    ]
    pairs = [
        {"query": "café bleu ciel", "positive_passages": [{"title": "Café", "text": positive}], "negative_passages": []}
    ]
    assert negatives_of(mine(pairs, tmp_path / "rows.jsonl", corpus=corpus)) == {
        "café bleu ciel": [positive.replace("1.5", "15")]
    }


def test_the_record_of_rows_does_not_double_its_name_nor_replace_another(tmp_path: Path) -> None:
    pairs = [pair("blue sky", "sky of blue"), pair("blue sea", "sea of blue")]
    mine(pairs, tmp_path / "rows.mined.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.mined.jsonl", "rows.mined.yaml"]
    for name in ("rows.jsonl", "rows.parquet"):
        with pytest.raises(ConfigError, match=r"rows\.mined\.yaml, which tells that of rows\.mined\.jsonl"):
            mine(pairs, tmp_path / name)
    (tmp_path / "rows.mined.jsonl").unlink()
    mine(pairs, tmp_path / "rows.jsonl")


# A corpus


def corpora(folder: Path) -> dict[str, Any]:
    from datasets import Dataset

    records = [{"_id": "m", "title": "Moon", "text": "a blue moon"}, {"_id": "n", "title": "", "text": "a blue note"}]
    lines = folder / "passages.jsonl"
    lines.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return {"file": lines, "records": records, "dataset": Dataset.from_list(records)}


@pytest.mark.parametrize("kind", ["file", "records", "dataset"])
def test_a_corpus_is_searched_beside_the_positives(kind: str, tmp_path: Path) -> None:
    report = mine([pair("blue moon", "it is rare")], tmp_path / "rows.jsonl", corpus=corpora(tmp_path)[kind])
    [row] = rows_of(report)
    assert [(passage.docid, passage.title) for passage in row.negative_passages] == [("m", "Moon"), ("n", "")]


def test_a_corpus_of_texts_of_which_some_are_copies_or_empty(tmp_path: Path) -> None:
    from datasets import Dataset

    texts = ["a blue moon", "  ", "a blue moon", "it is rare"]
    for number, corpus in enumerate((texts, Dataset.from_dict({"passage": texts}))):
        report = mine([pair("blue moon", "it is rare")], tmp_path / f"{number}.jsonl", corpus=corpus)
        assert negatives_of(report) == {"blue moon": ["a blue moon"]}
        assert (report.passages, report.copies, report.blank) == (2, 1, 1)
        assert "1 copies, 1 passages without text" in report.to_text()


@pytest.mark.parametrize("content", ["", "\n", '{"text": ""}\n', "[]"])
def test_a_corpus_file_without_text_is_refused(tmp_path: Path, content: str) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(content, encoding="utf-8")
    with pytest.raises(SourceError, match=r"corpus\.jsonl: (none of its 1 records has a text|there are no records)"):
        mine([pair("blue moon", "it is rare")], tmp_path / "rows.jsonl", corpus=corpus)


def test_passages_alike_are_found_by_their_text_however_many() -> None:
    candidates = Candidates()
    for number in range(5_000):
        assert candidates.add(Passage(f"d{number}", f"title {number}", "the same text")) == number
        assert candidates.add(Passage(f"e{number}", f"title {number}", "the same text")) == number
    other = candidates.add(Passage("x", "", "another text"))
    assert candidates.like("The same  TEXT", "q", []) == set(range(5_000))
    assert candidates.like("a query", "q", [other]) == {other}
    assert candidates.like("a query", "q", []) == set()


def test_a_corpus_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    rows = [pair("blue moon", "it is rare")]
    with pytest.raises(SourceError, match="no such file"):
        mine(rows, tmp_path / "rows.jsonl", corpus=tmp_path / "missing.jsonl")
    with pytest.raises(SourceError, match="type int"):
        mine(rows, tmp_path / "rows.jsonl", corpus=3)
    with pytest.raises(BadRow, match="row 1, field 'text': missing"):
        mine(rows, tmp_path / "rows.jsonl", corpus=[{"body": "blue", "heading": "moon"}])
    for name in ("id", "_id", "title", "url"):
        with pytest.raises(BadRow, match=r"row 1, field 'text': missing.*`text`"):
            mine(rows, tmp_path / "rows.jsonl", corpus=[{name: "blue moon of May"}])
    nothing: list[Any] = [[], [""], [{"text": " "}, {"text": "", "title": ""}]]
    for corpus in nothing:
        with pytest.raises(SourceError, match=r"the corpus: .*Give records with a `text`, or leave `corpus=` out"):
            mine(rows, tmp_path / "rows.jsonl", corpus=corpus)
    assert list(tmp_path.iterdir()) == []


# BEIR folders


def beir_folder(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    corpus = ["blue sky and blue light", "the sky at night", "blue sea", "green grass", "why the sky is blue"]
    lines = [json.dumps({"_id": f"d{place}", "title": "", "text": text}) for place, text in enumerate(corpus)]
    (folder / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    queries = {"q1": "blue sky", "q2": "green sky", "d4": "blue"}
    lines = [json.dumps({"_id": query_id, "text": text}) for query_id, text in queries.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines), encoding="utf-8")
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "train.tsv").write_text(f"{header}q2\td2\t1\n", encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(f"{header}q1\td0\t2\nq2\td3\t1\nd4\td2\t1\n", encoding="utf-8")
    return folder


def test_a_beir_folder_by_bm25_gives_what_opening_it_gives(tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "skies")
    report = mine(folder, tmp_path / "rows.jsonl", split="test", negatives=2)
    assert rows_of(report) == [numbered.row for numbered in open_source(folder, split="test", mined_negatives=2).rows()]
    assert report.source["split"] == "test"


def test_a_beir_folder_is_mined_densely(model: Any, tmp_path: Path) -> None:
    report = mine(beir_folder(tmp_path / "skies"), tmp_path / "rows.jsonl", split="test", model=model)
    found = {row.query_id: {passage.docid for passage in row.negative_passages} for row in rows_of(report)}
    # All that is left: neither the positive nor the query itself, which is a document here.
    assert found == {"q1": {"d1", "d2", "d3", "d4"}, "q2": {"d0", "d1", "d2", "d4"}, "d4": {"d0", "d1", "d3"}}
    assert rows_of(report)[0].positive_passages[0].docid == "d0"


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "dense"}, "needs a model"),
        ({"method": "bm25", "max_score": 0.5, "faiss": True}, "BM25 has no max score and faiss"),
        ({"model": "m", "cross_encoder": "c"}, "only compared with a maximum score or a margin"),
        ({"range_min": 5, "range_max": 10, "negatives": 6}, "range_max: expected a whole number from 11"),
        ({"method": "nearest"}, "one of bm25, dense"),
        ({"method": "dence"}, "Did you mean 'dense'"),
        ({"negatives": 0}, "negatives: expected a whole number from 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        mine(many(2), tmp_path / "rows.jsonl", **settings)


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "faiss" else object())
    with pytest.raises(ConfigError, match=r"hf-relabel\[faiss\]"):
        dense.check_installed(MiningSettings(method="dense", model="m", faiss=True))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"hf-relabel\[similarity\]"):
        dense.check_installed(MiningSettings(method="dense", model="m"))


@pytest.mark.parametrize(
    ("name", "message"), [("rows.csv", "jsonl or .parquet"), ("there.jsonl", "already"), ("no/rows.jsonl", "no such")]
)
def test_a_place_where_rows_cannot_be_written_is_refused_first(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        mine(many(2), tmp_path / name)
    assert (tmp_path / "there.jsonl").read_text(encoding="utf-8") == "mine"


def test_where_no_row_gets_a_negative_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no negatives were found for any of the 2 rows"):
        mine([pair("blue", "sky"), pair("green", "grass")], tmp_path / "rows.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_there_are_no_rows_without_their_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    for _ in failing_ever_later(monkeypatch, lambda: mine(many(3), tmp_path / f"rows-{next(numbers)}.jsonl")):
        found = {path.name for path in tmp_path.iterdir()}
        rows = {name for name in found if name.endswith(".jsonl")}
        assert {record_path(tmp_path / name).name for name in rows} <= found
    assert rows


def test_an_interruption_leaves_no_file(tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int | None) -> None:
        if what == "mining" and done == 3:
            raise KeyboardInterrupt

    for name in ("rows.jsonl", "rows.parquet"):
        with pytest.raises(KeyboardInterrupt):
            mine(many(6), tmp_path / name, progress=stop)
    assert list(tmp_path.iterdir()) == []
