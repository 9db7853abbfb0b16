"""What several commands share: options of a source and of a stage, and JSON output."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import require
from hf_relabel.hub_tools.commands.completion import formats, one_of
from hf_relabel.hub_tools.commands.text_values import AnyText

if TYPE_CHECKING:
    from hf_relabel.builders.job.job_file import SourceSettings
    from hf_relabel.hub_tools.ray_cluster.cluster import Engine

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Adds options to a command."""


def command_needs(extra: str) -> None:
    """See that the command that runs has its extra, all of it, before it does anything.

    Raises:
        MissingExtra: a module of it is not installed.
    """
    require(extra, what=f"`{click.get_current_context().command_path}`")


class Number(click.types.FloatParamType):
    """A finite number: click's own lets NaN through, which is neither below nor above anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a {'number' if math.isnan(number) else 'finite number'}.", param, ctx)
        return number


class NumberIn(click.FloatRange, Number):
    """The same in a range."""


class FolderToWrite(click.types.StringParamType):
    """The name of a folder, or of what may become one; an empty name would mean the folder one is in."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip():
            self.fail("the name is empty. Name a folder; the one you are in is called '.'.", param, ctx)
        if Path(value).exists() and not Path(value).is_dir():
            self.fail(f"{value} is a file. Give a folder.", param, ctx)
        return str(value)


FOLDER = FolderToWrite()
EVAL_HELP = (
    "BEIR folder, or a set or group of the Hub: beir:scifact, nanobeir[:NAME], beir-16[:FOLDER], beir-15, beir-14,"
    " beir-ood-7, air-bench-5, hakari:NAME. May be repeated."
)

_SOURCE = click.argument("source", metavar="SOURCE")
_SOURCE_OPTIONS = [
    click.option(
        "--format",
        "format_",
        metavar="NAME",
        shell_complete=one_of(formats),
        help="Format of the rows; found out when not given.",
    ),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="ROLE=COLUMN",
        help="Which column plays a role (query, positive, negative, passage, label, id, subset, …), where the names do"
        " not say it, such as positive=response. May be repeated; * stands for anything (negative=hard_*).",
    ),
    click.option("--relevant-from", type=Number(), help="Of graded labels or scores, the least of a positive."),
    click.option("--config", help="Config of a Hub dataset or of a folder with a README.md."),
    click.option(
        "--split",
        help="Split of a Hub dataset or a folder's files (train unless given), or of the judgements of a BEIR folder.",
    ),
    click.option("--revision", help="Branch, tag or commit of a Hub dataset."),
    click.option("--subset", multiple=True, type=AnyText(), help="Keep only rows of this subset. May be repeated."),
    click.option("--sample", help="Stratified sample: a number of rows, a share (5%), or a preset (rlhn-100k …)."),
    click.option("--sample-seed", default=0, show_default=True, help="Seed of the sample."),
    click.option("--limit", type=click.IntRange(min=1), help="Stop after this many rows."),
    click.option("--skip-bad-rows", is_flag=True, help="Skip and count rows that cannot be used, instead of refusing."),
]


_ENGINE_OPTIONS = [
    click.option(
        "--engine",
        type=click.Choice(["single", "ray"]),
        default="single",
        show_default=True,
        help="ray: many processes, on the cluster that RAY_ADDRESS names or on one started here for as long.",
    ),
    click.option("--workers", type=click.IntRange(min=1), help="Processes with --engine ray; one per CPU."),
    click.option("--shards", type=click.IntRange(min=1), help="Pieces of SOURCE with --engine ray; 4 a process."),
]


def source_options(command: Command) -> Command:
    """Add SOURCE and its options."""
    return optional_source_options(_SOURCE(command))


def optional_source_options(command: Command) -> Command:
    """Add the options of a source; SOURCE itself is the command's to add."""
    for option in reversed(_SOURCE_OPTIONS):
        command = option(command)
    return command


def engine_options(command: Command) -> Command:
    """Add the options that spread the work over a Ray cluster."""
    for option in reversed(_ENGINE_OPTIONS):
        command = option(command)
    return command


def engine_of(options: dict[str, Any]) -> Engine | None:
    """Take the options of `engine_options` out of `options`; None to work in this process."""
    name, workers, shards = (options.pop(option) for option in ("engine", "workers", "shards"))
    if name == "ray":
        from hf_relabel.hub_tools.ray_cluster.cluster import Engine

        return Engine(workers, shards)
    if workers is not None or shards is not None:
        raise ConfigError("--workers and --shards are for --engine ray.")
    return None


def journal_option(what: str) -> Decorator:
    """`--journal` of a command that makes one or has one here; `what` is its line of help."""
    return click.option("--journal", "journal_path", default="journal.sqlite", show_default=True, help=what)


run_option = click.option(
    "--run",
    "run_number",
    type=int,
    metavar="NUMBER",
    help="The run of the journal to read; when not given, the last one whose judges answered nearly all of SOURCE.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def source_settings(options: dict[str, Any]) -> SourceSettings:
    """Take the options of `source_options` out of `options`."""
    from pydantic import ValidationError

    from hf_relabel.builders.job.job_file import SourceSettings
    from hf_relabel.builders.messages.problems import one_line

    try:
        return SourceSettings(
            location=options.pop("source"),
            format=options.pop("format_"),
            columns=parse_columns(options.pop("columns")),
            relevant_from=options.pop("relevant_from"),
            config=options.pop("config"),
            split=options.pop("split"),
            revision=options.pop("revision"),
            subset=options.pop("subset") or None,
            sample=options.pop("sample"),
            sample_seed=options.pop("sample_seed"),
            limit=options.pop("limit"),
            skip_bad_rows=options.pop("skip_bad_rows"),
        )
    except ValidationError as error:
        raise ConfigError(one_line(error, SourceSettings, option_of)) from error


def parse_columns(given: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`ROLE=COLUMN` texts as the columns of each role."""
    from hf_relabel.builders.sources.given_columns import no_such_role

    columns: dict[str, tuple[str, ...]] = {}
    for text in given:
        role, equals, column = text.partition("=")
        if not equals or not role or not column:
            raise ConfigError(f"--column takes ROLE=COLUMN, such as positive=response, not {text!r}.")
        if (wrong := no_such_role(role, column)) is not None:
            raise ConfigError(f"--column {text}: {wrong}")
        columns[role] = (*columns.get(role, ()), column)
    return columns


def print_json(value: Any) -> None:
    """Print a value for scripts: sorted keys, one document."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def option_of(place: tuple[int | str, ...]) -> str:
    """A setting as the command line spells it."""
    name = [str(part) for part in place if not isinstance(part, int)][-1]
    return {"location": "SOURCE", "url": "--endpoint", "columns": "--column"}.get(name, f"--{name.replace('_', '-')}")


def known_techniques(_context: click.Context, option_of: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """For an option that names techniques: refuse an unknown one before anything is opened."""
    from hf_relabel.builders.techniques import named

    return tuple(str(named(name)) for name in given)
