"""A second model that says which negatives may be positives: GISTEmbed (arXiv 2402.16829), for our rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin, has_static_embedding_input
from sentence_transformers.util import cos_sim
from torch import Tensor

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.passage_pool import Pool, Structure

Strategy = Literal["absolute", "relative"]


class Guide(CachedLossMixin):  # type: ignore[misc]
    """A frozen bi-encoder. A negative whose cosine to the query, by the guide, is above that of the query's positive
    less a margin counts for nothing: neither a hard negative of the row, nor a passage of another row.

    Of several positives in a step, the one that the guide finds farthest sets the limit. The margins are those of
    sentence-transformers' `GISTEmbedLoss`, whose loss this is with one positive and no contrast among queries or among
    positives.

    Example:
            guide = Guide(SentenceTransformer("BAAI/bge-base-en-v1.5"), margin=0.05, strategy="relative")
            RowTrainer(model, train_dataset=rows, loss=MultiPositiveLoss(model, guide=guide)).train()

    Args:
        model: a `SentenceTransformer` with a tokenizer of its own. It is set to evaluation and no gradient is taken.
        margin: 0 or more.
        strategy: `absolute`: the limit is the positive's cosine less the margin; `relative`: less that share of it.
        prompts: `{"query": …, "document": …}`; None for the model's own.

    Attributes:
        compared: negatives that it has looked at; `left_out` of them counted for nothing.

    Raises:
        ConfigError: a setting makes no sense.
    """

    def __init__(
        self,
        model: Any,
        *,
        margin: float = 0.0,
        strategy: Strategy = "absolute",
        prompts: Mapping[str, str] | None = None,
    ) -> None:
        if strategy not in get_args(Strategy):
            raise ConfigError(f"strategy={strategy!r} is not one of {', '.join(get_args(Strategy))}.")
        if not margin >= 0:
            raise ConfigError(f"The margin of a guide must be 0 or more, not {margin}.")
        # No module of the loss: the trainer would take it for the model that is trained, and save it.
        self.model = model.eval().requires_grad_(False)
        self.margin, self.strategy = margin, strategy
        self.prompts = dict(model.prompts if prompts is None else prompts)
        self._sliced = not has_static_embedding_input(model)
        self.compared: Any = 0
        self.left_out: Any = 0

    def read(self, queries: Sequence[str], passages: Sequence[str]) -> dict[str, Any]:
        """The texts of a batch as the guide's tokenizer has them; called by `RowCollator`."""
        return {"queries": self._read(queries, "query"), "passages": self._read(passages, "document")}

    def looked_at(self, batch: Mapping[str, Any], structure: Structure, at_once: int | None) -> Structure:
        """The structure with what the guide makes of the batch's texts, so many encoded at once.

        Raises:
            ConfigError: the collator does not know the guide.
        """
        if "guide" not in batch:
            raise ConfigError(
                "The loss has a guide, and the batch was not read for it: train with RowTrainer, or give the guide to"
                " the collator as well: RowCollator(…, guide=guide)."
            )
        queries, passages = (self._embedded(batch["guide"][name], at_once) for name in ("queries", "passages"))
        return replace(structure, guide_queries=queries, guide_passages=passages)

    def kept(self, negatives: Tensor, pool: Pool, structure: Structure) -> Tensor:
        """Shape (rows, passages of the pool): the negatives that the guide does not find too near."""
        assert pool.guide is not None
        assert structure.guide_queries is not None
        scores = cos_sim(structure.guide_queries, pool.guide)
        of_positives = scores.gather(1, structure.positives.clamp(min=0) + pool.first)
        lowest = of_positives.masked_fill(structure.positives < 0, torch.inf).amin(1, keepdim=True)
        margin = self.margin if self.strategy == "absolute" else self.margin * lowest.abs()
        kept = negatives & (scores <= lowest - margin)
        if torch.is_grad_enabled():
            compared = negatives.sum()
            self.compared, self.left_out = self.compared + compared, self.left_out + compared - kept.sum()
        return kept

    def share_left_out(self) -> float | None:
        """Of the negatives that were trained on so far; None before there were any."""
        return int(self.left_out) / int(self.compared) if int(self.compared) else None

    def settings(self) -> dict[str, Any]:
        """For the model card."""
        name = getattr(self.model.model_card_data, "base_model", None)
        return {"model": name, "margin": self.margin, "strategy": self.strategy}

    def _read(self, texts: Sequence[str], task: str) -> dict[str, Any]:
        prompt = self.prompts.get(task) or None
        return {**self.model.preprocess(list(texts), prompt=prompt, task=task), "task": task}

    def _embedded(self, features: Mapping[str, Any], at_once: int | None) -> Tensor:
        """Shape (texts, dimensions), in 32 bits or more: cosines are compared to the last digit."""
        self.model.to(next(value.device for value in features.values() if torch.is_tensor(value)))
        with torch.no_grad():
            if at_once is None or not self._sliced:
                found = self.model(dict(features))["sentence_embedding"]
            else:
                self.mini_batch_size = at_once
                pieces = self.embed_minibatch_iter(dict(features), with_grad=False, copy_random_state=False)
                found = torch.cat([piece for piece, *_ in pieces])
        return found.to(torch.promote_types(found.dtype, torch.float32))
