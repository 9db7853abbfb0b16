"""Share of the relevant documents that are among the first k."""

from __future__ import annotations

from typing import Any

import evaluate

from hf_relabel.trainers.evaluation.metrics.module import measured, module_info


class Recall(evaluate.Metric):  # type: ignore[misc]
    """Share of the relevant documents that are among the first k."""

    def _info(self) -> Any:
        return module_info("recall", __doc__ or "")

    def _compute(self, predictions: Any, references: Any, k: int = 10, per_query: bool = False) -> dict[str, Any]:
        return measured("recall", predictions, references, k, per_query)
