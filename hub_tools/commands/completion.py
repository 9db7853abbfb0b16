"""Shell completion: `eval "$(_HF_RELABEL_COMPLETE=bash_source hf-relabel)"`, or `zsh_source`, or `fish_source`.

Commands, options, choices and known names are completed, and files wherever nothing else is known, as the shell itself
would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from glob import escape, glob
from typing import TypeAlias

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def one_of(known: Callable[[click.Context], Iterable[str]], *, yaml: bool = False) -> Completer:
    """Complete an option whose value is one of some names, for its `shell_complete`.

    Args:
        known: gives the names; called when a shell asks, so that it may import what it needs.
        yaml: whether it may be a YAML file as well.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        names = list(known(context))
        files = glob(f"{escape(incomplete)}*.y*ml") if yaml and names else []
        return [CompletionItem(name) for name in (*names, *sorted(files)) if name.startswith(incomplete)]

    return complete


def judges(_context: click.Context) -> Iterable[str]:
    """Kinds of judges."""
    from hf_relabel.builders.judges.registry import kinds

    return kinds()


def techniques(_context: click.Context) -> Iterable[str]:
    """Names of techniques."""
    from hf_relabel.builders.techniques import Technique

    return map(str, Technique)


def formats(_context: click.Context) -> Iterable[str]:
    """Formats of rows."""
    from hf_relabel.builders.sources import FORMATS

    return FORMATS


def dialects(_context: click.Context) -> Iterable[str]:
    """Dialects of judge servers."""
    from hf_relabel.hub_tools.endpoints.registry import DIALECTS

    return ("auto", *DIALECTS)


def recipes(_context: click.Context) -> Iterable[str]:
    """Recipes that ship with the package."""
    from hf_relabel.trainers.recipes.recipe import shipped_recipes

    return shipped_recipes()


def job_files(context: click.Context) -> Iterable[str]:
    """Job files that ship with the package; none after `run --new`, where a source goes in their place."""
    from hf_relabel.builders.job.reading import shipped_job_files

    return () if context.params.get("new") else shipped_job_files()


class _WithFiles(ShellComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        found = super().get_completions(args, incomplete)
        return found or [CompletionItem(incomplete, type="file")]


class _Bash(_WithFiles, BashComplete):
    pass


class _Zsh(_WithFiles, ZshComplete):
    pass


class _Fish(_WithFiles, FishComplete):
    pass


def register() -> None:
    """Let Click use the classes above."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)
