"""NanoBEIR, AIR-Bench, BEIR and HAKARI-Bench, read by the real clients from sets of their layouts on a local Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.cards.set_groups import GROUPS
from hf_relabel.trainers.evaluation.hub_rows import HubRows, HubSource, read_qrels
from hf_relabel.trainers.evaluation.hub_sets import air_bench, air_bench_names, nano_beir, nano_beir_names
from tests.hub_tools.release_clients import Client, hub_and_client
from tests.trainers.runs import write_lines

USERS = {
    "sentence-transformers": "hf_nano",
    "AIR-Bench": "hf_air",
    "mteb": "hf_mteb",
    "hakari-bench": "hf_hakari",
    "reader": "hf_reader",
}

WRITE = """
import json
from huggingface_hub import CommitOperationAdd, HfApi

def put(token, repo, folder, tables):
    '''A data set of JSON lines in one commit. `tables` are (config, split, path of the file, rows).'''
    api = HfApi(token=token)
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    configs, files = {}, {}
    for config, split, path, rows in tables:
        configs.setdefault(config, []).append({"split": split, "path": f"{folder}{path}"})
        files[f"{folder}{path}"] = "".join(json.dumps(row) + "\\n" for row in rows)
    files["README.md"] = "---\\n" + json.dumps(
        {"configs": [{"config_name": config, "data_files": paths} for config, paths in configs.items()]}) + "\\n---\\n"
    api.create_commit(repo, [CommitOperationAdd(path, text.encode()) for path, text in files.items()],
                      commit_message="data", repo_type="dataset")

def put_nano(name, *splits):
    tables = [(config, split, f"{config}/{split}.jsonl", rows)
              for split, configs in splits for config, rows in configs.items()]
    put("hf_nano", f"sentence-transformers/{name}", "", tables)
"""
UPLOAD = (
    WRITE
    + """
from datasets import Dataset

def texts(split):
    corpus = [{"_id": f"d{number}", "text": f"{split} {number}"} for number in range(5)]
    return {"corpus": [*corpus, {"_id": "empty", "text": ""}],
            "queries": [{"_id": q, "text": f"{split} {q}"} for q in ("q1", "d2", "free")]}

pairs = [{"query-id": query, "corpus-id": docid} for query, docid in (("q1", "d0"), ("q1", "d4"), ("d2", "d1"))]
lists = [{"query-id": "q1", "corpus-id": ["d0", "d4"]}, {"query-id": "d2", "corpus-id": ["d1"]}]
one = [{"_id": "d", "text": "t"}]
nano = "sentence-transformers/NanoBEIR-en"
for config, rows in {**texts("NanoMSMARCO"), "qrels": pairs}.items():
    Dataset.from_list(rows).push_to_hub(nano, config, split="NanoMSMARCO", token="hf_nano")
Dataset.from_list(one).push_to_hub(nano, "corpus", split="NanoArguAna", token="hf_nano")
put_nano("listed", ("NanoArguAna", {**texts("NanoArguAna"), "qrels": lists}))
two = [{"query-id": query, "corpus-id": "d"} for query in "qp"]
put_nano("other", ("NanoNQ", {"corpus": one, "qrels": two, "queries": [{"_id": "q", "text": "t"}]}))
put_nano("columns", ("NanoNQ", {"corpus": one, "qrels": [{"query-id": "q", "docs": "d"}]}))

def air(name, folder, part):
    version = "AIR-Bench_24.05"
    numbered = lambda prefix, text, count: [{"id": f"{prefix}{n}", "text": f"{text} {n}"} for n in range(count)]
    put("hf_air", f"AIR-Bench/{name}", f"{version}/{folder}/", [
        (version, f"corpus_{part}", "corpus.jsonl", numbered("doc-", "text", 300)),
        (version, f"queries_{part}_dev", "dev_queries.jsonl", numbered("q-", "query", 3)),
        (version, f"queries_{part}_test", "test_queries.jsonl", [{"id": "q-9", "text": "hidden"}]),
    ])
    put("hf_air", f"AIR-Bench/qrels-{name}-dev", f"{version}/{folder}/", [
        (version, f"qrels_{part}_dev", "dev_qrels.jsonl", [
            {"qid": "q-0", "docid": "doc-1", "relevance": 1},
            {"qid": "q-0", "docid": "doc-2", "relevance": 0},
            {"qid": "q-2", "docid": "doc-7", "relevance": 1},
        ]),
    ])

# As the cards of mteb/scifact and mteb/hotpotqa have it.
def beir(name, split="test", grades=(1.0, 0.0)):
    put("hf_mteb", f"mteb/{name}", "", [
        ("default", split, f"qrels/{split}.jsonl", [
            {"query-id": "q1", "corpus-id": f"d{number}", "score": grade} for number, grade in enumerate(grades)]),
        ("corpus", "corpus", "corpus.jsonl", [
            {"_id": "d0", "title": "A title", "text": name}, {"_id": "d1", "title": "", "text": "other"},
            {"_id": "d2", "title": "", "text": ""}]),
        ("queries", "queries", "queries.jsonl", [{"_id": "q1", "text": "asked"}, {"_id": "q2", "text": "not judged"}]),
    ])

for name in ("trec-covid", "nfcorpus", "touche2020"):
    beir(name)
beir("msmarco", "dev")
beir("nq", grades=(0.5,))
# As that of mteb/CQADupstackAndroidRetrieval.
for config, rows in {
    "corpus": [{"id": "d0", "title": "A title", "text": "android"}], "queries": [{"id": "q1", "text": "asked"}],
    "qrels": [{"query-id": "q1", "corpus-id": "d0", "score": 1}],
}.items():
    Dataset.from_list(rows).push_to_hub("mteb/CQADupstackAndroidRetrieval", config, split="test", token="hf_mteb")
# As that of hakari-bench/NanoMLDR: a query may be named as a document is.
for task in ("de", "en"):
    for config, rows in {
        "corpus": [{"_id": "0", "text": task}], "queries": [{"_id": "0", "text": "asked"}],
        "qrels": [{"query-id": "0", "corpus-id": "0"}], "bm25": [{"query-id": "0", "corpus-ids": ["0"]}],
    }.items():
        Dataset.from_list(rows).push_to_hub("hakari-bench/NanoMLDR", config, split=task, token="hf_hakari")

air("qa_wiki_en", "default", "default")
air("long-doc_healthcare_en", "pubmed_100K-200K_3", "pubmed_100K_200K_3")
api = HfApi(token="hf_air")
api.create_repo("AIR-Bench/qa_law_de", repo_type="dataset", private=True)
air("qa_law_fr", "default", "default")
api.update_repo_settings("AIR-Bench/qrels-qa_law_fr-dev", repo_type="dataset", gated="auto")
names = (nano, "sentence-transformers/listed", "AIR-Bench/qa_wiki_en")
print(json.dumps({name.partition("/")[2]: api.dataset_info(name).sha for name in names}))
"""
)

READ = """
import json, sys
from hf_relabel.builders.errors import ConfigError
from hf_relabel.cards.set_groups import GROUPS
from hf_relabel.trainers.evaluation import hub_beir, hub_sets, opening

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
        room = next(each for each in (hub_sets, hub_beir, opening) if hasattr(each, function))
        found = getattr(room, function)(*arguments, **options)
        results.append([told(each) for each in found] if isinstance(found, list) else told(found))
    except ConfigError as error:
        results.append(str(error))
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("hub")
    with hub_and_client(folder, users=USERS) as (_, client):
        shas = client.python(UPLOAD)
        yield replace(client, token="hf_reader"), shas


def read(hub: tuple[Client, dict[str, str]], *calls: tuple[str, list[Any], dict[str, Any]]) -> list[Any]:
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


def test_a_set_of_beir_is_what_is_on_the_hub(hub: tuple[Client, dict[str, str]]) -> None:
    covid, msmarco, android = read(
        hub, ("beir", ["trec-covid"], {}), ("beir", ["msmarco"], {}), ("beir", ["cqadupstack-android"], {})
    )
    about = {"name": "trec-covid", "repo_id": "mteb/trec-covid", "config": "default", "split": "test", "queries": 1}
    assert covid["about"].items() >= about.items()
    assert len(covid["about"]["revision"]) == 40
    assert covid["queries"] == {"q1": "asked"}
    assert covid["qrels"] == {"q1": {"d0": 1, "d1": 0}}
    assert covid["corpus"] == [["d0", "A title", "trec-covid"], ["d1", "", "other"]]
    assert covid["excluded"] == {"q1": ["q1"]}
    assert msmarco["about"]["split"] == "dev"
    assert android["about"].items() >= {"name": "cqadupstack-android", "config": "qrels", "split": "test"}.items()
    assert android["corpus"] == [["d0", "A title", "android"]]


def test_a_benchmark_of_hakari_has_all_its_tasks_and_counts_documents_named_as_the_query(
    hub: tuple[Client, dict[str, str]],
) -> None:
    both, one = read(hub, ("hakari", ["NanoMLDR"], {}), ("open_sets", [["hakari:NanoMLDR/en"]], {}))
    assert [each["about"]["name"] for each in both] == ["NanoMLDR de", "NanoMLDR en"]
    assert both[0]["about"].items() >= {"repo_id": "hakari-bench/NanoMLDR", "split": "de", "queries": 1}.items()
    assert both[0]["corpus"] == [["0", "", "de"]]
    assert both[0]["excluded"] == {}
    assert one == [both[1]]


def beir_folders(place: Path, *names: str) -> Path:
    for name in names:
        (place / name / "qrels").mkdir(parents=True)
        write_lines(place / name / "corpus.jsonl", [{"_id": "d", "title": "", "text": name}])
        write_lines(place / name / "queries.jsonl", [{"_id": "q", "text": "asked"}])
        (place / name / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n", encoding="utf-8")
    return place


def test_a_group_is_opened_as_a_whole_from_the_hub_and_from_folders(
    hub: tuple[Client, dict[str, str]], tmp_path: Path
) -> None:
    forums = [f"cqadupstack/{name.removeprefix('cqadupstack-')}" for name in GROUPS["cqadupstack"][1:]]
    place = beir_folders(tmp_path, "trec-news", "robust04", "signal1m", "bioasq", *forums)
    seven, forums_too = read(
        hub,
        ("open_sets", [[f"beir-ood-7:{place}"]], {}),
        ("open_sets", [[f"cqadupstack:{place}", f"cqadupstack:{place}"]], {}),
    )
    names = [each["about"]["name"] for each in seven]
    assert names == list(GROUPS["beir-ood-7"])
    assert [each["about"]["repo_id"] for each in seven][:4] == [
        "mteb/trec-covid",
        "mteb/nfcorpus",
        "mteb/touche2020",
        None,
    ]
    assert tuple(each["about"]["name"] for each in forums_too) == GROUPS["cqadupstack"]  # each once
    assert forums_too[0]["about"]["repo_id"] == "mteb/CQADupstackAndroidRetrieval"


def test_a_group_of_which_a_set_is_missing_is_refused_with_all_that_is(hub: tuple[Client, dict[str, str]]) -> None:
    ood, nano, air, grade = read(
        hub,
        ("open_sets", [["beir-ood-7"]], {}),
        ("open_sets", [["nanobeir"]], {}),
        ("open_sets", [["air-bench-5"]], {}),
        ("beir", ["nq"], {}),
    )
    assert "beir-ood-7: 4 of its 7 sets cannot be opened, and a mean over the others would be none of it." in ood
    assert "trec-news: may not be passed on, so it is not on the Hub. Give a folder of BEIR folders" in ood
    assert "And bioasq." in ood
    assert "nanobeir: 12 of its 13 sets cannot be opened" in nano
    assert "air-bench-5: 5 of its 5 sets cannot be opened" in air
    assert "the grade '0.5' is no whole number" in grade


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


MOVING = (
    WRITE
    + """
from hf_relabel.trainers.evaluation.hub_sets import nano_beir

def write(text):
    qrels = [{"query-id": "q", "corpus-id": "d"}]
    tables = {"corpus": [{"_id": "d", "text": text}], "queries": [{"_id": "q", "text": "q"}], "qrels": qrels}
    put_nano("moving", ("NanoNQ", tables))

options = {"repo_id": "sentence-transformers/moving"}
write("old")
opened = nano_beir("nq", **options)
write("new")
again = nano_beir("nq", revision=opened.about.revision, **options)
latest = nano_beir("nq", **options)
print(json.dumps([next(each.corpus()).text for each in (opened, again, latest)]))
"""
)


def test_a_set_stays_what_it_was_when_it_was_opened(hub: tuple[Client, dict[str, str]]) -> None:
    assert hub[0].python(MOVING) == ["old", "old", "new"]


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


def test_judgements_of_others_with_two_grades_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    lines = [("q1", "a", 2), ("q1", "b", 1), ("q1", "b", 1), ("q1", "a", 0)]
    rows = [{"query-id": query_id, "corpus-id": docid, "score": grade} for query_id, docid, grade in lines]
    fields = ("query-id", "corpus-id", "score")
    found = HubRows(HubSource("user/set", "0" * 40, None), "user/set, config qrels", rows)
    assert read_qrels(found, fields) == {"q1": {"a": 0, "b": 1}}
    assert (
        "user/set, config qrels: 1 judgement has a second, other grade, such as that of the document 'a'" in caplog.text
    )
    caplog.clear()
    assert read_qrels(replace(found, stream=rows[:3]), fields) == {"q1": {"a": 2, "b": 1}}
    assert caplog.text == ""
