"""Publishing a trained model: its folder, with the card that its report makes, as a tagged release."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.cards.licenses import check_license
from hf_relabel.cards.model_card import eval_results_files, model_figures, render_model_card
from hf_relabel.cards.model_facts import ModelFacts
from hf_relabel.cards.model_results import shown_name
from hf_relabel.cards.training_report import REPORT_NAME, TrainingReport, read_training_report
from hf_relabel.hub_tools.releases.models import Render, push_model
from hf_relabel.hub_tools.releases.pusher import Bump, PushReport
from hf_relabel.trainers.recipes.recipe import load_recipe

README_NAME = "README.md"


@expects(folder=PATH, repo_id=str)
def publish(
    folder: str | Path,
    repo_id: str,
    *,
    license: str | None = None,
    language: Sequence[str] = (),
    tag: str | None = None,
    bump: Bump | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    message: str | None = None,
    parent_commit: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
    progress: Callable[[str, int], None] | bool | None = True,
) -> PushReport:
    """Release what `training.train` wrote, with its card, figures and results.

    Example:
            publish("model", "user/retriever", license="apache-2.0")

    Args:
        license, language: of the model, for its card; left out, those that the card has stay.
        all others: as for `push_model`.

    Raises:
        CardError: the folder has no report of a training, or the repository's card cannot be merged with.
        ConfigError: the folder holds adapters of a model in a folder.
        ReleaseError, ConfigError: as `push_model`.
    """
    path = Path(folder)
    check_license(license)
    report = read_training_report(path)
    _check_adapters(path)
    render = card_renderer(report, repo_id, license=license, language=language)
    return push_model(
        path,
        repo_id,
        tag=tag,
        bump=bump,
        private=private,
        create_pr=create_pr,
        message=message,
        parent_commit=parent_commit,
        dry_run=dry_run,
        token=token,
        render=render,
        progress=progress,
    )


def _check_adapters(folder: Path) -> None:
    """Adapters name the model that they change; who downloads them has no folder of this machine.

    Raises:
        ConfigError: they change a model in a folder.
    """
    file = folder / "adapter_config.json"
    base = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path") if file.is_file() else None
    if base and (shown_name(base) != base or Path(base).is_dir()):
        raise ConfigError(
            f"{folder} holds adapters of the model in {base}, a folder of this machine: nobody could load them from the"
            " Hub. Train with the adapters merged (`merge_adapters`), or from a model on the Hub."
        )


def card_renderer(
    report: TrainingReport, repo_id: str, *, license: str | None = None, language: Sequence[str] = ()
) -> Render:
    """What makes the card of a model for one version of it, and the report without the folders of this machine."""

    def render(version: str, readme: str | None) -> Mapping[str, bytes]:
        facts = ModelFacts(repo_id, version, report, license=license, language=language)
        return {
            README_NAME: render_model_card(facts, readme).encode(),
            **model_figures(report),
            **eval_results_files(facts),
            **public_files(report),
        }

    return render


def public_files(report: TrainingReport) -> dict[str, bytes]:
    """training.json and recipe.yaml with names of folders cut to their last part."""
    recipe = _with_shown_models(report.recipe)
    data = report.data.model_copy(update={"location": shown_name(report.data.location)})
    models = {"base": report.base, "teacher": report.teacher, "guide": report.guide}
    shown = {name: each and each.model_copy(update={"name": shown_name(each.name)}) for name, each in models.items()}
    public = report.model_copy(update={"recipe": recipe, "data": data, **shown})
    files = {REPORT_NAME: f"{public.model_dump_json(indent=2)}\n".encode()}
    if "loss" in recipe:  # of a run of ours; `callbacks` describe the training of others in another form
        files["recipe.yaml"] = load_recipe(recipe).to_yaml().encode()
    return files


def _with_shown_models(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with the names of its models as they are shown: its own, its teacher's and its guide's."""

    def shown(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return _with_shown_models(value)
        return shown_name(value) if name == "model" else value

    return {name: shown(name, value) for name, value in recipe.items()}
