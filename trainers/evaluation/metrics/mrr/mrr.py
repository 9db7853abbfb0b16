"""Mean reciprocal rank of the first relevant document."""

from __future__ import annotations

from typing import Any

import evaluate

from hf_relabel.trainers.evaluation.metrics.module import measured, module_info


class Mrr(evaluate.Metric):  # type: ignore[misc]
    """Mean reciprocal rank of the first relevant document."""

    def _info(self) -> Any:
        return module_info("mrr", __doc__ or "")

    def _compute(
        self, predictions: Any, references: Any, k: int | None = 10, per_query: bool = False
    ) -> dict[str, Any]:
        return measured("mrr", predictions, references, k, per_query)
