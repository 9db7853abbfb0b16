"""`hf relabel build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.commands.common import (
    FOLDER,
    NumberIn,
    engine_of,
    engine_options,
    json_option,
    known_techniques,
    optional_source_options,
    print_json,
    run_option,
    source_settings,
)
from hf_relabel.hub_tools.commands.completion import one_of, techniques
from hf_relabel.hub_tools.commands.progress import progress_bar
from hf_relabel.hub_tools.commands.spelling import say

if TYPE_CHECKING:
    from hf_relabel.builders.configs.writing import BuildReport
    from hf_relabel.builders.job.steps import BuildSettings
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.sources import Source
    from hf_relabel.hub_tools.ray_cluster.cluster import Engine

EPILOG = """\b
Examples:
  hf relabel build train.jsonl --out cleaned
  hf relabel build user/repo --journal nq.sqlite --out cleaned --technique relabel --technique original
  hf relabel build --from user/repo-relabeled@v1.0.0 --out again --max-false-negatives 3
  hf relabel build train.jsonl --out cleaned --view tuples --view lists --view-negatives 5
  hf relabel build train.jsonl --out cleaned --output-format same
  hf relabel build train.jsonl --out cleaned --run 2
\b
Then:
  load_dataset("cleaned", "remove-hn")  # or the default that the build names"""


def view_options(command: Any) -> Any:
    """The options that say which views are built."""
    added = (
        click.option(
            "--view",
            "views",
            multiple=True,
            type=click.Choice(["tuples", "triplets", "lists", "scores"]),
            help="Add a config that the losses of sentence-transformers take, such as relabel-tuples. May be repeated.",
        ),
        click.option(
            "--view-of",
            multiple=True,
            metavar="CONFIG",
            help="Show this config in views; relabel (or the default config) when not given. May be repeated.",
        ),
        click.option(
            "--view-negatives",
            type=click.IntRange(min=1),
            help="Hard negatives in a line of a view: 7, or as in the release. Rows with fewer repeat theirs.",
        ),
    )
    for option in reversed(added):
        command = option(command)
    return command


def view_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `view_options` out of `options`, and give those that were used."""
    given = {name: options.pop(name) for name in ("views", "view_of", "view_negatives")}
    return {name: value for name, value in given.items() if value}


@click.command("build", epilog=EPILOG)
@click.argument("source", metavar="[SOURCE]", required=False)
@optional_source_options
@click.option(
    "--from",
    "release",
    metavar="RELEASE",
    help="Build again from a release (user/repo@v1.0.0, or a folder) instead of SOURCE and a journal.",
)
@click.option("--journal", "journal_path", help="Where judgements are kept; journal.sqlite when not given.")
@click.option(
    "--out", required=True, type=FOLDER, help="Folder to write. What the same command wrote there before is replaced."
)
@click.option("--overwrite", is_flag=True, help="Replace a folder that was built from another source or journal, too.")
@click.option(
    "--technique",
    "techniques",
    multiple=True,
    callback=known_techniques,
    shell_complete=one_of(techniques),
    help="Build only this config; zones is relabel-filter. May be repeated.",
)
@click.option(
    "--max-false-negatives",
    type=click.IntRange(min=0),
    help="Drop rows with more false negatives than this: 7, or as in the release.",
)
@click.option(
    "--min-negatives",
    type=click.IntRange(min=0),
    help="Rows that relabel-filter would leave with fewer negatives keep their doubtful ones: 0, or as in the release.",
)
@click.option(
    "--calibration", metavar="FILE", help="Let the thresholds of an audit decide instead of the judges' labels."
)
@click.option(
    "--zones-at",
    type=NumberIn(0, 1, min_open=True, max_open=True),
    metavar="P",
    help="Relabel from this calibrated probability on, in place of the threshold of --calibration, or of the release.",
)
@click.option(
    "--default",
    "default_config",
    help="The config that loads when none is named: relabel-filter with a --calibration, else remove-hn (the first"
    " --technique where that is not built), or as in the release. (Python's relabel(…) gives what it is asked for,"
    " relabel unless told otherwise.)",
)
@view_options
@click.option(
    "--output-format",
    type=click.Choice(["same", "flagembedding", "triplet", "negative-list", "labeled-list"]),
    help="Also write each config as JSON lines in this format, in formats/ of the folder; same: as SOURCE came in.",
)
@run_option
@click.option(
    "--min-judged",
    type=NumberIn(0, 1),
    metavar="SHARE",
    help="Refuse to build where less was judged of what needs a judge, such as 0.8; 0.95 when not given.",
)
@click.option("--allow-unjudged", is_flag=True, help="Build however little was judged: the rest stays as it is.")
@engine_options
@json_option
def command(
    release: str | None,
    journal_path: str | None,
    out: str,
    overwrite: bool,
    techniques: tuple[str, ...],
    max_false_negatives: int | None,
    min_negatives: int | None,
    calibration: str | None,
    zones_at: float | None,
    default_config: str | None,
    output_format: str | None,
    run_number: int | None,
    min_judged: float | None,
    allow_unjudged: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Build the cleaned configs of SOURCE from the judgements in a journal, or again from a release. Calls no judge.

    The folder is in Hub layout: load_dataset(folder, config) loads it. The same inputs give the same bytes.
    """
    given = {"techniques": techniques or None, "limit": max_false_negatives, "default": default_config}
    if allow_unjudged and min_judged is not None:
        raise ConfigError("Give either --allow-unjudged or --min-judged, not both.")
    given |= {"output_format": output_format, "overwrite": overwrite or None, "min_negatives": min_negatives}
    numbers = {} if zones_at is None else {"zones_at": zones_at}
    chosen = {name: value for name, value in given.items() if value is not None} | numbers | view_settings(options)
    engine = engine_of(options)
    if release is not None:
        if engine is not None:
            raise ConfigError("--engine ray needs the journal: give SOURCE in place of --from.")
        of_journal = {"calibration": calibration, "run": run_number, "min-judged": min_judged}
        of_journal["allow-unjudged"] = allow_unjudged or None
        for name, value in of_journal.items():
            if value is not None:
                raise ConfigError(f"--{name} needs the journal: give SOURCE in place of --from.")
        if options["source"] or journal_path is not None:
            raise ConfigError("--from takes the place of SOURCE and --journal: leave those out.")
        show_build(_rebuild(release, options["revision"], out, chosen), out, as_json)
        return
    if not options["source"]:
        raise ConfigError("Name a training set, or a release with --from.")
    chosen |= {"calibration": calibration} if calibration else {}
    chosen["min_judged"] = 0.0 if allow_unjudged else min_judged
    journal_path = "journal.sqlite" if journal_path is None else journal_path
    show_build(_build(options, journal_path, out, chosen, engine, run_number), out, as_json)


def _build(
    options: dict[str, Any],
    journal_path: str,
    out: str,
    chosen: dict[str, Any],
    engine: Engine | None,
    run: int | None,
) -> BuildReport:
    from hf_relabel.builders.job.steps import BuildSettings
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.hub_tools.judging.assemble import source_of

    settings = BuildSettings(out=out, **chosen)
    source = source_of(source_settings(options))
    # Many read it at once with an engine: so that nobody writes to it meanwhile, it is opened for writing.
    with Journal(journal_path, write=engine is not None and Path(journal_path).is_file()) as journal:
        return build(source, journal, settings, engine, run)


def _rebuild(location: str, revision: str | None, out: str, chosen: dict[str, Any]) -> BuildReport:
    from hf_relabel.hub_tools.building.rebuild import rebuild_configs, settings_of
    from hf_relabel.hub_tools.releases.opening import open_release

    release = open_release(location, revision=revision, verify=True)
    settings = settings_of(release, out, **chosen)
    with progress_bar("building") as bar:
        return rebuild_configs(release, settings, progress=lambda rows: bar.update(rows - bar.n))


def build(
    source: Source,
    journal: Journal,
    settings: BuildSettings,
    engine: Engine | None = None,
    run: int | None = None,
) -> BuildReport:
    """Build the configs, with a progress bar, in this process or spread by an engine."""
    from hf_relabel.hub_tools.building.run import build_configs

    with progress_bar("building") as bar:

        def progress(rows: int) -> None:
            bar.update(rows - bar.n)

        if engine is None:
            return build_configs(source, journal, settings, run=run, progress=progress)
        from hf_relabel.hub_tools.building.on_ray import build_on_ray

        return build_on_ray(source, journal, settings, engine, run=run, progress=progress)


def show_build(report: BuildReport, out: str | Path, as_json: bool) -> None:
    """Print what was built."""
    if as_json:
        print_json(report.to_dict())
        return
    say(report.to_text())
    settings = report.manifest["settings"]
    shown = [settings["default_config"], *(view["name"] for view in settings.get("views", ()))]
    click.echo("\nLoad it with: " + ",\n  ".join(f'load_dataset("{out}", "{name}")' for name in shown))
