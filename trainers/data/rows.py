"""From a config's rows to what a model is trained on: texts drawn for one epoch, and tables for other losses.

Rows are taken as `load_dataset(repo, config)` gives them, see `hf_relabel.builders.rows`; how texts are drawn from one
is in `hf_relabel.builders.configs.views.draws`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.configs.views.draws import (
    Draw,
    RowDraw,
    TrainingPassage,
    name_of,
    problem_of,
    usable_negatives,
    usable_passages,
)
from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.data.one_query import without_known_negatives

__all__ = [
    "COLUMNS",
    "Draw",
    "RowCounts",
    "RowDraw",
    "TrainingPassage",
    "check_columns",
    "listwise_row",
    "listwise_rows",
    "tuple_prompts",
    "tuple_rows",
    "tuple_texts",
    "usable_rows",
]

COLUMNS = ("query", "positive_passages", "negative_passages")
"""Columns without which nothing can be trained. `query_id` and `subset` are read where there are any."""
_ROWS_AT_ONCE = 256


@dataclass(slots=True)
class RowCounts:
    """Rows read for training, and why some were left out. Of a stream: of what has been read of it so far."""

    kept: int = 0
    without_query: int = 0
    without_positives: int = 0
    with_too_few_negatives: int = 0
    known_negatives: int = 0
    """Negatives that were left out, as another row of the query has them for positives. Not of a stream."""

    @property
    def skipped(self) -> int:
        return self.without_query + self.without_positives + self.with_too_few_negatives


def check_columns(names: Iterable[str] | None, what: str = "dataset") -> None:
    """Refuse a table that has not the columns of our configs.

    Raises:
        ConfigError: one of them is missing.
    """
    found = list(names or ())
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise ConfigError(
            f"The {what} has the columns {', '.join(found) or '(none)'}, but not {', '.join(missing)}. Rows must be"
            " {query_id, query, positive_passages, negative_passages, subset}, as the configs of a release. Text"
            " pairs and triplets train with the trainers and losses of sentence-transformers as they are."
        )


def usable_rows(dataset: Any, *, skip: bool = False, negatives: int = 0) -> tuple[Any, RowCounts]:
    """The rows that can be trained on: with a query, a positive, and enough negatives, none of them blank.

    Args:
        dataset: a `datasets.Dataset` or `IterableDataset` of a config. A stream is looked at as it is read: by then
            the counts grow, in the process that reads it (data loader workers count for themselves).
        skip: leave other rows out and count them; otherwise the first one is an error.
        negatives: fewest hard negatives of a row. 0 is enough where other rows' passages are negatives too.

    Returns:
        The dataset without the other rows, and the counts. Negatives that another row has for positives of the same
        query are left out, where the dataset is no stream.

    Raises:
        ConfigError: the columns are not ours, or (unless `skip`) a row cannot be trained on.
    """
    check_columns(dataset.column_names)
    counts = RowCounts()

    def usable(row: Mapping[str, Any]) -> bool:
        problem = _count(row, counts, negatives)
        if problem and not skip:
            raise ConfigError(f"{problem} `usable_rows(dataset, skip=True)` leaves such rows out and counts them.")
        return problem is None

    if not hasattr(dataset, "select"):
        return dataset.filter(usable), counts
    known = without_known_negatives(dataset)
    dataset, counts.known_negatives = known.dataset, known.negatives
    # Not `filter`, which would find its answer in a cache and count nothing; and only the columns that matter.
    needed = [name for name in ("query_id", *COLUMNS) if name in dataset.column_names]
    needed = [name for name in needed if negatives or name != "negative_passages"]
    kept = [number for number, row in enumerate(dataset.select_columns(needed)) if usable(row)]
    return (dataset if len(kept) == len(dataset) else dataset.select(kept)), counts


def listwise_rows(dataset: Any, draw: RowDraw | None = None, *, epoch: int = 0) -> Any:
    """Rows as (query, docs, labels): what LambdaLoss and the other list losses of `CrossEncoder` take.

    `docs` are texts, positives first; `labels` are 1.0 for positives and 0.0 for negatives. Lists are ragged.

    Args:
        draw: default all positives and 7 negatives. The table is made once; to draw anew each epoch, give the trainer
            `collating.ListwiseCollator` instead.

    Raises:
        ConfigError: the columns are not ours; when a row without positives or negatives is read.
    """
    drawn = draw or RowDraw()

    def listwise(batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        lists = [listwise_row(row, drawn, epoch) for row in _rows(batch)]
        return {name: [values[name] for values in lists] for name in ("query", "docs", "labels")}

    return _mapped(dataset, listwise, _listwise_features())


def listwise_row(row: Mapping[str, Any], draw: RowDraw, epoch: int = 0) -> dict[str, Any]:
    """One row of `listwise_rows`.

    Raises:
        ConfigError: the row has no positive, or no negative to rank it above.
    """
    drawn = draw(row, epoch)
    if not drawn.negatives:
        raise ConfigError(
            f"Row {name_of(row)} has no negative to rank its positives above."
            " `usable_rows(dataset, skip=True, negatives=1)` leaves such rows out and counts them."
        )
    passages = (*drawn.positives, *drawn.negatives)
    labels = [1.0] * len(drawn.positives) + [0.0] * len(drawn.negatives)
    return {"query": drawn.query, "docs": [passage.text for passage in passages], "labels": labels}


def tuple_rows(dataset: Any, draw: RowDraw | None = None, *, epoch: int = 0) -> Any:
    """One row per positive as (query, positive, negative_1 … negative_n): what plain losses take.

    Several rows then have the same query, whose positives are negatives of each other: train with
    `BatchSamplers.NO_DUPLICATES`, which keeps them out of one batch. For cross-encoders and for models that
    `losses.MultiPositiveLoss` does not train (sparse, late interaction).

    Args:
        draw: default all positives and 1 negative. All its negatives must be there, a tuple cannot be shorter.

    Raises:
        ConfigError: the columns are not ours; when a row without positives or with too few negatives is read.
    """
    drawn = draw or RowDraw(negatives=1)
    if drawn.negatives is None:
        raise ConfigError("Tuples need a number of negatives: all of them is a different number in each row.")
    count = drawn.negatives
    names = _tuple_names(count)

    def tuples(batch: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
        columns: dict[str, list[str]] = {name: [] for name in names}
        for row in _rows(batch):
            for values in _tuples(row, drawn, count, epoch):
                for name, value in zip(names, values, strict=True):
                    columns[name].append(value)
        return columns

    return _mapped(dataset, tuples, _text_features(names))


def tuple_prompts(query_prompt: str, passage_prompt: str, negatives: int) -> dict[str, str]:
    """Prompts by column of `tuple_rows`, for the `prompts` of the training arguments."""
    query, *passages = _tuple_names(negatives)
    return {query: query_prompt, **dict.fromkeys(passages, passage_prompt)}


def tuple_texts(row: Mapping[str, Any], draw: RowDraw, epoch: int = 0) -> dict[str, str]:
    """One row as `tuple_rows` has it, of one of its positives.

    Raises:
        ConfigError: the row has no positive, or too few negatives.
    """
    count = draw.negatives or 0
    return dict(zip(_tuple_names(count), next(_tuples(row, draw, count, epoch)), strict=True))


def _tuple_names(negatives: int) -> list[str]:
    return ["query", "positive", *(f"negative_{number + 1}" for number in range(negatives))]


def _tuples(row: Mapping[str, Any], draw: RowDraw, count: int, epoch: int) -> Iterator[list[str]]:
    drawn = draw(row, epoch)
    if len(drawn.negatives) < count:
        raise ConfigError(
            f"Row {name_of(row)} has {len(drawn.negatives)} usable negatives, not {count}."
            f" `usable_rows(dataset, skip=True, negatives={count})` leaves such rows out and counts them."
        )
    for positive in drawn.positives:
        yield [drawn.query, positive.text, *(negative.text for negative in drawn.negatives)]


def _mapped(dataset: Any, function: Any, features: Any) -> Any:
    check_columns(dataset.column_names)
    settings: dict[str, Any] = {
        "batched": True,
        "batch_size": _ROWS_AT_ONCE,
        "remove_columns": list(dataset.column_names),
        "features": features,
    }
    return dataset.map(function, **settings)


def _listwise_features() -> Any:
    from datasets import Features, List, Value

    text = Value("string")
    return Features({"query": text, "docs": List(text), "labels": List(Value("float32"))})


def _text_features(names: Sequence[str]) -> Any:
    from datasets import Features, Value

    return Features({name: Value("string") for name in names})


def _rows(batch: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    names = list(batch)
    for values in zip(*(batch[name] for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _count(row: Mapping[str, Any], counts: RowCounts, negatives: int) -> str | None:
    """Count the row, and say what is wrong with it."""
    known = usable_passages(row, "positive_passages")
    if problem := problem_of(row, known):
        if known:
            counts.without_query += 1
        else:
            counts.without_positives += 1
        return problem
    if negatives and (found := len(usable_negatives(row, known))) < negatives:
        counts.with_too_few_negatives += 1
        return f"Row {name_of(row)} has {found} usable negatives, not {negatives}."
    counts.kept += 1
    return None
