"""The tables of a model card: the model, its data, how it was trained, its settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text, cut, table
from hf_relabel.cards import model_results as results
from hf_relabel.cards import tables
from hf_relabel.cards.model_facts import ModelFacts
from hf_relabel.cards.model_links import at_commit, data_link
from hf_relabel.cards.model_results import hub_link, is_on_the_hub, is_repo_id, last_part, shown_name
from hf_relabel.cards.training_report import TrainingReport

ITEM_LENGTH = 400
"""Characters of a hyperparameter that are shown."""


def about_model(facts: ModelFacts) -> Iterator[tuple[str, object]]:
    report = facts.report
    yield "teacher" if report.kind == "static" else "base model", at_commit(report.base)
    yield "parameters", report.parameters
    yield "dimensions", report.dimensions
    yield "similarity", None if report.similarity is None else as_code(report.similarity)
    yield "tokens of a text", None if report.max_length is None else Markdown(f"{report.max_length:,}")


def about_data(facts: ModelFacts) -> Iterator[tuple[str, object]]:
    data = facts.report.data
    yield "data", data_link(facts)
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
    if data.known_negatives:
        yield "hard negatives left out", Markdown(f"{data.known_negatives:,} (positives of another row with the query)")


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


def about_training(facts: ModelFacts) -> Iterator[tuple[str, object]]:
    report = facts.report
    recipe, hardware = report.recipe, report.hardware
    yield "recipe", as_code(shown_name(str(recipe["name"]))) if recipe.get("name") else None
    yield "what was trained", _trained_part(facts)
    yield "read of a row", _drawn(report)
    yield "false negatives", _technique(report)
    yield "what the teacher did", _taught(report)
    yield "guide", _guided(report)
    yield "loss", _robust(report)
    yield "rows an update", _batch(report)
    yield "in-batch negatives", _in_batch(report)
    yield "gradient checkpointing", "yes" if recipe.get("gradient_checkpointing") else None
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


def _batch(report: TrainingReport) -> Markdown | None:
    """How many rows an update has, on how many devices, and how many it has with the authors of the recipe."""
    if report.batch is None:
        return None
    recipe, count = report.recipe, report.devices
    parts = [f"{recipe['batch_size']:,}", f"{count} devices" if count > 1 else "1 device"]
    if recipe["gradient_accumulation"] > 1:
        parts.append(f"accumulated {recipe['gradient_accumulation']} times")
    text = f"{report.batch:,} ({' × '.join(parts)})"
    theirs = report.authors
    if theirs is None or (theirs.rows, theirs.devices) == (report.batch, count):
        return Markdown(text)
    pool = mapping(recipe.get("loss")).get("gather") and "; each query met the passages of fewer rows than theirs"
    fewer = pool if pool and recipe["batch_size"] * count < theirs.rows // recipe["gradient_accumulation"] else ""
    return Markdown(f"{text}. The authors of the recipe have {theirs.rows:,} on {theirs.devices} devices{fewer}")


def _in_batch(report: TrainingReport) -> str | None:
    """Whose passages are negatives, where there are several devices."""
    loss = mapping(report.recipe.get("loss"))
    if report.devices == 1 or not loss.get("in_batch", report.kind in ("sparse", "late-interaction")):
        return None
    return "of all devices, gathered" if loss.get("gather") else "of the own device only"


def _trained_part(facts: ModelFacts) -> str | None:
    if not facts.report.recipe.get("lora"):
        return None
    return f"low-rank adapters (LoRA){', added to the weights afterwards' if facts.adapters_merged else ''}"


def _drawn(report: TrainingReport) -> str | None:
    """What a step sees of a row."""
    loss = mapping(report.recipe.get("loss"))
    count = loss.get("negatives")
    if not isinstance(count, int):
        return None
    if report.kind in ("sparse", "late-interaction") and "pooling" in report.recipe:  # of an earlier release
        return f"each positive by itself with {count} of its hard negatives, drawn once for all epochs"
    one = loss.get("objective") == "softmax" or loss.get("positives") == "random"
    positives = "one of its positives" if one else "all its positives"
    return f"{positives} and {count} of its hard negatives, drawn anew each epoch"


def _technique(report: TrainingReport) -> Markdown | None:
    """What was done about them beyond the config."""
    if not report.technique:
        return None
    if report.technique == "sieve":
        return _sieved(report)
    teacher = at_commit(report.teacher) if report.teacher else Markdown("a teacher")
    if report.technique == "distillation":
        return Markdown(f"distillation: trained on the scores of {teacher} in place of the labels")
    if report.technique == "perc-pos":
        share = mapping(report.recipe.get("teacher")).get("share")
        part = f"{share:.0%} of" if isinstance(share, (int, float)) and math.isfinite(share) else "a part of"
        return Markdown(f"left out were negatives that {teacher} scored above {part} the positive")
    return Markdown(f"{as_text(report.technique)}, with {teacher}")


def _sieved(report: TrainingReport) -> Markdown:
    count = report.teaching.negatives_left_out if report.teaching else 0
    return Markdown(
        f"left out were {count:,} hard negatives that a model of the same recipe, trained first with contrastive"
        " confidence regularisation, found no farther from the query than the row's passages on average (the passage"
        " sieve of [arXiv 2401.00165](https://arxiv.org/abs/2401.00165))"
    )


def _taught(report: TrainingReport) -> str | None:
    """What its scores did to the rows."""
    found = report.teaching
    if found is None or report.technique == "sieve":
        return None
    if found.effective_passages is not None and found.passages is not None:
        temperature = mapping(report.recipe.get("teacher")).get("temperature")
        at = f" at temperature {temperature:g}" if isinstance(temperature, (int, float)) else ""
        return (
            f"its distribution speaks of {found.effective_passages:.1f} of a row's {found.passages:.1f} passages"
            f"{at} (exp of the entropy; 1.0 is a label)"
        )
    return (
        f"left out {found.negatives_left_out:,} negatives, and {found.rows_left_out:,} rows that had too few negatives"
        " left"
    )


def _guided(report: TrainingReport) -> Markdown | None:
    """Which negatives a guide left out of the loss."""
    if report.guide is None:
        return None
    found, share = report.guided, ""
    if found is not None and found.compared:
        share = f", {found.left_out / found.compared:.1%} of all that were compared"
    return Markdown(f"negatives that {at_commit(report.guide)} finds as near as the positive count for nothing{share}")


ROBUST = {
    "debiased": ("debiased contrastive loss", "2007.00224"),
    "gce": ("generalised cross-entropy", "1805.07836"),
    "ccr": ("contrastive confidence regularisation", "2401.00165"),
    "label-weakening": ("label weakening, as data ambiguation", "2305.13764"),
}
"""What `loss.robust` of a recipe is called, and its paper."""


def _robust(report: TrainingReport) -> Markdown | None:
    """The loss, where it is one that expects some negatives to be positives."""
    settings = mapping(mapping(report.recipe.get("loss")).get("robust"))
    name, paper = ROBUST.get(str(settings.get("name")), (None, ""))
    if name is None:
        return None
    values = ", ".join(f"{as_text(key)} {value:g}" for key, value in settings.items() if isinstance(value, int | float))
    return Markdown(f"{name} ([arXiv {paper}](https://arxiv.org/abs/{paper}); {values}) in place of InfoNCE")


def mapping(value: Any) -> Mapping[str, Any]:
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


def hyperparameters(report: TrainingReport) -> Markdown | None:
    """All fields of the recipe."""
    rows = [[as_code(name), as_code(cut(value, ITEM_LENGTH))] for name, value in _flat(report.recipe, report)]
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


def prompts(report: TrainingReport) -> Markdown | None:
    """What is put before the texts, quoted, as blanks matter. A reranker has no prompts."""
    prompts = prompt_texts(report)
    if not prompts:
        return None
    rows = [[name, as_code(json.dumps(prompt, ensure_ascii=False))] for name, prompt in prompts.items()]
    return table(["text", "prompt"], rows)


def prompt_texts(report: TrainingReport) -> dict[str, str]:
    if report.kind == "reranker":
        return {}
    prompts = {name: report.recipe.get(f"{name}_prompt") for name in ("query", "passage")}
    return {name: prompt for name, prompt in prompts.items() if isinstance(prompt, str) and prompt}
