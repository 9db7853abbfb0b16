"""The card of a model: a README.md with front matter for the Hub and a block of ours in the text.

Made as the data card is: every value goes through `readme_markdown.as_markdown` on its way into the template, and text
around our block is the user's. All it tells comes from a training report; what is not known is left out. Where models
and data lay on the machine of the training is not told: of a path only the last part.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_relabel.builders.errors import CardError
from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text, cut, fenced, one_line, table
from hf_relabel.builders.readme.merging import merge_readme
from hf_relabel.cards import model_results as results
from hf_relabel.cards import tables
from hf_relabel.cards.data_card import CardFacts, _citation, _template, _with_ours
from hf_relabel.cards.figures.curve import CURVE, curve_alt, has_curve, model_figures
from hf_relabel.cards.model_kinds import KINDS, Kind
from hf_relabel.cards.model_results import HUB, hub_link, is_on_the_hub, is_repo_id, last_part, shown_name
from hf_relabel.cards.training_report import ModelUsed, TrainingReport

__all__ = ["ModelFacts", "eval_results_files", "model_figures", "render_model_card"]

ORIGINAL = "original"
_ITEM_LENGTH = 400
"""Characters of a hyperparameter that are shown."""
_URL = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w./~%?=&+,:;@#-]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model card tells.

    Attributes:
        repo_id: where the model is, `user/repo`.
        version: its tag, such as `v1.0.0`; None if it has none.
        report: of its training.
        license: its id on the Hub, such as `apache-2.0`; None keeps what the card says.
        language: language codes, such as `en`; none keeps what the card says.
        pretty_name: the title of a new card; None takes the repository's name.
        tags: added to those that the card has.
        citation: BibTeX of the model; None writes an entry from the repository's name.
        data_url: where the data can be had that is not on the Hub.
        links: more to read, address by name.
        adapters_merged: whether LoRA's adapters were added to the weights, so that the model loads without peft.
    """

    repo_id: str
    version: str | None
    report: TrainingReport
    license: str | None = None
    language: Sequence[str] = ()
    pretty_name: str | None = None
    tags: Sequence[str] = ()
    citation: str | None = None
    data_url: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    adapters_merged: bool = False


def render_model_card(facts: ModelFacts, earlier: str | None) -> str:
    """The README.md of a model.

    Args:
        earlier: the README.md that is there, None if there is none. All that is not ours stays as it is, byte for byte.

    Raises:
        CardError: its front matter cannot be read or edited, or its markers are broken. Nothing is guessed.
    """
    template = _template("model_card.md.jinja")
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
        values["datasets"] = _with_ours(metadata.get("datasets"), [report.data.repo_id])
    values["tags"] = _with_ours(
        metadata.get("tags"), ("hf-relabel", "sentence-transformers", *kind.tags, "retrieval", *facts.tags)
    )
    metrics = [metric for measured in report.evaluations for metric in measured.metrics]
    if metrics:
        values["metrics"] = _with_ours(metadata.get("metrics"), metrics)
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
        "model_table": _pairs("model", _about_model(facts)),
        "links": [_named_link(name, address) for name, address in facts.links.items()],
        "peft": Markdown(" and [peft](https://huggingface.co/docs/peft)" if _has_adapters(facts) else ""),
        "snippet": _snippet(facts),
        "prompts": _prompts(report),
        "results": results.results_table(report),
        "sets": results.sets_table(report),
        "comparison": _comparison(report),
        "figure": Markdown(CURVE) if has_curve(report) else None,
        "alt": curve_alt(report),
        "data_table": _pairs("data", _about_data(facts)),
        "training_table": _pairs("training", _about_training(facts)),
        "hyperparameters": _hyperparameters(report),
        "limits": _limits(facts),
        "citation": fenced(facts.citation or _model_citation(facts), "bibtex"),
    }


def _pairs(title: str, rows: Iterator[tuple[str, object]]) -> Markdown:
    """A table of what is known."""
    return table([title, ""], [[name, value] for name, value in rows if value is not None])


def _model(model: ModelUsed) -> Markdown:
    """A model with a link, if it is on the Hub; of a folder its name."""
    if not is_on_the_hub(model.name, model.revision):
        return as_code(last_part(model.name))
    return Markdown(f"[{as_text(model.name)}]({hub_link(model.name, model.revision)})")


def _origin(facts: ModelFacts) -> Markdown:
    base, data = _model(facts.report.base), _data(facts)
    if facts.report.kind == "static":
        return Markdown(f"made from the vectors of {base} and trained on {data}")
    return Markdown(f"trained from {base} on {data}")


def _at_commit(model: ModelUsed) -> Markdown:
    return Markdown(f"{_model(model)}{f' at {as_code(results.commit(model.revision))}' if model.revision else ''}")


def _data(facts: ModelFacts) -> Markdown:
    data = facts.report.data
    if data.repo_id is not None and is_repo_id(data.repo_id):
        return Markdown(f"[{as_text(data.repo_id)}]({hub_link(data.repo_id, data.revision, kind='datasets/')})")
    name = last_part(data.repo_id or data.location)
    if facts.data_url and _URL.fullmatch(facts.data_url):
        return _named_link(name, facts.data_url)
    return as_code(name)


def _named_link(name: str, address: str) -> Markdown:
    """A link; an address that is none of the web is shown as text."""
    if _URL.fullmatch(address):
        return Markdown(f"[{as_text(name)}]({address.replace('&', '&amp;')})")
    return Markdown(f"{as_text(name)}: {as_text(address)}")


def _about_model(facts: ModelFacts) -> Iterator[tuple[str, object]]:
    report = facts.report
    yield "teacher" if report.kind == "static" else "base model", _at_commit(report.base)
    yield "parameters", report.parameters
    yield "dimensions", report.dimensions
    yield "similarity", None if report.similarity is None else as_code(report.similarity)
    yield "tokens of a text", None if report.max_length is None else Markdown(f"{report.max_length:,}")


def _about_data(facts: ModelFacts) -> Iterator[tuple[str, object]]:
    data = facts.report.data
    yield "data", _data(facts)
    what = tables.WHAT_IT_IS.get(data.config)
    yield "config", Markdown(f"{as_code(shown_name(data.config))}{f': {what}' if what else ''}")
    yield "split", as_code(data.split)
    if data.revision:
        code = as_code(results.commit(data.revision))
        is_hub = data.repo_id is not None and is_repo_id(data.repo_id)
        link = hub_link(data.repo_id, data.revision, kind="datasets/") if is_hub and data.repo_id else ""
        yield "commit", Markdown(f"[{code}]({link})") if link else code
    yield "version", None if not data.version else as_code(data.version)
    yield "made from", _source(data.source)
    yield "rows trained on", data.rows
    if data.rows is not None or data.skipped:
        yield "rows left out", Markdown(f"{data.skipped:,} (without a query, a positive or enough negatives)")


def _source(source: Mapping[str, Any] | None) -> Markdown | None:
    """What was relabelled, as the release's manifest has it."""
    name = str((source or {}).get("name") or "")
    if source is None or not name:
        return None
    revision = str(source.get("revision") or "")
    if revision and is_repo_id(name):
        where = f"[{as_text(name)}]({hub_link(name, revision, kind='datasets/')})"
    else:
        where = as_code(last_part(name))
    return Markdown(f"{where} at {as_code(results.commit(revision))}" if revision else where)


def _about_training(facts: ModelFacts) -> Iterator[tuple[str, object]]:
    report = facts.report
    recipe, hardware = report.recipe, report.hardware
    yield "recipe", as_code(shown_name(str(recipe["name"]))) if recipe.get("name") else None
    yield "what was trained", _trained_part(facts)
    yield "false negatives", _technique(report)
    yield "steps", report.steps
    yield "epochs", None if report.epochs is None else Markdown(f"{report.epochs:g}")
    yield "seed", as_code(report.seed)
    yield "accelerators", _accelerators(hardware.accelerators)
    yield "processor", hardware.processor
    yield "cores", hardware.cores
    yield "memory", None if hardware.memory is None else Markdown(f"{hardware.memory / 2**30:,.0f} GiB")
    yield "time", _time(report)
    yield "finished", report.finished
    versions = ", ".join(f"{as_text(name)} {as_text(version)}" for name, version in report.versions.items())
    yield "versions", Markdown(versions) if versions else None


def _trained_part(facts: ModelFacts) -> str | None:
    if not facts.report.recipe.get("lora"):
        return None
    return f"low-rank adapters (LoRA){', added to the weights afterwards' if facts.adapters_merged else ''}"


def _technique(report: TrainingReport) -> Markdown | None:
    """What was done about them beyond the config."""
    if not report.technique:
        return None
    teacher = _at_commit(report.teacher) if report.teacher else Markdown("a teacher")
    if report.technique == "distillation":
        return Markdown(f"distillation: trained on the scores of {teacher} in place of the labels")
    if report.technique == "perc-pos":
        share = _mapping(report.recipe.get("teacher")).get("share")
        part = f"{share:.0%} of" if isinstance(share, (int, float)) and math.isfinite(share) else "a part of"
        return Markdown(f"left out were negatives that {teacher} scored above {part} the positive")
    return Markdown(f"{as_text(report.technique)}, with {teacher}")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _accelerators(names: Sequence[str]) -> Markdown | None:
    counts = {name: names.count(name) for name in names}
    return Markdown(", ".join(f"{count} × {as_text(name)}" for name, count in counts.items())) if counts else None


def _time(report: TrainingReport) -> str | None:
    if not math.isfinite(report.seconds):
        return None
    minutes, seconds = divmod(round(report.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours:,} h"] * bool(hours) + [f"{minutes} min"] * bool(hours or minutes) + [f"{seconds} s"]
    resumed = f", resumed {report.resumed} time{'s' * (report.resumed != 1)}" if report.resumed else ""
    return " ".join(parts[:2]) + resumed


def _hyperparameters(report: TrainingReport) -> Markdown | None:
    """All fields of the recipe."""
    rows = [[as_code(name), as_code(cut(value, _ITEM_LENGTH))] for name, value in _flat(report.recipe, report)]
    return table(["setting", "value"], rows) if rows else None


def _flat(values: Mapping[str, Any], report: TrainingReport, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, report, f"{path}.")
        elif isinstance(value, list):
            yield path, ", ".join(_setting(name, item) for item in value)
        else:
            yield path, _setting(name, value)


def _setting(name: str, value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if name.endswith("_prompt"):
        return json.dumps(value, ensure_ascii=False)
    if name == "model":
        return value if is_on_the_hub(value, None) else last_part(value)
    return shown_name(value)


def _prompts(report: TrainingReport) -> Markdown | None:
    """What is put before the texts, quoted, as blanks matter. A reranker has no prompts."""
    prompts = _prompt_texts(report)
    if not prompts:
        return None
    rows = [[name, as_code(json.dumps(prompt, ensure_ascii=False))] for name, prompt in prompts.items()]
    return table(["text", "prompt"], rows)


def _prompt_texts(report: TrainingReport) -> dict[str, str]:
    if report.kind == "reranker":
        return {}
    prompts = {name: report.recipe.get(f"{name}_prompt") for name in ("query", "passage")}
    return {name: prompt for name, prompt in prompts.items() if isinstance(prompt, str) and prompt}


def _snippet(facts: ModelFacts) -> Markdown:
    """How to use the model, as a block of Python. json.dumps writes whatever the name is on one line, in ASCII."""
    kind = _kind(facts.report)
    arguments = json.dumps(facts.repo_id)
    if facts.version:
        arguments += f", revision={json.dumps(facts.version)}"
    template = _template("model_reranker.py.jinja" if facts.report.kind == "reranker" else "model_encoder.py.jinja")
    code = template.render(
        encoder=Markdown(kind.encoder),
        arguments=Markdown(arguments),
        has_prompts=bool(_prompt_texts(facts.report)),
    )
    return fenced(code, "python")


def _comparison(report: TrainingReport) -> Markdown:
    """Whether the numbers show what relabelling gave."""
    compared = report.comparison
    if compared is None:
        if report.data.config == ORIGINAL:
            return Markdown("The training data are the rows as they were, so these numbers say nothing of relabelling.")
        return Markdown(
            f"The same model was not trained on `{ORIGINAL}`, the rows as they were. So nothing here shows what other"
            " labels changed."
        )
    config, own = as_code(shown_name(compared.config)), as_code(shown_name(report.data.config))
    runs = f"{len(compared.seeds)} runs with the seeds" if len(compared.seeds) > 1 else "one run with the seed"
    seeds = f", {runs} {', '.join(map(str, compared.seeds))}" if compared.seeds else ""
    return Markdown(
        f"For comparison, the same model was trained in the same way on {config}{seeds}; this one on {own}, one run"
        f" with the seed {report.seed}. A small difference can be chance: another seed alone gives other numbers."
    )


def _limits(facts: ModelFacts) -> Iterator[Markdown]:
    report, data = facts.report, facts.report.data
    names = dict.fromkeys(as_text(shown_name(measured.set.name)) for measured in report.evaluations)
    if names:
        yield Markdown(f"Measured was retrieval on {', '.join(names)}: no other task, field or language.")
    else:
        yield Markdown("Nothing was measured, on no task, field or language.")
    if names and report.best_step is not None:
        yield Markdown(
            "The best step was chosen by evaluations during training. Where these were on a set above, its numbers are"
            " a little too good."
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
    entry = _citation(CardFacts(facts.repo_id, facts.version, {}))
    return entry.replace(rf"\url{{{HUB}/datasets/", rf"\url{{{HUB}/", 1)
