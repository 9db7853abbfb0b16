"""What to type next, with the source of the command that has just run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.commands.common import source_options


def show_next(journal: str) -> None:
    """After judging: where the journal is, and the commands that read it."""
    context = click.get_current_context()
    same = shlex.join(_source_as_typed(context))
    if context.get_parameter_source("journal_path") is not ParameterSource.DEFAULT:
        same += f" --journal {shlex.quote(journal)}"
    click.echo(f"\nJudgements are in {journal}. Next, look at the judge, or build configs:")
    click.echo(f"  {program()} report {same}")
    click.echo(f"  {program()} build {same} --out cleaned")


def _source_as_typed(context: click.Context) -> Iterator[str]:
    """SOURCE and its options, those that were given."""
    of_source = {parameter.name for parameter in source_options(click.Command("any")).params}
    for parameter in sorted(context.command.params, key=lambda each: isinstance(each, click.Option)):
        name, value = parameter.name or "", context.params.get(parameter.name or "")
        if name not in of_source or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(parameter, click.Argument):
            yield str(value)
            continue
        option = parameter.opts[0]
        several: Any = value if isinstance(value, (tuple, list)) else [value]
        yield from (part for one in several for part in ([option] if one is True else [option, str(one)]))
