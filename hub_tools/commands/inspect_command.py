"""`hf relabel inspect`."""

from __future__ import annotations

from typing import Any

import click

from hf_relabel.hub_tools.commands.common import json_option, print_json, source_options, source_settings
from hf_relabel.hub_tools.commands.progress import progress_bar

EPILOG = """\b
Examples:
  hf relabel inspect train.jsonl
  hf relabel inspect rlhn/default-680K --subset fever --limit 5000
  hf relabel inspect my-beir-folder --json"""


@click.command("inspect", epilog=EPILOG)
@source_options
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Show what SOURCE holds: its schema, rows and passages per subset, and what is wrong with it.

    Also finds the false negatives that need no judge: negatives equal or nearly equal to a positive.
    """
    from hf_relabel.builders.inspection import inspect
    from hf_relabel.hub_tools.assembly import source_of

    source = source_of(source_settings(options), pairs=True)
    with progress_bar("reading") as bar:
        report = inspect(source, progress=lambda rows: bar.update(rows - bar.n))
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(report.to_text())
