"""Learning the order that a teacher gives to a row's passages, in place of labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.losses import MultiPositiveLoss, Similarity, similarities
from hf_relabel.trainers.passage_pool import Pool, Structure


class DistillationLoss(MultiPositiveLoss):
    """KL divergence of the student's distribution over a row's passages from the teacher's.

    The passages are one positive and the row's hard negatives, drawn anew each epoch, and none of other rows. With s
    the student's similarities and t the teacher's scores, a row's loss is KL(softmax(t / teacher_temperature) ‖
    softmax(s / temperature)), and a batch's is the mean over its rows, as in Tevatron's `DistilTevatronTrainer`. It is
    `DistillKLDivLoss` of sentence-transformers without its factor of the squared temperature.

    Rows are those whose passages have a `score`; they train with `RowTrainer`.

    Args:
        model: the `SentenceTransformer` to train.
        temperature: of the student, > 0; Tevatron's default.
        teacher_temperature: of the teacher, > 0. Far below the spread of its scores there is one passage, and nothing
            to learn beyond the label: see `baselines.effective_passages`.
        similarity: `cosine` or `dot`.
        mini_batch_size: texts encoded at once with gradient caching; None encodes the batch as one.

    Raises:
        ConfigError: a setting makes no sense.
    """

    def __init__(
        self,
        model: Any,
        *,
        temperature: float = 0.02,
        teacher_temperature: float = 0.1,
        similarity: Similarity = "cosine",
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(
            model,
            positives="random",
            temperature=temperature,
            similarity=similarity,
            in_batch=False,
            mini_batch_size=mini_batch_size,
        )
        if not teacher_temperature > 0:
            raise ConfigError(f"The teacher's temperature must be above 0, not {teacher_temperature}.")
        self.teacher_temperature = teacher_temperature

    def _row_losses(self, queries: Tensor, pool: Pool, structure: Structure) -> Tensor:
        """Shape (rows,)."""
        if structure.scores is None:
            raise ConfigError(
                "These rows have passages without a teacher's `score`, which distillation learns from."
                " `teacher: {use: distillation, …}` in a recipe makes some."
            )
        with torch.autocast(queries.device.type, enabled=False):
            scores = similarities(queries, pool.embeddings, self.similarity) / self.temperature
            places = torch.cat([structure.positives, structure.negatives], 1)
            absent, lowest = places < 0, torch.finfo(scores.dtype).min
            student = scores.gather(1, places.clamp(min=0)).masked_fill(absent, lowest).log_softmax(1)
            teacher = structure.scores.to(scores.dtype) / self.teacher_temperature
            teacher = teacher.masked_fill(absent, lowest).log_softmax(1)
            divergence = kl_div(student, teacher, reduction="none", log_target=True)
            return divergence.masked_fill(absent, 0).sum(1)

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, for the model card."""
        names = ("temperature", "teacher_temperature", "similarity", "mini_batch_size")
        return {name: getattr(self, name) for name in names}

    @property
    def citation(self) -> str:
        """BibTeX for the model card."""
        return _CITATION


_CITATION = """
@misc{lin2020distillingdenserepresentationsranking,
    title={Distilling Dense Representations for Ranking using Tightly-Coupled Teachers},
    author={Sheng-Chieh Lin and Jheng-Hong Yang and Jimmy Lin},
    year={2020},
    eprint={2010.11386},
    archivePrefix={arXiv},
    primaryClass={cs.IR}
}
"""
