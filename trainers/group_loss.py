"""A reranker's loss over the group of passages that one query comes with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from hf_relabel.builders.errors import ConfigError


class GroupSoftmaxLoss(nn.Module):  # type: ignore[misc]
    """Softmax cross-entropy of one positive among the negatives of its query, as Tevatron trains rerankers.

    The loss of a query with the scores s is -log(exp(s_p / t) / Σ exp(s / t)) over its positive p and its negatives;
    that of a batch is the mean over its queries. Groups may be of different sizes. Batches come from
    `collating.ListwiseCollator` with a draw of one positive, a new one each epoch.

    Example:
            collator = ListwiseCollator(model.preprocess, draw=RowDraw(negatives=7, positives=1))
            CrossEncoderTrainer(model, args, rows, loss=GroupSoftmaxLoss(model), data_collator=collator).train()

    Args:
        model: the `CrossEncoder` to train, with one label.
        temperature: > 0; scores are divided by it.

    Raises:
        ConfigError: the model has several labels, or the temperature is not above 0.
    """

    def __init__(self, model: Any, *, temperature: float = 1.0) -> None:
        super().__init__()
        if model.num_labels != 1:
            raise ConfigError(f"GroupSoftmaxLoss needs a model with one score for a pair, not {model.num_labels}.")
        if not temperature > 0:
            raise ConfigError(f"The temperature must be above 0, not {temperature}.")
        self.model, self.temperature = model, temperature

    def forward(
        self, inputs: Sequence[Any], labels: Sequence[Tensor], prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            inputs: queries, and for each the list of its passages.
            labels: for each query as many numbers as it has passages: 1 for the positive, else 0.

        Raises:
            ConfigError: a query has not just one positive.
        """
        queries, passages = inputs
        positives = [label.nonzero().flatten() for label in labels]
        if wrong := [len(found) for found in positives if len(found) != 1]:
            raise ConfigError(
                f"A softmax over a group knows one positive, not {wrong[0]}: draw one (`RowDraw(positives=1)`)."
            )
        pairs = [(query, text) for query, texts in zip(queries, passages, strict=True) for text in texts]
        features = batch_to_device(self.model.preprocess(pairs, prompt=prompt, task=task), self.model.device)
        scores = self.model(features)["scores"].flatten().float() / self.temperature
        groups = scores.split([len(texts) for texts in passages])
        lowest = torch.finfo(scores.dtype).min  # not -inf: a padded place then has a gradient of 0, never of no number
        return cross_entropy(
            pad_sequence(groups, batch_first=True, padding_value=lowest), torch.cat(positives).to(scores.device)
        )

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, for the model card."""
        return {"temperature": self.temperature}
