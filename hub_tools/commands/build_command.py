"""`hf relabel build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.hub_tools.commands.common import json_option, print_json, progress_bar, source_options, source_settings

if TYPE_CHECKING:
    from hf_relabel.builders.configs import BuildReport
    from hf_relabel.builders.job import BuildSettings
    from hf_relabel.builders.journal import Journal
    from hf_relabel.builders.sources import Source

EPILOG = """\b
Examples:
  hf relabel build train.jsonl --out cleaned
  hf relabel build user/repo --journal nq.sqlite --out cleaned --technique relabel --technique original
\b
Then:
  load_dataset("cleaned", "relabel")"""


@click.command("build", epilog=EPILOG)
@source_options
@click.option(
    "--journal", "journal_path", default="journal.sqlite", show_default=True, help="Where judgements are kept."
)
@click.option("--out", required=True, help="Folder to write.")
@click.option("--technique", "techniques", multiple=True, help="Build only this config. May be repeated.")
@click.option(
    "--max-false-negatives",
    default=7,
    show_default=True,
    type=click.IntRange(min=0),
    help="Drop rows with more false negatives than this.",
)
@click.option("--default", "default_config", default="remove-hn", show_default=True, help="The default config.")
@json_option
def command(
    journal_path: str,
    out: str,
    techniques: tuple[str, ...],
    max_false_negatives: int,
    default_config: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Build the cleaned configs of SOURCE from the judgements in a journal. Calls no judge.

    The folder is in Hub layout: load_dataset(folder, config) loads it. The same inputs give the same bytes.
    """
    from hf_relabel.builders.job import BuildSettings
    from hf_relabel.builders.journal import Journal
    from hf_relabel.hub_tools.assembly import source_of

    chosen: dict[str, Any] = {"techniques": techniques} if techniques else {}
    settings = BuildSettings(out=out, limit=max_false_negatives, default=default_config, **chosen)
    source = source_of(source_settings(options))
    with Journal(journal_path, write=False) as journal:
        report = build(source, journal, settings)
    show_build(report, out, as_json)


def build(source: Source, journal: Journal, settings: BuildSettings) -> BuildReport:
    """Build the configs, with a progress bar."""
    from hf_relabel.hub_tools.building import build_configs

    with progress_bar("building") as bar:
        return build_configs(source, journal, settings, progress=lambda rows: bar.update(rows - bar.n))


def show_build(report: BuildReport, out: str | Path, as_json: bool) -> None:
    """Print what was built."""
    if as_json:
        print_json(report.to_dict())
        return
    click.echo(report.to_text())
    click.echo(f'\nLoad it with: load_dataset("{out}", "relabel")')
