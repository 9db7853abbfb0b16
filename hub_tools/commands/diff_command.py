"""`hf relabel diff`."""

from __future__ import annotations

import click

from hf_relabel.hub_tools.commands.common import (
    FOLDER,
    json_option,
    print_json,
)
from hf_relabel.hub_tools.commands.progress import progress_bar

EPILOG = """\b
Examples:
  hf relabel diff user/train-relabeled@v1.0.0 user/train-relabeled@v1.1.0
  hf relabel diff user/train-relabeled cleaned --exit-code
  hf relabel diff before after --out changes
\b
Then:
  load_dataset("changes", "diff")"""


@click.command("diff", epilog=EPILOG)
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@click.option(
    "--out", type=FOLDER, help="Folder for all changes, one line each: load_dataset(folder, 'diff') loads it."
)
@click.option("--examples", default=10, show_default=True, type=click.IntRange(min=0), help="Changes to print.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything differs, with 0 if nothing does.")
@json_option
def command(before: str, after: str, out: str | None, examples: int, exit_code: bool, as_json: bool) -> int:
    """Show what changed from BEFORE to AFTER: rows added, dropped and changed, verdicts that changed and by which
    judge, and what follows for each config.

    BEFORE and AFTER are folders that were built or pulled, or releases on the Hub (user/repo, user/repo@revision).
    """
    from hf_relabel.hub_tools.releases.diff import diff

    with progress_bar("comparing") as bar:
        report = diff(before, after, out=out, examples=examples, progress=lambda rows: bar.update(rows - bar.n))
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(report.to_text())
    return int(exit_code and report.differ)
