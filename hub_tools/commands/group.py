"""The group of all commands: imports a command when it is used, and writes help for the command the user has."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import click

from hf_relabel.builders.errors import MissingExtra
from hf_relabel.builders.messages.extras import EXTRAS, missing
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.program import spoken
from hf_relabel.hub_tools.commands.text_values import refuse_empty


class _Formatter(click.HelpFormatter):
    """Help texts are written with `hf relabel`; what is shown is the command that this installation has."""

    def write_text(self, text: str) -> None:
        super().write_text(spoken(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, spoken(text)) for name, text in rows], col_max, col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class LazyGroup(click.Group):
    """A group whose commands are modules, imported when they are used.

    Args:
        lazy: for each command its module (`NAME_command` in this package) and one line of help, so that `--help`
            imports none.
    """

    context_class = _Context

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module = importlib.import_module(f"{__package__}.{self.lazy[cmd_name][0]}_command")
        command: click.Command = module.command
        _use_our_context(command)
        refuse_empty(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.lazy and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"There is no command {name!r}.{did_you_mean(name, self.lazy)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (MissingExtra, ModuleNotFoundError) as error:
            command = ctx.invoked_subcommand
            if isinstance(error, MissingExtra) and command in EXTRAS[error.extra].commands:
                raise
            raise missing(error, command=command) or error from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self.lazy.items()])


def _use_our_context(command: click.Command) -> None:
    """A command makes its context itself, of its own class."""
    command.context_class = _Context
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _use_our_context(below)
