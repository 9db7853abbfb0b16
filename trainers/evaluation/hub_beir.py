"""BEIR and HAKARI-Bench as evaluation sets, out of data sets on the Hub.

The layouts were read in public sources, and tried on sets of the same layout on a local Hub; huggingface.co itself was
not asked.

- BEIR (arXiv 2104.08663): the repositories and the rules of the library mteb 2.26
  (`abstasks/retrieval_dataset_loaders.py`), and the cards of `mteb/scifact`, `mteb/hotpotqa` and
  `mteb/CQADupstackAndroidRetrieval`. Configs `corpus` and `queries` with `_id` or `id`, `title` and `text`; the
  judgements, `query-id`, `corpus-id` and `score`, in `default` or `qrels`. Each has the split that is asked for, or
  one.
- HAKARI-Bench (arXiv 2606.22778): `hakari_bench/evaluation.py`, `config/datasets/` and `docs/benchmark_scope.md` of its
  repository (commit 217c872), and the cards of `hakari-bench/NanoBuiltBench` and `hakari-bench/NanoMLDR`. The layout of
  NanoBEIR, a split per task.
"""

from __future__ import annotations

from dataclasses import replace

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.nearest import nearest_and_all
from hf_relabel.cards.set_groups import FORUMS
from hf_relabel.cards.training_report import EvaluationSet
from hf_relabel.trainers.evaluation.hub_rows import HubRows, HubSource, read_qrels, read_queries, retrieval_set
from hf_relabel.trainers.evaluation.sets import RetrievalSet

_OTHERWISE = {
    "dbpedia-entity": "mteb/dbpedia",
    "webis-touche2020": "mteb/touche2020",
    "cqadupstack-android": "mteb/CQADupstackAndroidRetrieval",
}
_SAME_NAME = (
    *("arguana", "climate-fever", "fever", "fiqa", "hotpotqa", "msmarco", "nfcorpus", "nq", "quora", "scidocs"),
    *("scifact", "trec-covid"),
    *FORUMS,
)
BEIR = {name: f"mteb/{name}" for name in _SAME_NAME} | _OTHERWISE
"""Where the sets are, by BEIR's own names. Signal-1M, TREC-NEWS, Robust04 and BioASQ may not be passed on."""
BEIR_SPLITS = {"msmarco": "dev"}
"""Of the sets that are not reported on `test`."""

HAKARI = "hakari-bench"
"""The organization on the Hub that has a repository per benchmark, such as `NanoCodeRAG`."""


def beir(
    name: str,
    *,
    split: str | None = None,
    repo_id: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> RetrievalSet:
    """A set of BEIR, pinned to the commit that the revision names now.

    A document with the query's own id is never counted, as in BEIR's evaluation.

    Example:
            data = beir("scifact")

    Args:
        name: as BEIR's downloads are named: `scifact`, `dbpedia-entity`, `cqadupstack-android`.
        split: of the judgements; None takes the one that is reported, `test`, and MS MARCO's `dev`.
        repo_id: another repository of the same layout.
        token: None takes the stored token or `HF_TOKEN`, False sends none.

    Raises:
        ConfigError: there is no such set, it cannot be read, or its layout is another one.
    """
    repo_id = repo_id or BEIR.get(name)
    if repo_id is None:
        raise ConfigError(f"BEIR has no set {name!r} on the Hub.{nearest_and_all(name, sorted(BEIR))}")
    split = split or BEIR_SPLITS.get(name, "test")
    source = HubSource.pinned(repo_id, revision, token)
    judged = "default" if "default" in source.configs() else "qrels"
    qrels = read_qrels(source.rows(judged, split), ("query-id", "corpus-id", "score"))
    asked, corpus = (_part(source, config, split) for config in ("queries", "corpus"))
    queries = read_queries(asked, _id_field(asked), qrels)
    about = EvaluationSet(name=name, repo_id=repo_id, config=judged, split=split, revision=source.sha)
    return retrieval_set(about, queries, qrels, corpus, _id_field(corpus))


def hakari(
    benchmark: str, task: str | None = None, *, revision: str | None = None, token: str | bool | None = None
) -> list[RetrievalSet]:
    """The tasks of a benchmark of HAKARI-Bench, or one of them, pinned to the commit that the revision names now.

    No document is left out for having a query's id, as HAKARI-Bench has it.

    Example:
            data = hakari("NanoCodeRAG")

    Args:
        benchmark: such as `NanoCodeRAG`, `NanoBEIR-ja`, `NanoMTEB-German`.
        task: a split of it; None takes all.
        token: None takes the stored token or `HF_TOKEN`, False sends none.

    Raises:
        ConfigError: there is no such benchmark or task, it cannot be read, or its layout is another one.
    """
    source = HubSource.pinned(f"{HAKARI}/{benchmark}", revision, token)
    tasks = source.splits("queries")
    if task is not None and task not in tasks:
        raise ConfigError(f"{source.repo_id} has no task {task!r}.{nearest_and_all(task, tasks)}")
    return [_hakari(source, benchmark, each) for each in ([task] if task else tasks)]


def _hakari(source: HubSource, benchmark: str, task: str) -> RetrievalSet:
    qrels = read_qrels(source.rows("qrels", task), ("query-id", "corpus-id", None))
    queries = read_queries(source.rows("queries", task), "_id", qrels)
    name = task if task.startswith(benchmark) else f"{benchmark} {task}"
    about = EvaluationSet(name=name, repo_id=source.repo_id, config="qrels", split=task, revision=source.sha)
    found = retrieval_set(about, queries, qrels, source.rows("corpus", task), "_id")
    return replace(found, excluded={})


def _part(source: HubSource, config: str, split: str) -> HubRows:
    """The rows of the split, or of the only one: older repositories name it after the config."""
    splits = source.splits(config)
    return source.rows(config, splits[0] if split not in splits and len(splits) == 1 else split)


def _id_field(rows: HubRows) -> str:
    return "_id" if rows.has("_id") else "id"
