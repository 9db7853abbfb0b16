"""Chat templates for servers that take a raw prompt.

TGI's `/generate` puts the model's first token (BOS) in front of every prompt, so no template here writes it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hf_relabel.builders.endpoint import Message
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.nearest import nearest_and_all
from hf_relabel.hub_tools.endpoints.thinking import OFF
from hf_relabel.hub_tools.hub.redaction import short

if TYPE_CHECKING:
    from jinja2 import Environment

logger = logging.getLogger(__name__)

HUB_SECONDS = 5.0
"""For the Hub to answer at all."""

Template: TypeAlias = Callable[[Sequence[Message]], str]
"""Renders messages as one prompt, up to where the model's reply starts."""


class TemplateUnavailable(Exception):
    """A model's own chat template cannot be had or used."""


def plain(messages: Sequence[Message]) -> str:
    """For base models: the texts, parted by blank lines. Roles are written only where there are several turns."""
    if all(message.role != "assistant" for message in messages):
        return "".join(f"{message.content}\n\n" for message in messages)
    turns = (f"{message.role.capitalize()}: {message.content}\n\n" for message in messages)
    return "".join(turns) + "Assistant:"


def chatml(messages: Sequence[Message]) -> str:
    """Qwen, SmolLM and many others."""
    turns = (f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n" for message in messages)
    return "".join(turns) + "<|im_start|>assistant\n"


def llama3(messages: Sequence[Message]) -> str:
    """Llama 3 and later."""
    turns = (
        f"<|start_header_id|>{message.role}<|end_header_id|>\n\n{message.content.strip()}<|eot_id|>"
        for message in messages
    )
    return "".join(turns) + "<|start_header_id|>assistant<|end_header_id|>\n\n"


def gemma(messages: Sequence[Message]) -> str:
    """Gemma, which has no system role."""
    turns = (
        f"<start_of_turn>{'model' if message.role == 'assistant' else 'user'}\n{message.content.strip()}<end_of_turn>\n"
        for message in without_system(messages)
    )
    return "".join(turns) + "<start_of_turn>model\n"


def mistral(messages: Sequence[Message]) -> str:
    """Mistral and Mixtral instruct models, which have no system role in their first versions."""
    return "".join(
        f" {message.content.strip()}</s>"
        if message.role == "assistant"
        else f"[INST] {message.content.strip()} [/INST]"
        for message in without_system(messages)
    )


BUILT_IN: dict[str, Template] = {
    "plain": plain,
    "chatml": chatml,
    "llama3": llama3,
    "gemma": gemma,
    "mistral": mistral,
}


def built_in_template(name: str) -> Template | None:
    """A template by name; None for "auto". Raises ConfigError for an unknown name."""
    if name == "auto":
        return None
    if name not in BUILT_IN:
        raise ConfigError(f"Unknown chat template {name!r}.{nearest_and_all(name, ('auto', *BUILT_IN))}")
    return BUILT_IN[name]


def template_digest(template: Template) -> str:
    """12 hex digits that stand for what a template does to messages, whatever it is called."""
    prompt = template([Message("system", "instructions"), Message("user", "question")])
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]


def without_system(messages: Sequence[Message]) -> list[Message]:
    """The messages with every system text put in front of the user's next one."""
    merged: list[Message] = []
    waiting = ""
    for message in messages:
        if message.role == "system":
            waiting += f"{message.content}\n\n"
        elif message.role == "user":
            merged.append(Message("user", waiting + message.content))
            waiting = ""
        else:
            merged.append(message)
    return [*merged, Message("user", waiting.rstrip("\n"))] if waiting else merged


def model_template(model_id: str, revision: str | None, **more: Any) -> Template:
    """The chat template that a model on the Hub comes with, or `plain` with a warning where it cannot be had.

    Downloads at most two small files, so it blocks: call it in a thread. `more` are further variables of the template.
    """
    try:
        source, tokens = _download(model_id, revision)
        return compile_template(source, **tokens, **more)
    except Exception as error:
        # Whatever went wrong (no network, a private model, a path on the server's disk, a template for other
        # software), the remedy is the same.
        logger.warning(
            "No chat template for %s (%s: %s): prompts are sent as plain text. Name one with --chat-template %s"
            " (chat_template in a job file and in Python).",
            model_id,
            type(error).__name__,
            short(str(error)),
            "|".join(name for name in BUILT_IN if name != "plain"),
        )
        return plain


def compile_template(source: str, *, bos_token: str = "", eos_token: str = "", **more: Any) -> Template:
    """A jinja chat template, as transformers would render it, in a sandbox.

    A template that refuses the system role gets system texts in front of the user's. Raises TemplateUnavailable when it
    refuses both. `more` are further variables of the template.
    """
    template = _environment().from_string(source)
    variables = {"bos_token": bos_token, "eos_token": eos_token, "add_generation_prompt": True}

    def render(messages: Sequence[Message], *, more: Mapping[str, Any]) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text = template.render(messages=turns, **{**variables, **more})
        return text.removeprefix(bos_token) if bos_token else text

    def render_without_system(messages: Sequence[Message], *, more: Mapping[str, Any]) -> str:
        return render(without_system(messages), more=more)

    sample = (Message("system", "system text"), Message("user", "user text"))
    failure = "it leaves out the messages"
    for attempt in (render, render_without_system):
        try:
            shown = attempt(sample, more=more)
        except Exception as error:
            failure = str(error)
            continue
        if "system text" in shown and "user text" in shown:
            return ModelTemplate(partial(attempt, more=more), partial(attempt, more={**OFF, **more}))
    raise TemplateUnavailable(failure)


@dataclass(frozen=True)
class ModelTemplate:
    """A model's own template. Called as it is, it leaves it to the model whether to think.

    Attributes:
        answering: the same, for a reply that begins with the answer.
    """

    plain: Template
    answering: Template

    def __call__(self, messages: Sequence[Message]) -> str:
        return self.plain(messages)


def answering(template: Template) -> Template:
    """The template for a reply that has to begin with the answer, where it makes a difference."""
    return template.answering if isinstance(template, ModelTemplate) else template


def _environment() -> Environment:
    """As in transformers (`_compile_jinja_template`), but `strftime_now` always gives the same day.

    Otherwise prompts would differ from day to day, and with them the prefix cache and what a journal holds.
    """
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the model's own words for training; here it is just its content."""

        tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, loopcontrols],
        autoescape=False,  # prompts are not HTML
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = datetime(2024, 7, 26).strftime
    return environment


def _download(model_id: str, revision: str | None) -> tuple[str, dict[str, str]]:
    """The template's source and the special tokens it uses, from the Hub or its cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    offline = not _hub_answers()

    def read(name: str) -> str:
        path = hf_hub_download(model_id, name, revision=revision, local_files_only=offline)
        return Path(path).read_text(encoding="utf-8")

    try:
        config = json.loads(read("tokenizer_config.json"))
    except LocalEntryNotFoundError:
        raise TemplateUnavailable("the Hub cannot be reached and the cache has no copy") from None
    tokens = {name: _token_text(config.get(name)) for name in ("bos_token", "eos_token")}
    try:
        return read("chat_template.jinja"), tokens
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError) and not offline:
            raise  # the network broke down in between; the model may well have one
        return _source_in(config), tokens


def _hub_answers() -> bool:
    """One quick look, since a download without a network is tried for half a minute, with a warning each time."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:
        return False
    return True


def _source_in(config: dict[str, Any]) -> str:
    """`chat_template` of a tokenizer_config.json: a text, or a list of named ones."""
    source = config.get("chat_template")
    if isinstance(source, list):
        named = {entry["name"]: entry["template"] for entry in source}
        source = named.get("default")
    if not isinstance(source, str):
        raise TemplateUnavailable("the model has none")
    return source


def _token_text(token: Any) -> str:
    """Special tokens are texts, or objects with their text in `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""
