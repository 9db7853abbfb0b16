"""What the builders need from a judge server. The servers themselves are in hf_relabel.hub_tools.endpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hf_relabel.builders.errors import RelabelError

FinishReason = Literal["stop", "length", "other"]
THINKING_VARIABLES = ("enable_thinking", "thinking")
"""What chat templates call it whether a model thinks: Qwen3, GLM and Gemma; DeepSeek V3.1, Granite and Kimi."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a judge server, in no server's dialect.

    Attributes:
        messages: chat messages; a dialect without chat renders them with a chat template.
        max_tokens: most tokens to generate.
        temperature: 0 is greedy.
        seed: sampling seed, None to let the server choose.
        json_schema: constrains the reply where the endpoint can (`Endpoint.constrains`); ignored where it cannot.
        stop: stop sequences, at most 4 (the limit of TGI).
        top_logprobs: number of alternatives to report for each token, 0 for no logprobs.
        documents: texts to be scored against the last message, for servers that rerank; they generate nothing.
        thinking: False where the reply has to begin with the answer: a model that could think first is told not to,
            by servers that can be told. None leaves it to the model.
        tag: the caller's own, never sent.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    json_schema: dict[str, Any] | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    documents: tuple[str, ...] = ()
    thinking: bool | None = None
    tag: Any = field(default=None, compare=False)

    @property
    def characters(self) -> int:
        """Of all that is read for it: a reranker reads the messages anew with each document."""
        of_messages = sum(len(message.content) for message in self.messages)
        return of_messages * max(1, len(self.documents)) + sum(map(len, self.documents))

    @property
    def most_generated(self) -> int:
        """Most tokens that are generated for it: none where documents are scored."""
        return 0 if self.documents else self.max_tokens


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token, with up to `top_logprobs` alternatives as (text, logprob), best first. Natural log."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer. `text` is untrusted: it is parsed, never run or rendered.

    Attributes:
        cost: what it and the attempts before it cost, by the prices of the run's limits. The scheduler fills it in.
        instead: what the server was sent instead of what it refuses of the request, by parameter
            (`("temperature", "none")`), as far as the answer may depend on it.
    """

    text: str
    finish_reason: FinishReason = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str = ""
    endpoint: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    cost: float = 0.0
    instead: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """What a server says of itself. None where it does not say.

    Attributes:
        chat_template: 12 hex digits that stand for how the endpoint makes a raw prompt of messages, which the answers
            depend on; None where the server does that itself.
        answers_as: the model that answers, where the server takes no notice of which one is asked for and tells of
            another; None else.
    """

    model: str
    revision: str | None = None
    max_concurrent_requests: int | None = None
    max_input_tokens: int | None = None
    max_total_tokens: int | None = None
    version: str | None = None
    chat_template: str | None = None
    answers_as: str | None = None


ErrorKind = Literal[
    "overloaded",  # it asks for fewer requests (429, 503): lower the concurrency, ask again
    "timed_out",  # it took too long, by its own clock (408, 504) or by ours
    "unreachable",  # nobody listens, or the connection broke off
    "broken",  # it failed at its work (5xx, TGI's 424): it may pass
    "garbage",  # it said 200, and nothing that can be read
    "unauthorized",  # no token, or the wrong one
    "quota",  # what was paid for is used up
    "misaddressed",  # there is no such route or model
    "too_long",  # this prompt does not fit
    "refused",  # it will not take this request as it is
]
"""What went wrong with a request, as read where the server's answer was read."""

_ABOUT_THE_REQUEST: tuple[ErrorKind, ...] = ("too_long", "refused")
_PASSING: tuple[ErrorKind, ...] = ("overloaded", "timed_out", "unreachable", "broken", "garbage")


class EndpointError(RelabelError):
    """One request failed.

    Example:
            raise EndpointError("http://127.0.0.1:8080: no answer within 30 s", kind="timed_out")

    Attributes:
        kind: what went wrong, see `ErrorKind`.
        retryable: whether the same request may succeed later. By default the kind decides.
        status: HTTP status, None where none came.
        retry_after: seconds the server asked to wait, None where it did not.
        cost: what all attempts at the request cost, as in `Reply`.
        words: the server's own, without secrets; "" where it said nothing.
        parameter: the one of the request that it names as the reason (OpenAI's `param`), "" for none.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        retryable: bool | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = kind in _PASSING if retryable is None else retryable
        self.status = status
        self.retry_after = retry_after
        self.cost = 0.0
        self.words = self.parameter = ""

    @property
    def overloaded(self) -> bool:
        """Whether the server asked for fewer requests."""
        return self.kind == "overloaded"

    @property
    def blame_server(self) -> bool:
        """Whether it says something about the server (counts for the circuit breaker) rather than about this one
        request."""
        return self.kind not in _ABOUT_THE_REQUEST

    @property
    def is_billed(self) -> bool:
        """Whether a provider charges for it: it did the work, and we hung up before or could not read what came."""
        return self.kind == "garbage" or (self.kind == "timed_out" and self.status is None)


class Endpoint(Protocol):
    """One judge server. Implementations raise only `EndpointError` from `complete` and `info`.

    Example:
            endpoint = make_endpoint("http://127.0.0.1:8080")
            print(await endpoint.info())
    """

    name: str
    """How the user knows it (its URL without credentials), for messages and the journal."""

    constrains: bool
    """Whether `Request.json_schema` constrains the reply."""

    async def info(self) -> EndpointInfo:
        """Ask the server what it serves. Raises EndpointError when it cannot be reached."""
        ...

    async def complete(self, request: Request) -> Reply:
        """Send one request, once: no retries here, the scheduler owns them."""
        ...

    async def queue_depth(self) -> float | None:
        """Requests waiting at the server (`tgi_queue_size` and its kin), None where it does not say."""
        ...

    async def close(self) -> None:
        """Release connections. Safe to call twice."""
        ...
