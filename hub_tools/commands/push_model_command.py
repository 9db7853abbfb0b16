"""`hf relabel push-model`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hf_relabel.hub_tools.commands.common import json_option, print_json
from hf_relabel.hub_tools.commands.push_command import release_progress

if TYPE_CHECKING:
    from hf_relabel.hub_tools.releases.pusher import PushReport

EPILOG = """\b
Examples:
  hf relabel push-model model user/my-retriever --license apache-2.0
  hf relabel push-model model user/my-retriever --dry-run
\b
Then:
  SentenceTransformer("user/my-retriever", revision="v1.0.0")"""


@click.command("push-model", epilog=EPILOG)
@click.argument("folder", metavar="FOLDER")
@click.argument("repo_id", metavar="REPO")
@click.option("--tag", metavar="vX.Y.Z", help="The version; the next one when not given.")
@click.option("--bump", type=click.Choice(["major", "minor", "patch"]), help="Which part of the version to raise.")
@click.option("--private/--public", default=None, help="Of a new repository. One that exists must agree.")
@click.option("--create-pr", is_flag=True, help="Propose it in a pull request: yours that is open, else a new one.")
@click.option("--dry-run", is_flag=True, help="Send nothing; list every file and what would happen to it.")
@click.option("--license", "license_", help="License of the model, as the Hub names it.")
@click.option("--language", multiple=True, help="Language code of the model. May be repeated.")
@click.option("--message", help="Title of the commit.")
@click.option("--parent-commit", help="Refuse unless this is the newest commit of the repository.")
@json_option
def command(folder: str, repo_id: str, license_: str | None, as_json: bool, **options: Any) -> None:
    """Release the model that `train` wrote into FOLDER on the Hub, with its card, as one commit and one tag.

    Pushing the same again does nothing; what a killed push had sent is not sent again.
    """
    from hf_relabel.trainers.training.publishing import publish

    with release_progress() as progress:
        report = publish(folder, repo_id, license=license_, progress=progress, **options)
    show_model_push(report, as_json)


def show_model_push(report: PushReport, as_json: bool) -> None:
    """Print what was released."""
    if as_json:
        print_json(report.to_dict())
        return
    click.echo(report.to_text())
