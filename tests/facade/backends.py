"""What a facade asks of the thing that answers, and the simplest backend: a function."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

FinishReason = Literal["length", "eos_token", "stop_sequence"]

_PIECE = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class Question:
    """One valid generation request, native or chat.

    Attributes:
        text: the prompt of `/generate`; None for chat.
        messages: the chat messages; None for `/generate`.
        max_tokens: None lets the backend choose.
        temperature: None is greedy, as in TGI without `do_sample`.
        schema: JSON schema that the reply must follow.
        regex: regular expression that the reply must match.
        top: how many alternatives to report for each token.
        tokens: whether the tokens and their logprobs are wanted at all.
    """

    text: str | None
    messages: list[dict[str, Any]] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    regex: str | None = None
    top: int = 0
    tokens: bool = False

    @property
    def constrained(self) -> bool:
        return self.schema is not None or self.regex is not None

    def wanted_schema(self) -> dict[str, Any] | None:
        """The schema, or as much of one as a regular expression for JSON tells: the names of its members."""
        if self.schema is not None or self.regex is None:
            return self.schema
        return {"properties": {name: {} for name in re.findall(r'"(\w+)":', self.regex)}}

    def whole_text(self) -> str:
        """The prompt as one text: chat messages joined by blank lines."""
        if self.text is not None:
            return self.text
        return "\n\n".join(str(message.get("content") or "") for message in self.messages or [])


class Token(NamedTuple):
    """One generated token. `top` holds the alternatives, best first."""

    id: int
    text: str
    logprob: float
    special: bool = False
    top: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """A backend's answer. Token counts are estimated from the text where they are None."""

    text: str
    finish_reason: FinishReason = "eos_token"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens: tuple[Token, ...] = ()


class InvalidInput(Exception):
    """The request is refused with 422. The message is what follows TGI's "Input validation error: "."""


class GenerationFailed(Exception):
    """The model broke down on this request: TGI's 424."""


class Backend(Protocol):
    """Answers questions for a facade. `start` and `close` run on the facade's event loop."""

    max_input_tokens: int
    max_total_tokens: int
    slots: int | None
    """How many questions it works on at once; the others queue. None: any number."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def generate(self, question: Question) -> Generated: ...

    async def tokenize(self, text: str) -> list[tuple[int, str]]:
        """The (id, text) of each token."""
        ...


def check_length(length: int, max_tokens: int | None, limits: Backend | PretendTokens) -> None:
    """TGI's two checks of a prompt of `length` tokens. Raises InvalidInput with its messages."""
    total = limits.max_total_tokens
    wanted = max_tokens or min(1024, max(0, total - length))
    if length + wanted > total:
        raise InvalidInput(
            f"`inputs` tokens + `max_new_tokens` must be <= {total}. "
            f"Given: {length} `inputs` tokens and {wanted} `max_new_tokens`"
        )
    if length > limits.max_input_tokens:
        raise InvalidInput(f"`inputs` must have less than {limits.max_input_tokens} tokens. Given: {length}")


class PretendTokens:
    """The parts of a backend without a model: every word with its leading space counts as one token."""

    max_input_tokens = 131_072
    max_total_tokens = 139_264
    slots: int | None = None

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def check_length(self, question: Question) -> None:
        """Raises InvalidInput when the question is too long, by the estimate of four characters to a token."""
        check_length(count_tokens(question.whole_text()), question.max_tokens, self)

    async def tokenize(self, text: str) -> list[tuple[int, str]]:
        return [(token.id, token.text) for token in pretend_tokens(text)]


class FunctionBackend(PretendTokens):
    """Answers with whatever a function returns: a text, or a `Generated` for other finish reasons and logprobs.

    The function may raise `GenerationFailed` or `InvalidInput`.
    """

    def __init__(self, function: Callable[[Question], str | Generated]) -> None:
        self.function = function

    async def generate(self, question: Question) -> Generated:
        self.check_length(question)
        answer = self.function(question)
        return Generated(answer) if isinstance(answer, str) else answer


def pretend_tokens(text: str) -> tuple[Token, ...]:
    """Tokens for a text that no model wrote: ids from the characters, logprobs close to 0."""
    return tuple(Token(sum(piece.encode()) % 49_152, piece, -0.01) for piece in _PIECE.findall(text))


def count_tokens(text: str) -> int:
    """A quick estimate, four characters to a token, for backends without a tokenizer."""
    return len(text) // 4 + 1
