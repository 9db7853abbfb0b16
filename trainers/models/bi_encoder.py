"""A model that gives each text one vector."""

from __future__ import annotations

from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.models.place import Place
from hf_relabel.trainers.models.texts import append_eos, leave_out_template, pad_with_something
from hf_relabel.trainers.recipes.recipe import BiEncoderRecipe


def bi_encoder(recipe: BiEncoderRecipe, device: str | None) -> Any:
    """A `SentenceTransformer` with the recipe's pooling, prompts and EOS.

    What the base has between pooling and normalisation, such as the dense layers of EmbeddingGemma, is kept.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from sentence_transformers.util import is_sentence_transformer_model

    place = Place.of(recipe)
    loaded = SentenceTransformer(place.location, **place.hub, device=device, model_kwargs=place.weights)
    transformer = loaded[0]
    if not isinstance(transformer, Transformer):
        raise ConfigError(f"{recipe.model!r} is not a transformer: use a recipe of `kind: static`.")
    if not is_sentence_transformer_model(place.location, **place.hub):
        leave_out_template(transformer)  # one that was published for retrieval may be made for its template
    pad_with_something(transformer.tokenizer)
    if recipe.append_eos:
        if "message" in transformer.modality_config:
            raise ConfigError(f"append_eos: {recipe.model!r} was published with a chat template, which ends its texts.")
        append_eos(transformer.tokenizer, recipe.model)
    between = [module for module in list(loaded.children())[1:] if not isinstance(module, (Pooling, Normalize))]
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=recipe.pooling)
    modules = [transformer, pooling, *between, *([Normalize()] if recipe.normalize else [])]
    return SentenceTransformer(modules=modules, prompts=prompts(recipe), device=device)


def prompts(recipe: Any) -> dict[str, str]:
    """What is put before texts, by the names that sentence-transformers has for them."""
    return {"query": recipe.query_prompt, "document": recipe.passage_prompt}
