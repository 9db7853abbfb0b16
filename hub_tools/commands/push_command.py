"""`hf relabel push`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.commands.build_command import view_options, view_settings
from hf_relabel.hub_tools.commands.common import (
    journal_option,
    json_option,
    known_techniques,
    print_json,
    source_options,
    source_settings,
)
from hf_relabel.hub_tools.commands.completion import one_of, techniques
from hf_relabel.hub_tools.commands.interrupting import goes_on
from hf_relabel.hub_tools.commands.progress import progress_bar

if TYPE_CHECKING:
    from hf_relabel.hub_tools.releases.push import PushReport

EPILOG = """\b
Examples:
  hf relabel push cleaned user/train-relabeled --license cc-by-4.0
  hf relabel push cleaned user/train-relabeled --license cc-by-4.0 --dry-run
  hf relabel push cleaned user/train-relabeled --license cc-by-4.0 --tag v2.0.0 --private
  hf relabel push cleaned user/train-relabeled --license cc-by-4.0 --create-pr
  hf relabel push train.jsonl user/train-relabeled --license cc-by-4.0 --journal journal.sqlite
\b
Then:
  load_dataset("user/train-relabeled", "relabel", revision="v1.0.0")"""


@click.command("push", epilog=EPILOG)
@source_options
@click.argument("repo_id", metavar="REPO")
@click.option("--tag", metavar="vX.Y.Z", help="The version; the next one when not given.")
@click.option("--bump", type=click.Choice(["major", "minor", "patch"]), help="Which part of the version to raise.")
@click.option("--private/--public", default=None, help="Of a new repository. One that exists must agree.")
@click.option("--create-pr", is_flag=True, help="Propose it in a pull request: yours that is open, else a new one.")
@click.option("--dry-run", is_flag=True, help="Send nothing; list every file, its bytes and what would happen to it.")
@click.option("--license", "license_", help="License of the data, as the Hub names it (cc-by-4.0, unknown, …).")
@click.option("--language", multiple=True, help="Language code of the data. May be repeated.")
@click.option("--name", "pretty_name", help="Title of a new card.")
@click.option(
    "--default",
    "default_config",
    help="The config that loads when none is named: as it was built, or of a training set remove-hn (the first"
    " --technique where that is not built).",
)
@click.option(
    "--card", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="README.md in place of the Hub's."
)
@click.option("--message", help="Title of the commit.")
@click.option("--parent-commit", help="Refuse unless this is the newest commit of the repository.")
@journal_option("For a training set.")
@click.option(
    "--technique",
    "techniques",
    multiple=True,
    callback=known_techniques,
    shell_complete=one_of(techniques),
    help="For a training set: build only this. May be repeated.",
)
@click.option(
    "--max-false-negatives",
    default=7,
    show_default=True,
    type=click.IntRange(min=0),
    help="For a training set: drop rows with more false negatives than this.",
)
@view_options
@json_option
def command(
    repo_id: str,
    license_: str | None,
    default_config: str | None,
    journal_path: str,
    techniques: tuple[str, ...],
    max_false_negatives: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Release SOURCE on the Hub as one commit and one tag.

    SOURCE is a folder that `build` wrote, or a training set as for `build`: then each shard is built, sent and deleted
    in turn, and no copy of the data is kept on the disk. The repository is created if it does not exist. Pushing the
    same again does nothing; what a killed push had sent is not sent again.
    """
    names = ("tag", "bump", "private", "create_pr", "dry_run", "language", "pretty_name", "card", "message")
    chosen = {name: options.pop(name) for name in (*names, "parent_commit")}
    chosen |= {"license": license_, "default": default_config}
    folder = Path(options["source"])
    views = view_settings(options)
    if (folder / "manifest.json").is_file():
        if views:
            raise ConfigError(f"{folder} is built already. Views are added by build: build it again with --view.")
        with release_progress() as progress:
            report = _push_folder(folder, repo_id, chosen, progress)
    else:
        build = {"limit": max_false_negatives, **({"techniques": techniques} if techniques else {}), **views}
        report = _push_source(options, journal_path, build, repo_id, chosen)
    show_push(report, as_json)


def _push_folder(folder: Path, repo_id: str, chosen: dict[str, Any], progress: Any) -> PushReport:
    from hf_relabel.hub_tools.releases.push import push

    return push(folder, repo_id, progress=progress, **chosen)


def _push_source(
    options: dict[str, Any], journal_path: str, build: dict[str, Any], repo_id: str, chosen: dict[str, Any]
) -> PushReport:
    from hf_relabel.builders.job.steps import NOT_WRITTEN, BuildSettings
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.hub_tools.judging.assemble import source_of
    from hf_relabel.hub_tools.releases.push import push_source

    source = source_of(source_settings(options))
    settings = BuildSettings(out=NOT_WRITTEN, **build)
    with Journal(journal_path, write=False) as journal, release_progress() as progress:
        return push_source(source, journal, settings, repo_id, progress=progress, **chosen)


_SENT = "What has arrived at the Hub is not sent again, and nobody sees half a release: the same command again goes on."


@contextmanager
def release_progress() -> Iterator[Any]:
    """A progress bar in bytes. The client's own bars are left out where nobody looks."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    with goes_on(lambda: _SENT), progress_bar("pushing", unit="B") as bar:
        bar.unit_scale = True
        yield lambda name, size: bar.update(size)


def show_push(report: PushReport, as_json: bool) -> None:
    """Print what was released."""
    if as_json:
        print_json(report.to_dict())
        return
    click.echo(report.to_text())
    if not report.dry_run and not report.pull_request:
        click.echo(f'\nLoad it with: load_dataset("{report.repo_id}", revision="{report.version}")')
