"""`hf relabel compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.hub_tools.commands.common import EVAL_HELP, command_needs, json_option, print_json
from hf_relabel.hub_tools.commands.completion import one_of, recipes
from hf_relabel.hub_tools.commands.kept_runs import DROP_MODELS_HELP, RUNS_HELP, kept_note, runs_folder, runs_shown
from hf_relabel.hub_tools.commands.progress import say_above

if TYPE_CHECKING:
    from hf_relabel.hub_tools.commands.adopting import Adopted
    from hf_relabel.trainers.comparing.compare import CompareReport

EPILOG = """\b
Examples:
  hf relabel compare cleaned --eval beir/scifact
  hf relabel compare cleaned --eval beir/scifact --seeds 5 --runs runs
  hf relabel compare cleaned --eval beir/scifact --arm relabel --arm relabel+distillation --teacher CROSS-ENCODER
  hf relabel compare cleaned --eval beir/scifact --arm relabel --arm original+gce:q=0.5 --arm original+steps
  hf relabel compare cleaned --eval beir/scifact --arm relabel-filter --arm zones@0.7 --arm zones@0.95
  hf relabel compare user/train-relabeled --eval nanobeir --push"""


@click.command("compare", epilog=EPILOG)
@click.argument("release", metavar="RELEASE")
@click.option("--eval", "sets", multiple=True, metavar="SET", required=True, help=EVAL_HELP)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="CONFIG[+NAME[:PARAMETER=VALUE,...]]",
    help="Config, beside original and remove-hn, or zones@0.7, which relabels from that calibrated probability on; all"
    " configs and the zones that labels back when not given. Or one trained by what needs no judge:"
    " +distillation, +perc-pos, +guide, +debiased, +gce, +ccr, +label-weakening, +sieve; +steps trains it as long as"
    " the arm that encodes most texts.",
)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="How many seeds.")
@click.option(
    "--recipe",
    shell_complete=one_of(recipes, yaml=True),
    help="Of what is trained: a small static student when not given.",
)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Field of the recipe. May be repeated.")
@click.option("--teacher", help="Cross-encoder for +distillation and +perc-pos.")
@click.option("--guide", help="Bi-encoder for +guide.")
@click.option("--metric", default="ndcg@10", show_default=True)
@click.option("--runs", metavar="FOLDER", help=RUNS_HELP)
@click.option("--drop-models", is_flag=True, help=DROP_MODELS_HELP)
@click.option("--device", help="torch device, such as cpu; found out when not given.")
@click.option("--figure", help="Write the forest plot to this PNG file.")
@click.option("--no-write", is_flag=True, help="Only show the outcome; leave card and default config as they are.")
@click.option("--push", "push_it", is_flag=True, help="Of a release on the Hub: write the outcome to its card there.")
@json_option
def command(
    release: str,
    sets: tuple[str, ...],
    figure: str | None,
    no_write: bool,
    push_it: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train the same student on every config of RELEASE and say which technique is best on this data.

    Before it trains it says how many rows each config changes, and how many negatives it relabels and leaves out.

    Of a folder that `build` wrote, the outcome goes into its manifest and README.md, and the best config becomes the
    default; `push` releases that. Of a release by thresholds (build --calibration) zones that begin at other calibrated
    probabilities are compared too, as far as its labels back them; where one wins, the configs are built anew with it.
    """
    command_needs("train")
    report, kept = run_comparison(release, sets, **options), runs_folder(options["runs"])
    if figure:
        from hf_relabel.builders.disk.atomic_file import written_whole
        from hf_relabel.cards.figures.forest import compare_png

        with written_whole(Path(figure)) as file:
            file.write(compare_png(report.evidence()))
    written = None if no_write else _write(release, report, push_it)
    if as_json:
        told = {} if written is None or not written.note else {"note": written.note}
        place = None if written is None else written.place
        print_json({**report.evidence(), **told, "written_to": place, "runs": str(kept)})
        return
    click.echo(f"{report.to_text()}\n\n{kept_note(kept)}")
    if written and (told_of := written.to_text(report.config)):
        click.echo(told_of)


def run_comparison(
    release: str,
    sets: tuple[str, ...],
    *,
    arms: tuple[str, ...] = (),
    seeds: int = 3,
    recipe: str | None = None,
    changes: tuple[str, ...] = (),
    teacher: str | None = None,
    guide: str | None = None,
    metric: str = "ndcg@10",
    runs: str | None = None,
    drop_models: bool = False,
    device: str | None = None,
) -> CompareReport:
    """Open what is named and compare."""
    from hf_relabel.hub_tools.commands.train_command import recipe_changes
    from hf_relabel.hub_tools.releases.opening import open_release
    from hf_relabel.trainers.comparing.compare import compare
    from hf_relabel.trainers.evaluation.opening import open_sets
    from hf_relabel.trainers.recipes.recipe import TeacherSettings, load_recipe
    from hf_relabel.trainers.students.static import default_student

    student = load_recipe(recipe or default_student().model_dump(mode="json"), **recipe_changes(changes))
    folder = runs_folder(runs)
    with runs_shown("comparing", folder) as show:
        return compare(
            open_release(release),
            open_sets(sets),
            recipe=student,
            arms=arms or None,
            teacher=None if teacher is None else TeacherSettings(use="distillation", model=teacher),
            guide=guide,
            seeds=range(seeds),
            metric=metric,
            folder=folder,
            device=device,
            keep_models=not drop_models,
            progress=show,
            before=say_above,
        )


def _write(release: str, report: CompareReport, push_it: bool) -> Adopted:
    """Put the outcome where the release is."""
    from hf_relabel.hub_tools.commands.adopting import adopt_in_folder, adopt_on_hub
    from hf_relabel.hub_tools.releases.opening import open_release

    if Path(release).is_dir():
        return adopt_in_folder(Path(release), report)
    return adopt_on_hub(open_release(release), release, report, push_it=push_it)
