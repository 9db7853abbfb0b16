"""The card of a model: a README.md with front matter for the Hub and a block of ours in the text.

Made as the data card is: every value goes through `readme_markdown.as_markdown` on its way into the template, and text
around our block is the user's. All it tells comes from a training report; what is not known is left out. Where models
and data lay on the machine of the training is not told: of a path only the last part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hf_relabel.builders.errors import CardError
from hf_relabel.builders.readme.markdown import Markdown, as_text, fenced, one_line, table
from hf_relabel.builders.readme.merging import merge_readme
from hf_relabel.cards import model_results as results
from hf_relabel.cards import tables
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.code_blocks import template_of
from hf_relabel.cards.data_card import citation, with_ours
from hf_relabel.cards.figures.curve import CURVE, curve_alt, curve_figures, has_curve
from hf_relabel.cards.model_facts import ModelFacts
from hf_relabel.cards.model_kinds import KINDS, Kind
from hf_relabel.cards.model_links import data_link, model_link, named_link
from hf_relabel.cards.model_results import HUB, is_on_the_hub, is_repo_id, shown_name
from hf_relabel.cards.model_tables import (
    about_data,
    about_model,
    about_training,
    hyperparameters,
    prompt_texts,
    prompts,
)
from hf_relabel.cards.original_results import (
    DIFFERENCE,
    ORIGINAL,
    difference_alt,
    difference_png,
    differences_table,
    intervals_text,
    original_text,
    shown_difference,
)
from hf_relabel.cards.training_report import TrainingReport

__all__ = ["ModelFacts", "eval_results_files", "model_figures", "render_model_card"]


def model_figures(report: TrainingReport) -> dict[str, bytes]:
    """The figures of a model card, by their path in its repository."""
    drawn = difference_png(report)
    return {**curve_figures(report), **({DIFFERENCE: drawn} if drawn else {})}


def render_model_card(facts: ModelFacts, earlier: str | None) -> str:
    """The README.md of a model.

    Args:
        earlier: the README.md that is there, None if there is none. All that is not ours stays as it is, byte for byte.

    Raises:
        CardError: its front matter cannot be read or edited, or its markers are broken. Nothing is guessed.
    """
    template = template_of("model_card.md.jinja")
    return merge_readme(
        earlier,
        title=as_text(facts.pretty_name or facts.repo_id.rpartition("/")[2]),
        values=lambda metadata: _values(facts, metadata),
        content=lambda _: template.render(_context(facts)),
    )


def eval_results_files(facts: ModelFacts) -> dict[str, bytes]:
    """The files of `.eval_results` by their path, one for each set on the Hub."""
    return results.eval_results_yaml(facts.report, facts.repo_id)


# --- front matter ---------------------------------------------------------------------------------------------------


def _values(facts: ModelFacts, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Our names in the front matter, in the order in which a new card has them."""
    report, kind = facts.report, _kind(facts.report)
    values: dict[str, Any] = {}
    if facts.license:
        values["license"] = one_line(facts.license)
    if facts.language:
        values["language"] = [one_line(code) for code in facts.language]
    values["library_name"] = "sentence-transformers"
    values["pipeline_tag"] = kind.pipeline
    values |= _base_values(facts, metadata)
    if report.data.repo_id is not None and is_repo_id(report.data.repo_id):
        values["datasets"] = with_ours(metadata.get("datasets"), [report.data.repo_id])
    values["tags"] = with_ours(
        metadata.get("tags"), ("hf-relabel", "sentence-transformers", *kind.tags, "retrieval", *facts.tags)
    )
    metrics = [metric for measured in report.evaluations for metric in measured.metrics]
    if metrics:
        values["metrics"] = with_ours(metadata.get("metrics"), metrics)
    index = results.model_index(metadata.get("model-index"), report, facts.repo_id)
    return values | {"model-index": index}


def _base_values(facts: ModelFacts, metadata: Mapping[str, Any]) -> dict[str, Any]:
    base = facts.report.base
    if not is_on_the_hub(base.name, base.revision):
        return {}
    present = metadata.get("base_model")
    values: dict[str, Any] = {"base_model": base.name}
    if isinstance(present, list) and base.name in present:
        values = {"base_model": present}
    if facts.report.kind != "static":  # which is made anew, of the teacher's vectors: the Hub has no word for that
        values["base_model_relation"] = "adapter" if _has_adapters(facts) else "finetune"
    return values


def _has_adapters(facts: ModelFacts) -> bool:
    return bool(facts.report.recipe.get("lora")) and not facts.adapters_merged


def _kind(report: TrainingReport) -> Kind:
    if report.kind not in KINDS:
        raise CardError(f"There is no card for a model of the kind {report.kind!r}. Kinds are: {', '.join(KINDS)}.")
    return KINDS[report.kind]


# --- text -----------------------------------------------------------------------------------------------------------


def _context(facts: ModelFacts) -> dict[str, Any]:
    report = facts.report
    return {
        "facts": facts,
        "report": report,
        "tables": tables,
        "what": _kind(report),
        "origin": _origin(facts),
        "model_table": _pairs("model", about_model(facts)),
        "links": [named_link(name, address) for name, address in facts.links.items()],
        "peft": Markdown(" and [peft](https://huggingface.co/docs/peft)" if _has_adapters(facts) else ""),
        "snippet": _snippet(facts),
        "prompts": prompts(report),
        "results": results.results_table(report),
        "sets": results.sets_table(report),
        "comparison": original_text(report),
        "differences": differences_table(report),
        "intervals": intervals_text(report),
        "difference_figure": Markdown(DIFFERENCE) if shown_difference(report) else None,
        "difference_alt": difference_alt(report),
        "figure": Markdown(CURVE) if has_curve(report) else None,
        "alt": curve_alt(report),
        "data_table": _pairs("data", about_data(facts)),
        "training_table": _pairs("training", about_training(facts)),
        "hyperparameters": hyperparameters(report),
        "limits": _limits(facts),
        "citation": fenced(facts.citation or _model_citation(facts), "bibtex"),
    }


def _pairs(title: str, rows: Iterator[tuple[str, object]]) -> Markdown:
    """A table of what is known."""
    return table([title, ""], [[name, value] for name, value in rows if value is not None])


def _origin(facts: ModelFacts) -> Markdown:
    base, data = model_link(facts.report.base), data_link(facts)
    if facts.report.kind == "static":
        return Markdown(f"made from the vectors of {base} and trained on {data}")
    return Markdown(f"trained from {base} on {data}")


def _snippet(facts: ModelFacts) -> Markdown:
    """How to use the model, as a block of Python. json.dumps writes whatever the name is on one line, in ASCII."""
    kind = _kind(facts.report)
    arguments = json.dumps(facts.repo_id)
    if facts.version:
        arguments += f", revision={json.dumps(facts.version)}"
    template = template_of("model_reranker.py.jinja" if facts.report.kind == "reranker" else "model_encoder.py.jinja")
    code = template.render(
        encoder=Markdown(kind.encoder),
        arguments=Markdown(arguments),
        has_prompts=bool(prompt_texts(facts.report)),
    )
    return fenced(code, "python")


def _limits(facts: ModelFacts) -> Iterator[Markdown]:
    report, data = facts.report, facts.report.data
    names = dict.fromkeys(as_text(shown_name(measured.set.name)) for measured in report.evaluations)
    if names:
        yield Markdown(f"Measured was retrieval on {', '.join(names)}: no other task, field or language.")
    else:
        yield Markdown("Nothing was measured, on no task, field or language.")
    if names and report.best_step is not None:
        dev = ", ".join(as_text(shown_name(each.name)) for each in report.dev)
        yield Markdown(
            f"The best step was chosen on {dev}."
            if dev
            else "The best step was chosen by evaluations during training. Where these were on a set above, its numbers"
            " are a little too good."
        )
    for name, count in sorted(report.trained_queries.items()):
        yield Markdown(
            f"Of the queries of {as_text(shown_name(name))}, {count:,} were trained on: its numbers say little of other"
            " queries."
        )
    if names and report.kind == "reranker":
        yield Markdown("Its numbers depend on the search that found what it put in order, too.")
    if names:
        yield Markdown("The numbers are of one training run. Another seed gives slightly different ones.")
    if report.max_length is not None:
        yield Markdown(f"Of a text, the model reads {report.max_length:,} tokens. What follows is cut off.")
    length = report.recipe.get("max_length")
    if isinstance(length, int) and report.max_length is not None and length < report.max_length:
        yield Markdown(f"In training, texts were cut at {length:,} tokens already.")
    if data.config == ORIGINAL:
        yield Markdown("Hard negatives were taken as they came; some may be relevant to their query.")
    elif data.config in tables.WHAT_IT_IS:
        yield Markdown(
            "Which hard negatives are false was decided by models, with their mistakes and biases. Positives were taken"
            " as given."
        )
    else:
        yield Markdown("Positives and negatives were taken as the data have them.")
    yield Markdown("What the base model got wrong, and what it is biased to, may still be there.")


def _model_citation(facts: ModelFacts) -> str:
    entry = citation(CardFacts(facts.repo_id, facts.version, {}))
    return entry.replace(rf"\url{{{HUB}/datasets/", rf"\url{{{HUB}/", 1)
