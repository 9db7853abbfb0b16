"""What a model reached: the tables of its card, its `model-index`, and the files in `.eval_results`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import CardError
from hf_relabel.builders.readme.markdown import NOTHING, Markdown, as_code, as_text, cut, one_line, table
from hf_relabel.cards.set_groups import complete_groups, mean_name, mean_over
from hf_relabel.cards.training_report import EvaluationSet, Measured, TrainingReport

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

HUB = "https://huggingface.co"
SOURCE = "hf-relabel"
"""Who measured, in our entries of a model-index: so that a later card replaces all of them."""
EVAL_RESULTS = ".eval_results"
_METRICS = {
    "ndcg": "nDCG",
    "mrr": "MRR",
    "map": "MAP",
    "recall": "Recall",
    "precision": "Precision",
    "hit": "Hit rate",
    "accuracy": "Accuracy",
}
_TASKS = {"reranker": ("text-ranking", "Text Ranking")}
_TASK = ("information-retrieval", "Information Retrieval")
_REVISION = re.compile(r"[\w-][\w.-]*", re.ASCII)
_REPO_ID = re.compile(r"(?!.*(?:--|\.\.))\w(?:[\w.-]*\w)?/(?=.{1,96}\Z)\w(?:[\w.-]*\w)?(?<!\.git)", re.ASCII)
_OLD_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
"""Without an owner, such as gpt2."""
_COMMIT = re.compile(r"[0-9a-f]{13,}")
_PATH = re.compile(r"~|\.{0,2}[\\/]|[A-Za-z]:[\\/]|file:")


def is_repo_id(name: str | None) -> bool:
    """Whether this can be the name of a repository, with its owner: the rules of huggingface_hub."""
    return name is not None and _REPO_ID.fullmatch(name) is not None


def is_on_the_hub(name: str, revision: str | None) -> bool:
    """Whether a model is one of the Hub. As where models are loaded, a folder of this name comes first."""
    is_old_name = bool(revision) and _OLD_NAME.fullmatch(name) is not None
    return (is_old_name or is_repo_id(name)) and not Path(name).is_dir()


def last_part(location: str) -> str:
    """A path without its folders, which are nobody's business."""
    return re.split(r"[\\/]", location.rstrip("\\/"))[-1]


def shown_name(name: str) -> str:
    """A name; of a path its last part."""
    return last_part(name) if _PATH.match(name) else name


def hub_link(name: str, revision: str | None, *, kind: str = "") -> str:
    """Where a repository is on the Hub, at a commit or tag.

    Args:
        kind: `datasets/` for a data set.
    """
    place = f"{HUB}/{kind}{name}"
    return f"{place}/tree/{revision}" if revision and _REVISION.fullmatch(revision) else place


def commit(revision: str) -> str:
    """A revision as it is shown: 12 characters of a commit."""
    return revision[:12] if _COMMIT.fullmatch(revision) else cut(revision, 60)


def metric_name(metric: str) -> str:
    """A metric as people write it: `nDCG@10`."""
    name, at, depth = one_line(metric).partition("@")
    return f"{_METRICS.get(name.lower(), name)}{at}{depth}"


def first_metric(measured: Measured) -> str | None:
    """The metric that comes first, which chooses among checkpoints."""
    return next((name for name, value in measured.metrics.items() if math.isfinite(value)), None)


# --- tables ---------------------------------------------------------------------------------------------------------


def results_table(report: TrainingReport) -> Markdown | None:
    """A line per set and metric, and for the means over groups that are whole: without training, trained on the config
    compared with where no difference is given, and this model. No differences, as they need intervals."""
    compared = report.comparison
    columns = {"untrained": report.before}
    if compared is not None and compared.bounded is None:
        columns[shown_name(compared.config)] = compared.evaluations
    columns["this model"] = report.evaluations
    values = {name: _with_means(measured, report.evaluations) for name, measured in columns.items()}
    shown = [name for name in columns if any(place in values[name] for place in values["this model"])]
    rows = [
        [_set_name(place), metric_name(str(place[-1])), *(_value(values[name].get(place)) for name in shown)]
        for place in values["this model"]
    ]
    return table(["set", "metric", *shown], rows) if rows else None


def _set_name(place: tuple[str | None, ...]) -> str:
    return shown_name(place[0] or "")


def _with_means(measured: Sequence[Measured], all_of: Sequence[Measured]) -> dict[tuple[str | None, ...], float]:
    """The values by place, and those of the means over groups, where all of a group was measured by this metric."""
    values = _by_place(measured)
    names = [one.set.name for one in all_of]
    if len(names) < 2 or len(set(names)) < len(names):
        return values
    groups = list(complete_groups(names).values())
    if not any(set(sets) == set(names) for sets in groups):
        groups.append(tuple(names))
    by_metric: dict[str, dict[str, float]] = {}
    for one in measured:
        for metric, value in one.metrics.items():
            by_metric.setdefault(metric, {})[one.set.name] = value
    for sets in groups:
        for metric, of_sets in by_metric.items():
            if set(sets) <= set(of_sets):
                values[f"mean of {mean_name(sets)}", metric] = mean_over({name: of_sets[name] for name in sets})
    return values


def sets_table(report: TrainingReport) -> Markdown | None:
    """What the model was measured on."""
    rows = []
    for measured in report.evaluations:
        about = measured.set
        where: object = None
        if about.repo_id is not None and is_repo_id(about.repo_id):
            link = hub_link(about.repo_id, about.revision, kind="datasets/")
            where = Markdown(f"[{as_text(about.repo_id)}]({link})")
        revision = None if not about.revision else as_code(commit(about.revision))
        config = None if about.config is None else as_code(shown_name(about.config))
        rows.append(
            [
                shown_name(about.name),
                where,
                config,
                as_code(about.split),
                revision,
                about.queries,
                about.documents,
            ]
        )
    headers = ["set", "on the Hub", "config", "split", "commit", "queries", "documents"]
    return table(headers, rows) if rows else None


def _by_place(measured: Sequence[Measured]) -> dict[tuple[str | None, ...], float]:
    return {(*_place(one.set), metric): value for one in measured for metric, value in one.metrics.items()}


def _place(about: EvaluationSet) -> tuple[str | None, ...]:
    return (about.name, about.repo_id, about.config, about.split)


def _value(value: float | None) -> Markdown:
    return Markdown(f"{value:.4f}" if value is not None and math.isfinite(value) else NOTHING)


# --- model-index ----------------------------------------------------------------------------------------------------


def _of_set(report: TrainingReport, repo_id: str, measured: Measured) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    about = measured.set
    task_type, task_name = _TASKS.get(report.kind, _TASK)
    name = one_line(shown_name(about.name)) or "set"
    return [
        EvalResult(
            task_type=task_type,
            task_name=task_name,
            dataset_type=about.repo_id if about.repo_id is not None and is_repo_id(about.repo_id) else slug(name),
            dataset_name=name,
            dataset_config=_optional(about.config),
            dataset_split=_optional(about.split),
            dataset_revision=_optional(about.revision),
            metric_type=one_line(metric),
            metric_name=metric_name(metric),
            metric_value=value,
            source_name=SOURCE,
            source_url=_source_url(repo_id),
        )
        for metric, value in measured.metrics.items()
        if math.isfinite(value)
    ]


def _optional(value: str | None) -> str | None:
    return one_line(shown_name(value)) or None if value is not None else None


def _source_url(repo_id: str) -> str:
    return f"{HUB}/{repo_id}" if is_repo_id(repo_id) else HUB


def slug(name: str) -> str:
    """A name in small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "set"


def model_index(present: Any, report: TrainingReport, repo_id: str) -> list[dict[str, Any]] | None:
    """The model-index with our results as they are now: earlier ones of ours are gone, others' stay.

    Args:
        present: the model-index that is there.

    Raises:
        CardError: that is no list of models with results.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index

    name = one_line(repo_id.rpartition("/")[2]) or "model"
    # Set by set: those of one data set would be merged under the name of the first.
    ours = [
        result
        for measured in report.evaluations
        if (results := _of_set(report, repo_id, measured))
        for result in eval_results_to_model_index(name, results)[0]["results"]
    ]
    models = []
    for model in _models(present):
        kept = [left for result in model["results"] if (left := _without(result, ours)) is not None]
        if kept or not model["results"]:
            models.append({**model, "results": kept})
    if not ours:
        return models or None
    target = next((model for model in models if model["name"] == name), models[0] if models else None)
    if target is None:
        return [{"name": name, "results": ours}]
    target["results"] = [*target["results"], *ours]
    return models


def _models(present: Any) -> list[dict[str, Any]]:
    models = [] if present is None else present
    if not isinstance(models, list) or not all(
        isinstance(model, dict) and "name" in model and isinstance(model.get("results"), list) for model in models
    ):
        raise CardError("README.md: `model-index` in the front matter must be a list, each with a name and results.")
    return models


def _without(result: Any, ours: Sequence[Mapping[str, Any]]) -> Any:
    """An entry without what we measured now or before; None where nothing is left."""
    if not isinstance(result, dict) or not isinstance(result.get("metrics"), list):
        return result
    source = result.get("source")
    if isinstance(source, dict) and source.get("name") == SOURCE:
        return None
    replaced = {
        metric["type"]
        for one in ours
        if _is_same_set(result.get("dataset"), one["dataset"])
        for metric in one["metrics"]
    }
    left = [metric for metric in result["metrics"] if not (isinstance(metric, dict) and _type_of(metric) in replaced)]
    if len(left) == len(result["metrics"]):
        return result
    return {**result, "metrics": left} if left else None


def _type_of(metric: Mapping[str, Any]) -> str:
    return str(metric.get("type"))


def _is_same_set(theirs: Any, ours: Mapping[str, Any]) -> bool:
    """Whether an entry is on a set of ours. What it does not say does not make it another one."""
    if not isinstance(theirs, dict) or theirs.get("type") != ours["type"]:
        return False
    return all(theirs.get(name) in (None, ours.get(name)) for name in ("config", "split"))


# --- .eval_results --------------------------------------------------------------------------------------------------


def eval_results_yaml(report: TrainingReport, repo_id: str) -> dict[str, bytes]:
    """The files of `.eval_results`, by their path: one for each set on the Hub, with the first metric of the set.

    The format has one value for a task of a data set. The task is the config, or `default`.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files: dict[str, bytes] = {}
    for measured in report.evaluations:
        about, metric = measured.set, first_metric(measured)
        if metric is None or about.repo_id is None or not is_repo_id(about.repo_id):
            continue
        split = _optional(about.split)
        entry = EvalResultEntry(
            dataset_id=about.repo_id,
            task_id=_optional(about.config) or "default",
            value=measured.metrics[metric],
            dataset_revision=_optional(about.revision),
            date=_date(report.finished),
            source_url=_source_url(repo_id),
            source_name="Model card",
            notes=", ".join([metric_name(metric), *([f"split {split}"] if split else [])]),
        )
        parts = [about.repo_id, about.config or "", "" if about.split == "test" else about.split]
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
        files[_free(slug("-".join(filter(None, parts)))[:100], files)] = text.encode()
    return files


def _free(name: str, taken: Mapping[str, bytes]) -> str:
    path, number = f"{EVAL_RESULTS}/{name}.yaml", 1
    while path in taken:
        number += 1
        path = f"{EVAL_RESULTS}/{name}-{number}.yaml"
    return path


def _date(finished: str | None) -> str | None:
    """A time, if it is one that the format takes."""
    try:
        datetime.fromisoformat(finished or "")
    except ValueError:
        return None
    return finished
