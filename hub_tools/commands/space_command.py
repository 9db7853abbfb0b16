"""`hf relabel space`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from hf_relabel.hub_tools.commands.common import command_needs, json_option, print_json
from hf_relabel.hub_tools.commands.text_values import AnyText

EPILOG = """\b
Examples:
  hf relabel space serve cleaned
  hf relabel space serve user/train-relabeled --revision v1.0.0 --port 7860
  hf relabel space deploy user/train-relabeled user/train-relabeled-space --secret HF_TOKEN=SPACE_TOKEN"""

SERVE_EPILOG = """\b
Examples:
  hf relabel space serve cleaned --person ada
  hf relabel space serve user/train-relabeled --revision v1.0.0 --port 7860 --open
  hf relabel space serve user/train-relabeled --sample 200 --seed 1 --price accurate=2.5,10"""

DEPLOY_EPILOG = """\b
Examples:
  hf relabel space deploy user/train-relabeled user/train-relabeled-space --dry-run
  hf relabel space deploy user/train-relabeled user/train-relabeled-space --secret HF_TOKEN=SPACE_TOKEN
  hf relabel space deploy user/train-relabeled@v1.0.0 user/space --people ada,grace --sample 200"""

_ANSWERS = Path("hf-relabel-answers")
_sample = click.option(
    "--sample", default=400, show_default=True, type=click.IntRange(min=1), help="Candidates that people are asked for."
)
_seed = click.option("--seed", default=0, show_default=True, help="Seed of that sample.")
_people = click.option(
    "--people",
    default="",
    type=AnyText(),
    metavar="NAMES",
    help="Who may answer besides those who may write, with commas between.",
)
_price = click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="STAGE=PROMPT,COMPLETION",
    help="US dollars per million tokens of a stage's judge, to show what it cost. May be repeated.",
)


@click.group("space", epilog=EPILOG)
def command() -> None:
    """Look through a release in the browser, and let people answer for a blind sample of it."""


@command.command("serve", epilog=SERVE_EPILOG)
@click.argument("release", metavar="REPO_OR_FOLDER")
@click.option("--revision", help="Tag, branch or commit of a release on the Hub.")
@click.option("--port", type=click.IntRange(1, 65535), help="A free one from 7860 on, unless given.")
@click.option("--open/--no-open", "open_browser", default=False, help="Show it in your browser.")
@_sample
@_seed
@_people
@_price
@click.option("--person", metavar="NAME", help="Who answers for a release in a folder; the owner of the token else.")
@click.option(
    "--answers",
    type=click.Path(file_okay=False, path_type=Path),
    default=_ANSWERS,
    show_default=True,
    help="Folder that keeps people's answers on this machine.",
)
def serve_command(
    release: str,
    revision: str | None,
    port: int | None,
    open_browser: bool,
    sample: int,
    seed: int,
    people: str,
    prices: tuple[str, ...],
    person: str | None,
    answers: Path,
) -> None:
    """Serve the app for a release on this machine, until Ctrl-C.

    REPO_OR_FOLDER is a folder that was built or pulled, or a release on the Hub (user/repo, user/repo@v1.0.0), which is
    read in parts as they are needed. Who answers is the owner of the token (`hf auth login`, HF_TOKEN); without one
    the app can only be read. Answers for a release on the Hub are committed to its config `human`.
    """
    command_needs("space")
    from hf_relabel.hub_tools.space.settings import SpaceSettings, prices_of
    from hf_relabel.hub_tools.space.web.serving import serve

    settings = SpaceSettings(
        release=release,
        revision=revision,
        sample=sample,
        seed=seed,
        people=_names(people),
        prices=prices_of(prices),
        answers=answers,
        person=person,
    )
    serve(settings, port=port, open_browser=open_browser, started=_say_where)


@command.command("deploy", epilog=DEPLOY_EPILOG)
@click.argument("release", metavar="RELEASE")
@click.argument("space_id", metavar="SPACE")
@click.option("--revision", help="Tag, branch or commit of the release; its main branch unless given.")
@click.option("--private/--public", default=None, help="Of a new Space; as the data set unless given.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=ENVVAR",
    help="A secret of the Space, from an environment variable. May be repeated; HF_TOKEN keeps people's answers.",
)
@click.option("--replace-secrets", is_flag=True, help="Send secrets that the Space has already again.")
@click.option("--variable", "variables", multiple=True, metavar="NAME=VALUE", help="A variable. May be repeated.")
@click.option("--hardware", metavar="FLAVOR", help="Hardware to ask for, such as cpu-basic; as it is unless given.")
@_sample
@_seed
@_people
@_price
@click.option("--dry-run", is_flag=True, help="Send nothing; list every file that would change.")
@json_option
def deploy_command(
    release: str,
    space_id: str,
    revision: str | None,
    private: bool | None,
    secrets: tuple[str, ...],
    replace_secrets: bool,
    variables: tuple[str, ...],
    hardware: str | None,
    sample: int,
    seed: int,
    people: str,
    prices: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Create or update a Space on the Hub that shows a release.

    RELEASE is user/repo, SPACE the Space's user/name. Files, variables and front matter are brought up to date in one
    commit; the same again does nothing. What others wrote in the Space's README.md and their files stay.
    """
    command_needs("space")
    from hf_relabel.hub_tools.space.deploying import deploy

    report = deploy(
        release,
        space_id,
        revision=revision,
        private=private,
        secrets=_secrets(secrets),
        replace_secrets=replace_secrets,
        variables=_pairs(variables, "--variable NAME=VALUE"),
        hardware=hardware,
        sample=sample,
        seed=seed,
        people=_names(people),
        prices=prices,
        dry_run=dry_run,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(report.to_text())


def _say_where(url: str) -> None:
    click.echo(f"Serving on {url} (Ctrl-C ends it; answers are kept).")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _secrets(given: Sequence[str]) -> dict[str, str]:
    """Secrets out of the environment. Their values stand in no message."""
    from hf_relabel.builders.errors import ConfigError

    found = {}
    for name, variable in _pairs(given, "--secret NAME=ENVVAR").items():
        value = os.environ.get(variable)
        if not value:
            raise ConfigError(f"--secret {name}=…: there is no environment variable of the name that was given for it.")
        found[name] = value
    return found


def _pairs(given: Sequence[str], usage: str) -> dict[str, str]:
    from hf_relabel.builders.errors import ConfigError

    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            # What was given may be a secret in the wrong place, so it is not repeated.
            raise ConfigError(f"Give {usage}; one of them has no name, no = or nothing after it.")
        pairs[name] = value
    return pairs
