"""`hf relabel prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hf_relabel.hub_tools.commands.common import EVAL_HELP, command_needs, json_option, print_json
from hf_relabel.hub_tools.commands.completion import one_of, recipes
from hf_relabel.hub_tools.commands.kept_runs import DROP_MODELS_HELP, RUNS_HELP, kept_note, runs_folder, runs_shown

if TYPE_CHECKING:
    from hf_relabel.trainers.comparing.prune import PruneReport, Rule

EPILOG = """\b
Examples:
  hf relabel prune train.jsonl --eval beir/scifact --eval beir/fiqa
  hf relabel prune rlhn/default-100K --eval nanobeir --recipe e5-base --runs runs
  hf relabel prune rlhn/default-100K --eval beir-14:beir --rule mean
  hf relabel prune train.jsonl --eval beir/scifact --report pruning.md
\b
Then, without the subsets that harm:
  hf relabel judge train.jsonl --subset nq --subset fever --endpoint http://127.0.0.1:8080"""


@click.command("prune", epilog=EPILOG)
@click.argument("data", metavar="DATA")
@click.option("--config", help="Config of a release; its default one when not given.")
@click.option("--eval", "sets", multiple=True, metavar="SET", required=True, help=EVAL_HELP)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="How many seeds.")
@click.option(
    "--recipe",
    shell_complete=one_of(recipes, yaml=True),
    help="Of what is trained: a small static student when not given.",
)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Field of the recipe. May be repeated.")
@click.option("--metric", default="ndcg@10", show_default=True)
@click.option(
    "--rule",
    type=click.Choice(["significant", "mean"]),
    default="significant",
    show_default=True,
    help="Prune what harms significantly, or all without which the mean does not fall, as RLHN does.",
)
@click.option("--runs", metavar="FOLDER", help=RUNS_HELP)
@click.option("--drop-models", is_flag=True, help=DROP_MODELS_HELP)
@click.option("--device", help="torch device, such as cpu; found out when not given.")
@click.option("--figure", help="Write the plot to this PNG file.")
@click.option(
    "--report", "report_file", metavar="FILE.md", help="Write table and plot as Markdown, the plot beside it."
)
@json_option
def command(
    data: str,
    config: str | None,
    sets: tuple[str, ...],
    seeds: int,
    recipe: str | None,
    changes: tuple[str, ...],
    metric: str,
    rule: Rule,
    runs: str | None,
    drop_models: bool,
    device: str | None,
    figure: str | None,
    report_file: str | None,
    as_json: bool,
) -> None:
    """Leave out one subset of DATA at a time, train, and say which subsets harm. Changes nothing."""
    command_needs("train")
    from hf_relabel.cards.figures.pruning import pruning_png
    from hf_relabel.hub_tools.commands.train_command import recipe_changes
    from hf_relabel.trainers.comparing.prune import prune
    from hf_relabel.trainers.data.training_data import open_training_data
    from hf_relabel.trainers.evaluation.opening import open_sets
    from hf_relabel.trainers.quiet import quiet_libraries
    from hf_relabel.trainers.recipes.recipe import load_recipe
    from hf_relabel.trainers.students.static import default_student

    student = load_recipe(recipe or default_student().model_dump(mode="json"), **recipe_changes(changes))
    folder = runs_folder(runs)
    with quiet_libraries():
        rows = open_training_data(data, config)
    with runs_shown("pruning", folder) as show:
        report = prune(
            rows,
            open_sets(sets),
            recipe=student,
            seeds=range(seeds),
            metric=metric,
            rule=rule,
            folder=folder,
            device=device,
            keep_models=not drop_models,
            progress=show,
        )
    if figure:
        _write(Path(figure), pruning_png(report.to_dict()))
    if report_file:
        _write_report(Path(report_file), report)
    if as_json:
        print_json({**report.to_dict(), "runs": str(folder)})
        return
    click.echo(f"{report.to_text()}\n\n{kept_note(folder)}")


def _write_report(path: Path, report: PruneReport) -> None:
    """The pruning as Markdown, and its figure beside it, under the same name."""
    from hf_relabel.cards.figures.pruning import pruning_png, pruning_report

    picture = path.with_suffix(".png")
    _write(picture, pruning_png(report.to_dict()))
    _write(path, pruning_report(report.to_dict(), picture.name).encode())


def _write(path: Path, content: bytes) -> None:
    from hf_relabel.builders.disk.atomic_file import written_whole

    with written_whole(path) as file:
        file.write(content)
