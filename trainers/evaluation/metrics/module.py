"""What the modules for the `evaluate` library share. It is a layer of its own because `evaluate` copies each module's
file into its cache and takes the first metric it finds there: what they have in common has to be imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation.metrics.ranking import mean_metrics, ranking_metrics

_INPUTS = """
Args:
    predictions: the ranking of each query, `{"docids": [...], "scores": [...]}`. Documents are ordered by score, ties
        by docid, the greater first.
    references: in the same order, what is judged of each query, `{"docids": [...], "grades": [...]}`. Grades of 0 or
        less are not relevant.
    k: how many documents of the ranking count.%s
    per_query: give each query's value too, in the order of the predictions.

Returns:
    `{"%s@10": mean over all queries}` for k=10, and `"per_query"`, a list, if it was asked for.
"""
_WHOLE = " None counts all of them."


def module_info(name: str, description: str, citation: str = "") -> Any:
    """The `evaluate.MetricInfo` of a measure."""
    import datasets
    import evaluate

    return evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description=_INPUTS % ("" if name == "recall" else _WHOLE, name),
        features=datasets.Features(
            {
                "predictions": {
                    "docids": datasets.List(datasets.Value("string")),
                    "scores": datasets.List(datasets.Value("float64")),
                },
                "references": {
                    "docids": datasets.List(datasets.Value("string")),
                    "grades": datasets.List(datasets.Value("int64")),
                },
            }
        ),
        reference_urls=["https://github.com/usnistgov/trec_eval"],
    )


def measured(
    name: str,
    predictions: Sequence[Mapping[str, Sequence[Any]]],
    references: Sequence[Mapping[str, Sequence[Any]]],
    k: int | None,
    per_query: bool,
) -> dict[str, Any]:
    """What `compute` of a measure gives.

    Raises:
        ConfigError: lists of one query differ in length or name a document twice; see `ranking_metrics`.
    """
    metric = name if k is None else f"{name}@{k}"
    run = {str(row): _by_docid(each, "scores", row) for row, each in enumerate(predictions)}
    qrels = {str(row): _by_docid(each, "grades", row) for row, each in enumerate(references)}
    lines = ranking_metrics(run, qrels, [metric])
    result: dict[str, Any] = dict(mean_metrics(lines))
    if per_query:
        result["per_query"] = [line[metric] for line in lines.values()]
    return result


def _by_docid(query: Mapping[str, Sequence[Any]], field: str, row: int) -> dict[str, Any]:
    docids, values = query["docids"], query[field]
    if len(docids) != len(values):
        raise ConfigError(f"Query {row}: there are {len(docids)} docids and {len(values)} {field}.")
    by_docid = dict(zip(docids, values, strict=True))
    if len(by_docid) != len(docids):
        raise ConfigError(f"Query {row}: a document is there twice.")
    return by_docid
