"""The measures as modules of the `evaluate` library. They come with the package, so no network is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import needs

METRICS = ("ndcg", "map", "recall", "mrr")


def metric_path(name: str) -> Path:
    """The folder that `evaluate.load` takes.

    Raises:
        ConfigError: there is no such metric.
    """
    if name not in METRICS:
        raise ConfigError(f"There is no metric {name!r}. There are: {', '.join(METRICS)}.")
    return Path(__file__).parent / name


def load_metric(name: str, **options: Any) -> Any:
    """An `evaluate.Metric`: `load_metric("ndcg").compute(predictions=..., references=..., k=10)`.

    Its cache is below `HF_HOME`. Processes that work together need `num_process`, `process_id` and an `experiment_id`.

    Args:
        name: `ndcg`, `map`, `recall` or `mrr`.
        options: of `evaluate.load`, such as `keep_in_memory`.

    Raises:
        ConfigError: there is no such metric, or `evaluate` is not installed.
    """
    path = metric_path(name)
    with needs("evaluate", "A metric of the library evaluate"):
        import evaluate
    return evaluate.load(str(path), **options)
