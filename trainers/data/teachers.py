"""Loading the teacher that a recipe names, as something that scores pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_loading import load_model
from hf_relabel.trainers.data.baselines import BiEncoderScorer, Scorer
from hf_relabel.trainers.recipes.recipe import TeacherSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def load_teacher(settings: TeacherSettings, *, device: str | None = None) -> Scorer:
    """The teacher of a recipe.

    Raises:
        ConfigError: it cannot be loaded, or gives what its use cannot do with: several scores for a pair, or logits
            where probabilities are needed.
    """
    if settings.kind == "bi-encoder":
        return BiEncoderScorer(settings.model, revision=settings.revision, device=device)
    from sentence_transformers import CrossEncoder

    model = load_model(CrossEncoder, settings.model, revision=settings.revision, device=device)
    return CrossEncoderScorer(model, settings.model, settings.activation, probabilities=settings.use == "perc-pos")


class CrossEncoderScorer:
    """A `CrossEncoder` as a `Scorer`, without a progress bar for each call.

    Args:
        name: in messages.
        activation: what its logits go through: `sigmoid`, `none`, or None for what the model's own files say.
        probabilities: refuse scores outside [0, 1]; a model whose logits go through nothing, before it scores any.

    Raises:
        ConfigError: the model gives several scores for a pair, or no probabilities.
    """

    def __init__(self, model: Any, name: str, activation: str | None = None, *, probabilities: bool = False) -> None:
        from torch.nn import Identity, Sigmoid

        made = {"sigmoid": Sigmoid, "none": Identity}
        self._model, self._name, self._probabilities = model, name, probabilities
        self._activation = model.activation_fn if activation is None else made[activation]()
        if model.num_labels != 1:
            raise ConfigError(f"The teacher {name!r} gives {model.num_labels} scores for a pair; a teacher gives one.")
        if probabilities and isinstance(self._activation, Identity):
            raise ConfigError(self._problem("gives raw logits"))

    def predict(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """Shape (pairs,)."""
        settings: dict[str, Any] = {"show_progress_bar": False, "convert_to_numpy": True}
        scores: npt.NDArray[np.float32] = self._model.predict(
            [list(pair) for pair in pairs], activation_fn=self._activation, **settings
        )
        if self._probabilities and len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
            raise ConfigError(self._problem(f"gave scores from {scores.min():.3f} to {scores.max():.3f}"))
        return scores

    def _problem(self, what: str) -> str:
        return (
            f"The teacher {self._name!r} {what}, and a share of the positive's score says something of probabilities"
            " only. If it was trained with one label and a cross-entropy, as most rerankers are, set `teacher:"
            " {…, activation: sigmoid}` in the recipe."
        )
