"""A contrastive loss that knows that a query may have several positives.

With one positive per row it is InfoNCE, the `MultipleNegativesRankingLoss` of sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin, has_static_embedding_input
from sentence_transformers.util import cos_sim, dot_score
from torch import Tensor, nn

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.guide import Guide
from hf_relabel.trainers.passage_pool import (
    Pool,
    Structure,
    gathered_pool,
    read_batch,
    rows_of_device,
    several_devices,
    with_known_elsewhere,
)
from hf_relabel.trainers.recipes.robust import Debiased, Robust
from hf_relabel.trainers.robust import Scored, robust_loss

Positives = Literal["logsumexp", "random", "joint"]
Similarity = Literal["cosine", "dot"]
_SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cosine": cos_sim, "dot": dot_score}


class MultiPositiveLoss(CachedLossMixin, nn.Module):  # type: ignore[misc]
    """Contrastive loss over rows with one or more positives and a ragged number of hard negatives.

    With s = similarity / temperature, P the positives of a query in the batch and N its negatives, the loss of a row is

    - `logsumexp`: log(1 + Σ_{p∈P} Σ_{n∈N} exp(s_n - s_p)), each pair of a positive and a negative in one sum
      (LSEPair of arXiv 2602.12727);
    - `random`: log(1 + Σ_{n∈N} exp(s_n - s_p)) for the first of P, whose order `collating.RowCollator` draws anew each
      epoch. Draw one positive only (`RowTrainer` does), or the others are encoded for nothing;
    - `joint`: Σ_{p∈P} log(1 + Σ_{n∈N} exp(s_n - s_p)), the likelihood of all positives (JointLH), which weighs a row by
      the number of its positives.

    All three are the same, and equal to `MultipleNegativesRankingLoss`, where a row has one positive. The loss of a
    batch is the mean over its rows.

    Each is a sum over targets s₊ of -log P, P = exp(s₊) / (exp(s₊) + Σ_{n∈N} exp(s_n)): of `joint`, each positive; of
    `random`, the one; of `logsumexp`, one at -log Σ_{p∈P} exp(-s_p), a soft minimum. `robust` puts another loss in the
    place of -log P.

    N are all passages of the batch, the row's own hard negatives and those of other rows with their positives, each
    text once, except what is a known positive of the query by docid or text, drawn for this step or not, in this row or
    in another one of the batch that asks the same query.

    Batches come from `collating.RowCollator`; plain text columns are refused.

    Example:
            RowTrainer(model, train_dataset=rows, loss=MultiPositiveLoss(model, temperature=0.02)).train()

    Args:
        model: the `SentenceTransformer` to train.
        positives: how several positives count, see above.
        temperature: > 0; the similarity is divided by it. sentence-transformers calls its inverse the scale.
        similarity: `cosine` or `dot`.
        in_batch: False leaves only the row's own hard negatives as negatives. Then each row must have one.
        mini_batch_size: texts encoded at once with gradient caching (arXiv 2101.06983): memory for the activations of
            that many texts only, the same gradients, one more forward pass. None encodes the batch as one.
        gather_across_devices: use the passages of all devices as negatives. The mean over the devices is then the
            loss of one device with all rows.
        guide: leaves out negatives that another model finds as near to the query as its positive (GISTEmbed).
        robust: a loss that expects some negatives to be positives, such as `GeneralisedCrossEntropy(q=0.7)`; see
            `recipes.robust`.

    Raises:
        ConfigError: a setting makes no sense.
    """

    def __init__(
        self,
        model: Any,
        *,
        positives: Positives = "logsumexp",
        temperature: float = 0.05,
        similarity: Similarity = "cosine",
        in_batch: bool = True,
        mini_batch_size: int | None = None,
        gather_across_devices: bool = False,
        guide: Guide | None = None,
        robust: Robust | None = None,
    ) -> None:
        super().__init__()
        if positives not in get_args(Positives):
            raise ConfigError(f"positives={positives!r} is not one of {', '.join(get_args(Positives))}.")
        if similarity not in _SIMILARITIES:
            raise ConfigError(f"similarity={similarity!r} is not one of {', '.join(_SIMILARITIES)}.")
        if not temperature > 0:
            raise ConfigError(f"The temperature must be above 0, not {temperature}.")
        if mini_batch_size is not None and mini_batch_size < 1:
            raise ConfigError(f"The size of a mini-batch must be 1 or more, not {mini_batch_size}.")
        if mini_batch_size is not None and has_static_embedding_input(model):
            raise ConfigError("A static embedding has no activations to save: leave out the mini-batch size.")
        if gather_across_devices and not in_batch:
            raise ConfigError("Passages of other devices are in-batch negatives: gathering them needs `in_batch`.")
        if guide is not None and guide.model is model:
            raise ConfigError("The guide is the model that is trained: a guide is another one, which stays as it is.")
        if isinstance(robust, Debiased) and similarity != "cosine":
            raise ConfigError("The estimator of `debiased` has a floor that holds for cosines only.")
        self.model = model
        self.guide = guide
        self.robust = robust
        self.positives = positives
        self.temperature = temperature
        self.similarity = similarity
        self.in_batch = in_batch
        self.mini_batch_size = mini_batch_size
        self.gather_across_devices = gather_across_devices
        self.uses_gradient_cache = mini_batch_size is not None

    @property
    def scale(self) -> float:
        """The inverse of the temperature."""
        return 1 / self.temperature

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The loss of one batch of `RowCollator`, a scalar.

        Args:
            labels: not used.

        Raises:
            ConfigError: the batch is not one of `RowCollator`.
        """
        features = list(sentence_features)
        queries, passages, structure = read_batch(features)
        if self.gather_across_devices and several_devices():
            structure = with_known_elsewhere(structure)
        if self.guide is not None:
            structure = self.guide.looked_at(features[0], structure, self.mini_batch_size)
        if self.mini_batch_size is not None:
            loss: Tensor = self.forward_cached([queries, passages], structure)
            return loss
        embeddings = [self.model(features)["sentence_embedding"] for features in (queries, passages)]
        return self._loss(embeddings[0], embeddings[1], structure)

    def calculate_loss(self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False) -> Tensor:
        """The loss of encoded texts; called by the gradient caching of sentence-transformers.

        Args:
            reps: the embeddings of queries and passages, in mini-batches.
            labels: the batch's structure.
            with_backward: also propagate the gradients to the embeddings, some rows of scores at a time.
        """
        queries, passages = (torch.cat(embeddings) for embeddings in reps)
        structure: Structure = labels
        if not with_backward:
            return self._loss(queries, passages, structure)
        assert self.mini_batch_size is not None
        pool = self._pool(passages, structure)
        # Gradients of all rows are summed in the pool before they go on, so that devices exchange them once.
        leaf = replace(pool, embeddings=pool.embeddings.detach().requires_grad_())
        total, count = queries.new_zeros(()), self._rows(queries)
        for begin in range(0, len(queries), self.mini_batch_size):
            rows = slice(begin, begin + self.mini_batch_size)
            loss = self._row_losses(queries[rows], leaf, structure.rows(rows)).sum() / count
            loss.backward()
            total = total + loss.detach()
        pool.embeddings.backward(leaf.embeddings.grad)
        return total

    def _loss(self, queries: Tensor, passages: Tensor, structure: Structure) -> Tensor:
        return self._row_losses(queries, self._pool(passages, structure), structure).sum() / self._rows(queries)

    def _rows(self, queries: Tensor) -> float:
        """What the sum of a device's rows is divided by. Devices with gathered passages may have different numbers of
        rows: the mean over the devices is that over all rows."""
        gathers = self.gather_across_devices and several_devices()
        return rows_of_device(queries) if gathers else len(queries)

    def _pool(self, passages: Tensor, structure: Structure) -> Pool:
        """All passages that can be negatives, of all devices if they are gathered."""
        if not (self.gather_across_devices and several_devices()):
            return structure.pool(passages)
        return gathered_pool(passages, structure)

    def _row_losses(self, queries: Tensor, pool: Pool, structure: Structure) -> Tensor:
        """Shape (rows,)."""
        with torch.autocast(queries.device.type, enabled=False):  # half precision / a temperature of 0.01 is coarse
            scores = similarities(queries, pool.embeddings, self.similarity) / self.temperature
            negatives = self._negatives(pool, structure)
            lowest = torch.finfo(scores.dtype).min
            present = structure.positives >= 0
            of_positives = scores.gather(1, structure.positives.clamp(min=0) + pool.first).masked_fill(~present, lowest)
            scored = Scored(
                targets=self._targets(of_positives, present),
                positives=of_positives,
                negatives=scores.masked_fill(~negatives, lowest),
                counts=negatives.sum(1, keepdim=True).to(scores.dtype),
                floor=-1 / self.temperature,
            )
            losses = robust_loss(self.robust, scored)
            return (losses * present).sum(1) if self.positives == "joint" else losses[:, 0]

    def _targets(self, of_positives: Tensor, present: Tensor) -> Tensor:
        """Shape (rows, targets)."""
        if self.positives == "random":
            return of_positives[:, :1]
        if self.positives == "joint":
            return of_positives.where(present, 0)
        lowest = torch.finfo(of_positives.dtype).min
        return -(-of_positives).masked_fill(~present, lowest).logsumexp(1, keepdim=True)

    def _negatives(self, pool: Pool, structure: Structure) -> Tensor:
        """Shape (rows, passages of the pool): which passages are negatives of which query."""
        negatives = self._not_known(pool, structure)
        return negatives if self.guide is None else self.guide.kept(negatives, pool, structure)

    def _not_known(self, pool: Pool, structure: Structure) -> Tensor:
        # Identity by text or docid with any known positive; padding matches nothing.
        known = (structure.known[:, :, None, :] == pool.ids).any(-1).any(1)
        if self.in_batch:
            return ~known if pool.usable is None else ~known & pool.usable
        own = known.new_zeros(known.shape[0], known.shape[1] + 1)
        # Padding is -1: the last column, which is cut off.
        own.scatter_(1, structure.negatives.where(structure.negatives >= 0, known.shape[1]), True)
        return own[:, :-1] & ~known

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, for the model card."""
        names = ("positives", "temperature", "similarity", "in_batch", "mini_batch_size", "gather_across_devices")
        settings = {name: getattr(self, name) for name in names}
        if self.guide is not None:
            settings["guide"] = self.guide.settings()
        return settings if self.robust is None else {**settings, "robust": self.robust.model_dump()}

    @property
    def citation(self) -> str:
        """BibTeX for the model card."""
        return _CITATION


def similarities(queries: Tensor, passages: Tensor, similarity: Similarity) -> Tensor:
    """Shape (queries, passages), in 32 bits or more."""
    wide = torch.promote_types(queries.dtype, torch.float32)
    return _SIMILARITIES[similarity](queries.to(wide), passages.to(wide))


def losses_in(loss: Any) -> Iterator[nn.Module]:
    """The losses within a loss (of a wrapper such as MatryoshkaLoss), or within a dict of them."""
    for each in loss.values() if isinstance(loss, Mapping) else [loss]:
        yield from each.modules()


_CITATION = """
@misc{wang2026multiplepositives,
    title={Training Dense Retrievers with Multiple Positive Passages},
    author={Benben Wang and Minghao Tang and Hengran Zhang and Jiafeng Guo and Keping Bi},
    year={2026},
    eprint={2602.12727},
    archivePrefix={arXiv},
    primaryClass={cs.IR}
}
"""
