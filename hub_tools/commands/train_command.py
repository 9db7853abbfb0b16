"""`hf relabel train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.hub_tools.commands.common import (
    EVAL_HELP,
    FOLDER,
    command_needs,
    json_option,
    print_json,
)
from hf_relabel.hub_tools.commands.completion import one_of, recipes
from hf_relabel.hub_tools.commands.interrupting import goes_on
from hf_relabel.hub_tools.commands.kept_runs import runs_shown
from hf_relabel.hub_tools.commands.progress import progress_lines
from hf_relabel.trainers.devices import all_devices, is_first

if TYPE_CHECKING:
    from hf_relabel.cards.training_report import Comparison, TrainingReport
    from hf_relabel.trainers.recipes.recipe import Recipe

EPILOG = """\b
Examples:
  hf relabel train --list
  hf relabel train user/train-relabeled@v1.0.0 --config relabel --recipe e5-base --out model
  hf relabel train cleaned --recipe static --eval beir/scifact --out model
  hf relabel train cleaned --recipe e5-base --eval beir/scifact --dev beir/scifact:dev --out model
  hf relabel train cleaned --config relabel --eval beir/scifact --compare-original --seeds 3 --out model
  hf relabel train cleaned --recipe my-recipe.yaml --set max_steps=500 --set loss.negatives=15 --out model
  hf relabel train cleaned --recipe e5-base --dry-run --on h100 --devices 4
On 4 GPUs, where batch_size is for each:
  torchrun --nproc-per-node 4 --no-python hf relabel train cleaned --recipe e5-base --out model"""


@click.command("train", epilog=EPILOG)
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--config", help="Config of a release; its default one when not given.")
@click.option("--revision", help="Branch, tag or commit of a data set on the Hub.")
@click.option(
    "--recipe",
    default="static",
    show_default=True,
    shell_complete=one_of(recipes, yaml=True),
    help="A recipe that ships with the package, or a file.",
)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Field of the recipe. May be repeated.")
@click.option("--out", type=FOLDER, help="Folder of the run. The same command again goes on from its last checkpoint.")
@click.option("--eval", "sets", multiple=True, metavar="SET", help=EVAL_HELP)
@click.option("--dev", multiple=True, metavar="SET", help="Other sets, by which the best step is kept; else the last.")
@click.option("--seed", type=int, help="In place of the recipe's.")
@click.option("--device", help="torch device, such as cpu; found out when not given.")
@click.option("--evaluate-every", type=click.IntRange(min=1), help="Steps between evaluations: a tenth of the run.")
@click.option(
    "--compare-original",
    is_flag=True,
    help="Train on the original rows too, and on both with more seeds, for the difference on the model's card.",
)
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Runs of each for --compare-original: with 3, five beside the model's. One gives no interval.",
)
@click.option("--merge-adapters", is_flag=True, help="Save LoRA merged into the model.")
@click.option("--log-to", multiple=True, help="tensorboard, trackio or wandb, where it is installed.")
@click.option("--overwrite", is_flag=True, help="Delete what another run left in the folder.")
@click.option("--dry-run", is_flag=True, help="Train nothing: print rows, batch, steps, memory and hours (estimates).")
@click.option("--on", help="With --dry-run: a100, h100, h200, l4 or cpu; what is here when not given.")
@click.option("--devices", type=click.IntRange(min=1), default=1, help="With --dry-run: how many of them.")
@click.option("--list", "list_recipes", is_flag=True, help="List the recipes that ship with the package.")
@json_option
def command(
    data: str | None,
    config: str | None,
    revision: str | None,
    recipe: str,
    changes: tuple[str, ...],
    out: str | None,
    sets: tuple[str, ...],
    dry_run: bool,
    on: str | None,
    devices: int,
    list_recipes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on DATA: a folder that `build` wrote, a release on the Hub, or a training set as it is."""
    from hf_relabel.builders.errors import ConfigError

    if list_recipes:
        _list_recipes()
        return
    command_needs("train")
    if dry_run and data:
        _plan(data, config, revision, _recipe(recipe, recipe_changes(changes)), devices, on, as_json)
        return
    if not data or not out:
        raise ConfigError("Name the data to train on and a folder for the model (--out).")
    with goes_on(lambda: f"The same command again goes on from the last checkpoint in {out}, if there is one."):
        report = run_training(
            data, out, config=config, revision=revision, recipe=recipe, changes=recipe_changes(changes), sets=sets,
            **options,
        )  # fmt: skip
    if is_first():
        show_training(report, out, as_json)


def _recipe(name: str, changes: dict[str, Any]) -> Recipe:
    from hf_relabel.trainers.recipes.recipe import load_recipe
    from hf_relabel.trainers.students.static import default_student

    # The static student's teacher is taken out of a package where that is installed, so that it needs no network.
    return load_recipe(default_student().model_dump(mode="json") if name == "static" else name, **changes)


def _plan(
    data: str, config: str | None, revision: str | None, recipe: Recipe, devices: int, on: str | None, as_json: bool
) -> None:
    """Print what would be done."""
    from hf_relabel.trainers.data.training_data import open_training_data
    from hf_relabel.trainers.quiet import quiet_libraries
    from hf_relabel.trainers.training.plan import plan_training

    with quiet_libraries():
        plan = plan_training(recipe, open_training_data(data, config, revision=revision), devices=devices, on=on)
    print_json(plan.record()) if as_json else click.echo(plan.to_text())


def run_training(
    data: str,
    out: str,
    *,
    config: str | None,
    revision: str | None,
    recipe: str,
    changes: dict[str, Any],
    sets: tuple[str, ...],
    dev: tuple[str, ...] = (),
    compare_original: bool = False,
    seeds: int = 3,
    **options: Any,
) -> TrainingReport:
    """Open what is named and train."""
    from hf_relabel.builders.techniques import Technique
    from hf_relabel.trainers.data.training_data import open_training_data
    from hf_relabel.trainers.evaluation.opening import open_sets
    from hf_relabel.trainers.quiet import quiet_libraries

    devices = all_devices(options.get("device"))

    loaded, opened, chosen_on = devices.in_turn(lambda: (_recipe(recipe, changes), open_sets(sets), open_sets(dev)))
    with quiet_libraries():
        rows = devices.alike(lambda: open_training_data(data, config, revision=revision))
    # Names are known to be right by now; this takes seconds.
    from hf_relabel.trainers.training.run import train

    against = None
    if compare_original and rows.used.config != Technique.ORIGINAL:
        from hf_relabel.trainers.comparing.original import WithOriginal
        from hf_relabel.trainers.comparing.trials import Schedule

        with quiet_libraries():
            original = devices.alike(lambda: open_training_data(data, Technique.ORIGINAL, revision=revision))
        schedule = Schedule(tuple(chosen_on), options.get("evaluate_every"))
        against = WithOriginal(loaded, rows, original, tuple(opened), seeds, schedule, options.get("device"))
        devices.by_first(against.check)  # before anything is trained
    with _steps_told("training") as callbacks:
        report = train(loaded, rows, out, sets=opened, dev=chosen_on, callbacks=callbacks, **options)
    if against is None:
        return report
    with runs_shown("training on the original rows and with other seeds", Path(out)) as show:
        return against.run(report, Path(out), show if is_first() else None)


@contextmanager
def _steps_told(description: str) -> Iterator[list[Any]]:
    """Callbacks of a training that say how far it is where no terminal shows the bar of transformers."""
    from hf_relabel.trainers.training.callbacks import StepsCallback

    if not is_first():
        yield []
        return
    with progress_lines(f"before {description} (the model, and what it reaches untrained)", unit=" steps") as lines:

        def tell(done: int, total: int) -> None:
            if lines.total is None:
                lines.set_description(description)
                lines.reset()  # what came before says nothing of how long the steps will take
            lines.total = total
            lines.update(done - lines.n)

        yield [StepsCallback(tell)]


def recipe_changes(given: tuple[str, ...]) -> dict[str, Any]:
    """`NAME=VALUE` texts as fields of a recipe: values are YAML, `loss.negatives=3` is a field of a field."""
    import yaml

    from hf_relabel.builders.errors import ConfigError

    changes: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set takes NAME=VALUE, not {text!r}.")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {name}: {value!r} cannot be read.") from error
        *above, field = name.split(".")
        place = changes
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {name}: another --set gives `{part}` as a whole.")
        place[field] = parsed
    return changes


def show_training(report: TrainingReport, out: str | Path, as_json: bool) -> None:
    """Print what was trained and what it reached."""
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    before = {each.set.name: each.metrics for each in report.before}
    lines = [
        {
            "set": each.set.name,
            "metric": metric,
            "untrained": before.get(each.set.name, {}).get(metric),
            "trained": value,
        }
        for each in report.evaluations
        for metric, value in each.metrics.items()
    ]
    if lines:
        click.echo(text_table(lines, floatfmt=".4f", missingval=""))
    if report.comparison is not None and report.comparison.overall is not None:
        click.echo(_against_original(report.data.config, report.comparison))
    best = f", best at step {report.best_step}" if report.best_step else ""
    click.echo(
        f"{report.recipe['name']} on {report.data.rows} rows of {report.data.config}: {report.steps} steps{best},"
        f" {report.seconds:.0f} s. The model is in {out}."
    )
    click.echo(f"\nRelease it with: {program()} push-model {out} user/model")


def _against_original(config: str, compared: Comparison) -> str:
    """The differences to the original rows, and what they are of."""
    from hf_relabel.trainers.comparing.measurements import TOGETHER
    from hf_relabel.trainers.evaluation.significance import interval_text

    several = len(compared.differences) > 1
    shown = [*compared.differences, *([compared.overall] if several else [])]
    lines = [
        {
            "set": f"mean of {each.name}" if each is compared.overall else each.name,
            "queries": each.queries,
            compared.config: f"{each.other:.4f}",
            config: f"{each.this:.4f}",
            "difference": f"{100 * each.difference:+.2f}",
            "interval": interval_text(each.low, each.high),
        }
        for each in shown
        if each is not None
    ]
    runs = len(compared.seeds)
    of = f"{compared.metric}, means over {runs} {'run' if runs == 1 else 'runs'} of each, differences in points."
    return f"\n{text_table(lines, disable_numparse=True)}\n{of}{f' {TOGETHER}' if several else ''}"


def _list_recipes() -> None:
    from hf_relabel.trainers.recipes.recipe import shipped_recipes
    from hf_relabel.trainers.recipes.sources import described

    for name, file in shipped_recipes().items():
        click.echo(f"{name:24} {described(file)}")
