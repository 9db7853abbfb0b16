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

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from hf_relabel.builders.errors import ConfigError
from hf_relabel.cards.training_report import EvaluationSet
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.trainers.evaluation.beir import without_itself
from hf_relabel.trainers.evaluation.sets import Document, RetrievalSet

NANO_BEIR = "sentence-transformers/NanoBEIR-en"
"""Translations have the same layout, such as `lightonai/NanoBEIR-de`."""
AIR_BENCH = "AIR-Bench_24.05"

_NANO = (
    "ClimateFEVER",
    "DBPedia",
    "FEVER",
    "FiQA2018",
    "HotpotQA",
    "MSMARCO",
    "NFCorpus",
    "NQ",
    "QuoraRetrieval",
    "SCIDOCS",
    "ArguAna",
    "SciFact",
    "Touche2020",
)
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
    return tuple(f"Nano{name}" for name in _NANO)


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
    source = _HubSource.pinned(repo_id, revision, token)
    corpus = source.rows("corpus", split)
    qrels = _qrels(source.rows("qrels", split), ("query-id", "corpus-id", None))
    queries = _queries(source.rows("queries", split), "_id", qrels)
    about = EvaluationSet(name=split, repo_id=repo_id, config="qrels", split=split, revision=source.sha)
    return _retrieval_set(about, queries, qrels, corpus, "_id")


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
    source = _HubSource.pinned(f"AIR-Bench/{name}", revision, token)
    judged = _HubSource.pinned(f"AIR-Bench/qrels-{name}-dev", qrels_revision, token)
    corpus = source.rows(version, f"corpus_{part}")
    qrels = _qrels(judged.rows(version, f"qrels_{part}_dev"), ("qid", "docid", "relevance"))
    split = f"queries_{part}_dev"
    queries = _queries(source.rows(version, split), "id", qrels)
    about = EvaluationSet(
        name=f"AIR-Bench {task} {domain} {language}" + ("" if dataset == "default" else f" {dataset}"),
        repo_id=source.repo_id,
        config=version,
        split=split,
        revision=source.sha,
    )
    return _retrieval_set(about, queries, qrels, corpus, "id")


def _no_air_bench(task: str, domain: str, language: str, dataset: str) -> str:
    near = [name for name in air_bench_names() if name[0] == task]
    near = [name for name in near if name[1] == domain] or near or list(air_bench_names())
    names = ", ".join("/".join(name) for name in near)
    return f"{AIR_BENCH} has no judged set {task}/{domain}/{language}/{dataset}. There are: {names}."


@dataclass(frozen=True)
class _HubSource:
    """A data set on the Hub at a commit."""

    repo_id: str
    sha: str
    token: str | bool | None

    @classmethod
    def pinned(cls, repo_id: str, revision: str | None, token: str | bool | None) -> _HubSource:
        from hf_relabel.hub_tools.hub.api import HubApi

        with hub_errors(repo_id, revision, token, ConfigError):
            return cls(repo_id, cast(str, HubApi(token=token).dataset_info(repo_id, revision=revision).sha), token)

    def rows(self, config: str, split: str) -> _Rows:
        """The rows of a split, streamed.

        Raises:
            ConfigError: there is no such config or split, or it cannot be read.
        """
        import datasets
        from datasets.exceptions import DatasetNotFoundError, DatasetsError

        with hub_errors(self.repo_id, self.sha, self.token, ConfigError):
            try:
                stream = datasets.load_dataset(
                    self.repo_id, config, split=split, revision=self.sha, token=self.token, streaming=True
                )
            except DatasetNotFoundError as error:  # the commit was found before, so it is the files
                raise ConfigError(
                    f"{self.repo_id}: access to this data set has to be asked for on its page."
                ) from error
            except (DatasetsError, ValueError, FileNotFoundError, ConnectionError, RuntimeError) as error:
                raise ConfigError(self._missing(config, split)) from error
        return _Rows(self, f"{self.repo_id}, config {config}, split {split}", stream)

    def _missing(self, config: str, split: str) -> str:
        """What there is where something is not there."""
        import datasets
        from datasets.exceptions import DatasetsError

        options = {"revision": self.sha, "token": self.token}
        with suppress(DatasetsError, ValueError, FileNotFoundError, ConnectionError, RuntimeError):
            configs = datasets.get_dataset_config_names(self.repo_id, **options)
            if config not in configs:
                return f"{self.repo_id}: there is no config {config!r}. There are: {', '.join(sorted(configs))}."
            splits = datasets.get_dataset_split_names(self.repo_id, config, **options)
            if split not in splits:
                return (
                    f"{self.repo_id}, config {config}: there is no split {split!r}. "
                    f"There are: {', '.join(map(str, splits))}."
                )
        return f"{self.repo_id}, config {config}, split {split}: the datasets library cannot read it."


@dataclass(frozen=True)
class _Rows:
    """Rows of a split, from the first one each time they are iterated."""

    source: _HubSource
    name: str
    stream: Iterable[dict[str, Any]]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        from datasets.exceptions import DatasetsError

        with hub_errors(self.source.repo_id, self.source.sha, self.source.token, ConfigError):
            try:
                yield from self.stream
            except (DatasetsError, ValueError, FileNotFoundError, ConnectionError) as error:
                raise ConfigError(
                    f"{self.name}: the datasets library cannot read it ({type(error).__name__})."
                ) from error

    def value(self, row: dict[str, Any], field: str) -> Any:
        try:
            return row[field]
        except KeyError:
            raise ConfigError(f"{self.name}: there is no column {field!r}. There are: {', '.join(row)}.") from None

    def text(self, row: dict[str, Any], field: str) -> str:
        value = self.value(row, field)
        if not isinstance(value, str):
            raise ConfigError(f"{self.name}: {str(value)[:80]!r} in the column {field!r} is no text.")
        return value


def _qrels(rows: _Rows, fields: tuple[str, str, str | None]) -> dict[str, dict[str, int]]:
    query_field, docid_field, grade_field = fields
    qrels: dict[str, dict[str, int]] = {}
    for row in rows:
        docids = rows.value(row, docid_field)
        grade = 1 if grade_field is None else rows.value(row, grade_field)
        if not isinstance(grade, int):
            raise ConfigError(f"{rows.name}: the grade {str(grade)[:80]!r} is no whole number.")
        judged = qrels.setdefault(rows.text(row, query_field), {})
        judged |= dict.fromkeys(docids if isinstance(docids, list) else [rows.text(row, docid_field)], grade)
    if not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        raise ConfigError(f"{rows.name}: no judgement above 0, so there is nothing to find.")
    return qrels


def _queries(rows: _Rows, id_field: str, qrels: dict[str, dict[str, int]]) -> dict[str, str]:
    """The judged queries. Those without a text are taken out of the judgements too."""
    queries = {rows.text(row, id_field): rows.text(row, "text") for row in rows}
    if missing := [query_id for query_id in qrels if query_id not in queries]:
        raise ConfigError(f"{rows.name}: {len(missing)} judged queries, such as {missing[0]!r}, are not there.")
    for query_id in [query_id for query_id in qrels if not queries[query_id]]:
        del qrels[query_id]
    return {query_id: queries[query_id] for query_id in qrels}


def _documents(rows: _Rows, id_field: str) -> Iterator[Document]:
    for row in rows:
        if text := rows.text(row, "text"):
            yield Document(rows.text(row, id_field), "", text)


def _retrieval_set(
    about: EvaluationSet, queries: dict[str, str], qrels: dict[str, dict[str, int]], corpus: _Rows, id_field: str
) -> RetrievalSet:
    return RetrievalSet(
        about=about.model_copy(update={"queries": len(queries)}),
        queries=queries,
        qrels=qrels,
        corpus=lambda: _documents(corpus, id_field),
        excluded=without_itself(queries),
    )
