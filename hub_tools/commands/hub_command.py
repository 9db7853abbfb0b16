"""`hf relabel hub`."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hf_relabel.hub_tools.commands.common import command_needs, json_option

if TYPE_CHECKING:
    from hf_relabel.hub_tools.local_hub import LocalHub

EPILOG = """\b
Examples:
  hf relabel hub serve hub-folder
  hf relabel hub serve hub-folder --port 7860 --user alice --user bob
  hf relabel hub serve hub-folder --user alice --user bob --member acme:bob:write
\b
Then, in another terminal, with what it prints:
  export HF_ENDPOINT=http://127.0.0.1:7860 HF_TOKEN=hf_local_…
  hf relabel push cleaned user/my-set --license cc-by-4.0"""


@click.group("hub", epilog=EPILOG)
def command() -> None:
    """A Hub on this machine, for development and tests."""


@command.command("serve", epilog=EPILOG)
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
@click.option("--port", default=7860, show_default=True, type=click.IntRange(0, 65535), help="0 for a free one.")
@click.option("--user", "users", multiple=True, help="Name of a user, who gets a token. May be repeated.")
@click.option(
    "--member",
    "members",
    multiple=True,
    metavar="ORG:USER:ROLE",
    help="A user's role in an organisation: admin, write, contributor or read. May be repeated.",
)
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that gets a JSON line per request: method, path,"
    " status, bytes received, and of uploads whether the content was new.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Requests that each user may make in 5 minutes, after which the answer is 429. A free account may 1000.",
)
@click.option(
    "--xet-downloads",
    is_flag=True,
    help="Give large files that came by Xet by Xet too, as huggingface.co does; plain HTTP unless given.",
)
@json_option
def serve(
    root: Path,
    port: int,
    users: tuple[str, ...],
    members: tuple[str, ...],
    log: Path | None,
    limit: int | None,
    xet_downloads: bool,
    as_json: bool,
) -> None:
    """Serve a Hub from the folder ROOT until Ctrl-C: repositories, large files, branches, tags, pull requests.

    It is for development and tests, speaks to this machine only (127.0.0.1), and is no place to keep data.

    Served: repositories made, moved (who asks for the old name is sent on), duplicated, deleted, private and gated,
    their settings and lists with filters; files, commits, .gitignore, uploads by LFS and Xet, ranges; branches, tags,
    histories and squashing; discussions, pull requests and drafts; variables and secrets of Spaces; rate limits;
    buckets: made, moved, deleted, listed, private, their files sent and given by Xet, copied into them, in ranges.

    Not served: the feed of a bucket's changes, copies from one repository to another, collections, likes, counts of
    downloads and trending, papers, webhooks, access requests, Jobs and Inference, search by anything but author, words
    of the name, tags and gating, lists of LFS files, names in other case, git itself, and repositories without a user
    or an organisation (`gpt2`). Of huggingface_hub's own tests (of August 2026, with version 1.31) 166 of the 167 on
    buckets pass here; of the other files that ask a Hub 718 tests pass and most of the rest want repositories that
    huggingface.co alone has. All 46 by which datasets pushes and loads (test_upstream_hub.py, of July 2026) pass.
    """
    command_needs("hub")
    from hf_relabel.hub_tools.local_hub import LocalHub
    from hf_relabel.hub_tools.local_hub.rate_limit import RateLimit

    tokens = {name: f"hf_local_{secrets.token_hex(12)}" for name in users}
    hub = LocalHub(
        root,
        port=port,
        users=tokens,
        log=log,
        organisations=_organisations(members),
        limit=None if limit is None else RateLimit(limit),
        xet_downloads=xet_downloads,
    )
    hub.serve(lambda started: _show(started, as_json))


def _organisations(members: tuple[str, ...]) -> dict[str, dict[str, str]]:
    from hf_relabel.builders.errors import ConfigError

    organisations: dict[str, dict[str, str]] = {}
    for member in members:
        parts = member.split(":")
        if len(parts) != 3:
            raise ConfigError(f"--member is ORG:USER:ROLE, such as acme:bob:write, not {member!r}.")
        organisations.setdefault(parts[0], {})[parts[1]] = parts[2]
    return organisations


def _show(hub: LocalHub, as_json: bool) -> None:
    if as_json:
        click.echo(hub.describe())
    else:
        click.echo("A Hub for development and tests. Only this machine can reach it; Ctrl-C ends it.\n")
        click.echo(f"export HF_ENDPOINT={hub.url}")
        for user, token in hub.tokens.items():
            click.echo(f"export HF_TOKEN={token}   # {user}")
    sys.stdout.flush()
