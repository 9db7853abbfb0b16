"""Messages that name arguments as Python does, respelt with the options of the command that runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import click

from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.spelling import as_options

_JOB_COMMANDS = ("run", "jobs")
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ONLY_WITH_NEW = "With --new"
_OF_JUDGE = {"retry_failed": "--retry-failed"}
"""What messages of `build` and `push` say of an earlier `judge`."""


def respelt(text: str, command: click.Command | None, arguments: Sequence[str] = ()) -> str:
    """A message with the options of a command, and those of the commands below it, in place of Python's arguments.

    Args:
        command: None leaves the message as it is.
        arguments: of the command line; commands that take a job file have its settings unless `--new` is there.
    """
    if command is None:
        return text
    settings = command.name in _JOB_COMMANDS and "--new" not in arguments
    options = [option for option in _options_of(command) if not (settings and _is_for_new(option))]
    own = {name: option.opts[0] for option in options for name in _names(option)}
    return as_options(text, own if settings else _OF_JUDGE | own, settings=settings)


def respelt_here(text: str) -> str:
    """The same for the command that runs just now."""
    context = click.get_current_context(silent=True)
    if context is None:
        return text
    return respelt(text, context.command, ("--new",) if context.params.get("new") else ())


def say(text: str, *, err: bool = False) -> None:
    """Print a text, such as that of a report, with the options of the command that runs just now."""
    click.echo(printable(respelt_here(text)), err=err)


def printable(text: str) -> str:
    """A text with what a terminal would obey, or could not show, spelt out: names come out of files of others."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def with_nearest(error: click.ClickException) -> click.ClickException:
    """The error, where it is of a choice that there is none of with the one that was likely meant."""
    if not isinstance(error, click.BadParameter) or error.param is None:
        return error
    kind, given = error.param.type, re.match(r"'(.*)' is not", error.message)
    if not isinstance(kind, click.Choice) or given is None:
        return error
    message = error.message + did_you_mean(given[1], map(str, kind.choices))
    return click.BadParameter(message, error.ctx, error.param, error.param_hint)


def respell_warnings() -> None:
    """Let warnings that are logged, and that nobody handles, name options too."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Respelling())


class _Respelling(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(respelt_here(super().format(record)))


def _options_of(command: click.Command) -> list[click.Option]:
    own = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [*(option for one in below for option in _options_of(one)), *own]


def _names(option: click.Option) -> list[str]:
    """What Python may call the argument: `columns` and `column` of `--column`, `format` of `format_`."""
    return [(option.name or "").rstrip("_"), option.opts[0].lstrip("-").replace("-", "_")]


def _is_for_new(option: click.Option) -> bool:
    return (option.help or "").startswith(_ONLY_WITH_NEW)
