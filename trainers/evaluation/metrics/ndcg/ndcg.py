"""Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002); the gain is the grade."""

from __future__ import annotations

from typing import Any

import evaluate

from hf_relabel.trainers.evaluation.metrics.module import measured, module_info


class Ndcg(evaluate.Metric):  # type: ignore[misc]
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002); the gain is the grade."""

    def _info(self) -> Any:
        return module_info("ndcg", __doc__ or "")

    def _compute(
        self, predictions: Any, references: Any, k: int | None = 10, per_query: bool = False
    ) -> dict[str, Any]:
        return measured("ndcg", predictions, references, k, per_query)
