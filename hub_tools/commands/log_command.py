"""`hf relabel log`."""

from __future__ import annotations

import click

from hf_relabel.hub_tools.commands.common import json_option, print_json

EPILOG = """\b
Examples:
  hf relabel log user/train-relabeled
  hf relabel log user/train-relabeled -n 3
  hf relabel log user/train-relabeled --json"""


@click.command("log", epilog=EPILOG)
@click.argument("repo", metavar="REPO")
@click.option("-n", "number", type=click.IntRange(min=1), help="Only so many versions.")
@json_option
def command(repo: str, number: int | None, as_json: bool) -> None:
    """List the versions of the release in REPO (user/repo), the newest first, with what changed in each."""
    from hf_relabel.hub_tools.releases.log import log

    versions = log(repo, number=number)
    if as_json:
        print_json([version.to_dict() for version in versions])
    else:
        click.echo("\n\n".join(version.to_text() for version in versions) or f"{repo} has no versions.")
