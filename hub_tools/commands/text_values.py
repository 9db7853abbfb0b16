"""Texts and paths of the command line: an empty one, such as that of a variable that is not set, is a mistake."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem


class AnyText(click.types.StringParamType):
    """A text that may be empty, where that says something."""


class NotEmpty(click.ParamType):  # type: ignore[type-arg]
    """What another type takes, but for the empty text, which would count as not given, or as the folder one is in."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.kind, self.name = kind, kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not value.strip():
            leave = "Give a value, or leave the option out" if isinstance(param, click.Option) else "Give a value"
            self.fail(f"it is empty. {leave}.", param, ctx)
        return self.kind.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self.kind.shell_complete(ctx, param, incomplete)


def refuse_empty(command: click.Command) -> None:
    """Let a command, and those below it, refuse an empty text for whatever is no `AnyText`."""
    for param in command.params:
        if type(param.type) in (click.types.StringParamType, click.Path):
            param.type = NotEmpty(param.type)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        refuse_empty(below)
