"""A model that gives a pair of query and passage one score, in one of three forms.

How a pair becomes a text is part of the tokenizer that is saved (a chat template with the roles `query` and
`document`), so that a plain `CrossEncoder(folder)` reads pairs as they were read in training.
"""

from __future__ import annotations

import json
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.qwen_reranker import FORM, TEXT_OF_ROLE, template_for
from hf_relabel.trainers.models.place import Place
from hf_relabel.trainers.models.texts import pad_with_something, special_around
from hf_relabel.trainers.recipes.recipe import RerankerRecipe


def reranker(recipe: RerankerRecipe, device: str | None) -> Any:
    """A `CrossEncoder` of one label that reads pairs in the recipe's form.

    Raises:
        ConfigError: the model cannot be asked in that form.
    """
    place = Place.of(recipe)
    made = {"pair": _pair, "joined": _joined, "qwen3": _yes_or_no}[recipe.form]
    model = made(recipe, place, device)
    _check_length(model, recipe)
    return model


def _check_length(model: Any, recipe: RerankerRecipe) -> None:
    """A form that fills the length by itself would have all pairs read the same."""
    form = int(model.preprocess([("", "")])["input_ids"].shape[1])
    if recipe.max_length is not None and recipe.max_length <= form:
        raise ConfigError(
            f"max_length: {recipe.max_length} tokens leave no place for query and passage: `form: {recipe.form}` takes"
            f" {form} of them by itself. Give more."
        )


def _pair(recipe: RerankerRecipe, place: Place, device: str | None) -> Any:
    """Two texts as the tokenizer pairs them."""
    from sentence_transformers import CrossEncoder

    if _architecture(place).endswith("ForCausalLM"):
        raise ConfigError(
            f"form: {recipe.model!r} is a causal model, whose tokenizer puts nothing between two texts. Use `form:"
            " joined`, or `form: qwen3` for a Qwen3-Reranker."
        )
    return CrossEncoder(place.location, **place.hub, num_labels=1, device=device, model_kwargs=place.weights)


def _joined(recipe: RerankerRecipe, place: Place, device: str | None) -> Any:
    """One text, scored by a linear layer at its last token, the EOS: Tevatron's sequence classification.

    transformers' own class for that looks for the last token that is no padding, and would not see an EOS that is
    padding too, as Qwen2.5's is; here it is found by the attention mask.
    """
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Pooling
    from torch.nn import Identity

    template = joined_template(recipe, _tokenizer(place))
    if _architecture(place).endswith("ForSequenceClassification"):
        classifier = place.transformer(
            template=template, transformer_task="sequence-classification", config_kwargs={"num_labels": 1}
        )
        pad_with_something(classifier.tokenizer)
        if classifier.config.pad_token_id is None:
            classifier.config.pad_token_id = classifier.tokenizer.pad_token_id
        return CrossEncoder(modules=[classifier], device=device, activation_fn=Identity())
    transformer = place.transformer(template=template)
    pad_with_something(transformer.tokenizer)
    size = transformer.get_embedding_dimension()
    score = Dense(size, 1, bias=False, activation_function=Identity(), module_output_name="scores")
    score.linear.weight.data.normal_(std=getattr(transformer.config, "initializer_range", 0.02))
    modules = [transformer, Pooling(size, "lasttoken"), score]
    # Scores of 16 bits would have ties. A softmax over groups gives them no scale: they are no probabilities.
    return CrossEncoder(modules=modules, device=device, activation_fn=Identity(), keep_in_fp32_modules=["2.linear"])


def _yes_or_no(recipe: RerankerRecipe, place: Place, device: str | None) -> Any:
    """As Qwen3-Reranker is asked: the score is the logit of yes above that of no."""
    from sentence_transformers import CrossEncoder

    only = place.hub["local_files_only"]
    template = template_for(recipe.model, recipe.revision, FORM, recipe.instruction, local_files_only=only)
    model = CrossEncoder(
        place.location,
        **place.hub,
        device=device,
        model_kwargs=place.weights,
        processor_kwargs={} if template is None else {"chat_template": template},
    )
    pad_with_something(model.tokenizer)
    return model


def joined_template(recipe: RerankerRecipe, tokenizer: Any) -> str:
    """A chat template that writes `query_prompt` + query + " " + `passage_prompt` + passage + EOS, and before it what
    the tokenizer puts before any text.

    Raises:
        ConfigError: the tokenizer has no EOS.
    """
    if tokenizer.eos_token is None:
        raise ConfigError(f"form: the tokenizer of {recipe.model!r} has no EOS to end a joined text. Use `form: pair`.")
    before, _ = special_around(tokenizer)
    begin = "".join(tokenizer.convert_ids_to_tokens(before)) + recipe.query_prompt
    return (
        f"{TEXT_OF_ROLE}{_said(begin)}{{{{ text('query') }}}}{_said(f' {recipe.passage_prompt}')}"
        f"{{{{ text('document') }}}}{_said(tokenizer.eos_token)}"
    )


def _said(text: str) -> str:
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}"


def _architecture(place: Place) -> str:
    return str((place.config().architectures or [""])[0])


def _tokenizer(place: Place) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(place.location, **place.hub)
