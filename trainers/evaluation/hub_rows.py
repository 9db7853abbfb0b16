"""Evaluation sets in data sets on the Hub: their rows at a commit, streamed, and what is wrong with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.cards.training_report import EvaluationSet
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.trainers.evaluation.beir import without_itself
from hf_relabel.trainers.evaluation.sets import Document, RetrievalSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubSource:
    """A data set on the Hub at a commit."""

    repo_id: str
    sha: str
    token: str | bool | None

    @classmethod
    def pinned(cls, repo_id: str, revision: str | None, token: str | bool | None) -> HubSource:
        from hf_relabel.hub_tools.hub.api import HubApi

        with hub_errors(repo_id, revision, token, ConfigError):
            return cls(repo_id, cast(str, HubApi(token=token).dataset_info(repo_id, revision=revision).sha), token)

    def rows(self, config: str, split: str) -> HubRows:
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
        return HubRows(self, f"{self.repo_id}, config {config}, split {split}", stream)

    def configs(self) -> list[str]:
        """The configs there are."""
        return self._named(lambda options: _datasets().get_dataset_config_names(self.repo_id, **options))

    def splits(self, config: str) -> list[str]:
        """The splits of a config.

        Raises:
            ConfigError: there is no such config, or its files cannot be read.
        """
        return self._named(lambda options: _datasets().get_dataset_split_names(self.repo_id, config, **options))

    def _named(self, ask: Callable[[dict[str, Any]], list[Any]]) -> list[str]:
        from datasets.exceptions import DatasetsError

        with hub_errors(self.repo_id, self.sha, self.token, ConfigError):
            try:
                return [str(name) for name in ask({"revision": self.sha, "token": self.token})]
            except (DatasetsError, ValueError, FileNotFoundError, ConnectionError, RuntimeError) as error:
                raise ConfigError(f"{self.repo_id}: the datasets library cannot read what is in it.") from error

    def _missing(self, config: str, split: str) -> str:
        """What there is where something is not there."""
        with suppress(ConfigError):
            configs = self.configs()
            if config not in configs:
                return f"{self.repo_id}: there is no config {config!r}. There are: {', '.join(sorted(configs))}."
            splits = self.splits(config)
            if split not in splits:
                return f"{self.repo_id}, config {config}: there is no split {split!r}. There are: {', '.join(splits)}."
        return f"{self.repo_id}, config {config}, split {split}: the datasets library cannot read it."


@dataclass(frozen=True)
class HubRows:
    """Rows of a split, from the first one each time they are iterated."""

    source: HubSource
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

    def has(self, field: str) -> bool:
        """Whether the first row has a column."""
        return any(field in row for row in islice(self, 1))

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


def read_qrels(rows: HubRows, fields: tuple[str, str, str | None]) -> dict[str, dict[str, int]]:
    """The judgements. Of a document that has two grades of a query the last one counts, as whoever measures on a set of
    others cannot mend it; that is told."""
    query_field, docid_field, grade_field = fields
    qrels: dict[str, dict[str, int]] = {}
    twice: list[str] = []
    for row in rows:
        docids = rows.value(row, docid_field)
        grade = 1 if grade_field is None else rows.value(row, grade_field)
        if not isinstance(grade, int | float) or grade != int(grade):
            raise ConfigError(f"{rows.name}: the grade {str(grade)[:80]!r} is no whole number.")
        judged = qrels.setdefault(rows.text(row, query_field), {})
        found = dict.fromkeys(docids if isinstance(docids, list) else [rows.text(row, docid_field)], int(grade))
        twice += [docid for docid in found if judged.get(docid, grade) != grade]
        judged |= found
    if not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        raise ConfigError(f"{rows.name}: no judgement above 0, so there is nothing to find.")
    if twice:
        logger.warning(
            "%s: %s a second, other grade, such as that of the document %r; the last one counts.",
            rows.name,
            counted(len(twice), "judgement has", "judgements have"),
            twice[0][:80],
        )
    return qrels


def read_queries(rows: HubRows, id_field: str, qrels: dict[str, dict[str, int]]) -> dict[str, str]:
    """The judged queries. Those without a text are taken out of the judgements too."""
    queries = {rows.text(row, id_field): rows.text(row, "text") for row in rows}
    if missing := [query_id for query_id in qrels if query_id not in queries]:
        raise ConfigError(f"{rows.name}: {len(missing)} judged queries, such as {missing[0]!r}, are not there.")
    for query_id in [query_id for query_id in qrels if not queries[query_id]]:
        del qrels[query_id]
    return {query_id: queries[query_id] for query_id in qrels}


def documents(rows: HubRows, id_field: str) -> Iterator[Document]:
    """The documents, with their titles where there are any; not those without a word."""
    for row in rows:
        title, text = row.get("title") or "", rows.text(row, "text")
        if title or text:
            yield Document(rows.text(row, id_field), title, text)


def retrieval_set(
    about: EvaluationSet, queries: dict[str, str], qrels: dict[str, dict[str, int]], corpus: HubRows, id_field: str
) -> RetrievalSet:
    return RetrievalSet(
        about=about.model_copy(update={"queries": len(queries)}),
        queries=queries,
        qrels=qrels,
        corpus=lambda: documents(corpus, id_field),
        excluded=without_itself(queries),
    )


def _datasets() -> Any:
    import datasets

    return datasets
