"""NanoBEIR and AIR-Bench, read by the real clients from sets of their layouts on a local Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation.hub_sets import air_bench, air_bench_names, nano_beir, nano_beir_names
from tests.hub_tools.release_clients import Client, hub_and_client

USERS = {"sentence-transformers": "hf_nano", "AIR-Bench": "hf_air", "reader": "hf_reader"}

UPLOAD = """
import json
from datasets import Dataset
from huggingface_hub import HfApi

def push(repo, config, split, rows, token="hf_nano"):
    Dataset.from_list(rows).push_to_hub(repo, config_name=config, split=split, token=token)

nano, listed, other = (f"sentence-transformers/{name}" for name in ("NanoBEIR-en", "listed", "other"))
pairs = [{"query-id": query, "corpus-id": docid} for query, docid in (("q1", "d0"), ("q1", "d4"), ("d2", "d1"))]
lists = [{"query-id": "q1", "corpus-id": ["d0", "d4"]}, {"query-id": "d2", "corpus-id": ["d1"]}]
for repo, split, qrels in ((nano, "NanoMSMARCO", pairs), (nano, "NanoArguAna", pairs), (listed, "NanoArguAna", lists)):
    corpus = [{"_id": f"d{number}", "text": f"{split} {number}"} for number in range(5)]
    push(repo, "corpus", split, [*corpus, {"_id": "empty", "text": ""}])
    push(repo, "queries", split, [{"_id": q, "text": f"{split} {q}"} for q in ("q1", "d2", "free")])
    push(repo, "qrels", split, qrels)
push(other, "corpus", "NanoNQ", [{"_id": "d", "text": "t"}])
push(other, "qrels", "NanoNQ", [{"query-id": query, "corpus-id": "d"} for query in "qp"])
push(other, "queries", "NanoNQ", [{"_id": "q", "text": "t"}])
push("sentence-transformers/columns", "corpus", "NanoNQ", [{"_id": "d", "text": "t"}])
push("sentence-transformers/columns", "qrels", "NanoNQ", [{"query-id": "q", "docs": "d"}])

api = HfApi(token="hf_air")

def lines(rows):
    return "".join(json.dumps(row) + "\\n" for row in rows).encode()

def texts(prefix, text, count):
    return [{"id": f"{prefix}{number}", "text": f"{text} {number}"} for number in range(count)]

def air(name, folder, part):
    api.create_repo(f"AIR-Bench/{name}", repo_type="dataset")
    api.create_repo(f"AIR-Bench/qrels-{name}-dev", repo_type="dataset")
    version = "AIR-Bench_24.05"
    files = {
        "corpus": (name, f"corpus_{part}", "corpus.jsonl", texts("doc-", "text", 300)),
        "dev": (name, f"queries_{part}_dev", "dev_queries.jsonl", texts("q-", "query", 3)),
        "test": (name, f"queries_{part}_test", "test_queries.jsonl", [{"id": "q-9", "text": "hidden"}]),
        "qrels": (f"qrels-{name}-dev", f"qrels_{part}_dev", "dev_qrels.jsonl", [
            {"qid": "q-0", "docid": "doc-1", "relevance": 1},
            {"qid": "q-0", "docid": "doc-2", "relevance": 0},
            {"qid": "q-2", "docid": "doc-7", "relevance": 1},
        ]),
    }
    for repo in (name, f"qrels-{name}-dev"):
        card = f"---\\nconfigs:\\n- config_name: {version}\\n  data_files:\\n"
        for where, split, file, rows in files.values():
            if where == repo:
                card += f"  - split: {split}\\n    path: {version}/{folder}/{file}\\n"
                api.upload_file(path_or_fileobj=lines(rows), path_in_repo=f"{version}/{folder}/{file}",
                                repo_id=f"AIR-Bench/{repo}", repo_type="dataset")
        api.upload_file(path_or_fileobj=(card + "---\\n").encode(), path_in_repo="README.md",
                        repo_id=f"AIR-Bench/{repo}", repo_type="dataset")

air("qa_wiki_en", "default", "default")
air("long-doc_healthcare_en", "pubmed_100K-200K_3", "pubmed_100K_200K_3")
api.create_repo("AIR-Bench/qa_law_de", repo_type="dataset", private=True)
air("qa_law_fr", "default", "default")
api.update_repo_settings("AIR-Bench/qrels-qa_law_fr-dev", repo_type="dataset", gated="auto")
names = (nano, listed, "AIR-Bench/qa_wiki_en")
print(json.dumps({name.partition("/")[2]: api.dataset_info(name).sha for name in names}))
"""

READ = """
import json, sys
from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation import hub_sets

def told(each):
    found = [tuple(document) for document in each.corpus()]
    return {
        "about": each.about.model_dump(), "queries": each.queries, "qrels": each.qrels, "corpus": found,
        "again": [tuple(document) for document in each.corpus()] == found, "first": next(each.corpus()).docid,
        "excluded": {query: sorted(docids) for query, docids in each.excluded.items()},
    }

results = []
for function, arguments, options in json.loads(sys.argv[1]):
    try:
        results.append(told(getattr(hub_sets, function)(*arguments, **options)))
    except ConfigError as error:
        results.append(str(error))
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("hub")
    with hub_and_client(folder, users=USERS) as (_, client):
        shas = client.python(UPLOAD)
        yield Client(client.url, "hf_reader", folder / "reader"), shas


def read(hub: tuple[Client, dict[str, str]], *calls: tuple[str, list[str], dict[str, Any]]) -> list[Any]:
    results: list[Any] = hub[0].python(READ, json.dumps(calls))
    return results


def test_a_nano_beir_set_is_what_is_on_the_hub(hub: tuple[Client, dict[str, str]]) -> None:
    plain, listed = read(
        hub,
        ("nano_beir", ["msmarco"], {}),
        ("nano_beir", ["NanoArguAna"], {"token": "hf_reader", "repo_id": "sentence-transformers/listed"}),
    )
    for name, repo, found in (("NanoMSMARCO", "NanoBEIR-en", plain), ("NanoArguAna", "listed", listed)):
        assert found["about"] == {
            "name": name,
            "repo_id": f"sentence-transformers/{repo}",
            "config": "qrels",
            "split": name,
            "revision": hub[1][repo],
            "queries": 2,
            "documents": None,
        }
        assert found["queries"] == {"q1": f"{name} q1", "d2": f"{name} d2"}  # `free` is not judged
        assert found["qrels"] == {"q1": {"d0": 1, "d4": 1}, "d2": {"d1": 1}}
        assert found["corpus"] == [[f"d{number}", "", f"{name} {number}"] for number in range(5)]
        assert found["again"]
        assert found["first"] == "d0"
        assert found["excluded"] == {"q1": ["q1"], "d2": ["d2"]}


def test_an_air_bench_set_has_its_judgements_from_a_repository_of_their_own(hub: tuple[Client, dict[str, str]]) -> None:
    wiki, long_doc = read(
        hub,
        ("air_bench", ["qa", "wiki", "en"], {}),
        ("air_bench", ["long-doc", "healthcare", "en", "pubmed_100K-200K_3"], {}),
    )
    assert wiki["about"] == {
        "name": "AIR-Bench qa wiki en",
        "repo_id": "AIR-Bench/qa_wiki_en",
        "config": "AIR-Bench_24.05",
        "split": "queries_default_dev",
        "revision": hub[1]["qa_wiki_en"],
        "queries": 2,
        "documents": None,
    }
    assert wiki["queries"] == {"q-0": "query 0", "q-2": "query 2"}
    assert wiki["qrels"] == {"q-0": {"doc-1": 1, "doc-2": 0}, "q-2": {"doc-7": 1}}
    assert wiki["corpus"] == [[f"doc-{number}", "", f"text {number}"] for number in range(300)]
    assert wiki["again"]
    assert long_doc["about"]["name"] == "AIR-Bench long-doc healthcare en pubmed_100K-200K_3"
    assert long_doc["about"]["split"] == "queries_pubmed_100K_200K_3_dev"
    assert len(long_doc["corpus"]) == 300


def test_what_is_not_there_is_said_with_what_there_is(hub: tuple[Client, dict[str, str]]) -> None:
    results = read(
        hub,
        ("nano_beir", ["NanoSciFact"], {}),
        ("nano_beir", ["NanoNQ"], {"repo_id": "sentence-transformers/other"}),
        ("nano_beir", ["NanoNQ"], {"repo_id": "sentence-transformers/columns"}),
        ("nano_beir", ["NanoNQ"], {"repo_id": "sentence-transformers/nothing"}),
        ("nano_beir", ["NanoNQ"], {"revision": "v9"}),
        ("air_bench", ["qa", "law", "de"], {}),
        ("air_bench", ["qa", "law", "fr"], {}),
        ("air_bench", ["qa", "wiki", "en"], {"version": "AIR-Bench_99.01"}),
        ("air_bench", ["qa", "web", "en"], {}),
    )
    expected = [
        "there is no split 'NanoSciFact'. There are: ",
        "1 judged queries, such as 'p', are not there",
        "there is no column 'corpus-id'. There are: query-id, docs.",
        "sentence-transformers/nothing: there is no such data set",
        "NanoBEIR-en@v9: this data set has no such branch, tag or commit.",
        "AIR-Bench/qa_law_de: there is no such data set, or it is private",
        "AIR-Bench/qrels-qa_law_fr-dev: access to this data set has to be asked for on its page",
        "there is no config 'AIR-Bench_99.01'. There are: AIR-Bench_24.05.",
        "AIR-Bench/qa_web_en: there is no such data set",
    ]
    for text, result in zip(expected, results, strict=True):
        assert isinstance(result, str), result
        assert text in result
    assert "NanoArguAna" in results[0]


def test_a_set_stays_what_it_was_when_it_was_opened(tmp_path: Path) -> None:
    code = """
import json
from datasets import Dataset
from hf_relabel.trainers.evaluation.hub_sets import nano_beir
def push(config, rows):
    Dataset.from_list(rows).push_to_hub("user/nano", config_name=config, split="NanoNQ")
push("corpus", [{"_id": "d", "text": "old"}])
push("queries", [{"_id": "q", "text": "old"}])
push("qrels", [{"query-id": "q", "corpus-id": "d"}])
opened = nano_beir("nq", repo_id="user/nano")
push("corpus", [{"_id": "d", "text": "new"}])
again = nano_beir("nq", repo_id="user/nano", revision=opened.about.revision)
latest = nano_beir("nq", repo_id="user/nano")
print(json.dumps([next(each.corpus()).text for each in (opened, again, latest)]))
"""
    with hub_and_client(tmp_path) as (_, client):
        assert client.python(code) == ["old", "old", "new"]


def test_unknown_names_need_no_hub() -> None:
    assert len(nano_beir_names()) == 13
    with pytest.raises(ConfigError, match=r"NanoBEIR has no set 'trec'\. There are: NanoClimateFEVER, "):
        nano_beir("trec")
    # 53 of question answering, MS MARCO and 4 long documents have a dev split.
    assert len(air_bench_names()) == len(set(air_bench_names())) == 58
    with pytest.raises(
        ConfigError, match=r"There are: qa/law/\w\w/default, qa/law/\w\w/default, qa/law/\w\w/default\."
    ):
        air_bench("qa", "law", "zh")
    with pytest.raises(ConfigError, match="test splits only"):
        air_bench("qa", "law", "en", version="AIR-Bench_24.04")


def test_the_names_are_those_of_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer.evaluation.nano_beir import DATASET_NAME_TO_HUMAN_READABLE

    assert tuple(f"Nano{name}" for name in DATASET_NAME_TO_HUMAN_READABLE.values()) == nano_beir_names()
    assert {name.lower() for name in nano_beir_names()} == {f"nano{name}" for name in DATASET_NAME_TO_HUMAN_READABLE}
