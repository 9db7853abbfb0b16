"""NanoBEIR and AIR-Bench as evaluation sets, out of data sets on the Hub.

The layouts were read in public sources, and tried on sets of the same layout on a local Hub; huggingface.co itself was
not asked.

- NanoBEIR: NanoBEIREvaluator of sentence-transformers 6.2 (`nano_beir.py`). Configs `corpus` and `queries` with `_id`
  and `text`, and `qrels` with `query-id` and `corpus-id`, a text or a list of them. Each has a split per set.
- AIR-Bench (arXiv 2412.13102): its repository on GitHub (`air_benchmark/evaluation_utils/data_loader.py`,
  `air_benchmark/tasks/v24_05`, `docs/available_tasks.md`), and the cards and files of `AIR-Bench/qa_web_en`,
  `AIR-Bench/long-doc_healthcare_en`, `AIR-Bench/qrels-qa_wiki_en-dev` and `AIR-Bench/qrels-long-doc_arxiv_en-dev`. A
  config per version; splits `corpus_{dataset}` and `queries_{dataset}_dev` with `id` and `text`. The public judgements,
  `qid`, `docid` and `relevance`, were moved to repositories of their own, `qrels-{task}_{domain}_{language}-dev`, split
  `qrels_{dataset}_dev`. Those of the test splits are not public.
"""

from __future__ import annotations

from hf_relabel.builders.errors import ConfigError
from hf_relabel.cards.set_groups import GROUPS
from hf_relabel.cards.training_report import EvaluationSet
from hf_relabel.trainers.evaluation.hub_rows import HubSource, read_qrels, read_queries, retrieval_set
from hf_relabel.trainers.evaluation.sets import RetrievalSet

NANO_BEIR = "sentence-transformers/NanoBEIR-en"
"""Translations have the same layout, such as `lightonai/NanoBEIR-de`."""
AIR_BENCH = "AIR-Bench_24.05"

_ALL_LANGUAGES = "ar bn de en es fa fr hi id ja ko ru zh"
_QA = {
    "arxiv": "en",
    "finance": "ar en fr zh",
    "healthcare": "de en es fr zh",
    "law": "de en fr",
    "msmarco": "en",
    "news": _ALL_LANGUAGES,
    "science": "ru",
    "web": _ALL_LANGUAGES,
    "wiki": _ALL_LANGUAGES,
}
_LONG_DOC = {
    "arxiv": "llama2",
    "book": "a-brief-history-of-time_stephen-hawking",
    "healthcare": "pubmed_100K-200K_3",
    "law": "lex_files_300K-400K",
}
AirBenchName = tuple[str, str, str, str]
"""Task, domain, language and data set."""


def nano_beir_names() -> tuple[str, ...]:
    """The 13 sets of NanoBEIR, such as `NanoMSMARCO`."""
    return GROUPS["nanobeir"]


def nano_beir(
    name: str, *, revision: str | None = None, token: str | bool | None = None, repo_id: str = NANO_BEIR
) -> RetrievalSet:
    """A set of NanoBEIR, pinned to the commit that the revision names now.

    Rows without a text are left out, as NanoBEIREvaluator does. A document with the query's own id is never counted, as
    in BEIR, which NanoBEIREvaluator does not do.

    Args:
        name: `NanoMSMARCO` or, as sentence-transformers has it, `msmarco`; the case does not matter.
        token: None takes the stored token or `HF_TOKEN`, False sends none.
        repo_id: another collection of the same layout.

    Raises:
        ConfigError: there is no such set, it cannot be read, or its layout is another one.
    """
    by_name = {each.lower().removeprefix("nano"): each for each in nano_beir_names()}
    split = by_name.get(name.lower().removeprefix("nano"))
    if split is None:
        raise ConfigError(f"NanoBEIR has no set {name!r}. There are: {', '.join(nano_beir_names())}.")
    source = HubSource.pinned(repo_id, revision, token)
    corpus = source.rows("corpus", split)
    qrels = read_qrels(source.rows("qrels", split), ("query-id", "corpus-id", None))
    queries = read_queries(source.rows("queries", split), "_id", qrels)
    about = EvaluationSet(name=split, repo_id=repo_id, config="qrels", split=split, revision=source.sha)
    return retrieval_set(about, queries, qrels, corpus, "_id")


def air_bench_names() -> tuple[AirBenchName, ...]:
    """The sets of AIR-Bench 24.05 whose judgements are public: task, domain, language, data set."""
    qa = [("qa", domain, language, "default") for domain, languages in _QA.items() for language in languages.split()]
    return (*qa, *(("long-doc", domain, "en", dataset) for domain, dataset in _LONG_DOC.items()))


def air_bench(
    task: str,
    domain: str,
    language: str,
    dataset: str = "default",
    *,
    version: str = AIR_BENCH,
    revision: str | None = None,
    qrels_revision: str | None = None,
    token: str | bool | None = None,
) -> RetrievalSet:
    """A set of AIR-Bench with the judgements of its dev split. Both repositories are pinned to a commit at once.

    `about.revision` is the commit of the corpus and the queries.

    Args:
        task: `qa` or `long-doc`.
        domain, language, dataset: see `air_bench_names`; sets of a later version are looked for on the Hub.
        version: the config. 24.04 has no dev split.
        revision, qrels_revision: of the repository with the corpus and of that with the judgements.
        token: None takes the stored token or `HF_TOKEN`, False sends none.

    Raises:
        ConfigError: there is no such set, it cannot be read, or its layout is another one.
    """
    if version == "AIR-Bench_24.04":
        raise ConfigError(f"{version} has test splits only, whose judgements are not public. Take {AIR_BENCH}.")
    if version == AIR_BENCH and (task, domain, language, dataset) not in air_bench_names():
        raise ConfigError(_no_air_bench(task, domain, language, dataset))
    name, part = f"{task}_{domain}_{language}", dataset.replace("-", "_")
    source = HubSource.pinned(f"AIR-Bench/{name}", revision, token)
    judged = HubSource.pinned(f"AIR-Bench/qrels-{name}-dev", qrels_revision, token)
    corpus = source.rows(version, f"corpus_{part}")
    qrels = read_qrels(judged.rows(version, f"qrels_{part}_dev"), ("qid", "docid", "relevance"))
    split = f"queries_{part}_dev"
    queries = read_queries(source.rows(version, split), "id", qrels)
    about = EvaluationSet(
        name=f"AIR-Bench {task} {domain} {language}" + ("" if dataset == "default" else f" {dataset}"),
        repo_id=source.repo_id,
        config=version,
        split=split,
        revision=source.sha,
    )
    return retrieval_set(about, queries, qrels, corpus, "id")


def _no_air_bench(task: str, domain: str, language: str, dataset: str) -> str:
    near = [name for name in air_bench_names() if name[0] == task]
    near = [name for name in near if name[1] == domain] or near or list(air_bench_names())
    names = ", ".join("/".join(name) for name in near)
    return f"{AIR_BENCH} has no judged set {task}/{domain}/{language}/{dataset}. There are: {names}."
