"""The options of commands that name judges: of one stage, or of a job file's stages; and of those that make a job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.commands.common import (
    Command,
    Decorator,
    NumberIn,
    journal_option,
    option_of,
    source_options,
    source_settings,
)
from hf_relabel.hub_tools.commands.completion import dialects, judges, one_of

if TYPE_CHECKING:
    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.builders.job.stages import StageSettings

_STAGE_OPTIONS = [
    click.option(
        "--judge",
        "judge_kind",
        default=None,
        metavar="KIND",
        shell_complete=one_of(judges),
        help="Judge of the only stage: listwise, pointwise, answer, ranking, span, rerank (need --endpoint), or offline"
        " similarity, cross-encoder, student (--model), truth (--truth), saved-replies (--replies).",
    ),
    click.option(
        "--endpoint",
        "endpoints",
        multiple=True,
        metavar="URL",
        help="Judge server, or local:FILE.gguf. May be repeated.",
    ),
    click.option(
        "--dialect",
        default="auto",
        show_default=True,
        shell_complete=one_of(dialects),
        help="How to talk to it: auto, tgi, openai, rerank, decisions, …",
    ),
    click.option("--token-env", metavar="NAME", help="Environment variable that holds the token for --endpoint."),
    click.option(
        "--chat-template",
        default="auto",
        show_default=True,
        help="For tgi, which takes a raw prompt: auto (the model's own, from the Hub), plain, chatml, llama3, …",
    ),
    click.option(
        "--model", help="Model of an offline judge, the folder of a student, or the name to ask the server for."
    ),
    click.option(
        "--better",
        type=NumberIn(0, 1),
        help="Score from which a judge that scores (similarity, cross-encoder, rerank, student) calls one better.",
    ),
    click.option("--worse", type=NumberIn(0, 1), help="Score from which it calls it worse; not above --better."),
    click.option("--replies", metavar="FILE", help="For --judge saved-replies: replies that RLHN saved."),
    click.option("--concurrency", type=click.IntRange(min=1), help="Most requests in flight per server."),
    click.option(
        "--max-cost",
        type=NumberIn(min=0, min_open=True),
        help="Stop before spending more than this, in US dollars.",
    ),
    click.option("--price-prompt", type=NumberIn(min=0), default=0.0, help="US dollars per million prompt tokens."),
    click.option(
        "--price-completion",
        type=NumberIn(min=0),
        default=0.0,
        help="US dollars per million completion tokens.",
    ),
    click.option("--deadline", type=NumberIn(min=0, min_open=True), help="Stop after this many seconds."),
    click.option("--stages", "stages_file", metavar="FILE", help="Take the stages from a job file instead."),
    click.option("--set", "parameters", multiple=True, metavar="NAME=VALUE", help="Parameter of that job file."),
]
_TRUTH = click.option(
    "--truth", metavar="FILE", help="For --judge truth: known false negatives, lines of {query_id, false_negatives}."
)
retry_failed_option = click.option(
    "--retry-failed", is_flag=True, help="Ask again where the reply failed or could not be read."
)
also_pending_option = click.option(
    "--also-pending", is_flag=True, help="Also ask what batches that were sent hold: it is paid for twice."
)

SCORING = ("similarity", "cross-encoder", "student", "rerank")
"""Judges that label by thresholds on a score of their own."""
_STAGE_NAMES = (
    *("judge_kind", "endpoints", "dialect", "chat_template", "token_env", "model", "better", "worse", "replies"),
    *("truth", "concurrency", "max_cost", "price_prompt", "price_completion", "deadline", "stages_file", "parameters"),
)


def job_options(journal: str, *, source: Decorator = source_options) -> Decorator:
    """Add what a job of one step is made of: SOURCE, the judging stages and the journal.

    Args:
        journal: the line of help of `--journal`.
        source: what adds SOURCE and its options.
    """
    return lambda command: source(stage_options(journal_option(journal)(command)))


def job_settings(options: dict[str, Any], **steps: Any) -> Job:
    """Take the options of `job_options` out of `options`; `steps` are further settings of the job."""
    from hf_relabel.builders.job.job_file import Job

    return Job(
        source=source_settings(options),
        journal=options.pop("journal_path"),
        stages=stage_settings(options),
        **steps,
    )


def stage_options(command: Command) -> Command:
    """Add the options that describe the judging stages."""
    return stage_options_but_truth(_TRUTH(command))


def stage_options_but_truth(command: Command) -> Command:
    """The same for a command that has a --truth of its own."""
    for option in reversed(_STAGE_OPTIONS):
        command = option(command)
    return command


def stage_settings(options: dict[str, Any]) -> tuple[StageSettings, ...]:
    """Take the options of `stage_options` out of `options`."""
    from pydantic import ValidationError

    from hf_relabel.builders.job.reading import load_stages
    from hf_relabel.builders.job.stages import StageSettings
    from hf_relabel.builders.messages.problems import one_line

    given = {name: options.pop(name) for name in _STAGE_NAMES}
    if given["stages_file"]:
        if given["judge_kind"] or given["endpoints"]:
            raise ConfigError("Give either --stages or --judge and --endpoint, not both.")
        if _thresholds(given):
            raise ConfigError("--better and --worse are for --judge. With --stages they stand in the job file's judge.")
        return load_stages(given["stages_file"], parse_parameters(given["parameters"]))
    told = {name: given[name] for name in ("dialect", "chat_template", "token_env", "model")}
    endpoints = [{"url": url, **told} for url in given["endpoints"]]
    limits = {name: given[name] for name in ("concurrency", "max_cost", "price_prompt", "price_completion", "deadline")}
    settings = {"judge": _judge(given), "endpoints": endpoints, "limits": limits}
    try:
        return (StageSettings.model_validate(settings),)
    except ValidationError as error:
        raise ConfigError(one_line(error, StageSettings, option_of)) from error


def _thresholds(given: dict[str, Any]) -> dict[str, float]:
    return {name: given[name] for name in ("better", "worse") if given[name] is not None}


def _judge(given: dict[str, Any]) -> dict[str, Any]:
    """The judge of the only stage, as a job file names it."""
    told = {"truth": given["truth"], "saved-replies": given["replies"], "listwise": given["endpoints"]}
    kind = given["judge_kind"] or next((kind for kind, value in told.items() if value), None)
    if kind is None:
        raise ConfigError(
            "Name a judge: --endpoint URL for an LLM, --judge similarity to work offline, --truth FILE where the false"
            " negatives are known, or --stages FILE."
        )
    judge = {"kind": kind}
    for judge_kind, option in (("truth", "truth"), ("saved-replies", "replies")):
        if given[option] and kind == judge_kind:
            judge["file"] = given[option]
        elif given[option]:
            raise ConfigError(f"--{option} is for --judge {judge_kind}.")
        elif kind == judge_kind:
            raise ConfigError(f"--judge {judge_kind} needs --{option} FILE.")
    if given["model"] and not given["endpoints"]:
        judge["model"] = given["model"]
    thresholds = _thresholds(given)
    for name in thresholds:
        if kind not in SCORING:
            raise ConfigError(f"--{name}: the {kind} judge gives no score; {', '.join(SCORING)} do.")
    return judge | thresholds


def parse_parameters(given: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE` texts as a dict."""
    parameters = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set takes NAME=VALUE, not {text!r}.")
        parameters[name] = value
    return parameters
