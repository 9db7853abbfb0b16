"""Where the model of a recipe is loaded from, and in what precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_folder import model_folder
from hf_relabel.builders.judges.offline.model_loading import only_cached
from hf_relabel.trainers.recipes.recipe import Recipe, StaticLoss, TransformerRecipe


def check_revisions(recipe: Recipe) -> None:
    """
    Raises:
        ConfigError: a model that lies in a folder or a package is given a revision: what is there is what is loaded.
    """
    guide = recipe.loss.guide if isinstance(recipe.loss, StaticLoss) else None
    models = {"": recipe, "teacher.": recipe.teacher, "loss.guide.": guide}
    for place, named in models.items():
        if named is not None and named.revision is not None and model_folder(named.model) is not None:
            raise ConfigError(
                f"`{place}revision: {named.revision}`: {named.model!r} is no model on the Hub, and what lies there is"
                f" what is loaded. Leave out `{place}revision`, or name the model on the Hub."
            )


@dataclass(frozen=True)
class Place:
    """What the loaders of transformers and sentence-transformers are told.

    Attributes:
        location: a folder or a Hub id.
        hub: which version, and whether the Hub is asked.
        weights: how weights are loaded: those that are trained themselves in 32 bits, whatever the file holds. Steps
            as small as these are lost or overflow in 16; `precision` is that of the arithmetic. Beneath adapters they
            stay as they are.
    """

    location: str
    hub: dict[str, Any]
    weights: dict[str, Any]

    @classmethod
    def of(cls, recipe: TransformerRecipe) -> Place:
        """
        Raises:
            ConfigError: the Hub cannot be asked, and the model is not on this machine.
        """
        hub = {"revision": recipe.revision, "local_files_only": only_cached(recipe.model, recipe.revision)}
        weights = {} if recipe.lora is not None else {"dtype": "float32"}
        return cls(str(model_folder(recipe.model) or recipe.model), hub, weights)

    def config(self) -> Any:
        """The settings of its transformer."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.location, **self.hub)

    def transformer(self, *, template: str | None = None, **options: Any) -> Any:
        """The module that sentence-transformers makes of it.

        Args:
            template: a chat template in place of its own.
            options: of the module.
        """
        from sentence_transformers.base.modules import Transformer

        config = {**self.hub, **options.pop("config_kwargs", {})}
        return Transformer(
            self.location,
            model_kwargs={**self.hub, **self.weights},
            processor_kwargs={**self.hub, **({} if template is None else {"chat_template": template})},
            config_kwargs=config,
            **options,
        )
