"""How many tokens a prompt has: told by the server that reads it, else by the model's tokenizer, else guessed."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Message, Request
from hf_relabel.builders.planning.estimating import CHARACTERS_PER_TOKEN

AT_ONCE = 8
"""Texts counted at a time: it is a favour that a busy server does beside its work."""
COUNT_SECONDS = 10.0
"""For a server to count the first prompt; one that is served in this process may have to load its model."""
HUB_SECONDS = 5.0
"""For the Hub to answer at all."""

Item = TypeVar("Item")
CountPrompts = Callable[[Sequence[Request]], Awaitable[list[int]]]


@runtime_checkable
class CountsTokens(Protocol):
    """An endpoint that knows its model's tokenizer.

    Both give a number for each item, or None where the server has no such route, and raise EndpointError.
    """

    async def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Tokens of each text."""
        ...

    async def count_prompts(self, requests: Sequence[Request]) -> list[int] | None:
        """Tokens of each prompt as the model gets it, chat template included."""
        ...


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Counts the tokens of prompts.

    Attributes:
        name: whose count it is, for people.
        exact: whether the chat template is in it, so that it is what a server will report.
    """

    name: str
    exact: bool
    count: CountPrompts


async def token_counter(endpoint: Endpoint | None, model: str | None = None) -> TokenCounter:
    """The best counter there is: the endpoint's, the tokenizer of a model, or 4 characters to a token.

    Args:
        endpoint: where the prompts will go; None, or one that cannot be reached, for whatever `model` gives.
        model: a folder or a model id on the Hub, for its tokenizer (needs transformers). None takes the endpoint's.
    """
    served = await _served(endpoint) if isinstance(endpoint, CountsTokens) else None
    if served is not None:
        return served
    if model is None and endpoint is not None:
        model = await _model_of(endpoint)
    tokenizer = await asyncio.to_thread(_tokenizer, model) if model else None
    return by_characters() if tokenizer is None else _by_tokenizer(f"tokenizer of {model}", tokenizer)


def by_characters() -> TokenCounter:
    """Guesses 4 characters to a token."""

    async def count(requests: Sequence[Request]) -> list[int]:
        return [round(request.characters / CHARACTERS_PER_TOKEN) for request in requests]

    return TokenCounter(f"{CHARACTERS_PER_TOKEN:g} characters per token", False, count)


def chat_messages(request: Request) -> list[dict[str, str]]:
    """The messages as chat servers and templates take them."""
    return [{"role": message.role, "content": message.content} for message in request.messages]


async def count_each(items: Sequence[Item], count: Callable[[Item], Awaitable[int]]) -> list[int] | None:
    """What `count` gives for each item, a few at a time; None when the server does not know how.

    Raises EndpointError when the server cannot be had.
    """
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: Item) -> int:
        async with slots:
            return await count(item)

    try:
        return list(await asyncio.gather(*map(one, items)))
    except EndpointError as error:
        if error.status in (400, 404, 405, 422, 501):
            return None
        raise
    except NoCount:
        return None


class NoCount(Exception):
    """An answer of /tokenize that holds no number of tokens."""


def number_of_tokens(payload: Any) -> int:
    """The number in an answer of /tokenize: TGI's list, vLLM's `count`, llama.cpp's `tokens`. Raises NoCount."""
    if isinstance(payload, dict):
        count = payload.get("count")
        if isinstance(count, int) and count >= 0:
            return count
        payload = payload.get("tokens")
    if not isinstance(payload, list):
        raise NoCount
    return len(payload)


async def _served(endpoint: CountsTokens) -> TokenCounter | None:
    """The endpoint's own counter, None where it has none."""
    sample = Request((Message("system", "Answer in a word."), Message("user", "Is it?")), 1)
    name = f"tokenizer served by {endpoint.name}" if isinstance(endpoint, _Named) else "served tokenizer"
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            if await endpoint.count_prompts([sample]):
                return TokenCounter(name, True, lambda requests: _sure(endpoint.count_prompts(requests)))
            if await endpoint.count_tokens(["Is it?"]):
                return TokenCounter(name, False, lambda requests: _sure(endpoint.count_tokens(_texts(requests))))
    except (EndpointError, TimeoutError):
        return None
    return None


@runtime_checkable
class _Named(Protocol):
    name: str


async def _sure(counts: Awaitable[list[int] | None]) -> list[int]:
    found = await counts
    if found is None:
        raise EndpointError("The server counted the tokens of one prompt and not of others.", kind="garbage")
    return found


def _texts(requests: Sequence[Request]) -> list[str]:
    """The messages as one text, for counters that know no template."""
    return ["\n\n".join(message.content for message in request.messages) for request in requests]


async def _model_of(endpoint: Endpoint) -> str | None:
    try:
        return (await endpoint.info()).model
    except EndpointError:
        return None


def _tokenizer(model: str) -> Any | None:
    """The tokenizer of a model, from its folder, the cache or the Hub; None where it cannot be had."""
    if importlib.util.find_spec("transformers") is None:
        return None
    from transformers import AutoTokenizer

    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        try:
            return AutoTokenizer.from_pretrained(model, local_files_only=True)
        except Exception:
            if Path(model).is_dir() or not _on_hub(model):
                return None
            return AutoTokenizer.from_pretrained(model)
    except Exception:
        # A gated model, another library's, a broken file: the guess is all that is left, and the plan says so.
        return None
    finally:
        logger.setLevel(level)


def _on_hub(model: str) -> bool:
    """One quick look, since a download without a network is tried for half a minute."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(model, timeout=HUB_SECONDS)
    except Exception:
        return False
    return True


def _by_tokenizer(name: str, tokenizer: Any) -> TokenCounter:
    templated = bool(getattr(tokenizer, "chat_template", None))

    def lengths(requests: Sequence[Request]) -> list[int]:
        if templated:
            prompts = [
                tokenizer.apply_chat_template(chat_messages(request), add_generation_prompt=True, tokenize=False)
                for request in requests
            ]
        else:
            prompts = _texts(requests)
        # A template writes the first token of a prompt itself.
        encoded = tokenizer(prompts, add_special_tokens=not templated, verbose=False)["input_ids"]
        return [len(tokens) for tokens in encoded]

    async def count(requests: Sequence[Request]) -> list[int]:
        return await asyncio.to_thread(lengths, requests) if requests else []

    return TokenCounter(name, templated, count)
